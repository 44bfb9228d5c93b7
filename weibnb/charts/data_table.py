"""What a chart draws, as a table: for who does not see it, or wants its numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from weibnb.charts.vega import vega_lite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec

# Rows of a table that is written beside its chart in a page.
_MOST_ROWS = 250
_JOINED = ("vconcat", "hconcat", "concat", "layer")


def table(chart: Chart | Spec) -> pd.DataFrame:
    """Give the numbers of a chart as a table: one row for each mark with a tooltip.

    Parameters
    ----------
    chart : altair chart or dict
        Of a function of `weibnb.charts`, or of its ``spec``; also several joined by altair.

    Returns
    -------
    pandas.DataFrame
        Columns as in the tooltips, and ``panel`` of small multiples. What is drawn over the rest
        comes first, lines such as the Gaussian's last; a cell is empty where a mark does not tell
        it. Numbers have 7 significant digits. Where nothing is drawn, the reason.

    Raises
    ------
    TypeError
        If `chart` is no chart of weibnb.

    Examples
    --------
    >>> from weibnb import charts
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> numbers = charts.table(charts.cohort(reference_cohort().isel(model=[0])))
    >>> numbers[["model", "component", "k"]].iloc[0].astype(str).tolist()
    ['pythia-70m', 'qkv_proj', '1.0488']
    """
    spec = _written(chart)
    parts: dict[str, dict[int, dict[str, Any]]] = {}
    for mark in _marks(spec, _Above(None, {})):
        own = parts.setdefault(mark.data, {})
        for i, row in enumerate(spec["datasets"][mark.data]):
            if all(_passes(row, test) for test in mark.tests):
                told = own.setdefault(i, {})
                told |= {words: _one_line(row.get(field)) for words, field in mark.told.items()}
    rows = [told for own in reversed(parts.values()) for _, told in sorted(own.items())]
    return pd.DataFrame(rows)


def numbers_html(spec: Spec) -> str:
    """Write the numbers of a chart as HTML that is folded away; empty where they are many."""
    found = table(spec)
    if found.empty or len(found) > _MOST_ROWS:
        return ""
    written = found.to_html(
        index=False, border=0, na_rep="", float_format="{:.5g}".format, justify="left"
    )
    written = re.sub(r"\n\s*", "\n", written)  # its indents are a third of a page
    written = re.sub(r"(?:&nbsp;| )+", " ", written)  # gaps in names of matrices
    return (
        f"<details><summary>The numbers of this chart, as saved</summary>"
        f'<div class="scroll">{written}</div></details>'
    )


def _written(chart: Chart | Spec) -> Spec:
    """Give a chart as Vega-Lite with its data as named records at the top."""
    spec: Any = chart
    if hasattr(chart, "to_dict"):
        spec = chart.to_dict(validate=False)
    elif isinstance(chart, dict) and "datasets" not in chart:
        spec = vega_lite(chart)
    if not isinstance(spec, dict) or not spec.get("datasets"):
        raise TypeError(
            f"`chart` must be a chart of weibnb.charts, got {type(chart).__name__}. "
            "Run charts.table(charts.layer_map(fits))."
        )
    return spec


class _Above(NamedTuple):
    """What holds of all marks in a part of a chart: its data, and the panels that it is in."""

    data: str | None
    panels: dict[str, str]


class _Mark(NamedTuple):
    """A mark with a tooltip: its data, which rows it draws, and the columns that it tells."""

    data: str
    tests: list[Spec]
    told: dict[str, str]


def _marks(node: Spec, above: _Above) -> Iterator[_Mark]:
    """Find the marks with tooltips, in the order of drawing."""
    data = node["data"]["name"] if "data" in node else above.data
    above = _Above(data, {**above.panels, **_panels(node.get("facet", {}))})
    children = [child for key in _JOINED for child in node.get(key, [])]
    children += [node["spec"]] if "spec" in node else []
    for child in children:
        yield from _marks(child, above)
    tips = node.get("encoding", {}).get("tooltip", [])
    if "mark" in node and data is not None and tips:
        tests = [step["filter"] for step in node.get("transform", [])]
        told = {tip.get("title", tip["field"]): tip["field"] for tip in tips}
        yield _Mark(data, tests, above.panels | told)


def _panels(facet: Spec) -> dict[str, str]:
    """Give the columns that name small multiples, by the names that they have in a table."""
    if "field" in facet:
        return {"panel": facet["field"]}
    names = {"row": "panel down", "column": "panel across"}
    return {words: facet[side]["field"] for side, words in names.items() if side in facet}


def _passes(row: dict[str, Any], test: Spec) -> bool:
    """Tell whether a row is drawn: the tests that the charts use, as Vega-Lite defines them."""
    if "and" in test:
        return all(_passes(row, part) for part in test["and"])
    if "not" in test:
        return not _passes(row, test["not"])
    value = row.get(test["field"])
    if "equal" in test:
        return bool(value == test["equal"])
    if "oneOf" in test:
        return value in test["oneOf"]
    if "range" in test:
        return value is None or test["range"][0] <= value <= test["range"][1]
    return (value is not None) is bool(test["valid"])


def _one_line(value: Any) -> Any:
    """Write a name of several lines in one."""
    return value.replace("\n", ", ") if isinstance(value, str) else value
