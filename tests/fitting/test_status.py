"""Status words: what each means, and which follows a fit."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from weibnb.fitting.status import (
    COUNTED,
    FIT_WORDS,
    FITTED,
    LASTING,
    MEANINGS,
    Status,
    status_after_fit,
)

DOCS = Path(__file__).parents[2] / "docs"


def after(before: object, fit: object, **known: object) -> list[str]:
    known = {"zeros": 0, "nonfinite": 0} | known
    found: list[str] = status_after_fit(before, fit, **known).tolist()  # type: ignore[arg-type]
    return found


def test_every_word_has_one_meaning_and_stands_in_the_docs() -> None:
    words = get_args(Status)
    assert set(MEANINGS) == set(words)
    assert len(set(MEANINGS.values())) == len(words)
    assert {*FITTED, *COUNTED, *LASTING, *FIT_WORDS} <= set(words)
    assert not set(FITTED) & set(LASTING)
    table = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert all(f"| `{word}` | {meaning} |" in table for word, meaning in MEANINGS.items())


def test_the_reason_of_the_fit_is_kept() -> None:
    words = ["ok", "ok", "constant", "too_few", "degenerate", "no_convergence"]
    assert after("ok", words, nonfinite=[0, 1, 1, 1, 1, 1]) == ["ok", "nonfinite", *words[2:]]


def test_nothing_to_fit_has_four_reasons() -> None:
    found = after("ok", ["all_zero"] * 4, zeros=[1, 1, 0, 0], nonfinite=[0, 1, 0, 1])
    assert found == ["all_zero", "all_zero", "empty", "no_finite"]


@pytest.mark.parametrize("word", LASTING)
def test_no_fit_changes_what_was_not_counted(word: str) -> None:
    assert after([word] * 3, ["ok", "all_zero", "too_few"], nonfinite=[0, 1, 0]) == [word] * 3


def test_of_several_words_the_one_that_warns_most_is_given() -> None:
    assert after("ok", "ok", scaled=True) == ["scaled"]
    assert after("ok", "ok", scaled=True, nonfinite=2) == ["nonfinite"]
    assert after("partial", "ok", scaled=True, nonfinite=2) == ["partial"]
    assert after("scaled", "constant", scaled=True) == ["constant"]


def test_a_later_fit_forgets_the_outcome_of_an_earlier_one() -> None:
    assert after(["degenerate", "no_convergence", "partial"], "ok") == ["ok", "ok", "partial"]
    assert after(["ok", "partial"], ["degenerate", "degenerate"]) == ["degenerate"] * 2


def test_what_is_given_stays_as_it_was() -> None:
    words = np.array([["ok"], ["ok"]], object)
    found = status_after_fit(words, words, zeros=0, nonfinite=[[1], [0]])
    assert found.tolist() == [["nonfinite"], ["ok"]]
    assert words.tolist() == [["ok"], ["ok"]]
