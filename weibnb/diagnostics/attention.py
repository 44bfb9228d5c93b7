"""Attention: how models store queries, keys and values, and how severe selection is by k.

Verdicts are given and withheld as `weibnb.diagnostics.verdicts` says.
"""

from __future__ import annotations

from typing import overload

import numpy as np
import xarray as xr

from weibnb.diagnostics.verdicts import (
    assemble,
    errors_of,
    interval_words,
    require_protocol,
    status_where_unfitted,
)
from weibnb.fits.schema import prepare

#: Severity of selection by k. 1.0 lies between the published ranges (separately stored MHA
#: 0.76-0.99, GQA 1.10-1.16, fused 1.05-1.18), 1.15 inside two of them; 1.204 is the upper edge of
#: the transmission band.
SELECTION_CONVENTION = "weibnb selection 1: deep < 1.0, mild < 1.15, near-transmission <= 1.204"
SELECTION_EDGES = (1.0, 1.15, float(np.nextafter(1.204, np.inf)))
SELECTION_WORDS = ("deep", "mild", "near-transmission", "above transmission")


@overload
def storage_type(fits: xr.Dataset) -> xr.DataArray: ...
@overload
def storage_type(*, n_heads: int, n_kv_heads: int) -> str: ...


def storage_type(
    fits: xr.Dataset | None = None, *, n_heads: int | None = None, n_kv_heads: int | None = None
) -> xr.DataArray | str:
    """Tell how each model stores queries, keys and values.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits from `weibnb.scan`.
    n_heads, n_kv_heads : int, optional
        Query heads and key-value heads, both, in place of fits. Whether queries, keys and values
        are fused into one matrix they do not tell.

    Returns
    -------
    xarray.DataArray or str
        The word for the heads; of fits on dim model: ``"MLA"`` (multi-head latent attention:
        low-rank factors), ``"fused"`` (one matrix), ``"separate MHA"``,
        ``"GQA n:1"``, ``"MQA"``, ``"mixed"`` where layers differ, or
        ``"unknown"``.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or numbers of heads are not whole, positive and
        multiples of each other.

    Notes
    -----
    Query heads per key-value head come from config.json where it gives fewer key-value heads than
    heads, else from the rows of ``q_proj`` over those of ``k_proj``. Of several towers the one
    without a prefix decides. MQA is known from config.json only: by its shapes it is GQA. Parts of
    fused matrices count as stored apart where the whole is not among the fits.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> from weibnb.testing import write_checkpoint
    >>> with tempfile.TemporaryDirectory() as place:
    ...     file = write_checkpoint(f"{place}/tiny", hidden=512, kv_share=4)
    ...     storage_type(wb.scan(file)).item()
    'GQA 4:1'
    >>> storage_type(n_heads=32, n_kv_heads=8)
    'GQA 4:1'
    """
    if fits is None:
        return _word_of_heads(n_heads, n_kv_heads)
    if n_heads is not None or n_kv_heads is not None:
        raise ValueError("`n_heads` and `n_kv_heads` must be omitted where fits are given.")
    fits = prepare(fits, light=True, dims=("model", "component"))
    others = [dim for dim in fits["status"].dims if dim not in ("model", "component")]
    present = (fits["status"] != "absent").any(others).transpose("model", "component").values
    names = fits["component"].values.astype(str)
    plain = np.array(["." not in name for name in names])
    words = []
    for index, row in enumerate(present):
        chosen = row & plain if (row & plain).any() else row
        words.append(_storage_word(fits.isel(model=index), names[chosen].tolist()))
    return xr.DataArray(
        words,
        {"model": fits["model"]},
        "model",
        name="storage_type",
        attrs={"long_name": "Storage of queries, keys and values"},
    )


def _word_of_heads(heads: int | None, shared: int | None) -> str:
    """Storage from numbers of heads, or an error."""
    for name, number in (("n_heads", heads), ("n_kv_heads", shared)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"`{name}` must be a whole number, got {number!r}.")
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}.")
    if heads is None or shared is None or heads % shared:
        raise ValueError(f"`n_heads` must be a multiple of `n_kv_heads`, got {heads} and {shared}.")
    return "MQA" if shared == 1 < heads else _share_word(heads / shared)


def selection(fits: xr.Dataset) -> xr.Dataset:
    """Tell how far queries and keys have moved away from transmission.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %.

    Returns
    -------
    xarray.Dataset
        For every cell of class selection or fused: ``k``, ``standard_error`` and ``severity``:
        ``"deep"`` (k < 1.0), ``"mild"`` (1.0 to 1.15), ``"near-transmission"`` (1.15 to 1.204),
        ``"above transmission"`` (a Gaussian, 1.2054, is there); ``"not resolved"`` too near one of
        these edges for its error; the cell's status where k is NaN. `storage_type`
        is a coord: severities of different storage are not comparable.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by this protocol, or has no such component.

    References
    ----------
    T. Ding, arXiv:2605.18898: separately stored MHA 0.76-0.99, GQA 1.10-1.16, fused 1.05-1.18.
    The edges are a convention of weibnb, `SELECTION_CONVENTION`; 1.15 lies inside the ranges of
    GQA and fused storage, and parts their entries.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> selection(reference_cohort()).severity.sel(model="olmo-1-7b", component="q_proj").item()
    'deep'
    """
    fits = prepare(fits, light=True, dims=("model", "component"))
    require_protocol(fits, "Selection severity")
    if "weight_class" not in fits.coords:
        raise ValueError("`fits` must have the coordinate weight_class, as weibnb.scan gives it.")
    kept = np.isin(fits["weight_class"].values.astype(str), ("selection", "fused"))
    if not kept.any():
        raise ValueError(
            "`fits` must hold queries or keys (q_proj, k_proj, qkv_proj, ...), got "
            f"{', '.join(map(str, fits['component'].values))}."
        )
    fits = fits.assign_coords(storage_type=storage_type(fits)).isel(component=kept)
    k, error = fits["k"], errors_of(fits)
    words = interval_words(fits, k, error, SELECTION_EDGES, SELECTION_WORDS)
    return assemble(
        {
            "k": (k, "Weibull shape k", "1"),
            "standard_error": (error, "Standard error of k", "1"),
            "severity": (status_where_unfitted(words, fits), "Severity of selection", ""),
        },
        fits.attrs | {"convention": SELECTION_CONVENTION},
    )


def _storage_word(model: xr.Dataset, components: list[str]) -> str:
    """Storage of one model, from the names of its components, its heads and its shapes."""
    parts = {name.rpartition(".")[2] for name in components}
    if parts & {"kv_a_proj", "kv_b_proj", "q_a_proj", "q_b_proj"}:
        return "MLA"
    if "qkv_proj" in parts:
        return "fused"
    heads, shared = (float(model.get(name, np.nan)) for name in ("n_heads", "n_kv_heads"))
    if heads > shared > 0:
        return "MQA" if shared == 1 else _share_word(heads / shared)
    stems = [name.removesuffix("q_proj") for name in components if name.endswith("q_proj")]
    pairs = [(f"{stem}q_proj", f"{stem}k_proj") for stem in stems if f"{stem}k_proj" in components]
    if not pairs or "rows" not in model:
        apart = heads == shared > 0 and {"q_proj", "k_proj"} <= parts
        return "separate MHA" if apart else "unknown"
    rows = model["rows"]
    wide, narrow = (rows.sel(component=list(names)).values for names in zip(*pairs, strict=True))
    both = (wide > 0) & (narrow > 0)
    shares = np.unique(wide[both] / narrow[both])
    if shares.size > 1:
        return "mixed"
    return _share_word(float(shares[0])) if shares.size else "unknown"


def _share_word(share: float) -> str:
    """Storage of queries and keys apart, from the query heads per key-value head."""
    if share == 1:
        return "separate MHA"
    return f"GQA {share:.0f}:1" if share > 1 and share.is_integer() else "unknown"
