"""Dead and nearly dead rows and columns, by whoever looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from tests.diagnostics.rules.models import experts, look, looked, model, name_of, places

if TYPE_CHECKING:
    import xarray as xr

RULE, NEARLY = "dead-lines", "nearly-dead-lines"


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.bfloat16, np.float16, np.float32, ml_dtypes.float8_e5m2]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_dead_line(dtype: Any, axis: int) -> None:
    weights = model(dtype=dtype, scale=40)
    assert look(weights, RULE) == ()
    line = np.take(weights[name_of(2)], 5, axis)
    weights[name_of(2)][(slice(None),) * axis + (5,)] = 0
    (finding,) = look(weights, RULE)
    assert finding.text == f"1 {['row', 'column'][axis]} is zero throughout."
    assert (finding.cells[0].layer, finding.value, finding.limit) == (2, 1, 0)
    alive = line.copy()
    alive[:-1] = 0
    weights[name_of(2)][(slice(None),) * axis + (5,)] = alive
    assert look(weights, RULE) == ()


def test_rows_and_columns_of_one_expert() -> None:
    weights = experts()
    array = weights[name_of(1, "mlp.experts.2.up_proj")]
    array[:2] = 0
    array[:, 3] = 0
    found = look({"m": weights}, RULE)
    assert places(found) == [(1, "up_proj", 2)] * 2
    assert sorted(finding.value for finding in found) == [1, 2]


def test_fits_say_where_nobody_looked() -> None:
    weights = model()
    weights[name_of(2)].reshape(-1)[:63] = 0  # too few zeros for a line of 64
    assert looked(wb.scan({"m": weights}, structure=False), RULE).not_looked_at == ()
    weights[name_of(2)].reshape(-1)[63] = 0
    fits = wb.scan({"m": weights}, structure=False)
    (unseen,) = looked(fits, RULE).not_looked_at
    assert "1 matrix with zeros enough" in unseen.reason
    assert len(look(fits, RULE, source={"m": weights})) == 1


def test_saved_fits_of_experts_tell_of_their_cell() -> None:
    weights = experts()
    weights[name_of(1, "mlp.experts.2.up_proj")][:2] = 0
    (finding,) = look(wb.scan({"m": weights}), RULE)
    assert (places((finding,)), finding.value) == ([(1, "up_proj", -1)], 2)


def test_nearly_dead_lines_of_experts_are_not_passed_in_silence() -> None:
    found = looked({"m": experts()}, "nearly-dead-lines")
    assert found.findings == ()
    assert "6 cells" in found.not_looked_at[0].reason
    assert looked(model(), "nearly-dead-lines").not_looked_at == ()


def with_dead(fits: xr.Dataset, rows: int, cols: int) -> xr.Dataset:
    """Fits of a scan that looked at lines."""
    for name, number in (("dead_rows", rows), ("dead_cols", cols)):
        fits[name] = fits["rows"].astype(np.int32) * 0
        fits[name].loc[{"layer": 2, "component": "up_proj"}] = number
    return fits


def test_what_the_scan_saw_is_taken() -> None:
    fits = wb.scan({"m": model()})
    found = looked(with_dead(fits, 3, 0), RULE)
    assert found.not_looked_at == ()
    assert [finding.text for finding in found.findings] == ["3 rows are zero throughout."]
    assert looked(with_dead(fits, 0, 0), RULE).findings == ()
    unseen = with_dead(wb.scan({"m": model()}, keep_counts=False), -1, -1)
    assert "1 matrix" in looked(unseen, RULE).not_looked_at[0].reason


@pytest.mark.parametrize(("apart", "expert"), [(False, -1), (True, 2)])
def test_what_the_scan_saw_of_experts(apart: bool, expert: int) -> None:
    fits = wb.scan({"m": experts()}, experts="each" if apart else "median")
    place = {"layer": 1, "component": "up_proj"} | ({"expert": 2} if apart else {})
    for name, number in (("dead_rows", 3), ("dead_cols", 0)):
        fits[name] = fits["rows"].astype(np.int32) * 0
        fits[name].loc[place] = number
    found = looked(fits, RULE)
    assert (places(found.findings), found.not_looked_at) == ([(1, "up_proj", expert)], ())


def test_zero_matrices_and_starts_have_no_dead_lines() -> None:
    weights = model()
    weights[name_of(2)][...] = 0
    assert look(weights, RULE) == ()
    start = model()
    start[name_of(1)][5] = 0
    assert look({"m": {0: start, 5: model(seed=1)}}, RULE) == ()
    assert len(look({"m": {1: start, 5: model(seed=1)}}, RULE)) == 1


def with_fields(fits: xr.Dataset, value: float, lines: int = 8) -> xr.Dataset:
    """Fits with the RMS of rows, of which one of layer 2 has another than 1."""
    dims = ("model", "layer", "component", "step", "row")
    rms = np.ones((*fits["k"].shape, lines + 2), np.float32)
    rms[..., lines:] = np.nan  # padded
    rms[:, 0] = np.nan  # nobody looked there
    rms[:, 2, 2, 0, 3] = value
    return fits.assign(row_rms=(dims, rms))


@pytest.mark.parametrize(("value", "number"), [(1.1e-4, 0), (0.9e-4, 1), (0.0, 0)])
def test_a_nearly_dead_row(value: float, number: int) -> None:
    fits = wb.scan({"m": model()})
    found = look(with_fields(fits, value), NEARLY)
    assert places(found) == [(2, "up_proj", -1)] * number


@pytest.mark.parametrize(("value", "number"), [(99.0, 0), (101.0, 1)])
def test_a_huge_row(value: float, number: int) -> None:
    fits = wb.scan({"m": model()})
    found = look(with_fields(fits, value), "huge-lines")
    assert places(found) == [(2, "up_proj", -1)] * number


def test_a_head_that_is_a_thousand_times_too_large() -> None:
    weights = model()
    weights[name_of(1, "self_attn.o_proj")][:, 16:24] *= 1000
    (finding,) = look(weights, "huge-lines")
    assert finding.text == "8 columns have an RMS above 100 times the median."
    assert places((finding,)) == [(1, "o_proj", -1)]
    assert look(weights, NEARLY) == ()


@pytest.mark.parametrize("rule", [NEARLY, "huge-lines"])
def test_without_fields_nobody_looked(rule: str) -> None:
    found = looked(wb.scan({"m": model()}), rule)
    assert found.findings == ()
    assert "fields=True" in found.not_looked_at[0].reason
