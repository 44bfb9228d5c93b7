"""Densities of families against those of scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from weibnb.charts.densities import density_of

if TYPE_CHECKING:
    from weibnb.families.distributions import Family


def test_densities_of_families_are_those_of_scipy() -> None:
    x = np.geomspace(1e-3, 20, 50)
    folded: tuple[Family, ...] = ("generalised_gaussian", "student_t")
    there: dict[Family, Any] = {
        "weibull": stats.weibull_min(1.3, scale=0.7),
        "half_normal": stats.halfnorm(scale=0.7),
        "lognormal": stats.lognorm(1.3, scale=0.7),
        "gamma": stats.gamma(1.3, scale=0.7),
        "generalised_gaussian": stats.gennorm(1.3, scale=0.7),
        "student_t": stats.t(1.3, scale=0.7),
    }
    for family, law in there.items():
        own = density_of(family, x, 1.3, 0.7)
        sides = 2 if family in folded else 1
        np.testing.assert_allclose(own, sides * x * law.pdf(x), rtol=1e-10)
