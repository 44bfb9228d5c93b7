"""Counted matrices -> fits of each: estimates, plain statistics and a status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.fits.lazy import as_objects
from weibnb.fits.schema import FIELDS, FORCES, SAMPLING, SCALES, error_kind
from weibnb.fitting.estimates import EFFECTS, fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.sampling import SHARE, VARIANCE_K, VARIANCE_LN_LAM, WHOLE
from weibnb.fitting.scales import spread, spreads
from weibnb.fitting.statistics import describe_counts
from weibnb.fitting.status import COUNTED, status_after_fit
from weibnb.parallel import on_threads, shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch
    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.status import Status
    from weibnb.fitting.weibull import Estimator

    Arrays = dict[str, NDArray[Any]]

_NO_FORCES = np.full(len(FORCES), np.nan)
# Attributes of a matrix that are columns as they are.
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("model", "component", "parameter", "dtype", "status"), object),
    **dict.fromkeys(("layer", "step", "expert"), np.int64),
    **dict.fromkeys(("rows", "cols", "dead_rows", "dead_cols"), np.int32),
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight matrix, counted or not.

    Attributes
    ----------
    model, layer, component, step, expert
        Its cell; `expert` is `NO_EXPERT` for a matrix that is not one.
    parameter, dtype, rows, cols
        Its tensor, by output and input features.
    status : str
        ``"ok"`` or ``"scaled"`` if it was counted, else why it was not.
    counts : Counts or None
        How often each magnitude occurs.
    lines : Lines or None
        Some of its rows and columns as stored, for errors that are clustered by them.
    transposed : bool
        Whether its columns as stored are output features.
    dead_rows, dead_cols : int
        Output and input features of nothing but zeros, -1 where nobody looked.
    row_rms, col_rms : ndarray of float32 or None
        Root mean square of every output feature and of every input feature.
    forces : ndarray of float64 or None
        `FORCES`, if they were summed while a model trained.
    sampled : ndarray of float64, shape (4,), or None
        Of a matrix that was read in part, what `weibnb.fitting.sampling` says of it.
    """

    model: str
    layer: int
    component: str
    step: int
    expert: int
    parameter: str
    dtype: str
    rows: int
    cols: int
    status: Status
    counts: Counts | None
    lines: Lines | None = None
    transposed: bool = False
    dead_rows: int = -1
    dead_cols: int = -1
    row_rms: NDArray[np.float32] | None = None
    col_rms: NDArray[np.float32] | None = None
    forces: NDArray[np.float64] | None = None
    sampled: NDArray[np.float64] | None = None


def estimate(
    matrices: Sequence[Matrix],
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
    fitted_on: torch.device | None = None,
) -> Arrays:
    """Fit and describe matrices: columns with one entry for each.

    Torch fits if a device is given, else compiled code. The columns are the attributes of `Matrix`,
    with the status after the fit, and the variables of the Dataset that have one value for each
    matrix; ``magnitude_quantile`` is (matrices, quantiles), ``counts`` are `Counts`, empty where a
    matrix was not counted, and `FIELDS` are arrays of float32, empty where they were not looked
    at. Columns of several calls may be concatenated.
    """
    columns = _attributes(matrices)
    columns |= {
        name: as_objects([_field(getattr(matrix, name)) for matrix in matrices]) for name in FIELDS
    }
    none = Counts()
    columns["counts"] = as_objects([matrix.counts or none for matrix in matrices])
    rows = CountRows.of(columns["counts"])
    found = describe(rows, columns["counts"], workers)
    before = columns["status"]
    counted = np.isin(before, COUNTED)
    for column in found.values():
        if column.dtype.kind == "f":
            column[~counted] = np.nan
    lines = [matrix.lines for matrix in matrices]
    sampled = _sampled(matrices)
    found |= fit_counts(
        rows,
        trim=trim,
        estimator=estimator,
        workers=workers,
        lines=lines,
        device=fitted_on,
        sampled=sampled,
    )
    found |= _of_samples(sampled, found)
    found |= _unequal_scales(matrices, workers)
    found["se_kind"] = error_kind(found["k_se"], found[EFFECTS[0]])
    found["scaled"] = before == "scaled"
    found["status"] = status_after_fit(
        before,
        found["status"],
        zeros=rows.zeros,
        nonfinite=rows.nonfinite,
        scaled=found["scaled"],
    )
    return columns | found


def _sampled(matrices: Sequence[Matrix]) -> NDArray[np.float64]:
    """Tell which matrices were read in part, and with what errors: (matrices, 4)."""
    known = [WHOLE if matrix.sampled is None else matrix.sampled for matrix in matrices]
    return np.reshape(known, (-1, WHOLE.size))


def _of_samples(sampled: NDArray[np.float64], found: Arrays) -> Arrays:
    """Give `SAMPLING`, and leave out of matrices read in part what only all weights tell."""
    share, lam = sampled[:, SHARE], found["lam"]
    errors = np.sqrt(sampled[:, [VARIANCE_K, VARIANCE_LN_LAM]])
    errors[np.isnan(lam)] = np.nan
    unseen = {name: np.where(share < 1.0, np.nan, found[name]) for name in ("max_abs", "kurtosis")}
    return unseen | dict(zip(SAMPLING, (share, errors[:, 0], errors[:, 1] * lam), strict=True))


def _field(field: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Give a field, an empty one for None."""
    return np.empty(0, np.float32) if field is None else field


def _unequal_scales(matrices: Sequence[Matrix], workers: int) -> Arrays:
    """Measure how unequal the scales of rows and columns are, NaN where nobody looked."""

    def job(part: slice) -> NDArray[np.float64]:
        return scales_of(matrices[part])

    found = np.concatenate(on_threads(job, shares(len(matrices), workers), workers))
    return dict(zip(SCALES, found.T, strict=True))


def scales_of(matrices: Sequence[Matrix]) -> NDArray[np.float64]:
    """Give `SCALES` of matrices: by all of their lines if they were looked at, else by some."""
    largest = [0.0 if matrix.counts is None else matrix.counts.largest for matrix in matrices]
    found = spreads([matrix.lines for matrix in matrices], np.array(largest))
    transposed = [matrix.transposed for matrix in matrices]
    found[transposed] = found[transposed, ::-1]
    for one, matrix in zip(found, matrices, strict=True):
        if matrix.lines is not None and matrix.row_rms is not None and matrix.col_rms is not None:
            one[:] = spread(matrix.row_rms, one[0, 2]), spread(matrix.col_rms, one[1, 2])
    return found[:, :, :2].reshape(-1, len(SCALES))


def pending(matrices: Sequence[Matrix], **protocol: Any) -> Arrays:
    """Give the columns that `estimate` gives of matrices that were not counted, at once."""
    one = estimate(matrices[:1], **protocol)
    repeated = {name: np.repeat(column, len(matrices), axis=0) for name, column in one.items()}
    return repeated | _attributes(matrices)


def _attributes(matrices: Sequence[Matrix]) -> Arrays:
    """Give the columns that are attributes of matrices as they are."""
    forces = [_NO_FORCES if matrix.forces is None else matrix.forces for matrix in matrices]
    columns: Arrays = dict(zip(FORCES, np.reshape(forces, (-1, len(FORCES))).T, strict=True))
    return columns | {
        name: np.array([getattr(matrix, name) for matrix in matrices], kind)
        for name, kind in _KINDS.items()
    }


def describe(rows: CountRows, counts: Iterable[Counts], workers: int) -> Arrays:
    """Give the variables that follow from the counts without a fit, one value for each matrix."""
    found = describe_counts(rows, workers=workers)
    found["magnitude_quantile"] = found.pop("quantile")
    finite = found["n"] + rows.zeros
    found["zero_fraction"] = np.where(finite > 0, rows.zeros / np.maximum(finite, 1), np.nan)
    found["max_abs"] = np.array([one.largest for one in counts], float)
    return found | {"nonfinite": rows.nonfinite}
