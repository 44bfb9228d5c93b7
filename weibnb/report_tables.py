"""The sections of a summary: what was found, medians, what stands out, bands, what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.diagnostics.bands import judge
from weibnb.diagnostics.check import check_fits
from weibnb.diagnostics.cohorts import nearest, reference_cohort
from weibnb.diagnostics.drift import drift
from weibnb.diagnostics.findings import SEVERITIES
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.diagnostics.pooling import ESTIMATES, FEWEST_LAYERS
from weibnb.fits.schema import protocol_of
from weibnb.fits.tables import medians
from weibnb.fitting.weibull import protocol_text
from weibnb.messages import counted, grouped
from weibnb.scanning.hyperparameters import training_budget, unknown_hyperparameters
from weibnb.scanning.locate import find_outliers

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from weibnb.diagnostics.pooling import Estimate
    from weibnb.diagnostics.rules.material import Pooled
    from weibnb.fitting.weibull import Anchor
    from weibnb.report_page import Section

# Percent of healthy models in which k or λ of any layer stands out, measured (docs/diagnostics.md).
_HEALTHY_ALARMS = 1
# Smallest r2 of a Weibull plot that passes for straight; the paper counts layers below it.
_LOW_R2 = 0.95
_ROWS_SHOWN = 20
# Models that are named with the reason why a table lacks them.
_REASONS_SHOWN = 5
_DISTANCE = "Distance in k over shared components, in units of the spread between entries."


def findings(fits: xr.Dataset, pooled: Pooled) -> tuple[str, Section]:
    """Give the verdict in a sentence, and what was found with what to do, worst first."""
    try:
        check = check_fits(fits, pooled=pooled)
    except ValueError as err:
        return f"Not checked: {err}", (f"Not available: {err}", "")
    found = Counter(finding.severity for finding in check.findings)
    numbers = [counted(found[word], word) for word in SEVERITIES if found[word] or word == "error"]
    rows: list[tuple[str, str, str]] = [*check.lines()]
    rows += [("not looked at", one.rule, one.reason) for one in check.not_looked_at]
    table = pd.DataFrame(rows, columns=["severity", "rule", "what, and what to do"])
    note = "weibnb.check(path) looks at the weights as well, and answers what fits cannot."
    return f"Verdict: {', '.join(numbers)}.", (table if rows else "Nothing found.", note)


def sizes(cells: pd.DataFrame) -> str:
    """Count matrices and weights."""
    matrices = int(cells["n_matrices"].sum())
    weights = int((cells["n"] * cells["n_matrices"]).sum())
    return f"{matrices:,} matrices, {weights:,} weights"


def made_by(fits: xr.Dataset, reference: Anchor) -> str:
    """Say by which protocol fits were made, by what and when."""
    estimator, trim = protocol_of(fits)
    ideal = f"an untrained Gaussian matrix: k = {reference.k:.4f}, r2 = {reference.r2:.4f}"
    made = f"weibnb {fits.attrs.get('weibnb_version', '')}, {fits.attrs.get('created', '')}"
    return f"{protocol_text(trim, estimator)}; {ideal}. {made}"


def missing_checkpoints(fits: xr.Dataset, step: int) -> list[str]:
    """Name the models that have no checkpoint at a step, or one that could not be read."""
    lines = []
    sources, problems = (fits[name].values.ravel() for name in ("source", "problem"))
    for model, source, problem in zip(fits["model"].values, sources, problems, strict=True):
        if problem:
            lines.append(f"{model} could not be read: {problem}")
        elif not source:
            lines.append(f"{model} has no checkpoint at step {grouped(step)}.")
    return lines


def if_available(section: Callable[[], Section]) -> Section:
    """Give a section, or the sentence that says what it needs and does not have."""
    try:
        return section()
    except ValueError as err:
        return f"Not available: {err}", ""


def classes(cells: pd.DataFrame, reference: float) -> pd.DataFrame:
    """Give medians over the cells of each class."""
    table = medians(cells, ["model", "weight_class"])[["matrices", "k", "k_min", "k_max", "lam"]]
    table.insert(2, "Δk %", 100 * (table["k"] / reference - 1))
    return table.reset_index()


def standouts(fits: xr.Dataset, cells: pd.DataFrame, pooled: Pooled) -> Section:
    """Cells far from what the other layers lead to expect, or with a bad plot, and the reason."""
    rule = (
        "Rule: k or λ so far from what the other layers of its component lead to expect that "
        f"fewer than {_HEALTHY_ALARMS:g} % of healthy models have any such layer "
        f"(weibnb.diagnostics.pooling), or r2 below {_LOW_R2:g}. "
        f"A component of fewer than {FEWEST_LAYERS} layers is judged by r2 alone."
    )
    reasons: defaultdict[Any, list[str]] = defaultdict(list)
    labels = _labels(fits)
    for name, symbol in ESTIMATES.items():
        for cell, value, low, high in _far(pooled[name], cells[labels], name).itertuples():
            side = "low" if value < low else "high"
            reasons[cell].append(f"{symbol} {side}: {value:.4g}, expected {low:.4g} to {high:.4g}")
    for cell, r2 in cells.loc[cells["r2"] < _LOW_R2, "r2"].items():
        reasons[cell].append(f"Weibull plot not straight: r2 {r2:.3f}")
    if not reasons:
        return f"None. {rule}", ""
    found = cells.loc[sorted(reasons), [*labels, "k", "lam", "r2"]]
    found["why"] = ["; ".join(reasons[cell]) for cell in found.index]
    shapes = drift(fits)["nearest_shape"].to_dataframe().reset_index()
    found = found.merge(shapes[[*labels, "nearest_shape"]], on=labels, how="left")
    distance = found["k"].sub(cells["k"].median()).abs()
    return _first_rows(found.iloc[distance.argsort()[::-1]], rule)


def _far(pooled: xr.Dataset, places: pd.DataFrame, of: Estimate) -> pd.DataFrame:
    """Cells whose k or λ stands out, and the interval that was expected, by row of `places`."""
    columns = ["estimate", "lower", "upper"]
    table = pooled[[*columns, "stands_out"]].to_dataframe().reset_index()
    table = table.loc[table["stands_out"], [*places, *columns]]
    if of == "lam":
        table[columns] = np.exp(table[columns])
    rows = places.reset_index().merge(table, on=list(places))
    return rows.set_index("index")[columns]


def _labels(fits: xr.Dataset) -> list[str]:
    labels = ["model", "layer", "expert", "component"]
    return [name for name in labels if name in fits["k"].dims]


def _first_rows(table: pd.DataFrame, note: str) -> tuple[pd.DataFrame, str]:
    hidden = len(table) - _ROWS_SHOWN
    more = f" {hidden:,} more are not shown." if hidden > 0 else ""
    return table.head(_ROWS_SHOWN), note + more


def outliers(fits: xr.Dataset, *, look: bool) -> Section:
    """List single weights that stand out; with `look` where they are."""
    strength = outlier_strength(fits)
    rule = f"Rule: {strength.attrs['rule']}."
    if look:
        labels = ["model", "layer", "expert", "component"]
        table = find_outliers(fits)
        kept = labels if (table["expert"] >= 0).any() else _labels(fits)
        table = table[[*kept, "row", "col", "value", "excess", "total"]]
        rule += " excess: |w| over the maximum that the fitted Weibull leads to expect. total: the"
        rule += " outliers of the matrix, of which at most 8 are listed."
    else:
        ratio = fits["max_abs"] / strength["threshold"]
        columns = strength[["max_over_q99"]].assign(max_abs=fits["max_abs"], times_the_rule=ratio)
        table = columns.to_dataframe().reset_index().sort_values("times_the_rule", ascending=False)
        table = table[table["times_the_rule"] > 1]
        table = table[[*_labels(fits), "max_abs", "max_over_q99", "times_the_rule"]]
        rule += " Rows or columns of unequal scale pass it too; weibnb.find_outliers looks at them."
    return _first_rows(table, rule) if len(table) else (f"None. {rule}", "")


def band(fits: xr.Dataset) -> tuple[pd.DataFrame, str]:
    """Say whether the k of each model lies in the transmission band."""
    judged = judge(fits, by="model")
    names = ["k", "standard_error", "verdict"]
    table = judged[names].to_dataframe()[names].reset_index()
    about = {key: judged.attrs[f"band_{key}"] for key in ("lower", "upper", "statistic")}
    note = f"Band {judged.attrs['band']}: {about['lower']}–{about['upper']}, {about['statistic']}."
    return table[["model", *names]], note


def nearest_models(fits: xr.Dataset) -> Section:
    """Nearest entries of every model that shares a component with the published ones."""
    table, reasons = nearest(reference_cohort(), fits)
    return _of_models(table.groupby("model", sort=False).head(3), reasons, _DISTANCE)


def budgets(fits: xr.Dataset) -> Section:
    """Budget of every model whose hyperparameters are known."""
    reasons = unknown_hyperparameters(fits)
    known = [model for model in fits["model"].values if model not in reasons]
    table = pd.DataFrame()
    if known:
        table = training_budget(fits.sel(model=known)).to_dataframe().reset_index()
    names = ["model", "learning_rate", "weight_decay", "steps", "timescale", "budget", "state"]
    kept = [name for name in names if name in table]
    return _of_models(table[kept], reasons, "τ = 1/(η·wd) in steps; budget is T/τ.")


def _of_models(table: pd.DataFrame, reasons: dict[str, str], note: str) -> Section:
    """Give a table over models; the first few that are not in it are named with their reasons."""
    texts = [f"{model}: {reason}" for model, reason in list(reasons.items())[:_REASONS_SHOWN]]
    if len(reasons) > _REASONS_SHOWN:
        texts.append(f"So it is with {len(reasons) - _REASONS_SHOWN:,} more models.")
    if table.empty:
        raise ValueError(" ".join(texts))
    return table, " ".join([note, *texts])


def left_out(listed: pd.DataFrame) -> Section:
    """Count the tensors in no sound fit by their reason."""
    if listed.empty:
        return "Nothing was left out.", ""
    by_reason = listed.groupby(["model", "reason"], sort=False)["tensor"]
    table = pd.DataFrame({"tensors": by_reason.size(), "for example": by_reason.first()})
    return _first_rows(table.reset_index(), "All of them: weibnb.not_fitted(fits).")


def maps_of_k(fits: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Give k by layer and component of each model."""
    k = fits["k"].isel(step=0)
    k = k.median("expert") if "expert" in k.dims else k
    tables = k.transpose("model", "layer", "component")
    layers, components = (pd.Index(tables[dim].values) for dim in ("layer", "component"))
    return {
        str(model): pd.DataFrame(one, layers, components)
        for model, one in zip(tables["model"].values, tables.values, strict=True)
    }


def maps_of_status(fits: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Give the status of the cells of each model; of experts one that is not sound, if any is."""
    status = fits["status"].isel(step=0)
    if "expert" in status.dims:
        experts = status.transpose("expert", ...)
        status = experts[0].copy()
        for one in experts:
            keep = one.isin(["ok", "absent"]) & (status != "absent")
            status = status.where(keep, one)
    tables = status.transpose("model", "layer", "component")
    layers, components = (pd.Index(tables[dim].values) for dim in ("layer", "component"))
    return {
        str(model): pd.DataFrame(one, layers, components)
        for model, one in zip(tables["model"].values, tables.values, strict=True)
    }
