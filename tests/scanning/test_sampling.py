"""Scans of a part of each matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from scripts.coverage_of_samples import z_scores
from tests.io.hub import hub, saved
from weibnb.fits.schema import SAMPLING
from weibnb.io.files import UnreadableWarning
from weibnb.scanning import sampling as of_scans
from weibnb.scanning.locate import dead_lines, find_outliers
from weibnb.scanning.progress import progress_bar
from weibnb.scanning.sampling import Sampling, check_sampling

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub_server import FakeHub

__all__ = ["hub"]
ROWS, COLUMNS = 640, 160
Q, UP = "self_attn.q_proj", "mlp.up_proj"


def state(seed: int = 0) -> dict[str, Any]:
    """Make two layers: rows of equal scale, and rows of unequal scale."""
    rng = np.random.default_rng(seed)
    found = {}
    for layer in range(2):
        shape = ROWS, COLUMNS
        scales = np.exp(rng.normal(0, 0.4, (ROWS, 1)))
        found[f"model.layers.{layer}.{Q}.weight"] = rng.normal(size=shape).astype("f2")
        found[f"model.layers.{layer}.{UP}.weight"] = (rng.normal(size=shape) * scales).astype("f2")
    return found


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small matrices as if they were large: 160 blocks of four rows."""
    monkeypatch.setattr(of_scans, "BLOCK", 4 * COLUMNS * 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(state(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_share_of_the_rows_is_read(folder: Path) -> None:
    whole, part = wb.scan(folder), wb.scan(folder, sample=0.25)
    assert part.sampled_fraction.values == pytest.approx(0.25)
    assert part.n.values == pytest.approx(whole.n.values / 4, rel=1e-3)
    off = (part.k - whole.k) / part.k_sampling_se
    assert float(abs(off).max()) < 4
    assert bool((part.k_se > part.k_sampling_se).all())
    assert part.attrs["sampling"] == "sample=0.25"
    assert not set(SAMPLING) & set(whole.data_vars)
    assert "sampling" not in whole.attrs


def test_precision_reads_as_much_as_it_takes(folder: Path) -> None:
    part = wb.scan(folder, precision=0.01)
    assert bool((part.k_sampling_se <= 0.01).all())
    share = part.sampled_fraction.max("layer").squeeze()
    assert float(share.sel(component="q_proj")) < 0.3 < float(share.sel(component="up_proj")) < 1
    assert part.attrs["precision_reached"] <= 0.01
    finer = wb.scan(folder, precision=1e-9)
    assert finer.sampled_fraction.values == pytest.approx(1.0)
    assert not finer.k_sampling_se.values.any()
    np.testing.assert_allclose(finer.k, wb.scan(folder).k, rtol=1e-12)


# Standard error of a share of 0.95 of 300 draws.
_OF_A_SHARE = (0.95 * 0.05 / 300) ** 0.5
_BY_PRECISION = Sampling(None, 0.014, (0.1, 0.9), "rank_regression")
_BY_BLOCKS = Sampling(1e-9, None, (0.1, 0.9), "rank_regression")


@pytest.mark.parametrize(
    ("kind", "hows", "most"),
    [
        ("flat", (_BY_PRECISION,), 0.98),
        ("drift", (_BY_PRECISION, _BY_BLOCKS), 0.98),
        ("heads", (_BY_BLOCKS,), 1.0),
    ],
)
def test_errors_hold_the_difference_to_the_whole_as_often_as_they_say(
    kind: str, hows: tuple[Sampling, ...], most: float
) -> None:
    """1.96 errors in 92 to 98 % of the draws, and two standard errors of such a share beside.

    Blocks drawn anywhere, with errors from all differences between them, hold 0.80 of these draws
    of heads of unequal scale: there the errors are more careful than they must be.
    """
    rng = np.random.default_rng(1)
    scales = {
        "flat": np.ones(1024),
        "drift": np.exp(np.linspace(-0.5, 0.5, 1024)),
        "heads": np.repeat(np.exp(rng.normal(0, 0.5, 32)), 32),
    }[kind]
    weights = (rng.normal(size=(1024, 256)) * scales[:, None]).astype("f2").view("u2")
    for sampling in hows:
        z, share = z_scores((weights, "F16"), sampling, 1024, range(300))
        assert share < 0.2
        held = float((abs(z[:, 0]) < 1.96).mean())
        assert 0.92 - 2 * _OF_A_SHARE <= held <= most + 2 * _OF_A_SHARE


def test_a_precision_that_is_not_reached_is_told(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"`precision` of 0\.001 is not reached for 4 cells of 4"):
        part = wb.scan(folder, precision=0.001, sample=0.125)
    assert part.attrs["precision_reached"] == float(part.k_sampling_se.max()) > 0.001
    assert part.sampled_fraction.values == pytest.approx(0.125)


def test_more_blocks_are_added_to_those_that_were_read(folder: Path) -> None:
    fewer, more = (wb.scan(folder, sample=share)["counts"].values for share in (0.125, 0.25))
    for first, second in zip(fewer.ravel(), more.ravel(), strict=True):
        table = dict(zip(second.labels.tolist(), second.counts.tolist(), strict=True))
        assert all(
            table.get(label, 0) >= count
            for label, count in zip(first.labels.tolist(), first.counts.tolist(), strict=True)
        )


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_read_does_not_depend_on_threads(folder: Path, workers: int) -> None:
    first, again = wb.scan(folder, precision=0.01), wb.scan(folder, precision=0.01, workers=workers)
    xr.testing.assert_identical(first.drop_attrs(), again.drop_attrs())


def test_elsewhere_the_same_is_read_in_ranges(hub: FakeHub, folder: Path) -> None:
    hub.add("org/model", {"model.safetensors": saved(state())})
    here = wb.scan({"m": folder}, precision=0.02)
    there = wb.scan({"m": "hf://org/model"}, precision=0.02)
    assert hub.bytes_sent < 0.6 * 4 * 2 * ROWS * COLUMNS
    names = ["k", "k_se", *SAMPLING]
    xr.testing.assert_equal(here[names], there[names])


def test_many_small_ranges_are_under_way_at_once(hub: FakeHub) -> None:
    hub.faults.delay = 0.05
    hub.add("org/model", {"model.safetensors": saved(state())})
    wb.scan("hf://org/model", sample=0.2)
    assert 8 < hub.most_in_flight <= 16


def test_a_broken_server_costs_the_matrices_of_its_checkpoint(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weibnb.io import ranges

    monkeypatch.setattr(ranges, "FIRST_WAIT", 0.0)
    hub.add("org/model", {"model.safetensors": saved(state())})
    hub.faults.lie_range = "bytes 1-2/3"
    sources = {"here": folder, "there": "hf://org/model"}
    with pytest.warns(UnreadableWarning):
        fits = wb.scan(sources, sample=0.125)
    assert fits.k.sel(model="here").notnull().all()
    assert not fits.k.sel(model="there").notnull().any()


def test_parts_stacks_and_turned_matrices(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    hidden = 64
    tensors = {
        "h.0.attn.c_attn.weight": rng.normal(size=(hidden, 3 * hidden)),
        "h.0.mlp.c_fc.weight": rng.normal(size=(hidden, 4 * hidden)),
    }
    config = {"model_type": "gpt2", "n_embd": hidden, "n_head": 4, "n_layer": 1}
    _save(tmp_path / "gpt2", tensors, config)
    neox = {"gpt_neox.layers.0.attention.query_key_value.weight": rng.normal(size=(480, 160))}
    config = {"model_type": "gpt_neox", "hidden_size": 160, "num_attention_heads": 16}
    _save(tmp_path / "neox", neox, config)
    stack = {"model.layers.0.mlp.experts.gate_up_proj": rng.normal(size=(3, 128, 512))}
    config = {"model_type": "gpt_oss", "hidden_size": 128}
    _save(tmp_path / "oss", stack, config)
    for name in ("gpt2", "neox", "oss"):
        how: dict[str, Any] = {"fused": "both", "experts": "each"}
        whole = wb.scan(tmp_path / name, **how)
        all_rows = wb.scan(tmp_path / name, precision=1e-9, **how)
        np.testing.assert_allclose(all_rows.k, whole.k, rtol=1e-12)
        assert all_rows["counts"].values.tolist() == whole["counts"].values.tolist()
        part = wb.scan(tmp_path / name, sample=0.3, **how)
        fitted = part.k.notnull()
        share = part.sampled_fraction.where(fitted)
        assert 0.2 < float(share.min()) <= float(share.max()) <= 1
        near = abs(part.k - whole.k) <= 4.5 * part.k_sampling_se + 1e-12
        assert bool((near | ~fitted).all())
        assert part["rows"].equals(whole["rows"])


def _save(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    import json

    folder.mkdir()
    halves = {name: one.astype("f2") for name, one in tensors.items()}
    save_file(halves, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def test_restored_weights_are_sampled_as_what_they_stand_for(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    weights = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    name = "model.layers.0.mlp.up_proj.weight"
    scales = torch.full((ROWS // 128, -(-COLUMNS // 128)), 0.5)
    tensors = {name: weights.to(torch.float8_e4m3fn), f"{name}_scale_inv": scales}
    save_tensors(tensors, tmp_path / "model.safetensors")
    whole = wb.scan(tmp_path, dequantise=True)
    part = wb.scan(tmp_path, dequantise=True, sample=0.25)
    assert part.dtype.item() == whole.dtype.item() == "F32"
    assert part.sampled_fraction.item() == pytest.approx(0.25, abs=0.02)
    assert abs(part.k - whole.k).item() < 4 * part.k_sampling_se.item()
    assert part.lam.item() == pytest.approx(whole.lam.item(), rel=0.05)


def test_what_a_part_cannot_tell_is_not_told(folder: Path) -> None:
    part = wb.scan(folder, sample=0.125)
    assert part.max_abs.isnull().all()
    assert part.kurtosis.isnull().all()
    assert bool((part.dead_rows == -1).all())
    unseen = {one.rule: one.reason for one in wb.check(part).not_looked_at}
    for rule in ("nonfinite", "outliers", "dead-lines", "saturation", "same-matrix", "untrained"):
        assert "12 % of the rows of 4 matrices were read" in unseen[rule], rule
    for look in (find_outliers, dead_lines):
        with pytest.raises(ValueError, match="must be of whole matrices, got 4 cells"):
            look(part)
    assert not any("of the rows" in one.reason for one in wb.check(wb.scan(folder)).not_looked_at)


def test_zeros_of_a_part_are_not_said_of_the_whole() -> None:
    weights = np.zeros((ROWS, COLUMNS), np.float16)
    weights[-3:] = np.random.default_rng(0).normal(size=(3, COLUMNS))
    hows: list[Any] = [{"sample": 0.11}, {"precision": 0.5}]
    for how in hows:
        found = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}}, **how)
        assert found.status.item() == "ok"
        assert found.sampled_fraction.item() == 1.0
        assert found.n.item() == 3 * COLUMNS


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (16, 16), (17, 40)])
def test_small_matrices_are_read_whole(shape: tuple[int, int]) -> None:
    weights = np.random.default_rng(0).normal(size=shape)
    source = {"m": {"model.layers.0.mlp.up_proj.weight": weights}}
    whole, part = wb.scan(source), wb.scan(source, precision=1e-6)
    assert part.status.item() == whole.status.item()
    np.testing.assert_allclose(part.k, whole.k, rtol=1e-12)
    np.testing.assert_allclose(part.max_abs, whole.max_abs)


def test_files_stores_and_joins_keep_what_was_read(folder: Path, tmp_path: Path) -> None:
    part = wb.scan({"part": folder}, sample=0.125)
    opened = wb.open_fits(wb.save_fits(part, tmp_path / "fits.nc"))
    names = [*SAMPLING, "k_se"]
    xr.testing.assert_equal(opened[names], part[names])
    kept = wb.scan({"part": folder}, sample=0.125, store=tmp_path / "fits.db")
    xr.testing.assert_equal(kept[names], part[names])
    assert kept.attrs["sampling"] == part.attrs["sampling"]
    joined = xr.concat([wb.scan({"whole": folder}), part], "model")
    assert joined.sampled_fraction.sel(model="whole").isnull().all()
    assert joined.sampled_fraction.sel(model="part").equals(part.sampled_fraction.isel(model=0))
    assert "4 matrices" in wb.check(joined, select=["outliers"]).not_looked_at[0].reason


@pytest.mark.parametrize("other", [{}, {"sample": 0.12}, {"precision": 0.01}])
def test_a_store_of_samples_is_of_these_or_larger_ones(
    folder: Path, tmp_path: Path, other: Any
) -> None:
    store = tmp_path / "fits.db"
    wb.scan(folder, sample=0.125, store=store)
    with pytest.raises(ValueError, match=r"made with, sample=0\.125, got .* a larger sample"):
        wb.scan(folder, store=store, **other)
    wb.scan(folder, store=tmp_path / "whole.db")
    with pytest.raises(ValueError, match=r"made with, none, got sample=0\.125"):
        wb.scan(folder, sample=0.125, store=tmp_path / "whole.db")


def test_a_refit_has_errors_of_sampling(folder: Path) -> None:
    part = wb.scan(folder, sample=0.25)
    again = wb.refit(part)
    xr.testing.assert_allclose(again[[*SAMPLING, "k_se"]], part[[*SAMPLING, "k_se"]])
    wider = wb.refit(part, trim=(0.25, 0.75))
    assert bool((wider.k_sampling_se > part.k_sampling_se).all())
    assert bool((wider.k_se > wider.k_sampling_se).all())
    whole = wb.refit(wb.scan(folder), trim=(0.25, 0.75))
    assert float(abs((wider.k - whole.k) / wider.k_sampling_se).max()) < 4


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"sample": 0.0}, ValueError, r"`sample` must be > 0 and < 1, got 0\.0"),
        ({"sample": 1.0}, ValueError, "Leave it out to read all"),
        ({"sample": float("nan")}, ValueError, "`sample`"),
        ({"precision": -1}, ValueError, "`precision` must be finite and > 0, got -1"),
        ({"precision": float("inf")}, ValueError, "`precision` must be finite"),
        ({"precision": "0.1"}, TypeError, "`precision` must be a number"),
        ({"sample": True}, TypeError, "`sample` must be a number"),
        ({"sample": 0.1, "fields": True}, ValueError, "`fields` must come without `sample`"),
        ({"precision": 0.1, "device": "cuda"}, ValueError, "`device` must be 'auto' or 'cpu'"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        wb.scan({"m": {}}, **given)


def test_whole_matrices_need_no_sampling() -> None:
    asked: Any = {"fields": True, "device": ["cuda:0", "cuda:1"]}
    assert check_sampling(None, None, (0.1, 0.9), "rank_regression", **asked) is None


def test_no_structure_has_independent_errors_and_those_of_sampling(folder: Path) -> None:
    part = wb.scan(folder, sample=0.25, structure=False)
    assert (part.se_kind == "independent").all()
    whole = wb.scan(folder, structure=False)
    expected = np.hypot(whole.k_se, part.k_sampling_se)
    np.testing.assert_allclose(part.k_se, expected, rtol=0.05)


def test_progress_ends_where_it_was_going(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []
    make = progress_bar

    def bar(**how: Any) -> Any:
        bars.append(make(**how))
        return bars[0]

    monkeypatch.setattr("weibnb.scanning.scan.progress_bar", bar)
    part = wb.scan(folder, precision=0.01, progress=False)
    read = float((part.sampled_fraction * part["rows"] * part["cols"] * 2).sum())
    assert bars[0].total == pytest.approx(read)
