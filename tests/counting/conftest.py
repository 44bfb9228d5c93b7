"""What counts on a device, in both of its forms."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["bincount", pytest.param("triton", marks=pytest.mark.triton)])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Count by `torch.bincount`, then by the Triton kernel in Triton's interpreter."""
    from tests.counting.interpreter import use_interpreter
    from tests.counting.on_devices import CPU, F32
    from weibnb.counting.bincount import count_by_bincount
    from weibnb.counting.device import choose_kernel
    from weibnb.counting.formats import FORMATS

    if request.param == "triton":
        module = use_interpreter(monkeypatch)
        assert all(choose_kernel(CPU, form) is module.launch for form in FORMATS.values())
    else:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        assert choose_kernel(CPU, F32) is count_by_bincount
    return str(request.param)
