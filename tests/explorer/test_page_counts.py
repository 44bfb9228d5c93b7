"""The counts that follow the first view, and what node makes of them with the page's own code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.explorer import page_counts as module
from weibnb.explorer.page_counts import page_counts
from weibnb.fits.schema import DIMS

if TYPE_CHECKING:
    import xarray as xr

REFIT = Path(__file__).with_name("refit.mjs")
PROTOCOLS = [
    ((0.1, 0.9), "rank_regression"),
    ((0.0, 1.0), "rank_regression"),
    ((0.025, 0.6), "rank_regression"),
    ((0.4, 0.45), "rank_regression"),
    ((0.0, 1.0), "maximum_likelihood"),
    ((0.1, 0.9), "maximum_likelihood"),
    ((0.3, 0.97), "maximum_likelihood"),
]
LAYERS = 250
KINDS = ("float16", "float32", "float64", "float8_e4m3fn")


def weights_of(rng: np.random.Generator, layer: int, kind: str) -> Any:
    """Give a matrix of one of several distributions, sizes and scales."""
    shape = (8 + layer % 60, 40 + 7 * (layer % 31))
    draws = [
        rng.normal(size=shape),
        rng.laplace(size=shape),
        rng.standard_t(3, shape),
        rng.uniform(-1, 1, shape),
        rng.normal(size=shape) * (rng.random(shape) < 0.7),
        rng.choice([-1.0, 0.5, 2.0], shape),
    ]
    drawn = draws[layer % len(draws)] * (0.01 + layer / 100)
    if kind.startswith("float8"):
        torch = pytest.importorskip("torch")
        return torch.tensor(drawn).to(torch.float8_e4m3fn)
    return drawn.astype(kind)


@pytest.fixture(scope="module")
def thousand() -> xr.Dataset:
    rng = np.random.default_rng(5)
    parts = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")
    weights = {
        f"model.layers.{layer}.{part}.weight": weights_of(rng, layer, kind)
        for layer in range(LAYERS)
        for part, kind in zip(parts, KINDS, strict=True)
    }
    return wb.scan({"model": weights}, structure=False)


def in_the_page(
    sent: tuple[dict[str, Any], bytes], fits: xr.Dataset, where: Path
) -> tuple[np.ndarray[Any, Any], list[float]]:
    """Fit every cell by every protocol as the page does: (protocols, cells, 3), and the times."""
    if shutil.which("node") is None:
        pytest.skip("node is not there")
    header, data = sent
    cells = [list(cell) for cell in fits["k"].stack(cell=DIMS)["cell"].values.tolist()]
    texts = {
        "header": json.dumps(header),
        "asked": json.dumps({"cells": cells, "protocols": PROTOCOLS}),
    }
    for name, text in texts.items():
        (where / name).write_text(text)
    (where / "packed").write_bytes(data)
    files = [str(where / name) for name in ("header", "packed", "asked", "answers")]
    subprocess.run(["node", str(REFIT), *files], check=True, capture_output=True, timeout=120)
    found = json.loads((where / "answers").read_text())
    table = [[fit or [None] * 3 for fit in one["fits"]] for one in found]
    return np.array(table, float), [one["ms"] for one in found]


def by_python(fits: xr.Dataset) -> np.ndarray[Any, Any]:
    """Fit the same: (protocols, cells, 3)."""
    tables = []
    for trim, estimator in PROTOCOLS:
        again = wb.refit(fits, trim=trim, estimator=estimator)  # type: ignore[arg-type]
        tables.append(np.stack([again[name].values.ravel() for name in ("k", "lam", "r2")], -1))
    return np.stack(tables)


def test_the_page_fits_a_thousand_matrices_as_python_does(
    thousand: xr.Dataset, tmp_path: Path
) -> None:
    sent = page_counts(thousand)
    assert sent is not None
    assert sent[0]["kind"] == "bins"
    found, ms = in_the_page(sent, thousand, tmp_path)
    expected = by_python(thousand)
    assert np.isfinite(expected[:, :, 0]).sum() > 5_000
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(found[..., 0] - expected[..., 0])) < 1e-6
    np.testing.assert_allclose(found[..., 1:], expected[..., 1:], rtol=1e-6)
