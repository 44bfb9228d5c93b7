"""Files of what a widget shows: a page, a picture, a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weibnb.charts.vega import vega_lite
from weibnb.explorer import export
from weibnb.fits.tables import csv_text, tidy
from weibnb.messages import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.charts.vega import Spec
    from weibnb.explorer.drawing import Drawing
    from weibnb.explorer.panels import View

#: Types of the files, by their suffix.
MIME = {
    "html": "text/html",
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv",
    "json": "application/json",
}

# Charts whose rows a page can fit again: they are drawn from k, λ and r².
_FITTED_IN_PLACE = {"layer_map", "depth_profile", "weibull_plot"}


def specs_of(drawing: Drawing, views: Sequence[View]) -> list[Spec]:
    """Write charts as Vega-Lite that needs nothing else."""
    return [vega_lite(view.spec(drawing.part_of(view))) for view in views]


def file_of(drawing: Drawing, views: Sequence[View], form: str) -> bytes:
    """Write some charts, or the table of what is shown, as a file of one of `MIME`.

    Raises
    ------
    ValueError
        If it is none of them, or there is no chart to draw.
    """
    if form not in MIME:
        raise ValueError(f"`path` must end with .{', .'.join(MIME)}, got {form!r}.")
    if form == "csv":
        return csv_text(tidy(drawing.part(drawing.query))).encode()
    specs = specs_of(drawing, views)
    if form == "html":
        models = drawing.part(drawing.query)["model"].values[:3]
        title = f"Weibull fits of {', '.join(printable(name) for name in models)}"
        fits_itself = all(view.function in _FITTED_IN_PLACE for view in views)
        part = drawing.part(drawing.query)
        live = export.live_part(part, drawing.drawn) if fits_itself else None
        return export.web_page(title, drawing.summary, drawing.code(views), specs, live).encode()
    if not specs:
        raise ValueError("What is shown has no chart to save: choose .csv, or another panel.")
    return export.picture(specs[0], form)
