"""What becomes of a chart in dicts: JSON for a page, and an altair chart of the same content."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import weibnb as wb
from weibnb import charts
from weibnb.charts.vega import records, vega_lite

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.chart_functions import ChartFunction

ROOT = Path(wb.__file__).parents[1]


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": ROOT / "weibnb" / "data" / "demo"})


def python(code: str, *arguments: str) -> list[str]:
    """Words that code prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (charts.weibull_plot, {"layer": [0], "step": [-1], "component": [0, 1]}),
        (charts.layer_map, {}),
        (charts.trajectories, {}),
        (charts.cohort, {}),
    ],
)
def test_the_page_draws_what_altair_writes(
    fits: xr.Dataset, function: ChartFunction[Any], part: dict[str, Any]
) -> None:
    pytest.importorskip("altair")
    some = fits.isel(part)
    written = function(some).to_dict()
    page = vega_lite(function.spec(some))
    written["config"]["view"] = {
        key: value
        for key, value in written["config"]["view"].items()
        if key not in ("continuousWidth", "continuousHeight")
    }
    assert page == written


def test_a_chart_has_the_signature_and_the_help_of_its_specification() -> None:
    for name in set(dir(charts)) - {"table"}:
        function = getattr(charts, name)
        signature, spec = inspect.signature(function), inspect.signature(function.spec)
        assert signature.parameters == spec.parameters
        assert signature.return_annotation == "Chart"
        assert "Returns\n" in str(inspect.getdoc(function))
        assert function.__name__ == name


DRAW = """
import sys
import weibnb as wb
from weibnb import charts
fits = wb.open_fits(sys.argv[1])
charts.layer_map(fits)
charts.class_bands(fits)
charts.trajectories(fits)
print(*sys.modules)
"""


def test_drawing_opened_fits_reads_no_weights(fits: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("altair")
    loaded = set(python(DRAW, str(wb.save_fits(fits, tmp_path / "fits.nc"))))
    assert {"altair", "weibnb.charts.training"} <= loaded
    assert not loaded & {"numba", "torch", "weibnb.io", "weibnb.scanning", "weibnb.fits.refit"}


def test_importing_every_chart_is_light() -> None:
    code = "import sys; from weibnb.charts import *; print(*sys.modules)"
    loaded = set(python(code))
    assert {"weibnb.charts.weibull_plots", "weibnb.charts.densities"} <= loaded
    assert not loaded & {
        "altair", "numba", "torch", "weibnb.io", "weibnb.scanning", "weibnb.families",
        "weibnb.fits.refit",
    }  # fmt: skip


def test_without_altair_the_install_line_is_named(fits: xr.Dataset, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['altair'] = None\n"
        "import weibnb as wb\n"
        "fits = wb.open_fits(sys.argv[1])\n"
        "assert wb.charts.layer_map.spec(fits)['title']\n"
        "try:\n    wb.charts.layer_map(fits)\nexcept ImportError as err:\n    print(err)"
    )
    said = python(code, str(wb.save_fits(fits, tmp_path / "fits.nc")))
    assert " ".join(said) == "`altair` is not installed: pip install altair"


def test_records_are_plain_and_rounded() -> None:
    table = pd.DataFrame({"k": [1 / 3, np.nan], "layer": [0, 1], "unused": ["a", "b"]})
    assert records(table, {"k", "layer"}) == [{"k": 0.3333333, "layer": 0}, {"k": None, "layer": 1}]
