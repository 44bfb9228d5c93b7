"""Training of the packaged runs: every layout, twice the same, cut and resumed, then packed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import weibnb as wb
from scripts import train_cohort
from scripts.train_cohort import (
    GRID,
    LARGE,
    SMALL,
    Corpus,
    Run,
    Trainer,
    initial_weights,
    is_complete,
    pack,
    train,
)
from weibnb.diagnostics.cohorts import load_cohort

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = Run(width=32, layers=2, heads=4, kv_heads=4, ff=64, steps=6, warmup=2, batch=2, context=16)
LAYOUTS = {
    "separate": TINY,
    "gqa": replace(TINY, kv_heads=2),
    "fused": replace(TINY, attention="fused"),
    "fused-gqa": replace(TINY, attention="fused", kv_heads=1),
    "gelu": replace(TINY, mlp="gelu"),
    "fused-gelu": replace(TINY, attention="fused", mlp="gelu"),
    "uniform": replace(TINY, init="uniform"),
}
CLASSES = {"q_proj": "selection", "k_proj": "selection", "v_proj": "value", "qkv_proj": "fused"}
layouts = pytest.mark.parametrize("run", LAYOUTS.values(), ids=LAYOUTS)


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace the corpus by a short text, and keep to one thread."""
    text = torch.frombuffer(bytearray(b"def weibull(k, lam): ...\n" * 40), dtype=torch.uint8)
    corpus = Corpus(train=text, held_out=text[:300], description={"name": "test"})
    monkeypatch.setattr(train_cohort, "read_corpus", lambda: corpus)
    monkeypatch.setattr(train_cohort, "EVALUATION_WINDOWS", 32)
    monkeypatch.setattr(train_cohort, "SAVE_EVERY", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def written(directory: Path) -> dict[str, bytes]:
    files = [*directory.rglob("*.safetensors"), *directory.rglob("config.json")]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


@layouts
def test_a_run_is_deterministic_and_goes_on_where_it_was_cut(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run, tmp_path / "one", None)
    train(run, tmp_path / "two", None)
    whole = written(tmp_path / "one")
    assert len(whole) == 4
    assert written(tmp_path / "two") == whole
    assert whole["step0/model.safetensors"] != whole["step6/model.safetensors"]
    check = wb.check({"run": tmp_path / "one"}, progress=False)  # six steps are hardly a training
    assert {finding.rule for finding in check.at_least("warning")} <= {"untrained"}, check

    advance = Trainer.advance

    def cut(self: Trainer, corpus: Corpus) -> float:
        if self.step == 5:
            raise KeyboardInterrupt
        return advance(self, corpus)

    monkeypatch.setattr(Trainer, "advance", cut)
    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "three", tmp_path / "work")
    assert not is_complete(run, tmp_path / "three")
    monkeypatch.setattr(Trainer, "advance", advance)
    train(run, tmp_path / "three", tmp_path / "work")
    assert written(tmp_path / "three") == whole
    assert is_complete(run, tmp_path / "three")
    assert not is_complete(replace(run, seed=9), tmp_path / "three")
    with pytest.raises(ValueError, match="other settings"):
        train(replace(run, seed=9), tmp_path / "three", tmp_path / "work")


@layouts
def test_every_matrix_is_recognised_in_its_class(run: Run) -> None:
    fits = wb.scan({"tiny": {name: w.numpy() for name, w in initial_weights(run).items()}})
    expected = {"qkv_proj"} if run.attention == "fused" else {"q_proj", "k_proj", "v_proj"}
    expected |= {"o_proj", "up_proj", "down_proj"}
    expected |= {"gate_proj"} if run.mlp == "gated" else set()
    assert set(fits.component.values) == expected
    assert (fits.status == "ok").all()
    assert sorted(set(wb.not_fitted(fits).reason)) == ["embedding", "norm"]
    classes = dict(zip(fits.component.values, fits.weight_class.values, strict=True))
    assert classes == {name: CLASSES.get(name, "transmission") for name in expected}


def test_first_weights_have_the_stated_spread() -> None:
    for run, kurtosis in ((Run(init="normal"), 3.0), (Run(init="uniform"), 1.8)):
        w = initial_weights(run)["model.layers.0.mlp.up_proj.weight"].double()
        assert w.std().item() == pytest.approx(0.02, rel=0.02)
        assert (w**4).mean().item() / (w**2).mean().item() ** 2 == pytest.approx(kurtosis, rel=0.05)


def test_fusing_changes_the_storage_and_not_the_function() -> None:
    """A fused matrix is drawn as its three parts one after the other: the same model."""
    apart, fused = (initial_weights(LAYOUTS[name]) for name in ("separate", "fused"))
    prefix = "model.layers.0.self_attn"
    parts = [apart[f"{prefix}.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(parts), fused[f"{prefix}.qkv_proj.weight"])
    tokens = torch.arange(16).view(2, 8)
    outputs = [
        train_cohort.logits(weights, tokens, LAYOUTS[name])
        for weights, name in ((apart, "separate"), (fused, "fused"))
    ]
    torch.testing.assert_close(*outputs)


def test_grid_has_two_halves_of_the_same_variants() -> None:
    assert {"demo": Run()} | SMALL | LARGE == GRID
    for half in (SMALL, LARGE):
        assert len(set(half.values())) == len(half) == 13
        assert {run.storage for run in half.values()} == {"separate", "gqa", "fused"}
        assert {run.mlp for run in half.values()} == {"gated", "gelu"}
        assert {run.init for run in half.values()} == {"normal", "uniform"}
        assert len({run.width for run in half.values()}) == 2
        rates = {(run.lr, run.wd) for run in half.values() if run.wd}
        assert len(rates) == 6
        assert min(lr * wd * next(iter(half.values())).steps for lr, wd in rates) >= 1.5


def test_scale_of_the_shipped_fits_follows_the_schedule() -> None:
    """λ is 0.75 to 0.86 of what AdamW's decaying sum of unit updates comes to."""
    expected = {}
    for name, run in SMALL.items():
        square = 0.0
        for rate in map(run.learning_rate, range(run.steps)):
            square = square * (1 - rate * run.wd) ** 2 + rate**2
        expected[name] = square**0.5
    last = load_cohort("stdlib").lam.isel(step=-1)
    lam = last.sel(component=["o_proj", "up_proj", "down_proj"]).median("layer").mean("component")
    ratio = lam.values / np.array([expected[str(name)] for name in lam.model.values])
    assert ratio.min() == pytest.approx(0.748, abs=0.002)
    assert ratio.max() == pytest.approx(0.860, abs=0.002)
    grid = [str(name).startswith("lr") for name in lam.model.values]
    r = np.corrcoef(lam.values[grid], lam.values[grid] / ratio[grid])[0, 1]
    assert r == pytest.approx(0.994, abs=0.001)


def test_a_recorded_run_is_dense_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_cohort, "GRID", {"tiny": TINY})
    train_cohort.train_recorded("tiny", tmp_path / "one.nc")
    train_cohort.train_recorded("tiny", tmp_path / "two.nc")
    with wb.open_fits(tmp_path / "one.nc") as one, wb.open_fits(tmp_path / "two.nc") as two:
        assert one.step.values.tolist() == list(range(7))
        assert "counts" not in one
        for name in ("k", "lam", "force_alignment", "eval_loss"):
            np.testing.assert_array_equal(one[name], two[name])
        found = wb.forces(one.load())
        assert (abs(found.residual) <= 1e-6 * found.squared_norm).all()
        assert one.learning_rate.values.tolist() == [TINY.lr]
    train(TINY, tmp_path / "run", None)
    saved = wb.scan({"tiny": tmp_path / "run"}, progress=False)
    recorded = one.sel(step=saved.step, component=saved.component)
    np.testing.assert_allclose(recorded.rms, saved.rms, rtol=2e-3)  # written in bfloat16


@pytest.mark.parametrize("run", [SMALL["lr0.004-wd0.5"], GRID["demo"], replace(TINY, steps=500)])
def test_recorded_steps_are_sixty_and_hold_the_checkpoints(run: Run) -> None:
    steps = train_cohort.recorded_steps(run)
    assert 60 <= len(steps) <= 62
    assert steps == sorted(set(steps))
    assert set(run.checkpoints()) <= set(steps)
    late = np.diff(np.log([step for step in steps if step > 50]))
    assert late.max() < 2.5 * np.median(late)


def test_pack_leaves_out_what_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {name: LAYOUTS[name] for name in ("separate", "fused", "gelu")}
    monkeypatch.setattr(train_cohort, "GRID", grid)
    for name in ("separate", "fused"):
        train(grid[name], tmp_path / "out" / name, None)
    pack(list(grid), tmp_path / "out", tmp_path / "fits.nc")
    assert "left out, not complete: gelu" in capsys.readouterr().out
    fits = wb.open_fits(tmp_path / "fits.nc")
    assert fits.model.values.tolist() == ["separate", "fused"]
    assert fits.attention.values.tolist() == ["separate", "fused"]
    assert fits.step.values.tolist() == [0, 6]
    assert fits.source.values.tolist() == [
        ["separate/step0", "separate/step6"],
        ["fused/step0", "fused/step6"],
    ]
    assert fits.eval_loss.dims == ("model", "step")
    assert fits.eval_loss.attrs["units"] == "nats per byte"
    assert np.isfinite(fits.eval_loss).all()
    fits.close()
