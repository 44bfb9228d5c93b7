"""What a saved page needs to make charts again that are more than one row for each matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from weibnb.charts.classes import (
    COHORT_ALONE,
    COHORT_NOTE,
    MOST_NEAREST,
    NO_BAND,
    band_notes,
    empty_bands,
    empty_cohort,
)
from weibnb.charts.tables import cells
from weibnb.charts.tails import FLAGS, STRIP_NOTE
from weibnb.charts.vega import records, vega_lite
from weibnb.diagnostics.bands import BANDS
from weibnb.diagnostics.cohorts import CLOSE, reference_cohort, selects
from weibnb.diagnostics.outliers import FACTORS
from weibnb.diagnostics.verdicts import PUBLISHED_PROTOCOL, errors_of
from weibnb.explorer import content
from weibnb.fits.schema import DIMS
from weibnb.fits.select import last_step
from weibnb.fitting.weibull import protocol_text

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.vega import Spec
    from weibnb.explorer.content import DrawnView
    from weibnb.explorer.drawing import Drawing

#: Charts that a page makes again of some of their matrices.
MADE_AGAIN = {"class_bands", "outlier_strip", "cohort"}
_ESTIMATOR, _TRIM = PUBLISHED_PROTOCOL
_PUBLISHED = protocol_text(_TRIM, _ESTIMATOR)
_MOST_ROWS = 20_000  # of matrices that medians are over
_MATRICES = "matrices"  # their table


def made_again(drawing: Drawing, drawn: DrawnView) -> dict[str, Any]:
    """Give what a page needs to make a chart anew of some of its matrices.

    None where not all of them are drawn.
    """
    view = drawn.view
    if view.function not in MADE_AGAIN:
        return {}
    part = drawing.part_of(view)
    if view.function == "cohort":
        return {"again": _cohort(drawn, part)}
    if rows_of(drawn) != int((part["status"] != "absent").sum()):
        return {"again": None}
    if view.function == "outlier_strip":
        facts: dict[str, Any] = {"limit": FACTORS["gaussian"], "most": FLAGS}
        return {"again": {"chart": view.function, "notes": [STRIP_NOTE]} | facts}
    band = BANDS[view.options["band"]]
    spec = template(empty_bands(part, band), part)
    facts = {"band": [band.lower, band.upper], "published": _PUBLISHED, "no_band": NO_BAND}
    made = {"chart": view.function, "spec": content.for_page(spec), "notes": band_notes(band)}
    return {"again": made | facts}


def _cohort(drawn: DrawnView, part: xr.Dataset) -> dict[str, Any] | None:
    """Give k of every matrix that the medians are over, and what the distances need."""
    if "expert" in part["k"].dims or "layer" not in (drawn.spec or {}):
        return None
    models = [last_step(part.sel(model=[label])) for label in part["model"].values]
    table = pd.concat([cells(one, {"error": errors_of(one)}) for one in models], ignore_index=True)
    if len(table) > _MOST_ROWS:
        return None
    rows = records(table, {*DIMS, "k", "error"})
    spec = template(empty_cohort(part), part)
    entries = reference_cohort()
    return {
        "chart": "cohort",
        "spec": content.for_page(spec | {"datasets": spec["datasets"] | {_MATRICES: rows}}),
        "matrices": _MATRICES,
        "table": next(name for name, rows in spec["datasets"].items() if not rows),
        "selects": entries["component"].values[selects(entries)].tolist(),
        "close": CLOSE,
        "note": COHORT_NOTE,
        "most": MOST_NEAREST,
        "published": _PUBLISHED,
        "alone": [words.format(_PUBLISHED) for words in COHORT_ALONE],
    }


def template(empty: Spec, part: xr.Dataset) -> Spec:
    """Write a chart without matrices; its looks are those of Python's own."""
    spec = vega_lite(content.said_once(empty, part))
    return {key: node for key, node in spec.items() if key not in ("$schema", "config")}


def rows_of(drawn: DrawnView) -> int:
    """Count the rows of the matrices in a chart."""
    spec = drawn.spec or {}
    return len(spec["datasets"][spec["data"]["name"]]) if "data" in spec else 0
