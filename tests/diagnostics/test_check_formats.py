"""A check for machines, each format read back by another parser, with hostile names."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import NAMES
from weibnb.diagnostics.check import RULES
from weibnb.diagnostics.check_formats import FORMATS, write_check
from weibnb.diagnostics.findings import Cell, Check, Finding, NotLookedAt
from weibnb.messages import printable

ANY = st.text(max_size=20) | st.sampled_from(NAMES)


def check_of(name: str, value: float = 1.0) -> Check:
    cells = (Cell(name, 3, 1, name, 2, name), Cell(name, 3, 2, "up_proj"))
    findings = (
        Finding("all-zero", "error", cells, value, 0, f"{name} is zero.", "Do it again."),
        Finding("comb", "warning", cells[:1], 2, 3, "few.", "Look."),
        Finding("outliers", "note", (Cell(name),), 2, 3, "large.", "Look."),
    )
    return Check(findings, (NotLookedAt("far-layer", f"because of {name}"),), name)


@given(ANY, st.floats())
def test_json_reads_back(name: str, value: float) -> None:
    whole = json.loads(write_check(check_of(name, value), "json"), parse_constant=pytest.fail)
    assert (whole["ok"], whole["number_of_findings"]) == (False, 3)
    first = whole["findings"][0]
    assert first["cells"][0]["model"] == printable(name)
    assert (first["rule"], first["number_of_cells"]) == ("all-zero", 2)
    assert [one["rule"] for one in whole["not_looked_at"]] == ["far-layer"]


@given(ANY)
def test_junit_reads_back(name: str) -> None:
    suite = ET.fromstring(write_check(check_of(name), "junit").encode())  # noqa: S314 (our own)
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == list(RULES)
    failed = {n for n, case in cases.items() if case.find("failure") is not None}
    skipped = {n for n, case in cases.items() if case.find("skipped") is not None}
    assert (failed, skipped) == ({"all-zero", "comb"}, {"far-layer"})
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        str(len(RULES)), "2", "1",
    )  # fmt: skip
    failure = cases["all-zero"].find("failure")
    assert failure is not None
    assert failure.get("type") == "error"
    assert printable(f"{name} is zero.") in str(failure.text)


@given(ANY)
def test_sarif_has_the_published_structure(name: str) -> None:
    """What the schema of SARIF 2.1.0 requires, and what code scanning takes."""
    log = json.loads(write_check(check_of(name), "sarif"))
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert set(run) <= {"tool", "results", "invocations"}
    driver = run["tool"]["driver"]
    assert driver["name"] == "weibnb"
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(set(rules)) == len(rules) == len(RULES)
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        for location in [*result["locations"], *result["relatedLocations"]]:
            place = location["physicalLocation"]
            assert re.fullmatch(r"[A-Za-z0-9\-._~/%]+", place["artifactLocation"]["uri"])
            assert unquote(place["artifactLocation"]["uri"]) in (printable(name), "model")
            assert place["region"]["startLine"] >= 1
            assert {"fullyQualifiedName", "kind"} == set(location["logicalLocations"][0])
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    assert len(invocation["toolExecutionNotifications"]) == 1


@given(ANY)
def test_github_has_one_command_a_line(name: str) -> None:
    lines = write_check(check_of(name), "github").split("\n")
    words = [re.match(r"::(error|warning|notice) title=weibnb [a-z-]+::", line) for line in lines]
    assert all(words)
    assert [word[1] for word in words if word] == ["error", "warning", "notice", "notice"]
    message = lines[0].split("::", 2)[2]
    undone = message.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    assert printable(f"{name} is zero.") in undone


def test_what_is_healthy_is_valid_in_every_format() -> None:
    clean = Check((), (), "m")
    assert write_check(clean) == "m: nothing found."
    assert json.loads(write_check(clean, "json"))["ok"] is True
    assert json.loads(write_check(clean, "sarif"))["runs"][0]["results"] == []
    suite = ET.fromstring(write_check(clean, "junit").encode())  # noqa: S314 (our own)
    assert suite.get("failures") == "0"
    assert write_check(clean, "github") == "::notice title=weibnb check::m: nothing found."


def test_an_unknown_format_names_the_closest() -> None:
    wrong: Any = "sarf"
    with pytest.raises(ValueError, match="Did you mean 'sarif'"):
        write_check(Check((), (), "m"), wrong)
    assert set(FORMATS) == {"text", "json", "junit", "sarif", "github"}
