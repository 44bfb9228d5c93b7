"""Sums of ordinates on tensors against the ranks one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from weibnb.fitting.torch_ordinates import ordinate, prefix_sums, square_sum, worth


def column(*values: float) -> Any:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize("n", [100, 101, 131, 4095, 4096, 4097, 60_000])
@pytest.mark.parametrize("trim", [(0.0, 1.0), (0.1, 0.9)])
def test_prefix_sums_are_those_of_single_ranks(n: int, trim: tuple[float, float]) -> None:
    y = np.log(-np.log1p(-(np.arange(1, n + 1) - 0.5) / n))
    edges = np.arange(round(trim[0] * n), round(trim[1] * n) + 1)
    ranks = edges if n < 5000 else np.unique(np.concatenate([edges[:40], edges[::97], edges[-40:]]))
    sums, at = prefix_sums(column(*ranks.astype(float)), column(n))
    expected = np.concatenate([[0.0], np.cumsum(y)])[ranks]
    np.testing.assert_allclose((sums - sums[:, :1])[0], expected - expected[0], atol=1e-8, rtol=0)
    inner = (ranks > 0) & (ranks < n)
    share = ranks[inner] / n
    np.testing.assert_allclose(at[0, inner], np.log(-np.log1p(-share)), atol=1e-12)
    assert torch.isfinite(at).all()


@pytest.mark.parametrize("n", [100, 131, 5000])
@pytest.mark.parametrize(
    ("first", "last"), [(1, 100), (11, 90), (1, 5), (3, 40), (96, 100), (50, 50)]
)
def test_square_sums_are_those_of_single_ranks(n: int, first: int, last: int) -> None:
    y = np.log(-np.log1p(-(np.arange(1, n + 1) - 0.5) / n))
    expected = (y[first - 1 : last] ** 2).sum()
    found = square_sum(column(first), column(last), column(n))
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_ordinates() -> None:
    assert ordinate(column(1.0), column(100.0)).item() == pytest.approx(-4.600149226776579)


def test_a_device_does_what_a_mask_might_ask_for() -> None:
    assert worth(torch.tensor([False, True]))
    assert not worth(torch.tensor([False, False]))
    assert worth(torch.zeros(2, dtype=torch.bool, device="meta"))
