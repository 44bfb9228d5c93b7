"""Fits of a few matrices of known families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.families.known import (
    BF16,
)

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@pytest.fixture(scope="session")
def fits() -> xr.Dataset:
    rng = np.random.default_rng(0)
    dying = np.where(np.arange(256) < 128, 0.0004, 0.02)[:, None]
    layer = "model.layers.{}.mlp.{}.weight"
    first: dict[str, Any] = {
        layer.format(0, "gate_proj"): (rng.normal(size=(256, 256)) * dying).astype(BF16),
        layer.format(0, "down_proj"): (0.02 * rng.standard_t(4, (256, 256))).astype(np.float32),
        layer.format(1, "gate_proj"): (0.02 * rng.standard_t(4, (256, 256))).astype(BF16),
        layer.format(1, "down_proj"): np.ones((256, 256), np.float32),
    }
    for expert in range(3):  # one of them not representable with ten mantissa bits
        name = layer.format(2, f"experts.{expert}.up_proj")
        dtype = BF16 if expert else np.float32
        first[name] = (0.02 * rng.normal(size=(64, 64))).astype(dtype)
    second = {name: array for name, array in first.items() if "layers.1." in name}
    return wb.scan({"a": first, "b": second}, progress=False)
