"""Fits as a Zarr group, for the tools that read those."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.fits.ragged import flattened

if TYPE_CHECKING:
    import xarray as xr

#: Ending of a Zarr group.
SUFFIX = ".zarr"


def write_zarr(fits: xr.Dataset, target: Path) -> Path:
    """Write a Zarr group of version 2, in full or not at all; what is there is never replaced.

    Raises
    ------
    ImportError
        If zarr is not installed.
    FileExistsError, FileNotFoundError, OSError
        If the target is there, its directory is not, or it cannot be written.
    """
    try:
        import zarr  # noqa: F401  (xarray finds it by itself, but says less when it is not there)
    except ImportError as err:
        raise ImportError(
            f"{SUFFIX} needs zarr, which is not installed: pip install 'weibnb[zarr]'"
        ) from err
    if target.exists():
        raise FileExistsError(
            f"`path` must not be there yet, got {str(target)!r}: remove it first."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"`path` must lie in a directory that exists, got {str(target)!r}.")
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        flattened(fits).drop_encoding().to_zarr(
            beside, mode="w", zarr_format=2, consolidated=False
        )  # texts have no place in the specification of version 3
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target
