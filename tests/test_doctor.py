"""What `weibnb doctor` says of machines with and without a device."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.counting.interpreter import use_interpreter
from weibnb import doctor
from weibnb.cli import main
from weibnb.counting import device as counting_device
from weibnb.counting.bincount import count_by_bincount

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")


class Cuda:
    """Stands for `torch.cuda` of a machine with one device, or none."""

    def __init__(self, *, there: bool) -> None:
        self.is_available = lambda: there

    def current_device(self) -> int:
        return 0

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(name=f"GPU of {device}", total_memory=80 << 30, major=9, minor=0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch, "cuda", Cuda(there=True))


def test_the_command_prints_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for name, text in doctor.examine().items():
        assert f"{name:<11}{text}\n" in said
    assert f"torch      {torch.__version__}".split("+")[0] in said


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" * (name == "weibnb"))
    monkeypatch.setitem(sys.modules, "torch", None)
    found = doctor.examine()
    assert found["torch"] == "not installed: pip install 'weibnb[torch]'"
    assert found["counts"].startswith("compiled code on")
    assert found["fits"] == found["counts"]


def test_a_build_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert doctor.examine()["CUDA"].startswith("torch is built without it")


def test_a_build_for_rocm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert "ROCm 6.2, which was not tested" in doctor.examine()["CUDA"]


def test_a_device_that_is_not_found(monkeypatch: pytest.MonkeyPatch, cuda: None) -> None:
    monkeypatch.setattr(torch, "cuda", Cuda(there=False))
    found = doctor.examine()
    assert found["CUDA"] == "torch is built for 12.8, and finds no device"
    assert found["counts"].startswith("compiled code")


def test_a_device_without_triton(monkeypatch: pytest.MonkeyPatch, cuda: None) -> None:
    monkeypatch.setattr(counting_device, "choose_kernel", lambda *_: count_by_bincount)
    found = doctor.examine()
    assert "cuda:0 is GPU of cuda:0, 80 GiB, compute capability 9.0" in found["CUDA"]
    assert found["counts"].startswith("torch.bincount on cuda:0, several times slower (Triton is")
    assert found["fits"].startswith("torch on cuda:0, float64")


@pytest.mark.triton
@pytest.mark.parametrize(("shared", "where"), [(True, "shared"), (False, "global")])
def test_a_device_with_triton(
    monkeypatch: pytest.MonkeyPatch, cuda: None, where: str, *, shared: bool
) -> None:
    module = use_interpreter(monkeypatch)
    monkeypatch.setattr(module, "IN_SHARED_MEMORY", shared)
    monkeypatch.setattr(counting_device, "choose_kernel", lambda *_: module.launch)
    expected = f"the Triton kernel on cuda:0, with counters in {where} memory"
    assert doctor.examine()["counts"].startswith(expected)


def test_the_reason_why_triton_does_not_count(monkeypatch: pytest.MonkeyPatch, cuda: None) -> None:
    import warnings

    def choose(*_: Any) -> Any:
        warnings.warn("no C compiler", stacklevel=2)
        return count_by_bincount

    monkeypatch.setattr(counting_device, "choose_kernel", choose)
    assert "(no C compiler)" in doctor.examine()["counts"]


def test_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "version")
    assert doctor.examine()["driver"] == "no NVIDIA driver was found"
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\nGCC version: 12\n"
    (tmp_path / "version").write_text(text)
    assert doctor.examine()["driver"] == "550.54.15"


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert doctor.examine()["C compiler"] == "none: Triton needs one, for example gcc"
