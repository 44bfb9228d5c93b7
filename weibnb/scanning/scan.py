"""Checkpoints -> a Dataset of fits: the one place that joins reading, counting and fitting."""

from __future__ import annotations

import os
import sys
import warnings
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weibnb.counting.dispatch import Counting
from weibnb.counting.formats import LABELS, label_values
from weibnb.fits.build import Grid, Matrix, Source, build, lay_out
from weibnb.fits.schema import NO_EXPERT
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.statistics import QUANTILES, describe_counts
from weibnb.fitting.status import final_status
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.io.naming import Role, tower, weight_class
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import Planned, resolve_sources
from weibnb.parallel import check_workers
from weibnb.scanning.experts import _reduce_experts
from weibnb.scanning.matrices import Job, Listed, _check_on_one_device, list_matrices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from tqdm import tqdm

    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.safetensors import TensorInfo


_ORDER = (
    "qkv_proj",
    "q_proj",
    "q_a_proj",
    "q_b_proj",
    "k_proj",
    "kv_proj",
    "kv_a_proj",
    "kv_b_proj",
    "v_proj",
    "o_proj",
    "router",
    "gate_proj",
    "gate_up_proj",
    "up_proj",
    "down_proj",
)


class ScanInterrupted(KeyboardInterrupt):
    """A scan was stopped by Ctrl-C; `fits` holds what was done until then.

    Attributes
    ----------
    fits : xarray.Dataset or None
        Fits of the matrices that were counted, None if there were none.
    """

    def __init__(self, fits: xr.Dataset | None) -> None:
        done = 0 if fits is None else int((fits["n_matrices"] > 0).sum())
        super().__init__(f"interrupted; {done} matrices were fitted and are in `.fits`")
        self.fits = fits


def scan(
    source: Any,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    device: str | Sequence[str] = "auto",
    experts: Literal["median", "each"] = "median",
    keep_counts: bool = True,
    workers: int | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit a Weibull to |w| of every weight matrix of one checkpoint, of several, or of a run.

    Parameters
    ----------
    source : path, torch.nn.Module or Mapping
        A safetensors file; a directory of them; a directory with step directories inside
        (``step0``, ``checkpoint-1000``, ...); a live module or its state dict; or a mapping of
        model name to any of these or to ``{step: any of these}``.
    trim : tuple of float, optional
        Probability interval of the Weibull plot that is fitted. By default (0.1, 0.9) for rank
        regression, (0, 1) for maximum likelihood.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    device : str or sequence of str
        Where to count: ``"auto"`` (CUDA where torch is already imported and finds it, else the
        CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices, which
        share the work. Tensors on a device of this kind are counted where they are; of DTensors
        each process counts its shard, and all of them must call.
    experts : {"median", "each"}
        A cell of a mixture-of-experts layer holds the median over its experts, or there is a
        dim ``expert`` (-1 for matrices that are not experts).
    keep_counts : bool
        Keep the magnitude counts, some 3-10 kB a matrix: they allow `refit` and every plot.
    workers : int, optional
        Threads; by default the cores that this process may use.
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook, after half a second.

    Returns
    -------
    xarray.Dataset
        Dims (model, layer, component, step); k, lam, r2, ks, standard errors, plain statistics
        and status of each cell. ``step`` is 0 where the source does not name one. What is in no
        cell is listed by `weibnb.not_fitted`.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read; of several, if none can (else the others are returned,
        the cause stands in ``fits.problem``, and a warning tells).
    TypeError, ValueError
        If an argument is not valid, or a matrix cannot be placed.
    RuntimeError
        If the device is not there.
    ScanInterrupted
        On Ctrl-C, with the fits so far.

    Notes
    -----
    One pass at the speed of reading: nothing is copied or converted. Memory does not depend on
    the size of the files.

    References
    ----------
    T. Ding, "A Two-Parameter Weibull Framework for Diagnosing Transformer Weight Distributions",
    arXiv:2605.18898.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.self_attn.q_proj.weight": rng.normal(0, 0.02, (256, 256))
    ...            for i in range(2)}
    >>> fits = scan({"tiny": weights})
    >>> dict(fits.k.sizes)
    {'model': 1, 'layer': 2, 'component': 1, 'step': 1}
    >>> bool(abs(fits.k.sel(layer=1).item() - 1.2054) < 4 * fits.k_se.sel(layer=1).item())
    True
    """
    trim, estimator = check_protocol(trim, estimator)
    if experts not in ("median", "each"):
        raise ValueError(f"`experts` must be 'median' or 'each', got {experts!r}.")
    workers = check_workers(workers)
    plan = list(resolve_sources(source))
    scanner = Scanner()
    interrupted = False
    with Counting(device, workers=workers) as counting, _progress_bar(progress=progress) as bar:
        try:
            scanner.run(plan, counting, bar)
        except KeyboardInterrupt:
            interrupted = True
    for text in scanner.warnings:
        warnings.warn(text, stacklevel=2)
    if not scanner.matrices:
        if interrupted:
            raise ScanInterrupted(None)
        raise scanner.first_error or CheckpointError(
            str(scanner.sources[0].path),
            "no tensor in it is a weight matrix of a known layer",
            f"It holds {_examples(scanner.sources[0])}.",
        )
    fits = scanner.fits(
        trim=trim, estimator=estimator, experts=experts, keep_counts=keep_counts, workers=workers
    )
    if interrupted:
        raise ScanInterrupted(fits)
    return fits


def _examples(source: Source) -> str:
    names = [f"{entry['tensor']} ({entry['reason']})" for entry in source.not_fitted[:3]]
    return ", ".join(names) if names else "no tensors"


def _progress_bar(*, progress: bool | None) -> tqdm[Any]:
    from tqdm.auto import tqdm

    disable = not progress if progress is not None else None
    if progress is None and "ipykernel" in sys.modules:
        disable = False
    return tqdm(total=0, unit="B", unit_scale=True, delay=0.5, disable=disable, dynamic_ncols=True)


def _component_order(component: str) -> tuple[str, bool, int, str]:
    """Sort by tower, shared experts last, then in the order in which a layer applies them."""
    word = component.rpartition(".")[2]
    rank = _ORDER.index(word) if word in _ORDER else len(_ORDER)
    return tower(component), "shared_expert" in component, rank, component


class Scanner:
    """Lists, counts and collects the matrices of checkpoints.

    Attributes
    ----------
    matrices : list of Matrix
        What was counted.
    sources : list of Source
        The checkpoints, and what of them is in no matrix.
    warnings : list of str
        What was left out.
    first_error : CheckpointError or None
        Of the first checkpoint that could not be read.
    """

    def __init__(self) -> None:
        self.matrices: list[Matrix] = []
        self.sources: list[Source] = []
        self.warnings: list[str] = []
        self.first_error: CheckpointError | None = None

    def run(self, plan: list[Planned], counting: Counting, bar: tqdm[Any]) -> None:
        """List every checkpoint, so that what is left is known, then count one after the other.

        Parameters
        ----------
        plan : list of Planned
            The checkpoints.
        counting : Counting
            Where they are counted.
        bar : tqdm
            Moves on with the bytes that were read.
        """
        listed: list[Listed] = []
        for planned in plan:
            try:
                listed.append(list_matrices(planned))
            except CheckpointError as err:
                if len(plan) == 1:
                    raise
                self._note_failure(planned, err)
        bar.total = sum(info.nbytes for one in listed for info, _, _ in one.chosen)
        for one in listed:
            with one.opened:
                self._scan_one(one, counting, bar)
        order = {(planned.model, planned.step): i for i, planned in enumerate(plan)}
        self.sources.sort(key=lambda source: order[source.model, source.step])

    def _note_failure(self, planned: Planned, err: CheckpointError) -> None:
        self.first_error = self.first_error or err
        given = planned.checkpoint
        path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else err.path
        self.sources.append(Source(planned.model, planned.step, path, "", {}, str(err), []))
        self.warnings.append(f"{planned.model}, step {planned.step} is left out: {err}")

    def _scan_one(self, listed: Listed, counting: Counting, bar: tqdm[Any]) -> None:
        model, step = listed.source.model, listed.source.step
        bar.set_description(model if step == 0 else f"{model} step {step}", refresh=False)
        waiting: deque[Job] = deque()
        load = 0.0
        try:
            for job in self.jobs(listed, counting):
                bar.set_postfix_str(job.matrix.parameter[-60:], refresh=False)
                waiting.append(job)
                if job.pending is not None:
                    load += job.pending.load
                    if job.pending.was_read:
                        bar.update(job.nbytes)
                        job.nbytes = 0
                while load > 1:
                    done = waiting.popleft()
                    load -= 0.0 if done.pending is None else done.pending.load
                    self._finish(done, bar)
            while waiting:
                self._finish(waiting.popleft(), bar)
        except KeyboardInterrupt:
            for job in waiting:
                if job.pending is not None and job.pending.abandon():
                    self._finish(job, bar)
            raise

    def jobs(self, listed: Listed, counting: Counting) -> Iterator[Job]:
        """Begin to count the matrices of a checkpoint, one by one.

        Parameters
        ----------
        listed : Listed
            The checkpoint.
        counting : Counting
            Where they are counted.

        Yields
        ------
        Job
            A matrix; of a stack of experts each.
        """
        self.sources.append(listed.source)
        for info, role, status in listed.chosen:
            for job in self._jobs(listed.opened, counting, info, role, status):
                job.matrix = replace(job.matrix, model=listed.source.model, step=listed.source.step)
                yield job

    def _jobs(
        self, opened: Checkpoint, counting: Counting, info: TensorInfo, role: Role, status: str
    ) -> Iterator[Job]:
        """Begin to count a tensor, expert by expert if it is a stack of them."""
        rows, cols = info.shape[-2:]
        if role.transposed:
            rows, cols = cols, rows
        number = info.shape[0] if role.stacked else 1
        expert = NO_EXPERT if role.expert is None else role.expert
        bits, live = None, None
        if status in ("ok", "scaled"):
            try:
                live = opened.tensor(info.name)
                if not counting.stays(live):
                    bits, live = opened.raw(info.name), None
                elif role.stacked:
                    _check_on_one_device(live, opened.source, info.name)
            except CheckpointError as err:
                status, live = "unreadable", None
                self.warnings.append(str(err))
        for i in range(number):
            pending = None
            if live is not None:
                pending = counting.submit(live[i] if role.stacked else live)
            elif bits is not None:
                part = bits[i * rows * cols : (i + 1) * rows * cols]
                pending = counting.submit_bits(part, info.dtype)
            nothing: NDArray[Any] = np.empty(0, np.int32)
            matrix = Matrix(
                model="",
                step=0,
                layer=role.layer,
                component=role.component,
                expert=i if role.stacked else expert,
                parameter=info.name,
                dtype=info.dtype,
                rows=rows,
                cols=cols,
                status=status,
                labels=nothing,
                counts=nothing.astype(np.int64),
            )
            yield Job(matrix, pending, info.nbytes // number)

    def _finish(self, job: Job, bar: tqdm[Any]) -> None:
        self.matrices.append(job.finish())
        bar.update(job.nbytes)

    def fits(
        self,
        *,
        trim: tuple[float, float],
        estimator: Estimator,
        experts: Literal["median", "each"],
        keep_counts: bool,
        workers: int,
    ) -> xr.Dataset:
        """Fit what was counted.

        Parameters
        ----------
        trim, estimator, experts, keep_counts, workers
            As in `scan`.

        Returns
        -------
        xarray.Dataset
            The fits.
        """
        occupied = np.zeros(LABELS, bool)
        for matrix in self.matrices:
            occupied[matrix.labels] = True
        labels = np.flatnonzero(occupied).astype(np.int32)
        components = sorted({matrix.component for matrix in self.matrices}, key=_component_order)
        grid = lay_out(self.matrices, self.sources, components, labels)
        _add_estimates(grid, trim=trim, estimator=estimator, workers=workers)
        if experts == "median":
            _reduce_experts(grid.arrays)
        if not keep_counts:
            del grid.arrays["counts"], grid.arrays["counts_exact"]
        fits = build(
            grid,
            self.sources,
            magnitude=label_values(grid.labels),
            weight_class=[weight_class(name) for name in components],
            tower=[tower(name) for name in components],
            quantiles=QUANTILES,
            trim=trim,
            estimator=estimator,
        )
        return fits if keep_counts else fits.drop_dims("bin")


def _add_estimates(
    grid: Grid, *, trim: tuple[float, float], estimator: Estimator, workers: int
) -> None:
    """Add estimates, plain statistics and the final status to a grid, cell by cell."""
    cells = grid.arrays
    counts = cells["counts"].reshape(cells["status"].size, grid.labels.size)
    exact, zeros = cells["counts_exact"].ravel(), cells["zeros"].ravel()
    status, nonfinite = cells["status"].ravel(), cells["nonfinite"].ravel()
    stats = describe_counts(counts, grid.labels, exact, zeros, workers=workers)
    stats["magnitude_quantile"] = stats.pop("quantile")
    fitted = fit_counts(counts, grid.labels, exact, trim=trim, estimator=estimator, workers=workers)
    counted = np.isin(status, ("ok", "scaled"))
    finite = stats["n"] + zeros
    stats["zero_fraction"] = np.where(finite > 0, zeros / np.maximum(finite, 1), np.nan)
    for column in stats.values():
        if column.dtype.kind == "f":
            column[~counted] = np.nan
    words = final_status(fitted["status"], zeros, nonfinite)
    words[(status == "scaled") & (words == "ok")] = "scaled"
    cells["scaled"] = (status == "scaled").reshape(cells["status"].shape)
    fitted["status"] = np.where(counted, words, status)
    shape = cells["status"].shape
    del cells["zeros"]
    for name, column in (stats | fitted).items():
        cells[name] = column.reshape((*shape, *column.shape[1:]))
