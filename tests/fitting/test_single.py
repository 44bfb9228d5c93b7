"""The fit of one matrix: its status, its words, the forms that weights may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.estimates import ESTIMATES, fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.single import fit_weibull

torch = pytest.importorskip("torch")


RANK, LIKELIHOOD = "rank_regression", "maximum_likelihood"


def repeated(*parts: tuple[float, int]) -> oracle.Array:
    return np.concatenate([np.full(count, value) for value, count in parts])


GAUSSIAN = oracle.sample("gaussian", 100, 1)


@pytest.mark.parametrize(
    ("weights", "status"),
    [
        (np.zeros((3, 4)), "all_zero"),
        (np.full((30, 40), 0.25), "constant"),
        (np.full(5, -0.25), "constant"),
        (repeated((0.25, 100), (-0.25, 100), (0.0, 9)), "constant"),
        (GAUSSIAN[:99], "too_few"),
        (GAUSSIAN, "ok"),
        (np.concatenate([GAUSSIAN[:99], np.zeros(50)]), "too_few"),
        (np.concatenate([GAUSSIAN[:99], [np.nan] * 9]), "too_few"),
        (np.concatenate([GAUSSIAN, [np.nan]]), "nonfinite"),
        (np.concatenate([GAUSSIAN, [-np.inf]]), "nonfinite"),
        (np.concatenate([GAUSSIAN, np.zeros(9)]), "ok"),
        (repeated((1.0, 60), (2.0, 60)), "ok"),
        (repeated((1.0, 5), (2.0, 95)), "degenerate"),
        (repeated((1.0, 5), (2.0, 90), (3.0, 5)), "degenerate"),
        (repeated((1.0, 11), (2.0, 89)), "ok"),
        (repeated((1.0, 10), (2.0, 90)), "degenerate"),
        (np.full(200, np.nan), "no_finite"),
        (np.array([np.inf, np.nan]), "no_finite"),
        (np.array([0.0, np.nan]), "all_zero"),
        (np.empty((0, 7)), "empty"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_statuses(weights: oracle.Array, status: str, dtype: str) -> None:
    fitted = fit_weibull(weights.astype(oracle.DTYPES[dtype]))
    assert fitted.status == status
    missing = [np.isnan(getattr(fitted, name)) for name in ESTIMATES]
    assert missing == [status not in {"ok", "nonfinite"}] * len(ESTIMATES)
    assert fitted.n == fitted.counts.n == np.count_nonzero(weights[np.isfinite(weights)])


def test_a_wider_trim_may_fit_what_a_narrow_one_cannot() -> None:
    weights = repeated((1.0, 5), (2.0, 90), (3.0, 5))
    assert fit_weibull(weights, trim=(0, 1)).status == "ok"
    assert fit_weibull(weights, estimator="maximum_likelihood").status == "ok"


@pytest.mark.parametrize("estimator", [RANK, LIKELIHOOD])
def test_two_values_give_the_line_of_the_full_sort(estimator: Any) -> None:
    weights = repeated((1.0, 70), (2.0, 50))
    fitted = fit_weibull(weights, trim=(0, 1), estimator=estimator)
    ordered = oracle.magnitudes(weights)
    reference = (
        oracle.full_sort(ordered, (0, 1))
        if estimator == RANK
        else oracle.maximum_likelihood(ordered)
    )
    assert fitted.k == pytest.approx(reference.k, rel=1e-9)
    assert fitted.lam == pytest.approx(reference.lam, rel=1e-9)


def test_repr_states_the_estimates_the_reference_and_the_protocol() -> None:
    weights = oracle.sample("gaussian", 10_000, 1)
    fitted = fit_weibull(weights)
    text = repr(fitted)
    assert text.startswith(f"<WeibullFit: k = {fitted.k:.4f} ± {fitted.k_se:.4f} (Gaussian 1.2054)")
    assert text.endswith("n = 10,000; rank regression, trim 10–90 %>")
    likelihood = repr(fit_weibull(weights, estimator="maximum_likelihood"))
    assert "(Gaussian 1.2628)" in likelihood
    assert likelihood.endswith("maximum likelihood, trim 0–100 %>")
    weights[0] = np.nan
    assert repr(fit_weibull(weights)).startswith("<WeibullFit [nonfinite]: k =")
    assert repr(fit_weibull(np.zeros(3))) == (
        "<WeibullFit: all_zero; n = 0; rank regression, trim 10–90 %>"
    )


def test_weights_may_be_lists_tensors_and_counts() -> None:
    weights = oracle.sample("laplace", 500, 1).reshape(20, 25)
    expected = fit_weibull(weights)
    for form in (weights.tolist(), torch.tensor(weights), count_magnitudes(weights)):
        found = fit_weibull(form)
        assert [getattr(found, name) for name in ESTIMATES] == [
            getattr(expected, name) for name in ESTIMATES
        ]
    counts = count_magnitudes(weights)
    assert fit_weibull(counts).counts is counts
    assert fit_weibull(Counts()).status == "empty"


def test_protocol_errors_come_before_the_work() -> None:
    unknown: Any = "ols"
    with pytest.raises(ValueError, match="`estimator` must be one of"):
        fit_weibull("not even weights", estimator=unknown)
    with pytest.raises(ValueError, match="`trim`"):
        fit_counts(CountRows.of([Counts()]), trim=(0.9, 0.1))
    with pytest.raises(TypeError, match="`trim`"):
        fit_counts(CountRows.of([Counts()]), trim=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="complex64"):
        fit_weibull(np.ones(200, np.complex64))
    with pytest.raises(ValueError, match="`device`"):
        fit_weibull(np.ones(200), device="gpu")
