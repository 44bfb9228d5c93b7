"""The schema of a Dataset of fits: what it holds, and whether a Dataset is one."""

from __future__ import annotations

import datetime as dt
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import ExplicitlyIndexed

from weibnb.counting.counts import Counts
from weibnb.fitting.weibull import Anchor, Estimator, Trim, anchor, check_protocol
from weibnb.messages import NotHeldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


#: Dimensions of every estimate; ``scan(..., experts="each")`` adds ``expert``.
DIMS = ("model", "layer", "component", "step")
#: Variables of whole checkpoints, on the dims model and step.
OF_CHECKPOINTS = ("source", "fingerprint", "problem", "not_fitted", "protocol")
#: What to do where fits lack what a scan tells, as those made of tables do.
RESCAN = "scan the weights: weibnb.scan(path)"
#: Expert coordinate of a matrix that is not an expert.
NO_EXPERT = -1
#: Variables and what they mean: long name, units.
VARIABLES: dict[str, tuple[str, str]] = {
    "k": ("Weibull shape k", "1"),
    "lam": ("Weibull scale λ", "units of the weights"),
    "r2": ("Coefficient of determination of the Weibull plot over the trim", "1"),
    "ks": ("Kolmogorov-Smirnov distance over the trim", "1"),
    "ks_full": ("Kolmogorov-Smirnov distance over all weights", "1"),
    "k_se": ("Standard error of k", "1"),
    "lam_se": ("Standard error of λ", "units of the weights"),
    "k_design_effect": ("Variance of k over that of independent weights", "1"),
    "lam_design_effect": ("Variance of λ over that of independent weights", "1"),
    "line_covariance": ("Covariance of rank functions within rows and columns", "1"),
    "se_kind": ("How the standard errors were made", ""),
    "sampled_fraction": ("Share of the matrix that was read", "1"),
    "k_sampling_se": ("Standard error of k against the fit to the whole matrix", "1"),
    "lam_sampling_se": (
        "Standard error of λ against the fit to the whole matrix",
        "units of the weights",
    ),
    "k_spread": ("Robust spread of k over the experts of the cell", "1"),
    "k_lam_correlation": ("Correlation of the estimates of k and ln λ", "1"),
    "h_row": ("Standard deviation of ln RMS over output features", "1"),
    "h_row_se": ("Standard error of h_row", "1"),
    "h_col": ("Standard deviation of ln RMS over input features", "1"),
    "h_col_se": ("Standard error of h_col", "1"),
    "dead_rows": ("Output features of zeros alone, -1 where nobody looked", "1"),
    "dead_cols": ("Input features of zeros alone, -1 where nobody looked", "1"),
    "row_rms": ("Root mean square of each output feature", "units of the weights"),
    "col_rms": ("Root mean square of each input feature", "units of the weights"),
    "n": ("Non-zero finite weights, those that are fitted", "1"),
    "n_matrices": ("Matrices in the cell: more than one for experts", "1"),
    "zero_fraction": ("Share of finite weights that are exactly zero", "1"),
    "nonfinite": ("NaN and infinite weights", "1"),
    "rms": ("Root mean square of the finite weights", "units of the weights"),
    "mean_abs": ("Mean magnitude of the finite weights", "units of the weights"),
    "max_abs": ("Largest finite magnitude", "units of the weights"),
    "kurtosis": ("Kurtosis about zero, E[w^4]/E[w^2]^2", "1"),
    "magnitude_quantile": ("Quantile of |w| of the finite weights", "units of the weights"),
    "force_alignment": ("Sum of 2η⟨W, u⟩ over the steps of AdamW", "units of the weights squared"),
    "force_injection": ("Sum of η²‖u‖² over the steps of AdamW", "units of the weights squared"),
    "force_decay": ("Sum of 2ηλ‖W‖² over the steps of AdamW", "units of the weights squared"),
    "force_second_order": (
        "Sum of (ηλ)²‖W‖² + 2η²λ⟨W, u⟩ over the steps of AdamW",
        "units of the weights squared",
    ),
    "squared_norm": ("Sum of the squared weights", "units of the weights squared"),
    "status": ("ok, or why the cell is not fitted or not to be trusted", ""),
    "parameter": ("Name of the tensor; * stands for the expert", ""),
    "dtype": ("Storage format", ""),
    "rows": ("Output features", "1"),
    "cols": ("Input features", "1"),
    "scaled": ("Whether a scale tensor lies beside the stored weights", "1"),
    "counts": ("How often each magnitude occurs", ""),
}
#: What is known of rows and columns: how unequal they are, how many are dead, the scale of each.
SCALES = ("h_row", "h_row_se", "h_col", "h_col_se")
DEAD = ("dead_rows", "dead_cols")
FIELDS = {"row_rms": "row", "col_rms": "col"}
#: What is known of matrices that were read in part.
SAMPLING = ("sampled_fraction", "k_sampling_se", "lam_sampling_se")
#: What moved the norm of a matrix, summed over the steps of an AdamW, and that norm squared.
FORCES = (
    "force_alignment",
    "force_injection",
    "force_decay",
    "force_second_order",
    "squared_norm",
)
TEXT = (
    "status",
    "se_kind",
    "parameter",
    "dtype",
    "source",
    "fingerprint",
    "problem",
    "not_fitted",
    "protocol",
    "weight_class",
    "tower",
    "model_type",
    "tied_embeddings",
)
EMPTY_TEXT = {"status": "absent", "not_fitted": "[]", "se_kind": "none"}


@cache
def package_version() -> str:
    """Version of weibnb that is running."""
    try:
        return version("weibnb")
    except PackageNotFoundError:
        return "unknown"


def model_attributes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a config.json says of the architecture, under one name for all families."""
    text = config.get("text_config")
    inner = {**config, **text} if isinstance(text, dict) else dict(config)

    def number(*names: str) -> float:
        for name in names:
            value = inner.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value) if abs(value) < 1e300 else float("nan")
        return float("nan")

    heads = number("num_attention_heads", "n_head", "n_heads", "num_heads")
    kv_heads = number("num_key_value_heads", "n_kv_heads", "num_kv_heads")
    if np.isnan(kv_heads):
        kv_heads = 1.0 if inner.get("multi_query") is True else heads
    tied = inner.get("tie_word_embeddings", inner.get("weight_tying"))
    return {
        "model_type": escape(str(config.get("model_type", "")))[:200],
        "tied_embeddings": "yes" if tied is True else "no" if tied is False else "",
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "n_layers": number("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        "hidden_size": number("hidden_size", "n_embd", "d_model", "dim"),
    }


def protocol_attributes(trim: tuple[float, float], estimator: str) -> dict[str, Any]:
    """Attributes that say when, by what and by which protocol fits were made."""
    return {
        "title": "Weibull fits of weight matrices",
        "weibnb_version": package_version(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "estimator": estimator,
        "trim_lower": float(trim[0]),
        "trim_upper": float(trim[1]),
        "plotting_position": "(i - 1/2) / n",
        "regression": "y on x, equal mass per weight" if estimator == "rank_regression" else "none",
    }


def prepare(
    fits: xr.Dataset,
    *needed: str,
    light: bool = False,
    dims: Sequence[str] = (),
    mixed_protocols: bool = False,
) -> xr.Dataset:
    """Check that a Dataset is one of fits and bring it into the form that every function expects.

    Parameters
    ----------
    fits : xarray.Dataset
        From `weibnb.scan`, or concatenated, merged or selected from several.
    *needed : str
        Variables that must be there.
    light : bool
        Leave the counts behind.
    dims : sequence of str
        Dims of `DIMS` to give back, of size 1, where a selection of one label dropped them.
    mixed_protocols : bool
        Accept estimates that were made by different protocols.

    Returns
    -------
    xarray.Dataset
        With text in every text variable, `Counts` in counts, and dims in the order of `DIMS`.

    Raises
    ------
    TypeError
        If it is no Dataset.
    ValueError
        If a dimension or a variable is missing (the message names the remedy), the protocol is
        not recorded, or it is not the same for all.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    >>> fits = wb.scan({"tiny": weights}, keep_counts=False)
    >>> prepare(fits.sel(model="tiny"), dims=DIMS)["k"].dims
    ('model', 'layer', 'component', 'step')
    >>> prepare(fits, "counts")
    Traceback (most recent call last):
    weibnb.messages.NotHeldError: `fits` must hold counts; scan with keep_counts=True (the default).
    """
    if not isinstance(fits, xr.Dataset):
        raise TypeError(f"`fits` must be an xarray.Dataset of fits, got {type(fits).__name__}.")
    if light:
        fits = fits.drop_vars("counts", errors="ignore")
    missing = [name for name in ("k", "lam", "status") if name not in fits]
    missing += [dim for dim in DIMS if dim not in fits.dims and dim not in fits.coords]
    missing += [name for name in ("estimator", "trim_lower") if name not in fits.attrs]
    if missing:
        raise ValueError(
            f"`fits` must be a Dataset of fits as weibnb.scan returns; it lacks "
            f"{', '.join(missing)}."
        )
    fits = _single_counts(_mend(_on_own_dims(_with_dims(fits, dims))))
    made_by: list[str] = list(fits["protocol"].values.ravel()) if "protocol" in fits else []
    protocols = set(made_by) - {""}
    if len(protocols) > 1 and not mixed_protocols:
        raise ValueError(
            f"`fits` must be made by one protocol, got {' and '.join(sorted(protocols))}. "
            "Bring them to one with weibnb.refit(fits, trim=...)."
        )
    if absent := [name for name in needed if name not in fits or _nowhere_known(fits, name)]:
        raise NotHeldError(f"`fits` must hold {', '.join(absent)}; {_remedy(absent)}.")
    order = [
        dim for dim in (*DIMS, "expert", "quantile", "pair", *FIELDS.values()) if dim in fits.dims
    ]
    ordered = all(
        variable.dims == tuple(dim for dim in order if dim in variable.dims)
        for variable in fits.data_vars.values()
    )
    return fits if ordered else fits.transpose(*order, ...)


def _nowhere_known(fits: xr.Dataset, name: str) -> bool:
    """Whether a variable on rows and columns is there, but of no matrix."""
    if name in DEAD:
        return not bool((fits[name] >= 0).any())
    return name in (*SCALES, *FIELDS) and not bool(fits[name].notnull().any())


def partly_read(fits: xr.Dataset) -> xr.DataArray:
    """Flag the cells of matrices that were read in part."""
    if SAMPLING[0] not in fits:
        return xr.zeros_like(fits["k"], dtype=bool)
    return fits[SAMPLING[0]] < 1.0


def check_holds(fits: xr.Dataset, *names: str) -> None:
    """Raise `NotHeldError` unless fits have these variables, known or not."""
    if absent := [name for name in names if name not in fits]:
        raise NotHeldError(f"`fits` must hold {', '.join(absent)}; {_remedy(absent)}.")


def _remedy(absent: Sequence[str]) -> str:
    """Say how fits get what they lack."""
    if "counts" in absent:
        return "scan with keep_counts=True (the default)"
    if set(absent) & set(FIELDS):
        return "scan with fields=True, on a CPU"
    if set(absent) & {*SCALES, *DEAD}:
        return "scan with structure=True (the default), on a CPU"
    return RESCAN


def _with_dims(fits: xr.Dataset, dims: Sequence[str]) -> xr.Dataset:
    """Give back dropped dims, and the coordinates that lie on them."""
    if not (dropped := [dim for dim in dims if dim not in fits["k"].dims]):
        return fits
    return fits.expand_dims(dropped).assign_coords(
        {
            name: (dim, np.atleast_1d(fits[name].values))
            for dim in dropped
            for name in _DESCRIBED_BY.get(dim, ())
            if name in fits.coords
        }
    )


def _on_own_dims(fits: xr.Dataset) -> xr.Dataset:
    """Give what is alike in joined selections of one label each the dims that a scan gives it."""
    own: dict[str, Any] = {
        name: (dim, np.full(fits.sizes[dim], fits[name].values))
        for dim, names in _DESCRIBED_BY.items()
        for name in names
        if dim in fits.dims and name in fits.coords and not fits[name].dims
    }
    for name in set(OF_CHECKPOINTS) & set(fits):
        one = fits[name].isel(layer=0, component=0, drop=True, missing_dims="ignore")
        if one.dims != fits[name].dims and bool((one == fits[name]).all()):
            own[name] = one.variable
    return fits.assign(own) if own else fits


def _mend(fits: xr.Dataset) -> xr.Dataset:
    """Restore the types that an outer join of Datasets turns into floats."""
    fits = _with_error_kind(fits)
    mended = {
        name: fits[name].astype(object).fillna(EMPTY_TEXT.get(name, ""))
        for name in TEXT
        if name in fits and not _is_lazy(fits[name]) and pd.isna(fits[name].values).any()
    }
    for name in ("n", "n_matrices", "nonfinite", "rows", "cols"):
        if name in fits and fits[name].dtype.kind == "f":
            mended[name] = fits[name].fillna(0).astype(np.int64)
    for name in DEAD:
        if name in fits and fits[name].dtype.kind == "f":
            mended[name] = fits[name].fillna(-1).astype(np.int32)
    if (counts := _counts_at_hand(fits)) is not None and (gaps := pd.isna(counts)).any():
        filled = counts.copy()
        filled[gaps] = Counts()
        mended["counts"] = fits["counts"].copy(data=filled)
    if "scaled" in fits and fits["scaled"].dtype != bool:
        scaled = fits["scaled"]
        mended["scaled"] = scaled.where(scaled.notnull(), other=False).astype(bool)
    return fits.assign(mended) if mended else fits


def _with_error_kind(fits: xr.Dataset) -> xr.Dataset:
    """Call errors independent where a Dataset without `se_kind` was joined."""
    if "se_kind" not in fits or "k_se" not in fits or _is_lazy(fits["se_kind"]):
        return fits
    unknown = ~fits["se_kind"].notnull() & fits["k_se"].notnull()
    if not bool(unknown.any()):
        return fits
    return fits.assign(se_kind=fits["se_kind"].astype(object).where(~unknown, "independent"))


def error_kind(k_se: NDArray[Any], effect: NDArray[Any]) -> NDArray[np.object_]:
    """Say how standard errors were made, from those of k and its design effects."""
    kind = np.where(np.isnan(effect), "independent", "clustered")
    return np.where(np.isnan(k_se), "none", kind).astype(object)


def protocol_of(fits: xr.Dataset) -> tuple[Estimator, Trim]:
    """Estimator and trim that fits were made by."""
    lower, upper = (float(fits.attrs.get(f"trim_{end}", np.nan)) for end in ("lower", "upper"))
    trim, estimator = check_protocol((lower, upper), str(fits.attrs["estimator"]))
    return estimator, trim


def gaussian_anchor(fits: xr.Dataset) -> Anchor:
    """Return what an untrained Gaussian matrix gives by the protocol of some fits."""
    estimator, trim = protocol_of(fits)
    return anchor("gaussian", trim=trim, estimator=estimator)


def _single_counts(fits: xr.Dataset) -> xr.Dataset:
    """Undo the copies that joining with a mixture of experts makes of a dense model's counts."""
    if (at_hand := _counts_at_hand(fits)) is None or "expert" in fits["k"].dims:
        return fits
    counts = fits["counts"]
    if "expert" not in counts.dims:
        return fits
    there = counts.copy(data=np.vectorize(_is_counted, otypes=[bool])(at_hand))
    alone = (fits["n_matrices"] <= 1) & there.sel(expert=NO_EXPERT)
    copied = (there & alone & (fits["expert"] != NO_EXPERT)).transpose(*counts.dims).values
    if not copied.any():
        return fits
    single = at_hand.copy()
    single[copied] = Counts()
    return fits.assign(counts=counts.copy(data=single))


def _is_lazy(array: xr.DataArray) -> bool:
    """Whether values come from a file when they are asked for: those need no mending."""
    return isinstance(array.variable._data, ExplicitlyIndexed)  # noqa: SLF001  (no public way)


def _counts_at_hand(fits: xr.Dataset) -> NDArray[np.object_] | None:
    """Give the counts if they are in memory; those that lie on disk need no mending."""
    data = fits["counts"].variable._data if "counts" in fits else None  # noqa: SLF001  (no public way)
    return data if isinstance(data, np.ndarray) else None


def _is_counted(counts: Counts) -> bool:
    """Whether a cell holds the counts of a matrix."""
    return counts.labels.size > 0


def escape(text: str) -> str:
    """Escape what neither Arrow nor HDF5 holds: NUL, and half characters of undecodable names."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


# Coordinates that lie on a dim.
_DESCRIBED_BY = {"model": tuple(model_attributes({})), "component": ("weight_class", "tower")}


def escape_all(words: NDArray[Any]) -> NDArray[np.object_]:
    """Escape every text of an array."""
    found = list(map(str, words.ravel().tolist()))
    escaped = {word: escape(word) for word in set(found)}
    return np.array([escaped[word] for word in found], object).reshape(words.shape)
