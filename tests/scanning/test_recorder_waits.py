"""A record on a device waits for nothing: as far as operations on the CPU's tensors can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode

from tests.scanning.test_on_device import hold_equal
from weibnb.counting import dispatch
from weibnb.counting.bincount import count_by_bincount
from weibnb.counting.device import DeviceCounter
from weibnb.counting.limits import DEFAULTS
from weibnb.counting.tables import Table
from weibnb.fitting import torch_fit, torch_likelihood, torch_ordinates
from weibnb.scanning.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

# Operations that look at values, or whose result has a size that depends on them.
WAITING = (
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount",
    "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave", "linalg_solve",
)  # fmt: skip


class NothingWaits(TorchDispatchMode):
    """Refuse operations for which the host waits, but in what counts."""

    seen = 0
    counting = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.seen += 1
        if name in WAITING and not self.counting:
            raise AssertionError(f"the host waits for {name}")
        if name.startswith("index") and not self.counting:
            assert not any(getattr(one, "dtype", None) == torch.bool for one in _flat(args)), name
        return func(*args, **(kwargs or {}))


def _flat(args: Any) -> Iterator[Any]:
    for one in args:
        if isinstance(one, (list, tuple)):
            yield from _flat(one)
        else:
            yield one


def refuse(*_: Any) -> None:
    raise AssertionError("the host waits for a copy")


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> NothingWaits:
    """Take torch's CPU for a device, also where the fit asks what it is on."""
    mode = NothingWaits()
    monkeypatch.setattr(dispatch, "resolve_devices", lambda _: [torch.device("cpu")])
    for module in (torch_fit, torch_likelihood, torch_ordinates):
        monkeypatch.setattr(module, "free_to_ask", lambda _: False)

    def count(*given: Any) -> None:
        mode.counting = True
        count_by_bincount(*given)
        mode.counting = False

    options: Any = {"workers": 1, "limits": DEFAULTS, "choose": lambda *_: count}
    monkeypatch.setattr(DeviceCounter.__init__, "__kwdefaults__", options)
    for name in ("cpu", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    return mode


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("keep_counts", [True, False])
def test_no_operation_of_a_record_waits(
    mode: NothingWaits, estimator: Any, monkeypatch: pytest.MonkeyPatch, *, keep_counts: bool
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    how: dict[str, Any] = {"estimator": estimator, "keep_counts": keep_counts, "name": "m"}
    read, fetch = [], Table.fetch

    def note(table: Table) -> None:
        read.append(len(table.owners))
        fetch(table)

    monkeypatch.setattr(Table, "fetch", note)
    with Recorder(model, backend="torch", **how) as recorder:
        for step in range(4):
            before = mode.seen
            with mode:
                recorder.record(step)
            assert mode.seen > before + 20
        assert read == [8, 8, 8]
        assert not recorder._results._in_fitting  # what was done was taken over
        found = recorder.fits()
    monkeypatch.undo()
    with Recorder(model, backend="numba", device="cpu", **how) as recorder:
        for step in range(4):
            recorder.record(step)
        hold_equal(found, recorder.fits())


LOOKS: dict[str, Any] = {
    "bool": lambda values: bool(values.any()),
    "item": lambda values: values.sum().item(),
    "mask": lambda values: values[values > 1],
    "nonzero": lambda values: values.nonzero(),
    "equal": lambda values: torch.equal(values, values),
    "list": lambda values: values.tolist(),
    "copy": lambda values: values.cpu(),
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_test_sees_what_waits(mode: NothingWaits, look: str) -> None:
    values = torch.arange(3.0)
    with mode, pytest.raises(AssertionError):
        LOOKS[look](values)
