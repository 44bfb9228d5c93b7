"""A skip is a failure where WEIBNB_REQUIRE names its marker; one line says what was skipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator

# How long an example takes is no property of what is tested.
settings.register_profile("weibnb", deadline=None)
settings.load_profile("weibnb")

# Why tests are skipped, as they say it, and what runs them.
_WHY = {
    "Triton is not installed": "of the GPU's kernel: Triton is not installed (.ci/run tests does)",
    "no CUDA device": "on a CUDA device: there is none",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = os.environ.get("WEIBNB_REQUIRE", "").split()
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and any(item.get_closest_marker(name) for name in required)
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and WEIBNB_REQUIRE asks for it: {report.longrepr}"
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    for reason, text in _WHY.items():
        number = sum(reason in str(report.longrepr) for report in skipped)
        if number:
            terminalreporter.write_line(f"Skipped {number} tests {text}.")
