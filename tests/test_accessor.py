"""The accessor: every verb forwards to its function, and nothing more."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.accessor import WeibullAccessor
from weibnb.diagnostics.bands import BANDS, judge
from weibnb.diagnostics.cohorts import compare, qwen_cohort
from weibnb.diagnostics.drift import drift
from weibnb.report import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(wb.__file__).parent.parent
NAMES = [
    *(f"model.layers.{{}}.self_attn.{name}_proj.weight" for name in "qk"),
    *(f"model.layers.{{}}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
]
# Verb, the room of its function, and options to forward besides none.
VERBS: list[tuple[str, str, dict[str, Any]]] = [
    ("refit", "fits.refit", {"trim": (0.05, 0.95)}),
    ("drift", "diagnostics.drift", {"anchor": "student_t", "parameter": 5.0}),
    ("judge", "diagnostics.bands", {"band": "transmission-abstract", "by": "component"}),
    ("selection", "diagnostics.attention", {}),
    ("body_tail", "diagnostics.tails", {"workers": 1}),
    ("heaviness", "diagnostics.tails", {"workers": 1}),
    ("rank_families", "families.rank", {"families": ["weibull", "half_normal"]}),
    ("find_populations", "families.populations", {"workers": 1}),
    ("find_outliers", "scanning.locate", {"top": 1}),
    ("compare", "diagnostics.cohorts", {"step": 0}),
    ("summary", "report", {"look": True}),
]


def weights(*shape: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype("f4")


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    place = tmp_path_factory.mktemp("model")
    state = {
        name.format(i): weights(48, 40, seed=10 * i + j)
        for i in range(2)
        for j, name in enumerate(NAMES)
    }
    state[NAMES[-1].format(1)][3, 5] = 2.0
    save_file(state, place / "model.safetensors")
    return wb.scan({"m": place})


def function_of(verb: str, room: str) -> Any:
    return getattr(import_module(f"weibnb.{room}"), verb)


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, xr.Dataset) and isinstance(other, xr.Dataset):
        xr.testing.assert_identical(one, other)
    elif isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    else:
        assert isinstance(one, Summary)
        assert isinstance(other, Summary)
        assert str(one) == str(other)
        assert one.to_html() == other.to_html()


@pytest.mark.parametrize(("verb", "room", "options"), VERBS, ids=lambda value: str(value)[:20])
def test_a_verb_is_its_function(
    fits: xr.Dataset, verb: str, room: str, options: dict[str, Any]
) -> None:
    function, method = function_of(verb, room), getattr(fits.weibull, verb)
    plain = function(fits)
    assert_same(method(), plain)
    if options:
        assert_same(method(**options), function(fits, **options))


def test_some_arguments_go_by_place(fits: xr.Dataset) -> None:
    band = BANDS["selection-gqa"]
    assert_same(fits.weibull.judge(band), judge(fits, band))
    cohort = qwen_cohort()
    assert_same(fits.weibull.compare(cohort), compare(fits, cohort))


def test_the_outlier_and_its_place_come_through(fits: xr.Dataset) -> None:
    assert fits.weibull.find_outliers()[["row", "col", "value"]].values.tolist() == [[3, 5, 2.0]]


def test_every_verb_is_in_this_file_and_in_dir(fits: xr.Dataset) -> None:
    shown = [name for name in dir(fits.weibull) if not name.startswith("_")]
    assert sorted(shown) == sorted(["explore", *(verb for verb, *_ in VERBS)])  # in test_explorer
    assert len(shown) <= 12


@pytest.mark.parametrize("verb", [verb for verb, *_ in VERBS])
def test_a_verb_says_where_it_leads(verb: str) -> None:
    text = inspect.getdoc(getattr(WeibullAccessor, verb))
    assert text
    (target,) = re.findall(r"see `([\w.]+)`", text)
    module, _, name = target.rpartition(".")
    assert name == verb
    assert callable(getattr(import_module(module), name))


def test_repr_is_one_short_line_that_names_the_verbs(fits: xr.Dataset) -> None:
    text = repr(fits.weibull)
    assert "\n" not in text
    assert len(text) < 200
    assert all(verb in text for verb, *_ in VERBS)


@pytest.mark.parametrize("verb", [verb for verb, *_ in VERBS])
def test_an_unknown_keyword_is_refused(fits: xr.Dataset, verb: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        getattr(fits.weibull, verb)(colour="red")


@pytest.mark.parametrize("verb", [verb for verb, *_ in VERBS])
def test_a_dataset_of_something_else_is_refused(verb: str) -> None:
    """Every Dataset has the accessor; only its verbs look at what it holds."""
    other = xr.Dataset({"temperature": ("time", [1.0])})
    assert repr(other.weibull)
    with pytest.raises(ValueError, match="`fits` must"):
        getattr(other.weibull, verb)()


def test_verbs_do_not_change_the_fits(fits: xr.Dataset) -> None:
    before = fits.copy(deep=True)
    for verb, *_ in VERBS:
        getattr(fits.weibull, verb)()
    xr.testing.assert_identical(fits, before)


def test_verbs_follow_a_selection_and_what_was_assigned(fits: xr.Dataset) -> None:
    chosen = fits.sel(layer=[1])
    assert chosen.weibull.drift().sizes["layer"] == 1
    moved = fits.assign(k=fits["k"] + 0.1)
    assert_same(moved.weibull.drift(), drift(moved))


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OPEN = """
import sys
import weibnb as wb
fits = wb.open_fits(sys.argv[1])
print(fits.weibull.drift().nearest_shape.isel(layer=0, component=0).item())
print("torch" in sys.modules)
"""
SCAN = """
import numpy as np
import weibnb as wb
draws = np.random.default_rng(0).normal(size=(64, 64))
fits = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": draws}})
print(fits.weibull.drift().nearest_shape.item())
"""


def test_the_accessor_comes_with_opened_fits(fits: xr.Dataset, tmp_path: Path) -> None:
    file = wb.save_fits(fits, tmp_path / "fits.nc")
    expected = drift(fits).nearest_shape.isel(layer=0, component=0).item()
    assert run(OPEN, str(file)).split() == [expected, "False"]


def test_the_accessor_comes_with_a_scan() -> None:
    assert run(SCAN)
