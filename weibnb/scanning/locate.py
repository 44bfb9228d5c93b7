"""A second look at the weights: outliers with their places, dead rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, decode
from weibnb.counting.second_look import zero_lines
from weibnb.diagnostics.outliers import NEEDED, Rule, exceedance, outlier_strength
from weibnb.fits.schema import partly_read, prepare
from weibnb.messages import counted
from weibnb.scanning.reading_again import (
    StoredMatrix,
    WantedCell,
    check_files,
    read_cells,
    wanted_cells,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

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
    for cell, matrices in read_cells(fits, source, _beyond(fits, strength)):
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


def _describe(
    matrix: StoredMatrix, flat: int, weight: float, fit: dict[str, float]
) -> dict[str, Any]:
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


def dead_lines(fits: xr.Dataset, *, source: Any = None) -> pd.DataFrame:
    """List the rows and columns of weight matrices that are zero throughout.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of checkpoints that are still there. Experts need counts or ``experts="each"``.
    source : path, torch.nn.Module or Mapping, optional
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
    for cell, matrices in read_cells(fits, source, _enough_zeros(fits)):
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


def _of_whole_matrices(fits: xr.Dataset) -> xr.Dataset:
    """Refuse fits of matrices that were read in part: of the rest nobody knows anything."""
    if part := int(partly_read(fits).sum()):
        cells = counted(part, "cell", "cells")
        raise ValueError(
            f"`fits` must be of whole matrices, got {cells} that were read in part; scan without "
            "sample or precision."
        )
    return fits


def _zero_lines(matrix: StoredMatrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the all-zero output features and input features of a matrix."""
    shape = matrix.bits.size // matrix.stored_cols, matrix.stored_cols
    rows, cols = map(np.flatnonzero, zero_lines(matrix.bits, matrix.dtype, shape))
    return (cols, rows) if matrix.transposed else (rows, cols)


def _beyond(fits: xr.Dataset, strength: xr.Dataset) -> Iterator[WantedCell]:
    """Give the matrices with an outlier; of merged experts those that have one."""
    for cell in wanted_cells(strength["needs_look"]):
        apart = cell.experts is None and "counts" in fits and "expert" in fits["counts"].dims
        if apart:
            counts = fits["counts"].sel(cell.place).values
            threshold = float(strength["threshold"].sel(cell.place).item())
            found = fits["expert"].values[[one.largest > threshold for one in counts]]
            cell = WantedCell(cell.place, cell.key, frozenset(found.tolist()))
        yield cell


def _enough_zeros(fits: xr.Dataset) -> Iterator[WantedCell]:
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
    yield from wanted_cells(fits["max_abs"].notnull() & (lines > 0) & (zeros >= lines))


def _verify(
    cell: WantedCell, scanned: float, matrices: list[StoredMatrix], largest: list[Array]
) -> None:
    """Refuse weights that are not the scanned ones: the largest magnitude tells."""
    check_files(matrices)
    found = max((float(np.abs(values[0])) for values in largest if values.size), default=0.0)
    if found != scanned or not largest:
        where = ", ".join(f"{name} {value}" for name, value in cell.key.items())
        raise ValueError(
            f"The weights must be those that were scanned: the largest |w| of {where} was "
            f"{scanned:g}, now it is {found:g}. Scan again, or pass the right `source`."
        )
