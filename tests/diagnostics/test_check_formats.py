"""A check for machines, each format read back by another parser, with hostile names."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

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


JUNIT = {  # attributes and children
    "testsuite": (("name", "tests", "failures", "errors", "skipped"), ("testcase",)),
    "testcase": (("name", "classname"), ("failure", "skipped", "system-out")),
    "failure": (("message", "type"), ()),
    "skipped": (("message",), ()),
    "system-out": ((), ()),
}


@given(ANY)
@example("\ufffe\uffff\x85\u2028")
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
    # of the elements and attributes that Jenkins' junit-10.xsd knows, in an order that it takes
    for element in suite.iter():
        known = JUNIT[element.tag]
        assert set(element.attrib) <= set(known[0])
        assert {child.tag for child in element} <= set(known[1])
    failure = cases["all-zero"].find("failure")
    assert failure is not None
    assert failure.get("type") == "error"
    assert printable(f"{name} is zero.") in str(failure.text)


def obj(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object of SARIF with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def several(items: Any, *, distinct: bool = False) -> dict[str, Any]:
    return {"type": "array", "items": items, "uniqueItems": distinct}


# What sarif-schema-2.1.0.json (OASIS, errata 01) says of the objects that a check is written as;
# texts hold no control character, and addresses are those of RFC 3986, percent-encoded.
TEXT = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+\Z"}
URI = {"type": "string", "pattern": r"^https://([\w.~/#-]|%[0-9A-F]{2})+\Z"}
RELATIVE = {
    "type": "string",
    "pattern": r"^([A-Za-z0-9._~-]|%[0-9A-F]{2})([A-Za-z0-9._~/-]|%[0-9A-F]{2})*\Z",
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
MESSAGE = obj("text", text=TEXT)
LOCATION = obj(
    physicalLocation=obj(
        "artifactLocation",
        artifactLocation=obj(uri=RELATIVE),
        region=obj("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations=several(obj(fullyQualifiedName=TEXT, kind=TEXT), distinct=True),
)
RESULT = obj(
    "message",
    ruleId={"enum": list(RULES)},
    ruleIndex={"type": "integer", "minimum": -1},
    level=LEVEL,
    message=MESSAGE,
    locations=several(LOCATION),
    relatedLocations=several(LOCATION, distinct=True),
)
RULE = obj(
    "id",
    id=TEXT,
    shortDescription=obj("text", text=TEXT),
    helpUri=URI,
    defaultConfiguration=obj(level=LEVEL),
)
DRIVER = obj(
    "name", name=TEXT, version=TEXT, informationUri=URI, rules=several(RULE, distinct=True)
)
RUN = obj(
    "tool",
    tool=obj("driver", driver=DRIVER),
    results=several(RESULT),
    invocations=several(
        obj(
            "executionSuccessful",
            executionSuccessful={"type": "boolean"},
            toolExecutionNotifications=several(obj("message", level=LEVEL, message=MESSAGE)),
        )
    ),
)
SARIF = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    **obj("version runs", **{"$schema": URI, "version": {"enum": ["2.1.0"]}, "runs": several(RUN)}),
}
VALIDATOR = Draft4Validator(SARIF)


@given(ANY)
@example("//host/a:b%00?c#d")
@example("\ufffe\uffff\x85\u2028")
def test_sarif_has_the_published_structure(name: str) -> None:
    """What the schema of SARIF 2.1.0 asks for, and what code scanning takes."""
    log = json.loads(write_check(check_of(name), "sarif"))
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == list(RULES)
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        for location in [*result["locations"], *result["relatedLocations"]]:
            address = location["physicalLocation"]["artifactLocation"]["uri"]
            assert unquote(address) in (printable(name).lstrip("/"), "model")
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    assert len(invocation["toolExecutionNotifications"]) == 1


def test_places_of_a_finding_are_distinct() -> None:
    cells = (Cell("m"), *[Cell("m", step, 1, "x" * 90 + end) for step in (0, 0, 1) for end in "ab"])
    check = Check((Finding("comb", "warning", cells, 1, 1, "few.", "Look."),), (), "m")
    log = json.loads(write_check(check, "sarif"))
    VALIDATOR.validate(log)
    assert len(log["runs"][0]["results"][0]["relatedLocations"]) == 2  # names are cut


@given(ANY)
@example("a::error title=b::c%0Ad\r\n::set-output name=x::y")
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
