"""What a colleague wants to read in two minutes, as text and as HTML; fits as CSV or Parquet."""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from weibnb.diagnostics.bands import judge
from weibnb.diagnostics.check import check_fits
from weibnb.diagnostics.cohorts import nearest, reference_cohort
from weibnb.diagnostics.drift import drift
from weibnb.diagnostics.findings import SEVERITIES
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.diagnostics.pooling import ESTIMATES, FEWEST_LAYERS
from weibnb.diagnostics.rules.material import pool_estimates
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fits.select import not_fitted
from weibnb.fits.tables import NUMBER_FORMATS, csv_text, medians, shown_components, tidy
from weibnb.fitting.weibull import protocol_text
from weibnb.messages import counted, printable_lines
from weibnb.pictures import Picture, pictures_of
from weibnb.scanning.hyperparameters import training_budget, unknown_hyperparameters
from weibnb.scanning.locate import find_outliers
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from weibnb.diagnostics.pooling import Estimate
    from weibnb.diagnostics.rules.material import Pooled
    from weibnb.fitting.weibull import Anchor

#: A table, or a sentence where there is none, and a note below it.
Section: TypeAlias = tuple[pd.DataFrame | str, str]

#: Title of the first section.
FINDINGS = "Findings"
# Percent of healthy models in which k or λ of any layer stands out, measured (docs/diagnostics.md).
_HEALTHY_ALARMS = 1
# Smallest r2 of a Weibull plot that passes for straight; the paper counts layers below it.
_LOW_R2 = 0.95
_ROWS_SHOWN = 20
# Models that are named with the reason why a table lacks them.
_REASONS_SHOWN = 5
_DISTANCE = "Distance in k over shared components, in units of the spread between entries."


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Tables on a scan, one per section; prints as text and shows as HTML in a notebook.

    Attributes
    ----------
    headline : tuple of str
        What was fitted, by which protocol.
    sections : dict of str to (pandas.DataFrame or str, str)
        Title -> table, or a sentence where there is none, and a note below it.
    maps : dict of str to pandas.DataFrame
        k by layer (rows) and component (columns) of each model.
    reference : float
        The Gaussian anchor that the maps are coloured around.
    pictures : tuple of Picture
        Charts of the page that `to_html` writes.
    statuses : dict of str to pandas.DataFrame
        Status by layer and component of each model, as the maps.
    """

    headline: tuple[str, ...]
    sections: dict[str, Section]
    maps: dict[str, pd.DataFrame]
    reference: float
    pictures: tuple[Picture, ...] = ()
    statuses: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = ["\n".join(self.headline)]
        for title, (content, note) in self.sections.items():
            text = content
            if isinstance(content, pd.DataFrame):
                words = {str(name): partial(_word, str(name)) for name in content}
                text = content.to_string(index=False, na_rep="–", formatters=words)
            parts.append(f"{title}\n{'-' * len(title)}\n{text}" + (f"\n{note}" if note else ""))
        return printable_lines("\n\n".join(parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._html()

    def _html(self, figures: str = "") -> str:
        """Write the verdict and the findings, pictures, and the tables behind them."""
        parts = [f"<p>{html.escape(line)}</p>" for line in self.headline]
        for title, (content, note) in self.sections.items():
            parts.append(f"<h2>{html.escape(title)}</h2>")
            if isinstance(content, pd.DataFrame):
                parts.append(f'<div class="scroll">{_html_table(content)}</div>')
            else:
                parts.append(f"<p>{html.escape(content)}</p>")
            if note:
                parts.append(f'<p class="note">{html.escape(note)}</p>')
            if title == FINDINGS:
                parts.append(figures)
            if title == "By component":
                parts += [
                    _html_map(name, k, self.statuses.get(name), self.reference)
                    for name, k in self.maps.items()
                ]
        return "\n".join(parts)

    def to_html(self) -> str:
        """Write the summary as one page that needs no network, with pictures.

        Returns
        -------
        str
            HTML; every name from a checkpoint is escaped.
        """
        page = files("weibnb").joinpath("data/report.html").read_text(encoding="utf-8")
        return Template(page).substitute(
            tables=self._html("".join(one.figure(i) for i, one in enumerate(self.pictures)))
        )


def _word(column: str, value: Any) -> str:
    """Write one value of a table; a figure has the digits that its column deserves."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else NUMBER_FORMATS.get(column, "{:.4g}").format(value)
    return f"{value:,}" if isinstance(value, int) and column != "layer" else str(value)


def _html_table(table: pd.DataFrame) -> str:
    """Write a table as HTML, text to the left and numbers to the right."""
    sides = ["" if is_numeric_dtype(table[name]) else ' class="word"' for name in table]
    rows = [[f"<th{side}>{html.escape(str(n))}</th>" for n, side in zip(table, sides, strict=True)]]
    for record in table.to_dict("records"):
        texts = [_word(str(name), value) for name, value in record.items()]
        cells = zip(texts, sides, strict=True)
        rows.append([f"<td{side}>{html.escape(text)}</td>" for text, side in cells])
    return f"<table>{_html_rows(rows)}</table>"


def _html_map(
    name: str, table: pd.DataFrame, statuses: pd.DataFrame | None, reference: float
) -> str:
    """Write k by layer and component as HTML, blue below the anchor and orange above."""
    words = statuses.to_numpy(str) if statuses is not None else np.full(table.shape, "ok")
    rows = [["<th>layer</th>", *(f"<th>{html.escape(str(column))}</th>" for column in table)]]
    for layer, values, status in zip(table.index, table.to_numpy(float), words, strict=True):
        cells = (_map_cell(k, k / reference - 1, s) for k, s in zip(values, status, strict=True))
        rows.append([f"<th>{int(layer)}</th>", *cells])
    caption = (
        f"k of {name} by layer; blue below the anchor {reference:.4f}, orange above; hatched: no "
        "sound fit"
    )
    return (
        f'<div class="scroll"><table class="map"><caption>{html.escape(caption)}</caption>'
        f"{_html_rows(rows)}</table></div>"
    )


def _html_rows(rows: list[list[str]]) -> str:
    return "".join(f"<tr>{''.join(row)}</tr>" for row in rows)


def _map_cell(k: float, share: float, status: str) -> str:
    if status not in ("ok", "absent"):
        text = "no fit" if np.isnan(k) else f"{k:.3f}"
        return f'<td class="unsound" title="{html.escape(status)}">{text}</td>'
    if np.isnan(k):
        return "<td>–</td>"
    colour = "26,133,255" if share < 0 else "230,97,0"
    style = f"background: rgba({colour},{0.75 * min(abs(share) / 0.15, 1):.2f})"
    return f'<td style="{style}" title="{100 * share:+.1f} %">{k:.3f}</td>'


def summary(fits: xr.Dataset, *, step: int | None = None, look: bool = False) -> Summary:
    """Say what a scan shows: tables by class and component, what stands out and why.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    step : int, optional
        Step to report of a run; by default the last.
    look : bool
        Open the checkpoints again to give the place of outlying weights.

    Returns
    -------
    Summary
        Prints as text, shows as HTML in a notebook; `write_report` writes it to a file.

    Raises
    ------
    CheckpointError
        If `look` is asked for and a checkpoint is not there any more.
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or has no such step.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(0, 0.02, (256, 256))
    ...            for i in range(4)}
    >>> weights["model.layers.2.mlp.up_proj.weight"] **= 3
    >>> text = summary(wb.scan({"tiny": weights}))
    >>> text.sections["Layers that stand out"][0]["layer"].tolist()
    [2]
    """
    fits = prepare(fits, "n", "n_matrices", dims=DIMS)
    steps = fits["step"].values.tolist()
    if step is not None and step not in steps:
        raise ValueError(f"`step` must be one of {steps}, got {step!r}.")
    chosen = steps[-1] if step is None else step
    run, fits = fits, fits.sel(step=[chosen])
    reference = gaussian_anchor(fits)
    listed = not_fitted(fits)
    cells = tidy(fits)
    among = f" of {', '.join(map(str, steps))}" if len(steps) > 1 else ""
    pooled = pool_estimates(fits)
    verdict, findings = _checked(fits, pooled)
    standing_out = _standouts(fits, cells, pooled)
    headline = (
        verdict,
        f"{', '.join(map(str, fits['model'].values))}; step {chosen}{among}.",
        f"{_sizes(cells)}; {len(listed):,} tensors in no sound fit.",
        f"{_protocol(fits, reference)}.",
        *_missing(fits, chosen),
    )
    sections: dict[str, Section] = {
        FINDINGS: findings,
        "By class": (_classes(cells, reference.k), ""),
        "By component": (
            shown_components(fits).drop(columns="step"),
            "Medians over layers; k_se is the sampling error of one matrix.",
        ),
        "Layers that stand out": standing_out,
        "Outliers": _outliers(fits, look=True)
        if look
        else _if_available(lambda: _outliers(fits, look=False)),
        "Transmission band": _if_available(lambda: _band(fits)),
        "Training budget": _if_available(lambda: _budgets(fits)),
        "Nearest published models": _if_available(lambda: _nearest(fits)),
        "Not fitted": _left_out(listed),
    }
    far = standing_out[0] if isinstance(standing_out[0], pd.DataFrame) else pd.DataFrame()
    return Summary(
        headline,
        sections,
        _maps(fits),
        reference.k,
        tuple(pictures_of(fits, run, far)),
        _statuses(fits),
    )


def _checked(fits: xr.Dataset, pooled: Pooled) -> tuple[str, Section]:
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


def _sizes(cells: pd.DataFrame) -> str:
    matrices = int(cells["n_matrices"].sum())
    weights = int((cells["n"] * cells["n_matrices"]).sum())
    return f"{matrices:,} matrices, {weights:,} weights"


def _protocol(fits: xr.Dataset, reference: Anchor) -> str:
    estimator, trim = protocol_of(fits)
    ideal = f"an untrained Gaussian matrix: k = {reference.k:.4f}, r2 = {reference.r2:.4f}"
    made = f"weibnb {fits.attrs.get('weibnb_version', '')}, {fits.attrs.get('created', '')}"
    return f"{protocol_text(trim, estimator)}; {ideal}. {made}"


def _missing(fits: xr.Dataset, step: int) -> list[str]:
    """Name the models that have no checkpoint at a step, or one that could not be read."""
    lines = []
    sources, problems = (fits[name].values.ravel() for name in ("source", "problem"))
    for model, source, problem in zip(fits["model"].values, sources, problems, strict=True):
        if problem:
            lines.append(f"{model} could not be read: {problem}")
        elif not source:
            lines.append(f"{model} has no checkpoint at step {step}.")
    return lines


def _if_available(section: Callable[[], Section]) -> Section:
    """Give a section, or the sentence that says what it needs and does not have."""
    try:
        return section()
    except ValueError as err:
        return f"Not available: {err}", ""


def _classes(cells: pd.DataFrame, reference: float) -> pd.DataFrame:
    table = medians(cells, ["model", "weight_class"])[["matrices", "k", "k_min", "k_max", "lam"]]
    table.insert(2, "Δk %", 100 * (table["k"] / reference - 1))
    return table.reset_index()


def _standouts(fits: xr.Dataset, cells: pd.DataFrame, pooled: Pooled) -> Section:
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


def _outliers(fits: xr.Dataset, *, look: bool) -> Section:
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


def _band(fits: xr.Dataset) -> tuple[pd.DataFrame, str]:
    judged = judge(fits, by="model")
    names = ["k", "standard_error", "verdict"]
    table = judged[names].to_dataframe()[names].reset_index()
    about = {key: judged.attrs[f"band_{key}"] for key in ("lower", "upper", "statistic")}
    note = f"Band {judged.attrs['band']}: {about['lower']}–{about['upper']}, {about['statistic']}."
    return table[["model", *names]], note


def _nearest(fits: xr.Dataset) -> Section:
    """Nearest entries of every model that shares a component with the published ones."""
    table, reasons = nearest(reference_cohort(), fits)
    return _of_models(table.groupby("model", sort=False).head(3), reasons, _DISTANCE)


def _budgets(fits: xr.Dataset) -> Section:
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


def _left_out(listed: pd.DataFrame) -> Section:
    if listed.empty:
        return "Nothing was left out.", ""
    grouped = listed.groupby(["model", "reason"], sort=False)["tensor"]
    table = pd.DataFrame({"tensors": grouped.size(), "for example": grouped.first()})
    return _first_rows(table.reset_index(), "All of them: weibnb.not_fitted(fits).")


def _maps(fits: xr.Dataset) -> dict[str, pd.DataFrame]:
    k = fits["k"].isel(step=0)
    k = k.median("expert") if "expert" in k.dims else k
    tables = k.transpose("model", "layer", "component")
    layers, components = (pd.Index(tables[dim].values) for dim in ("layer", "component"))
    return {
        str(model): pd.DataFrame(one, layers, components)
        for model, one in zip(tables["model"].values, tables.values, strict=True)
    }


def _statuses(fits: xr.Dataset) -> dict[str, pd.DataFrame]:
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


def write_report(
    fits: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    step: int | None = None,
    look: bool = False,
) -> Path:
    """Write a report as HTML, or the tidy table as CSV or Parquet.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    path : path
        The file: ``.html``, ``.csv`` or ``.parquet``.
    step, look
        As in `summary`; the tables hold every step.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If Parquet is asked for and pyarrow is not installed.
    ValueError
        If the ending is another one.
    OSError
        If the file cannot be written; what was there before is untouched.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_report(fits, f"{directory}/report.html").name
    'report.html'
    """
    target = check_target(path, (".html", ".csv", ".parquet"), "report")
    ending = target.suffix.lower()
    if ending == ".html":
        return write_whole(target, summary(fits, step=step, look=look).to_html())
    if ending == ".csv":
        return write_whole(target, csv_text(tidy(fits)))
    try:
        return write_whole(target, tidy(fits).to_parquet(index=False, engine="pyarrow"))
    except ImportError as err:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install 'weibnb[parquet]'"
        ) from err
