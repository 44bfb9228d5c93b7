"""Names from a file are text: they steer no terminal and are no formula to a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import weibnb as wb
from weibnb import cli
from weibnb.fits.tables import csv_text, tidy
from weibnb.messages import printable, printable_lines, shortened

if TYPE_CHECKING:
    from pathlib import Path

# clear the screen, ring, set the title, C1 control, turn the direction of text round
HOSTILE = "a\x1b[2J\x07\x1b]0;t\x07\x9b1m\u202egnp.exe\u2066"
NAME = "model.layers.0.mlp.up_proj.weight"


def weights() -> Any:
    return np.random.default_rng(0).normal(0, 0.02, (32, 32)).astype(np.float32)


def steers(text: str) -> set[str]:
    """Give the characters that a terminal acts on."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}


@given(st.text())
def test_nothing_that_is_printed_steers(text: str) -> None:
    assert not steers(printable(text))
    assert "\n" not in printable(text)
    assert not steers(printable_lines(text))
    assert printable_lines(text).count("\n") == text.count("\n")
    assert len(shortened(text, 8)) <= 8 or len(text) <= 8


def test_plain_names_stay_as_they_are() -> None:
    for name in ("Qwen/Qwen3-8B", "modèle λ 模型", NAME):
        assert printable(name) == name


def test_a_huge_name_is_short_in_a_message() -> None:
    error = wb.CheckpointError("a" * 10_000_000, "b" * 10_000_000, "Next.", "c" * 10_000_000)
    assert len(str(error)) < 3000
    assert len(str(wb.FitsError("a" * 10_000_000, "b" * 10_000_000, "c" * 10_000_000))) < 3000


def test_the_terminal_is_not_steered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / HOSTILE
    model.mkdir()
    save_file({NAME: weights(), f"{HOSTILE}.weight": weights()}, model / "model.safetensors")
    broken = tmp_path / f"{HOSTILE}2"
    broken.mkdir()
    file = tmp_path / "fits.nc"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert cli.main(["scan", str(model), str(broken), "-o", str(file)]) == 1
    assert not any(steers(str(warning.message)) for warning in told)
    assert cli.main(["show", str(file), "--all"]) == 0
    assert cli.main(["scan", str(broken)]) == 1
    printed = capsys.readouterr()
    assert "gnp.exe" in printed.out
    assert "gnp.exe" in printed.err
    assert not steers(printed.out)
    assert not steers(printed.err.replace("\r", ""))
    assert not steers(str(wb.summary(wb.open_fits(file))))


@pytest.mark.parametrize(
    ("name", "cell"),
    [(f"{c}cmd|'/c calc'!A1", f"'{c}cmd|'/c calc'!A1") for c in "=+-@"]
    + [("\t=1+1", "\\t=1+1"), ("\r\n=1+1", "\\r\\n=1+1"), ("a,b", "a,b")],
)
def test_no_cell_of_a_csv_is_a_formula(name: str, cell: str) -> None:
    fits = wb.scan({name: {NAME: weights()}})
    rows = list(csv.DictReader(io.StringIO(csv_text(tidy(fits)), newline="")))
    assert len(rows) == 1
    assert rows[0]["model"] == cell
    assert float(rows[0]["k"]) == fits.k.item()
