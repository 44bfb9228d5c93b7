"""The counts that follow the first view, and what node makes of them with the page's own code."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.explorer import page_counts as module
from weibnb.explorer.page_counts import page_counts
from weibnb.fits.schema import DIMS

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
) -> np.ndarray[Any, Any]:
    """Fit every cell by every protocol as the page does: (protocols, cells, 3)."""
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
    return np.array([[fit or [None] * 3 for fit in fits] for fits in found], float)


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
    found = in_the_page(sent, thousand, tmp_path)
    expected = by_python(thousand)
    assert np.isfinite(expected[:, :, 0]).sum() > 5_000
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.nanmax(np.abs(found[..., 0] - expected[..., 0])) < 1e-6
    np.testing.assert_allclose(found[..., 1:], expected[..., 1:], rtol=1e-6)


def test_many_matrices_come_as_tables_with_a_small_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    drawn = [rng.normal(size=(64, 80)), rng.laplace(size=(64, 80)), rng.standard_t(4, (64, 80))]
    weights = {
        f"model.layers.{layer}.mlp.up_proj.weight": (
            drawn[layer % 3] * rng.normal(1, 0.01, (64, 80))
        ).astype("f2")
        for layer in range(30)
    }
    fits = wb.scan({"model": weights}, structure=False)
    monkeypatch.setattr(module, "_MOST_MATRICES", 10)
    sent = page_counts(fits)
    assert sent is not None
    assert sent[0]["kind"] == "shares"
    found = in_the_page(sent, fits, tmp_path)
    off = np.abs(found / by_python(fits) - 1)
    for (trim, estimator), k_off in zip(PROTOCOLS, off[..., 0].max(1), strict=True):
        narrow = trim[1] - trim[0] < 0.1
        usual = trim == (0.1, 0.9) and estimator == "rank_regression"
        assert k_off < (1e-4 if usual else 0.02 if narrow else 4e-3), (trim, estimator, k_off)
    assert off[0, :, 1:].max() < 2e-4


def test_what_does_not_fit_is_not_sent(thousand: xr.Dataset) -> None:
    bins = page_counts(thousand)
    assert bins is not None
    assert page_counts(thousand, most=len(bins[1])) is not None
    fewer = page_counts(thousand, most=len(bins[1]) - 1)
    assert fewer is not None
    assert fewer[0]["kind"] == "shares"
    assert page_counts(thousand, most=1000) is None


def test_experts_of_a_cell_are_one_in_the_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = {
        f"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight": rng.standard_t(
            3 + 5 * expert, (40, 50)
        ).astype("f4")
        for layer in range(2)
        for expert in range(4)
    }
    fits = wb.scan({"moe": weights}, structure=False)
    sent = page_counts(fits)
    assert sent is not None
    found = in_the_page(sent, fits, tmp_path)
    np.testing.assert_allclose(found[..., 0], by_python(fits)[..., 0], atol=1e-6)


def test_no_counts_are_sent_where_there_are_none(thousand: xr.Dataset) -> None:
    assert page_counts(thousand.drop_vars("counts")) is None
    assert page_counts(thousand.isel(layer=[])) is None
    zeros = {"model.layers.0.mlp.up_proj.weight": np.zeros((20, 20), np.float32)}
    assert page_counts(wb.scan({"empty": zeros}, structure=False)) is None


def test_float32_near_its_subnormal_numbers_is_left_to_python() -> None:
    rng = np.random.default_rng(0)
    tiny = rng.normal(size=(64, 64))
    parts = {"q": tiny * 1e-40, "k": tiny * 1e-30}
    weights = {
        f"model.layers.0.self_attn.{name}_proj.weight": w.astype("f4") for name, w in parts.items()
    }
    fits = wb.scan({"m": weights}, structure=False)
    sent = page_counts(fits)
    assert sent is not None
    assert sent[0]["arrays"][0][2] == 1


@pytest.mark.parametrize("several_steps", [True, False])
def test_the_page_gets_all_steps_or_those_of_the_screen(
    thousand: xr.Dataset,
    several_steps: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = xr.concat([thousand.isel(layer=[0]).assign_coords(step=[at]) for at in (0, 1)], "step")
    monkeypatch.setattr(module, "_MOST_MATRICES", 8 if several_steps else 7)
    arrived: queue.Queue[Any] = queue.Queue()
    query = {"step": [1], "component": ["q_proj", "k_proj", "up_proj", "down_proj"]}
    module.send_counts(run, query, lambda *given: arrived.put(given))
    message, buffers = arrived.get(timeout=60)
    assert message["counts"]["dims"]["step"] == ([0, 1] if several_steps else [1])
    assert len(buffers[0]) > 100
