"""Fits of a live model while it trains: counted between two steps, fitted when asked for."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, SupportsIndex

from weibnb.counting.dispatch import Counting, resolve_devices
from weibnb.fits.store_thinning import THIN_BEYOND
from weibnb.fitting.backends import fitting_device
from weibnb.fitting.weibull import check_protocol
from weibnb.io.names import names_from
from weibnb.messages import check_choice, counted
from weibnb.scanning.in_flight import Flights
from weibnb.scanning.keeping import Keeper
from weibnb.scanning.live_fits import apart, live_fits
from weibnb.scanning.live_model import LiveModel
from weibnb.scanning.ranks import Ranks, is_first_process
from weibnb.scanning.results import Results
from weibnb.scanning.running_forces import begin_forces
from weibnb.scanning.steps import Course, schedule, whole_step
from weibnb.scanning.structure import check_structure
from weibnb.scanning.weight_tensors import FUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    import xarray as xr

    from weibnb.diagnostics.findings import Finding
    from weibnb.fitting.backends import Backend
    from weibnb.fitting.weibull import Estimator
    from weibnb.scanning.in_flight import InFlight
    from weibnb.scanning.live_fits import LiveFits
    from weibnb.scanning.steps import Schedule
    from weibnb.scanning.weight_tensors import Fused


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
        If the model is none, or the trim, the estimator or the device is not valid.
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
        if not isinstance(keep_counts, bool):
            check_choice("keep_counts", keep_counts, ("all",))
        check_structure(structure=structure, fields=fields)
        self._due = schedule(steps)
        self._name = type(model).__name__ if name is None else name
        self._model = LiveModel(model, self._name, names_from(names), fused)
        self._forces = begin_forces(optimizer, model, fused) if forces else None
        self._results = Results(
            trim=trim,
            estimator=estimator,
            experts="median",
            keep_counts=bool(keep_counts),
            thin_beyond=None if keep_counts == "all" else THIN_BEYOND,
            workers=None,
            fitted_on=fitting_device(backend, resolve_devices(device)),
            store=store if is_first_process() else None,
            structure=structure,
            fields=fields,
            names=names,
            ask=False,
            forces=forces,
        )
        self._counting = Counting(device)
        self._keeper = Keeper(self._results, on_finding)
        self._flights = Flights(self._counting, self._results, self._keeper)
        self._ranks, self._process = Ranks(self._model), os.getpid()
        self._has_met = False
        self._course = Course(self._stored_steps())
        self._fits: LiveFits | None = None

    @property
    def steps(self) -> list[int]:
        """The steps that are recorded, in ascending order."""
        return list(self._course.steps)

    def follow(self) -> Callable[[], xr.Dataset | None]:
        """Give a function that another thread may call beside the training, as `explore` does.

        Returns
        -------
        callable
            Gives all fits that are made if some of them are new since its last call, else None. It
            costs what is new, and neither counts, fits nor waits: a record is there once it is
            fitted, one on a device with the next record.
        """
        return live_fits(self._results).newer

    def due(self, step: SupportsIndex) -> bool:
        """Tell whether a step is to be recorded, by the schedule.

        Parameters
        ----------
        step : int
            The training step: an integer of Python, of numpy, or a tensor of one.

        Returns
        -------
        bool
            False in a process that leaves the recording to the first.

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0.
        """
        whole = whole_step(step)
        self._tell()
        return bool(self._due(whole)) and not self._ranks.left_to_the_first

    def record(self, step: SupportsIndex) -> None:
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
        RuntimeError
            If this is another process than that of the recorder, or if the model is sharded and
            not every process records this step.
        """
        step = whole_step(step)
        self._check_open(step)
        if self._ranks.left_to_the_first:
            return
        self._tell()
        self._meet(step)
        self._go_on_with_forces(step)
        forces = None if self._forces is None else partial(self._forces.at, step)
        begun = self._flights.begin(self._model.listing(step), forces)
        if step in self._course:
            self._see_again(step, begun)
            return
        if self._course.passes_by(step):
            self._branch_off()
        self._take(step, begun)

    def resume(self, step: SupportsIndex) -> None:
        """Say that the training goes on from a step, such as that of a checkpoint it loaded.

        What was recorded after it stays where it is as long as the training shows the same weights
        again. From the first record on that differs it becomes a model of its own, ``name~1``; that
        may be the record of this step, if the checkpoint has it in fewer bits.

        Parameters
        ----------
        step : int
            The training step.

        Raises
        ------
        TypeError, ValueError
            If the step is no integer of at least 0.
        """
        self._course.resume(whole := whole_step(step))
        if self._forces is not None:
            self._continue_forces(whole)

    def flush(self) -> None:
        """Wait until all that was recorded is fitted and, with a store, written.

        Before a training saves a checkpoint, this keeps what was recorded until then from being
        lost: once resumed from there, the training does not come by these steps again. Of a sharded
        model every process must call it.
        """
        self._flights.finish()

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
        self._tell()
        return dict(self._keeper.latest)

    def fits(self) -> xr.Dataset:
        """Give the fits of what was recorded until now; a further call costs what is new.

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
        self._flights.finish()
        self._keeper.tell_missing()
        if self._fits is None:
            self._fits = live_fits(self._results, self._name)
        self._fits.newer()
        return apart(self._fits.fits)

    def close(self) -> None:
        """Write what is still to be written, and let go of threads and of memory on devices."""
        if os.getpid() != self._process:
            return
        with ExitStack() as closing:
            closing.callback(self._results.close)
            closing.callback(self._counting.close)
            if self._forces is not None:
                closing.callback(self._forces.close)
            closing.callback(self._keeper.close)
            self._flights.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder of {self._name}: {counted(len(self._course.steps), 'step')}>"

    def _see_again(self, step: int, again: InFlight) -> None:
        """Compare what is counted with the record of the same step."""
        self._flights.finish()
        again.go_on(self._results, wait=True)
        if self._ranks.agree(self._ranks.is_first and self._is_known(again)):
            self._course.meet(step)
            return
        common = self._course.common_before(step)
        if common is None:
            advice = (
                "No step before it is recorded that they could share: take another name or store."
                if self._course.resumed == step
                else "If the training goes on from an earlier step, say so: "
                "recorder.resume(step of its checkpoint)."
            )
            raise ValueError(
                f"`step` must not be recorded yet with other weights, got {step}. {advice}"
            )
        self._course.at = common
        self._branch_off()
        self._take(step, again)

    def _is_known(self, again: InFlight) -> bool:
        """Whether the record of this step is of the same weights."""
        columns = self._results.fit(again.here, again.columns(self._results))
        return self._results.holds(again.listing, columns)

    def _take(self, step: int, record: InFlight) -> None:
        """Hand a record over, and note its step."""
        self._course.meet(step)
        self._flights.take(record)

    def _branch_off(self) -> None:
        """Give the records that the training left behind to a model of their own."""
        self._flights.finish()
        after = self._course.at or 0
        gone = self._course.leave_behind()
        name = self._results.branch_off(self._name, after)
        warnings.warn(
            f"The training went back to step {after}. Of its course before, "
            f"{counted(len(gone), 'record')} (step {gone[0]} to {gone[-1]}) are kept as {name!r}.",
            stacklevel=3,
        )

    def _tell(self) -> None:
        """Say what the other thread has to say, and hand it what devices have counted."""
        if os.getpid() != self._process:
            return
        self._keeper.tell()
        self._flights.look()

    def _check_open(self, step: int) -> None:
        """Raise if nothing can be recorded any more, or not in this process."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"`record` must be called in the process that made the recorder, "
                f"{self._process}, got step {step} in {os.getpid()}, which was forked from it."
            )
        if self._keeper.closed:
            raise ValueError(f"`record` must come before `close`, got step {step} after it.")

    def _meet(self, step: int) -> None:
        """Wait for the processes that count other parts of the model; go by what the first has."""
        if not self._ranks.together:
            return
        self._ranks.meet(step)
        known, at = self._ranks.agree((self._course.steps, self._course.at))
        if not self._has_met:
            self._course.steps, self._has_met = known, True
        self._course.at = at

    def _go_on_with_forces(self, step: int) -> None:
        """Continue the forces of a store, at the first record of a training that went on."""
        if self._forces is not None and self._course.at is None and self._course.steps:
            self._continue_forces(step, from_start=step not in self._course)

    def _continue_forces(self, step: int, *, from_start: bool = False) -> None:
        """Continue the forces of the last record until a step."""
        self._flights.finish()
        last = self._course.last(step)
        if self._forces is not None and last is not None and self._ranks.is_first:
            recorded = self._results.forces_of(self._name, last)
            self._forces.go_on(recorded, last, from_start=from_start)

    def _stored_steps(self) -> list[int]:
        """Give the steps of this model that the store holds, but for one that was cut short."""
        store = self._results.store
        if store is None:
            return []
        steps = store.steps_of(self._name)
        if steps:
            last = self._results.read(self._name, steps[-1])
            if bool((last["status"] == "pending").any()):
                store.forget(self._name, steps.pop())
                return self._stored_steps()
            self._model.check_is_in(last)
            self._keeper.go_on_from(last)
        return steps
