"""Weights, wherever they are -> counts: on threads of the CPU, or on the devices of torch."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import numpy as np

from weibnb.counting.cpu import PendingOnThreads
from weibnb.counting.formats import as_bits
from weibnb.counting.limits import DEFAULTS, Limits
from weibnb.counting.pieces import PendingPieces
from weibnb.parallel import check_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    import torch

    from weibnb.counting.counts import Counts
    from weibnb.counting.device import DeviceCounter
    from weibnb.counting.formats import Bits
    from weibnb.counting.tables import PendingOnDevice

    Pending: TypeAlias = PendingOnThreads | PendingPieces | PendingOnDevice

_Counted = TypeVar("_Counted")


class Counting:
    """Counts matrices in the background; best used in a ``with`` block.

    Parameters
    ----------
    device : str or sequence of str
        As in `weibnb.count_magnitudes`.
    workers : int, optional
        Threads; by default the cores that this process may use.
    devices : sequence of torch.device, optional
        Used in place of those that `device` names.
    limits : Limits
        How much is counted, copied and kept waiting at once.

    Raises
    ------
    TypeError, ValueError
        If the device is unknown or `workers` is not a positive integer.
    RuntimeError, ImportError
        If the device is not there, or torch is not.

    Examples
    --------
    >>> with Counting("cpu") as counting:
    ...     pending = counting.submit([1.0, -1.0, 0.0])
    ...     pending.result()
    <Counts of 2 non-zero weights in 1 values, 1 zeros, 0 not finite>
    """

    def __init__(
        self,
        device: str | Sequence[str],
        *,
        workers: int | None = None,
        devices: Sequence[torch.device] | None = None,
        limits: Limits = DEFAULTS,
    ) -> None:
        self._devices = resolve_devices(device) if devices is None else list(devices)
        self._limits = limits
        self._smallest = limits.worth_a_device if device == "auto" else 0
        self._workers = check_workers(workers)
        self._pool = ThreadPoolExecutor(self._workers)
        self._counter: DeviceCounter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads, and let go of memory on devices."""
        self._pool.shutdown(cancel_futures=True)
        if self._counter is not None:
            self._counter.close()

    @property
    def on_threads(self) -> bool:
        """Whether what is in the memory of the host is counted there."""
        return not self._devices

    def counts_in_place(self, weights: Any) -> bool:
        """Whether weights are counted where they are: tensors on a device, shards of DTensors.

        False for what is first brought to the memory of the host.
        """
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(weights, torch.Tensor):
            return False
        return hasattr(weights, "device_mesh") or bool(
            self._devices and weights.device.type == self._devices[0].type
        )

    def devices_for(self, weights: Any) -> list[torch.device]:
        """Give the device that holds weights, if they are counted there, or those asked for.

        Of ``"auto"`` that is none for what is in the memory of the host.
        """
        if self.counts_in_place(weights):
            return [weights.device]
        return [] if self._smallest else self._devices

    def submit(self, weights: Any, shape: tuple[int, int] | None = None) -> Pending:
        """Begin to count a matrix.

        Parameters
        ----------
        weights : array_like or torch.Tensor
            Weights of any shape in float64, float32, float16, bfloat16 or float8.
        shape : tuple of int, optional
            Rows and columns of a matrix, of which some are to be copied where it is counted in
            place: ``lines`` of what is given.

        Returns
        -------
        Pending
            Its ``result()`` waits for the counts and gives them; ``was_read`` says whether the
            weights were read already, ``load`` is its share of the work that may wait, and
            ``abandon()`` gives up what was not begun, True if the counts will come all the same.

        Raises
        ------
        TypeError
            If the weights are not floating-point.
        ValueError
            If they are a DTensor of partial sums.
        """
        if self.counts_in_place(weights):
            return self._device_counter().submit(weights, shape)
        bits, dtype = as_bits(weights)
        if bits.nbytes < self._smallest:
            return self._on_threads(bits, dtype)
        return self.submit_bits(bits, dtype)

    def submit_bits(self, bits: Bits, dtype: str, shape: tuple[int, int] | None = None) -> Pending:
        """Begin to count bit patterns of a format, a key of `weibnb.counting.formats.FORMATS`.

        They may have several dimensions, and gaps. Of a matrix of known shape some rows and
        columns are copied on the way, ``lines`` of what is given.
        """
        if self._devices:
            return self._device_counter().submit_bits(np.asarray(bits), dtype, shape)
        return self._on_threads(bits, dtype, shape)

    def begin_pieces(
        self, dtype: str, shape: tuple[int, int], *, structure: bool, first: int = 0
    ) -> PendingPieces:
        """Begin to count a matrix of this shape on threads, whose rows are added one by one."""
        waiting = min(2 * self._workers, 8)
        return PendingPieces(
            self._pool, dtype, shape, waiting=waiting, structure=structure, first=first
        )

    def begin(self, count: Callable[..., _Counted], *arguments: Any) -> Future[_Counted]:
        """Begin something else that counts, on the same threads."""
        return self._pool.submit(count, *arguments)

    def submit_on_threads(
        self, bits: Bits, dtype: str, shape: tuple[int, int] | None = None
    ) -> PendingOnThreads:
        """Begin to count bit patterns on threads, wherever others are counted."""
        return self._on_threads(bits, dtype, shape)

    def _on_threads(
        self, bits: Bits, dtype: str, shape: tuple[int, int] | None = None
    ) -> PendingOnThreads:
        return PendingOnThreads(
            self._pool, bits, dtype, workers=self._workers, limits=self._limits, shape=shape
        )

    def launch(self) -> None:
        """Let the devices count, and begin to read what they counted; waits for nothing."""
        if self._counter is not None:
            self._counter.begin_reading()

    def take(self) -> None:
        """Take over what devices have counted by now: it is `ready` then; waits for nothing."""
        if self._counter is not None:
            self._counter.take()

    def _device_counter(self) -> DeviceCounter:
        if self._counter is None:
            from weibnb.counting.device import DeviceCounter

            self._counter = DeviceCounter(self._devices, workers=self._workers, limits=self._limits)
        return self._counter


def resolve_devices(device: str | Sequence[str]) -> list[torch.device]:
    """Find the devices that are asked for, none for the CPU, and check that they are there."""
    names = [device] if isinstance(device, str) else list(device)
    if names == ["cpu"]:
        return []
    if names == ["auto"]:
        loaded = sys.modules.get("torch")
        if loaded is None or not loaded.cuda.is_available():
            return []
        names = ["cuda"]
    several = len(names) > 1
    if not names or not all(_is_known(name, several=several) for name in names):
        raise ValueError(
            "`device` must be 'auto', 'cpu', 'cuda', 'cuda:0' (or another number), 'mps' or a "
            f"list of CUDA devices, got {device!r}."
        )
    try:
        import torch
    except ImportError as err:
        raise ImportError(
            f"device {names[0]!r} needs torch, which is not installed: pip install 'weibnb[torch]'"
        ) from err
    return list(dict.fromkeys(_check_there(torch.device(name)) for name in names))


def _is_known(name: object, *, several: bool) -> bool:
    if not isinstance(name, str):
        return False
    kind, colon, number = name.partition(":")
    if kind == "cuda":
        return not colon or (number.isascii() and number.isdigit())
    return name == "mps" and not several


def _check_there(device: torch.device) -> torch.device:
    import torch

    if device.type == "mps":
        there, found = torch.backends.mps.is_available(), "finds no Metal device"
    else:
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
        there = (device.index or 0) < number
        found = f"finds {number} CUDA devices" if number else "finds no CUDA device"
    if not there:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        raise RuntimeError(
            f"device {str(device)!r} is not available: torch {torch.__version__} (built for "
            f"{built}) {found}. Use device='cpu', or install a build of torch for your device."
        )
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(device.type, device.index or 0)


def count_magnitudes(
    weights: Any, *, device: str | Sequence[str] = "auto", workers: int | None = None
) -> Counts:
    """Count the magnitudes of an array or tensor, exactly, in one pass.

    Parameters
    ----------
    weights : array_like or torch.Tensor
        Weights of any shape in float64, float32, float16, bfloat16 or float8. Of a DTensor each
        process counts its shard; all of them must call.
    device : str or sequence of str
        Where to count: ``"cpu"``; ``"cuda"`` or ``"cuda:1"``; several CUDA devices; ``"mps"``; or
        ``"auto"``: CUDA where torch is already imported and finds a device, else the CPU. Tensors
        on a device of this kind are counted where they are, and ``"auto"`` leaves arrays below
        64 MiB to the CPU.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    Counts
        Every quantile, moment and fit follows from them; they merge by addition.

    Raises
    ------
    TypeError
        If the weights are not floating-point.
    ValueError
        If the device is unknown, or several are not CUDA devices.
    RuntimeError
        If the device is not there.
    ImportError
        If torch is needed and not installed.

    Notes
    -----
    A 16-bit or 8-bit weight has at most 2^15 magnitudes: counting them loses nothing. The bit
    patterns of float32 and float64 are a logarithmic grid; they are counted in 256 intervals an
    octave, or by value where all of them fit ten mantissa bits (upcast 16-bit weights do).
    Every device gives the same counts.

    Examples
    --------
    >>> count_magnitudes([1.0, -1.0, 0.25, 0.0, float("nan")])
    <Counts of 3 non-zero weights in 2 values, 1 zeros, 1 not finite>
    """
    with Counting(device, workers=workers) as counting:
        return counting.submit(weights).result()
