"""Scales planted along the paths of small models are found there and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HIDDEN, HEADS, SIZE = 64, 96, 4, 16
PATHS = ("up-down", "gate-down", "value-output", "query-key")


def scales(number: int, seed: int) -> Any:
    return np.exp(np.random.default_rng(seed).normal(0, 0.5, number))


def layer_weights(shared: str, *, groups: int = HEADS, pairing: str = "half") -> dict[str, Any]:
    """One layer of a decoder in which one path shares its scales."""
    rng = np.random.default_rng(1)
    narrow = groups * SIZE
    rows = {"q": WIDTH, "k": narrow, "v": narrow, "o": WIDTH, "gate": HIDDEN, "up": HIDDEN}
    weights = {name: rng.normal(size=(height, WIDTH)) for name, height in rows.items()}
    weights["down"] = rng.normal(size=(WIDTH, HIDDEN))
    unit = scales(HIDDEN, 2)
    if shared in ("up-down", "gate-down"):
        weights[shared[: shared.index("-")]] *= unit[:, None]
        weights["down"] *= unit
    elif shared == "value-output":
        channel = scales(narrow, 3)
        weights["v"] *= channel[:, None]
        repeated = channel.reshape(groups, 1, SIZE).repeat(HEADS // groups, axis=1)
        weights["o"] *= repeated.reshape(-1)
    elif shared == "query-key":
        pairs = scales(groups * SIZE // 2, 4).reshape(groups, SIZE // 2)
        doubled = np.tile(pairs, 2) if pairing == "half" else pairs.repeat(2, axis=1)
        weights["k"] *= doubled.reshape(-1)[:, None]
        repeated = doubled[:, None].repeat(HEADS // groups, axis=1)
        weights["q"] *= repeated.reshape(-1)[:, None]
    return weights


def named(weights: dict[str, Any]) -> dict[str, Any]:
    block = {name: "self_attn" if len(name) == 1 else "mlp" for name in weights}
    return {
        f"model.layers.0.{block[name]}.{name}_proj.weight": value for name, value in weights.items()
    }


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("shared", PATHS)
def test_a_shared_scale_is_found_on_its_path_alone(shared: str, groups: int) -> None:
    source = named(layer_weights(shared, groups=groups))
    found = wb.shared_units(source, head_dim=SIZE, rotary="half")
    assert found["path"].values.tolist() == list(PATHS)
    for i, path in enumerate(PATHS):
        one = found.isel(pair=i)
        if path == shared:
            assert one["r"].item() > 0.95
            assert one["p_value"].item() == pytest.approx(1 / 201)
            assert one["gain_sd"].item() > 5 * one["balance_sd"].item()
        elif {path, shared} != {"up-down", "gate-down"}:
            assert abs(one["r"].item()) < 4.5 * one["null_sd"].item()
    units = {"query-key": groups * SIZE // 2, "value-output": groups * SIZE}
    for i, path in enumerate(PATHS):
        assert found["units"].values[i] == units.get(path, HIDDEN)


def test_pairs_of_the_other_kind_do_not_fit() -> None:
    source = named(layer_weights("query-key", pairing="interleaved"))
    right = wb.shared_units(source, head_dim=SIZE, rotary="interleaved")
    wrong = wb.shared_units(source, head_dim=SIZE, rotary="half")
    assert right["r"].values[3] > 0.97
    assert right["first"].isel(pair=3).std() > 1.1 * wrong["first"].isel(pair=3).std()


def test_a_scale_that_was_moved_along_a_path_is_a_balance() -> None:
    weights = layer_weights("none")
    unit = scales(HIDDEN, 2)
    weights["up"] *= unit[:, None]
    weights["down"] /= unit
    found = wb.shared_units(named(weights)).isel(pair=0)
    assert found["r"].item() < -0.9
    assert found["balance_sd"].item() > 5 * found["gain_sd"].item()
    np.testing.assert_allclose(
        found["balance"], np.log((weights["up"] ** 2).mean(1) / (weights["down"] ** 2).mean(0)) / 2,
        rtol=1e-5,
    )  # fmt: skip


def test_without_a_configuration_the_note_says_what_to_pass() -> None:
    grouped = named(layer_weights("value-output", groups=2))
    notes = wb.shared_units(grouped).set_index(pair="path")["note"]
    assert notes.sel(pair="up-down").item() == ""
    assert "pass the `head_dim`" in notes.sel(pair="value-output").item()
    assert "pass `head_dim`" in notes.sel(pair="query-key").item()
    sized = wb.shared_units(grouped, head_dim=SIZE).set_index(pair="path")
    assert sized["note"].sel(pair="value-output").item() == ""
    assert "pass `rotary`" in sized["note"].sel(pair="query-key").item()


def saved(path: Path, weights: dict[str, Any], **config: Any) -> Path:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(w, np.float32) for name, w in weights.items()},
              path / "model.safetensors")  # fmt: skip
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    return path


def test_config_json_tells_heads_and_their_pairs(tmp_path: Path) -> None:
    weights = named(layer_weights("query-key", groups=2))
    config = {"model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": HEADS}
    path = saved(tmp_path, weights, num_key_value_heads=2, **config)
    found = wb.shared_units(path)
    assert (found["note"] == "").all()
    assert found["r"].values[3] > 0.97
    assert found["model"].values[0] == tmp_path.name


def test_fused_and_transposed_matrices_are_brought_into_place(tmp_path: Path) -> None:
    """GPT-2: q, k and v are one matrix, and all are stored (in, out)."""
    weights = layer_weights("value-output")
    fused = np.concatenate([weights["q"], weights["k"], weights["v"]]).T
    source = {
        "transformer.h.0.attn.c_attn.weight": fused,
        "transformer.h.0.attn.c_proj.weight": weights["o"].T,
        "transformer.h.0.mlp.c_fc.weight": weights["up"].T,
        "transformer.h.0.mlp.c_proj.weight": weights["down"].T,
    }
    path = saved(tmp_path, source, model_type="gpt2", n_embd=WIDTH, n_head=HEADS)
    found = wb.shared_units(path).set_index(pair="path")
    plain = wb.shared_units(named(weights), head_dim=SIZE, rotary="none").set_index(pair="path")
    for name in ("up-down", "value-output", "query-key"):
        for number in ("r", "units", "gain_sd"):
            assert found[number].sel(pair=name).item() == pytest.approx(
                plain[number].sel(pair=name).item(), rel=1e-5
            )
    assert found["r"].sel(pair="value-output") > 0.95


def test_experts_meet_their_own() -> None:
    rng = np.random.default_rng(0)
    unit = [scales(HIDDEN, seed) for seed in range(2)]
    stem = "model.layers.0.mlp.experts.{}.{}_proj.weight".format
    source = {
        stem(i, name): rng.normal(size=shape) * (unit[i][:, None] if name == "up" else unit[i])
        for i in range(2)
        for name, shape in (("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN)))
    }
    found = wb.shared_units(source)
    assert found["expert"].values.tolist() == [0, 1]
    assert (found["r"] > 0.95).all()


def test_bad_arguments() -> None:
    source = named(layer_weights("none"))
    with pytest.raises(ValueError, match="must hold both matrices of a path: up_proj and down"):
        wb.shared_units(source, select={"component": "up_proj"})
    with pytest.raises(ValueError, match="`shuffles` must be at least 1, got 0"):
        wb.shared_units(source, shuffles=0)
    with pytest.raises(TypeError, match=r"`head_dim` must be an integer, got 1.5"):
        wb.shared_units(source, head_dim=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`rotary` must be one of 'half'.*Did you mean 'half'"):
        wb.shared_units(source, rotary="halve")  # type: ignore[arg-type]
    assert wb.shared_units(source, select={"layer": 0}, shuffles=9).attrs["shuffles"] == 9
