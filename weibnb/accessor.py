"""``fits.weibull.<verb>``: the functions of weibnb as methods of a Dataset of fits.

The rule: every function that the API pages of the documentation name and whose first argument is
``fits`` is a verb, under its own name (`save_fits` is ``save``); charts are `weibnb.charts`.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
from types import MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar, overload

import xarray as xr

import weibnb

if TYPE_CHECKING:  # for the types alone: at run time a room is imported by its first verb
    import weibnb.diagnostics.attention
    import weibnb.diagnostics.bands
    import weibnb.diagnostics.dynamics
    import weibnb.diagnostics.outliers
    import weibnb.diagnostics.pooling
    import weibnb.diagnostics.regimes
    import weibnb.diagnostics.tails
    import weibnb.diagnostics.upper_tail
    import weibnb.fits.select
    import weibnb.fits.tables
    import weibnb.scanning.locate  # noqa: TC004  (scanning is lazy at run time)

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[Concatenate[xr.Dataset, P], R]


class Verb(Generic[P, R]):
    """A function of fits as a method, imported when it is first looked at."""

    def __init__(self, find: Callable[[], Function[P, R]]) -> None:
        self._find = find

    @overload
    def __get__(self, accessor: None, owner: type) -> Function[P, R]: ...
    @overload
    def __get__(self, accessor: WeibullAccessor, owner: type) -> Callable[P, R]: ...

    def __get__(self, accessor: WeibullAccessor | None, owner: type) -> Callable[..., R]:
        """Give the function on the class; bound to the fits, with its own signature, on them."""
        function = self._find()
        if accessor is None:
            return function
        return MethodType(function, accessor._fits)  # noqa: SLF001  (the accessor is ours)


@xr.register_dataset_accessor("weibull")  # type: ignore[no-untyped-call]
class WeibullAccessor:
    """The functions of weibnb as verbs of a Dataset of fits.

    ``fits.weibull.drift(anchor="uniform")`` is ``weibnb.drift(fits, anchor="uniform")``.

    - Look: `explore`, `summary`, `tidy`, `not_fitted`, `write_report`, `save`.
    - Select and fit again: `refit`, `keep_status`, `keep_cells`, `counts_table`.
    - Is it healthy: `check`.
    - Judge k: `pool_layers`, `drift`, `judge`, `leaving`, `summarise`,
      `coefficient_of_variation`, `selection`, `storage_type`, `nearest_published`
      (and `compare`, its former name), `regimes`, `attribution`.
    - Look at tails and single weights: `body_tail`, `closure`, `heaviness`, `upper_tail`,
      `outlier_strength`, `find_outliers`, `dead_lines`.
    - What may be quantised: `quantisation`.
    - Try other models: `rank_families`, `find_populations`.
    - Follow training: `training_budget`, `first_departure`, `split_growth`, `paired_growth`,
      `lambda_scaling`.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(size=(256, 256))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> fits.weibull.drift().nearest_shape.item()
    'gaussian'
    """

    explore = Verb(lambda: weibnb.explore)
    summary = Verb(lambda: weibnb.summary)
    tidy = Verb(lambda: weibnb.tidy)
    not_fitted = Verb(lambda: weibnb.not_fitted)
    write_report = Verb(lambda: weibnb.write_report)
    save = Verb(lambda: weibnb.save_fits)

    refit = Verb(lambda: weibnb.refit)
    counts_table = Verb(lambda: weibnb.fits.tables.counts_table)
    keep_status = Verb(lambda: weibnb.fits.select.keep_status)
    keep_cells = Verb(lambda: weibnb.fits.select.keep_cells)

    check = Verb(lambda: weibnb.check)

    pool_layers = Verb(lambda: weibnb.diagnostics.pooling.pool_layers)
    drift = Verb(lambda: weibnb.drift)
    judge = Verb(lambda: weibnb.judge)
    leaving = Verb(lambda: weibnb.diagnostics.bands.leaving)
    summarise = Verb(lambda: weibnb.diagnostics.bands.summarise)
    coefficient_of_variation = Verb(lambda: weibnb.diagnostics.bands.coefficient_of_variation)
    selection = Verb(lambda: weibnb.selection)
    storage_type = Verb(lambda: weibnb.diagnostics.attention.storage_type)
    nearest_published = Verb(lambda: weibnb.nearest_published)
    compare = Verb(lambda: weibnb.compare)
    regimes = Verb(lambda: weibnb.diagnostics.regimes.regimes)
    attribution = Verb(lambda: weibnb.diagnostics.regimes.attribution)

    body_tail = Verb(lambda: weibnb.diagnostics.tails.body_tail)
    closure = Verb(lambda: weibnb.diagnostics.tails.closure)
    heaviness = Verb(lambda: weibnb.diagnostics.tails.heaviness)
    upper_tail = Verb(lambda: weibnb.diagnostics.upper_tail.upper_tail)
    outlier_strength = Verb(lambda: weibnb.diagnostics.outliers.outlier_strength)
    find_outliers = Verb(lambda: weibnb.find_outliers)
    dead_lines = Verb(lambda: weibnb.scanning.locate.dead_lines)

    quantisation = Verb(lambda: weibnb.quantisation)

    rank_families = Verb(lambda: weibnb.rank_families)
    find_populations = Verb(lambda: weibnb.find_populations)

    training_budget = Verb(lambda: weibnb.training_budget)
    first_departure = Verb(lambda: weibnb.diagnostics.dynamics.first_departure)
    split_growth = Verb(lambda: weibnb.diagnostics.dynamics.split_growth)
    paired_growth = Verb(lambda: weibnb.diagnostics.dynamics.paired_growth)
    lambda_scaling = Verb(lambda: weibnb.diagnostics.dynamics.lambda_scaling)

    def __init__(self, fits: xr.Dataset) -> None:
        self._fits = fits

    def __repr__(self) -> str:
        verbs = [name for name, thing in vars(WeibullAccessor).items() if isinstance(thing, Verb)]
        return fill(f"<weibull verbs: {', '.join(verbs)}>", 88, subsequent_indent="  ")
