"""Fits, or anything that can be scanned, opened in the explorer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from weibnb.explorer.widget import Explorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weibnb.charts.layers import MapValue
    from weibnb.explorer.filters import Cell
    from weibnb.fitting.weibull import Estimator


def explore(
    fits: Any,
    *,
    source: Any = None,
    panel: str = "overview",
    value: MapValue = "k",
    filters: Mapping[str, Sequence[str]] | None = None,
    layers: tuple[int, int] | None = None,
    step: int | None = None,
    trim: tuple[float, float] | None = None,
    estimator: Estimator | None = None,
    selected: Sequence[Cell] = (),
) -> Explorer:
    """Look at fits with linked charts: filter, click a matrix, move the trim.

    Parameters
    ----------
    fits : xarray.Dataset, path, torch.nn.Module or Mapping
        Fits; a ``.nc`` file of fits, which is opened; or a source of weights, which is scanned
        with a progress bar, see `weibnb.scan`. To set how it is scanned, or to keep the fits,
        call `weibnb.scan` and give its Dataset. Fits without counts have no Weibull plot and no
        trim.
    source : path, torch.nn.Module or Mapping, optional
        What fits were scanned from, to be read again where the Weibull panel is asked why k is
        low. By default `fits`, if that is a source of weights itself.
    panel : {"overview", "weibull", "classes", "trajectories", "compare", "table"}
        What is shown first.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        What the map shows.
    filters : Mapping, optional
        Labels that are kept, by facet: model, tower, weight_class, component, status, or a further
        coordinate of the fits such as a learning rate. By default everything, of more than six
        models the first six.
    layers : tuple of int, optional
        First and last layer.
    step : int, optional
        Training step; by default the last.
    trim : tuple of float, optional
        Probability interval that is fitted; by default that of the fits.
    estimator : {"rank_regression", "maximum_likelihood"}, optional
        By default that of the fits.
    selected : sequence of tuple
        ``(model, layer, component, step)`` of the matrices that are looked at.

    Returns
    -------
    Explorer
        The widget, shown where a cell returns it. Its attributes tell and set what is on the
        screen: `Explorer`.

    Raises
    ------
    ImportError
        If anywidget or vl-convert-python is missing.
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If a checkpoint cannot be read.
    TypeError, ValueError
        If there is nothing to open or to scan, or an argument is not valid.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> explorer = explore(reference_cohort().isel(model=[0, 1]), value="lam")
    >>> explorer
    <Explorer: 8 of 8 matrices, panel 'overview'>
    """
    given = {
        "filters": filters,
        "layers": layers,
        "step": step,
        "trim": trim,
        "estimator": estimator,
    }
    state = {name: word for name, word in given.items() if word is not None}
    dataset, scanned = _fits_of(fits)
    return Explorer(
        dataset,
        reader=_reader(fits if scanned and source is None else source),
        panel=panel,
        value=value,
        selected=list(selected),
        **state,
    )


def _reader(source: Any) -> Callable[[xr.Dataset], xr.Dataset] | None:
    """Make what takes matrices of a source apart; None without a source."""
    if source is None:
        return None

    def read(part: xr.Dataset) -> xr.Dataset:
        from weibnb.scanning.decompose import decompose

        return decompose(source, fits=part)

    return read


def _fits_of(fits: Any) -> tuple[xr.Dataset, bool]:
    """Take fits as they are, open a file of them, scan anything else; say if it was scanned."""
    if isinstance(fits, xr.Dataset):
        return fits, False
    if isinstance(fits, str | os.PathLike) and Path(fits).suffix == ".nc":
        from weibnb.fits.files import open_fits

        return open_fits(fits), False
    from weibnb.scanning.scan import scan

    return scan(fits), True
