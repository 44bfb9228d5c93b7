"""Which tensors of a checkpoint are weight matrices: one choice, for scans and second looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb import cli
from weibnb.fits.schema import NO_EXPERT
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import Planned
from weibnb.scanning.locate import dead_lines
from weibnb.scanning.matrices import list_matrices
from weibnb.scanning.weight_tensors import choose_tensors

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)


def matrix(*shape: int) -> Any:
    return RNG.normal(0, 0.02, shape or (32, 32)).astype(np.float32)


def chosen(state: dict[str, Any]) -> list[tuple[str, int, str, list[int]]]:
    tensors, _ = choose_tensors(open_checkpoint(state))
    return [(t.info.name, t.role.layer, t.role.component, list(t.experts)) for t in tensors]


def reasons(state: dict[str, Any]) -> dict[str, str]:
    return {entry["tensor"]: entry["reason"] for entry in choose_tensors(open_checkpoint(state))[1]}


def test_a_matrix_has_one_expert_that_is_none() -> None:
    name = "model.layers.3.self_attn.q_proj.weight"
    assert chosen({name: matrix()}) == [(name, 3, "q_proj", [NO_EXPERT])]


def test_experts_come_one_by_one_or_stacked() -> None:
    apart = {f"model.layers.0.mlp.experts.{e}.down_proj.weight": matrix() for e in (5, 2)}
    assert [experts for *_, experts in chosen(apart)] == [[2], [5]]
    (stacked,) = chosen({"model.layers.0.mlp.experts.down_proj": matrix(4, 32, 16)})
    assert stacked[3] == [0, 1, 2, 3]


def test_the_first_tensor_keeps_its_cell() -> None:
    stack = "model.layers.0.mlp.experts.down_proj"
    one = "model.layers.0.mlp.experts.1.down_proj.weight"
    state = {stack: matrix(4, 32, 16), one: matrix()}
    first, second = sorted(state, key=lambda name: name != chosen(state)[0][0])
    assert reasons(state) == {second: f"its cell is taken by {first}"}


def test_the_bits_of_an_expert_are_its_own() -> None:
    weights = matrix(3, 32, 16)
    checkpoint = open_checkpoint({"model.layers.0.mlp.experts.down_proj": weights})
    (tensor,), _ = choose_tensors(checkpoint)
    bits = checkpoint.raw(tensor.info.name)
    for expert in tensor.experts:
        np.testing.assert_array_equal(
            tensor.one_expert(bits, expert).view(np.float32), weights[expert].ravel()
        )
        np.testing.assert_array_equal(tensor.one_expert(weights, expert), weights[expert])


def test_features_are_output_by_input_however_the_matrix_is_stored() -> None:
    (linear,), _ = choose_tensors(
        open_checkpoint({"model.layers.0.mlp.up_proj.weight": matrix(48, 16)})
    )
    (conv1d,), _ = choose_tensors(
        open_checkpoint({"transformer.h.0.mlp.c_fc.weight": matrix(16, 48)})
    )
    assert linear.features == conv1d.features == (48, 16)


def test_what_cannot_be_read_is_an_error_in_the_listing(tmp_path: Path) -> None:
    for given in (tmp_path / "nothing", CheckpointError("here", "it is broken")):
        listing = list_matrices(Planned("m", 3, given))
        assert listing.checkpoint is None
        assert listing.tensors == []
        assert listing.source.problem == str(listing.error)
        assert (listing.source.model, listing.source.step) == ("m", 3)


STACK = "model.layers.0.mlp.experts.down_proj"


def feed_forward(up: int, down: int, prefix: str = "decoder.layers.0.mlp") -> dict[str, Any]:
    """As Megatron-Core names them, whose `linear_fc1` may hold the gate."""
    return {
        f"{prefix}.linear_fc1.weight": matrix(up, 32),
        f"{prefix}.linear_fc2.weight": matrix(32, down),
    }


@pytest.mark.parametrize(
    ("state", "component"),
    [
        (feed_forward(128, 64), "gate_up_proj"),
        (feed_forward(127, 64), "up_proj"),
        (feed_forward(64, 64), "up_proj"),
        (feed_forward(128, 64) | feed_forward(64, 64, "decoder.layers.1.mlp"), "up_proj"),
        (
            feed_forward(128, 64)
            | feed_forward(256, 128, "decoder.layers.1.mlp.experts.local_experts.4"),
            "gate_up_proj",
        ),
        (
            feed_forward(128, 64) | {"decoder.layers.0.mlp.gate_proj.weight": matrix(64, 32)},
            "up_proj",
        ),
        ({"decoder.layers.0.mlp.linear_fc1.weight": matrix(128, 32)}, "up_proj"),
    ],
)
def test_a_gate_that_is_in_up_is_told_by_the_shape(state: dict[str, Any], component: str) -> None:
    there = {c for name, _, c, _ in chosen(state) if "linear_fc1" in name}
    assert there == {component}


def test_a_gate_in_one_tower_is_told_of_that_alone() -> None:
    block = "transformer_blocks.0"
    state = {
        f"{block}.ff.net.0.proj.weight": matrix(128, 32),
        f"{block}.ff.net.2.weight": matrix(32, 64),
        f"{block}.ff_context.net.0.proj.weight": matrix(64, 32),
        f"{block}.ff_context.net.2.weight": matrix(32, 64),
    }
    assert {component for _, _, component, _ in chosen(state)} == {
        *("gate_up_proj", "down_proj", "context.up_proj", "context.down_proj"),
    }  # fmt: skip


def test_experts_too_small_to_be_fitted_are_left_out() -> None:
    assert list(reasons({STACK: matrix(3, 9, 11)}).values()) == [
        "its experts have 99 weights each, at least 100 are fitted"
    ]
    (found,) = chosen({STACK: matrix(3, 10, 10)})
    assert found[3] == [0, 1, 2]


def test_a_stack_that_is_not_counted_is_one_entry() -> None:
    state = {STACK: np.zeros((5, 32, 16), np.int8)}
    (tensor,), left = choose_tensors(open_checkpoint(state))
    assert (tensor.status, list(tensor.experts), left) == ("quantized", [NO_EXPERT], [])
    fits = wb.scan({"m": state | {STACK.replace("0", "1"): matrix(5, 32, 16)}})
    assert fits["status"].sel(layer=0).item() == "quantized"
    assert fits["n_matrices"].values.ravel().tolist() == [1, 5]


@pytest.mark.parametrize(("side", "taken"), [(2**31 - 1, True), (2**31, False)])
def test_a_side_is_a_number_of_31_bits(side: int, taken: bool) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    huge = np.broadcast_to(np.int8(0), (side, 2))
    tensors, left = choose_tensors(open_checkpoint({name: huge}))
    assert [tensor.features for tensor in tensors] == [(side, 2)] * taken
    assert [entry["reason"] for entry in left] == [
        "a side of its matrix is longer than 2,147,483,647"
    ] * (not taken)


def test_a_long_name_is_shortened_where_it_is_a_reason() -> None:
    long = "x." * 450 + "model.layers.0.self_attn.q_proj.weight"
    found = reasons({long: matrix(), long.replace("x", "y"): matrix()})
    (reason,) = found.values()
    assert reason.startswith("its cell is taken by x.x.x.")
    assert len(reason) < 250


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """Save a checkpoint with the names of OPT, whose only tower is called decoder."""
    attention, layer = (
        "model.decoder.layers.{}.self_attn.{}.weight",
        "model.decoder.layers.{}.{}.weight",
    )
    state = {
        form.format(i, name): matrix(64, 64)
        for i in range(2)
        for form, names in (
            (attention, ("q_proj", "k_proj", "v_proj", "out_proj")),
            (layer, ("fc1", "fc2")),
        )
        for name in names
    }
    state[layer.format(1, "fc2")][3, 5] = 1.5
    state[layer.format(0, "fc1")][7] = 0
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path


def test_a_second_look_reads_what_was_scanned_also_where_the_tower_was_dropped(opt: Path) -> None:
    fits = wb.scan({"opt": opt})
    assert "down_proj" in fits.component.values
    found = wb.find_outliers(fits)
    assert found[["layer", "component", "row", "col"]].values.tolist() == [[1, "down_proj", 3, 5]]
    assert found["value"].tolist() == [1.5]
    dead = dead_lines(fits)
    assert dead[["layer", "component", "axis", "index"]].values.tolist() == [
        [0, "up_proj", "row", 7]
    ]


def test_the_report_of_opt_places_its_outlier(opt: Path, tmp_path: Path) -> None:
    file, page = tmp_path / "fits.nc", tmp_path / "report.html"
    wb.save_fits(wb.scan({"opt": opt}), file)
    assert cli.main(["report", str(file), "-o", str(page), "--look"]) == 0
    text = page.read_text(encoding="utf-8")
    row = text.partition("<h2>Outliers</h2>")[2].partition("</tr></tbody>")[0]
    assert all(f">{word}<" in row for word in ("opt", "down_proj", "1.5"))
