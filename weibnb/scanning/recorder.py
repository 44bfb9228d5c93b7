"""Fits of a live model while it trains: counted between two steps, fitted when asked for."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from typing import TYPE_CHECKING, Self

from weibnb.counting.dispatch import Counting, resolve_devices
from weibnb.fits.runs import forget, is_branch, recorded_steps
from weibnb.fits.schema import escape
from weibnb.fitting.backends import fitting_device
from weibnb.fitting.weibull import check_protocol
from weibnb.io.names import names_from
from weibnb.io.sources import Planned
from weibnb.messages import check_choice, counted, printable
from weibnb.scanning.keeping import InFlight, Keeper
from weibnb.scanning.listing import check_names_used, nothing_found, warn_unmerged
from weibnb.scanning.matrices import FUSED, begin_counting, list_matrices
from weibnb.scanning.results import Results
from weibnb.scanning.steps import Course, schedule, whole_step
from weibnb.scanning.structure import check_structure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import torch
    import xarray as xr

    from weibnb.diagnostics.findings import Finding
    from weibnb.fitting.backends import Backend
    from weibnb.fitting.weibull import Estimator
    from weibnb.scanning.force_hooks import Forces
    from weibnb.scanning.matrices import Fused, Listing
    from weibnb.scanning.steps import Schedule


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
    keep_counts : bool
        Keep the magnitude counts, which allow `weibnb.refit` and every plot. In memory they take
        17-27 kB a matrix and record in bfloat16, 31-50 kB in float32 and 93-140 kB in float16
        (from 256 x 256 to 2,048 x 2,048); without them it is about 1 kB.
    store : path, optional
        An SQLite file, ending in ``.db``, that takes each record as soon as it is counted and
        survives the end of the process: killed at any moment, at most the last record is lost.
        Opened again it goes on from there. By default the fits are kept in memory. Of several
        processes the first writes.
    steps : {"log"}, int or callable
        Which steps are `due`: 0, the powers of two and every 1,000th, where most happens early;
        every so manieth; or those for which a function of the step is true. `record` records
        any step.
    on_finding : callable, optional
        Is called with the list of `weibnb.diagnostics` findings of a record that the record before
        did not have, as `weibnb.check` makes them of fits: NaN, a layer that leaves its
        neighbours, dead rows that grow. It runs on the thread of the training, at the next call
        of a method of the recorder, most often `due`; what it raises comes out of that call.
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
        keep_counts: bool = True,
        store: str | os.PathLike[str] | None = None,
        steps: Schedule = "log",
        on_finding: Callable[[list[Finding]], object] | None = None,
        structure: bool = True,
        fields: bool = False,
        names: Mapping[str, str] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        forces: bool = False,
    ) -> None:
        trim, estimator = check_protocol(trim, estimator)
        check_choice("fused", fused, FUSED)
        check_structure(structure=structure, fields=fields)
        self._due = schedule(steps)
        self._fused: Fused = fused
        self._names = names_from(names)
        self._model = model
        self._forces = _forces(optimizer, model, fused) if forces else None
        self._name = type(model).__name__ if name is None else name
        self._results = Results(
            trim=trim,
            estimator=estimator,
            experts="median",
            keep_counts=keep_counts,
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
        self._keeper = Keeper(self._results, on_finding)
        self._in_flight: deque[InFlight] = deque()
        self._course = Course(self._stored_steps())
        self._is_told = False

    @property
    def steps(self) -> list[int]:
        """The steps that are recorded, in ascending order."""
        return list(self._course.steps)

    def due(self, step: int) -> bool:
        """Tell whether a step is to be recorded, by the schedule.

        Parameters
        ----------
        step : int
            The training step: an integer of Python, of numpy, or a tensor of one.

        Returns
        -------
        bool

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0.
        """
        self._keeper.tell()
        return bool(self._due(whole_step(step)))

    def record(self, step: int) -> None:
        """Count the weights as they are now.

        Parameters
        ----------
        step : int
            The training step: an integer of Python, of numpy, or a tensor of one. One that is
            recorded already, with the same weights, is left as it is.

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0, or was recorded with other weights.
        CheckpointError
            If the model has no weight matrix of a known layer.
        """
        step = whole_step(step)
        if self._keeper.closed:
            raise ValueError(f"`record` must come before `close`, got step {step} after it.")
        self._keeper.tell()
        self._counting.take()
        self._collect(wait=False)
        listing = self._list(step)
        begun = self._begin(listing, step)
        if step in self._course:
            self._see_again(step, begun)
            return
        if self._course.passes_by(step):
            self._branch_off()
        self._in_flight.append(begun)
        self._course.add(step)
        self._collect(wait=False)

    def resume(self, step: int) -> None:
        """Say that the training goes on from a step, such as that of a checkpoint it loaded.

        What was recorded after it stays where it is as long as the training shows the same weights
        again. From the first record on that differs it becomes a model of its own, ``name~1``.

        Parameters
        ----------
        step : int
            The training step.

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0.
        """
        self._course.at = whole_step(step)

    def latest(self) -> dict[str, float]:
        """Sum up the newest record that is fitted, as a tracker of experiments takes it.

        Returns
        -------
        dict of str to float
            ``weibull/step``; of each component ``weibull/k/q_proj``, ``weibull/lam/q_proj`` and
            ``weibull/drift/q_proj``, medians over the layers, the last in percent of the k of
            Gaussian weights; and ``weibull/errors``, how many errors `weibnb.check` finds in it.
            Empty before the first record.
        """
        return dict(self._keeper.latest)

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
        if not self._course.steps:
            raise ValueError("Nothing was recorded: call .record(step) while the model trains.")
        self._collect()
        self._keeper.finish()
        name = escape(self._name)
        return self._results.fits(lambda key: key[0] == name or is_branch(key[0], of=name))

    def close(self) -> None:
        """Let go of threads and of memory on devices; what was recorded stays."""
        self._collect()
        self._keeper.close()
        if self._forces is not None:
            self._forces.close()
        self._counting.close()
        self._results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder of {self._name}: {counted(len(self._course.steps), 'step')}>"

    def _list(self, step: int) -> Listing:
        """List the weight matrices of the model."""
        planned = Planned(self._name, step, self._model, names=self._names)
        listing = list_matrices(planned, fused=self._fused)
        if listing.error is not None:
            raise listing.error
        if not self._is_told:
            self._is_told = True
            check_names_used(self._names, [listing])
            warn_unmerged([listing], stacklevel=4)
        if not listing.tensors:
            raise nothing_found([listing])
        return listing

    def _begin(self, listing: Listing, step: int) -> InFlight:
        """Begin to count; on threads also wait until every weight was read."""
        structure = self._results.structure
        begun = list(begin_counting(listing, self._counting, structure=structure, still=False))
        if self._forces is not None:
            sums = self._forces.at(step)
            for item in begun:
                role = item.tensor.role
                item.forces = sums.get((role.layer, role.component, item.expert))
        self._counting.launch()
        for problem in dict.fromkeys(item.problem for item in begun if item.problem):
            warnings.warn(printable(problem), stacklevel=3)
        record = InFlight(listing, begun)
        record.go_on(self._results, wait=record.must_not_wait)
        return record

    def _see_again(self, step: int, again: InFlight) -> None:
        """Compare what is counted with the record of the same step."""
        self._collect()
        self._keeper.finish()
        again.go_on(self._results, wait=True)
        columns = self._results.fit(again.here, again.columns(self._results))
        if self._results.holds(again.listing, columns):
            self._course.at = step
            return
        if not self._course.goes_back_to(step):
            raise ValueError(
                f"`step` must not be recorded yet with other weights, got {step}. If the training "
                "goes on from an earlier step, say so: recorder.resume(step of its checkpoint)."
            )
        self._branch_off()
        self._in_flight.append(again)
        self._course.add(step)
        self._collect(wait=False)

    def _branch_off(self) -> None:
        """Give the records that the training left behind to a model of their own."""
        self._collect()
        self._keeper.finish()
        after = self._course.at or 0
        gone = self._course.leave_behind()
        name = self._results.branch_off(self._name, after)
        warnings.warn(
            f"The training went back to step {after}. Of its course before, "
            f"{counted(len(gone), 'record')} (step {gone[0]} to {gone[-1]}) are kept as {name!r}.",
            stacklevel=3,
        )

    def _collect(self, *, wait: bool = True) -> None:
        """Take over the counts of what was recorded; without `wait` those that are known."""
        for record in self._in_flight:
            record.go_on(self._results, wait=wait)
        while self._in_flight and self._in_flight[0].is_done(wait=wait):
            record = self._in_flight.popleft()
            self._keeper.keep(record.listing, record.here, record.columns(self._results))

    def _stored_steps(self) -> list[int]:
        """Give the steps of this model that the store holds, but for one that was cut short."""
        store = self._results.store
        if store is None:
            return []
        steps = recorded_steps(store.path, self._name)
        if steps:
            key = escape(self._name), steps[-1]
            last = self._results.fits(key.__eq__)
            if bool((last["status"] == "pending").any()):
                forget(store.path, self._name, steps.pop())
                return self._stored_steps()
            self._keeper.go_on_from(last)
        return steps


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
