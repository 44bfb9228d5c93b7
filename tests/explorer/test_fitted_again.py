"""Charts that a saved page fits again, by its code, against those of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

import weibnb as wb
from tests.explorer.conftest import slot
from tests.explorer.test_made_again import axis_of, made_in_the_page, medians_of
from tests.explorer.test_saved_page import held_in
from weibnb.exploring import explore

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

CASES: list[dict[str, Any]] = [
    {"trim": (0.05, 0.8)},
    {"trim": (0.2, 0.95), "estimator": "maximum_likelihood"},
]
#: To which the page knows an untrained Gaussian, by estimator.
ANCHOR = {"rank_regression": 2e-6, "maximum_likelihood": 5e-4}


def refitted(
    fits: xr.Dataset, panel: str, where: Path, case: dict[str, Any], **state: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Give charts by their slots: as the page fits them again, and as Python draws them."""
    explorer = explore(fits, panel=panel)
    for name, value in state.items():
        setattr(explorer, name, value)
    held = held_in(explorer, where)
    (*_, frame) = held["frames"].values()
    (own,) = made_in_the_page(held, [case], where, every=True)
    for name, value in case.items():
        setattr(explorer, name, value)
    names = [name for name, chart in frame["charts"].items() if "spec" in chart]
    drawn = {name: slot(explorer, name) for name in names}
    return dict(zip(names, own, strict=True)), drawn


def table(rows: list[dict[str, Any]], *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[name] for name in key): row for row in rows}


def agree(
    own: dict[tuple[Any, ...], dict[str, Any]],
    expected: dict[tuple[Any, ...], dict[str, Any]],
    *columns: str,
) -> None:
    assert own.keys() == expected.keys()
    for key, row in expected.items():
        for column in columns:
            value = row[column]
            wanted = pytest.approx(value, rel=1e-6, abs=1e-6) if _is_float(value) else value
            assert own[key][column] == wanted, (key, column)


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("number", [1, 4])
def test_densities_and_their_ratios(
    fits: xr.Dataset, tmp_path: Path, case: dict[str, Any], number: int
) -> None:
    layers = [("demo", layer, "q_proj", 7000) for layer in (0, 1, 2)]
    cells = [*layers, ("demo", 0, "up_proj", 7000)][:number]
    page, drawn = refitted(fits, "weibull", tmp_path, case, step=7000, selected=cells)
    own = next(rows for rows in page["detail"]["data"].values() if "density" in rows[0])
    expected = next(
        rows for rows in drawn["detail"]["spec"]["datasets"].values() if "density" in rows[0]
    )
    assert {row["panel"] for row in own} == {row["panel"] for row in expected}
    again = wb.refit(fits.sel(step=[7000]), **case)
    for model, layer, component, step in cells:
        place = {"model": model, "layer": layer, "component": component, "step": step}
        at = again.sel(place)
        k, lam = float(at["k"]), float(at["lam"])
        rows = [row for row in own if (row["layer"], row["component"]) == (layer, component)]
        lines = {
            kind: [row for row in rows if row["kind"] == kind]
            for kind in ("counted", "Weibull", "half-normal")
        }
        x = np.array([row["magnitude"] for row in lines["Weibull"]])
        weibull = x * stats.weibull_min.pdf(x, k, scale=lam)
        found = [row["density"] for row in lines["Weibull"]]
        assert found == pytest.approx(weibull, rel=1e-6, abs=1e-6)
        for kind, part in lines.items():
            told = [
                row["ratio"]
                for row in expected
                if (row["layer"], row["component"], row["kind"]) == (layer, component, kind)
            ]
            # numbers of 7 digits, and the width of a Gaussian, which its tail multiplies
            width = ANCHOR[case.get("estimator", "rank_regression")] * (kind == "half-normal")
            near = 2e-6 + width * (1 + (x / lam) ** 2)
            own_ratios = np.array([row["ratio"] for row in part], float)
            np.testing.assert_array_less(np.abs(own_ratios / np.array(told, float) - 1), near)
    assert page["detail"]["description"] == drawn["detail"]["spec"]["description"]
    assert page["detail"]["notes"] == drawn["detail"]["spec"]["title"]["subtitle"]


def test_the_line_of_the_other_estimator_stays_and_its_residuals_follow(
    fits: xr.Dataset, tmp_path: Path
) -> None:
    case = CASES[0]
    page, drawn = refitted(fits, "weibull", tmp_path, case, step=7000, side_by_side=True)
    key = ("kind", "magnitude")
    own, expected = (
        table([row for rows in tables.values() for row in rows if row.get("kind") == "other"], *key)
        for tables in (page["main"]["data"], drawn["main"]["spec"]["datasets"])
    )
    assert len(own) > 30
    agree(own, expected, "y", "residual", "matrix")


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("track", ["k", "lam"])
def test_trajectories_and_paths(
    fits: xr.Dataset, tmp_path: Path, case: dict[str, Any], track: str
) -> None:
    page, drawn = refitted(fits, "trajectories", tmp_path, case, track=track)
    key = ("model", "layer", "component", "step")
    for name, columns in (("main", ("k", "lam", "r2")), ("side", ("k", "lam", "told"))):
        spec = drawn[name]["spec"]
        own = table(page[name]["data"][spec["data"]["name"]], *key)
        agree(own, table(spec["datasets"][spec["data"]["name"]], *key), *columns)
    rows = page["main"]["data"][drawn["main"]["spec"]["data"]["name"]]
    strips = {(row["low"], row["high"]) for row in rows if "low" in row}
    assert all(low == high for low, high in strips), "the band was published for another protocol"
    assert ("dashed: a Gaussian" in page["main"]["notes"]) == (track == "k")
    assert "published" not in str(page["main"]["notes"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_differences_and_the_cohort(fits: xr.Dataset, tmp_path: Path, case: dict[str, Any]) -> None:
    page, drawn = refitted(fits, "compare", tmp_path, case)
    columns = {"main": ("k", "first_k", "second_k", "value", "lam"), "side": ("delta_k", "value")}
    for name, of_rows in columns.items():
        spec = drawn[name]["spec"]
        own = table(page[name]["data"][spec["data"]["name"]], "layer", "component")
        agree(own, table(spec["datasets"][spec["data"]["name"]], "layer", "component"), *of_rows)
    # Python draws no cohort by another protocol: its medians are those of `refit`
    assert "spec" not in drawn["more"]
    cohort = page["more"]["spec"]
    k = wb.refit(fits.sel(step=[7000]), **case)["k"].median("layer").squeeze(["model", "step"])
    found = {component: row["k"] for (_, component), row in medians_of(cohort).items()}
    assert found == pytest.approx(k.to_series().to_dict(), abs=1e-6)
    text, notes = cohort["title"]["text"], " ".join(cohort["title"]["subtitle"])
    assert text == "Medians of k"
    assert "fitted by rank regression, trim 10–90 %" in notes
    assert "nearest" not in notes
    assert not [row for rows in cohort["datasets"].values() for row in rows if "below" in row]
    low, high = axis_of(cohort)
    assert low < min(found.values())
    assert max(found.values()) < high
