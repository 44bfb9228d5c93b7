"""Fused matrices split: a scan gives of the parts what it gives of them stored apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import weibnb as wb
from tests.scanning.helpers import normal, same_estimates, write
from weibnb import cli
from weibnb.counting.dispatch import Counting
from weibnb.counting.formats import FORMATS
from weibnb.counting.limits import Limits
from weibnb.diagnostics.attention import selection, storage_type
from weibnb.io.fused import Part
from weibnb.io.limits import DEFAULTS
from weibnb.io.sources import Planned
from weibnb.scanning.locate import dead_lines, find_outliers
from weibnb.scanning.matrices import list_matrices
from weibnb.scanning.weight_tensors import FUSED, Fused

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

WIDTH, HEADS = 48, 4
QKV = "gpt_neox.layers.{}.attention.query_key_value.weight"
NEOX = {"model_type": "gpt_neox", "hidden_size": WIDTH, "num_attention_heads": HEADS}
APART = "model.layers.{}.self_attn.{}.weight"
EXPERTS = "model.layers.{}.mlp.experts.gate_up_proj"
OSS = {"model_type": "gpt_oss", "hidden_size": WIDTH}
NAMES = ("q_proj", "k_proj", "v_proj")
NUMPY = {"F16": "f2", "F32": "f4"}


def neox(layers: int = 2) -> Weights:
    return {QKV.format(i): normal(3 * WIDTH, WIDTH, seed=i) for i in range(layers)}


def taken_apart(weights: Weights) -> Weights:
    """Store q, k and v of GPT-NeoX apart, as its own reshaping takes them."""
    apart: Weights = {}
    for i, fused in enumerate(weights.values()):
        grouped = fused.reshape(HEADS, 3, WIDTH // HEADS, WIDTH)
        for j, name in enumerate(NAMES):
            apart[APART.format(i, name)] = grouped[:, j].reshape(WIDTH, WIDTH)
    return apart


def reasons(fits: xr.Dataset) -> list[str]:
    return [str(text) for text in wb.not_fitted(fits)["reason"]]


def test_the_parts_are_fitted_as_if_they_were_stored_apart(tmp_path: Path) -> None:
    source = write(tmp_path / "m", neox(), NEOX)
    split = wb.scan({"m": source}, fused="split")
    apart = wb.scan({"m": taken_apart(neox())})
    assert split.component.values.tolist() == list(NAMES)
    same_estimates(split, apart)
    for name in ("rows", "cols", "n", "max_abs", "dtype"):
        np.testing.assert_array_equal(split[name].values, apart[name].values)
    assert (split["parameter"].sel(layer=1) == QKV.format(1)).all()
    assert split.weight_class.values.tolist() == ["selection", "selection", "value"]
    assert reasons(split) == []


def test_both_gives_the_whole_and_its_parts(tmp_path: Path) -> None:
    source = write(tmp_path / "m", neox(), NEOX)
    both = wb.scan(source, fused="both")
    assert both.component.values.tolist() == ["qkv_proj", *NAMES]
    same_estimates(both.sel(component=["qkv_proj"]), wb.scan(source))
    same_estimates(both.sel(component=list(NAMES)), wb.scan(source, fused="split"))
    whole, *parts = (both["counts"].sel(component=c, layer=0).item() for c in both.component.values)
    assert sum(parts[1:], parts[0]) == whole


def test_columns_of_conv1d_are_split() -> None:
    fused = normal(WIDTH, 3 * WIDTH)
    model = Live({"transformer.h.0.attn.c_attn.weight": fused}, {"model_type": "gpt2"})
    parts = {
        APART.format(0, name): np.ascontiguousarray(fused[:, i * WIDTH : (i + 1) * WIDTH].T)
        for i, name in enumerate(NAMES)
    }
    split = wb.scan({"m": model}, fused="split")
    same_estimates(split, wb.scan({"m": parts}))
    assert (split["rows"] == WIDTH).all()


@pytest.mark.parametrize("experts", ["median", "each"])
def test_gate_and_up_of_gpt_oss_are_every_other_column(tmp_path: Path, experts: Any) -> None:
    fused = normal(3, WIDTH, 40)
    source = write(tmp_path / "m", {EXPERTS.format(0): fused}, OSS)
    split = wb.scan({"m": source}, fused="split", experts=experts)
    apart = {
        f"model.layers.0.mlp.experts.{e}.{name}.weight": np.ascontiguousarray(fused[e, :, i::2].T)
        for e in range(3)
        for i, name in enumerate(("gate_proj", "up_proj"))
    }
    same_estimates(split, wb.scan({"m": apart}, experts=experts))


def test_the_configuration_tells_the_orientation_of_stacks(tmp_path: Path) -> None:
    down = EXPERTS.format(0).replace("gate_up", "down")
    stacks = {EXPERTS.format(0): normal(3, WIDTH, 40), down: normal(3, 20, WIDTH)}
    fits = wb.scan(write(tmp_path / "m", stacks, OSS), fused="both")
    sides = {"gate_up_proj": (40, WIDTH)}
    sides |= dict.fromkeys(("gate_proj", "up_proj"), (20, WIDTH)) | {"down_proj": (WIDTH, 20)}
    for name, (rows, cols) in sides.items():
        cell = fits.sel(component=name)
        assert (cell["rows"].item(), cell["cols"].item()) == (rows, cols)


class Live(torch.nn.Module):
    """Parameters by name, with a configuration."""

    def __init__(self, weights: Weights, config: dict[str, Any]) -> None:
        super().__init__()
        self.weights = {n: torch.nn.Parameter(torch.from_numpy(w)) for n, w in weights.items()}
        self.config: Any = SimpleNamespace(to_dict=lambda: config)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        yield from self.weights.items()


def test_a_recorder_splits_too() -> None:
    model = Live(neox(), NEOX)
    with wb.Recorder(model, fused="split") as recorder:
        recorder.record(0)
        same_estimates(recorder.fits(), wb.scan({"m": model}, fused="split"))
    with pytest.raises(ValueError, match="`fused` must be one of 'keep', 'split', 'both'"):
        wb.Recorder(model, fused="apart")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "config", "why"),
    [
        (
            neox(),
            None,
            "qkv_proj is kept as one matrix in 2 tensors: config.json names no model_type",
        ),
        (neox(), NEOX | {"model_type": "new"}, "no layout of `query_key_value` is known"),
        (neox(), NEOX | {"num_attention_heads": 5}, "144 output features are not 5 times 9 of"),
        (neox() | taken_apart(neox()), NEOX, "the layer has a q_proj of its own"),
        (
            {EXPERTS.format(0): normal(3, 4, 40), QKV.format(0): normal(144, WIDTH)},
            OSS | {"hidden_size": 4},
            "its gate_proj would be 20 x 4",
        ),
        (
            {QKV.format(0): np.ones((144, WIDTH), np.int8)},
            NEOX,
            "qkv_proj is kept as one matrix in 1 tensor: its status is quantized",
        ),
    ],
)
@pytest.mark.parametrize("fused", ["split", "both"])
def test_what_is_not_split_is_kept_and_said(
    tmp_path: Path, fused: Any, weights: Weights, config: Any, why: str
) -> None:
    source = write(tmp_path / "m", weights, config)
    fits = wb.scan(source, fused=fused)
    kept = wb.scan(source)
    xr_same(fits, kept)
    assert any(why in reason for reason in reasons(fits)), reasons(fits)
    assert not any("kept as one" in reason for reason in reasons(kept))


def xr_same(fits: xr.Dataset, other: xr.Dataset) -> None:
    assert fits.component.values.tolist() == other.component.values.tolist()
    same_estimates(fits, other)


def test_a_store_takes_the_parts_later_and_gives_what_is_asked(
    tmp_path: Path, counted: list[str]
) -> None:
    source, store = write(tmp_path / "m", neox(), NEOX), tmp_path / "fits.db"
    asked: list[tuple[Fused, list[str], int]] = [
        ("keep", ["qkv_proj"], 2),
        ("split", list(NAMES), 6),
        ("both", ["qkv_proj", *NAMES], 0),
        ("keep", ["qkv_proj"], 0),
    ]
    for fused, components, new in asked:
        counted.clear()
        fits = wb.scan({"m": source}, fused=fused, store=store)
        assert fits.component.values.tolist() == components
        assert len(counted) == new
        same_estimates(fits, wb.scan({"m": source}, fused=fused))
    assert wb.open_fits(store).component.values.tolist() == ["qkv_proj", *NAMES]


def test_a_store_says_what_the_last_scan_kept(tmp_path: Path) -> None:
    source, store = write(tmp_path / "m", neox()), tmp_path / "fits.db"
    assert reasons(wb.scan(source, store=store)) == []
    assert len(reasons(wb.scan(source, fused="split", store=store))) == 1
    assert len(reasons(wb.open_fits(store))) == 1


def test_the_command_line_splits_and_says_what_it_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, new = write(tmp_path / "known", neox(), NEOX), write(tmp_path / "new", neox())
    assert cli.main(["scan", str(known), str(new), "--fused", "split", "--quiet"]) == 0
    text = capsys.readouterr().out
    lines = [line.split()[:2] for line in text.splitlines()]
    assert [line for line in lines if line[:1] in (["known"], ["new"])] == [
        *(["known", name] for name in NAMES),
        ["new", "qkv_proj"],
    ]
    assert "new, step 0: qkv_proj is kept as one matrix in 2 tensors: config.json names no" in text


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the formats of what is counted."""
    calls: list[str] = []
    submit = Counting.submit_bits

    def note(counting: Counting, bits: Any, dtype: str, *shape: Any) -> Any:
        calls.append(dtype)
        return submit(counting, bits, dtype, *shape)

    monkeypatch.setattr(Counting, "submit_bits", note)
    return calls


@pytest.mark.parametrize("fused", ["split", "both"])
def test_the_second_look_tells_places_in_the_stored_tensor(tmp_path: Path, fused: Any) -> None:
    weights = neox(1)
    row = WIDTH // HEADS * 3 + 17  # of the second head: the fifth of its keys
    weights[QKV.format(0)][row, 5] = 3.0
    weights[QKV.format(0)][row + 1] = 0
    fits = wb.scan({"m": write(tmp_path / "m", weights, NEOX)}, fused=fused)
    found = find_outliers(fits)
    columns = found[["component", "row", "col", "value"]].values.tolist()
    whole = [["qkv_proj", row, 5, 3.0]] if fused == "both" else []
    assert sorted(columns) == [["k_proj", row, 5, 3.0], *whole]
    assert set(found["parameter"]) == {QKV.format(0)}
    dead = dead_lines(fits)[["component", "axis", "index"]].values.tolist()
    lines = [["qkv_proj", "row", row + 1]] if fused == "both" else []
    assert sorted(dead) == [["k_proj", "row", row + 1], *lines]


def test_the_second_look_at_columns_of_experts(tmp_path: Path) -> None:
    fused = normal(3, WIDTH, 40)
    fused[1, 7, 13] = 3.0
    fused[2, :, 4] = 0
    source = write(tmp_path / "m", {EXPERTS.format(0): fused}, OSS)
    fits = wb.scan(source, fused="split", experts="each")
    found = find_outliers(fits)[["component", "expert", "row", "col", "value"]]
    assert found.values.tolist() == [["up_proj", 1, 13, 7, 3.0]]
    dead = dead_lines(fits)[["component", "expert", "axis", "index"]]
    assert dead.values.tolist() == [["gate_proj", 2, "row", 4]]


@pytest.mark.parametrize("experts", ["median", "each"])
def test_attention_diagnostics_take_the_parts(tmp_path: Path, experts: Any) -> None:
    source = write(tmp_path / "m", neox(), NEOX)
    fits = wb.scan(source, fused="split", experts=experts)
    assert storage_type(fits).item() == "separate MHA"
    assert storage_type(wb.scan(source, fused="both")).item() == "fused"
    assert selection(fits).component.values.tolist() == ["q_proj", "k_proj"]


def test_the_bound_on_matrices_counts_parts(tmp_path: Path) -> None:
    source = write(tmp_path / "m", {EXPERTS.format(0): normal(3, WIDTH, 40)}, OSS)
    assert len(wb.scan(source, fused="both", max_tensors=9).component) == 3
    with pytest.raises(wb.CheckpointError, match="9 matrices"):
        wb.scan(source, fused="both", max_tensors=8)


def test_bytes_of_parts_are_those_of_the_tensor(tmp_path: Path) -> None:
    source = write(tmp_path / "m", neox(1) | {EXPERTS.format(0): normal(3, WIDTH, 40)}, NEOX)
    for fused in FUSED:
        listing = list_matrices(Planned("m", 0, source), DEFAULTS, fused=fused)
        nbytes = sum(tensor.nbytes * len(tensor.experts) for tensor in listing.tensors)
        assert nbytes == 2 * (3 * WIDTH * WIDTH * (1 + (fused == "both")) + 3 * WIDTH * 40)


@pytest.mark.parametrize("dtype", ["F16", "F32", "F64", "F8_E4M3"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("gathered", [1, 100, 1 << 20])
def test_what_has_gaps_is_counted_as_its_copy(dtype: str, transposed: bool, gathered: int) -> None:
    bits = np.random.default_rng(0).integers(0, 256, 96 * 40 * 8, np.uint8)
    bits = bits.view(FORMATS[dtype].bits)[: 96 * 40].reshape((40, 96) if transposed else (96, 40))
    part = Part("q_proj", 8, 12, 4, 8, transposed).of(bits)
    with Counting("cpu", limits=Limits(worth_a_thread=1, gathered=gathered)) as counting:
        apart = counting.submit_bits(part, dtype).result()
        together = counting.submit_bits(part.copy().reshape(-1), dtype).result()
    assert apart == together
    assert apart.labels.size


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_a_device_counts_what_has_gaps(dtype: str, transposed: bool) -> None:
    weights = normal(*((40, 96) if transposed else (96, 40)), dtype=NUMPY[dtype])
    for part in (Part("x", 8, 12, 4, 8, transposed), Part("x", 1, 96, 32, 64, transposed)):
        view = part.of(weights)
        reference = wb.count_magnitudes(view.copy(), device="cpu")
        with Counting("cpu", devices=[torch.device("cpu")]) as counting:
            pending = counting.submit_bits(view.view(FORMATS[dtype].bits), dtype)
            in_place = counting.submit(part.of(torch.from_numpy(weights)))
            assert pending.result() == in_place.result() == reference
