"""A summary as text, as HTML in a notebook, and as a page that needs no network."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from weibnb.fits.tables import NUMBER_FORMATS
from weibnb.messages import printable_lines

if TYPE_CHECKING:
    from weibnb.pictures import Picture

#: A table, or a sentence where there is none, and a note below it.
Section: TypeAlias = tuple[pd.DataFrame | str, str]

#: Title of the first section.
FINDINGS = "Findings"


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
            if isinstance(content, pd.DataFrame) and title == FINDINGS:
                rows = content.itertuples(index=False)
                text = "\n".join(f"{row[0]:<13}  {row[1]}: {row[2]}" for row in rows)
            elif isinstance(content, pd.DataFrame):
                words = {str(name): partial(_word, str(name)) for name in content}
                text = content.to_string(index=False, na_rep="–", formatters=words)
            parts.append(f"{title}\n{'-' * len(title)}\n{text}" + (f"\n{note}" if note else ""))
        return printable_lines("\n\n".join(parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._html()

    def _html(self, figures: str = "") -> str:
        """Write the verdict and the findings, pictures, and the tables behind them."""
        parts = [f"<p>{_escaped(line)}</p>" for line in self.headline]
        for title, (content, note) in self.sections.items():
            parts.append(f"<h2>{_escaped(title)}</h2>")
            if isinstance(content, pd.DataFrame):
                parts.append(f'<div class="scroll">{_html_table(content)}</div>')
            else:
                parts.append(f"<p>{_escaped(content)}</p>")
            if note:
                parts.append(f'<p class="note">{_escaped(note)}</p>')
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


def _escaped(text: object) -> str:
    """Write text for HTML; what does not print, such as marks that turn text round, as code."""
    return html.escape(printable_lines(str(text)))


def _word(column: str, value: Any) -> str:
    """Write one value of a table; a figure has the digits that its column deserves."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else NUMBER_FORMATS.get(column, "{:.4g}").format(value)
    return f"{value:,}" if isinstance(value, int) and column != "layer" else str(value)


def _html_table(table: pd.DataFrame) -> str:
    """Write a table as HTML, text to the left and numbers to the right."""
    sides = ["" if is_numeric_dtype(table[name]) else ' class="word"' for name in table]
    rows = [[f"<th{side}>{_escaped(n)}</th>" for n, side in zip(table, sides, strict=True)]]
    for record in table.to_dict("records"):
        texts = [_word(str(name), value) for name, value in record.items()]
        cells = zip(texts, sides, strict=True)
        rows.append([f"<td{side}>{_escaped(text)}</td>" for text, side in cells])
    return f"<table>{_html_rows(rows)}</table>"


def _html_map(
    name: str, table: pd.DataFrame, statuses: pd.DataFrame | None, reference: float
) -> str:
    """Write k by layer and component as HTML, blue below the anchor and orange above."""
    words = statuses.to_numpy(str) if statuses is not None else np.full(table.shape, "ok")
    rows = [["<th>layer</th>", *(f"<th>{_escaped(column)}</th>" for column in table)]]
    for layer, values, status in zip(table.index, table.to_numpy(float), words, strict=True):
        cells = (_map_cell(k, k / reference - 1, s) for k, s in zip(values, status, strict=True))
        rows.append([f"<th>{int(layer)}</th>", *cells])
    caption = (
        f"k of {name} by layer; blue below the anchor {reference:.4f}, orange above; hatched: no "
        "sound fit"
    )
    return (
        f'<div class="scroll"><table class="map"><caption>{_escaped(caption)}</caption>'
        f"{_html_rows(rows)}</table></div>"
    )


def _html_rows(rows: list[list[str]]) -> str:
    return "".join(f"<tr>{''.join(row)}</tr>" for row in rows)


def _map_cell(k: float, share: float, status: str) -> str:
    if status not in ("ok", "absent"):
        text = "no fit" if np.isnan(k) else f"{k:.3f}"
        return f'<td class="unsound" title="{_escaped(status)}">{text}</td>'
    if np.isnan(k):
        return "<td>–</td>"
    colour = "26,133,255" if share < 0 else "230,97,0"
    style = f"background: rgba({colour},{0.75 * min(abs(share) / 0.15, 1):.2f})"
    return f'<td style="{style}" title="{100 * share:+.1f} %">{k:.3f}</td>'
