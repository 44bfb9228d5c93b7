"""Where in a matrix its weights are large: a map of |w|, its rows and columns, its outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.cpu import count_bits
from weibnb.counting.formats import decode
from weibnb.fits.schema import DIMS, NO_EXPERT
from weibnb.fitting.status import COUNTED
from weibnb.io.mapping import check_unchanged
from weibnb.messages import printable
from weibnb.scanning.chosen import KEYS, opened_matrices
from weibnb.scanning.locate import CANDIDATES, PIECE, largest_weights, line_scales

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.scanning.chosen import Chosen, Stored

    Array = NDArray[np.float64]
    Span = tuple[int, int]

# Median of |w| over σ of a Gaussian.
_MEDIAN = 0.6744897501960817
# How probable it is that a Gaussian matrix has a weight that counts as an outlier.
_BY_CHANCE = 0.01
# Errors of a line's median, 1/√m of m weights each, that are allowed for.
_LINE_ERRORS = 4.0
_MOST_BINS = 1000
_OF_CELLS = {
    "rms": "Root mean square of the weights",
    "largest": "Largest |w|",
}
_OF_LINES = {
    "rms": "Root mean square",
    "highest": "Root mean square of the row or column that has the highest",
}
_OF_OUTLIERS = {
    "outlier_row": ("Output feature", "1"),
    "outlier_col": ("Input feature", "1"),
    "outlier_value": ("Weight", "units of the weights"),
    "outlier_z": ("Weight over σ", "1"),
    "outlier_z_in_lines": ("Weight over σ and over the scale of its row and column", "1"),
}


def look_inside(
    source: Any,
    *,
    fits: xr.Dataset | None = None,
    select: Mapping[str, Any] | None = None,
    rows: tuple[int, int] | None = None,
    cols: tuple[int, int] | None = None,
    bins: int = 200,
    top: int = 12,
    names: Mapping[str, str] | None = None,
    dequantise: bool = False,
) -> xr.Dataset:
    """Map where in a matrix its weights are large; it alone is read, piece by piece.

    Parameters
    ----------
    source : path, torch.nn.Module, Mapping, or matrix
        Weights as `weibnb.scan` takes them, or one array or tensor of two dimensions, whose rows
        are output features.
    fits : xarray.Dataset, optional
        Fits of this one matrix: ``fits.sel(layer=[0], component=["q_proj"])``.
    select : Mapping, optional
        Labels of the matrix, as in `weibnb.decompose`; of several experts the first is taken
        unless ``expert`` is given.
    rows, cols : tuple of int, optional
        First output and input feature, and the one after the last, of the part that is mapped.
    bins : int
        The map has at most so many cells along each side.
    top : int
        At most so many outliers are listed, the largest.
    names, dequantise
        As in `weibnb.scan`.

    Returns
    -------
    xarray.Dataset
        - ``rms``, ``largest`` on the dims ``row`` and ``col``: root mean square and largest |w| of
          the weights in each cell; NaN where none is finite. The coordinates ``row`` and ``col``
          are the first output and input feature of a cell, ``row_stop`` and ``col_stop`` the one
          after the last.
        - ``row_rms``, ``row_highest``, ``col_rms``, ``col_highest``: root mean square of all rows
          of a cell within the part, and of the one row that has the highest; likewise columns.
        - on the dim ``outlier``, in the whole matrix, largest first: ``outlier_row``,
          ``outlier_col``, ``outlier_value``, ``outlier_z`` = value / σ and
          ``outlier_z_in_lines``, see Notes.

        Attributes: ``sigma``, ``rows`` and ``cols`` of the whole matrix, ``n`` (non-zero finite
        weights), ``zeros``, ``nonfinite``, ``outliers`` (their number; counted up to 4,096),
        ``limit`` (the z that they pass), ``experts`` of the cell, ``dtype``.

    Raises
    ------
    CheckpointError
        If a checkpoint or the matrix cannot be read.
    TypeError, ValueError
        If an argument is not valid, several matrices are chosen, or the weights are stored in a
        form that is not read as numbers.

    Notes
    -----
    σ is that of a Gaussian with the same median |w|. An outlier passes (1 + 4/√rows)(1 + 4/√cols)
    times the z that the largest of n Gaussian weights passes once in a hundred matrices,
    n · erfc(z/√2) = 0.01, also after it is divided by the scale of its row and of its column: their
    median |w| over the matrix's, where that is larger by more than chance, as in `find_outliers`.
    So unequal rows are no outliers.

    A matrix of 4096 x 4096 takes some 0.3 s. Beside the bits, which of a file are a map of it, the
    memory is a few megabytes; a part of a fused matrix is copied.

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 96))
    >>> weights[10, 20] = -0.5
    >>> found = look_inside(weights, bins=8)
    >>> found.rms.shape, found.outlier_row.item(), found.outlier_col.item()
    ((8, 8), 10, 20)
    >>> found.largest.sel(row=8, col=12).item()
    0.5
    """
    for name, number, most in (("bins", bins, _MOST_BINS), ("top", top, CANDIDATES)):
        if not isinstance(number, (int, np.integer)) or not 1 <= number <= most:
            raise ValueError(f"`{name}` must be an integer from 1 to {most:,}, got {number!r}.")
    with opened_matrices(source, fits, select, names=names, dequantise=dequantise) as found:
        one = found[0]
        _check_experts_of_one(found)
        spans = _span("rows", rows, one.shape[0]), _span("cols", cols, one.shape[1])
        _check_counted(one)
        stored = one.stored()
        result = _looked_at(stored, spans, bins, top)
        check_unchanged(stored.origin)
    place = {name: one.place[name] for name in KEYS}
    place["parameter"] = printable(place["parameter"])
    result.attrs |= {"rows": one.shape[0], "cols": one.shape[1], "experts": len(found)}
    return result.assign_coords(place)


def _check_experts_of_one(found: list[Chosen]) -> None:
    """Refuse several matrices, unless they are experts of one cell."""
    cells = {tuple(one.place[name] for name in DIMS) for one in found}
    if len(cells) > 1 or (len(found) > 1 and NO_EXPERT in {one.place["expert"] for one in found}):
        first = {name: found[0].place[name] for name in DIMS}
        raise ValueError(
            f"`select` must name one matrix, got {len(found):,}. The first is select={first!r}."
        )


def _check_counted(one: Chosen) -> None:
    """Refuse weights that are not stored as numbers."""
    if one.status not in COUNTED:
        where = ", ".join(str(one.place[name]) for name in ("layer", "component"))
        raise ValueError(
            f"The weights of layer {printable(where)} must be stored as numbers to be looked at, "
            f"but the matrix is {one.status}. weibnb.not_fitted(fits) says why; weights that are "
            "quantised are restored with dequantise=True."
        )


def _span(name: str, given: tuple[int, int] | None, size: int) -> Span:
    """Check the ends of a part."""
    if given is None:
        return 0, size
    try:
        first, stop = given
        whole = int(first) == first and int(stop) == stop
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be two integers, got {given!r}.") from None
    if not whole or not 0 <= first < stop <= size:
        raise ValueError(f"`{name}` must satisfy 0 <= first < stop <= {size}, got {given!r}.")
    return int(first), int(stop)


def _looked_at(stored: Stored, spans: tuple[Span, Span], bins: int, top: int) -> xr.Dataset:
    """Look at a matrix whose bits are there."""
    counts = count_bits(stored.bits, stored.dtype).finish()
    nonfinite = counts.nans + counts.infinities
    windows = spans[::-1] if stored.transposed else spans
    sums = _Sums.of(stored, windows, bins, counts.largest, clean=not nonfinite)
    cells, lines, edges = sums.cells(), sums.lines(), sums.edges
    if stored.transposed:
        cells, lines, edges = [cell.T for cell in cells], lines[::-1], edges[::-1]
    variables: dict[str, Any] = {
        name: (("row", "col"), cell, {"long_name": words, "units": "units of the weights"})
        for (name, words), cell in zip(_OF_CELLS.items(), cells, strict=True)
    }
    coords: dict[str, Any] = {}
    for dim, ends, (rms, highest) in zip(("row", "col"), edges, lines, strict=True):
        for (name, words), values in zip(_OF_LINES.items(), (rms, highest), strict=True):
            about = {"long_name": words, "units": "units of the weights"}
            variables[f"{dim}_{name}"] = (dim, values, about)
        coords |= {dim: ends[:-1], f"{dim}_stop": (dim, ends[1:])}
    sigma = _sigma(counts)
    outliers, limit, number = _outliers(stored, counts, sigma, top)
    for (name, (words, units)), values in zip(_OF_OUTLIERS.items(), outliers, strict=True):
        variables[name] = ("outlier", values, {"long_name": words, "units": units})
    attributes: dict[str, Any] = {
        "title": "Inside a matrix",
        "sigma": sigma,
        "n": counts.n,
        "zeros": counts.zeros,
        "nonfinite": nonfinite,
    }
    attributes |= {"outliers": number, "limit": limit, "dtype": stored.dtype}
    return xr.Dataset(variables, coords, attributes)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over the cells and lines of a part of a matrix, as it is stored."""

    edges: list[NDArray[np.intp]]  # of the cells, along rows and columns
    number: list[Array]  # of finite weights: in each cell, row and column
    squares: list[Array]  # sums, likewise, in units of the largest weight
    largest: Array  # |w| in each cell
    unit: float

    @classmethod
    def of(
        cls, stored: Stored, windows: tuple[Span, Span], bins: int, largest: float, *, clean: bool
    ) -> _Sums:
        """Add up the weights, piece by piece; if they are `clean` all are finite."""
        edges = [_edges(*window, bins) for window in windows]
        shape = [ends.size - 1 for ends in edges]
        sides = [stop - first for first, stop in windows]
        number = [np.zeros(size) for size in (shape, *sides)]
        squares = [np.zeros(size) for size in (shape, *sides)]
        found = cls(edges, number, squares, np.zeros(shape), largest or 1.0)
        step = max(PIECE // sides[1], 1)
        for at, (begin, end) in enumerate(zip(edges[0], edges[0][1:], strict=False)):
            for first in range(begin, end, step):
                piece = slice(first, min(first + step, end))
                bits = stored.bits[piece, slice(*windows[1])]
                values = decode(np.ascontiguousarray(bits), stored.dtype)
                found._add(at, piece.start - windows[0][0], values, clean=clean)
        return found

    def _add(self, at: int, first: int, values: Array, *, clean: bool) -> None:
        """Add some whole rows, which lie in one row of cells and begin at row `first`."""
        starts = self.edges[1][:-1] - self.edges[1][0]
        finite = np.ones(values.shape, bool) if clean else np.isfinite(values)
        magnitude = np.abs(values) if clean else np.where(finite, np.abs(values), 0.0)
        magnitude /= self.unit
        most = np.maximum.reduceat(magnitude.max(axis=0), starts)
        np.maximum(self.largest[at], most, out=self.largest[at])
        np.square(magnitude, out=magnitude)
        rows = slice(first, first + len(values))
        for sums, part in ((self.number, finite), (self.squares, magnitude)):
            by_column = part.sum(axis=0, dtype=float)
            sums[0][at] += np.add.reduceat(by_column, starts)
            sums[1][rows] += part.sum(axis=1, dtype=float)
            sums[2] += by_column

    def _rms(self, squares: Array, number: Array) -> Array:
        known = np.where(number > 0, number, np.nan)
        return np.asarray(self.unit * np.sqrt(squares / known))

    def cells(self) -> list[Array]:
        """Root mean square and largest magnitude of each cell."""
        largest = np.where(self.number[0] > 0, self.unit * self.largest, np.nan)
        return [self._rms(self.squares[0], self.number[0]), largest]

    def lines(self) -> list[tuple[Array, Array]]:
        """Root mean squares of all lines of a cell and of the highest one, of both directions."""
        found = []
        for ends, number, squares in zip(
            self.edges, self.number[1:], self.squares[1:], strict=True
        ):
            starts = ends[:-1] - ends[0]
            rms = self._rms(np.add.reduceat(squares, starts), np.add.reduceat(number, starts))
            found.append((rms, np.fmax.reduceat(self._rms(squares, number), starts)))
        return found


def _edges(first: int, stop: int, bins: int) -> NDArray[np.intp]:
    """Divide lines into cells of nearly equal width."""
    number = min(bins, stop - first)
    return np.linspace(first, stop, number + 1).round().astype(np.intp)


def _sigma(counts: Counts) -> float:
    """Give σ of a Gaussian with the same median; NaN without weights."""
    if not counts.n:
        return float("nan")
    middle = np.searchsorted(np.cumsum(counts.counts), (counts.n + 1) // 2)
    return float(counts.values[middle] / _MEDIAN)


def _outliers(
    stored: Stored, counts: Counts, sigma: float, top: int
) -> tuple[list[NDArray[Any]], float, int]:
    """List outliers as `_OF_OUTLIERS`; with the z that they pass, and their number."""
    from scipy import special

    n = max(counts.n, 1)
    by_chance = np.sqrt(2) * special.erfcinv(min(_BY_CHANCE / n, 1.0))
    limit = float(by_chance * np.prod(1 + _LINE_ERRORS / np.sqrt(stored.bits.shape)))
    index, value = largest_weights(stored.bits.reshape(-1), stored.dtype, top=CANDIDATES)
    keep = np.abs(value) > limit * sigma
    index, value = index[keep], value[keep]
    z = value / sigma
    within = z / line_scales(stored.bits, stored.dtype, index, sigma * _MEDIAN)
    keep = np.abs(within) > limit
    places = np.divmod(index[keep], stored.bits.shape[1])
    row, col = places[::-1] if stored.transposed else places
    columns: list[NDArray[Any]] = [
        column[:top] for column in (row, col, value[keep], z[keep], within[keep])
    ]
    return columns, limit, int(keep.sum())
