"""Where weights are counted: devices by name, and what becomes of each kind of weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting import dispatch
from weibnb.counting.cpu import PendingOnThreads
from weibnb.counting.dispatch import Counting, count_magnitudes, resolve_devices
from weibnb.counting.limits import Limits
from weibnb.scanning.scan import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

torch = pytest.importorskip("torch")

from weibnb.counting.device import DeviceCounter
from weibnb.counting.tables import PendingOnDevice

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


def test_tensors_are_counted_in_place_and_arrays_are_fed() -> None:
    weights = oracle.matrix("gaussian", "float32", 5000)
    for given, buffers in ((torch.from_numpy(weights), 0), (weights, 1), (weights.tolist(), 1)):
        with Counting("cuda", devices=[CPU]) as counting:
            assert counting.counts_in_place(given) == (buffers == 0)
            pending = counting.submit(given)
            assert isinstance(pending, PendingOnDevice)
            assert counting._counter is not None
            assert len(counting._counter._buffers) == buffers
            counts = pending.result()
        assert counts.largest == np.abs(weights[np.isfinite(weights)]).max()
        assert counts.n + counts.zeros + counts.nans + counts.infinities == weights.size


def test_auto_leaves_small_arrays_to_the_cpu() -> None:
    limits = Limits(worth_a_device=400)
    where = {99: PendingOnThreads, 100: PendingOnDevice, 101: PendingOnDevice}
    with Counting("auto", devices=[CPU], limits=limits) as counting:
        for n, kind in where.items():
            pending = counting.submit(np.ones(n, np.float32))
            assert isinstance(pending, kind)
            assert pending.result().counts.tolist() == [n]
        assert isinstance(counting.submit(torch.ones(3)), PendingOnDevice)
    with Counting("cuda", devices=[CPU], limits=limits) as counting:
        assert isinstance(counting.submit(np.ones(99, np.float32)), PendingOnDevice)


@pytest.fixture
def as_if_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's CPU stands in for the device of a whole scan."""
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: [CPU])


def test_a_scan_on_a_device_gives_the_same_dataset(tmp_path: Any) -> None:
    from weibnb.testing import write_checkpoint

    path = write_checkpoint(tmp_path / "a", layers=3, hidden=64)
    live = {"model.layers.0.mlp.experts.up_proj": torch.randn(4, 32, 64, dtype=torch.bfloat16)}
    kinds: set[str] = set()

    def scans() -> Any:
        first = scan({"files": path}, structure=False)
        return first, scan({"live": live}, experts="each", structure=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "resolve_devices", lambda device: [CPU])
        for name in ("submit", "submit_bits"):
            note(patch, name, kinds)
        on_device = scans()
    assert kinds == {"submit", "submit_bits"}
    for left, right in zip(on_device, scans(), strict=True):
        assert left.drop_attrs().identical(right.drop_attrs())


def note(patch: pytest.MonkeyPatch, name: str, called: set[str]) -> None:
    """Let a method of `DeviceCounter` note that it was called."""
    original = getattr(DeviceCounter, name)

    def noting(*given: Any) -> Any:
        called.add(name)
        return original(*given)

    patch.setattr(DeviceCounter, name, noting)


@pytest.mark.usefixtures("as_if_a_device")
def test_an_interrupted_scan_keeps_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from weibnb.scanning.scan import ScanInterrupted

    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(5)]
    weights = {name: torch.randn(32, 32) for name in names}
    original = Counting.submit
    seen: list[int] = []

    def stop(self: Counting, given: Any, shape: Any = None) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(self, given, shape)

    monkeypatch.setattr(Counting, "submit", stop)
    with pytest.raises(ScanInterrupted) as caught:
        scan({"m": weights})
    assert caught.value.fits is not None
    status = caught.value.fits["status"].values.ravel().tolist()
    assert status == ["ok"] * 3 + ["pending"] * 2


def test_tensors_elsewhere_are_brought_to_the_device() -> None:
    with Counting("cuda", devices=[torch.device("cuda:0")]) as on_cuda:
        assert not on_cuda.counts_in_place(torch.ones(3))


def test_few_matrices_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, most = 0, 0
    submit, result = Counting.submit_bits, PendingOnThreads.result

    def one_more(*given: Any) -> Any:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return submit(*given)

    def one_less(pending: Any) -> Any:
        nonlocal waiting
        waiting -= 1
        return result(pending)

    monkeypatch.setattr(Counting, "submit_bits", one_more)
    monkeypatch.setattr(PendingOnThreads, "result", one_less)
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(20)]
    scan({"m": {name: np.ones((16, 16)) for name in names}}, workers=1)
    assert (waiting, most) == (0, Limits().pieces_waiting + 1)


def test_how_much_of_what_may_wait_a_matrix_is() -> None:
    limits = Limits(piece=10, pieces_waiting=5, matrices_waiting=8)
    with Counting("cpu", workers=2, limits=limits) as counting:
        assert counting.submit(np.ones(31)).load == 0.4
    with Counting("cuda", devices=[CPU], limits=limits) as counting:
        pending = counting.submit(np.ones(31))
        assert (pending.load, pending.was_read, pending.abandon()) == (1 / 8, True, True)


def test_what_is_counted_in_place() -> None:
    with Counting("cpu") as on_cpu:
        assert not on_cpu.counts_in_place(torch.ones(3))
        assert not on_cpu.counts_in_place(np.ones(3))
        assert not on_cpu.counts_in_place(None)
        assert on_cpu.submit(torch.ones(3)).result().counts.tolist() == [3]


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (1.5, TypeError)])
def test_bad_numbers_of_workers_are_refused(workers: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"`workers` must be .* got"):
        count_magnitudes([1.0], workers=workers)
