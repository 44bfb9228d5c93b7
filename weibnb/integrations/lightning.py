"""A callback that records a training of Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weibnb.integrations.trackers import to_tensorboard, to_wandb
from weibnb.integrations.watching import Settings, Watch

try:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
except ImportError as err:
    raise ImportError(
        "Recording a lightning.Trainer needs lightning: pip install 'weibnb[lightning]'"
    ) from err

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from lightning.pytorch import LightningModule, Trainer

    from weibnb.diagnostics.findings import Finding
    from weibnb.scanning.recorder import Recorder


class WeibullCallback(Callback):
    """Records a model while a ``lightning.Trainer`` trains it, and logs k, λ and drift.

    Parameters
    ----------
    store, steps, forces, on_finding, histograms, settings
        As of `weibnb.integrations.transformers.WeibullCallback`.

    Attributes
    ----------
    recorder : Recorder or None
        That of the present or last training, for ``callback.recorder.fits()``; None in a process
        that does not record.

    Notes
    -----
    What is due is recorded when training starts and at the end of batches with which an optimiser
    has stepped; a step is ``trainer.global_step``, of which several optimisers make several at
    once. Numbers go to every logger of the trainer, at the step that they belong to. Which
    processes record is as of the other callback.

    Examples
    --------
    ::

        from weibnb.integrations.lightning import WeibullCallback

        trainer = lightning.Trainer(max_steps=1000, callbacks=[WeibullCallback("run.db")])
        trainer.fit(module, loader)
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        steps: Any = "log",
        forces: bool = False,
        on_finding: Callable[[list[Finding]], object] | None = None,
        histograms: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._watch = Watch(
            Settings(
                store=store,
                steps=steps,
                forces=forces,
                on_finding=on_finding,
                histograms=histograms,
                recorder=dict(settings or {}),
            )
        )
        self._step = -1

    @property
    def recorder(self) -> Recorder | None:
        """The recorder of the present or last training."""
        return self._watch.recorder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, or go on from the checkpoint that was loaded."""
        optimizers = trainer.optimizers
        if self._watch.settings.forces and len(optimizers) != 1:
            raise ValueError(
                f"`forces` must be False where there are several optimisers, got {len(optimizers)}."
            )
        self._step = trainer.global_step
        self._watch.begin(pl_module, optimizers[0] if optimizers else None, self._step)
        self._log(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Record the step if it is due, and log what is known by now."""
        if trainer.global_step != self._step:  # else gradients are being accumulated
            self._step = trainer.global_step
            self._watch.at(self._step)
        self._log(trainer)

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        """Log the last record, and let go of threads."""
        self._watch.end()
        self._log(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Write what was recorded, since a checkpoint is about to be saved; it needs no state."""
        self._watch.before_checkpoint()
        return {}

    def on_exception(self, *_: Any) -> None:
        """Write what was recorded, and let go of threads."""
        self._watch.end()

    def _log(self, trainer: Trainer) -> None:
        """Log the newest numbers, if they were not logged before."""
        values = self._watch.news()
        if not values or not trainer.loggers:
            return
        step = int(values["weibull/step"])
        shown = [
            one for one in trainer.loggers if isinstance(one, (TensorBoardLogger, WandbLogger))
        ]
        fits = self._watch.counted() if shown else None
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)
            if fits is None:
                continue
            if isinstance(logger, TensorBoardLogger):
                to_tensorboard(logger.experiment, fits, step)
            elif isinstance(logger, WandbLogger):
                logger.experiment.log(to_wandb(fits) | {"trainer/global_step": step})
