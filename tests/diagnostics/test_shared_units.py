"""Units that matrices share: planted scales, and which lines belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from weibnb.diagnostics.shared_units import Heads, as_dataset, correlation, log_rms, units

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = Heads(0, 0, None)


def test_fields_are_root_mean_squares() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    weights[2] = 0
    weights[0, 0] = np.nan
    clean = np.nan_to_num(weights).astype(float)
    with np.errstate(divide="ignore"):
        rows, cols = (np.log((clean**2).mean(axis)) / 2 for axis in (1, 0))
    found = log_rms(weights)
    np.testing.assert_allclose(found[0], np.where(np.isinf(rows), np.nan, rows))
    np.testing.assert_allclose(found[1], cols)


def test_r_is_that_of_numpy_and_its_null_that_of_independent_fields() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = 0.5 * x + rng.normal(size=300)
    found = correlation(x, y, 200)
    assert found["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found["null_sd"] == pytest.approx(1 / np.sqrt(299), rel=0.15)
    assert found["p_value"] == pytest.approx(1 / 201)
    assert found["gain_sd"] == pytest.approx((x + y).std(ddof=1))
    assert found["balance_sd"] == pytest.approx((x - y).std(ddof=1))


def test_p_values_of_independent_fields_are_uniform() -> None:
    rng = np.random.default_rng(1)
    fields = rng.normal(size=(300, 2, 40))
    values = [correlation(first, second, 99)["p_value"] for first, second in fields]
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(values) == pytest.approx(0.5, abs=0.07)


def test_dead_units_few_units_and_equal_scales() -> None:
    x = np.random.default_rng(0).normal(size=30)
    holed = x.copy()
    holed[:4] = np.nan
    found = correlation(holed, x, 50)
    assert (found["units"], round(found["r"], 9)) == (26, 1.0)
    assert np.isnan(correlation(x[:7], x[:7], 50)["r"])
    assert correlation(x[:8], x[:8], 50)["r"] == pytest.approx(1)
    assert np.isnan(correlation(x, np.zeros(30), 50)["r"])


def test_heads_that_share_a_key_are_averaged() -> None:
    """Four query heads of 6 rows, two key heads: head 0 and 1 use the first."""
    size, rng = 6, np.random.default_rng(0)
    pairings: dict[str, Callable[[Any], Any]] = {
        "half": lambda t: (t[:, :3] + t[:, 3:]) / 2,
        "interleaved": lambda t: (t[:, 0::2] + t[:, 1::2]) / 2,
        "none": lambda t: t,
    }
    part: Any
    query, key = rng.normal(size=(4, size)), rng.normal(size=(2, size))
    grouped = np.stack([query[:2].mean(0), query[2:].mean(0)])
    for pairing, pairs in pairings.items():
        part = units("query-key", query.ravel(), key.ravel(), Heads(size, size, pairing))
        np.testing.assert_allclose(part[0], pairs(grouped).ravel())
        np.testing.assert_allclose(part[1], pairs(key).ravel())
    part = units("query-key", query.ravel(), key.ravel(), Heads(size, 4, "half"))
    expected = np.concatenate([(key[:, :2] + key[:, 2:4]) / 2, key[:, 4:]], axis=1)
    np.testing.assert_allclose(part[1], expected.ravel())
    value, output = key.ravel(), query.ravel()
    part = units("value-output", value, output, Heads(size, size, None))
    np.testing.assert_allclose(part[0], value)
    np.testing.assert_allclose(part[1], grouped.ravel())


@pytest.mark.parametrize(
    ("name", "sizes", "heads", "words"),
    [
        ("up-down", (10, 12), NONE, "up_proj has 10 rows, down_proj 12 columns"),
        ("value-output", (10, 12), NONE, "v_proj has 10 rows, o_proj 12 columns"),
        ("value-output", (6, 12), NONE, "pass the `head_dim`"),
        ("value-output", (6, 12), Heads(4, 4, None), "pass the `head_dim`"),
        ("query-key", (10, 12), Heads(2, 2, "half"), "q_proj has 10 rows, k_proj 12"),
        ("query-key", (12, 12), Heads(0, 0, "half"), "how long a head is: pass `head_dim`"),
        ("query-key", (12, 6), Heads(0, 0, "none"), "how long a head is: pass `head_dim`"),
        ("query-key", (12, 12), Heads(2, 2, None), "pass `rotary` as"),
    ],
)
def test_what_cannot_be_brought_together_says_what_to_pass(
    name: str, sizes: tuple[int, int], heads: Heads, words: str
) -> None:
    found: Any = units(name, np.zeros(sizes[0]), np.zeros(sizes[1]), heads)
    assert isinstance(found, str)
    assert words in found


def test_lines_of_equal_number_need_no_heads() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    for name, heads in (
        ("up-down", NONE),
        ("value-output", NONE),
        ("query-key", Heads(0, 0, "none")),
    ):
        assert units(name, x, y, heads) == (x, y) or np.array_equal(
            units(name, x, y, heads), [x, y]
        )


def test_pairs_of_unlike_length_are_padded() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    places = [
        {"layer": 0, "path": "up-down"},
        {"layer": 1, "path": "up-down"},
        {"layer": 2, "path": "a"},
    ]
    found = as_dataset(places, [(x, y), (x[:9], y[:9]), "no heads"], shuffles=20)
    assert dict(found.sizes) == {"pair": 3, "unit": 12}
    assert found["units"].values.tolist() == [12, 9, 0]
    assert found["gain"].notnull().sum("unit").values.tolist() == [12, 9, 0]
    np.testing.assert_allclose(found["gain"][0], x + y, rtol=1e-6)
    np.testing.assert_allclose(found["balance"][1, :9], x[:9] - y[:9], rtol=1e-5)
    assert found["note"].values.tolist() == ["", "", "no heads"]
