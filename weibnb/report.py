"""What a colleague wants to read in two minutes, as text, as HTML and as a tidy table."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from weibnb.diagnostics.bands import judge
from weibnb.diagnostics.cohorts import compare
from weibnb.diagnostics.drift import drift
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fits.select import not_fitted
from weibnb.fitting.weibull import protocol_text
from weibnb.scanning.hyperparameters import training_budget
from weibnb.scanning.locate import find_outliers

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import xarray as xr

# A layer stands out if it lies this many robust deviations and this share from its component.
_DEVIATIONS, _LEAST_SHARE = 5.0, 0.02
# Fewest layers whose spread is a yardstick.
_LAYERS_FOR_SPREAD = 5
# Smallest r2 of a Weibull plot that passes for straight; the paper counts layers below it.
_LOW_R2 = 0.95
_ROWS_SHOWN = 20
_DISTANCE = "Distance in k over shared components, in units of the spread between entries."
_DIGITS = {"Δk %": "{:+.2f}"} | dict.fromkeys(
    ["k", "k_se", "k_min", "k_max", "r2", "standard_error"], "{:.4f}"
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #ccc; --soft: #555; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --line: #444; --soft: #aaa; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: right; }
th { font-weight: 600; } .word, .map th { text-align: left; }
td { white-space: nowrap; }
td.word { white-space: normal; overflow-wrap: break-word; max-width: 24rem; }
.scroll { overflow-x: auto; } p.note, caption { color: var(--soft); font-size: .9rem; }
.map td { min-width: 3.5rem; } caption { text-align: left; padding-bottom: .3rem; }
"""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Tables on a scan, one a section; prints as text and shows as HTML in a notebook.

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
    """

    headline: tuple[str, ...]
    sections: dict[str, tuple[pd.DataFrame | str, str]]
    maps: dict[str, pd.DataFrame]
    reference: float

    def __str__(self) -> str:
        parts = ["\n".join(self.headline)]
        for title, (content, note) in self.sections.items():
            text = content
            if isinstance(content, pd.DataFrame):
                words = {str(name): partial(_word, str(name)) for name in content}
                text = content.to_string(index=False, na_rep="–", formatters=words)
            parts.append(f"{title}\n{'-' * len(title)}\n{text}" + (f"\n{note}" if note else ""))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(self._body())

    def _body(self) -> list[str]:
        parts = [f"<p>{html.escape(line)}</p>" for line in self.headline]
        for title, (content, note) in self.sections.items():
            parts.append(f"<h2>{html.escape(title)}</h2>")
            if isinstance(content, pd.DataFrame):
                parts.append(f'<div class="scroll">{_html_table(content)}</div>')
            else:
                parts.append(f"<p>{html.escape(content)}</p>")
            if note:
                parts.append(f'<p class="note">{html.escape(note)}</p>')
            if title == "By component":
                parts += [_html_map(*item, self.reference) for item in self.maps.items()]
        return parts

    def to_html(self) -> str:
        """Write the summary as one page that needs no network.

        Returns
        -------
        str
            HTML; every name from a checkpoint is escaped.
        """
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>weibnb report</title><style>{_STYLE}</style></head><body>"
            "<h1>Weibull fits of weight matrices</h1>\n"
            + "\n".join(self._body())
            + "</body></html>\n"
        )


def _word(column: str, value: Any) -> str:
    """Write one value of a table; a figure has the digits that its column deserves."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else _DIGITS.get(column, "{:.4g}").format(value)
    return f"{value:,}" if isinstance(value, int) and column != "layer" else str(value)


def _html_table(table: pd.DataFrame) -> str:
    """Write a table as HTML, text to the left and numbers to the right."""
    sides = ["" if is_numeric_dtype(table[name]) else ' class="word"' for name in table]
    rows = [[f"<th{side}>{html.escape(str(n))}</th>" for n, side in zip(table, sides, strict=True)]]
    for record in table.to_dict("records"):
        texts = [_word(str(name), value) for name, value in record.items()]
        cells = zip(texts, sides, strict=True)
        rows.append([f"<td{side}>{html.escape(text)}</td>" for text, side in cells])
    return "<table>" + "".join(f"<tr>{''.join(row)}</tr>" for row in rows) + "</table>"


def _html_map(name: str, table: pd.DataFrame, reference: float) -> str:
    """Table of k by layer and component, blue below the anchor and orange above."""
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table.columns)
    rows = []
    for layer, values in zip(table.index, table.to_numpy(float), strict=True):
        cells = []
        for k in values:
            if np.isnan(k):
                cells.append("<td>–</td>")
                continue
            share = k / reference - 1
            colour = "26,133,255" if share < 0 else "230,97,0"
            strength = min(abs(share) / 0.15, 1) * 0.75
            style = f"background: rgba({colour},{strength:.2f})"
            cells.append(f'<td style="{style}" title="{100 * share:+.1f} %">{k:.3f}</td>')
        rows.append(f"<tr><th>{int(layer)}</th>{''.join(cells)}</tr>")
    caption = f"k of {name} by layer; blue below the anchor {reference:.4f}, orange above"
    return (
        f'<div class="scroll"><table class="map"><caption>{html.escape(caption)}</caption>'
        f"<tr><th>layer</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def component_table(fits: xr.Dataset) -> pd.DataFrame:
    """Summarise fits by model, step and component.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    pandas.DataFrame
        A row for each model, component and step that has a matrix: ``matrices``, the medians
        over layers of k, λ and r2, the smallest and largest k, and the median standard error of
        k of one cell.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    >>> component_table(wb.scan({"tiny": weights})).matrices.tolist()
    [1]
    """
    table = tidy(fits)
    grouped = table.groupby(["model", "step", "component"], sort=False, observed=True)
    summary = pd.DataFrame(
        {
            "class": grouped["weight_class"].first(),
            "matrices": grouped["n_matrices"].sum(),
            "k": grouped["k"].median(),
            "k_se": grouped["k_se"].median(),
            "k_min": grouped["k"].min(),
            "k_max": grouped["k"].max(),
            "lam": grouped["lam"].median(),
            "r2": grouped["r2"].median(),
        }
    )
    order = {name: i for i, name in enumerate(fits["component"].values)}
    rank = summary.index.get_level_values("component").map(order)
    return summary.assign(_rank=rank).sort_values(["model", "_rank", "step"]).drop(columns="_rank")


def tidy(fits: xr.Dataset) -> pd.DataFrame:
    """Turn fits into a table with a row for each matrix, for CSV, Parquet or pandas.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    pandas.DataFrame
        The labels (model, layer, component, step and, where there is one, expert), what is known
        of the component and the model, and every variable that is one value a matrix.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.4.mlp.up_proj.weight": np.ones((20, 20))}
    >>> tidy(wb.scan({"tiny": weights}))[["layer", "component", "status"]].values.tolist()
    [[4, 'up_proj', 'constant']]
    """
    fits = prepare(fits, "n", "n_matrices", dims=DIMS)
    dims = fits["k"].dims
    names = [name for name, variable in fits.data_vars.items() if variable.dims == dims]
    plain = fits[names].drop_vars(
        [name for name, coord in fits[names].coords.items() if not set(coord.dims) <= set(dims)]
    )
    table = plain.to_dataframe().reset_index()
    return table[table["status"] != "absent"].reset_index(drop=True)


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
    fits = fits.sel(step=[chosen])
    estimator, trim = protocol_of(fits)
    reference = gaussian_anchor(fits)
    listed = not_fitted(fits)
    cells = tidy(fits)
    among = f" of {', '.join(map(str, steps))}" if len(steps) > 1 else ""
    matrices = int(cells["n_matrices"].sum())
    weights = int((cells["n"] * cells["n_matrices"]).sum())
    made = f"weibnb {fits.attrs.get('weibnb_version', '')}, {fits.attrs.get('created', '')}"
    ideal = f"k = {reference.k:.4f}, r2 = {reference.r2:.4f}"
    headline = (
        f"{', '.join(map(str, fits['model'].values))}; step {chosen}{among}.",
        f"{matrices:,} matrices, {weights:,} weights; {len(listed):,} tensors in no sound fit.",
        f"{protocol_text(trim, estimator)}; an untrained Gaussian matrix: {ideal}. {made}.",
        *_missing(fits, chosen),
    )
    sections: dict[str, tuple[pd.DataFrame | str, str]] = {
        "By class": (_classes(cells, reference.k), ""),
        "By component": (
            component_table(fits).reset_index().drop(columns="step"),
            "Medians over layers; k_se is the sampling error of one matrix.",
        ),
        "Layers that stand out": _standouts(fits, cells),
        "Outliers": _outliers(fits, look=look),
        "Transmission band": _guarded(lambda: _band(fits)),
        "Training budget": _guarded(
            lambda: _by_model(fits, _budget, "τ = 1/(η·wd) in steps; budget is T/τ.")
        ),
        "Nearest published models": _guarded(
            lambda: _by_model(fits, lambda one: compare(one).head(3), _DISTANCE)
        ),
        "Not fitted": _left_out(listed),
    }
    return Summary(headline, sections, _maps(fits), reference.k)


def _missing(fits: xr.Dataset, step: int) -> list[str]:
    """Name the models that have no checkpoint at a step, or one that could not be read."""
    lines = []
    for model in fits["model"].values:
        cell = fits[["source", "problem"]].sel(model=model)
        source, problem = (" ".join(cell[name].values.ravel()) for name in cell)
        if problem:
            lines.append(f"{model} could not be read: {problem}")
        elif not source:
            lines.append(f"{model} has no checkpoint at step {step}.")
    return lines


def _guarded(section: Callable[[], tuple[pd.DataFrame, str]]) -> tuple[pd.DataFrame | str, str]:
    """Give a section, or the sentence that says what it needs and does not have."""
    try:
        content: tuple[pd.DataFrame | str, str] = section()
    except ValueError as err:
        return f"Not available: {err}", ""
    return content


def _classes(cells: pd.DataFrame, reference: float) -> pd.DataFrame:
    grouped = cells.groupby(["model", "weight_class"], sort=False, observed=True)
    table = grouped.agg(
        matrices=("n_matrices", "sum"),
        k=("k", "median"),
        k_min=("k", "min"),
        k_max=("k", "max"),
        lam=("lam", "median"),
    ).reset_index()
    table.insert(4, "Δk %", 100 * (table["k"] / reference - 1))
    return table


def _standouts(fits: xr.Dataset, cells: pd.DataFrame) -> tuple[pd.DataFrame | str, str]:
    """Cells far from the others of their component, or with a bad plot, and the reason."""
    keys = ["model", "component"]
    reasons: dict[int, list[str]] = {}
    for name, error, word in (("k", "k_se", "k"), ("lam", "lam_se", "λ")):
        value = cells[name]
        by = [cells[key] for key in keys]
        middle, layers = (value.groupby(by).transform(how) for how in ("median", "count"))
        away = value - middle
        spread = 1.4826 * away.abs().groupby(by).transform("median")
        if name == "k":  # of few layers the spread says little, and chance is the only yardstick
            spread = spread.where(layers >= _LAYERS_FOR_SPREAD, 0)
        else:
            spread = spread.where(layers >= _LAYERS_FOR_SPREAD)
        scale = np.hypot(spread, cells[error].fillna(0))
        far = (away.abs() > _DEVIATIONS * scale) & (away.abs() > _LEAST_SHARE * middle)
        for i in np.flatnonzero(far):
            side = "low" if away.iloc[i] < 0 else "high"
            text = f"{word} {side}: {value.iloc[i]:.4g}, its component {middle.iloc[i]:.4g}"
            reasons.setdefault(int(i), []).append(text)
    for i in np.flatnonzero(cells["r2"] < _LOW_R2):
        text = f"Weibull plot not straight: r2 {cells['r2'].iloc[i]:.3f}"
        reasons.setdefault(int(i), []).append(text)
    rule = (
        f"Rule: more than {_DEVIATIONS:g} robust deviations and {100 * _LEAST_SHARE:g} % from the "
        f"median of its component over layers, or r2 below {_LOW_R2:g}. With fewer than "
        f"{_LAYERS_FOR_SPREAD} layers k is measured by its standard error and λ is left out."
    )
    if not reasons:
        return f"None. {rule}", ""
    shapes = drift(fits)["nearest_shape"].to_dataframe().reset_index()
    labels = _labels(fits)
    found = cells.iloc[sorted(reasons)][[*labels, "k", "lam", "r2"]].copy()
    found["why"] = ["; ".join(reasons[i]) for i in sorted(reasons)]
    found = found.merge(shapes[[*labels, "nearest_shape"]], on=labels, how="left")
    distance = found["k"].sub(cells["k"].median()).abs()
    found = found.iloc[distance.argsort()[::-1]]
    return _shortened(found, rule)


def _labels(fits: xr.Dataset) -> list[str]:
    labels = ["model", "layer", "expert", "component"]
    return [name for name in labels if name in fits["k"].dims]


def _shortened(table: pd.DataFrame, note: str) -> tuple[pd.DataFrame, str]:
    hidden = len(table) - _ROWS_SHOWN
    more = f" {hidden:,} more are not shown." if hidden > 0 else ""
    return table.head(_ROWS_SHOWN), note + more


def _outliers(fits: xr.Dataset, *, look: bool) -> tuple[pd.DataFrame | str, str]:
    strength = outlier_strength(fits)
    rule = f"Rule: {strength.attrs['rule']}."
    if look:
        labels = ["model", "layer", "expert", "component"]
        table = find_outliers(fits)
        kept = labels if (table["expert"] >= 0).any() else _labels(fits)
        table = table[[*kept, "row", "col", "value", "excess"]]
        rule += " excess: |w| over the maximum that the fitted Weibull leads to expect."
    else:
        ratio = fits["max_abs"] / strength["threshold"]
        columns = strength[["max_over_q99"]].assign(max_abs=fits["max_abs"], times_the_rule=ratio)
        table = columns.to_dataframe().reset_index().sort_values("times_the_rule", ascending=False)
        table = table[table["times_the_rule"] > 1]
        table = table[[*_labels(fits), "max_abs", "max_over_q99", "times_the_rule"]]
    return _shortened(table, rule) if len(table) else (f"None. {rule}", "")


def _band(fits: xr.Dataset) -> tuple[pd.DataFrame, str]:
    judged = judge(fits, by="model")
    names = ["k", "standard_error", "verdict"]
    table = judged[names].to_dataframe()[names].reset_index()
    about = {key: judged.attrs[f"band_{key}"] for key in ("lower", "upper", "statistic")}
    note = f"Band {judged.attrs['band']}: {about['lower']}–{about['upper']}, {about['statistic']}."
    return table[["model", *names]], note


def _by_model(
    fits: xr.Dataset, section: Callable[[xr.Dataset], pd.DataFrame], note: str
) -> tuple[pd.DataFrame, str]:
    """Gather a table over models; one that has none is named with its reason."""
    tables, reasons = [], []
    for model in fits["model"].values:
        try:
            tables.append(section(fits.sel(model=[model])))
        except ValueError as err:
            reasons.append(f"{model}: {err}")
    if not tables:
        raise ValueError(" ".join(reasons))
    return pd.concat(tables), " ".join([note, *reasons])


def _budget(fits: xr.Dataset) -> pd.DataFrame:
    table = training_budget(fits).to_dataframe().reset_index()
    names = ["model", "learning_rate", "weight_decay", "steps", "timescale", "budget", "state"]
    return table[[name for name in names if name in table]]


def _left_out(listed: pd.DataFrame) -> tuple[pd.DataFrame | str, str]:
    if listed.empty:
        return "Nothing was left out.", ""
    grouped = listed.groupby(["model", "reason"], sort=False)["tensor"]
    table = pd.DataFrame({"tensors": grouped.size(), "for example": grouped.first()})
    return _shortened(table.reset_index(), "All of them: weibnb.not_fitted(fits).")


def _maps(fits: xr.Dataset) -> dict[str, pd.DataFrame]:
    k = fits["k"].isel(step=0)
    if "expert" in k.dims:
        k = k.median("expert")
    return {
        str(model): pd.DataFrame(
            k.sel(model=model).transpose("layer", "component").values,
            index=k["layer"].values,
            columns=k["component"].values,
        )
        for model in fits["model"].values
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

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_report(fits, f"{directory}/report.html").name
    'report.html'
    """
    target = Path(path)
    if target.suffix == ".html":
        target.write_text(summary(fits, step=step, look=look).to_html(), encoding="utf-8")
    elif target.suffix == ".csv":
        tidy(fits).to_csv(target, index=False)
    elif target.suffix == ".parquet":
        try:
            tidy(fits).to_parquet(target, index=False, engine="pyarrow")
        except ImportError as err:
            raise ImportError(
                "Parquet needs pyarrow, which is not installed: pip install 'weibnb[parquet]'"
            ) from err
    else:
        raise ValueError(f"`path` must end in .html, .csv or .parquet, got {str(target)!r}.")
    return target
