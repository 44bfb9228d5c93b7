"""Counts as histograms: for TensorBoard, and for Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import INTERVAL_WIDTH, label_values
from weibnb.fits.schema import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

# Bins of equal width in a histogram; W&B takes 512 at most.
_BINS = 64


class Histogram(NamedTuple):
    """How many weights of a matrix have a magnitude between two edges.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,)
        From 0 to the largest magnitude, in units of the weights.
    counts : ndarray of int64, shape (bins,)
        Finite weights in each bin, zeros included.
    total, squares : float
        Sum of the magnitudes and of their squares.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    total: float
    squares: float


def histograms(fits: xr.Dataset) -> Iterator[tuple[str, Histogram]]:
    """Give a histogram of |w| for every matrix of one record, with the name of its chart.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts of one model and step.

    Yields
    ------
    name, histogram
        The name is like ``weibull/counts/q_proj/layer_0``; experts of a layer are one histogram.

    Raises
    ------
    ValueError
        If the fits hold no counts.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.eye(4) / 2}})
    >>> [(name, one)] = histograms(fits)
    >>> name, one.counts[0], one.counts[-1], one.edges[-1]
    ('weibull/counts/up_proj/layer_0', np.int64(12), np.int64(4), np.float64(0.5))
    """
    fits = prepare(fits, "counts", mixed_protocols=True)
    counts = fits["counts"].squeeze(
        [dim for dim in ("model", "step") if dim in fits["counts"].dims]
    )
    for component in fits["component"].values:
        for layer in fits["layer"].values:
            cell = counts.sel(component=component, layer=layer).values
            found = [one for one in np.atleast_1d(cell).ravel() if isinstance(one, Counts)]
            if found and (whole := sum(found[1:], found[0])).n:
                yield f"weibull/counts/{component}/layer_{layer}", _histogram(whole)


def to_tensorboard(writer: Any, fits: xr.Dataset, step: int) -> None:
    """Write a histogram of |w| for every matrix of one record to a ``SummaryWriter``.

    Parameters
    ----------
    writer : torch.utils.tensorboard.SummaryWriter
        Or what has its ``add_histogram_raw``.
    fits : xarray.Dataset
        Fits with counts of one model and step.
    step : int
        The training step that TensorBoard shows.
    """
    for name, one in histograms(fits):
        writer.add_histogram_raw(
            name,
            min=0.0,
            max=float(one.edges[-1]),
            num=int(one.counts.sum()),
            sum=one.total,
            sum_squares=one.squares,
            bucket_limits=one.edges[1:].tolist(),
            bucket_counts=one.counts.tolist(),
            global_step=step,
        )


def to_wandb(fits: xr.Dataset) -> dict[str, Any]:
    """Make a ``wandb.Histogram`` of |w| of every matrix of one record, for ``run.log``.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts of one model and step.

    Returns
    -------
    dict of str to wandb.Histogram

    Raises
    ------
    ImportError
        If wandb is not installed.
    """
    try:
        from wandb import Histogram as Shown
    except ImportError as err:
        raise ImportError("Histograms for W&B need wandb: pip install wandb") from err
    return {
        name: Shown(np_histogram=(one.counts.tolist(), one.edges.tolist()))
        for name, one in histograms(fits)
    }


def _histogram(counts: Counts) -> Histogram:
    """Put counts into bins of equal width; what is an interval goes where its middle lies."""
    middle = 0 if counts.exact else INTERVAL_WIDTH // 2
    values = np.minimum(label_values(counts.labels + middle), counts.largest)
    edges = np.linspace(0, counts.largest, _BINS + 1)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, _BINS - 1)
    binned = np.zeros(_BINS, np.int64)
    np.add.at(binned, place, counts.counts)
    binned[0] += counts.zeros
    weighted = values * counts.counts
    return Histogram(edges, binned, float(weighted.sum()), float((weighted * values).sum()))
