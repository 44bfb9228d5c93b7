"""What a diff says and writes, whatever the names in it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import weibnb as wb
from tests.scanning.helpers import llama
from weibnb.diagnostics.changes import COLUMNS, Diff, directions_of

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</td><script>alert(1)</script>\x1b[31m\u202e=1+1"
ONES = np.ones(5)


@pytest.fixture(scope="module")
def found() -> Diff:
    """Two layers, of which the second changed; a hostile name on one side only."""
    rng = np.random.default_rng(0)
    base = llama()
    tuned = {
        name: (w + rng.normal(0, 0.01, w.shape)).astype("f2") if ".1." in name else w
        for name, w in base.items()
    }
    return wb.diff(
        {HOSTILE: base}, {"tuned": tuned | {f"{HOSTILE}.weight": base["model.norm.weight"]}}
    )


def test_the_text_names_what_changed_and_what_was_not_compared(found: Diff) -> None:
    text = str(found)
    lines = text.splitlines()
    assert "7 of 16 tensors differ; 1 other not compared." in lines[0]
    assert lines[0].endswith(".")
    assert "layer 1 down_proj" in text
    assert "layer 0" not in text
    assert "not compared (after), on one side only: not_a_matrix" in lines[-1]
    assert all(line.isprintable() for line in lines)
    assert repr(found) == text


def test_html_is_escaped(found: Diff) -> None:
    for page in (found._repr_html_(), found.to_html()):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "\x1b" not in page
        assert page.count("<tr>") == 8
    assert found.to_html().startswith("<!doctype html>")


def test_files(found: Diff, tmp_path: Path) -> None:
    table = pd.read_csv(found.save(tmp_path / "a.csv"))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 16
    np.testing.assert_allclose(table["relative"], found.table["relative"].astype(float))
    read = json.loads(found.save(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert read["after"] == "tuned"
    assert read["table"][0]["layer"] == 1
    assert read["table"][-1]["cosine"] == 1.0
    assert [row["where"] for row in read["not_compared"]] == ["after"]
    assert "<table>" in found.save(tmp_path / "a.html").read_text(encoding="utf-8")
    with wb.open_fits(found.save(tmp_path / "a.nc")) as fits:
        assert fits.sizes["layer"] == 2
    with pytest.raises(ValueError, match=r"must end in \.csv, \.json, \.html or \.nc"):
        found.save(tmp_path / "a.txt")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json", ".nc"]


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    name = "=cmd()|x"
    found = wb.diff({name: np.ones(5)}, {name: np.zeros(5)})
    text = found.save(tmp_path / "a.csv").read_text(encoding="utf-8")
    assert "'=cmd()" in text
    assert ",=cmd" not in text


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ({"w": np.ones(5)}, {"w": np.ones(5)}, "none of 1 tensor differs."),
        ({"w": np.ones(5)}, {"w": np.zeros(5)}, "the one tensor differs."),
        ({"w": ONES, "v": ONES}, {"w": np.zeros(5), "v": ONES}, "1 of 2 tensors differs."),
        ({"w": ONES}, {"v": ONES}, "no tensor is on both sides; 2 others not compared."),
    ],
)  # fmt: skip
def test_headlines(before: Any, after: Any, sentence: str) -> None:
    found = wb.diff({"a": before}, {"b": after})
    assert found.headline == f"a → b: {sentence}"
    assert str(found).startswith(found.headline)


def test_long_tables_are_cut_and_say_so() -> None:
    base = llama(4)
    found = wb.diff(base, {name: w * 2 for name, w in base.items()})
    assert "18 more in .table" in str(found)
    assert "18 more in <code>.table</code>" in found._repr_html_()
    assert len(re.findall("<tr>", found.to_html())) == 31


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_directions_of_a_low_rank_are_at_most_that(rank: int) -> None:
    rng = np.random.default_rng(rank)
    rows = rng.normal(size=(32, rank)) @ rng.normal(size=(rank, 300))
    assert directions_of(rows) <= rank
    assert directions_of(rows * 1e-200) == directions_of(rows)
    noise = rng.normal(size=(32, 300)) * 0.01 * np.abs(rows).mean()
    assert directions_of(rows + noise) <= rank


def test_directions_of_independent_rows_are_nearly_all() -> None:
    rows = np.random.default_rng(0).normal(size=(32, 4000))
    assert directions_of(rows) in (28, 29)
    assert directions_of(rows[:8]) == 8
    assert np.isnan(directions_of(np.zeros((8, 8))))
    assert np.isnan(directions_of(np.full((8, 8), np.inf)))
