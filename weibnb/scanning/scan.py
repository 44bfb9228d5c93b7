"""Checkpoints -> a Dataset of fits: `scan`."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from weibnb.counting.dispatch import Counting
from weibnb.fits.build import build
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.io.files import UnreadableWarning
from weibnb.io.guard import guarded
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import resolve_sources
from weibnb.messages import check_choice, printable, shortened
from weibnb.parallel import check_workers
from weibnb.scanning.matrices import begin_counting, list_matrices

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from tqdm import tqdm

    from weibnb.fits.build import Matrix
    from weibnb.scanning.matrices import Listing, MatrixInCounting


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
    >>> import numpy as np
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
    check_choice("experts", experts, ("median", "each"))
    workers = check_workers(workers)
    plan = list(resolve_sources(source))
    listings: list[Listing] = []
    reached: list[Listing] = []
    matrices: list[Matrix] = []
    problems: list[str] = []
    interrupted = False
    with (
        guarded(),
        Counting(device, workers=workers) as counting,
        _progress_bar(progress=progress) as bar,
    ):
        try:
            listings.extend(map(list_matrices, plan))
            bar.total = sum(t.info.nbytes for listing in listings for t in listing.tensors)
            for listing in listings:
                reached.append(listing)
                _count(listing, counting, bar, matrices, problems)
        except KeyboardInterrupt:
            interrupted = True
    if len(plan) > 1 or matrices:
        for text in dict.fromkeys([*_left_out(listings), *problems]):
            warnings.warn(printable(text), UnreadableWarning, stacklevel=2)
    if not matrices:
        raise ScanInterrupted(None) if interrupted else _nothing_found(listings)
    fits = build(
        matrices,
        [listing.source for listing in reached],
        trim=trim,
        estimator=estimator,
        experts=experts,
        keep_counts=keep_counts,
        workers=workers,
    )
    if interrupted:
        raise ScanInterrupted(fits)
    return fits


def _count(
    listing: Listing,
    counting: Counting,
    bar: tqdm[Any],
    matrices: list[Matrix],
    problems: list[str],
) -> None:
    """Count the matrices of one checkpoint, a few at once; what is done is kept if it stops."""
    model, step = listing.source.model, listing.source.step
    name = shortened(model)
    bar.set_description(name if step == 0 else f"{name} step {step}", refresh=False)
    waiting: deque[MatrixInCounting] = deque()
    load = 0.0

    def finish(item: MatrixInCounting) -> None:
        matrices.append(item.finish(model, step))
        problems.extend([item.problem] if item.problem else [])
        bar.update(0 if item.was_read else item.nbytes)

    try:
        for item in begin_counting(listing, counting):
            bar.set_postfix_str(printable(item.tensor.info.name[-60:]), refresh=False)
            bar.update(item.nbytes if item.was_read else 0)
            waiting.append(item)
            load += item.load
            while load > 1:
                load -= waiting[0].load
                finish(waiting.popleft())
        while waiting:
            finish(waiting.popleft())
    except KeyboardInterrupt:
        for item in waiting:
            if item.abandon():
                finish(item)
        raise
    finally:
        if listing.checkpoint is not None:
            listing.checkpoint.close()


def _left_out(listings: Sequence[Listing]) -> list[str]:
    """Say which checkpoints could not be read."""
    return [
        f"{listing.source.model}, step {listing.source.step} is left out: {listing.error}"
        for listing in listings
        if listing.error is not None
    ]


def _nothing_found(listings: Sequence[Listing]) -> CheckpointError:
    """Make the error for a scan without one matrix: the first cause, or what there is instead."""
    for listing in listings:
        if listing.error is not None:
            return listing.error
    source = listings[0].source
    names = [f"{entry['tensor']} ({entry['reason']})" for entry in source.not_fitted[:3]]
    return CheckpointError(
        source.path,
        "no tensor in it is a weight matrix of a known layer",
        f"It holds {', '.join(names) if names else 'no tensors'}.",
    )


def _progress_bar(*, progress: bool | None) -> tqdm[Any]:
    """Make a bar of bytes, shown on a terminal and in a notebook unless told otherwise."""
    from tqdm.auto import tqdm

    disable = not progress if progress is not None else None
    if progress is None and "ipykernel" in sys.modules:
        disable = False
    return tqdm(total=0, unit="B", unit_scale=True, delay=0.5, disable=disable, dynamic_ncols=True)
