"""Counts as histograms of trackers, against the weights themselves."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.integrations.trackers import histograms, to_tensorboard, to_wandb

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

NAMES = ("self_attn.q_proj", "mlp.up_proj")
TAGS = [
    f"weibull/counts/{name}/layer_{layer}" for name in ("q_proj", "up_proj") for layer in (0, 1)
]


@pytest.fixture(params=["float32", "float16"])
def weights(request: pytest.FixtureRequest) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        f"model.layers.{layer}.{name}.weight": rng.normal(0, 0.02, (40, 50)).astype(request.param)
        for layer in range(2)
        for name in NAMES
    }


@pytest.fixture
def fits(weights: dict[str, Any]) -> xr.Dataset:
    for matrix in weights.values():
        matrix[0] = 0  # zeros are weights too
    return wb.scan({"run": {3: weights}}, progress=False)


def test_histograms_are_those_of_the_weights(weights: dict[str, Any], fits: xr.Dataset) -> None:
    found = dict(histograms(fits))
    assert list(found) == TAGS
    for name, matrix in weights.items():
        _, _, layer, _, component, _ = name.split(".")
        one = found[f"weibull/counts/{component}/layer_{layer}"]
        size = abs(matrix.astype(float)).ravel()
        assert one.counts.sum() == size.size
        assert one.edges[0] == 0
        assert one.edges[-1] == pytest.approx(size.max())
        expected, _ = np.histogram(size, one.edges)
        moved = abs(np.cumsum(one.counts - expected))  # over an edge, from the interval at it
        near = [np.sum(abs(size - edge) < edge / 256) for edge in one.edges[1:]]
        assert (moved <= near).all()
        assert one.total == pytest.approx(size.sum(), rel=1e-3)
        assert one.squares == pytest.approx((size**2).sum(), rel=1e-3)


def test_experts_of_a_layer_are_one_histogram() -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.{}.up_proj.weight"
    weights = {name.format(i): rng.normal(0, 0.02, (20, 30)) for i in range(3)}
    [(tag, one)] = histograms(wb.scan({"run": weights}, progress=False))
    assert tag.startswith("weibull/counts/")
    assert one.counts.sum() == 3 * 20 * 30


def test_what_holds_no_weights_is_left_out(weights: dict[str, Any]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"][:] = 0
    del weights["model.layers.0.mlp.up_proj.weight"]
    fits = wb.scan({"run": weights}, progress=False)
    assert [name for name, _ in histograms(fits)] == TAGS[:2]
    with pytest.raises(ValueError, match="counts"):
        list(histograms(fits.drop_vars("counts")))


def test_tensorboard_reads_them_from_its_file(fits: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="reading event files needs tensorboard")
    pytest.importorskip("torch", reason="writing event files needs torch")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    to_tensorboard(writer, fits, 3)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["histograms"] == TAGS
    for name, one in histograms(fits):
        [event] = events.Histograms(name)
        seen = event.histogram_value
        assert event.step == 3
        assert (seen.num, seen.min, seen.max) == (2000, 0, one.edges[-1])
        assert (seen.sum, seen.sum_squares) == (one.total, one.squares)
        kept = dict(zip(seen.bucket_limit, seen.bucket, strict=True))
        filled = one.counts > 0
        assert [kept[edge] for edge in one.edges[1:][filled]] == one.counts[filled].tolist()


def test_wandb_takes_them(fits: xr.Dataset) -> None:
    wandb = pytest.importorskip("wandb", reason="histograms of W&B need wandb")
    shown = to_wandb(fits)
    assert list(shown) == TAGS
    for name, one in histograms(fits):
        assert isinstance(shown[name], wandb.Histogram)
        assert shown[name].histogram == one.counts.tolist()
        assert shown[name].bins == one.edges.tolist()
        assert shown[name].to_json()["_type"] == "histogram"


def test_wandb_is_given_what_its_histogram_takes(
    fits: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where wandb is not installed: the arguments are those of its documentation."""
    stand_in: Any = ModuleType("wandb")
    stand_in.Histogram = lambda *, np_histogram: np_histogram
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    for counts, edges in to_wandb(fits).values():
        assert len(edges) == len(counts) + 1 <= 512
        assert sum(counts) == 2000
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        to_wandb(fits)
