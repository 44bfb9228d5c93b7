"""What the callbacks have in common: a recorder in the right processes, its numbers told once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weibnb.scanning.ranks import is_first_process
from weibnb.scanning.recorder import Recorder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import torch
    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a callback records: arguments of `weibnb.Recorder`, and what it shows."""

    store: str | os.PathLike[str] | None
    steps: Any
    forces: bool
    on_finding: Callable[..., object] | None
    histograms: bool
    recorder: dict[str, Any] = field(default_factory=dict)


class Watch:
    """A model that is recorded while a trainer of another library trains it.

    Attributes
    ----------
    recorder : Recorder or None
        That of the present or last training; None before the first, and in a process that does
        not record.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.recorder: Recorder | None = None
        self._name, self._step, self._told = "", 0, -1
        self._is_open = False

    def begin(self, model: torch.nn.Module, optimizer: Any, step: int) -> None:
        """Begin, or go on from a checkpoint of this step, and record it if it is due."""
        self.end()
        self.recorder, self._told = None, -1
        if not _takes_part(model):
            return
        settings = self.settings
        # FSDP2 puts its name before that of the class.
        self._name = settings.recorder.get("name", type(model).__name__.removeprefix("FSDP"))
        self.recorder = Recorder(
            model,
            store=settings.store,
            steps=settings.steps,
            on_finding=settings.on_finding,
            forces=settings.forces,
            optimizer=_bare(optimizer) if settings.forces else None,
            **settings.recorder | {"name": self._name},
        )
        self._is_open = True
        self.recorder.resume(step)
        self.at(step)

    def at(self, step: int) -> None:
        """Record a step if it is due."""
        self._step = step
        if self.recorder is not None and self.recorder.due(step):
            self.recorder.record(step)

    def before_checkpoint(self) -> None:
        """Write what a training that resumes here does not come by again; with forces, record it.

        Their sums go on from a record: what moves the weights between it and a checkpoint would be
        missing.
        """
        if self.recorder is None or not self._is_open:
            return
        if self.settings.forces and self._step not in self.recorder.steps:
            self.recorder.record(self._step)
        self.recorder.flush()

    def news(self) -> dict[str, float]:
        """Give the numbers of the newest record that is fitted, once, in the first process."""
        if self.recorder is None or not is_first_process():
            return {}
        latest = self.recorder.latest()
        step = int(latest.get("weibull/step", -1))
        if step == self._told:
            return {}
        self._told = step
        return latest

    def counted(self) -> xr.Dataset | None:
        """Give the fits of the record whose numbers were told last, if they hold its counts."""
        if self.recorder is None or not self.settings.histograms:
            return None
        fits = self.recorder.fits().sel(model=self._name, step=self._told)
        return fits if "counts" in fits else None

    def end(self) -> None:
        """Let go of threads and hooks; the recorder keeps what it has."""
        if self.recorder is not None and self._is_open:
            self._is_open = False
            self.recorder.close()


def _takes_part(model: torch.nn.Module) -> bool:
    """Whether this process records: every one of a sharded model, else the first alone."""
    return is_first_process() or any(hasattr(one, "device_mesh") for one in model.parameters())


def _bare(optimizer: Any) -> Any:
    """Take an optimiser out of the wrappers of Accelerate and Lightning."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer
