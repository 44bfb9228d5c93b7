"""Charts that a saved page makes again of some matrices, by its code, against the explorer's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import slot, with_rows
from tests.explorer.test_saved_page import held_in
from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

AGAIN = Path(__file__).with_name("again.mjs")
STEP = 7000
ANCHOR = 5e-4  # to which the page knows an untrained Gaussian by maximum likelihood
CASES: list[dict[str, Any]] = [
    {"filters": {"component": ["q_proj", "gate_proj", "up_proj"]}},
    {"filters": {"weight_class": ["selection"]}},
    {"filters": {"model": ["far"]}},
    {"layers": (1, 2)},
    {"filters": {"component": ["o_proj"]}, "layers": (0, 0)},
    {"trim": (0.05, 0.8)},
    {"trim": (0.05, 0.8), "estimator": "maximum_likelihood", "layers": (0, 1)},
    {"filters": {"status": ["ok"]}, "trim": (0.2, 0.9)},
]


@pytest.fixture(scope="module")
def two() -> xr.Dataset:
    """Give two models: one of them with matrices far off on both sides, and one without a fit."""
    rng = np.random.default_rng(3)
    state = {}
    for layer in range(4):
        for i, name in enumerate(("q_proj", "o_proj", "k_proj")):
            weights = rng.normal(0, 0.02, (96, 96))
            scale = np.abs(rng.normal(size=(96, 1))) ** (0.0 if layer else 2.0 + i)
            weights[0, layer] = 1.0
            state[f"model.layers.{layer}.self_attn.{name}.weight"] = weights * scale
        state[f"model.layers.{layer}.mlp.up_proj.weight"] = np.zeros((64, 64)) + (
            layer > 0
        ) * rng.normal(size=(64, 64))
    even = rng.normal(1, 0.1, (64, 64)) * rng.choice([-1, 1], (64, 64))
    state["model.layers.3.mlp.down_proj.weight"] = even
    found = wb.scan({"near": wb.demo_checkpoints(), "far": {STEP: state}}, progress=False)
    return found.sel(step=[STEP])


def made_in_the_page(
    held: dict[str, Any], cases: list[dict[str, Any]], where: Path, *, every: bool = False
) -> list[list[dict[str, Any]]]:
    """Make the charts of each case as the page does: those of medians, or every one."""
    if shutil.which("node") is None:
        pytest.skip("node is not there")
    (*_, frame) = held["frames"].values()
    charts = [chart for chart in frame["charts"].values() if every or chart.get("again")]
    for chart in charts:
        if "again" in chart:
            chart["again"] = with_rows(chart["again"])
    step = held["state"]["step"] if held["controls"]["panels"].get("classes") else None
    asked = []
    for case in cases:
        protocol = {name: case[name] for name in ("trim", "estimator") if name in case}
        filters, layers = case.get("filters", {}), case.get("layers")
        asked.append({"filters": filters, "layers": layers, "step": step, "protocol": protocol})
    (where / "given").write_text(json.dumps({"contents": charts, "held": held, "cases": asked}))
    files = [str(where / name) for name in ("given", "answers")]
    subprocess.run(["node", str(AGAIN), *files], check=True, capture_output=True, timeout=120)
    found: list[list[dict[str, Any]]] = json.loads((where / "answers").read_text())
    return found


@pytest.fixture(scope="module")
def made(two: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    where = tmp_path_factory.mktemp("again")
    held = held_in(explore(two, panel="classes", step=STEP), where)
    return made_in_the_page(held, CASES, where)


def rows_of(spec: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of the matrices, by their labels."""
    rows = spec["datasets"][spec["data"]["name"]]
    return {tuple(row[dim] for dim in ("model", "layer", "component")): row for row in rows}


def drawn(spec: dict[str, Any], *, name: str) -> list[tuple[Any, ...]]:
    """Rows of other tables that are drawn, in a layer that has this column."""
    found = []
    for table, rows in spec["datasets"].items():
        if table != spec.get("data", {}).get("name"):
            found += [
                (*(row.get(key) for key in ("model", "component", "below")), row[name])
                for row in rows
                if name in row
            ]
    return sorted(found, key=repr)


def axis_of(spec: dict[str, Any]) -> Any:
    panel = spec.get("spec", spec)
    (ends,) = {
        tuple(one["encoding"]["y"]["scale"]["domain"])
        for one in panel["layer"]
        if "scale" in one["encoding"].get("y", {})
    }
    return ends


def numbers(texts: list[str]) -> list[str]:
    """Numbers in notes on arrows and triangles."""
    return [
        number
        for text in texts
        for number in re.findall(r"[\d.]+", text)
        if re.match("arrows|triangles", text)
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_page_makes_them_as_python_does(
    two: xr.Dataset, made: list[list[dict[str, Any]]], case: dict[str, Any]
) -> None:
    explorer = explore(two, panel="classes", step=STEP, **case)
    main, side = made[CASES.index(case)]
    for name, again in (("main", main), ("side", side)):
        spec = slot(explorer, name)["spec"]
        own, expected = rows_of(again["spec"]), rows_of(spec)
        assert own.keys() == expected.keys()
        for key, row in expected.items():
            for column in ("k", "median", "offset", "value", "beyond", "barred", "flag"):
                if isinstance(row.get(column), float):
                    within = ANCHOR if column == "value" and "estimator" in case else 1e-6
                    assert own[key][column] == pytest.approx(row[column], rel=within), (key, column)
                else:
                    assert own[key].get(column) == row.get(column)
    spec = slot(explorer)["spec"]
    assert axis_of(main["spec"]) == axis_of(spec)
    for column in ("high", "below"):
        assert drawn(main["spec"], name=column) == drawn(spec, name=column)
    notes, expected_notes = main["spec"]["title"]["subtitle"], spec["title"]["subtitle"]
    assert numbers(notes) == numbers(expected_notes)
    assert set(notes[:2]) <= set(expected_notes)


def test_the_cases_have_all_that_a_chart_may_say(made: list[list[dict[str, Any]]]) -> None:
    notes = " ".join(note for main, _ in made for note in main["spec"]["title"]["subtitle"])
    for words in ("shaded", "no band", "arrows", "triangles at the bottom", "triangles at the top"):
        assert words in notes
    flags = {row["flag"] for _, side in made for row in rows_of(side["spec"]).values()}
    assert {"", "layer 1"} <= flags


COHORTS: list[dict[str, Any]] = [
    {"filters": {"weight_class": ["selection", "fused"]}},
    {"filters": {"component": ["v_proj", "o_proj", "down_proj"]}},
    {"filters": {"component": ["q_proj"]}},
    {"layers": (1, 2)},
    {"layers": (0, 0), "filters": {"weight_class": ["transmission"]}},
    {"filters": {"component": ["q_proj", "o_proj"]}, "layers": (0, 1)},
]


@pytest.fixture(scope="module")
def cohorts() -> dict[str, xr.Dataset]:
    """Give small models, by their number of layers; and published entries, who have no errors."""
    small = wb.load_cohort("stdlib")
    one = small.isel(model=[0, 3, 5])
    return {"small": one, "published": wb.reference_cohort().isel(model=slice(1, 6))}


@pytest.mark.parametrize("name", ["small", "published"])
def test_the_page_finds_medians_and_nearest_entries_as_python_does(
    cohorts: dict[str, xr.Dataset], name: str, tmp_path: Path
) -> None:
    fits = cohorts[name]
    cases = [case for case in COHORTS if name == "small" or "layers" not in case]
    cases.append({"filters": {"model": fits["model"].values[:2].tolist()}})
    held = held_in(explore(fits, panel="compare"), tmp_path)
    said = set()
    for case, charts in zip(cases, made_in_the_page(held, cases, tmp_path), strict=True):
        (again,) = (chart["spec"] for chart in charts)
        expected = slot(explore(fits, panel="compare", **case), "more")["spec"]
        assert medians_of(again).keys() == medians_of(expected).keys()
        for key, row in medians_of(expected).items():
            own = {column: medians_of(again)[key][column] for column in ("k", "low", "high")}
            wanted = {column: row[column] for column in own}
            assert own == pytest.approx(wanted, rel=1e-6), key
        assert marks_of(again)["rule"] == marks_of(again)["point"]
        assert axis_of(again) == axis_of(expected)
        assert drawn(again, name="below") == drawn(expected, name="below")
        assert again["title"] == expected["title"]
        said |= set(again["title"]["subtitle"])
    notes = " ".join(said)
    words = {
        "small": ("tied", "nothing close", "untrained is closer", "arrows"),
        "published": ("nearest", "distance"),
    }
    for word in words[name]:
        assert word in notes


def medians_of(spec: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [row for table in spec["datasets"].values() for row in table if "low" in row]
    return {(row["model"], row["component"]): row for row in rows}


def marks_of(spec: dict[str, Any]) -> dict[str, int]:
    """Count the rows of the layers that draw medians, by their mark."""
    rows = {
        name: [row for row in table if "low" in row] for name, table in spec["datasets"].items()
    }
    return {
        one["mark"]["type"]: len(rows[one["data"]["name"]])
        for one in spec["layer"]
        if rows[one["data"]["name"]]
    }
