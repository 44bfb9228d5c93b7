"""What a check found: findings, each with its cells, and the verdict on all of them."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import pandas as pd

from weibnb.messages import check_choice, counted, grouped, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity: TypeAlias = Literal["error", "warning", "note"]
#: From worst to least.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_COLUMNS = [
    "severity", "rule", "model", "step", "layer", "component", "expert", "tensor", "cells",
    "value", "limit", "text", "next_step",
]  # fmt: skip


class Cell(NamedTuple):
    """Where a finding is: a matrix, or with fewer labels all of a layer, a step or a model.

    Attributes
    ----------
    model : str
    step : int or None
    layer : int or None
    component : str
        Empty if it is not one component.
    expert : int
        -1 if it is not one expert.
    tensor : str
        Name of the tensor, where it is one.
    """

    model: str
    step: int | None = None
    layer: int | None = None
    component: str = ""
    expert: int = -1
    tensor: str = ""

    @classmethod
    def of_row(cls, row: pd.Series[Any]) -> Cell:
        """Take the matrix of a row of a table of outliers or of dead lines."""
        return cls(
            str(row["model"]),
            int(row["step"]),
            int(row["layer"]),
            str(row["component"]),
            int(row["expert"]),
            str(row["parameter"]),
        )

    def __str__(self) -> str:
        parts = [shortened(self.model, 80)]
        parts += [f"step {grouped(self.step)}"] if self.step else []
        parts += [f"layer {self.layer}"] if self.layer is not None else []
        parts += [shortened(self.component, 80)] if self.component else []
        parts += [f"expert {self.expert}"] if self.expert >= 0 else []
        if self.tensor and not self.component:
            parts.append(shortened(self.tensor, 120))
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, suspicious or worth knowing.

    Attributes
    ----------
    rule : str
        Name of the rule, such as ``"all-zero"``.
    severity : {"error", "warning", "note"}
    cells : tuple of Cell
        Where, at least one; several if the finding is about several together.
    value, limit : float
        The number that was found, and the one that it must not pass.
    text : str
        One sentence.
    next_step : str
        What to do.
    """

    rule: str
    severity: Severity
    cells: tuple[Cell, ...]
    value: float
    limit: float
    text: str
    next_step: str


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """A rule that could not be answered, wholly or in part, and why."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """Verdict of `weibnb.check`; prints as text and shows as HTML in a notebook.

    Attributes
    ----------
    findings : tuple of Finding
        Worst first.
    not_looked_at : tuple of NotLookedAt
        What could not be answered, with the reason.
    about : str
        What was checked.
    """

    findings: tuple[Finding, ...]
    not_looked_at: tuple[NotLookedAt, ...]
    about: str

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.at_least("error")

    @property
    def table(self) -> pd.DataFrame:
        """One row for each finding, worst first; labels are those of its first cell."""
        rows = [
            {name: getattr(finding, name) for name in _COLUMNS if hasattr(finding, name)}
            | finding.cells[0]._asdict()
            | {"cells": len(finding.cells)}
            for finding in self.findings
        ]
        table = pd.DataFrame(rows, columns=_COLUMNS)
        return table.astype({"layer": "Int64", "step": "Int64"})

    @property
    def headline(self) -> str:
        """Say in one sentence how many findings there are."""
        found = Counter(finding.severity for finding in self.findings)
        numbers = [counted(found[word], word) for word in SEVERITIES if found[word]]
        return f"{printable(self.about)}: {', '.join(numbers) or 'nothing found'}."

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Give the findings of a severity and of those above it."""
        check_choice("severity", severity, SEVERITIES)
        wanted = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return tuple(finding for finding in self.findings if finding.severity in wanted)

    def lines(self) -> list[tuple[Severity, str, str]]:
        """Fold the findings of a rule in a model into severity, rule and sentence."""
        lines: list[tuple[Severity, str, str]] = []
        for _, group in groupby(self.findings, _same_line):
            several = list(group)
            first = several[0]
            more = f" and {len(several) - 1:,} more" if len(several) > 1 else ""
            lines.append((first.severity, first.rule, sentence_of(first, more)))
        return lines

    def __str__(self) -> str:
        found = [f"{severity:<7}  {rule}: {text}" for severity, rule, text in self.lines()]
        unseen = [
            f"not looked at  {one.rule}: {printable(one.reason)}" for one in self.not_looked_at
        ]
        return "\n".join([self.headline, *found, *unseen])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(_row(*line) for line in self.lines())
        rows += "".join(
            _row("not looked at", o.rule, printable(o.reason)) for o in self.not_looked_at
        )
        return f"<p>{html.escape(self.headline)}</p><table>{rows}</table>"


def sentence_of(finding: Finding, more: str = "") -> str:
    """Say where something was found, what, and what to do; names are printable."""
    where = _where(finding.cells)
    return printable(f"{where}{more}: {finding.text} {finding.next_step}")


def _same_line(finding: Finding) -> tuple[str, str]:
    """Tell findings apart that do not share a line: by rule and model."""
    return finding.rule, finding.cells[0].model


def _where(cells: tuple[Cell, ...]) -> str:
    """Name one cell, and count the others of the same finding."""
    more = f" (with {counted(len(cells) - 1, 'other')})" if len(cells) > 1 else ""
    return f"{cells[0]}{more}"


def _row(*texts: str) -> str:
    """Write a row of an HTML table, whatever the names in it."""
    cells = "".join(f'<td style="text-align: left">{html.escape(text)}</td>' for text in texts)
    return f"<tr>{cells}</tr>"


def ordered(findings: Iterable[Finding], rules: list[str]) -> tuple[Finding, ...]:
    """Sort findings, worst first, those of a rule and a model together."""
    models: dict[str, int] = {}

    def rank(finding: Finding) -> tuple[int, int, int]:
        model = finding.cells[0].model
        place = models.setdefault(model, len(models))
        return SEVERITIES.index(finding.severity), rules.index(finding.rule), place

    return tuple(sorted(findings, key=rank))
