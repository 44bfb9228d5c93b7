"""A check for machines: JSON, JUnit, SARIF, and the annotations of GitHub's workflows."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import quote
from xml.etree import ElementTree as ET

from weibnb.diagnostics.findings import sentence_of
from weibnb.fits.schema import package_version
from weibnb.messages import check_choice, counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from weibnb.diagnostics.findings import Cell, Check, Finding

Format: TypeAlias = Literal["text", "json", "junit", "sarif", "github"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Findings that are written in full; a checkpoint may have millions of cells.
_MOST = 10_000
_CELLS = 100
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_PAGE = "https://github.com/weibnb/weibnb/blob/main/docs/check.md"
_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def write_check(check: Check, form: Format = "text") -> str:
    """Write a check as text for people or for a machine.

    Parameters
    ----------
    check : Check
        From `weibnb.check`.
    form : {"text", "json", "junit", "sarif", "github"}
        JSON of our own; JUnit's XML; SARIF 2.1.0; lines that GitHub shows beside a workflow.

    Returns
    -------
    str
        Names from the checkpoint are escaped as the format asks for, and control characters
        in every format.

    Raises
    ------
    ValueError
        If there is no such format.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> check = wb.check({"tiny": {"model.layers.0.mlp.up_proj.weight": np.zeros((20, 20))}})
    >>> print(write_check(check, "github").splitlines()[0])
    ::error title=weibnb all-zero::tiny, layer 0, up_proj: every weight is zero. Write the \
checkpoint again from the state that was trained, and scan it.
    """
    check_choice("form", form, FORMATS)
    writers: dict[Format, Callable[[Check], str]] = {
        "text": str,
        "json": _json,
        "junit": _junit,
        "sarif": _sarif,
        "github": _github,
    }
    return writers[form](check)


def _number(value: float) -> float | None:
    """Give a number that JSON has."""
    return value if math.isfinite(value) else None


def _cell(cell: Cell) -> dict[str, Any]:
    """Describe a place with printable names."""
    return {
        name: printable(value) if isinstance(value, str) else value
        for name, value in cell._asdict().items()
    }


def _json(check: Check) -> str:
    """Write everything as one JSON object."""
    findings = [
        {
            "rule": one.rule,
            "severity": one.severity,
            "cells": [_cell(cell) for cell in one.cells[:_CELLS]],
            "number_of_cells": len(one.cells),
            "value": _number(float(one.value)),
            "limit": _number(float(one.limit)),
            "text": printable(one.text),
            "next_step": printable(one.next_step),
        }
        for one in check.findings[:_MOST]
    ]
    whole = {
        "weibnb": package_version(),
        "about": printable(check.about),
        "ok": check.ok,
        "number_of_findings": len(check.findings),
        "findings": findings,
        "not_looked_at": [
            {"rule": one.rule, "reason": printable(one.reason)} for one in check.not_looked_at
        ],
    }
    return json.dumps(whole, indent=1, allow_nan=False)


def _junit(check: Check) -> str:
    """Write one test case for each rule; errors and warnings fail it."""
    from weibnb.diagnostics.check import RULES

    by_rule: dict[str, list[Finding]] = {name: [] for name in RULES}
    for finding in check.findings:
        by_rule[finding.rule].append(finding)
    unseen = {one.rule: printable(one.reason) for one in check.not_looked_at}
    failed = [name for name, found in by_rule.items() if any(f.severity != "note" for f in found)]
    skipped = [name for name in unseen if name not in failed]
    suite = ET.Element(
        "testsuite",
        name="weibnb check",
        tests=str(len(by_rule)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(skipped)),
    )
    for name, found in by_rule.items():
        case = ET.SubElement(suite, "testcase", classname="weibnb", name=name)
        lines = "\n".join(sentence_of(one) for one in found[:_MOST])
        if name in failed:
            about = f"{counted(len(found), 'finding')}: {sentence_of(found[0])}"
            failure = ET.SubElement(case, "failure", message=about, type=found[0].severity)
            failure.text = lines
        elif name in skipped:
            ET.SubElement(case, "skipped", message=unseen[name])
        if found and name not in failed:
            ET.SubElement(case, "system-out").text = lines
    ET.indent(suite)
    text = ET.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _sarif(check: Check) -> str:
    """Write SARIF 2.1.0, as code scanning takes it."""
    from weibnb.diagnostics.check import RULES

    names = list(RULES)
    rules = [
        {
            "id": rule.name,
            "shortDescription": {"text": rule.about},
            "helpUri": f"{_PAGE}#{rule.name}",
            "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        }
        for rule in RULES.values()
    ]
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": names.index(one.rule),
            "level": _LEVELS[one.severity],
            "message": {"text": sentence_of(one)},
            "locations": [_location(cell) for cell in one.cells[:1]],
            "relatedLocations": _distinct([_location(cell) for cell in one.cells[1:_CELLS]]),
        }
        for one in check.findings[:_MOST]
    ]
    unseen = [
        {"level": "note", "message": {"text": f"{one.rule} not looked at: {printable(one.reason)}"}}
        for one in check.not_looked_at
    ]
    run = {
        "tool": {
            "driver": {
                "name": "weibnb",
                "version": package_version(),
                "informationUri": "https://github.com/weibnb/weibnb",
                "rules": rules,
            }
        },
        "results": results,
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": unseen}],
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=1)


def _location(cell: Cell) -> dict[str, Any]:
    """Name a matrix as a logical place in what stands for a file: its model."""
    parts = [part for part in str(cell).split(", ") if part]
    address = quote(printable(cell.model).lstrip("/"), safe="/") or "model"
    return {
        "physicalLocation": {"artifactLocation": {"uri": address}, "region": {"startLine": 1}},
        "logicalLocations": [
            {"fullyQualifiedName": "/".join(parts) or "model", "kind": "resource"}
        ],
    }


def _distinct(locations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out places that have been named, since those of a result must differ."""
    return list({json.dumps(one): one for one in locations}.values())


def _github(check: Check) -> str:
    """Write one command of GitHub's workflows for each line of the text."""
    commands = {"error": "error", "warning": "warning", "note": "notice"}
    lines = [
        f"::{commands[severity]} title={_escaped(f'weibnb {rule}', ':,')}::{_escaped(text)}"
        for severity, rule, text in check.lines()
    ]
    lines += [
        f"::notice title={_escaped(f'weibnb {one.rule}', ':,')}::"
        f"{_escaped(f'not looked at: {printable(one.reason)}')}"
        for one in check.not_looked_at
    ]
    return "\n".join(lines or [f"::notice title=weibnb check::{_escaped(check.headline)}"])


def _escaped(text: str, also: str = "") -> str:
    """Escape what would end a command of a workflow."""
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
