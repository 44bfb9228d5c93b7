"""The second look on a device, torch's CPU in its place, against that on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting import device_look
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.second_look import line_sums, zero_lines
from weibnb.fitting.full_look import look_at_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

torch = pytest.importorskip("torch")

SHAPE = (150, 45)


def tensor(dtype: str, kind: str) -> Any:
    """Make weights in rows of unequal scale; some with dead lines and what is not finite."""
    rng = np.random.default_rng(2)
    weights = rng.normal(0, 0.3, SHAPE) * np.exp(rng.normal(0, 0.5, (SHAPE[0], 1)))
    if kind == "spoiled":
        weights[3], weights[:, 5] = 0.0, -0.0
        weights[7, 2], weights[0] = np.nan, np.nan
    found = torch.from_numpy(weights).to(getattr(torch, dtype))
    if kind == "gaps":
        wide = torch.zeros(SHAPE[0], 2 * SHAPE[1], dtype=found.dtype)
        wide[:, ::2] = found
        return wide[:, ::2]
    return found.t().contiguous().t() if kind == "turned" else found


@pytest.fixture(params=[1 << 22, 1000, 1])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_look, "_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("kind", ["plain", "spoiled", "gaps", "turned"])
@pytest.mark.parametrize("dtype", sorted(oracle.DTYPES))
def test_it_is_what_the_host_sees(dtype: str, kind: str) -> None:
    weights = tensor(dtype, kind)
    bits, form = as_bits(weights)
    counts = count_magnitudes(weights)
    for one, other in zip(
        zero_lines(weights, form, SHAPE), zero_lines(bits, form, SHAPE), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    protocol: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression", "workers": 1}
    here, there = (look_at_all(one, form, SHAPE, counts, **protocol) for one in (bits, weights))
    np.testing.assert_array_equal(there.products[:2, :2], here.products[:2, :2])
    size = np.sqrt(np.diag(here.products))
    off = (there.products - here.products) / np.outer(size, size)
    np.testing.assert_allclose(off, np.where(np.isnan(here.products), np.nan, 0.0), atol=1e-5)
    np.testing.assert_allclose(there.row_rms, here.row_rms, rtol=1e-6)
    np.testing.assert_allclose(there.column_rms, here.column_rms, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e300, 1e-40])
def test_scales_at_the_ends_of_the_range(scale: float) -> None:
    weights = tensor("float64", "plain") * scale
    rms = np.sqrt(np.mean((weights.numpy() / scale) ** 2, 1)) * scale
    bits, form = as_bits(weights)
    largest = float(weights.abs().max())
    table = device_look_influence(form)
    for which in (bits, weights):
        found = line_sums(which, form, SHAPE, table, largest=largest, nonfinite=False, workers=1)
        np.testing.assert_allclose(found.row_rms, rms, rtol=1e-6)


def device_look_influence(form: str) -> Any:
    """Give an influence of 0 for every weight."""
    from weibnb.counting.formats import FORMATS
    from weibnb.counting.second_look import Influence

    word, shift = FORMATS[form].bits.type, FORMATS[form].shift
    mask = (1 << 8 * FORMATS[form].bits.itemsize - 1) - 1
    return Influence(np.zeros((mask >> shift) + 1, np.int64), word(mask), word(shift))
