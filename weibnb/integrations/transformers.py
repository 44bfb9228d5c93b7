"""A callback that records a training of Hugging Face's Trainer."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from weibnb.integrations.trackers import to_tensorboard, to_wandb
from weibnb.integrations.watching import Settings, Watch

try:
    from transformers import Trainer, TrainerCallback
    from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback
    from transformers.trainer_callback import ExportableState
except ImportError as err:
    raise ImportError(
        "Recording a transformers.Trainer needs transformers: pip install 'weibnb[transformers]'"
    ) from err

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from weibnb.diagnostics.findings import Finding
    from weibnb.scanning.recorder import Recorder


class WeibullCallback(TrainerCallback, ExportableState):
    """Records a model while a ``transformers.Trainer`` trains it, and logs k, λ and drift.

    Parameters
    ----------
    store : path, optional
        A file ending in ``.db`` that takes each record, as of `weibnb.Recorder`. With it a training
        that was killed and resumed gives the fits of one that was not.
    steps : "log", int or callable
        Which steps are recorded, as of `weibnb.Recorder`.
    forces : bool
        Record the forces of AdamW too: see `weibnb.forces`.
    on_finding : callable, optional
        Takes the new findings of `weibnb.check` of a record.
    histograms : bool
        Show the counts of each matrix in TensorBoard and W&B, where the trainer reports to them.
    settings : Mapping, optional
        Further arguments of `weibnb.Recorder`, such as ``{"trim": (0.2, 0.8)}``.

    Attributes
    ----------
    recorder : Recorder or None
        That of the present or last training, for ``callback.recorder.fits()``; None in a process
        that does not record.

    Notes
    -----
    What is due is recorded when training begins and at the end of steps; before the Trainer saves
    a checkpoint all records are written, so nothing depends on the training's end. With `forces`
    the steps of checkpoints are recorded too, from which their sums go on. Numbers are logged by
    ``trainer.log`` as soon as they are known and reach whatever ``report_to`` names, with the step
    that they belong to as ``weibull/step``; of records in quick succession, the newest.

    Of several processes with the whole model (DDP) the first records; where a model is sharded
    (FSDP2) all count their part, and the first writes.

    Examples
    --------
    ::

        from weibnb.integrations.transformers import WeibullCallback

        trainer = Trainer(model, args, train_dataset=data, callbacks=[WeibullCallback("run.db")])
        trainer.train()
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
        self.left_out: list[str] = []

    @property
    def recorder(self) -> Recorder | None:
        """The recorder of the present or last training."""
        return self._watch.recorder

    def state(self) -> dict[str, Any]:
        """Give the arguments, for a Trainer that restores callbacks from its checkpoints."""
        settings = self._watch.settings
        args = {
            "store": None if settings.store is None else os.fspath(settings.store),
            "steps": settings.steps,
            "forces": settings.forces,
            "on_finding": settings.on_finding,
            "histograms": settings.histograms,
            "settings": settings.recorder,
        }
        kept = {name: value for name, value in args.items() if _is_json(value)}
        return {"args": kept, "attributes": {"left_out": sorted(args.keys() - kept.keys())}}

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> TrainerControl:
        """Begin, or go on from the checkpoint that was loaded."""
        if self.left_out:
            raise ValueError(
                f"`{self.left_out[0]}` of this callback cannot be kept in a checkpoint's JSON. "
                "Leave restore_callback_states_from_checkpoint False: the callback that you pass "
                "then resumes by itself."
            )
        # A checkpoint made without this callback has no place for its state.
        states: Any = state.stateful_callbacks  # a dict once the state is made
        states.setdefault(type(self).__name__, self.state())
        self._watch.begin(model, optimizer, state.global_step)
        return self._log(control)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> TrainerControl:
        """Record the step if it is due, and log what is known by now."""
        self._watch.at(state.global_step)
        return self.on_epoch_end(args, state, control)

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,
    ) -> TrainerControl:
        """Write what was recorded before a checkpoint is saved, and log what is known by now."""
        if control.should_save:
            self._watch.before_checkpoint()
        return self._log(control)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,
    ) -> TrainerControl:
        """Log the last record, and let go of threads."""
        self._watch.end()
        return self._log(control)

    def _log(self, control: TrainerControl) -> TrainerControl:
        """Log the newest numbers, if they were not logged before."""
        values = self._watch.news()
        if not values:
            return control
        trainer = _calling_trainer()
        if trainer is None:
            warnings.warn("No transformers.Trainer called: nothing is logged.", stacklevel=3)
            return control
        wanted = control.should_log
        trainer.log(values)  # takes the wish to log the loss of this step for granted
        control.should_log = wanted
        self._show_counts(trainer)
        return control

    def _show_counts(self, trainer: Trainer) -> None:
        """Show histograms in TensorBoard and W&B, if the trainer reports to them."""
        callbacks = trainer.callback_handler.callbacks
        shown = [one for one in callbacks if isinstance(one, (TensorBoardCallback, WandbCallback))]
        fits = self._watch.counted() if shown else None
        if fits is None:
            return
        for callback in shown:
            step = trainer.state.global_step
            if isinstance(callback, WandbCallback):
                callback._wandb.log(to_wandb(fits) | {"train/global_step": step})  # noqa: SLF001
            elif callback.tb_writer is not None:
                to_tensorboard(callback.tb_writer, fits, int(fits["step"]))


def _calling_trainer() -> Trainer | None:
    """Find the trainer, which hands its callbacks everything but itself, among the callers."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    return None


def _is_json(value: object) -> bool:
    """Whether a value survives being written as JSON."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
