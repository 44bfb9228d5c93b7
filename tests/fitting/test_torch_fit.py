"""The fit on tensors against compiled code, the full sort, and itself in other shapes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from tests import oracle
from tests.fitting.test_neighbours import blocks
from weibnb.counting.counters import by_counter, counters_of
from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, label_values
from weibnb.counting.lines import lines_of
from weibnb.fitting import torch_backend, torch_fit, torch_likelihood, torch_ordinates
from weibnb.fitting.clusters import _of_neighbours
from weibnb.fitting.estimates import COVARIANCE, EFFECTS, ESTIMATES, fit_counts, influences
from weibnb.fitting.rank_functions import by_class
from weibnb.fitting.rows import CountRows
from weibnb.fitting.torch_body import trim_ranks
from weibnb.fitting.torch_clusters import classes_of
from weibnb.fitting.torch_fit import fit_batch
from weibnb.fitting.torch_neighbours import of_neighbours
from weibnb.fitting.torch_rows import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.fitting.weibull import Estimator

CPU = torch.device("cpu")
ESTIMATORS: tuple[Estimator, ...] = ("rank_regression", "maximum_likelihood")
# Differences that are allowed, as shares: the compiled distribution comes from a table.
CLOSE = {
    **dict.fromkeys(("k", "lam", "k_se", "lam_se"), 1e-10),
    **dict.fromkeys(("r2", "k_lam_correlation"), 1e-9),
    **dict.fromkeys(("ks", "ks_full", "ks_midrank"), 1e-8),
}


def same(counted: Sequence[Counts], **protocol: Any) -> dict[str, NDArray[Any]]:
    """Fit by both, hold all columns equal, and give those of torch."""
    rows = CountRows.of(counted)
    expected, found = fit_counts(rows, **protocol), fit_counts(rows, **protocol, device=CPU)
    assert found["status"].tolist() == expected["status"].tolist()
    for name, close in CLOSE.items():
        np.testing.assert_allclose(
            found[name], expected[name], rtol=close, atol=1e-11, err_msg=name, equal_nan=True
        )
    return found


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("trim", [*oracle.TRIMS, (0.0, 0.2), (0.97, 1.0)])
@pytest.mark.parametrize("n", [100, 120, 131, 1000, 4096, 20_000])
def test_torch_gives_what_compiled_code_gives(
    n: int, trim: tuple[float, float], estimator: Estimator
) -> None:
    counted = [
        count_magnitudes(oracle.matrix(name, dtype, n))
        for name, dtype in itertools.product(oracle.DISTRIBUTIONS, oracle.DTYPES)
    ]
    found = same(counted, trim=trim, estimator=estimator)
    assert np.isfinite(found["k"]).sum() > 10


@pytest.mark.parametrize("dtype", oracle.EXACT)
@pytest.mark.parametrize("trim", oracle.TRIMS)
def test_torch_gives_what_the_full_sort_gives(dtype: str, trim: tuple[float, float]) -> None:
    matrix = oracle.matrix("gaussian", dtype, 5000)
    reference = oracle.full_sort(oracle.magnitudes(matrix), trim)
    found = fit_counts(CountRows.of([count_magnitudes(matrix)]), trim=trim, device=CPU)
    assert found["k"][0] == pytest.approx(reference.k, rel=1e-9)
    assert found["lam"][0] == pytest.approx(reference.lam, rel=1e-9)
    assert found["r2"][0] == pytest.approx(reference.r2, rel=1e-8)


def unusual() -> list[Counts]:
    """Matrices of every outcome, and at both ends of size and magnitude."""
    rng = np.random.default_rng(0)
    small = np.float32(1.4e-45) * rng.integers(1, 60, 2000).astype(np.float32)
    two = [1.0] * 60 + [2.0] * 60
    weights: list[Any] = [
        np.zeros(50), [], [np.nan] * 200, [0.5] * 300, rng.normal(size=99), rng.normal(size=100),
        two, [1.0] * 119 + [2.0], small, small.astype(np.float64) * 1e-280,
        rng.normal(size=400).astype(np.float32) * np.float32(2e-38), [1.0, *[2.0] * 200, np.inf],
        rng.normal(size=3000) * 1e300, rng.lognormal(0, 40, 5000), 2.0 ** rng.integers(-9, 9, 777),
    ]  # fmt: skip
    counted = [count_magnitudes(np.asarray(values)) for values in weights]
    label = counted[5].labels[:3]
    return [
        *counted,
        Counts(label, [3_000_000_000, 4_000_000_000, 1_000_000_000], exact=False),
        Counts(label, [3, 5_000_000_000, 7], exact=True),
    ]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("trim", [None, (0.0, 1.0), (0.4, 0.6), (0.0, 0.03)])
def test_every_outcome(trim: tuple[float, float] | None, estimator: Estimator) -> None:
    counted = unusual()
    together = same(counted, trim=trim, estimator=estimator)
    assert len(set(together["status"])) >= 5
    for one, status in zip(counted, together["status"], strict=True):
        assert same([one], trim=trim, estimator=estimator)["status"] == [status]


def test_a_likelihood_without_a_maximum() -> None:
    counted = [Counts([1047552, 1047553], [10**9, 1]), count_magnitudes(np.arange(1.0, 400.0))]
    found = same(counted, estimator="maximum_likelihood")
    assert found["status"][1] == "ok"


@st.composite
def rows_of_counts(draw: st.DrawFn) -> list[Counts]:
    def one() -> Counts:
        gaps = draw(st.lists(st.integers(1, 900), min_size=1, max_size=40))
        numbers = draw(st.lists(st.integers(1, 500), min_size=len(gaps), max_size=len(gaps)))
        start, exact = draw(st.integers(900_000, 1_100_000)), draw(st.booleans())
        labels = start + np.cumsum(gaps)
        return Counts(labels if exact else np.unique(labels & ~3), numbers[:None], exact=exact)

    counted = [one() for _ in range(draw(st.integers(1, 5)))]
    return [c for c in counted if c.labels.size == c.packed.size] or [Counts([5000, 5001], [1, 1])]


@settings(deadline=None, max_examples=150)
@given(
    rows_of_counts(),
    st.sampled_from(ESTIMATORS),
    st.tuples(st.floats(0, 0.9), st.floats(0.06, 1)).map(lambda e: (e[0], min(e[0] + e[1], 1.0))),
)
def test_any_counts_at_any_trim(
    counted: list[Counts], estimator: Estimator, trim: tuple[float, float]
) -> None:
    rows = CountRows.of(counted)
    expected = fit_counts(rows, trim=trim, estimator=estimator)
    found = fit_counts(rows, trim=trim, estimator=estimator, device=CPU)
    fitted = expected["status"] == "ok"
    agreed = found["status"] == expected["status"]
    # where no maximum exists, rounding decides on which step that is seen
    lost = (expected["status"] == "no_convergence") | (found["status"] == "no_convergence")
    assert (agreed | lost).all()
    some = fitted & agreed
    np.testing.assert_allclose(found["k"][some], expected["k"][some], rtol=1e-10)
    np.testing.assert_allclose(found["lam"][some], expected["lam"][some], rtol=1e-10)
    for name in ("ks", "ks_full", "ks_midrank"):
        np.testing.assert_allclose(found[name][some], expected[name][some], atol=1e-9)


@pytest.mark.parametrize("n", [100, 101, 999, 4096, 10**6])
def test_ranks_of_the_trim(n: int) -> None:
    positions = (np.arange(1, n + 1) - 0.5) / n
    for lower, upper in [*oracle.TRIMS, (positions[3], positions[-4]), (0.5, 0.5 + 1e-9)]:
        inside = np.flatnonzero((positions >= lower) & (positions <= upper)) + 1
        first, last = trim_ranks(torch.full((1, 1), float(n), dtype=torch.float64), lower, upper)
        assert last - first + 1 == inside.size
        if inside.size:
            assert (first.item(), last.item()) == (inside[0], inside[-1])


def batch_of(counted: Sequence[Counts], *, empties: bool, device: Any = CPU) -> Batch:
    """Lay counts out on all labels between the smallest and the largest, or on their own."""
    every = np.unique(np.concatenate([one.labels for one in counted]))
    if empties:
        every = np.arange(every[0] - 7, every[-1] + 9)
    counts = np.zeros((len(counted), every.size))
    for row, one in enumerate(counted):
        counts[row, np.searchsorted(every, one.labels)] = one.counts
    x = np.broadcast_to(np.log(label_values(every)), counts.shape)
    return Batch(
        torch.from_numpy(counts).to(device),
        torch.from_numpy(x.copy()).to(device),
        torch.zeros(counts.shape, dtype=torch.int8, device=device),
        torch.ones(len(counted), dtype=torch.bool, device=device),
    )


@pytest.mark.parametrize("likelihood", [False, True])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 1.0), (0.3, 0.6)])
def test_bins_without_weights_change_nothing(
    trim: tuple[float, float], *, likelihood: bool
) -> None:
    counted = [
        count_magnitudes(oracle.matrix("gaussian", dtype, n))
        for dtype, n in (("bfloat16", 300), ("float8_e4m3fn", 5000), ("float16", 700))
    ]
    fits = []
    for empties in (False, True):
        batch = batch_of(counted, empties=empties)
        table, v = fit_batch(batch, trim, likelihood=likelihood, minimum=100, influence=True)
        assert v is not None
        fits.append((table.numpy(), v[:, batch.counts > 0].numpy()))
        assert not v[:, batch.counts == 0].any()
    expected = fit_counts(
        CountRows.of(counted), trim=trim, estimator=ESTIMATORS[likelihood], device=CPU
    )
    for columns, influence in fits:
        np.testing.assert_allclose(columns[:, 0], expected["k"], rtol=1e-12)
        np.testing.assert_allclose(columns[:, 4], expected["ks_full"], rtol=1e-12)
        np.testing.assert_allclose(columns[:, 5], expected["k_se"], rtol=1e-10)
        np.testing.assert_allclose(influence, fits[0][1], rtol=1e-7, atol=1e-9)


def test_rank_regression_never_waits_for_a_device() -> None:
    """A tensor without values refuses to tell any."""
    batch = batch_of([count_magnitudes([1.0, 2.0])] * 3, empties=True, device="meta")
    table, v = fit_batch(batch, (0.1, 0.9), likelihood=False, minimum=100, influence=True)
    assert table.shape == (3, 10)
    assert v is not None
    assert v.shape == (2, *batch.counts.shape)


@pytest.mark.parametrize("likelihood", [False, True])
def test_the_fit_is_one_graph_of_operations(
    monkeypatch: pytest.MonkeyPatch, *, likelihood: bool
) -> None:
    """`torch.compile` refuses what looks at values, or leaves torch, with `fullgraph`."""
    for module in (torch_fit, torch_likelihood, torch_ordinates):
        monkeypatch.setattr(module, "free_to_ask", lambda _: False)
    monkeypatch.setattr(torch_likelihood, "STEPS", 12)  # each is traced anew
    batch = batch_of([count_magnitudes(oracle.matrix("gaussian", "bfloat16", 900))], empties=False)

    def fit() -> tuple[Any, Any]:
        how: Any = {"likelihood": likelihood, "influence": True, "ask": False}
        return fit_batch(batch, (0.1, 0.9), minimum=100, **how)

    expected = fit()
    found = torch.compile(fit, backend="eager", fullgraph=True)()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def matrices_with_structure() -> list[NDArray[Any]]:
    rng = np.random.default_rng(4)
    made = []
    for dtype in oracle.DTYPES.values():
        for shape in ((64, 96), (64, 96), (128, 50), (9, 300)):
            rows = np.exp(rng.normal(0, 0.5, (shape[0], 1)))
            weights = 0.05 * rows * rng.normal(size=shape)
            weights[0, 0], weights[1, 1] = np.nan, 0.0
            made.append(weights.astype(dtype))
    return [*made, np.zeros((20, 20), np.float32), np.ones((30, 30), np.float16)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("trim", [None, (0.2, 0.7)])
def test_clustered_errors(trim: tuple[float, float] | None, estimator: Estimator) -> None:
    matrices = matrices_with_structure()
    lines: list[Any] = [
        lines_of(*as_bits(matrix), matrix.shape) if i % 5 else None
        for i, matrix in enumerate(matrices)
    ]
    rows = CountRows.of([count_magnitudes(matrix) for matrix in matrices])
    how: Any = {"trim": trim, "estimator": estimator}
    expected = fit_counts(rows, lines=lines, **how)
    found = fit_counts(rows, lines=lines, device=CPU, **how)
    assert (expected["k_design_effect"] > 1.3).sum() > 5
    for name in (*ESTIMATES, *EFFECTS, COVARIANCE):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found["k"], expected["k"], rtol=1e-10)
    covariance = expected[COVARIANCE]
    expected = fit_counts(rows, covariance=covariance, **how)
    found = fit_counts(rows, covariance=covariance, device=CPU, **how)
    for name in (*ESTIMATES, *EFFECTS):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("across", [0, 1])
def test_heads_are_seen_as_by_compiled_code(across: int) -> None:
    """What neighbours add to the products of sums, of heads, of a spoiled part and of none."""
    rng = np.random.default_rng(8)
    spoiled = blocks(rng, (256, 96), 1, 0.0)
    spoiled[:77] /= 20
    drawn = [blocks(rng, (256, 96), 16, h) for h in (0.5, 0.3)]
    added = []
    for matrix in (*drawn, spoiled, blocks(rng, (256, 96), 1, 0.0)):
        weights = matrix if across == 0 else np.ascontiguousarray(matrix.T)
        counts = count_magnitudes(weights, device="cpu", workers=1)
        bits, form = as_bits(weights)
        lines = lines_of(bits, form, weights.shape)
        row = CountRows.of([counts])
        _, v = influences(row, trim=(0.1, 0.9), estimator="rank_regression")
        of_bin, _, means = by_class(row, v)
        expected = _of_neighbours(row, of_bin, means[0], lines, across)
        of_lines = lines.columns.T if across == 0 else lines.rows
        counters = counters_of(form, exact=counts.exact)
        table = by_counter(counters, counts.labels, of_bin.astype(np.int64))
        places = table[(of_lines & counters.mask) >> counters.shift]
        classes = classes_of(
            torch.as_tensor(counts.counts.astype(float))[None], torch.as_tensor(v)[:, None]
        )
        found = of_neighbours(classes, torch.as_tensor(places)[None], 96)[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())
        added.append(bool(found.any()))
    assert added == [True, True, False, False]


def test_batches_hold_matrices_of_like_width(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = [
        count_magnitudes(oracle.matrix("gaussian", dtype, n))
        for n in (100, 5000, 300)
        for dtype in ("float16", "float8_e5m2", "float32")
    ]
    expected = fit_counts(CountRows.of(counted), device=CPU)
    monkeypatch.setattr(torch_backend, "_ON_CPU", 500)
    found = fit_counts(CountRows.of(counted), device=CPU, workers=3)
    for name in ESTIMATES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, err_msg=name)


def test_torch_keeps_its_number_of_threads() -> None:
    before = torch.get_num_threads()
    fit_counts(CountRows.of([count_magnitudes(np.arange(1.0, 500.0))]), device=CPU)
    assert torch.get_num_threads() == before


def test_where_memory_is_short_fewer_are_fitted_at_once() -> None:
    done: list[int] = []

    def job(numbers: NDArray[np.int64]) -> Any:
        if numbers.size > 3:
            raise torch.OutOfMemoryError
        done.extend(numbers.tolist())
        return torch.from_numpy(numbers), None

    with pytest.warns(UserWarning, match="too little memory for the fit of 10 matrices"):
        parts, found = torch_backend.with_less_memory(job, [np.arange(10)], CPU)
    assert sorted(done) == list(range(10))
    assert [part.tolist() for part in parts] == [part.tolist() for part, _ in found]


def test_no_memory_for_the_counts_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch_backend, "TensorRows", fail)
    rows = CountRows.of([count_magnitudes(np.arange(1.0, 500.0))])
    with pytest.raises(MemoryError, match=r"counts that are to be fitted.*backend='numba'"):
        fit_counts(rows, device=CPU)


def test_no_memory_for_one_matrix_is_an_error_with_the_next_step() -> None:
    def job(numbers: NDArray[np.int64]) -> Any:
        raise torch.OutOfMemoryError

    with (
        pytest.warns(UserWarning, match="fewer do"),
        pytest.raises(MemoryError, match="backend='numba'"),
    ):
        torch_backend.with_less_memory(job, [np.arange(2)], CPU)
