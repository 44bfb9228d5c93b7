"""Checkpoints -> a Dataset of fits: the one place that joins reading, counting and fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.fits.build import median_present
from weibnb.fits.schema import prepare, protocol_attributes
from weibnb.fitting.estimates import ESTIMATES, fit_counts
from weibnb.fitting.weibull import Estimator, check_protocol, protocol_text
from weibnb.parallel import check_workers

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Status words that no protocol changes.
_NEVER_FITTED = (
    "absent",
    "quantized",
    "unsupported_dtype",
    "unreadable",
    "empty",
    "no_finite",
    "all_zero",
)


def refit(
    fits: xr.Dataset,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator | None = None,
    workers: int | None = None,
) -> xr.Dataset:
    """Estimate k and λ anew from the counts: another trim or estimator, without the weights.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts.
    trim : tuple of float, optional
        Probability interval. By default the estimator's own (see `scan`).
    estimator : {"rank_regression", "maximum_likelihood"}, optional
        By default the one that the fits were made by.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        A new Dataset; what does not depend on the protocol is shared with `fits`.

    Raises
    ------
    TypeError
        If `fits` is no Dataset.
    ValueError
        If the Dataset holds no counts, or an argument is not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {"model.layers.0.mlp.up_proj.weight": rng.normal(0, 0.02, (512, 512))}
    >>> fits = wb.scan({"tiny": weights})
    >>> wider = refit(fits, trim=(0.05, 0.95))
    >>> bool(wider.k.item() < fits.k.item()), wider.attrs["trim_lower"]
    (True, 0.05)
    """
    fits = prepare(fits, mixed_protocols=True)
    workers = check_workers(workers)
    if "counts" not in fits:
        raise ValueError(
            "`fits` must hold the magnitude counts to be fitted again; "
            "scan with keep_counts=True (the default)."
        )
    trim, chosen = check_protocol(trim, estimator or fits.attrs["estimator"])
    fresh = _fit_stored(fits, trim=trim, estimator=chosen, workers=workers)
    if fresh["k"].ndim > fits["k"].ndim:
        fresh = _median_fit(fresh)
    dims = fits["k"].dims
    before, after = fits["status"].values, fresh["status"]
    fitted = after == "ok"
    after[fitted & fits["scaled"].values] = "scaled"
    after[fitted & (fits["nonfinite"].values > 0)] = "nonfinite"
    kept = np.isin(before, _NEVER_FITTED) | (fitted & (before == "partial"))
    fresh["status"] = np.where(kept, before, after)
    attributes = {name: fits[name].attrs for name in fresh}
    result = fits.assign({name: (dims, fresh[name], attributes[name]) for name in fresh})
    result["protocol"] = xr.full_like(fits["problem"], protocol_text(trim, chosen))
    result.attrs = fits.attrs | protocol_attributes(trim, chosen)
    return result


def _fit_stored(
    fits: xr.Dataset, *, trim: tuple[float, float], estimator: Estimator, workers: int | None
) -> dict[str, NDArray[Any]]:
    """Fit every row of the counts; counts on disk are loaded layer by layer, never all at once."""
    counts, labels = fits["counts"], fits["bin"].values
    dims, shape = counts.dims[:-1], counts.shape[:-1]
    in_memory = isinstance(counts.variable._data, np.ndarray)  # noqa: SLF001  (no public way)
    parts: list[tuple[int, ...]] = [()] if in_memory else list(np.ndindex(shape[:2]))
    whole: dict[str, NDArray[Any]] = {}
    for part in parts:
        place = dict(zip(dims, part, strict=False))
        exact = fits["counts_exact"].isel(place).values.reshape(-1)
        rows = counts.isel(place).values.reshape(exact.size, labels.size)
        fitted = fit_counts(rows, labels, exact, trim=trim, estimator=estimator, workers=workers)
        for name, column in fitted.items():
            target = whole.setdefault(name, np.empty(shape, column.dtype))
            target[part] = column.reshape(shape[len(part) :])
    return whole


def _median_fit(fitted: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Reduce freshly fitted experts to one value a cell."""
    best = (fitted["status"] == "ok").argmax(-1)[..., None]
    medians = {name: median_present(fitted[name]) for name in ESTIMATES}
    return medians | {"status": np.take_along_axis(fitted["status"], best, -1)[..., 0]}
