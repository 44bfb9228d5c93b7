"""A second look at the weights: outliers with their places, dead rows and columns."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, decode
from weibnb.counting.second_look import zero_lines
from weibnb.diagnostics.outliers import NEEDED, Rule, exceedance, outlier_strength
from weibnb.fits.schema import DIMS, partly_read, prepare
from weibnb.fitting.status import COUNTED
from weibnb.io.adapters import refuse_without_base
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.guard import guarded, watch
from weibnb.io.limits import OF_THE_FORMAT
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.remote import Remote, is_remote
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import resolve_sources
from weibnb.messages import counted
from weibnb.scanning.listing import given_names
from weibnb.scanning.matrices import choose_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.fused import Part
    from weibnb.io.mapping import Origin
    from weibnb.io.names import Names
    from weibnb.scanning.matrices import WeightTensor

    Array = NDArray[np.float64]


_KEY = ["model", "step", "layer", "component", "expert", "parameter"]
_OUTLIER_COLUMNS = [
    *_KEY, "row", "col", "value", "magnitude", "expected_max", "excess", "exceedance", "rule",
    "total",
]  # fmt: skip
_DEAD_COLUMNS = [*_KEY, "axis", "index"]
#: Weights that are looked at together: they and their copies stay in a core's cache.
PIECE = 1 << 18
#: Weights of a matrix that are tried as outliers, the largest.
CANDIDATES = 4096
# Errors of a line's median, 1/√m of m weights each, by which it must exceed the matrix's.
_LINE_ERRORS = 4.0


def find_outliers(
    fits: xr.Dataset,
    *,
    source: Any = None,
    top: int = 8,
    rule: Rule = "gaussian",
    factor: float | None = None,
    dequantise: bool = False,
) -> pd.DataFrame:
    """List the outlying weights of every matrix with their row, column and value.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of checkpoints that are still there.
    source : path, torch.nn.Module or Mapping, optional
        What `weibnb.scan` was given, where the weights were live or have moved; by default the
        paths in ``fits.source``.
    top : int
        At most this many weights of each matrix, the largest.
    rule : {"gaussian", "weibull"}
        Whose expected maximum an outlier exceeds `factor` times: that of a Gaussian with the
        same body (σ = λ over the Gaussian anchor's λ/σ), or that of the fitted Weibull.
    factor : float, optional
        3 for the Gaussian, 1.5 for the Weibull. 0 reads every matrix and lists its largest.
    dequantise : bool
        Whether the fits are of restored weights, as in `weibnb.scan`.

    Returns
    -------
    pandas.DataFrame
        One row a weight, the largest excess first: ``model, step, layer, component, expert``
        (-1: none), ``parameter, row`` (output feature), ``col`` (input feature), both of the
        stored tensor, also where a part of a fused matrix was fitted, ``value``
        (signed) and ``magnitude`` (units of the weights), ``expected_max`` of the fitted Weibull,
        ``excess`` = magnitude / expected_max, ``exceedance`` (probability that the Weibull's
        largest of n is as large), ``rule`` and ``total``, the outliers of the matrix, of which
        `top` are listed (counted up to `CANDIDATES`).

    Raises
    ------
    CheckpointError
        If a checkpoint cannot be read.
    TypeError, ValueError
        If `fits` is no Dataset of fits or an argument is not valid, or the weights are not those
        that were scanned (their largest magnitude differs).

    Notes
    -----
    Only matrices whose largest magnitude, which the fits hold, exceeds the threshold are read
    again, in pieces that fit the cache: the bit patterns of magnitudes are in the order of
    magnitudes, so nothing is converted. A weight in a row or column of larger scale must exceed
    the threshold as many times: by the median magnitude of its row and of its column over the
    Weibull's median, each where it lies more than 4/√m above 1 (m weights). So a matrix of unequal
    rows, whose largest weight passes the threshold (in half of simulated Gaussians of 512 x 512
    with lognormal row scales of H = 0.5, and in all at 0.7), is silent unless a weight stands out
    in its own lines. A Gaussian matrix is silent under both rules. Student's t
    is heavier than a Gaussian: with 2^24 weights 30 degrees of freedom are silent, 5 are not, by
    either rule; Laplace is silent. Experts of a cell share its k, λ and n.

    References
    ----------
    M. Yu et al., "The Super Weight in Large Language Models", arXiv:2411.07191: single weights,
    mostly in an early ``down_proj``, on which a model depends.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (512, 512))
    >>> weights[3, 5] = -1.0
    >>> run = {"tiny": {"model.layers.0.mlp.down_proj.weight": weights}}
    >>> import weibnb as wb
    >>> find_outliers(wb.scan(run), source=run)[["row", "col", "value"]].values.tolist()
    [[3.0, 5.0, -1.0]]
    """
    import pandas as pd

    if not isinstance(top, (int, np.integer)) or isinstance(top, bool) or top < 1:
        raise ValueError(f"`top` must be an integer of at least 1, got {top!r}.")
    strength = outlier_strength(fits, rule=rule, factor=factor)
    fits = _of_whole_matrices(prepare(fits, *NEEDED, "source"))
    known = strength[["expected_max", "threshold"]].assign(fits[["n", "k", "lam", "max_abs"]])
    rows: list[dict[str, Any]] = []
    beyond = _beyond(fits, strength)
    for cell, matrices in _second_look(fits, source, beyond, dequantise=dequantise):
        fit = {str(name): float(known[name].sel(cell.place).item()) for name in known.data_vars}
        tried = max(top, CANDIDATES)
        found = [largest_weights(matrix.bits, matrix.dtype, top=tried) for matrix in matrices]
        _verify(cell, fit["max_abs"], matrices, [value for _, value in found])
        for matrix, (index, value) in zip(matrices, found, strict=True):
            keep = np.abs(value) > fit["threshold"]
            index, value = index[keep], value[keep]
            stored = matrix.bits.reshape(-1, matrix.stored_cols)
            middle = fit["lam"] * np.log(2) ** (1 / fit["k"])
            scale = line_scales(stored, matrix.dtype, index, middle)
            keep = np.abs(value) > fit["threshold"] * scale
            total = {"total": int(keep.sum())}
            listed = zip(index[keep][:top].tolist(), value[keep][:top].tolist(), strict=True)
            for flat, weight in listed:
                rows.append(matrix.key | _describe(matrix, flat, weight, fit) | total)
    table = pd.DataFrame(rows, columns=_OUTLIER_COLUMNS)
    table["rule"] = strength.attrs["rule"]
    return table.sort_values("excess", ascending=False, kind="stable", ignore_index=True)


def line_scales(table: NDArray[Any], dtype: str, index: NDArray[np.int64], middle: float) -> Array:
    """Give the scale of the row and column of some weights over the matrix's, 1 if not larger.

    `index` are places in the flat `table` of bits, and `middle` the median magnitude.
    """
    scale = np.ones(index.size)
    for lines, at in zip((table, table.T), np.divmod(index, table.shape[1]), strict=True):
        wanted, where = np.unique(at, return_inverse=True)
        step = max(PIECE // lines.shape[1], 1)
        medians = [
            np.median(np.abs(decode(lines[wanted[i : i + step]], dtype)), axis=1)
            for i in range(0, wanted.size, step)
        ]
        relative = np.concatenate([np.empty(0), *medians]) / middle
        larger = relative > 1 + _LINE_ERRORS / np.sqrt(lines.shape[1])
        scale *= np.where(larger, relative, 1.0)[where]
    return scale


def _describe(matrix: _Matrix, flat: int, weight: float, fit: dict[str, float]) -> dict[str, Any]:
    """Fill the columns of one outlier."""
    row, col = divmod(flat, matrix.stored_cols)
    if matrix.transposed:
        row, col = col, row
    return {
        "row": matrix.stored_row(row),
        "col": col,
        "value": weight,
        "magnitude": abs(weight),
        "expected_max": fit["expected_max"],
        "excess": abs(weight) / fit["expected_max"],
        "exceedance": float(exceedance(abs(weight), fit["n"], fit["k"], fit["lam"])),
    }


def dead_lines(fits: xr.Dataset, *, source: Any = None, dequantise: bool = False) -> pd.DataFrame:
    """List the rows and columns of weight matrices that are zero throughout.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of checkpoints that are still there. Experts need counts or ``experts="each"``.
    source, dequantise
        As in `find_outliers`.

    Returns
    -------
    pandas.DataFrame
        One row a line: ``model, step, layer, component, expert`` (-1: none), ``parameter``,
        ``axis`` ("row": an output feature, "col": an input feature) and ``index`` in the stored
        tensor; of a part of a fused matrix, a column is dead within that part.

    Raises
    ------
    CheckpointError
        If a checkpoint cannot be read.
    TypeError, ValueError
        If `fits` is no Dataset of fits, or the weights are not those that were scanned.

    Notes
    -----
    A dead line takes min(rows, cols) zeros at least; matrices with fewer, by the fits, are not
    read again. Negative zeros are zeros.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> weights[:, 7] = 0
    >>> run = {"tiny": {"model.layers.0.mlp.down_proj.weight": weights}}
    >>> import weibnb as wb
    >>> dead_lines(wb.scan(run), source=run)[["axis", "index"]].values.tolist()
    [['col', 7]]
    """
    import pandas as pd

    needed = "n", "n_matrices", "nonfinite", "rows", "cols", "max_abs", "source"
    fits = _of_whole_matrices(prepare(fits, *needed))
    rows: list[dict[str, Any]] = []
    enough = _enough_zeros(fits)
    for cell, matrices in _second_look(fits, source, enough, dequantise=dequantise):
        largest = float(fits["max_abs"].sel(cell.place).item())
        found = [largest_weights(m.bits, m.dtype, top=1)[1] for m in matrices]
        _verify(cell, largest, matrices, found)
        for matrix in matrices:
            for axis, lines in zip(("row", "col"), _zero_lines(matrix), strict=True):
                at = matrix.stored_row if axis == "row" else int
                rows += [matrix.key | {"axis": axis, "index": at(int(line))} for line in lines]
    return pd.DataFrame(rows, columns=_DEAD_COLUMNS)


def largest_weights(bits: NDArray[Any], dtype: str, *, top: int) -> tuple[NDArray[np.int64], Array]:
    """Give the places and signed values of the `top` largest finite magnitudes, largest first.

    Of equal magnitudes the earlier comes first.

    Examples
    --------
    >>> index, value = largest_weights(np.array([1.0, -3.0, 2.0]).view("u8"), "F64", top=2)
    >>> index.tolist(), value.tolist()
    ([1, 2], [-3.0, 2.0])
    """
    form = FORMATS[dtype]
    sign = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    limit = bits.dtype.type(min(min(form.infinity, form.first_nan) << form.shift, int(sign)))
    index, pattern = np.empty(0, np.int64), np.empty(0, bits.dtype)
    for start in range(0, bits.size, PIECE):
        magnitude = bits[start : start + PIECE] & (sign - bits.dtype.type(1))
        magnitude[magnitude >= limit] = 0
        floor = pattern[-1] if pattern.size == top else bits.dtype.type(0)
        found = np.flatnonzero(magnitude > floor)
        if found.size > top:
            heads = magnitude[found]
            edge = heads[np.argpartition(heads, found.size - top)[found.size - top]]
            ties = np.flatnonzero(heads == edge)[: top - np.count_nonzero(heads > edge)]
            found = found[np.sort(np.concatenate([np.flatnonzero(heads > edge), ties]))]
        index = np.concatenate([index, found + start])
        pattern = np.concatenate([pattern, magnitude[found]])
        order = np.argsort(~pattern, kind="stable")[:top]
        index, pattern = index[order], pattern[order]
    return index, decode(bits[index], dtype)


def read_again(
    flagged: xr.DataArray, fits: xr.Dataset, source: Any, *, dequantise: bool = False
) -> Iterator[tuple[dict[str, Any], NDArray[Any], str, int]]:
    """Give the matrices of flagged cells: place, bits in the order of storage, format and width.

    The place has the keys of `find_outliers`; `flagged` has dims of k.
    """
    for _, matrices in _second_look(fits, source, _cells(flagged), dequantise=dequantise):
        for matrix in matrices:
            yield matrix.key, matrix.bits, matrix.dtype, matrix.stored_cols
            check_unchanged(matrix.origin)


def open_again(
    wanted: list[tuple[str, int]], fits: xr.Dataset, source: Any
) -> Iterator[tuple[tuple[str, int], Checkpoint]]:
    """Open the checkpoints of some (model, step), one at a time; what cannot be read raises."""
    for key, place in _places(fits, source, wanted).items():
        if isinstance(place, CheckpointError):
            raise place
        with guarded(), open_checkpoint(place, **asdict(OF_THE_FORMAT)) as opened:
            yield key, opened


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell to be read again: where it is, and which of its experts (None: all)."""

    place: dict[str, Any]
    key: dict[str, Any]
    experts: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class _Matrix:
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


def _of_whole_matrices(fits: xr.Dataset) -> xr.Dataset:
    """Refuse fits of matrices that were read in part: of the rest nobody knows anything."""
    if part := int(partly_read(fits).sum()):
        cells = counted(part, "cell", "cells")
        raise ValueError(
            f"`fits` must be of whole matrices, got {cells} that were read in part; scan without "
            "sample or precision."
        )
    return fits


def _zero_lines(matrix: _Matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the all-zero output features and input features of a matrix."""
    shape = matrix.bits.size // matrix.stored_cols, matrix.stored_cols
    rows, cols = map(np.flatnonzero, zero_lines(matrix.bits, matrix.dtype, shape))
    return (cols, rows) if matrix.transposed else (rows, cols)


def _cells(flagged: xr.DataArray) -> Iterator[_Cell]:
    """Give the flagged cells, expert by expert where there is an `expert` dim."""
    for position in np.argwhere(flagged.values):
        flag = flagged[tuple(position)]
        place = {str(dim): flag[dim].item() for dim in flagged.dims}
        key = {name: flag[name].item() for name in DIMS}
        experts = frozenset([int(place["expert"])]) if "expert" in place else None
        yield _Cell(place, key, experts)


def _beyond(fits: xr.Dataset, strength: xr.Dataset) -> Iterator[_Cell]:
    """Give the matrices with an outlier; of merged experts those that have one."""
    for cell in _cells(strength["needs_look"]):
        apart = cell.experts is None and "counts" in fits and "expert" in fits["counts"].dims
        if apart:
            counts = fits["counts"].sel(cell.place).values
            threshold = float(strength["threshold"].sel(cell.place).item())
            found = fits["expert"].values[[one.largest > threshold for one in counts]]
            cell = _Cell(cell.place, cell.key, frozenset(found.tolist()))
        yield cell


def _enough_zeros(fits: xr.Dataset) -> Iterator[_Cell]:
    """Give the cells whose zeros suffice for a dead line; of merged experts by the most zeros."""
    size = fits["rows"].astype(np.int64) * fits["cols"]
    zeros = size - fits["n"] - fits["nonfinite"]
    several = fits["n_matrices"] > 1
    if bool(several.any()):
        counts = prepare(fits, "counts")["counts"]
        cells = counts.values
        apart = counts.copy(data=np.vectorize(lambda one: one.zeros, otypes=[np.int64])(cells))
        there = counts.copy(data=np.vectorize(lambda one: one != Counts(), otypes=[bool])(cells))
        complete = there.sum("expert") == fits["n_matrices"]
        zeros = zeros.where(~several, apart.max("expert").where(complete, size))
    lines = np.minimum(fits["rows"], fits["cols"])
    yield from _cells(fits["max_abs"].notnull() & (lines > 0) & (zeros >= lines))


def _second_look(
    fits: xr.Dataset, source: Any, cells: Iterable[_Cell], *, dequantise: bool
) -> Iterator[tuple[_Cell, list[_Matrix]]]:
    """Open the checkpoints that hold wanted cells, and give their matrices cell by cell."""
    wanted: dict[tuple[str, int], list[_Cell]] = defaultdict(list)
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
                _check_files(matrices)


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


def _read(checkpoint: Checkpoint, tensor: WeightTensor, cell: _Cell) -> Iterator[_Matrix]:
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
        yield _Matrix(key, matrix, info.dtype, width, transposed, tensor.part, origin)


def _check_files(matrices: list[_Matrix]) -> None:
    """Refuse weights that changed while they were read."""
    for matrix in matrices:
        check_unchanged(matrix.origin)


def _verify(cell: _Cell, scanned: float, matrices: list[_Matrix], largest: list[Array]) -> None:
    """Refuse weights that are not the scanned ones: the largest magnitude tells."""
    _check_files(matrices)
    found = max((float(np.abs(values[0])) for values in largest if values.size), default=0.0)
    if found != scanned or not largest:
        where = ", ".join(f"{name} {value}" for name, value in cell.key.items())
        raise ValueError(
            f"The weights must be those that were scanned: the largest |w| of {where} was "
            f"{scanned:g}, now it is {found:g}. Scan again, or pass the right `source`, and "
            "`dequantise` as the scan had it."
        )
