"""Checkpoints of fits, opened again: the matrices of the cells that someone wants to look at."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.schema import DIMS
from weibnb.fitting.status import COUNTED
from weibnb.io.adapters import refuse_without_base
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.guard import guarded, watch
from weibnb.io.limits import OF_THE_FORMAT
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.remote import Remote, is_remote
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import resolve_sources
from weibnb.scanning.listing import given_names
from weibnb.scanning.weight_tensors import choose_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.fused import Part
    from weibnb.io.mapping import Origin
    from weibnb.io.names import Names
    from weibnb.scanning.weight_tensors import WeightTensor


@dataclass(frozen=True, slots=True)
class WantedCell:
    """A cell to be read again: where it is, and which of its experts (None: all)."""

    place: dict[str, Any]
    key: dict[str, Any]
    experts: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """One matrix that is read again, its bits in the order of storage."""

    key: dict[str, Any]
    bits: NDArray[Any]
    dtype: str
    stored_cols: int
    transposed: bool
    part: Part | None
    origin: Origin | None

    def stored_row(self, row: int) -> int:
        """Tell the output feature of the tensor that holds it, where it is a part."""
        return row if self.part is None else self.part.stored(row)


def read_again(
    flagged: xr.DataArray, fits: xr.Dataset, source: Any, *, dequantise: bool = False
) -> Iterator[tuple[dict[str, Any], NDArray[Any], str, int]]:
    """Give the matrices of flagged cells: place, bits in the order of storage, format and width.

    The place has the keys of `find_outliers`; `flagged` has dims of k.
    """
    for _, matrices in read_cells(fits, source, wanted_cells(flagged), dequantise=dequantise):
        for matrix in matrices:
            yield matrix.key, matrix.bits, matrix.dtype, matrix.stored_cols
            check_unchanged(matrix.origin)


def open_again(
    wanted: list[tuple[str, int]], fits: xr.Dataset, source: Any, *, dequantise: bool = False
) -> Iterator[tuple[tuple[str, int], Checkpoint]]:
    """Open the checkpoints of some (model, step), one at a time; what cannot be read raises."""
    limits, places = asdict(OF_THE_FORMAT), _places(fits, source, wanted)
    for key in wanted:
        place = places[key]
        if isinstance(place, CheckpointError):
            raise place
        with guarded(), open_checkpoint(place, dequantise=dequantise, **limits) as opened:
            yield key, opened


def wanted_cells(flagged: xr.DataArray) -> Iterator[WantedCell]:
    """Give the flagged cells, expert by expert where there is an `expert` dim."""
    for position in np.argwhere(flagged.values):
        flag = flagged[tuple(position)]
        place = {str(dim): flag[dim].item() for dim in flagged.dims}
        key = {name: flag[name].item() for name in DIMS}
        experts = frozenset([int(place["expert"])]) if "expert" in place else None
        yield WantedCell(place, key, experts)


def read_cells(
    fits: xr.Dataset, source: Any, cells: Iterable[WantedCell], *, dequantise: bool
) -> Iterator[tuple[WantedCell, list[StoredMatrix]]]:
    """Open the checkpoints that hold wanted cells, and give their matrices cell by cell."""
    wanted: dict[tuple[str, int], list[WantedCell]] = defaultdict(list)
    for cell in cells:
        wanted[str(cell.key["model"]), int(cell.key["step"])].append(cell)
    places = _places(fits, source, list(wanted))
    for key, cells_there in wanted.items():
        if isinstance(places[key], CheckpointError):
            raise places[key]
        limits = asdict(OF_THE_FORMAT)
        with guarded(), open_checkpoint(places[key], dequantise=dequantise, **limits) as opened:
            tensors = _by_cell(opened, given_names(fits))
            for cell in cells_there:
                found = tensors.get((cell.key["layer"], cell.key["component"]), [])
                matrices = [matrix for tensor in found for matrix in _read(opened, tensor, cell)]
                yield cell, matrices
                check_files(matrices)


def _places(
    fits: xr.Dataset, source: Any, wanted: list[tuple[str, int]]
) -> dict[tuple[str, int], Any]:
    """Tell where the weights of each wanted checkpoint are."""
    if source is None:
        return {key: _path(fits, *key) for key in wanted}
    given = {(plan.model, plan.step): plan.checkpoint for plan in resolve_sources(source)}
    if len(wanted) == len(given) == 1:
        return dict(zip(wanted, given.values(), strict=True))
    for model, step in wanted:
        if (model, step) not in given:
            held = ", ".join(f"{name!r} step {number}" for name, number in list(given)[:5])
            raise ValueError(f"`source` must hold model {model!r}, step {step}; it holds {held}.")
    return given


def _path(fits: xr.Dataset, model: str, step: int) -> str | Remote:
    """Give the path that a checkpoint was scanned from, if it is still there, or its URL."""
    at = {d: v for d, v in (("model", model), ("step", step)) if d in fits["source"].dims}
    path = str(fits["source"].sel(at).item())
    if is_remote(path):
        return Remote(path)
    if not os.path.exists(path):  # noqa: PTH110 - also where it cannot be a path
        cause = f"the weights of model {model!r}, step {step} are not there"
        raise CheckpointError(path, cause, "Pass `source=`, the same that weibnb.scan was given.")
    refuse_without_base(Path(path))
    return path


def _by_cell(checkpoint: Checkpoint, names: Names) -> dict[tuple[int, str], list[WeightTensor]]:
    """Group the weight tensors of a checkpoint by layer and component."""
    cells: dict[tuple[int, str], list[WeightTensor]] = defaultdict(list)
    for tensor in choose_tensors(checkpoint, "both", names)[0]:
        cells[tensor.role.layer, tensor.role.component].append(tensor)
    return cells


def _read(checkpoint: Checkpoint, tensor: WeightTensor, cell: WantedCell) -> Iterator[StoredMatrix]:
    """Give the wanted matrices of one tensor: itself, or the experts stacked in it."""
    wanted = [e for e in tensor.experts if cell.experts is None or e in cell.experts]
    if not wanted or tensor.status not in COUNTED:
        return
    info, bits = tensor.info, checkpoint.raw(tensor.info.name)
    watch(bits)
    for expert in wanted:
        key = cell.key | {"expert": expert, "parameter": info.name}
        matrix = np.ascontiguousarray(tensor.one_expert(bits, expert)).reshape(-1)
        width, transposed = tensor.stored_shape[1], tensor.role.transposed
        origin = origin_of(bits)
        yield StoredMatrix(key, matrix, info.dtype, width, transposed, tensor.part, origin)


def check_files(matrices: list[StoredMatrix]) -> None:
    """Refuse weights that changed while they were read."""
    for matrix in matrices:
        check_unchanged(matrix.origin)
