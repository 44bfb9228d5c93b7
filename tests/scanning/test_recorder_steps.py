"""Which steps a recorder asks for, and what a training that was resumed finds in its store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import weibnb as wb
from weibnb.scanning.steps import Course, schedule, whole_step

if TYPE_CHECKING:
    import xarray as xr

SCRIPTS = Path(__file__).parents[2] / "scripts"


class Tiny(torch.nn.Module):
    """Two layers of one matrix each, whose scale says at which step it is."""

    def __init__(self, layers: int = 2, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Module() for _ in range(layers))
        for layer in self.layers:
            layer.mlp = torch.nn.ModuleDict({"up_proj": torch.nn.Linear(width, 16, bias=False)})
        self.start = [parameter.detach().clone() for parameter in self.parameters()]

    def be_at(self, step: int, course: int = 0) -> None:
        with torch.no_grad():
            for parameter, start in zip(self.parameters(), self.start, strict=True):
                parameter.copy_(start * (1 + step + course / 4))


def recorded(recorder: wb.Recorder, model: Tiny, *steps: int, course: int = 0) -> None:
    for step in steps:
        model.be_at(step, course)
        recorder.record(step)


def scales(fits: xr.Dataset, model: str = "run") -> dict[int, float]:
    """Give rms of the first layer over that of step 0, by step."""
    one = fits["rms"].sel(model=model, layer=0, component="up_proj").dropna("step")
    unit = float(Tiny().start[0].square().mean().sqrt())
    pairs = zip(one["step"].values.tolist(), one.values.tolist(), strict=True)
    return {step: round(rms / unit, 2) for step, rms in pairs}


def straight(*steps: int, course: int = 0) -> dict[int, float]:
    return {step: round(1 + step + course / 4, 2) for step in steps}


# Steps


@pytest.mark.parametrize("step", [5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5)])
def test_any_integer_is_a_step(step: Any) -> None:
    assert whole_step(step) == 5
    assert type(whole_step(step)) is int


@pytest.mark.parametrize(
    "step", [True, 1.0, "1", None, np.True_, np.float64(1), torch.tensor(True), torch.tensor(1.0)]
)
def test_nothing_else_is_a_step(step: Any) -> None:
    with pytest.raises(TypeError, match="`step` must be an integer, got"):
        whole_step(step)


@pytest.mark.parametrize("step", [2**63, 2**70, np.uint64(2**63)])
def test_no_step_is_too_large(step: Any) -> None:
    assert whole_step(2**63 - 1) == 2**63 - 1
    with pytest.raises(ValueError, match=r"`step` must be less than 2\^63, got"):
        whole_step(step)


@pytest.mark.parametrize("step", [-1, np.int64(-1), torch.tensor(-3)])
def test_no_step_is_negative(step: Any) -> None:
    with pytest.raises(ValueError, match="`step` must be at least 0, got"):
        whole_step(step)


def test_schedules() -> None:
    log = [step for step in range(5000) if schedule("log")(step)]
    powers = [2**n for n in range(13)]
    assert log == sorted({0, *powers, 1000, 2000, 3000, 4000})
    assert [step for step in range(301) if schedule(100)(step)] == [0, 100, 200, 300]
    assert [step for step in range(9) if schedule(lambda step: step in (3, 7))(step)] == [3, 7]


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        ("logs", ValueError, "`steps` must be"),
        (0, ValueError, "at least 1, got 0"),
        (-3, ValueError, "at least 1, got -3"),
        (True, TypeError, "an integer or a function"),
        (1.5, TypeError, "an integer or a function"),
        (None, TypeError, "an integer or a function"),
    ],
)
def test_other_schedules_are_refused(steps: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        wb.Recorder(Tiny(), steps=steps)


def test_a_recorder_says_what_is_due() -> None:
    with wb.Recorder(Tiny()) as recorder:
        assert [step for step in range(20) if recorder.due(step)] == [0, 1, 2, 4, 8, 16]
        assert recorder.due(np.int64(1000))
        assert recorder.due(torch.tensor(3000))
        with pytest.raises(TypeError, match="`step` must"):
            recorder.due(1.0)  # type: ignore[arg-type]
        assert recorder.steps == []
    with wb.Recorder(Tiny(), steps=5) as recorder:
        assert [step for step in range(20) if recorder.due(step)] == [0, 5, 10, 15]


@given(some.sets(some.integers(0, 50)), some.integers(0, 60), some.integers(0, 60))
def test_a_course_agrees_with_sets(steps: set[int], at: int, step: int) -> None:
    course = Course(steps)
    course.at = at
    assert (step in course) == (step in steps)
    assert course.after(step) == sorted(one for one in steps if one > step)
    assert course.last(step) == max((one for one in steps if one <= step), default=None)
    assert course.passes_by(step) == any(at < one < step for one in steps)
    assert course.leave_behind() == sorted(one for one in steps if one > at)
    assert course.steps == sorted(one for one in steps if one <= at)


# What a store holds already


def test_a_store_is_gone_on_with(tmp_path: Path) -> None:
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 2)
        recorder.fits()
        before = recorder.latest()
    with wb.Recorder(model, name="run", store=store) as recorder:
        assert recorder.steps == [0, 2]
        assert recorder.latest() == before
        recorded(recorder, model, 4)
        assert recorder.steps == [0, 2, 4]
        assert scales(recorder.fits()) == straight(0, 2, 4)
    assert scales(wb.open_fits(store)) == straight(0, 2, 4)


@pytest.mark.parametrize(("reopened", "in_store"), [(False, False), (False, True), (True, True)])
def test_a_step_seen_again(tmp_path: Path, reopened: bool, in_store: bool) -> None:
    """With the same weights it is left as it is; with others an error says what to do."""
    store, model = tmp_path / "run.db" if in_store else None, Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 5)
        if not reopened:
            see_again(recorder, model)
    if reopened:
        with wb.Recorder(model, name="run", store=store) as recorder:
            see_again(recorder, model)


def see_again(recorder: wb.Recorder, model: Tiny) -> None:
    recorded(recorder, model, 5)
    with pytest.raises(ValueError, match=r"`step` must .* got 5\. .*recorder\.resume\(step"):
        recorded(recorder, model, 5, course=1)
    assert recorder.steps == [0, 5]
    assert scales(recorder.fits()) == straight(0, 5)
    recorded(recorder, model, 6)
    assert scales(recorder.fits()) == straight(0, 5, 6)


BRANCHED = "went back to step 4. Of its course before, 2 records .step 6 to 8. are kept as 'run~1'"


@pytest.mark.parametrize("in_store", [False, True])
@pytest.mark.parametrize("step", [6, 7, 8])
def test_a_rollback_keeps_the_course_before_as_a_branch(
    tmp_path: Path, in_store: bool, step: int
) -> None:
    """Whether the first record after it is at a step of the old course, between, or passes it."""
    store, model = tmp_path / "run.db" if in_store else None, Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 2, 4, 6, 8)
        recorder.resume(4)
        with pytest.warns(UserWarning, match=BRANCHED):
            recorded(recorder, model, step, course=1)
        fits = recorder.fits()
        assert recorder.steps == [0, 2, 4, step]
        recorded(recorder, model, 9, course=1)
        fits = recorder.fits()
    expected = straight(0, 2, 4) | straight(step, 9, course=1)
    for found in [fits, *([wb.open_fits(store)] if store else [])]:
        assert scales(found) == expected
        assert scales(found, "run~1") == straight(6, 8)


@pytest.mark.parametrize("in_store", [False, True])
def test_a_checkpoint_in_fewer_bits_is_gone_back_to(tmp_path: Path, in_store: bool) -> None:
    store, model = tmp_path / "run.db" if in_store else None, Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 2, 4, 6)
        recorder.resume(4)
        with pytest.warns(UserWarning, match=r"back to step 2.*2 records .step 4 to 6. .*'run~1'"):
            recorded(recorder, model, 4, course=1)
        recorded(recorder, model, 5, course=1)
        fits = recorder.fits()
        with pytest.raises(ValueError, match=r"got 5\. .*recorder\.resume\(step"):
            recorded(recorder, model, 5)
        recorder.resume(5)
        recorded(recorder, model, 5, course=1)
        with pytest.raises(ValueError, match=r"got 5\. .*recorder\.resume\(step"):
            recorded(recorder, model, 5)
    for found in [fits, *([wb.open_fits(store)] if store else [])]:
        assert scales(found) == straight(0, 2) | straight(4, 5, course=1)
        assert scales(found, "run~1") == straight(4, 6)


def test_a_checkpoint_in_fewer_bits_of_the_first_record_has_none_before() -> None:
    """An error says so, and the course stays known: a record that passes others by branches off."""
    model = Tiny()
    with wb.Recorder(model, name="run") as recorder:
        recorded(recorder, model, 2, 4)
        recorder.resume(2)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"got 2\. No step before it .* another name"):
                recorded(recorder, model, 2, course=1)
        with pytest.warns(UserWarning, match=r"back to step 2.*1 record .step 4 to 4. .*'run~1'"):
            recorded(recorder, model, 6, course=1)
        fits = recorder.fits()
    assert scales(fits) == straight(2) | straight(6, course=1)
    assert scales(fits, "run~1") == straight(4)


def test_a_second_rollback_is_a_second_branch(tmp_path: Path) -> None:
    store, model = tmp_path / "run.db", Tiny()
    for course in range(3):
        with wb.Recorder(model, name="run", store=store) as recorder:
            recorded(recorder, model, 0)
            if course:
                with pytest.warns(UserWarning, match=f"1 record .step 3 to 3.* 'run~{course}'"):
                    recorded(recorder, model, 3, course=course)
            else:
                recorded(recorder, model, 3)
    fits = wb.open_fits(store)
    assert scales(fits) == straight(0) | straight(3, course=2)
    assert scales(fits, "run~1") == straight(3)
    assert scales(fits, "run~2") == straight(3, course=1)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_training_that_repeats_itself_has_no_branch(tmp_path: Path, resumed: bool) -> None:
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 2, 4, 6)
    with wb.Recorder(model, name="run", store=store) as recorder:
        if resumed:
            recorder.resume(3)
            recorded(recorder, model, 3)
        recorded(recorder, model, 4, 6, 8)
    fits = wb.open_fits(store)
    assert fits["model"].values.tolist() == ["run"]
    assert scales(fits) == straight(*([0, 2, 3, 4, 6, 8] if resumed else [0, 2, 4, 6, 8]))


def test_a_store_of_another_model_is_refused(tmp_path: Path) -> None:
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0)
    with pytest.raises(ValueError, match=r"`store` must hold this model as 'run', got .*name="):
        wb.Recorder(Tiny(width=24), name="run", store=store)
    with pytest.raises(ValueError, match=r"only 2 of 2 matrices .* this one of 5"):
        wb.Recorder(Tiny(layers=5), name="run", store=store)
    with wb.Recorder(Tiny(width=24), name="wide", store=store) as recorder:
        recorder.record(0)
    with wb.Recorder(Tiny(layers=3), name="run", store=store) as recorder:  # it has grown
        recorder.record(1)
    fits = wb.open_fits(store)
    assert fits["model"].values.tolist() == ["run", "wide"]
    assert fits["status"].sel(model="run", layer=2, component="up_proj").values.tolist() == [
        "absent", "ok"
    ]  # fmt: skip


def test_a_record_cut_short_is_forgotten(tmp_path: Path) -> None:
    """Entered into the store but not fitted: so does a kill between the two leave it."""
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0)
        listing = recorder._model.listing(7)
        opened = recorder._results.store
        assert opened is not None
        opened.begin(listing.source, listing.matrices(), rescan=True)
    assert (wb.open_fits(store)["status"].sel(step=7) == "pending").all()
    with wb.Recorder(model, name="run", store=store) as recorder:
        assert recorder.steps == [0]
        recorded(recorder, model, 7)
    assert scales(wb.open_fits(store)) == straight(0, 7)


def test_killed_trainings_go_on(tmp_path: Path) -> None:
    """``kill -9`` at random moments: nothing before the last record is lost, nothing is double."""
    command = [sys.executable, str(SCRIPTS / "kill_training.py"), "--kills", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout) == {
        "kills": 5,
        "lost_before_the_last": 0,
        "models": ["run"],
        "identical": True,
    }
