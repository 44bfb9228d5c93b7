"""The everyday verbs on a Dataset of fits: ``fits.weibull.<verb>``, each one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    import pandas as pd

    from weibnb.explorer.widget import Explorer
    from weibnb.report import Summary


@xr.register_dataset_accessor("weibull")  # type: ignore[no-untyped-call]
class WeibullAccessor:
    """Verbs of weibnb on a Dataset of fits; each forwards to the function of the same name.

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

    def __init__(self, fits: xr.Dataset) -> None:
        self._fits = fits

    def __repr__(self) -> str:
        verbs = ", ".join(name for name in dir(self) if not name.startswith("_"))
        return f"<weibull verbs: {verbs}>"

    def explore(self, **options: Any) -> Explorer:
        """Look at the fits with linked charts: see `weibnb.explore`."""
        from weibnb.exploring import explore

        return explore(self._fits, **options)

    def refit(self, **options: Any) -> xr.Dataset:
        """Estimate k and λ anew from the counts: see `weibnb.refit`."""
        from weibnb.fits.refit import refit

        return refit(self._fits, **options)

    def drift(self, **options: Any) -> xr.Dataset:
        """Tell how far k has moved from its anchor: see `weibnb.drift`."""
        from weibnb.diagnostics.drift import drift

        return drift(self._fits, **options)

    def judge(self, band: Any = "transmission-feed-forward", **options: Any) -> xr.Dataset:
        """Tell whether k lies in a band: see `weibnb.diagnostics.bands.judge`."""
        from weibnb.diagnostics.bands import judge

        return judge(self._fits, band, **options)

    def selection(self) -> xr.Dataset:
        """Tell how far queries and keys have moved: see `weibnb.selection`."""
        from weibnb.diagnostics.attention import selection

        return selection(self._fits)

    def body_tail(self, **options: Any) -> xr.Dataset:
        """Put k at three trims side by side: see `weibnb.diagnostics.tails.body_tail`."""
        from weibnb.diagnostics.tails import body_tail

        return body_tail(self._fits, **options)

    def heaviness(self, **options: Any) -> xr.Dataset:
        """Measure tails without a distribution: see `weibnb.diagnostics.tails.heaviness`."""
        from weibnb.diagnostics.tails import heaviness

        return heaviness(self._fits, **options)

    def rank_families(self, **options: Any) -> pd.DataFrame:
        """Rank the Weibull's rivals: see `weibnb.families.rank.rank_families`."""
        from weibnb.families.rank import rank_families

        return rank_families(self._fits, **options)

    def find_populations(self, **options: Any) -> xr.Dataset:
        """Look for two populations: see `weibnb.families.populations.find_populations`."""
        from weibnb.families.populations import find_populations

        return find_populations(self._fits, **options)

    def find_outliers(self, **options: Any) -> pd.DataFrame:
        """List outlying weights with their places: see `weibnb.scanning.locate.find_outliers`."""
        from weibnb.scanning.locate import find_outliers

        return find_outliers(self._fits, **options)

    def compare(self, cohort: xr.Dataset | None = None, **options: Any) -> pd.DataFrame:
        """Rank a cohort by distance: see `weibnb.diagnostics.cohorts.compare`."""
        from weibnb.diagnostics.cohorts import compare

        return compare(self._fits, cohort, **options)

    def summary(self, **options: Any) -> Summary:
        """Say what the fits show: see `weibnb.report.summary`."""
        from weibnb.report import summary

        return summary(self._fits, **options)
