"""The callback in a real Trainer of Hugging Face: killed, resumed, logged, in every wrapper."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("transformers", reason="the callback needs transformers")
pytest.importorskip("accelerate", reason="a Trainer needs accelerate")
torch = pytest.importorskip("torch")

from transformers import TrainerCallback, TrainingArguments

from tests.integrations.tiny import COMPONENTS, STEPS, llama, trainer
from weibnb.integrations.transformers import WeibullCallback

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

LOG_STEPS = [0, 1, 2, 4, 8]
IS_NEW = hasattr(TrainingArguments, "activation_checkpointing")
CHECKPOINTING = "activation_checkpointing" if IS_NEW else "gradient_checkpointing"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    """A training that nothing happened to, recorded at every step."""
    out = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    trainer(out, WeibullCallback(out / "run.db", steps=1)).train()
    with wb.open_fits(out / "run.db") as fits:
        return out, fits.load()


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert one.step.values.tolist() == other.step.values.tolist()
    assert one.model.values.tolist() == other.model.values.tolist()
    for name in ("k", "lam", "n", "rms", "max_abs", "status"):
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def opened(store: Path) -> xr.Dataset:
    with wb.open_fits(store) as fits:
        return fits.load()


class Sink(TrainerCallback):
    """What a tracker is to the trainer."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, Any]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.seen.append((state.global_step, dict(logs)))


class Fail(TrainerCallback):
    """Ends the training by an exception, after which no callback is called."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            raise KeyboardInterrupt


def test_a_record_is_a_scan_of_the_checkpoint_of_its_step(
    undisturbed: tuple[Path, xr.Dataset],
) -> None:
    out, fits = undisturbed
    assert fits.step.values.tolist() == list(range(STEPS + 1))
    assert fits.component.values.tolist() == COMPONENTS
    assert (fits.status == "ok").all()
    saved = wb.scan({"saved": {step: out / f"checkpoint-{step}" for step in (4, 8, 12)}})
    for name in ("k", "lam", "n", "max_abs"):
        recorded = fits[name].sel(step=[4, 8, 12], component=saved.component)
        np.testing.assert_array_equal(recorded.values, saved[name].values)


def test_log_spaced_steps_are_the_default(tmp_path: Path) -> None:
    callback = WeibullCallback()
    assert callback.recorder is None
    trainer(tmp_path, callback).train()
    assert callback.recorder is not None
    assert callback.recorder.steps == LOG_STEPS
    assert callback.recorder.fits().step.values.tolist() == LOG_STEPS


def test_killed_and_resumed_is_as_if_nothing_had_happened(
    undisturbed: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    store = tmp_path / "run.db"
    command = [sys.executable, "-m", "tests.integrations.tiny", tmp_path, store, "7"]
    killed = subprocess.run(
        [str(part) for part in command],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        timeout=200,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = opened(store)
    assert set(range(7)) <= set(before.step.values.tolist()) <= set(range(8))
    trainer(tmp_path, WeibullCallback(store, steps=1)).train(resume_from_checkpoint=True)
    same(opened(store), undisturbed[1])


def test_nothing_depends_on_the_end_of_the_training(
    undisturbed: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    store = tmp_path / "run.db"
    callback = WeibullCallback(store, steps=1)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, callback, Fail(6)).train()
    assert callback.recorder is not None
    assert callback.recorder.steps == list(range(7))
    again = trainer(tmp_path, WeibullCallback(store, steps=1))
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    same(opened(store), undisturbed[1])


def test_a_training_that_takes_another_course_is_a_branch(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, WeibullCallback(store, steps=1), Fail(7)).train()
    again = trainer(tmp_path, WeibullCallback(store, steps=1), data_seed=1)
    with pytest.warns(UserWarning, match="went back to step 4"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    fits = opened(store)
    assert fits.sizes["model"] == 2
    whole = (fits.status == "ok").all(["layer", "component"])
    assert sorted(whole.sum("step").values.tolist()) == [3, STEPS + 1]


@pytest.mark.parametrize("steps", ["log", 1, 5])
def test_losses_are_logged_as_without_it(tmp_path: Path, steps: Any) -> None:
    histories = []
    for name, callbacks in (("bare", []), ("watched", [WeibullCallback(steps=steps)])):
        training = trainer(tmp_path / name, *callbacks, logging_first_step=True)
        training.train()
        history = training.state.log_history
        histories.append([one for one in history if "loss" in one])
        assert [one for one in history if "train_loss" in one]
    assert histories[0] == histories[1]
    assert [one["step"] for one in histories[0]] == [1, 3, 6, 9, 12]


def test_numbers_reach_every_sink_once(
    undisturbed: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    first, last = Sink(), Sink()
    training = trainer(tmp_path, first, WeibullCallback(steps=4), last)
    training.train()
    seen = [(at, logs) for at, logs in first.seen if "weibull/step" in logs]
    assert seen == [(at, logs) for at, logs in last.seen if "weibull/step" in logs]
    steps = [int(logs["weibull/step"]) for _, logs in seen]
    assert steps == sorted(set(steps))
    assert steps[-1] == 12
    assert all(step <= at for step, (at, _) in zip(steps, seen, strict=True))
    for step, (_, logs) in zip(steps, seen, strict=True):
        of_step = undisturbed[1].sel(step=step).isel(model=0)
        for component in COMPONENTS:
            for name in ("k", "lam"):
                expected = of_step[name].sel(component=component).median().item()
                assert logs[f"weibull/{name}/{component}"] == pytest.approx(expected)
    assert [one for one in training.state.log_history if "weibull/step" in one]


def test_tensorboard_gets_numbers_and_counts(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("tensorboard", reason="reading event files needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for histograms in (True, False):
        place = tmp_path / str(histograms)
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(place))
        callback = WeibullCallback(steps=6, histograms=histograms)
        trainer(tmp_path / "out", callback, report_to=["tensorboard"]).train()
        events = EventAccumulator(str(place), size_guidance={"histograms": 0})
        events.Reload()
        scalars = {name for name in events.Tags()["scalars"] if "weibull" in name}
        assert {f"train/weibull/k/{component}" for component in COMPONENTS} < scalars
        expected = {
            f"weibull/counts/{component}/layer_{layer}"
            for component in COMPONENTS
            for layer in (0, 1)
        }
        assert set(events.Tags()["histograms"]) == (expected if histograms else set())
    assert callback.recorder is not None
    kept = callback.recorder.fits().lam.isel(model=0).sel(component="q_proj", step=12).median()
    assert events.Scalars("train/weibull/lam/q_proj")[-1].value == pytest.approx(kept.item())


def test_a_checkpoint_made_without_it_can_be_gone_on_from(tmp_path: Path) -> None:
    trainer(tmp_path, max_steps=4).train()
    callback = WeibullCallback(steps=1)
    trainer(tmp_path, callback).train(resume_from_checkpoint=True)
    assert callback.recorder is not None
    assert callback.recorder.steps == list(range(4, STEPS + 1))


def test_a_trainer_may_restore_it_from_its_checkpoint(
    undisturbed: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    store = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, WeibullCallback(store, steps=1), Fail(6)).train()
    again = trainer(
        tmp_path, WeibullCallback(), Sink(), restore_callback_states_from_checkpoint=True
    )
    again.train(resume_from_checkpoint=True)
    same(opened(store), undisturbed[1])
    assert [one for one in again.state.log_history if one.get("weibull/step") == STEPS]


def test_what_no_checkpoint_keeps_is_told(tmp_path: Path) -> None:
    every = partial(WeibullCallback, steps=lambda step: True)
    trainer(tmp_path, every(), max_steps=4).train()
    again = trainer(tmp_path, every(), restore_callback_states_from_checkpoint=True)
    with pytest.raises(ValueError, match="`steps` of this callback cannot be kept"):
        again.train(resume_from_checkpoint=True)
    callback = every()
    trainer(tmp_path, callback).train(resume_from_checkpoint=True)
    assert callback.recorder is not None
    assert callback.recorder.steps == list(range(4, STEPS + 1))


def test_forces_of_the_trainers_own_optimizer_close(tmp_path: Path) -> None:
    callback = WeibullCallback(steps=3, forces=True)
    trainer(tmp_path, callback, gradient_accumulation_steps=2, save_strategy="no").train()
    assert callback.recorder is not None
    found = wb.forces(callback.recorder.fits())
    assert found.step.values.tolist() == [0, 3, 6, 9, 12]
    assert (abs(found.residual) <= 1e-6 * found.squared_norm).all()
    assert (found.from_injection.isel(step=-1) > 0).all()


@pytest.mark.parametrize("wrapped", ["checkpointing", "compiled", "bfloat16"])
def test_wrappers_change_nothing(
    undisturbed: tuple[Path, xr.Dataset], tmp_path: Path, wrapped: str
) -> None:
    choices: dict[str, dict[str, Any]] = {
        "checkpointing": {CHECKPOINTING: True},
        "compiled": {"torch_compile": True, "torch_compile_backend": "eager"},
        "bfloat16": {"bf16": True},
    }
    arguments = choices[wrapped]
    callback = WeibullCallback(steps=4)
    trainer(tmp_path, callback, max_steps=4, lr_scheduler_type="constant", **arguments).train()
    assert callback.recorder is not None
    fits = callback.recorder.fits()
    assert fits.step.values.tolist() == [0, 4]
    assert fits.component.values.tolist() == COMPONENTS
    np.testing.assert_array_equal(fits.k.sel(step=0).values, undisturbed[1].k.sel(step=0).values)
    assert (fits.k.sel(step=4) != fits.k.sel(step=0)).all()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_train_over_a_base_that_stands_still(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft")
    model = peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"], r=2))
    callback = WeibullCallback(steps=4)
    with pytest.warns(UserWarning, match="PEFT model, and its base weights"):
        trainer(tmp_path, callback, model=model, max_steps=4).train()
    assert callback.recorder is not None
    fits = callback.recorder.fits()
    assert fits.component.values.tolist() == COMPONENTS
    assert (fits.k.sel(step=0) == fits.k.sel(step=4)).all()


def test_findings_are_handed_over(tmp_path: Path) -> None:
    found: list[Any] = []

    class Break(TrainerCallback):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **at: Any) -> None:
            if state.global_step == 5:
                weight = at["model"].model.layers[1].mlp.up_proj.weight
                with torch.no_grad():
                    weight[0, 0] = float("nan")

    training = trainer(tmp_path, WeibullCallback(steps=2, on_finding=found.extend), Break())
    training.train()
    assert any(one.severity == "error" for one in found)
    logged = [one for one in training.state.log_history if "weibull/errors" in one]
    assert [one["weibull/errors"] > 0 for one in logged if one["weibull/step"] < 6].count(True) == 0
    assert logged[-1]["weibull/errors"] > 0


def test_a_second_training_goes_on_recording(tmp_path: Path) -> None:
    callback = WeibullCallback(steps=6)
    training = trainer(tmp_path, callback)
    training.train()
    first = callback.recorder
    training.train()
    assert first is not None
    assert callback.recorder is not first
    assert callback.recorder is not None
    assert callback.recorder.steps == first.steps == [0, 6, 12]


def test_records_are_written_before_a_checkpoint_is(tmp_path: Path) -> None:
    """Once resumed from it, the training does not come by these steps again."""
    store, seen = tmp_path / "run.db", []

    class Look(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            fits = opened(store)
            assert (fits.status == "ok").all()
            seen.append((state.global_step, fits.step.values.tolist()))

    trainer(tmp_path, WeibullCallback(store, steps=1), Look()).train()
    assert seen == [(step, list(range(step + 1))) for step in (4, 8, 12)]


def test_forces_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Between records too: with forces, the steps of checkpoints are recorded."""
    whole = WeibullCallback(tmp_path / "whole.db", steps=5, forces=True)
    trainer(tmp_path / "whole", whole).train()
    cut = WeibullCallback(tmp_path / "run.db", steps=5, forces=True)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", cut, Fail(7)).train()
    resumed = WeibullCallback(tmp_path / "run.db", steps=5, forces=True)
    trainer(tmp_path / "cut", resumed).train(resume_from_checkpoint=True)
    one, other = (wb.forces(opened(tmp_path / name)) for name in ("whole.db", "run.db"))
    assert one.step.values.tolist() == other.step.values.tolist() == [0, 4, 5, 8, 10, 12]
    for name in ("from_alignment", "from_injection", "from_decay", "residual"):
        scale = abs(one[name]).max().item()
        np.testing.assert_allclose(other[name], one[name], atol=1e-6 * scale)
    assert (abs(other.residual) <= 1e-6 * other.squared_norm).all()
