"""Lists, patterns and folders of models, and what each model is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.io.handmade import one
from weibnb.io.files import CheckpointError
from weibnb.io.folders import names_of
from weibnb.io.sources import resolve_sources


def make(place: Path, *names: str) -> Path:
    """Write a checkpoint in each of some folders."""
    for name in names:
        (place / name).mkdir(parents=True)
        one(place / name / "model.safetensors")
    return place


def planned(source: Any) -> list[tuple[str, int]]:
    return [(plan.model, plan.step) for plan in resolve_sources(source)]


@pytest.mark.parametrize(
    ("path", "names", "step"),
    [
        ("/runs/big", ["big", "runs/big"], None),
        ("/runs/big/checkpoint-1000", ["big", "runs/big"], 1000),
        ("/runs/big/step10/model.safetensors", ["big", "big/model", "runs/big/model"], 10),
        ("/runs/big/model", ["big", "big/model", "runs/big/model"], None),
        ("/runs/big/model/checkpoint-5", ["big", "big/model", "runs/big/model"], 5),
        ("/runs/big/weights/pytorch_model.safetensors",
         ["big", "big/weights/pytorch_model", "runs/big/weights/pytorch_model"], None),
        ("/runs/big/model-00001-of-00002.safetensors",
         ["big", "big/model-00001-of-00002", "runs/big/model-00001-of-00002"], None),
        ("/runs/pythia-step7", ["pythia-step7", "runs/pythia-step7"], 7),
        ("/runs/tiny.safetensors", ["tiny", "runs/tiny"], None),
        ("/model", ["model"], None),
        ("/checkpoint-3", ["checkpoint-3"], 3),
        ("/models--org--name/snapshots/0123456789abcdef",
         ["org/name", "org/name@0123456789ab", "org/name@0123456789abcdef"], None),
    ],
)  # fmt: skip
def test_names_of_paths(path: str, names: list[str], step: int | None) -> None:
    assert names_of(Path(path)) == (names, step)


def test_a_list_is_its_elements_in_their_order(tmp_path: Path) -> None:
    make(tmp_path, "b", "a", "run/step2", "run/step1")
    paths = [tmp_path / name for name in ("b", "a", "run")]
    assert planned(paths) == [("b", 0), ("a", 0), ("run", 1), ("run", 2)]
    assert planned(tuple(map(str, paths)))[0] == ("b", 0)


def test_steps_that_are_given_one_by_one_are_a_run(tmp_path: Path) -> None:
    make(tmp_path, "run/checkpoint-20", "run/checkpoint-3")
    steps = [tmp_path / "run" / f"checkpoint-{n}" for n in (20, 3)]
    assert planned(steps) == [("run", 3), ("run", 20)]
    assert planned(tmp_path / "run") == [("run", 3), ("run", 20)]
    assert planned(steps[0]) == [("run", 20)]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("a/final", "b/final"), [("a/final", 0), ("b/final", 0)]),
        (("x/a/f", "y/a/f", "f"), [("x/a/f", 0), ("y/a/f", 0), ("here/f", 0)]),
        (("a/run/step1", "a/run/step2", "b/run/step1"),
         [("a/run", 1), ("a/run", 2), ("b/run", 1)]),
        (("run/model", "run/step1"), [("run/model", 0), ("here/run", 1)]),
        (("run/model", "run/weights"), [("run/model", 0), ("run/weights", 0)]),
    ],
)  # fmt: skip
def test_names_that_two_would_have_are_lengthened(
    tmp_path: Path, given: tuple[str, ...], found: list[tuple[str, int]]
) -> None:
    make(tmp_path / "here", *given)
    assert planned([tmp_path / "here" / name for name in given]) == found


def test_what_is_given_twice_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a")
    with pytest.raises(ValueError, match=r"each checkpoint once.*Give them names"):
        planned([tmp_path / "a", tmp_path / "a"])
    with pytest.raises(ValueError, match="the ndarray twice"):
        planned([np.ones(3), np.ones(3)])
    with pytest.raises(ValueError, match="empty list"):
        planned([])


def test_a_list_of_mappings_and_live_models() -> None:
    state = {"w": np.ones((2, 2))}
    run = {"run": {1: state, 2: state}}
    assert planned([state, run]) == [("model", 0), ("run", 1), ("run", 2)]
    with pytest.raises(ValueError, match="'run' twice"):
        planned([run, run])


def test_a_pattern_is_the_folders_and_files_that_it_fits(tmp_path: Path) -> None:
    make(tmp_path, "m10", "m2", "other")
    one(tmp_path / "m3.safetensors")
    (tmp_path / "m4.txt").touch()
    assert planned(f"{tmp_path}/m*") == [("m2", 0), ("m3", 0), ("m10", 0)]
    assert planned([tmp_path / "other", tmp_path / "m[12]*"])[1:] == [("m2", 0), ("m10", 0)]
    with pytest.raises(CheckpointError, match=r"fits this pattern\. See what is there"):
        planned(f"{tmp_path}/x*")
    make(tmp_path, "odd[1]")
    assert planned(tmp_path / "odd[1]") == [("odd[1]", 0)]


def test_a_folder_of_models(tmp_path: Path) -> None:
    make(tmp_path, "b", "a", "run/step1", "run/step4")
    (tmp_path / "logs").mkdir()
    (tmp_path / "README.md").touch()
    plans = list(resolve_sources(tmp_path))
    assert [(p.model, p.step) for p in plans] == [("a", 0), ("b", 0), ("run", 1), ("run", 4)]
    assert plans[0].note.startswith("logs beside the models holds no file of tensors")
    assert not any(plan.note for plan in plans[1:])


@pytest.mark.parametrize("inside", [(), ("deep/er/model",)])
def test_a_folder_without_models_says_so_when_it_is_opened(
    tmp_path: Path, inside: tuple[str, ...]
) -> None:
    make(tmp_path, *inside)
    (plan,) = resolve_sources(tmp_path)
    assert plan.checkpoint == tmp_path


def test_a_model_with_folders_in_it_is_one(tmp_path: Path) -> None:
    make(tmp_path / "m", ".", "onnx", "original")
    assert planned(tmp_path / "m") == [("m", 0)]


def test_a_model_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path / "outside", "m")
    make(tmp_path / "inside", "a")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside" / "m")
    first, second = resolve_sources(tmp_path / "inside")
    assert first.model == "a"
    assert isinstance(second.checkpoint, CheckpointError)
    assert "pass its own path" in str(second.checkpoint)


def test_a_mapping_keeps_its_names(tmp_path: Path) -> None:
    make(tmp_path, "model", "checkpoint-7")
    given = {"x": tmp_path / "model", "y": tmp_path / "checkpoint-7"}
    assert planned(given) == [("x", 0), ("y", 7)]
