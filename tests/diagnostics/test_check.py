"""The verdict: which rules, in which order, against which baseline, written for people."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.diagnostics.rules.models import experts, model, name_of
from tests.hostile import NAMES
from weibnb.diagnostics.check import RULES, check_fits, choose_rules, count_errors
from weibnb.diagnostics.findings import SEVERITIES, Cell, Check, Finding

if TYPE_CHECKING:
    from tests.diagnostics.rules.models import Weights


def broken() -> Weights:
    weights = model(6)
    weights[name_of(1)][...] = 0
    weights[name_of(2)][...] = 0
    weights[name_of(4)][3, 3] = np.nan
    weights[name_of(5)] = weights[name_of(3)].copy()
    weights[name_of(0)][7, 7] = 2
    return weights


def test_worst_first_and_one_line_for_a_rule() -> None:
    check = check_fits(wb.scan({"m": broken()}))
    assert [finding.rule for finding in check.findings] == [
        "nonfinite", "all-zero", "all-zero", "same-matrix", "outliers",
    ]  # fmt: skip
    ranks = [SEVERITIES.index(finding.severity) for finding in check.findings]
    assert ranks == sorted(ranks)
    assert not check.ok
    text = str(check).splitlines()
    assert text[0] == "m: 3 errors, 1 warning, 1 note."
    assert text[2].startswith("error    all-zero: m, layer 1, up_proj and 1 more: every weight is")
    assert len(text) == 1 + 4 + len(check.not_looked_at)


def test_the_table_has_a_row_for_each_finding() -> None:
    check = check_fits(wb.scan({"m": broken()}))
    table = check.table
    assert len(table) == len(check.findings)
    assert table["layer"].tolist() == [4, 1, 2, 3, 0]
    assert table["cells"].tolist() == [1, 1, 1, 2, 1]
    assert table.loc[0, "tensor"] == name_of(4)
    empty = Check((), (), "m")
    assert list(empty.table) == list(table)
    assert str(empty) == "m: nothing found."


def test_at_least() -> None:
    check = check_fits(wb.scan({"m": broken()}))
    assert [len(check.at_least(severity)) for severity in SEVERITIES] == [3, 4, 5]
    with pytest.raises(ValueError, match="Did you mean 'warning'"):
        check.at_least("warnin")  # type: ignore[arg-type]


def test_rules_are_chosen_by_name() -> None:
    everything = list(RULES)
    assert [rule.name for rule in choose_rules(None, ())] == everything
    assert [rule.name for rule in choose_rules(["comb", "all-zero"], ())] == ["all-zero", "comb"]
    assert [rule.name for rule in choose_rules("comb", ())] == ["comb"]
    assert [rule.name for rule in choose_rules(None, everything[1:])] == everything[:1]
    assert choose_rules(["comb"], ["comb"]) == []
    wrong: list[dict[str, Any]] = [{"select": ["all_zero"]}, {"ignore": ["all-zeros"]}]
    for options in wrong:
        with pytest.raises(ValueError, match="Did you mean 'all-zero'"):
            wb.check({"m": model(1)}, **options)


def test_every_rule_tells_what_it_says_it_does() -> None:
    check = check_fits(wb.scan({"m": broken()}))
    for finding in check.findings:
        assert finding.severity == RULES[finding.rule].severity
        assert finding.text.endswith(".")
        assert finding.next_step.endswith((".", ")"))


def test_only_what_is_new_against_a_baseline() -> None:
    before = model(6)
    before[name_of(1)][...] = 0
    old, new = wb.scan({"before": before}), wb.scan({"m": broken()})
    found = check_fits(new, baseline=old)
    assert [(f.rule, f.cells[0].layer) for f in found.at_least("error")] == [
        ("nonfinite", 4),
        ("all-zero", 2),
    ]
    assert check_fits(new, baseline=new).findings == ()
    steps = wb.scan({"m": {5: before, 9: broken()}})
    again = check_fits(steps, baseline=wb.scan({"m": {5: before, 9: model(6)}}))
    assert {f.cells[0].step for f in again.at_least("error")} == {9}


def test_a_baseline_of_another_model_says_so() -> None:
    other = wb.scan({"wide": {n: np.ones((32, 32)) for n in model(6)}})
    with pytest.raises(ValueError, match="`baseline` must be of the same model: 0 of its 24"):
        check_fits(wb.scan({"m": model(6)}), baseline=other)
    with pytest.raises(TypeError, match=r"must be an xarray\.Dataset"):
        check_fits(wb.scan({"m": model(6)}), baseline=3)  # type: ignore[arg-type]
    assert check_fits(wb.scan({"m": model(6)}), baseline=wb.scan({"n": model(4)})) is not None


def test_every_rule_has_its_place_on_the_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "check.md"
    headings = re.findall(r"^### (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(RULES)


def test_a_strange_list_of_tensors_ends_in_no_traceback() -> None:
    fits = wb.scan({"m": model()})
    odd = [{"tensor": 5, "shape": ["a"], "dtype": None, "reason": ["lora"]}]
    fits["not_fitted"][...] = json.dumps(odd)
    fits = fits.assign_coords(n_layers=("model", [np.inf]), hidden_size=("model", [-np.inf]))
    assert check_fits(fits).ok


def test_errors_are_counted() -> None:
    assert count_errors(wb.scan({"m": broken()})) == 3
    assert count_errors(wb.scan({"m": model()})) == 0


def test_every_form_of_fits_is_judged() -> None:
    """Merged and single experts, a selection of one label; published medians are none."""
    weights = experts()
    weights[name_of(1, "mlp.experts.2.up_proj")][...] = 0
    for options in ({}, {"experts": "each"}):
        fits = wb.scan({"m": weights}, **options)  # type: ignore[arg-type]
        assert not check_fits(fits).ok
        assert not check_fits(fits.sel(model="m", step=0)).ok
    with pytest.raises(ValueError, match="`fits` must number each layer, got 'median'"):
        check_fits(wb.reference_cohort())


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_in_every_repr(name: str) -> None:
    """No name from a checkpoint ends a line, steers a terminal or opens a tag."""
    finding = Finding(
        "all-zero", "error", (Cell(name, 0, 1, name, 2, name),), 1, 1, f"{name}.", "Go."
    )
    check = Check((finding, finding), (), name)
    assert all(line.isprintable() for line in str(check).split("\n"))
    assert len(str(check).split("\n")) == 2
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(check._repr_html_())
    assert set(tags) == {"p", "table", "tr", "td"}
