"""Two thousand cases in every run of the tests, and the harness that runs them."""

from __future__ import annotations

import pytest

from tests.fuzz.harness import Bounds, draw, run
from tests.fuzz.targets import FORMATS, TARGETS

ALL = TARGETS | FORMATS
CASES = {
    "header": 1130, "index": 600, "scan": 120, "config": 70, "fits": 40, "store": 50,
    "formats": 300,
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_changed_files_are_read_right_or_refused(name: str) -> None:
    bounds = Bounds(seconds=float("inf"))  # of time benchmarks and scripts/fuzz.py tell
    outcome = run(name, seed=0, first=0, cases=CASES[name], bounds=bounds)
    assert outcome.findings == []
    assert outcome.cases == CASES[name]
    assert min(outcome.read, outcome.refused) >= 5


def test_all_cases_are_two_thousand() -> None:
    assert CASES.keys() == ALL.keys()
    assert sum(CASES.values()) >= 2000


@pytest.mark.parametrize(
    ("name", "words"),
    [("raises", "KeyError: 'wrong'"), ("dies", "the process ended (-6)"), ("hangs", "more than"),
     ("grows", "MB"), ("bursts", "MemoryError")],
)  # fmt: skip
def test_the_harness_finds(name: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    bounds = Bounds(seconds=float("inf"), megabytes=100, hang=2)
    outcome = run(name, seed=0, first=0, cases=6, bounds=bounds, module="tests.fuzz.broken")
    capfd.readouterr()  # what the processes said as they died
    assert outcome.read > 0
    assert outcome.cases == 6
    assert all(words in finding for finding in outcome.findings)
    assert outcome.findings


def test_a_case_is_drawn_again_from_its_number() -> None:
    for name, target in ALL.items():
        first, again, other = (draw(target, name, 0, case) for case in (1, 1, 2))
        assert first == again != other
