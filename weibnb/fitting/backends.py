"""What computes the fits: compiled code on the CPU, or torch where the counts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Backend = Literal["auto", "numba", "torch"]


def check_backend(backend: str) -> None:
    """Raise ValueError unless a backend is one of `Backend`."""
    check_choice("backend", backend, get_args(Backend))


def fitting_device(backend: str, devices: Sequence[torch.device]) -> torch.device | None:
    """Choose where torch fits; None where compiled code does.

    Parameters
    ----------
    backend : {"auto", "numba", "torch"}
        ``"auto"``: torch where the first device is CUDA, else compiled code.
    devices : sequence of torch.device
        Those that count; none for the CPU.

    Raises
    ------
    ValueError
        If the backend is unknown, or is torch on a device without float64.
    ImportError
        If torch is asked for and not installed.

    Examples
    --------
    >>> fitting_device("auto", []) is None
    True
    """
    check_backend(backend)
    kind = devices[0].type if devices else "cpu"
    if backend == "numba" or (backend == "auto" and kind != "cuda"):
        return None
    if kind == "mps":
        raise ValueError(
            "`backend` must be 'auto' or 'numba' on device 'mps', which has no float64, "
            "got 'torch'. Both fit on the CPU, from the same counts."
        )
    try:
        import torch
    except ImportError as err:
        raise ImportError(
            "backend 'torch' needs torch, which is not installed: pip install 'weibnb[torch]'"
        ) from err
    return devices[0] if devices else torch.device("cpu")


def backend_name(device: torch.device | None) -> str:
    """Name the backend that fits on a device, as fits record it.

    Examples
    --------
    >>> backend_name(None)
    'numba'
    """
    return "numba" if device is None else "torch"
