"""What counts and fits on this machine, and why: the lines of ``weibnb doctor``."""

from __future__ import annotations

import os
import platform
import re
import shutil
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.parallel import usable_cores

if TYPE_CHECKING:
    import torch

# Where the kernel module of NVIDIA's driver tells its version.
_DRIVER = Path("/proc/driver/nvidia/version")


def examine() -> dict[str, str]:
    """Tell what is installed, and what ``device="cuda"`` and the CPU would count and fit with.

    Returns
    -------
    dict of str
        A sentence for each of weibnb, torch, CUDA, driver, Triton, and what counts and fits.

    Examples
    --------
    >>> list(examine())
    ['weibnb', 'torch', 'CUDA', 'driver', 'Triton', 'C compiler', 'counts', 'fits']
    """
    found = {"weibnb": f"{_version('weibnb')}, Python {platform.python_version()}"}
    torch_version = _version("torch")
    found["torch"] = torch_version or "not installed: pip install 'weibnb[torch]'"
    device = None
    found["CUDA"] = "torch is not there to ask"
    if torch_version:
        device, found["CUDA"] = _cuda()
    found["driver"] = _driver()
    found["Triton"] = _version("triton") or _version("pytorch-triton") or "not installed"
    found["C compiler"] = _compiler()
    cores = f"compiled code on {usable_cores()} cores of the CPU"
    if device is None:
        return found | {"counts": cores, "fits": cores}
    return found | {
        "counts": f"{_counting(device)}; files and arrays without device='cuda': {cores}",
        "fits": f"torch on {device}, float64, for what is counted there; else {cores}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cuda() -> tuple[torch.device | None, str]:
    """Give the current CUDA device, and what torch says of it."""
    import torch

    if torch.version.hip is not None:
        return None, f"torch is built for ROCm {torch.version.hip}, which was not tested"
    if torch.version.cuda is None:
        return None, "torch is built without it: see https://pytorch.org/get-started/locally"
    built = f"torch is built for {torch.version.cuda}"
    if not torch.cuda.is_available():
        return None, f"{built}, and finds no device"
    device = torch.device("cuda", torch.cuda.current_device())
    about = torch.cuda.get_device_properties(device)
    memory = f"{about.total_memory / 2**30:.0f} GiB, compute capability {about.major}.{about.minor}"
    return device, f"{built}; {device} is {about.name}, {memory}"


def _driver() -> str:
    """Tell the version of NVIDIA's driver."""
    try:
        text = _DRIVER.read_text(encoding="utf-8")
    except OSError:
        return "no NVIDIA driver was found"
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return number.group() if number else text.splitlines()[0]


def _compiler() -> str:
    """Tell which C compiler Triton would call."""
    names = (os.environ.get("CC", ""), "gcc", "clang", "cc")
    found = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    return found or "none: Triton needs one, for example gcc"


def _counting(device: torch.device) -> str:
    """Tell what counts bfloat16 on a device, and why."""
    from weibnb.counting.device import choose_kernel
    from weibnb.counting.formats import FORMATS

    with warnings.catch_warnings(record=True, action="always") as told:
        kernel = choose_kernel(device, FORMATS["BF16"])
    if kernel.__name__ != "launch":
        reasons = [str(warning.message) for warning in told] or ["Triton is not there"]
        return f"torch.bincount on {device}, several times slower ({'; '.join(reasons)})"
    from weibnb.counting import triton_kernel

    where = "shared" if triton_kernel.IN_SHARED_MEMORY else "global"
    return f"the Triton kernel on {device}, with counters in {where} memory"
