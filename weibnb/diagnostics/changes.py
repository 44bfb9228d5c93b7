"""What changed between two checkpoints: the table, its text, and how it is written to a file."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.fits.files import SUFFIXES, check_fits_target, save_fits
from weibnb.fits.tables import csv_text
from weibnb.messages import counted, printable, printable_lines, shortened
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import xarray as xr

#: Columns of every table of changes.
LABELS = ("layer", "component", "expert", "tensor", "rows", "cols", "dtype_before", "dtype_after")
#: Of the estimates of both sides: changes, each with its standard error, and k of both.
CHANGES = ("k", "ln_lam", "ln_rms")
OF_FITS = (
    *(name for of in CHANGES for name in (f"delta_{of}", f"delta_{of}_se")),
    "distance", "distance_se", "errors", "k_before", "k_after",
)  # fmt: skip
#: Of the weights of both sides, where both were read.
OF_WEIGHTS = (
    "changed", "relative", "cosine", "largest", "largest_row", "largest_col",
    "change_k", "change_k_se", "change_r2", "change_h_row", "change_h_col", "directions",
    "change_nonfinite",
)  # fmt: skip
COLUMNS = (*LABELS, *OF_WEIGHTS, *OF_FITS, "status")
_INTEGERS = ("layer", "rows", "cols", "largest_row", "largest_col", "directions")
#: Columns of the list of what was not compared.
NOT_COMPARED = (
    "tensor", "where", "shape_before", "shape_after", "dtype_before", "dtype_after", "reason",
)  # fmt: skip
# Endings of files that a table is written to.
_TABLES = (".csv", ".json", ".html")
_SHOWN = 12
_SHOWN_COLUMNS = {
    "matrix": "{}",
    "changed": "{:.1%}",
    "relative": "{:.3g}",
    "cosine": "{:.6f}",
    "change_k": "{:.3f}",
    "delta_k": "{:+.4f}",
    "delta_k_se": "{:.4f}",
    "delta_ln_rms": "{:+.4f}",
    "distance": "{:.4f}",
}
_TITLES = {
    "changed": "changed",
    "relative": "‖ΔW‖/‖W‖",
    "change_k": "k of |ΔW|",
    "delta_k": "Δk",
    "delta_k_se": "±",
    "delta_ln_rms": "Δ ln rms",
}


@dataclass(frozen=True, slots=True, eq=False)
class Diff:
    """What changed between two checkpoints; prints as text and shows as HTML in a notebook.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each matrix and other tensor that both have, what changed most first: see
        `weibnb.diff`.
    not_compared : pandas.DataFrame
        One row for each tensor that was not compared: ``tensor``, ``where`` it is (``"before"``,
        ``"after"`` or ``"both"``), shape and dtype on both sides, and the ``reason``.
    fits : xarray.Dataset or None
        Fits of |ΔW| of every weight matrix, with their counts, as `weibnb.scan` returns them: for
        Weibull plots, `weibnb.refit` and `weibnb.save_fits`. None where only fits were compared.
    before, after : str
        What was compared.
    components : tuple of str
        Components of the weight matrices, in the order of a layer.
    by_fits : bool
        Whether only fits were compared.
    """

    table: pd.DataFrame
    not_compared: pd.DataFrame
    fits: xr.Dataset | None
    before: str
    after: str
    components: tuple[str, ...] = ()
    by_fits: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing changed: no weight, or no estimate, and every tensor was compared."""
        return not self.number_changed and self.not_compared.query("tensor != ''").empty

    @property
    def number_changed(self) -> int:
        """Number of matrices and other tensors that changed."""
        return int(self._changed.sum())

    @property
    def headline(self) -> str:
        """Say in one sentence how much changed."""
        number, total = self.number_changed, len(self.table)
        if not total:
            what = "no tensor is on both sides"
        elif number == total:
            what = "every tensor differs" if total > 1 else "the one tensor differs"
        else:
            which = f"{number:,}" if number else "none"
            what = f"{which} of {counted(total, 'tensor')} {'differ' if number > 1 else 'differs'}"
        by = ", by their fits" if self.by_fits else ""
        left = len(self.not_compared)
        more = f"; {counted(left, 'other')} not compared" if left else ""
        names = f"{shortened(self.before, 200)} → {shortened(self.after, 200)}"
        return f"{names}: {what}{by}{more}."

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table, or the fits of the change, to a file.

        Parameters
        ----------
        path : path
            ``.csv``, ``.json`` (with what was not compared) or ``.html``; or ``.nc`` for `fits`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the name ends otherwise, or there are no fits of a change.
        OSError
            If the file cannot be written; what was there before is untouched.
        """
        if Path(path).suffix.lower() in SUFFIXES:
            if self.fits is None:
                raise ValueError(
                    "`path` must end in .csv, .json or .html: fits of the change need the weights "
                    "of both sides. Pass both checkpoints to weibnb.diff."
                )
            return save_fits(self.fits, path)
        target = check_changes_target(path)
        form = target.suffix.lower()
        if form == ".csv":
            return write_whole(target, csv_text(self.table))
        return write_whole(target, self.to_html() if form == ".html" else self.to_json())

    def to_json(self) -> str:
        """Give table and list as JSON, NaN as null."""
        parts = [
            f'"{name}": {table.to_json(orient="records", double_precision=15)}'
            for name, table in (("table", self.table), ("not_compared", self.not_compared))
        ]
        names = pd.Series({"before": self.before, "after": self.after}).to_json()
        return f"{names[:-1]},{','.join(parts)}}}\n"

    def to_html(self) -> str:
        """Give a page with the whole table."""
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>What changed</title>'
            "<style>body{font:15px system-ui,sans-serif;margin:2em;color-scheme:light dark}"
            "td,th{padding:.2em .8em;text-align:right}"
            "td:first-child,th:first-child{text-align:left}"
            f"</style>{self._html(len(self.table))}</html>"
        )

    def _html(self, rows: int) -> str:
        """Write the first rows, and what was not compared, whatever the names in it."""
        parts = [f"<p>{html.escape(self.headline)}</p>"]
        if number := self.number_changed:
            parts.append(_html_table(self._shown(rows)))
            parts += [f"<p>{number - rows:,} more in <code>.table</code></p>"] * (number > rows)
        parts += [f"<p>{html.escape(line)}</p>" for line in self._left_lines()]
        return "".join(parts)

    def _repr_html_(self) -> str:
        return self._html(_SHOWN)

    def __str__(self) -> str:
        lines = [printable_lines(self.headline)]
        if number := self.number_changed:
            lines.append(self._shown(_SHOWN).to_string(index=False))
            lines += [f"{number - _SHOWN:,} more in .table"] * (number > _SHOWN)
        return "\n".join([*lines, *self._left_lines()])

    __repr__ = __str__

    @property
    def _changed(self) -> pd.Series[bool]:
        """Flag the rows that changed: by their weights, where these were read."""
        by_fits = (self.table[["delta_k", "distance"]].fillna(0.0) != 0).any(axis=1)
        unread = self.table["changed"].isna()
        return (self.table["changed"].fillna(0.0) > 0) | (unread & by_fits)

    def _shown(self, rows: int) -> pd.DataFrame:
        """Write the first rows that changed as people read them, without empty columns."""
        table = self.table[self._changed].head(rows)
        shown = pd.DataFrame({"matrix": [_name(row) for _, row in table.iterrows()]}, dtype=object)
        for column, form in _SHOWN_COLUMNS.items():
            if column in table and table[column].notna().any():
                title = _TITLES.get(column, column)
                shown[title] = [_number(value, form) for value in table[column]]
        return shown

    def _left_lines(self) -> list[str]:
        """Count what was not compared by reason, and name the first of each."""
        lines = []
        for (where, reason), part in self.not_compared.groupby(["where", "reason"], sort=False):
            names = [shortened(name, 100) for name in part["tensor"].head(3) if name]
            listed = f": {', '.join(names)}" + (" …" if len(part) > len(names) > 0 else "")
            side = f" ({where})" if where != "both" else ""
            lines.append(printable(f"not compared{side}, {reason}{listed if names else ''}"))
        return lines


def check_changes_target(path: str | os.PathLike[str]) -> Path:
    """Check that changes can be written here, before the work that finds them."""
    if Path(path).suffix.lower() in SUFFIXES:
        return check_fits_target(path)
    return check_target(path, (*_TABLES, *SUFFIXES[:1]), "changes")


def _name(row: pd.Series[Any]) -> str:
    """Name a matrix by layer, component and expert, another tensor by its name."""
    if pd.isna(row["layer"]):
        return shortened(row["tensor"], 60)
    expert = f", expert {row['expert']}" if row["expert"] >= 0 else ""
    return f"layer {row['layer']} {shortened(row['component'], 60)}{expert}"


def _number(value: Any, form: str) -> str:
    """Write a number, a dash where there is none."""
    return "–" if pd.isna(value) else form.format(value)


def _html_table(table: pd.DataFrame) -> str:
    """Write an HTML table, whatever the names in it."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table)
    rows = (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def as_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make the table of changes of its rows, what changed most first.

    By ‖ΔW‖/‖W‖ where weights were read, by the distance of ln|w| elsewhere; what was fitted on
    neither side comes last.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in (*OF_WEIGHTS, *OF_FITS):
        if name != "errors":
            table[name] = table[name].astype(float)
    table = table.astype(dict.fromkeys(_INTEGERS, "Int64") | {"expert": "int64"})
    by = table["relative"].where(table["changed"].notna(), table["distance"])
    order = np.argsort(-by.fillna(-1.0).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def directions_of(lines: Any) -> float:
    """Count the directions that hold 90 % of the square of some rows; NaN if they are zero.

    Rows of a matrix of rank r need r at most; of as many independent rows nearly all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> directions_of(rng.normal(size=(32, 4)) @ rng.normal(size=(4, 500)))
    4.0
    """
    rows = np.asarray(lines, float)
    largest = float(np.abs(rows).max(initial=0.0))
    if not 0 < largest < math.inf:
        return math.nan
    rows = rows / largest
    powers = np.maximum(np.linalg.eigvalsh(rows @ rows.T)[::-1], 0.0)
    held = np.cumsum(powers) / powers.sum()
    return float(np.searchsorted(held, 0.9) + 1)
