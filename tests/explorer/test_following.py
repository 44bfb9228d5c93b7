"""The explorer beside a training: what comes is shown, and what was chosen stays."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import from_page, slot, words
from weibnb.explorer.following import Follower, told

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from traitlets import TraitError

from weibnb.explorer.widget import Explorer
from weibnb.fits.following import no_fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

WAIT = 60.0  # seconds: a slow machine is no failure


class Source:
    """Newer fits, or trouble, for a follower to find; tells when it was asked."""

    def __init__(self) -> None:
        self.next: list[Any] = []
        self.asked = threading.Semaphore(0)

    def __call__(self) -> Any:
        self.asked.release()
        found = self.next.pop(0) if self.next else None
        if isinstance(found, Exception):
            raise found
        return found

    def wait(self, looks: int = 1) -> None:
        for _ in range(looks):
            assert self.asked.acquire(timeout=WAIT)


def await_change(explorer: Explorer, name: str, arrived: Callable[[], bool]) -> None:
    """Wait until a trait says that something is there."""
    changed = threading.Event()
    explorer.observe(lambda _: changed.set(), name)
    while not arrived():
        assert changed.wait(WAIT), f"{name} is {getattr(explorer, name)[:200]}"
        changed.clear()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr("weibnb.explorer.following._EVERY", 0.02)
    return Source()


@pytest.fixture
def following(fits: xr.Dataset, source: Source) -> Iterator[Explorer]:
    """An explorer of the first three steps of five."""
    explorer = Explorer(fits.isel(step=slice(3)), newer=source, followed="run.db")
    yield explorer
    explorer.close()


def problem(explorer: Explorer) -> str:
    found: str = json.loads(explorer._following)["problem"]
    return found


# The thread


def test_a_follower_hands_on_what_is_new_and_goes_on_after_trouble(source: Source) -> None:
    taken: list[Any] = []
    told: list[str] = []
    heard = threading.Semaphore(0)

    def tell(problem: str, *, last: bool) -> None:
        told.append(problem)
        heard.release()

    def take(fits: Any) -> None:
        if fits == "odd":
            raise KeyError("no such")
        taken.append(fits)

    source.next = [1, OSError("away"), None, ValueError(), "odd", 2]
    follower = Follower(source, take, tell)
    assert not follower.runs
    follower.start()
    follower.start()
    for _ in range(6):
        assert heard.acquire(timeout=WAIT)
    follower.stop()
    assert told[:6] == ["", "away", "", "ValueError", "'no such'", ""]
    assert taken == [1, 2]


def test_a_follower_that_is_stopped_hands_nothing_on(source: Source) -> None:
    begun, go_on = threading.Event(), threading.Event()
    taken: list[Any] = []

    def newer() -> Any:
        begun.set()
        assert go_on.wait(WAIT)
        return source()

    source.next = ["late", "new"]
    follower = Follower(newer, taken.append, lambda problem, last: taken.append(problem))
    follower.start()
    assert begun.wait(WAIT)
    follower.stop()
    go_on.set()
    source.wait()
    assert taken == []
    follower.look()
    assert taken == ["new", ""], "what came late is replaced by what is newer"


def test_what_came_after_a_stop_is_handed_on_later(source: Source) -> None:
    taken: list[Any] = []

    def newer() -> Any:
        follower.stop()  # a page that is closed while it looks
        return source()

    follower = Follower(newer, taken.append, lambda problem, last: None)
    source.next = ["the last fits"]
    follower.start()
    source.wait()
    assert taken == []
    follower.look()
    assert taken == ["the last fits"]


def test_what_is_finished_during_a_look_is_handed_on_before_the_end_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("weibnb.explorer.following._EVERY", 0.02)
    finished, is_over = threading.Event(), threading.Event()
    heard: list[Any] = []

    def newer() -> Any:
        found = "all" if finished.is_set() else "some"
        finished.set()
        return found

    def tell(problem: str, *, last: bool) -> None:
        heard.append(last)
        if last:
            is_over.set()

    follower = Follower(newer, heard.append, tell, finished.is_set)
    follower.start()
    assert is_over.wait(WAIT)
    assert heard == ["some", False, "all", True]


def test_an_explorer_that_is_closed_leaves_no_thread(following: Explorer, source: Source) -> None:
    source.wait(2)
    following.close()
    assert not following.follow
    threads = [one for one in threading.enumerate() if one.name == "weibnb-follower"]
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


# What is shown


def test_the_last_step_goes_on_to_the_newest(
    following: Explorer, source: Source, fits: xr.Dataset
) -> None:
    assert following.step == fits["step"].values[2]
    source.next = [fits]
    await_change(following, "_words", lambda: words(following)["count"].startswith("21 of 105"))
    assert following.step == 7000
    assert json.loads(following._checkpoints)["steps"] == fits["step"].values.tolist()
    model, layer, component, step = words(following)["chosen"][0]
    k = fits["k"].sel(model=model, layer=layer, component=component, step=step).item()
    assert step == 7000
    assert f"k {k:.4f}" in following._detail
    assert following.fits.equals(fits.sel(step=[7000]))
    assert following.second == ("demo", 7000)


def test_what_was_chosen_stays(following: Explorer, fits: xr.Dataset) -> None:
    following.follow = False
    following.follow = True
    from_page(
        following,
        step=100,
        panel="weibull",
        value="lam",
        filters={"weight_class": ["transmission"]},
        layers=[1, 2],
        trim=[0.1, 0.8],
        selected=[["demo", 2, "up_proj", 100]],
        first=["demo", 100],
    )
    names = ("step", "panel", "value", "filters", "layers", "trim", "selected", "first")
    before = {name: getattr(following, name) for name in names}
    main, answered = following._main, following._answered
    following._take(fits)
    assert {name: getattr(following, name) for name in names} == before
    assert following._main == main, "an earlier step looks as it did"
    assert following._answered == answered
    assert words(following)["chosen"] == [["demo", 2, "up_proj", 100]]
    assert words(following)["count"].startswith("8 of 105")


def test_the_selection_goes_along_with_the_step(following: Explorer, fits: xr.Dataset) -> None:
    last = int(fits["step"].values[2])
    from_page(following, selected=[["demo", 2, "up_proj", last], ["demo", 1, "v_proj", last]])
    following._take(fits)
    assert words(following)["chosen"] == [
        ["demo", 2, "up_proj", 7000],
        ["demo", 1, "v_proj", 7000],
    ]
    following.step = 0
    assert words(following)["chosen"][0] == ["demo", 2, "up_proj", 0]
    following.panel = "trajectories"
    assert words(following)["chosen"][0] == ["demo", 2, "up_proj", last]


def test_from_nothing(fits: xr.Dataset, source: Source) -> None:
    explorer = Explorer(no_fits(), newer=source, followed="run.db")
    assert words(explorer)["empty"] == ["These fits hold no matrix."]
    assert repr(explorer) == "<Explorer: 0 of 0 matrices, panel 'overview'>"
    for name in ("findings", "weibull", "classes", "trajectories", "compare", "table"):
        explorer.panel = name
        assert "problem" not in words(explorer)
    explorer.panel = "overview"
    explorer.set_state({"_pages": 1})
    explorer._take(wb.refit(fits, trim=(0.2, 0.8)))
    assert (explorer.trim, explorer.layers, explorer.step) == ((0.2, 0.8), (0, 2), 7000)
    assert words(explorer)["count"].startswith("21 of 105")
    assert "far-layer" not in explorer._findings
    assert explorer._findings
    explorer.close()


def test_what_is_gone_is_let_go_of(following: Explorer, fits: xr.Dataset) -> None:
    from_page(
        following,
        step=100,
        filters={"component": ["q_proj", "v_proj"], "weight_class": ["selection"]},
        first=["demo", 100],
        selected=[["demo", 0, "q_proj", 100]],
    )
    other = fits.sel(component=["v_proj", "o_proj"], step=[0, 7000])
    following._take(other.assign_coords(model=["other"]))
    assert following.step == 7000
    assert following.filters == {"component": ("v_proj",)}
    assert (following.first, following.second) == (("other", 0), ("other", 7000))
    assert words(following)["chosen"] == [["other", 0, "v_proj", 7000]]


def test_a_filter_of_nothing_stays_one(following: Explorer, fits: xr.Dataset) -> None:
    from_page(following, filters={"component": []})
    following._take(fits)
    assert following.filters == {"component": ()}
    assert words(following)["empty"] == ["Components excludes every matrix."]


def test_of_many_models_the_first_are_shown(following: Explorer, fits: xr.Dataset) -> None:
    import xarray as xr

    parts = [fits.assign_coords(model=[name]) for name in "abcdefgh"]
    following._take(xr.concat(parts, "model", data_vars="all"))
    assert following.filters == {"model": tuple("abcdef")}


def test_findings_are_those_of_the_newer_fits(following: Explorer, fits: xr.Dataset) -> None:
    following.set_state({"_pages": 1})
    before = json.loads(following._findings)["rows"]
    status = fits["status"].copy()
    status[0, 1, 2, 4] = "all_zero"
    following._take(fits.assign(status=status))
    rows = json.loads(following._findings)["rows"]
    assert "error" not in {row["severity"] for row in before}
    (found,) = (row for row in rows if row["severity"] == "error")
    assert found["rule"] == "all-zero"
    assert found["cells"] == [["demo", 1, str(fits["component"].values[2]), 7000]]


def test_of_many_matrices_the_last_step_is_checked(
    following: Explorer, fits: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weibnb.explorer.widget._CHECKED_AT_ONCE", 50)
    following.set_state({"_pages": 1})
    status = fits["status"].copy()
    status[0, 1, 2, 4] = status[0, 0, 0, 1] = "all_zero"
    following._take(fits.assign(status=status))
    rows = json.loads(following._findings)["rows"]
    cells = [
        row["cells"] for row in rows if (row["rule"], row["severity"]) == ("all-zero", "error")
    ]
    assert cells == [[["demo", 1, str(fits["component"].values[2]), 7000]]]


# What goes wrong


def test_trouble_is_shown_until_it_is_over(
    following: Explorer, source: Source, fits: xr.Dataset
) -> None:
    assert (problem(following), json.loads(following._following)["followed"]) == ("", "run.db")
    source.next = [OSError("the disk <b>is</b>\x1b[2J away"), fits]
    shown = []
    following.observe(lambda change: shown.append(json.loads(change["new"])), "_following")
    await_change(following, "_following", lambda: len(shown) > 1)
    assert shown[0]["problem"] == "the disk <b>is</b>\\x1b[2J away"
    assert shown[1]["problem"] == ""
    await_change(following, "_words", lambda: following.step == 7000)


def test_fits_that_cannot_be_shown_leave_what_there_was(
    following: Explorer, source: Source, fits: xr.Dataset
) -> None:
    source.next = [fits[["k"]]]
    await_change(following, "_following", lambda: problem(following) != "")
    assert "must be a Dataset of fits" in problem(following)
    assert words(following)["count"].startswith("21 of 63")


def test_nothing_comes_where_it_does_not_follow(
    following: Explorer, source: Source, fits: xr.Dataset
) -> None:
    following.follow = False
    before = following._words
    following._take(fits)
    assert following._words == before
    following.follow = True
    source.next = [fits]
    await_change(following, "_words", lambda: following.step == 7000)


def test_no_page_that_shows_it_no_look(following: Explorer, source: Source) -> None:
    assert following._follower
    following.set_state({"_pages": 1})
    assert following._follower.runs
    following.set_state({"_pages": 0})
    assert not following._follower.runs
    following.set_state({"_pages": 1})
    assert following._follower.runs


def test_fits_alone_are_not_followed(explorer: Explorer) -> None:
    assert (explorer.follow, explorer._following) == (False, "")
    with pytest.raises(TraitError, match="`follow` needs a store"):
        explorer.follow = True
    explorer.follow = False
    explorer.close()


def test_the_page_and_the_follower_take_turns(
    following: Explorer, source: Source, fits: xr.Dataset
) -> None:
    """Clicks that come while newer fits are taken over: the last of each holds."""
    parts = [fits.isel(step=slice(end)) for end in (4, 5)]
    for turn in range(3):
        source.next.append(parts[turn % 2])
        from_page(following, selected=[["demo", turn % 3, "up_proj", 0]])
        source.wait()
    source.next.append(fits)
    await_change(following, "_words", lambda: words(following)["count"].endswith("10–90 %"))
    source.wait(3)
    assert "problem" not in words(following)
    assert words(following)["chosen"][0][1:3] == [2, "up_proj"]
    assert np.isfinite(following.fits["k"].values).all()
    assert "up_proj of layer 2" in slot(following, "detail")["label"]


# How far a scan is


def work(done: int = 0, read: int = 0, **state: Any) -> Any:
    at = SimpleNamespace(done=done, matrices=4, read=read, nbytes=4000, problems=())
    base = {"at": at, "seconds": 2.0, "ended": False, "cancelled": False, "error": None}
    return SimpleNamespace(**base | state)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (work(at=None), "starting …"),
        (work(at=None, cancelled=True), "cancelled"),
        (work(1, 1000), "1 of 4 matrices · 500 B/s · 6 s left"),
        (work(1, 1000, seconds=400.0), "1 of 4 matrices · 2.5 B/s · 20 min left"),
        (work(1, 1000, seconds=8000.0), "1 of 4 matrices · 0.125 B/s · 6.7 h left"),
        (work(2, 2000, cancelled=True), "2 of 4 matrices · cancelled · 1 kB/s"),
        (work(4, 4000, ended=True), ""),
        (work(2, 2000, ended=True, error=OSError("gone")), "2 of 4 matrices · 1 kB/s"),
    ],
)
def test_how_far_a_scan_is(state: Any, text: str) -> None:
    assert json.loads(told("run", "", state))["text"] == text


def test_what_went_wrong_in_a_scan() -> None:
    failed = json.loads(told("run", "", work(error=OSError("gone \x1b[0m"))))
    assert failed["problem"] == "OSError: gone \\x1b[0m"
    some = work(1)
    some.at.problems = ("one", "two", "three")
    assert json.loads(told("run", "", some))["problem"] == "Not read: one (and 2 more)"
    assert "text" not in json.loads(told("run.db", "away", None))
