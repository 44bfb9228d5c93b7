"""The callback in a real Trainer of Lightning: cut, resumed, logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

lightning = pytest.importorskip("lightning", reason="the callback needs lightning")
torch = pytest.importorskip("torch")

from torch import nn

from weibnb.integrations.lightning import WeibullCallback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr

STEPS = 12
# What Lightning says of so small a training, and of the versions of others.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
    pytest.mark.filterwarnings("ignore:.*treespec"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*weights_only"),
    pytest.mark.filterwarnings("ignore:.*litlogger"),
]


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    """A decoder of two layers, in a wrapper as users have it."""

    def __init__(self, fails_at: int = -1, optimizers: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0, batch_first=True)
        self.model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fails_at, self.number = fails_at, optimizers

    def training_step(self, batch: Any) -> Any:
        if self.global_step == self.fails_at:
            raise RuntimeError("cut")
        loss = self.model(batch).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Sink(lightning.pytorch.loggers.logger.DummyLogger):  # type: ignore[misc,name-defined]
    """What a tracker is to the trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Any = None, step: Any = None, **_: Any) -> None:
        self.seen.append((step, dict(metrics)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fit(
    out: Path,
    *callbacks: Any,
    module: Any = None,
    resume: Any = None,
    logger: Any = False,
    **more: Any,
) -> Any:
    generator = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(torch.randn(16, 8, 32, generator=generator), batch_size=4)
    saving = lightning.pytorch.callbacks.ModelCheckpoint(
        out, filename="{step}", every_n_train_steps=4, save_top_k=-1
    )
    trainer = lightning.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=3,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, saving],
        default_root_dir=out,
        **more,
    )
    trainer.fit(Module() if module is None else module, loader, ckpt_path=resume)
    return trainer


def opened(store: Path) -> xr.Dataset:
    with wb.open_fits(store) as fits:
        return fits.load()


def test_cut_and_resumed_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    fit(tmp_path / "whole", WeibullCallback(tmp_path / "whole.db", steps=1))
    whole = opened(tmp_path / "whole.db")
    assert whole.step.values.tolist() == list(range(STEPS + 1))
    assert set(whole.component.values) == {"qkv_proj", "o_proj", "up_proj", "down_proj"}
    assert (whole.status == "ok").all()
    callback = WeibullCallback(tmp_path / "run.db", steps=1)
    with pytest.raises(RuntimeError, match="cut"):
        fit(tmp_path / "cut", callback, module=Module(fails_at=7))
    assert callback.recorder is not None
    assert callback.recorder.steps == list(range(8))
    saved = tmp_path / "cut" / "step=4.ckpt"
    fit(tmp_path / "cut", WeibullCallback(tmp_path / "run.db", steps=1), resume=saved)
    resumed = opened(tmp_path / "run.db")
    assert resumed.model.values.tolist() == whole.model.values.tolist()
    assert resumed.step.values.tolist() == whole.step.values.tolist()
    for name in ("k", "lam", "n", "rms"):
        np.testing.assert_array_equal(resumed[name].values, whole[name].values)


def test_numbers_reach_every_logger_at_their_step(tmp_path: Path) -> None:
    one, two = Sink(), Sink()
    callback = WeibullCallback(steps=4)
    fit(tmp_path, callback, logger=[one, two])
    assert one.seen == two.seen
    found = [(step, values) for step, values in one.seen if "weibull/step" in values]
    assert [step for step, _ in found] == [int(values["weibull/step"]) for _, values in found]
    assert found[-1][0] == STEPS
    assert callback.recorder is not None
    fits = callback.recorder.fits().isel(model=0)
    for step, values in found:
        expected = fits.lam.sel(step=step, component="up_proj").median().item()
        assert values["weibull/lam/up_proj"] == pytest.approx(expected)
    assert [step for step, values in one.seen if "loss" in values] == [2, 5, 8, 11]


def test_only_steps_of_the_optimizer_count(tmp_path: Path) -> None:
    callback = WeibullCallback(steps=1)
    fit(tmp_path, callback, accumulate_grad_batches=3)
    assert callback.recorder is not None
    assert callback.recorder.steps == list(range(STEPS + 1))
    lam = callback.recorder.fits().lam
    assert (lam.diff("step") != 0).all()


def test_tensorboard_gets_numbers_and_counts(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="reading event files needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = lightning.pytorch.loggers.TensorBoardLogger(tmp_path)
    fit(tmp_path, WeibullCallback(steps=6), logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"histograms": 0})
    events.Reload()
    assert "weibull/drift/qkv_proj" in events.Tags()["scalars"]
    assert [one.step for one in events.Scalars("weibull/k/up_proj")][-1] == STEPS
    counted = {f"weibull/counts/{c}/layer_{i}" for c in ("qkv_proj", "o_proj") for i in (0, 1)}
    assert counted < set(events.Tags()["histograms"])
    assert events.Histograms("weibull/counts/up_proj/layer_0")[-1].step == STEPS


def test_forces_close_and_need_one_optimizer(tmp_path: Path) -> None:
    callback = WeibullCallback(steps=4, forces=True)
    fit(tmp_path, callback)
    assert callback.recorder is not None
    found = wb.forces(callback.recorder.fits())
    assert (abs(found.residual) <= 1e-6 * found.squared_norm).all()
    assert (found.from_injection.isel(step=-1) > 0).all()

    class Two(Module):
        def configure_optimizers(self) -> Any:
            halves = [list(layer.parameters()) for layer in self.model.layers]
            self.automatic_optimization = False
            return [torch.optim.AdamW(half) for half in halves]

    with pytest.raises(ValueError, match="`forces` must be False where there are several"):
        fit(tmp_path, WeibullCallback(forces=True), module=Two())
