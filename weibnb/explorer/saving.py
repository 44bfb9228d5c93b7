"""Files of what a widget shows: a page, a picture, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weibnb.charts.vega import vega_lite
from weibnb.explorer import export
from weibnb.explorer.saved_page import held_by_page
from weibnb.fits.tables import csv_text, tidy
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.charts.vega import Spec
    from weibnb.explorer.drawing import Charts, Drawing
    from weibnb.explorer.panels import View

#: Types of the files, by their suffix.
MIME = {
    "html": "text/html",
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv",
    "json": "application/json",
}


def specs_of(drawing: Drawing, views: Sequence[View]) -> list[Spec]:
    """Write charts as Vega-Lite that needs nothing else."""
    return [vega_lite(view.spec(drawing.part_of(view))) for view in views]


def page_of(drawing: Drawing, panel: str, charts: Charts) -> str:
    """Write what is shown on a panel as a page that goes on without Python."""
    models = drawing.parts.light.sel(drawing.query)["model"].values
    named = ", ".join(shortened(name, 60) for name in models[:3])
    more = f" and {models.size - 3:,} more" if models.size > 3 else ""
    title = f"Weibull fits of {named}{more}"
    good = {slot: drawn for slot, drawn in charts.items() if drawn.spec is not None}
    code = drawing.code([drawn.view for drawn in good.values()])
    held = held_by_page(drawing, panel, good)
    specs = {drawn.view.label: drawn.spec for drawn in good.values() if drawn.spec is not None}
    return export.web_page(title, drawing.summary, code, held, specs)


def file_of(drawing: Drawing, views: Sequence[View], form: str) -> bytes:
    """Write the first of some charts, or the table of what is shown, as a file of one of `MIME`.

    Raises
    ------
    ValueError
        If it is none of them, or there is no chart to draw.
    """
    if form not in MIME:
        raise ValueError(f"`path` must end with .{', .'.join(MIME)}, got {form!r}.")
    if form == "csv":
        return csv_text(tidy(drawing.part(drawing.query))).encode()
    if not views:
        raise ValueError("What is shown has no chart to save: choose .csv, or another panel.")
    return export.picture(specs_of(drawing, views[:1])[0], form)
