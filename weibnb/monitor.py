"""Fits of a live model while it trains: counted between two steps, fitted when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from weibnb.checkpoint import CheckpointError
from weibnb.counting import Counting
from weibnb.histogram import usable_cores
from weibnb.scanner import Scanner, list_matrices
from weibnb.sources import Planned
from weibnb.weibull import check_protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    import xarray as xr

    from weibnb.scanner import Job
    from weibnb.weibull import Estimator


class Recorder:
    """Records every weight matrix of a model while it trains; best used in a ``with`` block.

    Parameters
    ----------
    model : torch.nn.Module
        The model, on any device; also one that FSDP2 shards, where every process records.
    name : str, optional
        Its name in the fits; by default that of its class.
    device : str or sequence of str
        As in `weibnb.scan`. Weights on a device of this kind are counted where they are.

    Notes
    -----
    On a CUDA device `record` only starts the counting, on the current stream: what changes the
    weights later on this stream comes after it, and the training does not wait. The counts come
    back with the next record. On a CPU `record` returns when the weights are counted. A record
    keeps 2-10 kB a matrix.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.TransformerEncoderLayer(64, 4, batch_first=True)
    >>> model = torch.nn.TransformerEncoder(layer, 2)
    >>> with Recorder(model, name="tiny") as recorder:
    ...     for step in range(3):
    ...         recorder.record(step)
    ...     fits = recorder.fits()
    >>> fits.step.values.tolist(), fits.component.values.tolist()
    ([0, 1, 2], ['qkv_proj', 'o_proj', 'up_proj', 'down_proj'])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        name: str | None = None,
        device: str | Sequence[str] = "auto",
    ) -> None:
        self._model = model
        self._name = type(model).__name__ if name is None else name
        self._counting = Counting(device)
        self._scanner = Scanner()
        self._jobs: list[Job] = []
        self.steps: list[int] = []

    def record(self, step: int) -> None:
        """Count the weights as they are now.

        Parameters
        ----------
        step : int
            The training step, not recorded before.

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0, or was recorded before.
        CheckpointError
            If the model has no weight matrix of a known layer.
        """
        if isinstance(step, bool) or not isinstance(step, int):
            raise TypeError(f"`step` must be an integer, got {step!r}.")
        if step < 0 or step in self.steps:
            raise ValueError(f"`step` must be at least 0 and not recorded before, got {step}.")
        self._collect()
        listed = list_matrices(Planned(self._name, step, self._model))
        if not listed.chosen:
            cause = "no parameter is a weight matrix of a known layer"
            raise CheckpointError(listed.opened.source, cause)
        self._jobs = list(self._scanner.jobs(listed, self._counting))
        self._counting.launch()
        self.steps.append(step)
        if not all(job.pending is None or job.pending.was_read for job in self._jobs):
            self._collect()

    def fits(
        self,
        *,
        trim: tuple[float, float] | None = None,
        estimator: Estimator = "rank_regression",
    ) -> xr.Dataset:
        """Fit what was recorded until now.

        Parameters
        ----------
        trim, estimator
            As in `weibnb.scan`.

        Returns
        -------
        xarray.Dataset
            As of `weibnb.scan`, with a step for each record.

        Raises
        ------
        ValueError
            If nothing was recorded, or the trim or the estimator is not valid.
        """
        trim, estimator = check_protocol(trim, estimator)
        if not self.steps:
            raise ValueError("Nothing was recorded: call .record(step) while the model trains.")
        self._collect()
        return self._scanner.fits(
            trim=trim,
            estimator=estimator,
            experts="median",
            keep_counts=True,
            workers=usable_cores(),
        )

    def close(self) -> None:
        """Let go of threads and of memory on devices; what was recorded stays."""
        self._collect()
        self._counting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder of {self._name}: {len(self.steps)} steps>"

    def _collect(self) -> None:
        """Take over the counts of the last record."""
        jobs, self._jobs = self._jobs, []
        self._scanner.matrices.extend(job.finish() for job in jobs)
