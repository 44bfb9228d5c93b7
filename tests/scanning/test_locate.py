"""The second look: planted weights are found again, clean matrices are not read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from torch import nn

import weibnb as wb
from weibnb.counting.formats import FORMATS
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.io.checkpoint import Checkpoint
from weibnb.scanning.locate import PIECE, dead_lines, find_outliers, largest_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

DOWN = "model.layers.{}.mlp.down_proj.weight"
Q = "model.layers.{}.self_attn.q_proj.weight"
EXPERT = "model.layers.0.mlp.experts.{}.down_proj.weight"
TORCH = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def normal(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape)


def planted(*shape: int, at: tuple[int, ...], value: float, seed: int = 0) -> NDArray[np.float64]:
    weights = normal(*shape, seed=seed)
    weights[at] = value
    return weights


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors whose bits were asked for."""
    names: list[str] = []
    raw = Checkpoint.raw

    def spy(self: Checkpoint, name: str) -> Any:
        names.append(name)
        return raw(self, name)

    monkeypatch.setattr(Checkpoint, "raw", spy)
    return names


# --- where and how much


@pytest.mark.parametrize("dtype", list(TORCH))
def test_a_planted_weight_is_found_where_it_was_put(tmp_path: Path, dtype: str) -> None:
    weights = planted(160, 96, at=(123, 45), value=-1.75)
    weights[7, 8] = 1.5
    tensor = torch.from_numpy(weights).to(TORCH[dtype])
    path = tmp_path / "model.safetensors"
    constant = torch.full((64, 64), 0.5).to(TORCH[dtype])
    save_torch({DOWN.format(3): tensor, Q.format(3): constant}, path)
    table = find_outliers(wb.scan({"m": path}))
    assert table[["row", "col", "value"]].to_numpy().tolist() == [[123, 45, -1.75], [7, 8, 1.5]]
    first = table.iloc[0]
    assert (first["model"], first["step"], first["layer"], first["component"]) == (
        "m", 0, 3, "down_proj",
    )  # fmt: skip
    assert (first["expert"], first["parameter"], first["magnitude"]) == (-1, DOWN.format(3), 1.75)
    assert first["excess"] == first["magnitude"] / first["expected_max"]


def test_transposed_storage_gives_output_and_input_features(tmp_path: Path) -> None:
    """GPT-2 stores (in, out): the weight at [in 5, out 70] belongs to output feature 70."""
    name = "h.0.mlp.c_fc.weight"
    weights = planted(32, 128, at=(5, 70), value=2.0)
    weights[9] = 0
    weights[:, 11] = 0
    save_file({name: weights.astype("f2")}, tmp_path / "model.safetensors")
    fits = wb.scan(tmp_path)
    assert find_outliers(fits)[["component", "row", "col"]].values.tolist() == [["up_proj", 70, 5]]
    lines = dead_lines(fits)[["axis", "index"]].values.tolist()
    assert lines == [["row", 11], ["col", 9]]


def test_shards_and_steps_are_found_through_their_paths(tmp_path: Path, opened: list[str]) -> None:
    for step, value in ((10, 0.01), (20, 3.0)):
        place = tmp_path / "run" / f"step{step}"
        place.mkdir(parents=True)
        parts = [
            {DOWN.format(0): planted(64, 96, at=(1, 2), value=value)},
            {DOWN.format(1): normal(64, 96, seed=1), Q.format(1): normal(64, 64, seed=2)},
        ]
        index: dict[str, str] = {}
        for i, part in enumerate(parts):
            save_file({k: v.astype("f4") for k, v in part.items()}, place / f"m-{i}.safetensors")
            index |= dict.fromkeys(part, f"m-{i}.safetensors")
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    fits = wb.scan(tmp_path / "run")
    opened.clear()
    table = find_outliers(fits)
    assert table[["model", "step", "layer", "row", "col", "value"]].values.tolist() == [
        ["run", 20, 0, 1, 2, 3.0]
    ]
    assert opened == [DOWN.format(0)]
    one_layer = find_outliers(fits.sel(layer=0, step=20))
    assert one_layer["layer"].tolist() == [0]
    assert find_outliers(fits.sel(layer=1)).empty


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("experts", ["median", "each"])
@pytest.mark.parametrize("stacked", [True, False])
def test_experts_are_told_apart(
    tmp_path: Path, opened: list[str], *, stacked: bool, experts: Any, counts: bool
) -> None:
    every = [normal(64, 96, seed=i) for i in range(4)]
    every[2][10, 20] = -4.0
    every[3][:, 5] = 0
    weights = {EXPERT.format(i): w for i, w in enumerate(every)}
    if stacked:
        weights = {"model.layers.0.mlp.experts.down_proj": np.stack(every)}
    weights[Q.format(0)] = normal(64, 64)
    path = tmp_path / "model.safetensors"
    save_file({name: w.astype("f2") for name, w in weights.items()}, path)
    fits = wb.scan({"m": path}, experts=experts, keep_counts=counts)
    opened.clear()
    table = find_outliers(fits)
    assert table[["expert", "row", "col", "value"]].values.tolist() == [[2, 10, 20, -4.0]]
    if not stacked and (counts or experts == "each"):
        assert opened == [EXPERT.format(2)]
    if experts == "median" and not counts:
        with pytest.raises(ValueError, match="keep_counts=True"):
            dead_lines(fits)
    else:
        assert dead_lines(fits)[["expert", "axis", "index"]].values.tolist() == [[3, "col", 5]]


def test_live_weights_are_read_from_the_source_that_was_scanned() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Module()
            self.mlp.down_proj = nn.Linear(64, 96, bias=False)

    model: Any = nn.Module()
    model.layers = nn.ModuleList([Block()])
    with torch.no_grad():
        model.layers[0].mlp.down_proj.weight[3, 4] = 9.0
    fits = wb.scan({"live": {5: model}})
    with pytest.raises(ValueError, match=r"not there. Pass `source=`"):
        find_outliers(fits)
    assert find_outliers(fits, source={"live": {5: model}})["value"].tolist() == [9.0]
    assert find_outliers(fits, source=model)["step"].tolist() == [5]
    with pytest.raises(ValueError, match="must hold model 'live', step 5; it holds 'a' step 0"):
        find_outliers(fits, source={"a": model, "b": model})
    with torch.no_grad():
        model.layers[0].mlp.down_proj.weight[3, 4] = 8.0
    with pytest.raises(ValueError, match="was 9, now it is 8"):
        find_outliers(fits, source=model)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({DOWN.format(0): planted(64, 64, at=(0, 0), value=5.0)}, path)
    fits = wb.scan({"m": path})
    moved = path.rename(tmp_path / "moved.safetensors")
    with pytest.raises(wb.CheckpointError, match=r"model.safetensors.*model 'm', step 0"):
        find_outliers(fits)
    assert find_outliers(fits, source=moved)["value"].tolist() == [5.0]
    save_file({Q.format(0): normal(64, 64)}, moved)
    with pytest.raises(ValueError, match="now it is 0"):
        find_outliers(fits, source={"m": moved})


# --- which matrices are read


def test_only_flagged_matrices_are_read_again(tmp_path: Path, opened: list[str]) -> None:
    weights: Weights = {DOWN.format(i): normal(96, 96, seed=i) for i in range(12)}
    for layer in (4, 7):
        weights[DOWN.format(layer)][1, 1] = 1.0
    save_file(weights, tmp_path / "model.safetensors")
    fits = wb.scan(tmp_path)
    opened.clear()
    assert sorted(find_outliers(fits)["layer"]) == [4, 7]
    assert sorted(opened) == sorted([DOWN.format(4), DOWN.format(7)])
    opened.clear()
    everything = find_outliers(fits, factor=0, top=3)
    assert len(everything) == 36
    assert len(opened) == 12
    for layer in range(12):
        heads = np.sort(np.abs(weights[DOWN.format(layer)]).ravel())[:-4:-1]
        rows = everything[everything["layer"] == layer]
        assert rows["magnitude"].tolist() == heads.tolist()
        assert weights[DOWN.format(layer)][rows["row"], rows["col"]].tolist() == list(rows["value"])


@pytest.mark.parametrize("rule", ["gaussian", "weibull"])
def test_the_threshold_is_sharp_in_the_second_look(rule: Any) -> None:
    """On both sides of factor × expectation, which does not move with one weight of many."""
    clean = planted(256, 256, at=(3, 3), value=10.0)
    threshold = float(outlier_strength(wb.scan({"m": {DOWN.format(0): clean}}), rule=rule)
                      ["threshold"].squeeze())  # fmt: skip
    for share, expected in ((0.9999, 0), (1.0001, 1)):
        clean[3, 3] = -threshold * share
        run = {"m": {DOWN.format(0): clean}}
        fits = wb.scan(run)
        found = find_outliers(fits, source=run, rule=rule)
        assert len(found) == expected
        assert (found["rule"] == outlier_strength(fits, rule=rule).attrs["rule"]).all()


def test_a_gaussian_of_sixteen_million_weights_is_not_read_again(opened: list[str]) -> None:
    draws = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    run = {"m": {DOWN.format(0): draws.astype(ml_dtypes.bfloat16)}}
    fits = wb.scan(run)
    opened.clear()
    assert find_outliers(fits, source=run).empty
    assert find_outliers(fits, source=run, rule="weibull").empty
    assert opened == []


def test_a_fit_that_failed_is_silent() -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    run = {"m": {DOWN.format(0): np.zeros((30, 30)), name: normal(30, 30)}}
    table = find_outliers(wb.scan(run), source=run)
    assert table.empty
    assert list(table.columns)[-4:] == ["excess", "exceedance", "rule", "total"]


# --- rows and columns of unequal scale


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("spread", [0.5, 0.7])
def test_unequal_lines_are_silent_and_planted_weights_are_found(
    spread: float, axis: int, dtype: str
) -> None:
    """The rule from fits alone flags these; in its own lines only the planted weight stands out."""
    flagged = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape = (512, 1) if axis == 0 else (1, 512)
        weights = rng.normal(0, 0.02, (512, 512)) * np.exp(rng.normal(0, spread, shape))
        for weight, expected in ((None, 0), (3.0, 1)):
            if weight:
                weights[17, 23] = weight * np.median(np.abs(weights[17])) / 0.0135
            run = {"m": {DOWN.format(0): weights.astype(dtype)}}
            fits = wb.scan(run)
            found = find_outliers(fits, source=run)
            assert found[["row", "col"]].values.tolist() == [[17, 23]] * expected
            flagged += bool(outlier_strength(fits)["needs_look"].item()) and not expected
    assert flagged >= (8 if spread > 0.6 else 1)


def test_a_heavy_tail_of_single_weights_is_still_flagged() -> None:
    weights = 0.02 * np.random.default_rng(0).standard_t(3, (512, 512))
    run = {"m": {DOWN.format(0): weights}}
    assert find_outliers(wb.scan(run), source=run)["total"].iloc[0] > 8


def test_the_total_counts_what_is_not_listed() -> None:
    weights = normal(256, 256)
    places = np.random.default_rng(1).choice(weights.size, 20, replace=False)
    weights.flat[places] = 1.0
    run = {"m": {DOWN.format(0): weights, Q.format(1): planted(256, 256, at=(1, 1), value=2.0)}}
    fits = wb.scan(run)
    found = find_outliers(fits, source=run, top=5)
    assert found.groupby("component")["total"].agg(["size", "max"]).values.tolist() == [
        [5, 20],
        [1, 1],
    ]
    assert len(find_outliers(fits, source=run, top=100)) == 21


# --- the largest of a buffer


@pytest.mark.parametrize("dtype", list(FORMATS))
@pytest.mark.parametrize("top", [1, 8, 1000])
def test_largest_weights_agree_with_a_sort(
    monkeypatch: pytest.MonkeyPatch, dtype: str, top: int
) -> None:
    """In pieces of 64 random patterns, NaN and infinities among them, against a stable sort."""
    monkeypatch.setattr("weibnb.scanning.locate.PIECE", 64)
    word = FORMATS[dtype].bits
    bits = np.random.default_rng(0).integers(0, 2 ** (8 * word.itemsize), 700, word, endpoint=False)
    native = {
        "BF16": ml_dtypes.bfloat16, "F16": "f2", "F32": "f4", "F64": "f8",
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    }[dtype]  # fmt: skip
    with np.errstate(invalid="ignore"):
        values = bits.view(native).astype(float)
    usable = np.where(np.isfinite(values), np.abs(values), 0)
    order = np.argsort(-usable, kind="stable")
    order = order[usable[order] > 0][:top]
    index, found = largest_weights(bits, dtype, top=top)
    assert index.tolist() == order.tolist()
    assert found.tolist() == values[order].tolist()


def test_largest_weights_over_the_edges_of_real_pieces() -> None:
    values = np.zeros(2 * PIECE + 5, "f2")
    values[[0, PIECE - 1, PIECE, 2 * PIECE, 2 * PIECE + 4]] = [1, -3, 2, -5, 4]
    index, found = largest_weights(values.view("u2"), "F16", top=4)
    assert index.tolist() == [2 * PIECE, 2 * PIECE + 4, PIECE - 1, PIECE]
    assert found.tolist() == [-5, 4, -3, 2]
    assert largest_weights(np.zeros(9, "u2"), "BF16", top=2)[0].size == 0
    ties = np.array([1, 2, -2, 3, 2, 2, -1], "f2").view("u2")
    assert largest_weights(ties, "F16", top=3)[0].tolist() == [3, 1, 2]


# --- dead lines


def test_dead_lines_are_listed_and_others_are_not_read(opened: list[str], tmp_path: Path) -> None:
    dead, almost, scattered = normal(40, 60), normal(40, 60, seed=1), normal(40, 60, seed=2)
    dead[7], dead[:, [3, 59]] = -0.0, 0
    almost[:39, 3] = 0  # 39 zeros: one too few for a column of 40
    scattered.ravel()[::50] = 0  # 48 zeros: enough for a column, but there is none
    arrays = [dead, almost, scattered, np.zeros((3, 4)), normal(40, 60, seed=3)]
    save_file({DOWN.format(i): a.astype("f2") for i, a in enumerate(arrays)},
              tmp_path / "model.safetensors")  # fmt: skip
    fits = wb.scan({"m": tmp_path}, keep_counts=False)
    opened.clear()
    table = dead_lines(fits)
    assert opened == [DOWN.format(i) for i in (0, 2, 3)]
    assert table[table["layer"] == 0][["axis", "index"]].values.tolist() == [
        ["row", 7], ["col", 3], ["col", 59],
    ]  # fmt: skip
    assert table[table["layer"] == 3]["axis"].tolist() == ["row"] * 3 + ["col"] * 4
    assert set(table["layer"]) == {0, 3}


def test_dead_lines_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weibnb.scanning.locate.PIECE", 100)
    weights = normal(45, 30)
    weights[[0, 44]], weights[:, 29] = 0, 0
    run = {"m": {DOWN.format(0): weights}}
    table = dead_lines(wb.scan(run), source=run)
    assert table[["axis", "index"]].values.tolist() == [["row", 0], ["row", 44], ["col", 29]]


def test_a_dead_expert_is_found_among_merged_ones() -> None:
    run = {"m": {EXPERT.format(i): normal(16, 24, seed=i) * (i != 1) for i in range(3)}}
    table = dead_lines(wb.scan(run), source=run)
    assert set(table["expert"]) == {1}
    assert len(table) == 40


# --- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "`top` must be an integer"),
        ({"top": True}, "`top` must be an integer"),
        ({"rule": "student"}, "`rule` must be one of 'gaussian', 'weibull', got 'student'"),
        ({"factor": -1.0}, "`factor` must be at least 0"),
        ({"factor": float("nan")}, "`factor` must be at least 0"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    fits = wb.scan({"m": {DOWN.format(0): normal(20, 20)}})
    with pytest.raises(ValueError, match=message):
        find_outliers(fits, **options)
    with pytest.raises(TypeError, match="xarray"):
        find_outliers(xr.DataArray([1]))  # type: ignore[arg-type]
