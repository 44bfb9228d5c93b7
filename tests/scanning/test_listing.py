"""Checkpoints of a scan are held to a grid in proportion to their matrices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from tests.scanning.helpers import EXPERT, Q
from weibnb.io.files import CheckpointError
from weibnb.io.kinds import SAFETENSORS
from weibnb.io.limits import Limits
from weibnb.io.sources import Planned, resolve_sources
from weibnb.scanning.listing import ALLOWED_PER_MATRIX, ALWAYS_ALLOWED, list_checkpoints

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = np.random.default_rng(0).normal(0, 1, (16, 16)).astype("f2")


def diagonal(number: int, first: int = 0) -> dict[str, Any]:
    """Make experts whose number is that of their layer."""
    numbers = range(first, first + number)
    return {EXPERT.format(i, i, "down_proj"): MATRIX for i in numbers}


def largest_diagonal() -> int:
    """Solve n (n + 1) = allowed, the experts of a diagonal and none."""
    half = (ALLOWED_PER_MATRIX - 1) / 2
    return math.floor(half + math.sqrt(half**2 + ALWAYS_ALLOWED))


def errors(source: Any) -> dict[tuple[str, int], str]:
    return {
        (listing.source.model, listing.source.step): str(listing.error or "")
        for listing in list_checkpoints(resolve_sources(source))
    }


def test_both_sides_of_the_edge() -> None:
    most = largest_diagonal()
    assert errors({"m": diagonal(most)}) == {("m", 0): ""}
    (error,) = errors({"m": diagonal(most + 1)}).values()
    cells = (most + 1) * (most + 2)
    assert f"{most + 1:,} matrices would be spread over {cells:,} cells" in error
    assert f"{most + 1:,} layers, 1 components, {most + 2:,} experts" in error
    assert "scan parts of it" in error


def test_a_full_grid_of_any_size_is_within_it() -> None:
    state = {EXPERT.format(i, e, "down_proj"): MATRIX for i in range(30) for e in range(300)}
    assert errors({"m": state | {Q.format(i): MATRIX for i in range(30)}}) == {("m", 0): ""}


def test_checkpoints_that_are_small_alone_may_be_too_wide_together() -> None:
    part = diagonal(200)
    source = {f"m{i}": diagonal(200, first=200 * i) for i in range(6)}
    found = errors(source)
    kept = [model for (model, _), error in found.items() if not error]
    assert kept
    assert len(kept) < 6
    assert all("Scan it apart" in error for error in found.values() if error)
    assert errors({"m": part}) == {("m", 0): ""}


def test_what_is_too_wide_does_not_count_for_what_follows() -> None:
    found = errors({"a": diagonal(3000), "b": {Q.format(0): MATRIX}, "c": diagonal(100)})
    assert [bool(error) for error in found.values()] == [True, False, False]


def test_a_checkpoint_that_is_too_wide_leaves_the_others_scanned(tmp_path: Path) -> None:
    save_file(diagonal(1500), tmp_path / "wide.safetensors")
    source = {"wide": tmp_path / "wide.safetensors", "good": {Q.format(0): MATRIX}}
    with pytest.warns(UserWarning, match="wide, step 0 is left out: .* spread over 2,251,500"):
        fits = wb.scan(source)
    assert fits["status"].sel(model="good").values.ravel().tolist() == ["ok"]
    assert "2,251,500 cells" in fits["problem"].sel(model="wide").item()
    with pytest.raises(CheckpointError, match="2,251,500 cells"):
        wb.scan(tmp_path / "wide.safetensors")


def test_the_matrices_of_stacks_count_as_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"model.layers.0.mlp.experts.down_proj": np.ones((6, 16, 16), "f2")}, path)
    (kept,) = list_checkpoints([Planned("m", 0, path)], Limits(max_tensors=6))
    assert kept.error is None
    (refused,) = list_checkpoints([Planned("m", 0, path)], Limits(max_tensors=5))
    assert "lists 6 matrices, at most 5" in str(refused.error)
    assert "--max-tensors 6" in str(refused.error)
    live = {"model.layers.0.mlp.experts.down_proj": np.ones((6, 16, 16), "f2")}
    (listing,) = list_checkpoints([Planned("m", 0, live)], Limits(max_tensors=5))
    assert listing.error is None


UNUSABLE = {
    "long": "a" * 5000,
    "null": "a\0b",
    "empty": "",
    "missing": "there/is/nothing",
    "user": "~nobody-of-this-name/model",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_path_that_cannot_be_used_leaves_the_others_scanned(name: str) -> None:
    with pytest.warns(UserWarning, match="bad, step 0 is left out"):
        fits = wb.scan({"bad": UNUSABLE[name], "good": {Q.format(0): MATRIX}})
    assert fits["status"].sel(model="good").values.ravel().tolist() == ["ok"]
    assert len(fits["problem"].sel(model="bad").item()) < 1500


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied"), OverflowError("too large"), RecursionError("deep"),
     UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), ValueError("odd"),
     OSError(36, "File name too long")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_no_error_of_one_path_ends_the_scan_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save_file({Q.format(0): MATRIX}, tmp_path / "bad.safetensors")
    save_file({Q.format(0): MATRIX}, tmp_path / "good.safetensors")

    def fail(path: Path, limits: Limits) -> Any:
        if path.name == "bad.safetensors":
            raise error
        return SAFETENSORS.read(path, limits)

    failing = replace(SAFETENSORS, read=fail)
    monkeypatch.setattr("weibnb.io.directory.kind_of", lambda name: failing)
    with pytest.warns(UserWarning, match="bad, step 0 is left out: .*cannot be read"):
        fits = wb.scan({name: tmp_path / f"{name}.safetensors" for name in ("bad", "good")})
    assert fits["status"].sel(model="good").values.ravel().tolist() == ["ok"]
