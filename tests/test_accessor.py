"""The accessor: every verb is its function, bound to the fits, and nothing more."""

from __future__ import annotations

import inspect
import os
import pkgutil
import pydoc
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.accessor import Verb, WeibullAccessor
from weibnb.diagnostics.bands import BANDS, judge
from weibnb.diagnostics.cohorts import nearest_published, qwen_cohort
from weibnb.diagnostics.drift import drift
from weibnb.report_page import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(wb.__file__).parent.parent
NAMES = [
    *(f"model.layers.{{}}.self_attn.{name}_proj.weight" for name in "qk"),
    *(f"model.layers.{{}}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
]
VERBS = [name for name, thing in vars(WeibullAccessor).items() if isinstance(thing, Verb)]
# Verbs called here, with options beside none.
CALLED: dict[str, dict[str, Any]] = {
    "counts_table": {},
    "refit": {"trim": (0.05, 0.95)},
    "pool_layers": {"of": "lam", "confidence": 0.9},
    "drift": {"anchor": "student_t", "parameter": 5.0},
    "judge": {"band": "transmission-abstract", "by": "component"},
    "leaving": {"band": "selection-gqa"},
    "summarise": {"by": "layer"},
    "selection": {},
    "storage_type": {},
    "body_tail": {"workers": 1},
    "closure": {},
    "heaviness": {"workers": 1},
    "upper_tail": {"workers": 1},
    "outlier_strength": {"rule": "weibull"},
    "regimes": {},
    "rank_families": {"families": ["weibull", "half_normal"]},
    "find_populations": {"workers": 1},
    "find_outliers": {"top": 1},
    "dead_lines": {},
    "nearest_published": {"step": 0},
    "summary": {"look": True},
    "tidy": {},
    "not_fitted": {},
}
# Verbs that need several models, a whole run, files or a widget: tested with their functions.
ELSEWHERE = {
    *(
        "compare",
        "check",
        "explore",
        "write_report",
        "save",
        "keep_status",
        "keep_cells",
        "training_budget",
    ),
    *(
        "coefficient_of_variation",
        "first_departure",
        "split_growth",
        "paired_growth",
        "lambda_scaling",
        "attribution",
        "quantisation",
    ),
}


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


def function_of(verb: str) -> Any:
    return getattr(WeibullAccessor, verb)


def named_by_the_documentation() -> set[str]:
    """Give the functions of fits on the API pages: of a module, all that it defines."""
    functions = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            thing = pkgutil.resolve_name(name)
            if inspect.ismodule(thing):
                functions |= {
                    member
                    for _, member in inspect.getmembers(thing, inspect.isfunction)
                    if member.__module__ == name and not member.__name__.startswith("_")
                }
            elif inspect.isfunction(thing):
                functions.add(thing)
    return {
        function.__name__
        for function in functions
        if not function.__module__.startswith("weibnb.charts")
        and next(iter(inspect.signature(function).parameters), None) in ("fits", "source_or_fits")
    }


def without_time(fits: xr.Dataset) -> xr.Dataset:
    """Leave out when the fits were made: two calls may lie in two seconds."""
    return fits.assign_attrs(created="")


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, xr.Dataset) and isinstance(other, xr.Dataset):
        xr.testing.assert_identical(*(without_time(fits) for fits in (one, other)))
    elif isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, xr.DataArray) and isinstance(other, xr.DataArray):
        xr.testing.assert_identical(one, other)
    else:
        assert isinstance(one, Summary)
        assert isinstance(other, Summary)
        assert str(one) == str(other)
        assert one.to_html() == other.to_html()


@pytest.mark.parametrize("verb", CALLED)
def test_a_verb_is_its_function(fits: xr.Dataset, verb: str) -> None:
    function, method, options = function_of(verb), getattr(fits.weibull, verb), CALLED[verb]
    assert_same(method(), function(fits))
    if options:
        assert_same(method(**options), function(fits, **options))


def test_the_verbs_are_what_the_documentation_names() -> None:
    names = {"save_fits" if verb == "save" else verb for verb in VERBS}
    assert names == named_by_the_documentation()
    assert set(VERBS) == {*CALLED, *ELSEWHERE}
    assert all(verb in (WeibullAccessor.__doc__ or "") for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_the_signature_and_the_text_of_its_function(fits: xr.Dataset, verb: str) -> None:
    function, method = function_of(verb), getattr(fits.weibull, verb)
    assert function.__name__ == ("save_fits" if verb == "save" else verb)
    own = list(inspect.signature(function).parameters.values())
    assert own[0].name == ("source_or_fits" if verb == "check" else "fits")
    assert list(inspect.signature(method).parameters.values()) == own[1:]
    assert method.__doc__ == function.__doc__
    assert function.__doc__.splitlines()[0] in pydoc.render_doc(method)


def test_types_are_those_of_the_functions(fits: xr.Dataset) -> None:
    """What mypy sees; an ignore that is not needed would be an error."""
    accessor = WeibullAccessor(fits)
    assert_type(accessor.drift(anchor="gaussian"), xr.Dataset)
    assert_type(accessor.tidy(), pd.DataFrame)
    assert_type(accessor.summary(), Summary)
    with pytest.raises(TypeError, match="colour"):
        accessor.drift(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        accessor.body_tail(1)  # type: ignore[arg-type, call-arg]


def test_completion_knows_verbs_and_their_arguments(fits: xr.Dataset) -> None:
    completer = pytest.importorskip("IPython.core.completer")
    complete = completer.IPCompleter(namespace={"fits": fits}, use_jedi=True)
    with completer.provisionalcompleter():
        verbs = {found.text for found in complete.completions("fits.weibull.", 13)}
        arguments = {found.text for found in complete.completions("fits.weibull.drift(", 19)}
    assert set(VERBS) == {verb for verb in verbs if not verb.startswith("_")}
    assert {"anchor=", "parameter="} <= arguments


def test_some_arguments_go_by_place(fits: xr.Dataset) -> None:
    band = BANDS["selection-gqa"]
    assert_same(fits.weibull.judge(band), judge(fits, band))
    cohort = qwen_cohort()
    assert_same(fits.weibull.nearest_published(cohort), nearest_published(fits, cohort))


def test_the_outlier_and_its_place_come_through(fits: xr.Dataset) -> None:
    assert fits.weibull.find_outliers()[["row", "col", "value"]].values.tolist() == [[3, 5, 2.0]]


def test_dir_and_repr_name_the_verbs(fits: xr.Dataset) -> None:
    assert sorted(VERBS) == [name for name in dir(fits.weibull) if not name.startswith("_")]
    text = repr(fits.weibull)
    assert max(map(len, text.splitlines())) <= 88
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_keyword_is_refused(fits: xr.Dataset, verb: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        getattr(fits.weibull, verb)(colour="red")


@pytest.mark.parametrize("verb", CALLED)
def test_a_dataset_of_something_else_is_refused(verb: str) -> None:
    """Every Dataset has the accessor; only its verbs look at what it holds."""
    other = xr.Dataset({"temperature": ("time", [1.0])})
    assert repr(other.weibull)
    with pytest.raises(ValueError, match="`fits` must"):
        getattr(other.weibull, verb)()


def test_verbs_do_not_change_the_fits(fits: xr.Dataset) -> None:
    before = fits.copy(deep=True)
    for verb in CALLED:
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
        timeout=240,
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


IMPORT = """
import sys, time
import xarray
before, start = set(sys.modules), time.perf_counter()
import weibnb
print(time.perf_counter() - start, *{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_registering_the_accessor_costs_next_to_nothing() -> None:
    seconds, *loaded = zip(*(run(IMPORT).split() for _ in range(3)), strict=False)
    assert statistics.median(map(float, seconds)) < 0.1
    assert not {"torch", "numba", "altair", "scipy"} & {name for names in loaded for name in names}
