"""Fits and an explorer, and what it tells the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import weibnb as wb

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.widget import Explorer

DEMO = Path(wb.__file__).parent / "data" / "demo"


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": DEMO})


@pytest.fixture
def explorer(fits: xr.Dataset) -> Explorer:
    pytest.importorskip("anywidget")
    pytest.importorskip("vl_convert")
    return wb.explore(fits)


def words(explorer: Explorer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(explorer._words)
    return found


def slot(explorer: Explorer, name: str = "main") -> dict[str, Any]:
    return with_rows(json.loads(getattr(explorer, f"_{name}")))


def with_rows(content: dict[str, Any]) -> dict[str, Any]:
    """Read the tables of a chart, which are sent by columns."""
    for name, table in content.get("spec", {}).get("datasets", {}).items():
        columns = {
            key: values * table["rows"] if len(values) == 1 else values
            for key, values in (
                (key, table["columns"][held] if isinstance(held, str) else held)
                for key, held in table["columns"].items()
            )
        }
        rows = zip(*columns.values(), strict=True)
        content["spec"]["datasets"][name] = [dict(zip(columns, row, strict=True)) for row in rows]
    return content


def rows_of(spec: Any) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows]


def from_page(explorer: Explorer, **state: Any) -> None:
    """Do what a message from the page does."""
    explorer.set_state(state | {"_asked": explorer._asked + 1})
