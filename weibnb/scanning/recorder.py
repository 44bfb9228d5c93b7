"""Fits of a live model while it trains: counted between two steps, fitted when asked for."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Literal, Self

from weibnb.counting.dispatch import Counting, resolve_devices
from weibnb.fits.schema import escape
from weibnb.fits.store import THIN_BEYOND
from weibnb.fitting.backends import fitting_device
from weibnb.fitting.weibull import check_protocol
from weibnb.io.names import names_from
from weibnb.io.sources import Planned
from weibnb.messages import check_choice, printable
from weibnb.scanning.listing import check_names_used, nothing_found, warn_unmerged
from weibnb.scanning.matrices import FUSED, begin_counting, list_matrices
from weibnb.scanning.results import Results
from weibnb.scanning.structure import check_structure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import torch
    import xarray as xr

    from weibnb.fitting.backends import Backend
    from weibnb.fitting.weibull import Estimator
    from weibnb.scanning.force_hooks import Forces
    from weibnb.scanning.matrices import Fused, MatrixInCounting


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
    backend, trim, estimator, fused
        As in `weibnb.scan`.
    keep_counts : bool or "all"
        Keep the magnitude counts, which allow `weibnb.refit` and every plot. In memory they take
        17-27 kB a matrix and record in bfloat16, 31-50 kB in float32 and 93-140 kB in float16
        (from 256 x 256 to 2,048 x 2,048); without them it is about 1 kB. A store of more than
        1,000 records of a model keeps those of log-spaced ones (the first, second, third, fifth,
        ..., and every 1,000th) and lets go of the others; with ``"all"`` it keeps all.
    store : path, optional
        An SQLite file, ending in ``.db``, that takes each record as soon as it is counted and
        survives the end of the process; by default the fits are kept in memory. A step that it
        holds already, from a training that was resumed, is replaced. Of several processes the
        first writes.
    names
        As in `weibnb.scan`.
    structure, fields
        As in `weibnb.scan`, for weights that are counted on a CPU. Fields of a training are large:
        4 bytes for each row and column of each matrix and record.
    optimizer : torch.optim.AdamW, optional
        What trains the model, for `forces`.
    forces : bool
        Sum over every step what moves the norm of each matrix: the variables ``force_…`` and
        ``squared_norm`` of the fits, which `weibnb.forces` reads. It costs about as much time as
        the step of a fused AdamW itself.

    Attributes
    ----------
    steps : list of int
        What was recorded.

    Raises
    ------
    TypeError, ValueError
        If the trim, the estimator or the device is not valid.
    RuntimeError
        If the device is not there.

    Notes
    -----
    On a CUDA device `record` only starts the counting, on the current stream: what changes the
    weights later on this stream comes after it, and the training does not wait. The first later
    record that finds the counting done starts the fits, on a stream of their own, and the first
    after that which finds them done takes over the numbers; neither waits for the device. Where the
    tables of the device are full before, a record waits. On a CPU `record` returns when the weights
    are counted.

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
        backend: Backend = "auto",
        trim: tuple[float, float] | None = None,
        estimator: Estimator = "rank_regression",
        fused: Fused = "keep",
        keep_counts: bool | Literal["all"] = True,
        store: str | os.PathLike[str] | None = None,
        structure: bool = True,
        fields: bool = False,
        names: Mapping[str, str] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        forces: bool = False,
    ) -> None:
        trim, estimator = check_protocol(trim, estimator)
        check_choice("fused", fused, FUSED)
        if not isinstance(keep_counts, bool):
            check_choice("keep_counts", keep_counts, ("all",))
        check_structure(structure=structure, fields=fields)
        self._fused: Fused = fused
        self._names = names_from(names)
        self._model = model
        self._forces = _forces(optimizer, model, fused) if forces else None
        self._name = type(model).__name__ if name is None else name
        self._results = Results(
            trim=trim,
            estimator=estimator,
            experts="median",
            keep_counts=bool(keep_counts),
            thin_beyond=None if keep_counts == "all" else THIN_BEYOND,
            workers=None,
            fitted_on=fitting_device(backend, resolve_devices(device)),
            store=store if _is_first_process() else None,
            structure=structure,
            fields=fields,
            names=names,
            ask=False,
            forces=forces,
        )
        self._counting = Counting(device)
        self._waiting: list[MatrixInCounting] = []
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
        self._counting.take()
        self._collect(wait=False)
        planned = Planned(self._name, step, self._model, names=self._names)
        listing = list_matrices(planned, fused=self._fused)
        if listing.error is not None:
            raise listing.error
        if not self.steps:
            check_names_used(self._names, [listing])
            warn_unmerged([listing], stacklevel=3)
        if not listing.tensors:
            raise nothing_found([listing])
        self._results.begin(listing, rescan=True)
        structure = self._results.structure
        begun = list(begin_counting(listing, self._counting, structure=structure, still=False))
        if self._forces is not None:
            sums = self._forces.at(step)
            for item in begun:
                item.forces = sums.get(
                    (item.tensor.role.layer, item.tensor.role.component, item.expert)
                )
        self._waiting += begun
        self._counting.launch()
        for problem in dict.fromkeys(item.problem for item in begun if item.problem):
            warnings.warn(printable(problem), stacklevel=2)
        self.steps.append(step)
        if not all(item.pending is None or item.was_read for item in begun):
            self._collect()

    def fits(self) -> xr.Dataset:
        """Give the fits of what was recorded until now.

        Returns
        -------
        xarray.Dataset
            As of `weibnb.scan`, with a step for each record in ascending order.

        Raises
        ------
        ValueError
            If nothing was recorded.
        """
        if not self.steps:
            raise ValueError("Nothing was recorded: call .record(step) while the model trains.")
        self._collect()
        return self._results.fits(lambda key: key[0] == escape(self._name))

    def close(self) -> None:
        """Let go of threads and of memory on devices; what was recorded stays."""
        self._collect()
        if self._forces is not None:
            self._forces.close()
        self._counting.close()
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder of {self._name}: {len(self.steps)} steps>"

    def _collect(self, *, wait: bool = True) -> None:
        """Take over the counts of what was recorded; without `wait` those that are known."""
        items, self._waiting = self._waiting, []
        for item in items:
            if wait or item.ready:
                self._results.add(item.finish(in_place=self._results.in_place))
            else:
                self._waiting.append(item)
        self._results.flush(wait=wait)


def _forces(
    optimizer: torch.optim.Optimizer | None, model: torch.nn.Module, fused: Fused
) -> Forces:
    """Begin to sum the forces of an optimiser."""
    if optimizer is None:
        raise ValueError("`optimizer` must be given for forces: Recorder(model, optimizer=...).")
    from weibnb.scanning.force_hooks import Forces

    return Forces(optimizer, model, fused=fused)


def _is_first_process() -> bool:
    """Whether this is the one process of a distributed training that writes; all have the fits."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return True
    distributed = torch.distributed
    return not distributed.is_initialized() or distributed.get_rank() == 0
