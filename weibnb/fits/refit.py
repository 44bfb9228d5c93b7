"""Estimates made anew from the counts: another trim or estimator, without the weights."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.dispatch import resolve_devices
from weibnb.fits.build import describe
from weibnb.fits.covariance import covariance_of
from weibnb.fits.experts import merge_expert_fits, merge_statistic
from weibnb.fits.rows import count_blocks
from weibnb.fits.sampled import known_of_samples, with_sampling_errors
from weibnb.fits.schema import (
    SAMPLING,
    check_holds,
    error_kind,
    prepare,
    protocol_attributes,
)
from weibnb.fitting.backends import backend_name, fitting_device
from weibnb.fitting.estimates import COVARIANCES, EFFECTS, fit_counts
from weibnb.fitting.status import status_after_fit
from weibnb.fitting.weibull import Estimator, check_protocol, protocol_text
from weibnb.messages import NotHeldError
from weibnb.parallel import check_workers

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from weibnb.fitting.backends import Backend

# What stands beside the counts and is not made anew; the errors where they were clustered.
_USED = ("n", "zero_fraction", "nonfinite", "scaled", "problem")
_ERRORS = ("k_se", "lam_se", "k_lam_correlation", *EFFECTS)


def refit(
    fits: xr.Dataset,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator | None = None,
    device: str = "cpu",
    backend: Backend = "auto",
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
    device : str
        Where to fit: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"``, as in `scan`. A device is
        meant for tens of thousands of matrices.
    backend : {"auto", "numba", "torch"}
        What fits: compiled code on the CPU, or torch on the device. ``"auto"``: torch on CUDA,
        else compiled code. Both give k and λ to 1e-10.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        A new Dataset; what does not depend on the protocol is shared with `fits`. Standard errors
        and design effects are made from what the scan kept of rows and columns,
        ``line_covariance``: `se_kind` says ``"scaled"``. Without it they are independent ones.
        Errors of sampling are in proportion to those of independent weights, as in the scan.

    Raises
    ------
    TypeError
        If `fits` is no Dataset.
    ValueError
        If the Dataset holds no counts, or an argument is not valid.
    RuntimeError
        If the device is not there.
    ImportError
        If torch is needed and not installed.

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
    if "counts" not in fits:
        raise NotHeldError(
            "`fits` must hold the magnitude counts to be fitted again; "
            "scan with keep_counts=True (the default)."
        )
    check_holds(fits, *_USED, *(_ERRORS if "se_kind" in fits else ()))
    trim, chosen = check_protocol(trim, estimator or fits.attrs["estimator"])
    workers = check_workers(workers)
    fitted_on = fitting_device(backend, resolve_devices(device))
    fits = _described_pending(fits, workers)
    fresh = _fit_counts_of(fits, trim=trim, estimator=chosen, workers=workers, device=fitted_on)
    if fresh["k"].ndim > fits["k"].ndim:
        fresh = merge_expert_fits(fresh)
    dims = fits["k"].dims
    fresh["status"] = status_after_fit(
        fits["status"].values,
        fresh["status"],
        zeros=fits["zero_fraction"].values > 0,
        nonfinite=fits["nonfinite"].values,
        scaled=fits["scaled"].values,
    ).reshape(fits["k"].shape)
    _leave_out_uncounted(fresh, fits)
    fresh |= with_sampling_errors(fresh, fits)
    kept = [name for name in fresh if name in fits]
    result = fits.assign({name: (dims, fresh[name], fits[name].attrs) for name in kept})
    result["protocol"] = xr.full_like(fits["problem"], protocol_text(trim, chosen), dtype=object)
    result = _with_known_errors(result, fits)
    backend_used = {"backend": backend_name(fitted_on)}
    result.attrs = fits.attrs | protocol_attributes(trim, chosen) | backend_used
    return result


def _leave_out_uncounted(fresh: dict[str, NDArray[Any]], fits: xr.Dataset) -> None:
    """Call what was fitted once, and whose counts are not kept, absent; with a warning."""
    gone = (fresh["status"] == "empty") & (fits["n"].values > 0)
    if gone.any():
        fresh["status"][gone] = "absent"
        text = f"{int(gone.sum())} matrices have no counts and are left out: a long recording "
        warnings.warn(f"{text}keeps those of log-spaced records.", stacklevel=3)


def _with_known_errors(fresh: xr.Dataset, fits: xr.Dataset) -> xr.Dataset:
    """Say how the errors of fresh fits were made; those of the same protocol stay as they are."""
    if "se_kind" not in fits:
        return fresh
    kind = error_kind(fresh["k_se"].values, fresh[EFFECTS[0]].values)
    kind[kind == "clustered"] = "scaled"
    sampled = [name for name in SAMPLING if name in fresh]
    made = fresh[[*_ERRORS, *sampled]]
    made["se_kind"] = fresh["se_kind"].copy(data=kind)
    kept = (
        (fresh["protocol"] == fits.get("protocol", ""))
        & fits["k_se"].notnull()
        & fresh["k_se"].notnull()
    )
    return fresh.assign(
        {
            name: fits[name]
            .where(kept, array)
            .transpose(*array.dims)
            .assign_attrs(fits[name].attrs)
            for name, array in made.items()
        }
    )


def _described_pending(fits: xr.Dataset, workers: int) -> xr.Dataset:
    """Describe the cells that were counted and no more when their scan stopped."""
    pending = fits["status"] == "pending"
    if not bool(pending.any()):
        return fits
    counts, dims = fits["counts"], fits["k"].dims
    parts = [describe(block.rows, block.counts, workers) for block in count_blocks(fits)]
    found = {}
    for name in (name for name in parts[0] if name in fits):
        column = np.concatenate([part[name] for part in parts])
        column = column.reshape((*counts.shape, *column.shape[1:]))
        if counts.ndim > len(dims):
            column = merge_statistic(name, column, counts.ndim - 1)
        known = fits[name]
        described = known.copy(data=column.astype(known.dtype))
        found[name] = described.where(pending, known).transpose(*known.dims).astype(known.dtype)
    return fits.assign(found)


def _fit_counts_of(
    fits: xr.Dataset,
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
    device: torch.device | None,
) -> dict[str, NDArray[Any]]:
    """Fit the counts of every cell and expert."""
    shape, covariance = fits["counts"].shape, covariance_of(fits)
    sampled = known_of_samples(fits)
    whole: dict[str, NDArray[Any]] = {}
    for block in count_blocks(fits):
        found = fit_counts(
            block.rows,
            trim=trim,
            estimator=estimator,
            workers=workers,
            covariance=covariance[block.place].reshape(-1, COVARIANCES),
            device=device,
            sampled=sampled[block.place].reshape(-1, sampled.shape[-1]),
        )
        for name, column in found.items():
            target = whole.setdefault(name, np.empty(shape, column.dtype))
            target[block.place] = column.reshape(target[block.place].shape)
    return whole
