"""Tails, masses and densities of the families against scipy and closed forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import integrate, special, stats

from tests.families.known import (
    CODES,
    TRUE,
    log_density,
)
from weibnb.families.distributions import (
    FAMILIES,
    Family,
    density,
    density_terms,
    log_masses,
    tails_at,
)
from weibnb.families.distributions import log_density as log_density_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@pytest.mark.parametrize("x", [1e-6, 0.3, 1.0, 5.0, 10.0, 20.0, 40.0])
def test_tails_are_right_far_out(x: float) -> None:
    log_x = math.log(x)

    def tails(family: str, shape: float) -> Any:
        code = CODES[family]
        found = tails_at(code, math.log(shape), 0.0, np.array([log_x]))[:, 0]
        return pytest.approx(tuple(found), rel=1e-12, abs=1e-14)

    gaussian = math.log(special.erf(x / math.sqrt(2))), math.log(2) + special.log_ndtr(-x)
    assert gaussian == tails("half_normal", 1)
    log_normal = special.log_ndtr(log_x / 0.1), special.log_ndtr(-log_x / 0.1)
    assert log_normal == tails("lognormal", 0.1)
    assert (math.log(-math.expm1(-(x**1.5))), -(x**1.5)) == tails("weibull", 1.5)
    assert (math.log(-math.expm1(-x)), -x) == tails("generalised_gaussian", 1)
    below = (
        math.log(-math.expm1(math.log1p(x) - x))
        if x > 1e-3
        else math.log(x * x / 2 * (1 - 2 * x / 3))
    )
    assert (below, math.log1p(x) - x) == tails("gamma", 2)
    cauchy = math.log(2 / math.pi * math.atan(x)), math.log(2 / math.pi * math.atan(1 / x))
    assert cauchy == tails("student_t", 1)


def test_student_t_tails_equal_scipys() -> None:
    for df in (0.5, 3.0, 30.0, 1e4):
        for x in (1e-4, 0.7, 1.9, 10.0, 40.0):
            p, q = tails_at(CODES["student_t"], math.log(df), 0.0, np.array([math.log(x)]))[:, 0]
            if stats.t.sf(x, df) > 0:
                assert q == pytest.approx(math.log(2) + math.log(stats.t.sf(x, df)), rel=1e-9)
            else:  # df = 10,000 at 40 σ: P(|T| > x) ~ 2 φ-like, from its leading term
                front = special.gammaln((df + 1) / 2) - special.gammaln(df / 2)
                front -= 0.5 * math.log(math.pi * df)
                leading = front - (df + 1) / 2 * math.log1p(x * x / df) + math.log(2 / x)
                assert q == pytest.approx(leading + math.log1p(x * x / df), rel=1e-5)
            assert p == pytest.approx(
                math.log(special.betainc(0.5, df / 2, x * x / (df + x * x))), rel=1e-9, abs=1e-12
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_bin_masses_equal_quadrature_of_the_density(family: str) -> None:
    shape = TRUE[family][0]
    code = CODES[family]
    for low in (1e-5, 0.01, 1.0, 10.0, 40.0):
        high = low * (1 + 2.0**-8)
        peak = float(log_density(family, np.array([low]), shape, 1.0)[0])
        mass, _ = integrate.quad(
            lambda x, peak=peak: math.exp(log_density(family, np.array([x]), shape, 1.0)[0] - peak),
            low,
            high,
            epsabs=0,
            epsrel=1e-11,
        )
        ours = log_masses(tails_at(code, math.log(shape), 0.0, np.log([low, high])))[0]
        assert ours == pytest.approx(math.log(mass) + peak, rel=1e-9, abs=1e-8)


def test_densities_and_their_derivatives() -> None:
    h = 1e-5
    for family, code in CODES.items():
        for v in (-0.5, 0.4, 2.0):
            for d in (-3.0, -0.2, 0.7):

                def at(a: float, b: float, code: int = code, v: float = v, d: float = d) -> Array:
                    return np.array(log_density_at(code, density_terms(code, v + a), d - b))

                here, x = at(0, 0), math.exp(d)
                scipys = log_density(family, np.array([x]), math.exp(v), 1.0)[0] + d
                assert here[0] == pytest.approx(scipys, rel=1e-10, abs=1e-10)
                by_v, by_u = (at(h, 0) - at(-h, 0)) / (2 * h), (at(0, h) - at(0, -h)) / (2 * h)
                if family != "half_normal":
                    np.testing.assert_allclose(here[[1, 3]], by_v[[0, 1]], rtol=1e-6, atol=1e-6)
                np.testing.assert_allclose(here[[2, 4, 5]], by_u[:3], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_of_a_family_is_that_of_scipy(family: Family) -> None:
    x, shape = np.geomspace(1e-3, 0.2, 50), TRUE[family][0]
    expected = np.exp(log_density(family, x, shape, 0.02)) * x
    free = np.nan if family == "half_normal" else shape
    np.testing.assert_allclose(density(family, x, free, 0.02), expected, rtol=1e-9, atol=1e-300)
    with pytest.raises(ValueError, match="Did you mean 'weibull'"):
        density("weibul", x, shape, 0.02)  # type: ignore[arg-type]
