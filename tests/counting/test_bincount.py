"""`torch.bincount` where memory is short; what it counts is tested beside the kernel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests import oracle
from tests.counting.samples import reference
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb.counting.bincount import count_by_bincount

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")

from tests.counting.on_devices import counted


def by_bincount(least: int) -> Callable[..., Any]:
    return lambda *_: partial(count_by_bincount, at_once=1000, least=least)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_bincount_that_does_not_fit_takes_less_at_once(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    bincount = torch.bincount

    def limited(places: Any, *, minlength: int) -> Any:
        if places.numel() > 500:
            raise torch.OutOfMemoryError("no room")
        return bincount(places, minlength=minlength)

    monkeypatch.setattr(torch, "bincount", limited)
    weights = oracle.matrix("gaussian", dtype, 1_500)
    with pytest.warns(UserWarning, match=r"memory for 1,000 weights at once on cpu: 500 must"):
        same(counted(to_torch(weights), choose=by_bincount(500))[0], reference(weights))
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        counted(to_torch(weights), choose=by_bincount(1000))
