"""Fits, a run that is going on, or anything that can be scanned, opened in the explorer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.explorer.widget import Explorer
from weibnb.fits.store_schema import STORE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.charts.layers import MapValue
    from weibnb.explorer.drawing import Reader
    from weibnb.explorer.filters import Cell
    from weibnb.explorer.following import Newer
    from weibnb.fitting.weibull import Estimator
    from weibnb.scanning.background import BackgroundCheck, BackgroundScan
    from weibnb.scanning.recorder import Recorder


def explore(
    fits: Any,
    *,
    source: Any = None,
    state: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    keep: str | os.PathLike[str] | None = None,
    panel: str | None = None,
    value: MapValue | None = None,
    filters: Mapping[str, Sequence[str]] | None = None,
    layers: tuple[int, int] | None = None,
    step: int | None = None,
    trim: tuple[float, float] | None = None,
    estimator: Estimator | None = None,
    selected: Sequence[Cell] | None = None,
    dequantise: bool = False,
) -> Explorer:
    """Look at fits with linked charts: filter, click a matrix, move the trim.

    Parameters
    ----------
    fits : xarray.Dataset, path, Recorder, torch.nn.Module or Mapping
        Fits; a ``.nc`` file of fits, which is opened; a store (``.db``) or a `Recorder`, which is
        followed: what comes to it is shown within two seconds, see Notes; or a source of weights,
        see `weibnb.scan`. Files are scanned in the background: the explorer is there at once, and
        shows matrices as they are fitted; live weights, which may change, are scanned first. To
        set how it is scanned, or to keep the fits, call `weibnb.scan` and give its Dataset. Fits
        without counts have no Weibull plot and no trim.
    source : path, torch.nn.Module or Mapping, optional
        What fits were scanned from, to be read again where the Weibull panel is asked why k is
        low. By default `fits`, if that is a source of weights itself.
    state : Mapping or path, optional
        The view to begin with: ``explorer.state``, or a file ``explorer.save("view.json")``. What
        is given beside it holds.
    keep : path, optional
        A ``.json`` that the view is kept in: the cell that runs again opens it as it was left.
    panel : {"overview", "weibull", "classes", "trajectories", "compare", "table"}, optional
        What is shown first; by default the overview.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}, optional
        What the map shows; by default k.
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
    selected : sequence of tuple, optional
        ``(model, layer, component, step)`` of the matrices that are looked at.
    dequantise : bool
        Restore quantised weights as they are scanned, and as they are read again, as in
        `weibnb.scan`.

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
        If there is no such checkpoint, or live weights cannot be read.
    TypeError, ValueError
        If there is nothing to open or to scan, or an argument is not valid.

    Notes
    -----
    While a scan goes on, the page tells how far it is, and has a button to cancel it;
    ``explorer.wait()`` waits until it is done. What goes wrong stands on the page and in
    ``explorer.error``. A program that runs a notebook (nbconvert) gets the finished picture. The
    scan rests while no page shows the explorer any more; ``explorer.follow = False``,
    ``explorer.close()`` and Ctrl-C in ``wait`` cancel it. Nothing is written to the disk. After
    the scan the weights are looked at again for the list of findings, as `weibnb.check` does it:
    of more than 2,000 matrices, once that list is opened.

    A store may be written by another process, and need not be there yet. A thread looks twice a
    second for something new, and reads that alone; it keeps no file open, so that a training never
    waits for it. What you chose stays; the step goes on to the newest while it stands at the last.
    The page says why a store cannot be read, and it is tried again. ``explorer.follow = False``,
    ``explorer.close()`` and the end of the kernel end it. Of a `Recorder` in the same kernel new
    steps are shown while the cell that trains runs; Jupyter hands clicks over when it has ended.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> explorer = explore(reference_cohort().isel(model=[0, 1]), value="lam")
    >>> explorer
    <Explorer: 8 of 8 matrices, panel 'overview'>
    """
    given = {
        "panel": panel,
        "value": value,
        "selected": selected,
        "filters": filters,
        "layers": layers,
        "step": step,
        "trim": trim,
        "estimator": estimator,
    }
    traits: dict[str, Any] = {name: word for name, word in given.items() if word is not None}
    opened = _open(fits, dequantise=dequantise)
    weights = fits if opened.scanned and source is None else source
    return Explorer(
        opened.fits,
        reader=_reader(weights, dequantise=dequantise),
        newer=opened.newer,
        work=opened.work,
        check=opened.check,
        followed=opened.followed,
        state=state,
        keep=keep,
        **traits,
    )


def _reader(source: Any, *, dequantise: bool) -> Reader:
    """Make what reads matrices of a source again, without one of the files that were scanned."""

    def read(part: xr.Dataset, function: str, look: Mapping[str, Any]) -> xr.Dataset:
        weights = _scanned(part) if source is None else source
        if weights is None:
            return part  # the chart says what to run
        if function == "look_inside":
            from weibnb.scanning.inside import look_inside

            return look_inside(weights, fits=part, dequantise=dequantise, **look)
        from weibnb.scanning.decompose import decompose

        return decompose(weights, fits=part, dequantise=dequantise, **look)

    return read


def _scanned(part: xr.Dataset) -> str | None:
    """Give the path that one checkpoint was scanned from, if something is there."""
    if "source" not in part:
        return None
    paths = {str(path) for path in np.atleast_1d(part["source"].values).ravel()}
    path = paths.pop() if len(paths) == 1 else ""
    return path if path and os.path.exists(path) else None  # noqa: PTH110  (any text may come)


@dataclass(frozen=True, slots=True)
class _Opened:
    """Fits, and where newer ones come from, or what makes them."""

    fits: xr.Dataset
    scanned: bool = False
    newer: Newer | None = None
    work: BackgroundScan | None = None
    check: BackgroundCheck | None = None
    followed: str = ""


def _open(fits: Any, *, dequantise: bool) -> _Opened:
    """Take fits as they are, open a file of them, follow a run, scan anything else."""
    if isinstance(fits, xr.Dataset):
        return _Opened(fits)
    if _is_recorder(fits):
        return _follow_recorder(fits)
    if isinstance(fits, str | os.PathLike):
        path = Path(fits)
        if path.suffix.lower() in STORE_SUFFIXES:
            return _follow_store(path)
        if path.suffix == ".nc":
            from weibnb.fits.files import open_fits

            return _Opened(open_fits(path))
    if _are_files(fits):
        return _scan_files(fits, dequantise=dequantise)
    from weibnb.scanning.scan import scan

    return _Opened(scan(fits, dequantise=dequantise), scanned=True)


def _are_files(source: Any) -> bool:
    """Whether a source is paths alone, or lists and mappings of them: what lies still."""
    if isinstance(source, Mapping):
        return bool(source) and all(map(_are_files, source.values()))
    if isinstance(source, list | tuple):
        return bool(source) and all(map(_are_files, source))
    return isinstance(source, str | os.PathLike)


def _scan_files(source: Any, *, dequantise: bool) -> _Opened:
    """Begin to scan files, and follow that."""
    from weibnb.fits.following import no_fits
    from weibnb.scanning.background import BackgroundCheck, BackgroundScan

    name = Path(source).name or str(source) if isinstance(source, str | os.PathLike) else "files"
    work = BackgroundScan(source, dequantise=dequantise)
    check = BackgroundCheck(source, dequantise=dequantise)
    return _Opened(no_fits(), scanned=True, work=work, check=check, followed=name)


def _follow_store(path: Path) -> _Opened:
    """Open a store, and follow what is written to it; it need not be there yet."""
    from weibnb.fits.following import FollowedStore

    store = FollowedStore(path)
    if path.exists():
        store.newer()
    return _Opened(store.fits, newer=store.newer, followed=path.name)


def _is_recorder(source: Any) -> bool:
    """Whether this is a `Recorder`, whose module brings torch."""
    module = sys.modules.get("weibnb.scanning.recorder")
    return module is not None and isinstance(source, module.Recorder)


def _follow_recorder(recorder: Recorder) -> _Opened:
    """Take what a recorder has, and follow what it records."""
    from weibnb.fits.following import no_fits

    newer = recorder.follow()
    fits = newer()
    return _Opened(no_fits() if fits is None else fits, newer=newer, followed="the recorder")
