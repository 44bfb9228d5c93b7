"""Which of compiled code and torch fits, and where."""

from __future__ import annotations

import re
import sys

import pytest

torch = pytest.importorskip("torch")

from weibnb.fitting.backends import backend_name, fitting_device

CUDA, MPS, CPU = torch.device("cuda:1"), torch.device("mps"), torch.device("cpu")


def test_auto_is_torch_on_cuda_alone() -> None:
    assert fitting_device("auto", []) is None
    assert fitting_device("auto", [CUDA]) == CUDA
    assert fitting_device("auto", [MPS]) is None
    assert fitting_device("auto", [CPU]) is None


def test_a_backend_that_is_asked_for() -> None:
    assert fitting_device("numba", [CUDA]) is None
    assert fitting_device("torch", []) == CPU
    assert fitting_device("torch", [CUDA, torch.device("cuda:0")]) == CUDA


def test_names() -> None:
    assert [backend_name(device) for device in (None, CPU, CUDA)] == ["numba", "torch", "torch"]


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match=r"`backend` must be one of .* Did you mean 'torch'\?"):
        fitting_device("pytorch", [])


def test_torch_on_a_device_without_float64() -> None:
    expected = "`backend` must be 'auto' or 'numba' on device 'mps', which has no float64"
    with pytest.raises(ValueError, match=re.escape(expected)):
        fitting_device("torch", [MPS])


def test_torch_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[torch\]'"):
        fitting_device("torch", [])
    assert fitting_device("auto", []) is None
