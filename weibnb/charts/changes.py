"""What changed between two checkpoints: a map, and the Weibull plot of single changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.layers import Colours, choose, heat, least_reach
from weibnb.charts.marks import notice
from weibnb.charts.sentences import summary
from weibnb.charts.tables import MAX_PANELS, UNKNOWN, layer_medians, panels
from weibnb.charts.weibull_plots import weibull_plot
from weibnb.diagnostics.changes import Diff
from weibnb.fits.schema import DIMS, NO_EXPERT, gaussian_anchor, prepare
from weibnb.fits.select import keep_cells
from weibnb.messages import check_choice, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from weibnb.charts.vega import Spec

ChangeValue = Literal[
    "relative", "changed", "change_k", "directions", "distance", "delta_k", "delta_ln_lam",
    "delta_ln_rms",
]  # fmt: skip

#: What a map of each value is called.
TITLES = {
    "relative": "Size of the change, ‖ΔW‖/‖W‖",
    "changed": "Share of weights that changed",
    "change_k": "Weibull shape k of |ΔW|",
    "directions": "Directions that hold 90 % of 32 rows of ΔW",
    "distance": "Wasserstein distance of ln|w|",
    "delta_k": "Change of k",
    "delta_ln_lam": "Change of ln λ",
    "delta_ln_rms": "Change of ln rms",
}
_LEGENDS = {
    "relative": "‖ΔW‖/‖W‖", "change_k": "k of |ΔW|", "delta_k": "Δk", "delta_ln_lam": "Δ ln λ",
    "delta_ln_rms": "Δ ln rms",
}  # fmt: skip
_TIPS = (
    "value", "noise=two standard errors", "relative=‖ΔW‖/‖W‖", "changed", "change_k=k of |ΔW|",
    "delta_k=Δk",
)  # fmt: skip
_DIGITS = {"changed": ".0%", "directions": ".0f", "relative": ".2~g"}


@as_chart
def change_map(
    found: Diff | xr.Dataset,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
    *,
    value: ChangeValue | None = None,
    select: Sequence[tuple[int, str]] | None = None,
) -> Spec:
    """Map what changed over layers and components, above the Weibull plot of single changes.

    Parameters
    ----------
    found : Diff or xarray.Dataset
        From `weibnb.diff`; or fits that hold both checkpoints, of which `first` and `second` are
        compared.
    first, second : Mapping, optional
        Labels that choose one model and one step of fits each, as for ``fits.sel``.
    value : str, optional
        Column of ``found.table``: ``"relative"`` (by default, where weights were read),
        ``"changed"``, ``"change_k"`` or ``"directions"``; ``"distance"`` (by default, of fits
        with counts), ``"delta_k"``, ``"delta_ln_lam"`` or ``"delta_ln_rms"``.
    select : sequence of (int, str), optional
        Layer and component of the matrices whose |ΔW| is drawn on Weibull paper; by default the
        one that changed most. An empty one draws the map alone.

    Returns
    -------
    altair chart
        The colours of differences diverge from 0, those of ``change_k`` from an untrained
        Gaussian. A dot marks a difference below two standard errors. Where only fits were
        compared, the map alone. Medians are drawn over experts.

    Raises
    ------
    TypeError, ValueError
        If `found` is something else, the value is unknown, or a matrix is not in it.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> base = {name: rng.normal(size=(64, 64))}
    >>> chart = change_map(wb.diff(base, {name: base[name] + rng.normal(size=(64, 64))}))
    """
    if isinstance(found, xr.Dataset):
        fits = prepare(found, dims=DIMS)
        sides = [choose(fits, p or {}, w) for p, w in ((first, "first"), (second, "second"))]
        if any(side["layer"].dtype.kind not in "iu" for side in sides):
            raise ValueError(
                "`fits` must hold layers with numbers to be compared, not medians over layers. "
                "Scan the weights: weibnb.scan(path)."
            )
        from weibnb.diagnostics.changes_of_fits import compare_fits  # takes numba

        found = compare_fits(sides[0], sides[1])
    if not isinstance(found, Diff):
        raise TypeError(f"`found` must come from weibnb.diff, got {type(found).__name__}.")
    counted = bool(found.table["distance"].notna().any())
    of_fits: ChangeValue = "distance" if counted else "delta_ln_rms"
    value = value or (of_fits if found.by_fits else "relative")
    check_choice("value", value, get_args(ChangeValue))
    table = _matrices(found, value)
    names = " → ".join(shortened(name, 60) for name in (found.before, found.after))
    title: Spec = {"text": TITLES[value], "subtitle": [names]}
    if not table["value"].notna().any():
        reason = "nothing to draw: " + (
            "no weight matrix is on both sides" if table.empty else "no matrix has this number"
        )
        return notice(title, [reason])
    table, note = layer_medians(panels(table, "model"))
    title["subtitle"] += [note] * bool(note)
    colours = None
    if value.startswith("delta_"):
        errors = table["noise"] / 2 if "noise" in table else table["value"] * np.nan
        colours = Colours(0.0, "no change", least_reach(errors))
    elif value == "change_k" and found.fits is not None:
        errors = table["change_k_se"] if "change_k_se" in table else table["value"] * np.nan
        colours = Colours(gaussian_anchor(found.fits).k, "a Gaussian", least_reach(errors))
    name, digits = _LEGENDS.get(value, value), _DIGITS.get(value, ".3f")
    told = {"description": f"{names}. {summary(table, 'value', TITLES[value])}"}
    drawn = heat(table, title, name, colours=colours, tips=_TIPS, digits=digits)
    chosen = _chosen(found, select)
    if found.fits is None or not chosen:
        return drawn | told
    cells = [(found.fits["model"].item(), *cell, 0) for cell in chosen]
    part = keep_cells(found.fits, cells)
    if "expert" in part.dims and part.sizes["expert"] > MAX_PANELS // len(cells):
        part = part.isel(expert=slice(0, MAX_PANELS // len(cells)))
    plots = weibull_plot.spec(part)
    title = {
        "text": "Weibull plot of |ΔW|",
        "subtitle": ["|w| is |Δw| of the weights that changed"],
    }
    plots["vconcat"][0]["title"] = title
    del plots["description"]
    both = {"vconcat": [drawn, plots], "spacing": 24} | told
    return both | {"resolve": {"scale": {"color": "independent", "shape": "independent"}}}


def _matrices(found: Diff, value: str) -> pd.DataFrame:
    """List the weight matrices as a map needs them: one row each, with its number."""
    table = found.table[found.table["layer"].notna()].copy()
    table["layer"] = table["layer"].astype(int)
    table["model"] = printable(f"{found.before} → {found.after}")
    table["model_order"] = 0
    places = {name: i for i, name in enumerate(found.components)}
    table["component_order"] = [places.get(name, len(places)) for name in table["component"]]
    table["value"] = table[value]
    if f"{value}_se" in table and value != "change_k":
        table["noise"] = 2 * table[f"{value}_se"]
    unknown = table["status"].where(table["status"] != "ok", UNKNOWN)
    table["reason"] = unknown.where(table["value"].isna(), "")
    table["parameter"] = table["tensor"]
    table = table.drop(columns=["k_before", "k_after", "errors"])
    if (table["expert"] == NO_EXPERT).all():
        table = table.drop(columns="expert")
    return table.reset_index(drop=True)


def _chosen(found: Diff, select: Sequence[tuple[int, str]] | None) -> list[tuple[int, str]]:
    """Check the chosen matrices; give the one that changed most where none is named."""
    matrices = found.table[found.table["layer"].notna()]
    known = [
        (int(layer), str(name))
        for layer, name in zip(matrices["layer"], matrices["component"], strict=True)
    ]
    if select is None:
        moved: Any = np.flatnonzero((matrices["changed"].fillna(0) > 0).to_numpy())
        return [known[moved[0]]] if moved.size else []
    chosen = [(int(layer), str(name)) for layer, name in select]
    for cell in chosen:
        if cell not in known:
            listed = ", ".join(map(str, known[:4]))
            raise ValueError(
                f"`select` must name matrices of `found` as (layer, component), got {cell!r}; "
                f"it has {listed}{', …' if len(known) > 4 else ''}."
            )
    if len(chosen) > MAX_PANELS:
        raise ValueError(f"`select` must name at most {MAX_PANELS} matrices, got {len(chosen)}.")
    return chosen
