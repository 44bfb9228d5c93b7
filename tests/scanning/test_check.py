"""The door of `weibnb.check`: paths, models, runs and fits; healthy models and planted faults."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import weibnb as wb
from scripts.check_table import (
    BEFORE,
    DTYPES,
    FAULTS,
    FILES,
    NOT_IN_EIGHT_BITS,
    found,
    healthy,
    planted,
    rule_of,
    stored,
)
from tests.diagnostics.rules.models import model, name_of
from tests.io.test_fused_models import ATTENTION, tiny
from weibnb.diagnostics.check import RULES
from weibnb.io.adapters import AdapterWarning
from weibnb.io.checkpoint import open_checkpoint
from weibnb.scanning.check import few_levels
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

DEMO = files("weibnb") / "data" / "demo"
# A word, a byte, and what most checkpoints hold; scripts/check_table.py plants in all formats.
HERE = ("F32", "BF16", "F8_E4M3")
STRUCTURE = ["layer-gap", "missing-tensors", "shape-conflict", "unreadable", "mixed-shards"]


def test_the_packaged_run_is_healthy_but_for_its_start() -> None:
    check = wb.check({"demo": str(DEMO)}, progress=False)
    (finding,) = check.findings
    assert (finding.rule, {cell.step for cell in finding.cells}) == ("untrained", {0})
    assert wb.check(str(DEMO / "step7000"), progress=False).findings == ()


def test_the_packaged_cohort_is_healthy_but_for_its_starts() -> None:
    check = wb.check(wb.load_cohort("stdlib"))
    assert {(f.rule, f.cells[0].step) for f in check.at_least("warning")} == {("untrained", 0)}
    assert len(check.findings) == 13


@pytest.mark.parametrize(("layers", "dtype"), [*((4, dtype) for dtype in DTYPES), (30, "BF16")])
def test_a_simulated_model_is_healthy(layers: int, dtype: str) -> None:
    weights = healthy(layers, np.random.default_rng([1, layers]))
    assert found(stored(weights, dtype)) == {}


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [
        *(
            (fault, dtype)
            for fault in (*FAULTS, *BEFORE)
            for dtype in HERE
            if not (dtype.startswith("F8") and fault in NOT_IN_EIGHT_BITS)
        ),
        *((fault, "BF16") for fault in FILES),
    ],
)
def test_a_planted_fault_is_found(fault: str, dtype: str) -> None:
    weights = planted(fault, dtype, np.random.default_rng(5))
    adapter = fault == "an adapter beside the weights"
    with pytest.warns(AdapterWarning, match="Low-rank") if adapter else nullcontext():
        rules = found(weights, "note", fault)
    assert rule_of(fault) in rules
    errors = {name for name, rule in RULES.items() if rule.severity == "error"}
    assert set(rules) & errors <= {rule_of(fault)}


@pytest.mark.parametrize(("kind", "settings"), ATTENTION)
def test_models_of_transformers_have_no_error_of_structure(kind: str, settings: Any) -> None:
    made = tiny(kind, settings)
    assert wb.check(made, select=STRUCTURE, progress=False).findings == ()


def test_a_path_a_model_a_file_and_a_store_are_the_same(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "m", layers=3, hidden=64, dtype="F32")
    fits = wb.scan(path, store=tmp_path / "fits.db", progress=False)
    wb.save_fits(fits, tmp_path / "fits.nc")
    fits = fits.load()
    rules = [
        [f.rule for f in wb.check(given, ignore=["same-matrix"], progress=False).findings]
        for given in (path, str(path), fits, tmp_path / "fits.nc", str(tmp_path / "fits.db"))
    ]
    assert rules == [["untrained"]] * 5
    module = torch.nn.Sequential()
    module.add_module("layers", torch.nn.ModuleList(torch.nn.Module() for _ in range(3)))
    for layer in module.layers:  # type: ignore[union-attr]
        layer.mlp = torch.nn.Module()
        layer.mlp.up_proj = torch.nn.Linear(64, 64)
        layer.mlp.down_proj = torch.nn.Linear(64, 64)
    assert [f.rule for f in wb.check(module, progress=False).findings] == ["untrained"]


def test_fits_are_read_again_only_where_a_source_is_given() -> None:
    weights = model()
    weights[name_of(3)] = weights[name_of(1)].copy()
    fits = wb.scan({"m": weights})
    blind = wb.check(fits, select=["same-matrix"])
    sighted = wb.check(fits, source={"m": weights}, select=["same-matrix"])
    assert "bit by bit" not in blind.findings[0].text
    assert "bit by bit" in sighted.findings[0].text
    with pytest.raises(ValueError, match="`source` must come with fits"):
        wb.check({"m": weights}, source={"m": weights})


def test_the_method_of_fits_is_the_function() -> None:
    fits = wb.scan({"m": model()})
    assert fits.weibull.check().findings == wb.check(fits).findings


def test_a_baseline_may_be_a_file(tmp_path: Path) -> None:
    weights = model()
    weights[name_of(1)][...] = 0
    file = wb.save_fits(wb.scan({"m": weights}), tmp_path / "before.nc")
    assert not wb.check({"m": weights}, progress=False).ok
    assert wb.check({"m": weights}, baseline=file, progress=False).ok


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(wb.CheckpointError, match="no such file"):
        wb.check(tmp_path / "nothing")
    (tmp_path / "bad.nc").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="bad"):
        wb.check(tmp_path / "bad.nc")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_matrix_without_one_sound_weight(value: float, dtype: Any) -> None:
    weights = model(dtype=dtype)
    weights[name_of(1)][...] = value
    assert [
        f.cells[0].layer for f in wb.check({"m": weights}, progress=False).at_least("error")
    ] == [1]


@pytest.mark.parametrize(
    ("levels", "group", "found"),
    [(7, 32, True), (15, 32, True), (60, 32, False), (100, 1024, True), (250, 1024, False)],
)
def test_few_levels_of_rows_and_groups(levels: int, group: int, found: bool) -> None:
    """4 bits with a scale for each group, and 8 bits with a scale for each row."""
    groups = np.random.default_rng(0).normal(size=(16 * 1024 // group, group))
    scale = np.abs(groups).max(1, keepdims=True) / levels
    rows = (np.round(groups / scale) * scale).astype(np.float32)
    seen = few_levels(rows.reshape(-1).view(np.uint32), 1024)
    assert (seen is not None) == found
    if seen is not None:
        assert seen[1] == group
        assert seen[0] <= levels
    assert few_levels(groups.astype(np.float32).reshape(-1).view(np.uint32), 1024) is None


def test_each_checkpoint_of_a_run_is_opened_as_often_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def counted(place: Any, **options: Any) -> Any:
        opened.append(place)
        return open_checkpoint(place, **options)

    monkeypatch.setattr("weibnb.scanning.reading_again.open_checkpoint", counted)
    for steps in (2, 6):
        run = tmp_path / f"run{steps}"
        for step in range(1, steps + 1):
            write_checkpoint(run / f"step{step}", layers=3, hidden=64, dtype="F32", seed=step)
        opened.clear()
        wb.check({"run": run}, progress=False)
        if steps == 2:
            each = len(opened) / steps
    assert len(opened) == 6 * each
