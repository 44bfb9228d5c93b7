"""The state as a value: what is taken from an explorer can be given to another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.explorer.conftest import DEMO, from_page, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from traitlets import TraitError

from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore
from weibnb.fits.following import no_fits

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

STEPS = [0, 100, 500, 2000, 7000]
COMPONENTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHECKPOINTS = st.sampled_from([("demo", step) for step in STEPS])
CELLS = st.tuples(
    st.just("demo"), st.integers(0, 2), st.sampled_from(COMPONENTS), st.sampled_from(STEPS)
)
ENDS = st.lists(st.integers(0, 20), min_size=2, max_size=2, unique=True)
STATES = st.fixed_dictionaries(
    {},
    optional={
        "panel": st.sampled_from(["overview", "weibull", "trajectories", "compare", "table"]),
        "value": st.sampled_from(["k", "lam", "z"]),
        "filters": st.dictionaries(
            st.just("component"), st.lists(st.sampled_from(COMPONENTS), unique=True)
        ),
        "layers": st.tuples(st.integers(0, 2), st.integers(0, 2)).map(sorted),
        "step": st.sampled_from(STEPS),
        "trim": ENDS.map(lambda ends: [end / 20 for end in sorted(ends)]),
        "estimator": st.sampled_from(["rank_regression", "maximum_likelihood"]),
        "selected": st.lists(CELLS, max_size=3),
        "first": CHECKPOINTS,
        "second": CHECKPOINTS,
        "side_by_side": st.booleans(),
        "order": st.tuples(st.sampled_from(["k", "layer"]), st.booleans()),
    },
)


class Undrawn(Explorer):
    """An explorer of which only the state matters."""

    def _draw(self, drawing: Any) -> None:
        """Draw nothing."""


@pytest.fixture(scope="module")
def pair(fits: xr.Dataset) -> tuple[Undrawn, Undrawn]:
    return Undrawn(fits), Undrawn(fits)


@given(state=STATES, before=STATES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_state_goes_through_json_and_back(
    pair: tuple[Undrawn, Undrawn], state: dict[str, Any], before: dict[str, Any]
) -> None:
    one, other = pair
    one.state, other.state = state, before
    text = json.dumps(one.state)
    other.state = json.loads(text)
    assert other.state == one.state == json.loads(text)
    for name in one.class_trait_names(state=True):
        assert getattr(one, name) == getattr(other, name), name
    assert one.query == other.query
    assert set(one.state) <= set(state)
    other.state = {}
    assert other.state == {}


def test_a_new_explorer_has_no_state(explorer: Explorer, fits: xr.Dataset) -> None:
    assert explorer.state == {}
    from_page(explorer, step=100, selected=[["demo", 1, "v_proj", 100]])
    state = explorer.state
    assert state == {"step": 100, "selected": [["demo", 1, "v_proj", 100]]}
    again = explore(fits, state=state)
    assert (again.state, again._main) == (state, explorer._main)
    assert explore(fits, state=state, step=500).state["step"] == 500
    explorer.state = {}
    assert (explorer.step, explorer.selected) == (7000, [])


def test_six_of_many_models_is_no_choice(fits: xr.Dataset) -> None:
    many = fits.isel(model=[0] * 8).assign_coords(model=list("abcdefgh"))
    explorer = Undrawn(many)
    assert explorer.state == {}
    explorer.filters = {}
    assert explorer.state == {"filters": {}}
    explorer.state = {}
    assert explorer.filters == {"model": tuple("abcdef")}


def test_a_state_is_drawn_once(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(explorer, "_draw", drawn.append)
    explorer.state = {"panel": "weibull", "step": 100, "trim": [0.2, 0.8]}
    assert [one.summary for one in drawn] == ["21 of 105 matrices · rank regression, trim 20–80 %"]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"panle": "weibull"}, ValueError, "`state` must be one of .*Did you mean 'panel'"),
        ({"follow": True}, ValueError, "'follow'"),
        ([], TypeError, "`state` must be a dict, got list"),
        ("weibull", TypeError, "`state` must be a dict, got str"),
        ({"panel": "map"}, TraitError, "overview"),
        ({"panel": "weibull", "step": 3}, TraitError, "`step` must be one of"),
        ({"filters": {"component": ["q"]}}, TraitError, "must be one of"),
        ({"filters": ["q_proj"]}, TraitError, "dict"),
        ({"trim": [0.9, 0.1]}, TraitError, "trim"),
        ({"layers": [2, 0]}, TraitError, "`layers` must be the first and the last layer"),
        ({"selected": [["demo", 0]]}, TraitError, "`selected` must hold"),
        ({"selected": ["demo"]}, TraitError, "`selected` must hold"),
        ({"selected": [5]}, TraitError, "`selected` must hold"),
        ({"selected": [None]}, TraitError, "`selected` must hold"),
        ({"order": [[]]}, TraitError, "`order` must be one of"),
        ({"window": ["rows"]}, TraitError, "`window` must be empty or four integers"),
        ({"window": [9, 3, 0, 5]}, TraitError, "`window` must be empty or four integers"),
        ({"window": [0.5, 3, 0, 5]}, TraitError, "`window` must be empty or four integers"),
        ({"first": ["demo", 3]}, TraitError, "`first` must be a model and one of its steps"),
        ({"second": ["other", 0]}, TraitError, "`second` must be a model"),
        ({"order": ["colour", True]}, TraitError, "`order` must be one of"),
    ],
)
def test_a_bad_state_changes_nothing(
    pair: tuple[Undrawn, Undrawn], state: Any, error: type[Exception], message: str
) -> None:
    explorer = pair[0]
    explorer.state = {"step": 100}
    with pytest.raises(error, match=message):
        explorer.state = state
    assert explorer.state == {"step": 100}


def test_a_first_state_is_a_dict_or_a_file(fits: xr.Dataset) -> None:
    nonsense: Any = 5
    with pytest.raises(TypeError, match="`state` must be a dict, got int"):
        Undrawn(fits, state=nonsense)


def test_numbers_of_numpy(fits: xr.Dataset) -> None:
    cells = [("demo", np.int64(1), np.str_("v_proj"), np.int32(100))]
    explorer = Undrawn(fits, step=np.int64(100), selected=cells, trim=(np.float32(0.25), 0.5))
    assert json.loads(json.dumps(explorer.state)) == explorer.state
    assert explorer.state["trim"] == [0.25, 0.5]


# In a file


def test_a_view_in_a_file(explorer: Explorer, fits: xr.Dataset, tmp_path: Path) -> None:
    explorer.state = {"panel": "classes", "step": 500}
    explorer.views["näme"] = {"step": 100}
    file = explorer.save(tmp_path / "view.json")
    again = explore(fits, state=file)
    assert (again.state, again.views) == (explorer.state, explorer.views)
    assert explore(fits, state=str(file), panel="table").panel == "table"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("\x00\xff", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "its content must be an object, got list"),
        ('{"state": []}', "`state` must be an object"),
        ('{"views": {"a": 1}}', r"`views\['a'\]` must be an object"),
        ('{"stat": {}}', "Did you mean 'state'"),
        ('{"state": {"panle": 1}}', "Did you mean 'panel'"),
        ('{"views": {"a": {"panle": 1}}}', "Did you mean 'panel'"),
        ('{"views": {"": {}}}', "name of a view"),
    ],
)
def test_a_file_that_holds_no_view(
    fits: xr.Dataset, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "view.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        Undrawn(fits, state=file)


def test_no_file(fits: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Undrawn(fits, state=tmp_path / "view.json")
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * 5_000_000)
    with pytest.raises(ValueError, match="no view has 5,000,000 bytes"):
        Undrawn(fits, state=huge)


def test_a_view_is_kept_for_the_next_run(fits: xr.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "view.json"
    explorer = Undrawn(fits, keep=file)
    assert not file.exists(), "nothing was chosen yet"
    explorer.step = 100
    explorer.views["start"] = {"step": 0}
    again = Undrawn(fits, keep=str(file), panel="table")
    assert again.state == {"step": 100, "panel": "table"}
    assert dict(again.views) == {"start": {"step": 0}}
    again.state = {}
    assert Undrawn(fits, keep=file).state == {}
    with pytest.raises(ValueError, match=r"must end in \.json"):
        Undrawn(fits, keep=tmp_path / "view.txt")


def test_a_kept_view_of_other_fits_is_named(fits: xr.Dataset, tmp_path: Path) -> None:
    file = tmp_path / "view.json"
    Undrawn(fits, keep=file).step = 100
    with pytest.raises(ValueError, match="`step` must be one of") as caught:
        Undrawn(fits.sel(step=[0, 500]), keep=file)
    assert "remove it to begin anew" in caught.value.__notes__[0]


def test_a_view_that_cannot_be_kept_is_told(
    fits: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    explorer = Undrawn(fits, keep=folder / "view.json")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(explorer, "send", sent.append)
    folder.rmdir()
    from_page(explorer, step=100)
    assert explorer._answered == explorer._asked
    assert "The view is not kept" in sent[0]["problem"]


# By name


def test_views_by_name(explorer: Explorer) -> None:
    explorer.state = {"step": 100}
    explorer.views["early"] = explorer.state
    explorer.views["\x1b]0;<b>"] = {"panel": "table"}
    assert json.loads(explorer._names) == [["early", "early"], ["\x1b]0;<b>", "\\x1b]0;<b>"]]
    assert repr(explorer.views) == "<Views: early, \\x1b]0;<b>>"
    explorer.state = explorer.views["\x1b]0;<b>"]
    assert (explorer.panel, explorer.step) == ("table", 7000)
    explorer.views["early"]["step"] = 3
    assert explorer.views["early"] == {"step": 100}, "what is read is a copy"
    del explorer.views["early"]
    assert list(explorer.views) == ["\x1b]0;<b>"]
    with pytest.raises(KeyError, match="No view has the name 'early'"):
        explorer.views["early"]
    for name, state in (("", {}), ("  ", {}), ("a" * 101, {}), ("a", {"panle": 1})):
        with pytest.raises(ValueError, match="must be"):
            explorer.views[name] = state
    assert len(explorer.views) == 1


def test_views_from_the_page(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(explorer, "send", sent.append)
    explorer.step = 500
    explorer._handle_custom_msg({"act": "keep", "view": "five"}, [])
    explorer._handle_custom_msg({"act": "open", "view": "five"}, [])
    assert explorer.views["five"] == explorer.state == {"step": 500}
    explorer.state = {}
    explorer._handle_custom_msg({"act": "open", "view": "five"}, [])
    assert explorer.step == 500
    explorer._handle_custom_msg({"act": "forget", "view": "five"}, [])
    assert (len(explorer.views), sent) == (0, [])
    explorer._handle_custom_msg({"act": "open", "view": "five"}, [])
    assert "No view has the name 'five'" in sent[0]["problem"]


def test_the_call_opens_the_same_view(explorer: Explorer, fits: xr.Dataset) -> None:
    assert words(explorer)["call"] == "wb.explore(fits)"
    from_page(explorer, panel="weibull", filters={"component": ["q_proj"]}, trim=[0.2, 0.8])
    import weibnb

    again = eval(words(explorer)["call"], {"wb": weibnb, "fits": fits})  # noqa: S307  (our text)
    assert (again.state, again._main) == (explorer.state, explorer._main)


# Of fits that are still to come


def trouble(explorer: Explorer) -> str:
    explorer._tell("", last=False)
    found: str = json.loads(explorer._following)["problem"]
    return found


def test_a_state_waits_for_its_labels(fits: xr.Dataset) -> None:
    state = {"filters": {"component": ["up_proj"]}, "step": 500, "trim": [0.2, 0.8]}
    explorer = Undrawn(no_fits(), newer=lambda: None, followed="run.db", state=state)
    assert explorer.state == state
    explorer._take(fits.sel(step=[0, 100], component=["q_proj", "k_proj"]))
    assert (explorer.step, explorer.filters) == (100, {})
    assert explorer.state == state
    assert "`filters['component']` must be one of" in trouble(explorer)
    explorer._take(fits)
    assert (explorer.step, explorer.filters) == (500, {"component": ("up_proj",)})
    assert explorer.state == state
    assert trouble(explorer) == ""
    explorer.step = 7000
    explorer._take(fits.copy())
    assert explorer.step == 7000, "what was shown once is asked for no more"
    explorer.close()


def test_what_is_chosen_meanwhile_holds(fits: xr.Dataset) -> None:
    explorer = Undrawn(no_fits(), newer=lambda: None, step=500, filters={"component": ["up_proj"]})
    explorer._take(fits.sel(step=[0, 100], component=["q_proj", "k_proj"]))
    explorer.step = 0
    explorer._take(fits)
    assert (explorer.step, explorer.filters) == (0, {"component": ("up_proj",)})
    explorer.close()
    other = Undrawn(no_fits(), newer=lambda: None, step=3)
    other._take(fits)
    assert other.state == {"step": 3}
    other.state = {}
    assert other.state == {}
    other.close()


def test_a_scan_is_shown_as_asked_when_it_is_done() -> None:
    state = {"filters": {"component": ["up_proj"]}, "step": 500}
    explorer = explore({"demo": DEMO}, state=state)
    assert explorer.state == state
    assert explorer.wait().state == state
    assert explorer.query == {"component": ["up_proj"], "step": [500]}
    with pytest.raises(ValueError, match="Not shown as asked: `step` must be one of"):
        explore({"demo": DEMO}, step=3).wait()
