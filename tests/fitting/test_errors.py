"""Standard errors against the spread of simulations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tests import oracle
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.single import fit_weibull

REPLICATIONS = 1500


RANK, LIKELIHOOD = "rank_regression", "maximum_likelihood"


@lru_cache(maxsize=2)
def replications(distribution: str, n: int) -> CountRows:
    rng, shape = np.random.default_rng(11), (REPLICATIONS, n)
    normal = np.abs(rng.standard_normal(shape, dtype=np.float32))
    if distribution == "gaussian":
        drawn = normal
    elif distribution == "lognormal":
        drawn = np.exp(rng.standard_normal(shape, dtype=np.float32))
    elif distribution == "uniform":
        drawn = rng.random(shape, dtype=np.float32)
    elif distribution == "bimodal":
        drawn = normal * np.where(rng.random(shape) < 0.5, np.float32(1), np.float32(0.05))
    else:
        power = {"laplace": 1, "weibull 1.5": 1.5, "weibull 0.6": 0.6}[distribution]
        drawn = rng.standard_exponential(shape, dtype=np.float32) ** np.float32(1 / power)
    return CountRows.of(oracle.simulated_counts(np.maximum(drawn, np.float32(1e-9))))


def check_standard_errors(
    distribution: str, n: int, estimator: Any, trim: tuple[float, float], tolerance: float = 0.1
) -> None:
    """Compare with the spread over replications, itself known to 2 %."""
    fitted = fit_counts(replications(distribution, n), trim=trim, estimator=estimator)
    assert set(fitted["status"]) == {"ok"}
    k, lam = fitted["k"], fitted["lam"]
    assert np.sqrt(np.mean(fitted["k_se"] ** 2)) == pytest.approx(k.std(), rel=tolerance)
    assert np.sqrt(np.mean(fitted["lam_se"] ** 2)) == pytest.approx(lam.std(), rel=tolerance)
    correlation = np.corrcoef(k, np.log(lam))[0, 1]
    assert fitted["k_lam_correlation"].mean() == pytest.approx(correlation, abs=tolerance)


@pytest.mark.parametrize(
    ("estimator", "trim"),
    [(RANK, (0.1, 0.9)), (RANK, (0.0, 1.0)), (RANK, (0.3, 0.6)), (LIKELIHOOD, (0.0, 1.0))],
)
@pytest.mark.parametrize(
    ("distribution", "n"),
    [
        ("gaussian", 4096),
        ("gaussian", 256),
        ("weibull 1.5", 1024),
        ("weibull 0.6", 1024),
        ("laplace", 1024),
        ("uniform", 1024),
    ],
)
def test_standard_errors_equal_the_spread_of_simulations(
    distribution: str, n: int, estimator: Any, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, n, estimator, trim)


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.3, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize("distribution", ["weibull 1.5", "laplace"])
def test_censored_standard_errors_of_a_weibull(
    distribution: str, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, 1024, LIKELIHOOD, trim)


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 0.5)])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "lognormal", "bimodal"])
def test_censored_standard_errors_of_what_is_no_weibull(
    distribution: str, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, 1024, LIKELIHOOD, trim, 0.15)


@pytest.mark.parametrize("n", [4096, 1 << 18])
def test_standard_error_of_gaussian_weights_is_near_1_4_over_root_n(n: int) -> None:
    fitted = fit_weibull(oracle.sample("gaussian", n, 2).astype(np.float32))
    assert fitted.k_se * n**0.5 == pytest.approx(1.4, rel=0.08)


def test_standard_errors_scale_with_root_n_and_with_the_weights() -> None:
    row = replications("gaussian", 4096).part(slice(1))
    once = fit_counts(row)
    fourfold = fit_counts(row._replace(counts=4 * row.counts))
    assert fourfold["k"][0] == pytest.approx(once["k"][0], rel=2e-3)
    assert fourfold["k_se"][0] == pytest.approx(once["k_se"][0] / 2, rel=2e-2)
    doubled = fit_counts(row._replace(labels=row.labels + 1024))
    assert doubled["lam_se"][0] == pytest.approx(2 * once["lam_se"][0], rel=1e-9)
