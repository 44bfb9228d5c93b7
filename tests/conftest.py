"""A skip is a failure where WEIBNB_REQUIRE names its marker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


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
