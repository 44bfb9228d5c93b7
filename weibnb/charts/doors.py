"""Charts of fits: pure functions from a Dataset to an Altair chart, for light and dark pages.

No chart needs a network, and none is shown: a notebook displays what a cell returns. Names from
checkpoints are only ever data, never part of a field's name or of an expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weibnb.charts import densities as _densities
from weibnb.charts import lines as _lines
from weibnb.charts import maps as _maps
from weibnb.charts import paper as _paper
from weibnb.charts import strips as _strips
from weibnb.charts.altair import Chart, chart_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from weibnb.charts.lines import By, TrackValue
    from weibnb.charts.maps import MapValue
    from weibnb.charts.vega import Scale
    from weibnb.diagnostics.bands import Band
    from weibnb.fitting.weibull import Estimator


def weibull_plot(
    fits: xr.Dataset,
    *,
    level: float = 0.95,
    compare: xr.Dataset | None = None,
    estimators: Sequence[Estimator] = (),
) -> Chart:
    """Draw matrices on Weibull paper, with their fitted lines and what these leave over.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts, at most 12 matrices.
    level : float
        Confidence level of the bands around the lines.
    compare : xarray.Dataset, optional
        Further fits by the same protocol; with them at most 12 matrices.
    estimators : sequence of {"rank_regression", "maximum_likelihood"}
        Others whose lines are drawn broken beside those of `fits`, of at most 4 matrices. Each is
        fitted anew at its own trim (see `weibnb.refit`).

    Returns
    -------
    altair chart
        Above: magnitudes (units of the weights) and the percentage of weights below them, at
        most 200 points a matrix, from 0.01 % on. The lower panel has the same points less the
        line. The trim is shaded; λ is marked at 63.2 %; dotted: a half-normal with
        σ = λ / (λ/σ of the Gaussian anchor), for at most four matrices; rings: weights more than
        3 times as large as a Gaussian's expected maximum.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, there are too many matrices, the protocols
        differ, `level` is no probability, or an estimator is unknown.

    Notes
    -----
    With ``y = k (ln x - ln λ)`` the band is ``y ± z s``,
    ``s² = (ln x - ln λ)² SE(k)² + k² SE(ln λ)² - 2 k (ln x - ln λ) ρ SE(k) SE(ln λ)``.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> chart = weibull_plot(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> len(chart.to_dict()["vconcat"])
    2
    """
    return chart_of(_paper.weibull_plot(fits, level=level, compare=compare, estimators=estimators))


def density(fits: xr.Dataset, *, scale: Scale = "log", rival: bool = True) -> Chart:
    """Draw the distribution of magnitudes with the fitted Weibull and a half-normal over it.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts, at most 12 matrices.
    scale : {"log", "linear"}
        Density of ln|w|, or of |w| (up to its 99.9 % quantile).
    rival : bool
        Whether the family with the lowest BIC of all weights is sought (see
        `weibnb.families.rank.rank_families`) and drawn, if it is neither of the two.

    Returns
    -------
    altair chart
        A small multiple for each matrix: area counted, solid Weibull, dashed half-normal with
        σ = λ / (λ/σ of the Gaussian anchor), dotted the rival, which the panel's title names.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, holds more than 12 matrices, or `scale` is
        unknown.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> density(fits).to_dict()["title"]["text"]
    'Density of ln |w|'
    """
    return chart_of(_densities.density(fits, scale=scale, rival=rival))


def layer_map(fits: xr.Dataset, *, value: MapValue = "k") -> Chart:
    """Draw a number of every matrix as a map of layers and components.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: at most 12 pairs of model and step, a small multiple each.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        An estimate; the distance of k from the Gaussian anchor in standard errors; or the largest
        |w| over the maximum that a Gaussian with the same body is expected to have.

    Returns
    -------
    altair chart
        The colours of k and z diverge from the Gaussian anchor. A hatched cell is a matrix
        without the number; the reason is in its tooltip. Experts, and layers where a map would
        have more than 2,000 cells, are drawn as medians, which the title says.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits or has too many pairs, or `value` is unknown.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = layer_map(reference_cohort().isel(model=[0, 1]), value="lam")
    """
    return chart_of(_maps.layer_map(fits, value=value))


def difference(fits: xr.Dataset, first: Mapping[str, Any], second: Mapping[str, Any]) -> Chart:
    """Map how far k of one model or step differs from that of another, cell by cell.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits that hold both.
    first, second : Mapping
        Labels that choose one model and one step each, as for ``fits.sel``.

    Returns
    -------
    altair chart
        k of `second` less k of `first`; a dot stands in cells where the difference is below two
        standard errors, the noise floor. A hatched cell: one of both has no k.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or a choice is not one model and step that are there.

    Notes
    -----
    The standard error takes both fits as independent; for two steps of a run it is too large.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> entries = reference_cohort()
    >>> chart = difference(entries, {"model": "pythia-70m"}, {"model": "llama-3-8b"})
    """
    return chart_of(_maps.difference(fits, first, second))


def class_bands(
    fits: xr.Dataset,
    *,
    band: str | Band = "transmission-feed-forward",
    reference: bool = True,
) -> Chart:
    """Draw k of every matrix by component, with medians, a published band and published entries.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.
    band : str or Band
        A name of `weibnb.diagnostics.bands.BANDS`, or a band of your own.
    reference : bool
        Whether the medians of the published entries are drawn, at the right edge.

    Returns
    -------
    altair chart
        Within a component the layers go from left to right. Band and entries are left out where
        the fits have another protocol, which the title says.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has too many models, or the band is unknown.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = class_bands(reference_cohort().isel(model=[0]), band="selection-gqa")
    """
    return chart_of(_strips.class_bands(fits, band=band, reference=reference))


def trajectories(
    fits: xr.Dataset,
    *,
    value: TrackValue = "k",
    by: By = "component",
    scale: Scale = "log",
) -> Chart:
    """Draw k or λ along the steps of a training run, a line for each matrix.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.
    value : {"k", "lam"}
        What is drawn; λ in units of the weights.
    by : {"component", "weight_class"}
        What makes a small multiple; with several models, each has its own.
    scale : {"log", "linear"}
        Of the steps; on the logarithmic one step 0 stands left of the first other step.

    Returns
    -------
    altair chart
        Layers, or of more than 6 the third they lie in, differ in colour and dash. With k:
        the Gaussian anchor as a rule, and shaded the published band of feed-forward medians
        where it applies. A matrix without fit is a cross at the foot.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a word is unknown, or there are too many panels.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> run = {f"m/step{s}": {name: rng.normal(size=(64, 64))} for s in (0, 10)}
    >>> fits = wb.scan(run)
    """
    return chart_of(_lines.trajectories(fits, value=value, by=by, scale=scale))


def phase_portrait(fits: xr.Dataset) -> Chart:
    """Draw the path of every matrix in the plane of λ and k while it trains.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.

    Returns
    -------
    altair chart
        A small multiple for each class, with several models for each model and class. Colour is
        the step; a ring is where a path begins, a triangle where it ends.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or there are too many panels.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> "There is one step" in str(phase_portrait(reference_cohort()).to_dict())
    True
    """
    return chart_of(_lines.phase_portrait(fits))


def depth_profile(fits: xr.Dataset) -> Chart:
    """Draw k along the layers of each component, with standard errors.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 6 models.

    Returns
    -------
    altair chart
        A small multiple for each component; models differ in colour, shape and dash.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has more than 6 models, or too many components.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = depth_profile(reference_cohort().isel(model=[0]))
    """
    return chart_of(_lines.depth_profile(fits))


def cohort(fits: xr.Dataset) -> Chart:
    """Draw the medians of up to 6 models among the 12 published entries, component by component.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %: the last step of each model.

    Returns
    -------
    altair chart
        Ticks are the published entries, marks the models' medians over layers ± one standard
        error. The title names the entry that `weibnb.compare` finds nearest.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by this protocol, or has more than 6 models.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = cohort(reference_cohort().isel(model=[0]))
    """
    return chart_of(_strips.cohort(fits))


def body_tail_chart(fits: xr.Dataset) -> Chart:
    """Draw k of the central 80 %, 90 % and all of the weights, against that of a Gaussian.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts: the last step of each model.

    Returns
    -------
    altair chart
        A line for each matrix, a small multiple for each component; dashed: a Gaussian. Lines
        that fall more steeply have a heavier tail, a Weibull's is level.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, or there are too many panels.

    Notes
    -----
    Cost: that of `weibnb.diagnostics.tails.body_tail`.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = body_tail_chart(fits)
    """
    return chart_of(_lines.body_tail_chart(fits))


def outlier_strip(fits: xr.Dataset) -> Chart:
    """Draw how far the largest weight of every matrix lies beyond a Gaussian's.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.

    Returns
    -------
    altair chart
        max |w| over the expected maximum of a Gaussian with the same body, on a logarithmic axis;
        beyond the rule at 3 `weibnb.find_outliers` looks, and a label names the layer.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a variable is missing, or there are too many models.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = outlier_strip(fits)
    """
    return chart_of(_strips.outlier_strip(fits))
