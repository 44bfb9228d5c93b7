"""Callbacks in two processes: whole models are recorded by the first, sharded ones by all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("transformers", reason="the callback needs transformers")
pytest.importorskip("accelerate", reason="a Trainer needs accelerate")
lightning = pytest.importorskip("lightning", reason="the other callback needs lightning")
torch = pytest.importorskip("torch")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("torch was built without gloo", allow_module_level=True)

from tests.integrations.tiny import arguments, llama, rows, trainer
from tests.processes import failures_of
from weibnb.integrations.transformers import WeibullCallback
from weibnb.integrations.watching import Settings, Watch

if TYPE_CHECKING:
    from pathlib import Path


def replicas_of_a_trainer(rank: int, folder: Path) -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    callback = WeibullCallback(folder / "ddp.db", steps=2)
    training = trainer(folder / "out", callback, max_steps=4, ddp_backend="gloo")
    training.train()
    assert type(training.model_wrapped).__name__ == "DistributedDataParallel"
    logged = [one for one in training.state.log_history if "weibull/step" in one]
    if rank:
        assert callback.recorder is None
        assert not logged
    else:
        assert callback.recorder is not None
        assert callback.recorder.steps == [0, 2, 4]
        assert logged[-1]["weibull/step"] == 4
        saved = wb.scan({"saved": {4: folder / "out" / "checkpoint-4"}}, progress=False)
        fits = callback.recorder.fits().sel(step=[4], component=saved.component)
        np.testing.assert_array_equal(fits.k.values, saved.k.values)


def shards_of_a_trainer(rank: int, folder: Path) -> None:
    """Accelerate shards on devices alone: it is told that the CPU is one."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType
    from transformers import Trainer

    callback = WeibullCallback(folder / "trainer.db", steps=2)
    sharding = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        "state_dict_type": "FULL_STATE_DICT",
    }
    more = {"max_steps": 4, "ddp_backend": "gloo", "fsdp": True, "fsdp_config": sharding}
    args = arguments(folder / "sharded", **more)
    assert args.device.type == "cpu"  # which sets the state up
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    training = Trainer(llama(), args, train_dataset=rows(), callbacks=[callback])
    training.train()
    assert type(training.model_wrapped).__name__ == "FSDPLlamaForCausalLM"
    assert callback.recorder is not None
    assert callback.recorder.steps == [0, 2, 4]
    logged = [one["weibull/step"] for one in training.state.log_history if "weibull/step" in one]
    in_quick_succession = [0, 4], [2, 4], [4]
    assert logged in ([[]] if rank else [[0, 2, 4], *in_quick_succession])
    if not rank:
        saved = wb.scan({"saved": {4: folder / "sharded" / "checkpoint-4"}}, progress=False)
        with wb.open_fits(folder / "trainer.db") as fits:
            found = fits.sel(step=[4], component=saved.component)
            np.testing.assert_array_equal(found.k.values, saved.k.values)
    AcceleratorState._reset_state(reset_partial_state=True)


def replicas_of_lightning(rank: int, folder: Path) -> None:
    from tests.integrations.test_lightning import STEPS, Sink, fit
    from weibnb.integrations.lightning import WeibullCallback as LightningCallback

    callback, sink = LightningCallback(folder / "lightning.db", steps=4), Sink()
    strategy = lightning.pytorch.strategies.DDPStrategy(process_group_backend="gloo")
    fit(folder / "lightning", callback, logger=sink, strategy=strategy, devices=2)
    logged = [step for step, values in sink.seen if "weibull/step" in values]
    if rank:
        assert callback.recorder is None
        assert not logged
    else:
        assert callback.recorder is not None
        assert callback.recorder.steps == [0, 4, 8, STEPS]
        assert logged[-1] == STEPS
        weights = torch.load(folder / "lightning" / f"step={STEPS}.ckpt", weights_only=True)
        saved = wb.scan({"saved": {STEPS: weights["state_dict"]}}, progress=False)
        fits = callback.recorder.fits().sel(step=[STEPS], component=saved.component)
        np.testing.assert_array_equal(fits.k.values, saved.k.values)


def sharded(folder: Path, *, store: Path, steps: int, at: int = 0, seed: int = 0) -> Watch:
    """Train a sharded model by hand, its weights at a step a function of this step."""
    from torch.distributed.fsdp import fully_shard

    settings = Settings(
        store=store, steps=1, forces=False, on_finding=None, histograms=True, recorder={}
    )
    watch, model = Watch(settings), llama()
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    halve(model, at)
    watch.begin(model, None, at)
    for step in range(at + 1, steps + 1):
        halve(model, 1)
        watch.at(step)
    watch.end()
    return watch


def halve(model: Any, times: int) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5**times)


def shards_are_counted_by_all_and_written_once(rank: int, folder: Path) -> None:
    store = folder / "fsdp.db"
    watch = sharded(folder, store=store, steps=3)
    assert watch.recorder is not None
    assert watch.recorder.steps == [0, 1, 2, 3]
    assert bool(watch.news()) == (rank == 0)
    torch.distributed.barrier()
    model = llama()
    with wb.open_fits(store) as fits:
        assert fits.model.values.tolist() == [type(model).__name__]
        assert fits.step.values.tolist() == [0, 1, 2, 3]
        assert (fits.status == "ok").all()
        for step in range(4):
            alone = wb.scan({"alone": model}, progress=False, device="cpu")
            recorded = fits.k.sel(step=step, component=alone.component.values).values
            np.testing.assert_array_equal(recorded, alone.k.isel(step=0).values)
            halve(model, 1)
    torch.distributed.barrier()


def shards_go_on_from_a_checkpoint(rank: int, folder: Path) -> None:
    store = folder / "fsdp.db"  # has steps 0 to 3
    watch = sharded(folder, store=store, steps=5, at=2)
    assert watch.recorder is not None
    torch.distributed.barrier()
    with wb.open_fits(store) as fits:
        assert fits.sizes["model"] == 1
        assert fits.step.values.tolist() == [0, 1, 2, 3, 4, 5]
    torch.distributed.barrier()


CHECKS = [
    replicas_of_a_trainer,
    shards_of_a_trainer,
    replicas_of_lightning,
    shards_are_counted_by_all_and_written_once,
    shards_go_on_from_a_checkpoint,
]


@pytest.fixture(scope="module")
def failures() -> dict[str, list[str]]:
    return failures_of({check.__name__: check for check in CHECKS})


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_in_both_processes(failures: dict[str, list[str]], check: str) -> None:
    for rank, failure in enumerate(failures[check]):
        assert not failure, f"process {rank}: {failure}"
