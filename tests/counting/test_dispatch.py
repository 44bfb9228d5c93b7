"""Where weights are counted: devices by name, and what becomes of each kind of weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting import cpu as histogram
from weibnb.counting import device as accelerator
from weibnb.counting import dispatch as counting
from weibnb.counting.dispatch import Counting, count_magnitudes, resolve_devices
from weibnb.scanning.scan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

torch = pytest.importorskip("torch")

CPU = torch.device("cpu")


def test_the_cpu_is_no_device() -> None:
    assert resolve_devices("cpu") == []
    assert resolve_devices(["cpu"]) == []


def test_auto_takes_cuda_where_torch_is_imported_and_finds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_devices("auto") == [torch.device("cuda:1")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_devices("auto") == []
    monkeypatch.delitem(sys.modules, "torch")
    assert resolve_devices("auto") == []
    assert "torch" not in sys.modules


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert resolve_devices("cuda") == [torch.device("cuda:0")]
    assert resolve_devices("cuda:1") == [torch.device("cuda:1")]
    several = [torch.device("cuda:1"), torch.device("cuda:0")]
    assert resolve_devices(["cuda:1", "cuda:0", "cuda:1"]) == several
    assert resolve_devices(("cuda", "cuda:0")) == [torch.device("cuda:0")]
    with pytest.raises(RuntimeError, match=r"'cuda:2' is not .* finds 2 CUDA devices"):
        resolve_devices(["cuda:0", "cuda:2"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_devices("mps") == [torch.device("mps:0")]


@pytest.mark.parametrize(
    "unknown",
    [
        *("tpu", "", "CUDA", "cudax", "cuda:", "cuda:x", "cuda:-1", "mps:1"),
        *([], ["cuda", "cpu"], ["cuda", "auto"], ["cuda", "mps"], ["cuda", 1]),
    ],
)
def test_unknown_devices_are_refused(unknown: str | Sequence[str]) -> None:
    with pytest.raises(ValueError, match=r"`device` must be 'auto', 'cpu', 'cuda', .* got ") as err:
        resolve_devices(unknown)
    assert str(err.value).endswith(f"got {unknown!r}.")
    with pytest.raises(ValueError, match="`device`"):
        count_magnitudes([1.0], device=unknown)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_names_the_torch_that_was_asked(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    what = "no Metal device" if device == "mps" else "no CUDA device"
    with pytest.raises(RuntimeError, match=f"finds {what}") as caught:
        count_magnitudes([1.0], device=device)
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    assert f"torch {torch.__version__} (built for {built})" in str(caught.value)
    assert repr(device) in str(caught.value)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(RuntimeError, match=r"\(built for CUDA 13.0\)"):
        resolve_devices(device)


def test_missing_torch_is_named_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert resolve_devices("auto") == []
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[torch\]'"):
        resolve_devices("cuda")


@pytest.fixture
def as_if_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's CPU stands in for a device: weights pass through its tables and buffers."""
    monkeypatch.setattr(counting, "resolve_devices", lambda device: [CPU])


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the devices, by type."""
    kinds: list[str] = []
    original = accelerator.DeviceCounter.submit

    def submit(self: Any, weights: Any, dtype: str | None = None) -> Any:
        kinds.append(type(weights).__name__)
        return original(self, weights, dtype)

    monkeypatch.setattr(accelerator.DeviceCounter, "submit", submit)
    return kinds


@pytest.mark.usefixtures("as_if_a_device")
def test_tensors_are_counted_in_place_and_arrays_are_fed(submitted: list[str]) -> None:
    weights = oracle.matrix("gaussian", "float32", 5000)
    expected, _ = np.unique(np.abs(weights[np.isfinite(weights)]), return_counts=True)
    for given in (weights, torch.from_numpy(weights), weights.tolist()):
        counts = count_magnitudes(given, device="cuda")
        assert counts.largest == expected[-1]
        assert counts.n + counts.zeros + counts.nans + counts.infinities == weights.size
    assert submitted == ["ndarray", "Tensor", "ndarray"]


@pytest.mark.usefixtures("as_if_a_device")
def test_auto_leaves_small_arrays_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, submitted: list[str]
) -> None:
    monkeypatch.setattr(counting, "_WORTH_IT", 400)
    for n in (99, 100, 101):
        assert count_magnitudes(np.ones(n, np.float32)).counts.tolist() == [n]
    assert submitted == ["ndarray", "ndarray"]
    count_magnitudes(torch.ones(3))
    assert submitted == ["ndarray", "ndarray", "Tensor"]


@pytest.mark.usefixtures("as_if_a_device")
def test_a_scan_on_a_device_gives_the_same_dataset(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, submitted: list[str]
) -> None:
    from weibnb.testing import write_checkpoint

    path = write_checkpoint(tmp_path / "a", layers=3, hidden=64)
    live = {"model.layers.0.mlp.experts.up_proj": torch.randn(4, 32, 64, dtype=torch.bfloat16)}
    on_device = scan({"files": path}), scan({"live": live}, experts="each")
    assert set(submitted) == {"ndarray", "Tensor"}
    monkeypatch.setattr(counting, "resolve_devices", lambda device: [])
    on_cpu = scan({"files": path}), scan({"live": live}, experts="each")
    for left, right in zip(on_device, on_cpu, strict=True):
        assert left.drop_attrs().identical(right.drop_attrs())


@pytest.mark.usefixtures("as_if_a_device")
def test_an_interrupted_scan_keeps_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from weibnb.scanning.scan import ScanInterrupted

    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(5)]
    weights = {name: torch.randn(32, 32) for name in names}
    original = Counting.submit
    seen: list[int] = []

    def stop(self: Counting, given: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(self, given)

    monkeypatch.setattr(Counting, "submit", stop)
    with pytest.raises(ScanInterrupted) as caught:
        scan({"m": weights})
    assert caught.value.fits is not None
    assert caught.value.fits.layer.values.tolist() == [0, 1, 2]


def test_tensors_elsewhere_are_brought_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "resolve_devices", lambda device: [torch.device("cuda:0")])
    with Counting("cuda") as on_cuda:
        assert not on_cuda.stays(torch.ones(3))


def test_few_matrices_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_AHEAD", 3)
    waiting, most = 0, 0

    def one_more(*given: Any) -> Any:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return histogram.submit(*given)

    def one_less(pieces: Any) -> Any:
        nonlocal waiting
        waiting -= 1
        return histogram.collect(pieces)

    monkeypatch.setattr(counting, "submit", one_more)
    monkeypatch.setattr(counting, "collect", one_less)
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(20)]
    scan({"m": {name: np.ones((16, 16)) for name in names}}, workers=1)
    assert (waiting, most) == (0, 4)


def test_what_stays_where_it_is() -> None:
    with Counting("cpu") as on_cpu:
        assert not on_cpu.stays(torch.ones(3))
        assert not on_cpu.stays(np.ones(3))
        assert not on_cpu.stays(None)
        assert on_cpu.submit(torch.ones(3)).result().counts.tolist() == [3]
