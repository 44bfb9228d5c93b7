"""The steps of a training run, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.io.handmade import one
from weibnb.io.files import CheckpointError
from weibnb.io.sources import demo_checkpoints, find_steps, resolve_sources

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    ["step1000", "step-1000", "step_1000", "checkpoint-1000", "global_step1000", "iter_0001000",
     "ckpt-1000", "step1000-unsharded", "stage1-step1000-tokens5B", "epoch=3-step=1000",
     "Checkpoint_1000", "step1000.safetensors"],
)  # fmt: skip
def test_step_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch() if path.suffix else path.mkdir()
    assert find_steps(str(tmp_path)) == {1000: path}


def test_steps_are_sorted_and_other_names_ignored(tmp_path: Path) -> None:
    for name in ("step-100", "step-20", "step-3", "latest", "step-best", "misstep4", "layer-5"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-7").touch()
    (tmp_path / "step-8.pt").touch()
    (tmp_path / "step-9.txt").touch()
    assert list(find_steps(tmp_path)) == [3, 8, 20, 100]


def notes_of(run: Path) -> list[str]:
    return [planned.note for planned in resolve_sources(run)]


def test_checkpoints_beside_the_steps_are_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("step10", "step20", "final", "runs", "step9223372036854775808"):
        (run / name).mkdir(parents=True)
    (run / "runs" / "events.log").touch()
    for name in ("step10", "step20"):
        one(run / name / "model.safetensors")
    (run / "latest").symlink_to("step20")
    assert notes_of(run) == ["", ""]
    one(run / "final" / "model.safetensors")
    assert notes_of(run) == ["", "final beside the steps is no step and was left out"]
    one(run / "step9223372036854775808" / "model.safetensors")
    one(run / "last.safetensors")
    told = "final, last.safetensors, step9223372036854775808 beside the steps are no steps and "
    assert notes_of(run) == ["", told + "were left out"]


def test_no_steps(tmp_path: Path) -> None:
    assert find_steps(tmp_path) == {}
    with pytest.raises(CheckpointError, match="cannot be listed"):
        find_steps(tmp_path / "no")


def test_step_given_twice(tmp_path: Path) -> None:
    (tmp_path / "step10").mkdir()
    (tmp_path / "step-10").mkdir()
    with pytest.raises(CheckpointError, match="step 10 is there twice: `step10` and `step-10`"):
        find_steps(tmp_path)


def test_a_step_may_not_lead_out_of_the_run(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    (run / "step1").mkdir(parents=True)
    other.mkdir()
    (run / "step2").symlink_to(other)
    (run / "step3").symlink_to("step1")
    (run / "step4.safetensors").symlink_to(one(other / "x.safetensors"))
    steps = {plan.step: plan.checkpoint for plan in resolve_sources({"run": run})}
    assert steps[1] == run / "step1"
    assert steps[3] == run / "step3"
    for step in (2, 4):
        assert isinstance(steps[step], CheckpointError)
        assert "pass {'name': {step: path}}" in str(steps[step])
    (given,) = resolve_sources({"run": {2: run / "step2"}})
    assert given.checkpoint == run / "step2"


@pytest.mark.parametrize(
    ("name", "step"),
    [("step9223372036854775807", 2**63 - 1), ("step9223372036854775808", None),
     ("step" + "0" * 90 + "7", 7), ("step" + "9" * 200, None)],
)  # fmt: skip
def test_steps_are_numbers_of_63_bits(tmp_path: Path, name: str, step: int | None) -> None:
    (tmp_path / name).mkdir()
    assert list(find_steps(tmp_path)) == ([] if step is None else [step])
    (plan,) = resolve_sources({"m": tmp_path / name})
    assert plan.step == (step or 0)


UNUSABLE = ["a" * 5000, "a/" * 3000, "", "a\0b"]


@pytest.mark.parametrize("path", UNUSABLE, ids=["long name", "long path", "empty", "null"])
def test_a_path_that_cannot_be_used_is_an_error_in_its_place(path: str) -> None:
    (plan,) = resolve_sources({"bad": path})
    assert plan.model == "bad"
    if path != "a\0b":  # no directory; opening it says why
        assert isinstance(plan.checkpoint, CheckpointError)
    if not path:
        with pytest.raises(CheckpointError, match=r"the path is empty\. Pass `\.`"):
            list(resolve_sources(path))


def test_a_directory_that_may_not_be_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may search every directory: what the system answers to others is set."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_dir", refuse)
    (plan,) = resolve_sources({"bad": tmp_path})
    assert isinstance(plan.checkpoint, CheckpointError)
    assert str(plan.checkpoint).endswith("the path cannot be used: Permission denied.")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step1").symlink_to("step2")
    (tmp_path / "run" / "step2").symlink_to("step1")
    (tmp_path / "run" / "step3.safetensors").symlink_to("step3.safetensors")
    plans = {plan.step: plan.checkpoint for plan in resolve_sources({"run": tmp_path / "run"})}
    assert plans.keys() == {3}
    assert isinstance(plans[3], CheckpointError)
    (tmp_path / "loop").symlink_to("loop")
    (plan,) = resolve_sources({"m": tmp_path / "loop"})
    assert plan.step == 0


def test_a_run_that_vanishes_after_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: True)
    (plan,) = resolve_sources({"m": tmp_path / "gone"})
    assert isinstance(plan.checkpoint, CheckpointError)
    assert "cannot be listed: No such file" in str(plan.checkpoint)


def test_the_packaged_run_is_a_run_of_five_steps() -> None:
    plans = list(resolve_sources(demo_checkpoints()))
    assert {plan.model for plan in plans} == {"demo"}
    assert [plan.step for plan in plans] == [0, 100, 500, 2000, 7000]
    assert all((plan.checkpoint / "model.safetensors").is_file() for plan in plans)
