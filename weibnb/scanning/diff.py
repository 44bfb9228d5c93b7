"""What changed between two checkpoints: the door, for paths, live modules and fits."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import xarray as xr

from weibnb.diagnostics.changes_of_fits import compare_fits
from weibnb.fits.schema import prepare, protocol_of
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.io.guard import guarded
from weibnb.io.limits import MAX_HEADER, MAX_TENSORS, Limits
from weibnb.io.sources import resolve_sources
from weibnb.messages import printable
from weibnb.parallel import check_workers
from weibnb.scanning.check import fits_of, is_fits
from weibnb.scanning.comparison import Comparison
from weibnb.scanning.matrices import list_matrices
from weibnb.scanning.scan import scan

if TYPE_CHECKING:
    from weibnb.diagnostics.changes import Diff
    from weibnb.io.sources import Planned
    from weibnb.scanning.matrices import Listing

_HINT = "Name one of them: path/to/run/step7000, or {'name': path}."


def diff(
    before: Any,
    after: Any,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    dequantise: bool = False,
    max_tensors: int = MAX_TENSORS,
    max_header: int = MAX_HEADER,
    workers: int | None = None,
    progress: bool | None = None,
) -> Diff:
    """Tell what changed between two checkpoints, matrix by matrix, what changed most first.

    Parameters
    ----------
    before, after : path, torch.nn.Module, Mapping or xarray.Dataset
        One checkpoint each, as `weibnb.scan` takes it; or fits of one model at one step, a file of
        them or a store. Where either is fits, fits are compared; else the weights are.
    trim, estimator
        The protocol, as in `weibnb.scan`; of fits it is that of `before`.
    dequantise : bool
        Restore quantised weights as they are read, as in `weibnb.scan`, on either side.
    max_tensors, max_header, workers, progress
        As in `weibnb.scan`.

    Returns
    -------
    Diff
        Prints as text. ``table`` has one row for each matrix, and where weights were read for each
        other tensor, with ``layer``, ``component``, ``expert`` (-1: none), ``tensor``, ``rows``,
        ``cols``, ``dtype_before``, ``dtype_after``, and

        - ``delta_k``, ``delta_ln_lam``, ``delta_ln_rms``: how far k, ln λ and ln rms moved;
          ``distance``: the Wasserstein distance of ln|w|, from the counts. Each has a standard
          error, ``…_se``; ``errors`` says whether it is that of the difference itself
          (``"paired"``) or of two matrices that have nothing in common (``"separate"``).
        - ``k_before``, ``k_after``; ``status`` of the fit of the change.

        Where weights were read also

        - ``changed``: share of weights whose value differs (0 and -0 are one value, all NaN too);
        - ``relative``: ‖ΔW‖/‖W‖; ``cosine`` of W and W + ΔW; ``largest`` |Δw|, and its
          ``largest_row`` and ``largest_col`` (output and input feature);
        - ``change_k``, ``change_k_se``, ``change_r2``: the Weibull fit of |ΔW|, weights that did
          not change left out; ``change_h_row``, ``change_h_col``: how unequal the rows and columns
          of ΔW are; ``directions``: how many directions hold 90 % of 32 rows of ΔW.

        ``fits`` holds the fits of |ΔW| with their counts; ``not_compared`` the tensors on one side
        only, of different shape, or whose numbers are not read.

    Raises
    ------
    CheckpointError, FitsError
        If a checkpoint, or a file of fits, cannot be read.
    TypeError, ValueError
        If an argument is not valid, is not one checkpoint, or fits of another protocol hold no
        counts.

    Notes
    -----
    Both checkpoints are read once, side by side, with some 4 ns of processor time per weight of 16
    bits (2.6 times that of two scans); a few matrices are in memory at a time. Formats may differ:
    values are compared. Weights of 8 bits are multiplied by the scales beside them (one, by row, or
    by block). A matrix that is stored transposed on one side is turned; experts meet by number, and
    a fused matrix meets matrices of its parts.

    Estimates see only how often each magnitude occurs: a permutation changes none of them.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.{}.mlp.up_proj.weight".format
    >>> base = {name(i): rng.normal(0, 0.02, (64, 64)) for i in range(3)}
    >>> tuned = base | {name(1): base[name(1)] + rng.normal(0, 0.002, (64, 64))}
    >>> found = diff({"base": base}, {"tuned": tuned})
    >>> found.table[["layer", "changed"]].values.tolist()
    [[1, 1.0], [0, 0.0], [2, 0.0]]
    >>> found.table[["relative", "change_k"]].iloc[0].round(1).tolist()
    [0.1, 1.2]
    """
    protocol = check_protocol(trim, estimator)
    limits = Limits(max_tensors=max_tensors, max_header=max_header)
    number = check_workers(workers)
    if is_fits(before) or is_fits(after):
        with ExitStack() as stack:
            sides = [stack.enter_context(fits_of(s)) if is_fits(s) else s for s in (before, after)]
            sides = _scan_missing(sides, limits, workers, dequantise=dequantise, progress=progress)
            return compare_fits(sides[0], sides[1])
    with ExitStack() as stack:
        stack.enter_context(guarded())
        listings = [
            _open(which, source, limits, stack, dequantise=dequantise)
            for which, source in (("before", before), ("after", after))
        ]
        comparison = Comparison(listings[0], listings[1], protocol, number)
        comparison.run(progress=progress)
        return comparison.result()


def _scan_missing(
    sides: list[Any],
    limits: Limits,
    workers: int | None,
    *,
    dequantise: bool,
    progress: bool | None,
) -> list[Any]:
    """Scan the side that is no fits, by the protocol of the other."""
    fits = next(side for side in sides if isinstance(side, xr.Dataset))
    estimator, trim = protocol_of(prepare(fits, light=True))
    return [
        side
        if isinstance(side, xr.Dataset)
        else scan(
            side,
            trim=trim,
            estimator=estimator,
            dequantise=dequantise,
            max_tensors=limits.max_tensors,
            max_header=limits.max_header,
            workers=workers,
            progress=progress,
        )
        for side in sides
    ]


def _open(
    which: str, source: Any, limits: Limits, stack: ExitStack, *, dequantise: bool
) -> Listing:
    """List the tensors of one checkpoint, which stays open."""
    plan: list[Planned] = list(resolve_sources(source, dequantise=dequantise))
    if len(plan) != 1:
        listed = ", ".join(f"{printable(one.model)} step {one.step}" for one in plan[:4])
        more = ", …" if len(plan) > 4 else ""
        raise ValueError(
            f"`{which}` must be one checkpoint, got {len(plan)}: {listed}{more}. {_HINT}"
        )
    listing = list_matrices(plan[0], limits, fused="both")
    if listing.error is not None:
        raise listing.error
    if listing.checkpoint is not None:
        stack.callback(listing.checkpoint.close)
    return listing
