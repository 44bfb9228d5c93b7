"""The distribution on paper, the protocol's rules and the anchors of ideal matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import optimize, stats

from tests import oracle
from weibnb.fitting import weibull
from weibnb.fitting.single import fit_weibull
from weibnb.fitting.weibull import anchor, check_protocol

if TYPE_CHECKING:
    from collections.abc import Callable

CORE, WIDE, FULL = (0.1, 0.9), (0.05, 0.95), (0.0, 1.0)


@pytest.mark.parametrize(("k", "lam"), [(0.4, 3.0), (1.0, 1.0), (1.2, 0.02), (9.0, 1e-4)])
def test_distribution_agrees_with_scipy(k: float, lam: float) -> None:
    reference = stats.weibull_min(k, scale=lam)
    x = lam * np.array([0, 1e-9, 1e-3, 0.5, 1, 2, 5])
    np.testing.assert_allclose(weibull.cdf(x, k, lam), reference.cdf(x), rtol=1e-13)
    p = np.array([0, 1e-12, 1e-3, 0.1, 0.632, 0.999, 1 - 1e-12])
    np.testing.assert_allclose(weibull.quantile(p, k, lam), reference.ppf(p), rtol=1e-13)
    for order in (1, 2, 4):
        expected = reference.moment(order)
        assert float(weibull.raw_moment(order, k, lam)) == pytest.approx(expected, rel=1e-12)
    assert float(weibull.raw_moment(0, k, lam)) == 1
    assert float(weibull.quantile(1.0 - 2**-53, k, lam)) == pytest.approx(
        float(reference.isf(2**-53)), rel=1e-13
    )


def test_weibull_plot_of_a_weibull_is_a_line_of_slope_k() -> None:
    p = np.linspace(0.001, 0.999, 57)
    x = np.log(weibull.quantile(p, 1.7, 0.3))
    np.testing.assert_allclose(weibull.ordinate(p), 1.7 * (x - np.log(0.3)), atol=1e-12)


def test_distribution_broadcasts() -> None:
    assert weibull.cdf(np.ones((3, 1)), np.ones(4), 2.0).shape == (3, 4)
    assert weibull.quantile(0.5, np.ones(4), np.ones((2, 1))).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "parameter", "trim", "k", "lam", "r2"),
    [
        ("gaussian", None, CORE, "1.205434", "0.887487", "0.997740"),
        ("gaussian", None, WIDE, "1.190923", "0.880888", None),
        ("uniform", None, CORE, "1.3751", "1.0520", "0.9831"),
        ("laplace", None, CORE, "1.000000000", "0.7071", "1.000000000"),
        ("truncated_gaussian", 2.0, CORE, "1.2272", "0.9439", "0.9963"),
        ("truncated_gaussian", None, CORE, "1.2272", "0.9439", "0.9963"),
        ("truncated_gaussian", 3.0, CORE, "1.2068", "0.8960", "0.9977"),
        ("student_t", 3.0, CORE, "1.1057", None, "0.9998"),
        ("student_t", 5.0, CORE, "1.1483", None, "0.9996"),
        ("student_t", None, CORE, "1.1483", None, "0.9996"),
        ("student_t", 10.0, CORE, "1.1779", None, "0.9988"),
        ("student_t", 30.0, CORE, "1.1965", None, "0.9981"),
    ],
)
def test_anchors_have_the_published_digits(
    name: Any,
    parameter: float | None,
    trim: tuple[float, float],
    k: str,
    lam: str | None,
    r2: str | None,
) -> None:
    found = anchor(name, trim=trim, parameter=parameter)
    for value, digits in ((found.k, k), (found.lam_over_rms, lam), (found.r2, r2)):
        if digits is not None:
            decimals = len(digits.split(".")[1])
            assert f"{value:.{decimals}f}" == digits


@pytest.mark.parametrize("trim", [CORE, WIDE, (0.3, 0.6), (0.0, 0.5), (0.5, 1.0), FULL])
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("gaussian", None),
        ("uniform", None),
        ("laplace", None),
        ("truncated_gaussian", 0.5),
        ("truncated_gaussian", 3.0),
        ("student_t", 2.5),
        ("student_t", 30.0),
    ],
)
def test_anchors_equal_adaptive_quadrature(
    name: Any, parameter: float | None, trim: tuple[float, float]
) -> None:
    found = anchor(name, trim=trim, parameter=parameter)
    reference = oracle.population_rank_regression(name, trim, parameter)
    tolerance = 1e-9 if trim[1] < 1 else 1e-6
    assert found.k == pytest.approx(reference.k, rel=tolerance)
    assert found.lam_over_rms == pytest.approx(reference.lam, rel=tolerance)
    assert found.r2 == pytest.approx(reference.r2, abs=tolerance)
    assert (found.initialisation, found.trim) == (name, trim)


def test_gaussian_over_the_full_range_is_near_1_15() -> None:
    assert anchor(trim=FULL).k == pytest.approx(1.150, abs=0.002)


def half_normal(x: float) -> float:
    return float(np.sqrt(2 / np.pi) * np.exp(-x * x / 2))


@pytest.mark.parametrize(
    ("name", "density", "rms", "top", "digits"),
    [
        ("gaussian", half_normal, 1.0, 12.0, 1.263),
        ("uniform", lambda x: 1.0, 3**-0.5, 1.0, 1.618),
        ("laplace", lambda x: float(np.exp(-x)), 2**0.5, 60.0, 1.0),
    ],
)
def test_maximum_likelihood_anchors_are_roots_of_the_profile(
    name: Any, density: Callable[[float], float], rms: float, top: float, digits: float
) -> None:
    found = anchor(name, estimator="maximum_likelihood")
    reference = oracle.population_maximum_likelihood(density, rms, top)
    assert found.trim == FULL
    assert found.k == pytest.approx(digits, abs=5e-4)
    assert found.k == pytest.approx(reference.k, abs=1e-8)
    assert found.lam_over_rms == pytest.approx(reference.lam, abs=1e-8)


def test_maximum_likelihood_of_the_uniform_is_the_golden_ratio() -> None:
    golden = (1 + 5**0.5) / 2
    found = anchor("uniform", estimator="maximum_likelihood")
    assert found.k == pytest.approx(golden, abs=1e-10)
    assert found.lam_over_rms == pytest.approx((1 / (golden + 1)) ** (1 / golden) * 3**0.5)


@pytest.mark.parametrize("trim", [CORE, (0.0, 0.5), (0.4, 1.0)])
@pytest.mark.parametrize(
    ("name", "parameter"), [("gaussian", None), ("uniform", None), ("truncated_gaussian", 1.5)]
)
def test_censored_anchors_maximise_the_expected_likelihood(
    name: Any, parameter: float | None, trim: tuple[float, float]
) -> None:
    quantile, rms = oracle.quantile_function(name, parameter)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    v, length = (nodes + 1) / 2, trim[1] - trim[0]
    share, slope = v, np.ones_like(v)
    if trim[0] == 0:  # ln|w| is singular there
        share, slope = v**2, 2 * v
    elif trim[1] == 1:
        share, slope = 1 - (1 - v) ** 2, 2 * (1 - v)
    x = np.log([quantile(trim[0] + length * p) for p in share])
    mass = weights / 2 * slope * length
    first = np.log(quantile(trim[0])) if trim[0] else np.nan
    last = np.log(quantile(trim[1])) if trim[1] < 1 else np.nan

    def loss(theta: oracle.Array) -> float:
        k, b = np.exp(theta[0]), theta[1]
        z = k * (x - b)
        total = mass @ (np.log(k) + z - np.exp(z))
        if trim[0]:
            total += trim[0] * np.log(-np.expm1(-np.exp(k * (first - b))))
        if trim[1] < 1:
            total -= (1 - trim[1]) * np.exp(k * (last - b))
        return -float(total)

    best = optimize.minimize(
        loss,
        np.zeros(2),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000},
    )
    found = anchor(name, trim=trim, estimator="maximum_likelihood", parameter=parameter)
    assert found.k == pytest.approx(np.exp(best.x[0]), rel=1e-5)
    assert found.lam_over_rms == pytest.approx(np.exp(best.x[1]) / rms, rel=1e-5)


@pytest.mark.parametrize("trim", [CORE, FULL, (0.3, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
def test_laplace_is_a_weibull_under_every_protocol(
    estimator: Any, trim: tuple[float, float]
) -> None:
    found = anchor("laplace", trim=trim, estimator=estimator)
    assert found.k == pytest.approx(1, abs=1e-8)
    assert found.lam_over_rms == pytest.approx(2**-0.5, abs=1e-8)
    assert found.r2 == pytest.approx(1, abs=1e-9)


def test_anchors_approach_their_limits() -> None:
    gaussian = anchor()
    assert anchor("truncated_gaussian", parameter=8.0).k == pytest.approx(gaussian.k, abs=1e-9)
    assert anchor("truncated_gaussian", parameter=1e-3).k == pytest.approx(
        anchor("uniform").k, abs=1e-5
    )
    assert anchor("student_t", parameter=1e6).k == pytest.approx(gaussian.k, abs=1e-5)


@pytest.mark.parametrize("trim", [CORE, WIDE, (0.3, 0.6)])
@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize(
    ("name", "parameter", "rms"),
    [
        ("gaussian", None, 1.0),
        ("uniform", None, 3**-0.5),
        ("laplace", None, 2**0.5),
        ("student_t", 5.0, (5 / 3) ** 0.5),
    ],
)
def test_simulated_matrices_lie_within_four_standard_errors(
    name: Any, parameter: float | None, rms: float, estimator: Any, trim: tuple[float, float]
) -> None:
    weights = oracle.sample(name, 1 << 18, 20).astype(np.float32)
    found = fit_weibull(weights, trim=trim, estimator=estimator)
    expected = anchor(name, trim=trim, estimator=estimator, parameter=parameter)
    assert found.k_se < 0.006
    assert abs(found.k - expected.k) < 4 * found.k_se
    assert abs(found.lam - expected.lam_over_rms * rms) < 4 * found.lam_se
    assert found.r2 == pytest.approx(expected.r2, abs=1e-3)


def test_a_million_gaussian_weights_find_the_published_constants() -> None:
    weights = oracle.sample("gaussian", 1 << 20, 4)
    found = fit_weibull(weights)
    assert found.k_se == pytest.approx(1.4 / 1024, rel=0.05)
    assert abs(found.k - 1.205434) < 4 * found.k_se
    assert abs(found.lam - 0.887487) < 4 * found.lam_se
    likelihood = fit_weibull(weights, estimator="maximum_likelihood")
    assert abs(likelihood.k - 1.263) < 4 * likelihood.k_se + 5e-4


def test_pooling_two_scales_fakes_a_lower_shape() -> None:
    weights = oracle.sample("gaussian", 1 << 19, 6)
    weights[::2] *= 2
    assert fit_weibull(weights).k == pytest.approx(1.140, abs=0.008)


@pytest.mark.parametrize(
    ("estimator", "trim"), [("rank_regression", CORE), ("maximum_likelihood", FULL)]
)
def test_each_estimator_has_its_own_trim(estimator: Any, trim: tuple[float, float]) -> None:
    assert check_protocol(None, estimator) == (trim, estimator)
    assert anchor(estimator=estimator).trim == trim


@pytest.mark.parametrize("trim", [(0, 1), [0.1, 0.9], np.array([0.0, 0.5]), (np.float32(0.5), 1)])
def test_trims_may_be_any_pair_of_numbers(trim: Any) -> None:
    checked, _ = check_protocol(trim, "rank_regression")
    assert checked == tuple(float(edge) for edge in trim)
    assert [type(edge) for edge in checked] == [float, float]


@pytest.mark.parametrize(
    "trim",
    [
        (-0.1, 0.9),
        (-1e-12, 0.9),
        (0.1, 1 + 1e-12),
        (0.9, 0.1),
        (0.5, 0.5),
        (0.0, 0.0),
        (np.nan, 0.9),
        (0.1, np.nan),
        (10, 90),
        (0.1, np.inf),
    ],
)
def test_trims_that_are_no_interval_are_refused(trim: Any) -> None:
    with pytest.raises(ValueError, match=r"`trim` must satisfy 0 <= lower < upper <= 1, got \("):
        check_protocol(trim, "rank_regression")
    with pytest.raises(ValueError, match="`trim`"):
        fit_weibull(np.ones(3), trim=trim)
    with pytest.raises(ValueError, match="`trim`"):
        anchor(trim=trim)


@pytest.mark.parametrize("trim", [0.1, (0.1,), (0.1, 0.5, 0.9), "ab", (None, 0.9), ("x", "y"), ()])
def test_trims_that_are_no_pair_are_refused(trim: Any) -> None:
    with pytest.raises(TypeError, match="`trim` must be a pair of numbers"):
        check_protocol(trim, "rank_regression")


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("rank_regresion", "rank_regression"),
        ("max_likelihood", "maximum_likelihood"),
        ("xyz", None),
        (None, None),
    ],
)
def test_unknown_estimators_are_told_the_closest(wrong: Any, close: str | None) -> None:
    with pytest.raises(ValueError, match="must be one of") as caught:
        check_protocol(None, wrong)
    message = str(caught.value)
    assert "'rank_regression', 'maximum_likelihood'" in message
    assert f"got {wrong!r}" in message
    assert message.endswith(f"Did you mean {close!r}?") if close else "mean" not in message


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        ("gausian", None, r"`initialisation` must be one of 'gaussian', .* got 'gausian'"),
        ("gaussian", 2.0, r"`parameter` must be omitted for 'gaussian', got 2\.0"),
        ("uniform", 0.0, "must be omitted"),
        ("laplace", 1.0, "must be omitted"),
        ("student_t", 2.0, "must be more than 2 for 'student_t'"),
        ("student_t", float("nan"), "must be more than 2"),
        ("truncated_gaussian", 0.0, "must be more than 0"),
        ("truncated_gaussian", -1.0, "must be more than 0"),
    ],
)
def test_anchors_refuse_what_they_do_not_know(
    name: Any, parameter: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        anchor(name, parameter=parameter)


def test_anchors_accept_a_list_as_trim() -> None:
    trim: Any = [0.1, 0.9]
    assert anchor(trim=trim) == anchor()
