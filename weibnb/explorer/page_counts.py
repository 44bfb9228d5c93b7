"""Counts for the page, which then fits in place while somebody drags the trim."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fits.rows import count_blocks
from weibnb.fits.schema import DIMS, prepare
from weibnb.messages import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Arrays = dict[str, NDArray[Any]]

#: Bytes that follow the first view at most.
MOST_BYTES = 5_000_000
#: Parts of equal weight, by rank, in which a table holds the means of ln|w|.
SHARES = 100
# Occupied bins, and matrices, for which it is tried to send all bins.
_MOST_BINS, _MOST_MATRICES = 8_000_000, 4_000
_LEVELS = 2**16 - 1  # of a mean in a table
# Intervals below this magnitude are too coarse for their format (see `fit_rows`), unless only this
# share of the weights lies there.
_COARSE, _HARMLESS = 2.0**-126, 1e-3


def send_counts(fits: xr.Dataset, query: Mapping[str, Any], send: Callable[..., object]) -> None:
    """Send the page the counts of a part of the fits, in a thread of its own: it may take a second.

    All steps are sent where they are not too many.
    """
    part = fits.sel({dim: labels for dim, labels in query.items() if dim != "step"})
    if "counts" not in fits:
        return
    if part["counts"].size > _MOST_MATRICES:
        part = fits.sel(query)

    def work() -> None:
        try:
            sent = page_counts(part)
        except Exception as err:  # noqa: BLE001  (a thread has no caller: the page shows it)
            send({"problem": f"{type(err).__name__}: {err}"})
            return
        if sent is not None:
            send({"counts": sent[0]}, [sent[1]])

    threading.Thread(target=work, name="weibnb-counts", daemon=True).start()


def page_counts(fits: xr.Dataset, *, most: int = MOST_BYTES) -> tuple[dict[str, Any], bytes] | None:
    """Pack the counts of fits for the page.

    All bins, if they fit; else a table of each matrix: the means of ln|w| in a hundred parts of
    equal weight, from which k follows to some 1e-4.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    most : int
        Bytes at most.

    Returns
    -------
    tuple of dict and bytes, or None
        What is in the bytes: ``kind`` (``"bins"`` or ``"shares"``), the labels of ``dims``, the
        ``dtypes`` that occur, and the ``arrays`` by name, type and length; None where there are no
        counts, or too many.
    """
    fits = prepare(fits, dims=DIMS)
    if "counts" not in fits or not fits["counts"].size:
        return None
    kinds = ["shares"]
    if fits["counts"].size <= _MOST_MATRICES:
        kinds.insert(0, "bins")
    for kind in kinds:
        arrays = _bins(fits) if kind == "bins" else _shares(fits)
        if arrays is None or not arrays["places"].size:
            continue
        about, dtypes = _about(fits, arrays["places"])
        arrays |= about
        data = _packed(arrays)
        if len(data) <= most:
            described = [[name, array.dtype.str[1:], array.size] for name, array in arrays.items()]
            dims = {dim: _shown(fits[dim].values.tolist()) for dim in DIMS}
            return {"kind": kind, "dims": dims, "dtypes": dtypes, "arrays": described}, data
    return None


def _about(fits: xr.Dataset, places: NDArray[np.uint32]) -> tuple[Arrays, list[str]]:
    """Give shape and format of the matrices at some places; no shape where it is not known."""
    cells = fits["status"].isel(expert=0) if "expert" in fits["status"].dims else fits["status"]
    columns: Arrays = {}
    for name in ("rows", "cols", "dtype"):
        there = fits[name] if name in fits else xr.zeros_like(cells, dtype=int)
        if "expert" in there.dims:
            there = there.isel(expert=0)
        columns[name] = there.broadcast_like(cells).transpose(*DIMS).values.ravel()[places]
    dtypes, kinds = np.unique(columns["dtype"].astype(str), return_inverse=True)
    about: Arrays = {name: columns[name].astype(np.uint32) for name in ("rows", "cols")}
    return about | {"dtypes": kinds.astype(np.uint8)}, _shown(dtypes.tolist())


def _shown(labels: list[Any]) -> list[Any]:
    """Write labels as charts do."""
    return [printable(label) if isinstance(label, str) else label for label in labels]


def _counted(fits: xr.Dataset) -> Iterator[tuple[CountRows, NDArray[np.uint32], list[int]]]:
    """Yield rows of counts, the cell of each, and which of them can be fitted in the page."""
    shape = fits["counts"].shape
    cells = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    experts = int(np.prod(shape[len(DIMS) :], dtype=int))
    for block in count_blocks(fits):
        rows = block.rows
        places = (cells[block.place].ravel() // experts).astype(np.uint32)
        yield rows, places, [row for row in range(places.size) if _is_fine(rows, row)]


def _is_fine(rows: CountRows, row: int) -> bool:
    """Whether a matrix has weights, and its format steps that are fine enough."""
    own = slice(rows.starts[row], rows.starts[row + 1])
    counts = rows.counts[own]
    if not counts.size:
        return False
    if rows.exact[row]:
        return True
    bin_at = int(np.searchsorted(counts.cumsum(), _HARMLESS * counts.sum()))
    return bool(label_values(rows.labels[rows.columns[own][bin_at]]) >= _COARSE)


def _bins(fits: xr.Dataset) -> Arrays | None:
    """Lay out every occupied bin: distances of the labels, and counts; None if they are many."""
    places, exact, sizes, labels, counts = [], [], [], [], []
    total = 0
    for rows, cells, fine in _counted(fits):
        for row in fine:
            own = slice(rows.starts[row], rows.starts[row + 1])
            labels.append(np.diff(rows.labels[rows.columns[own]], prepend=0))
            counts.append(rows.counts[own])
            total += counts[-1].size
        if total > _MOST_BINS:
            return None
        places.append(cells[fine])
        exact.append(rows.exact[fine])
        sizes.append(np.diff(rows.starts)[fine])
    return {
        "places": np.concatenate(places),
        "exact": np.concatenate(exact).astype(np.uint8),
        "sizes": np.concatenate(sizes).astype(np.uint32),
        "labels": np.concatenate([np.zeros(0, np.uint32), *labels]).astype(np.uint32),
        "counts": np.concatenate([np.zeros(0, np.uint8), *counts]),
    }


def _shares(fits: xr.Dataset) -> Arrays:
    """Lay out a table of each matrix: means of ln|w|, and its variance in the first and last."""
    found = [
        (cells[row], *_shares_of(rows, row)) for rows, cells, fine in _counted(fits) for row in fine
    ]
    means = np.array([one[1] for one in found]).reshape(-1, SHARES)
    low = means[:, :1].astype(np.float32)
    reach = (means[:, -1:] - low).astype(np.float32)
    step = np.where(reach > 0, reach, 1) / _LEVELS
    return {
        "places": np.array([one[0] for one in found], np.uint32),
        "n": np.array([one[3] for one in found], np.float64),
        "low": low.ravel(),
        "reach": reach.ravel(),
        "ends": np.array([one[2] for one in found], np.float32).ravel(),
        "means": np.clip(np.rint((means - low) / step), 0, _LEVELS).astype(np.uint16).ravel(),
    }


def _shares_of(rows: CountRows, row: int) -> tuple[Any, Any, float]:
    """Give means by share, the variances in the first and last, and the number of weights."""
    own = slice(rows.starts[row], rows.starts[row + 1])
    labels = rows.labels[rows.columns[own]]
    low = label_values(labels)
    x = np.log(low if rows.exact[row] else low / 2 + upper_edge(labels) / 2)
    middle = x[x.size // 2]
    counts = rows.counts[own].astype(np.float64)
    seen = np.concatenate([[0.0], counts.cumsum()])
    at = np.linspace(0, seen[-1], SHARES + 1)
    first, second = (
        np.diff(np.interp(at, seen, np.concatenate([[0.0], (counts * values).cumsum()])))
        for values in (x - middle, (x - middle) ** 2)
    )
    means = first * SHARES / seen[-1]
    variances = second * SHARES / seen[-1] - means**2
    return means + middle, np.maximum(variances[[0, -1]], 0), float(seen[-1])


def _packed(arrays: Arrays) -> bytes:
    """Put arrays one after the other, each by planes of bytes, which compress well; and do so."""
    squeeze = zlib.compressobj(7)
    parts = []
    for array in arrays.values():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        planes = little.view(np.uint8).reshape(-1, array.itemsize).T
        parts.append(squeeze.compress(planes.tobytes()))
    return b"".join([*parts, squeeze.flush()])
