"""How fused matrices are laid out: published code, what does not fit, and the parts as views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb.io.fused import Part, is_transposed, layout_of
from weibnb.io.naming import Role, identify

HIDDEN = 32


def parts_of(stored: str, shape: tuple[int, ...], **config: Any) -> list[Part] | str:
    role = identify(stored, shape)
    assert isinstance(role, Role)
    return layout_of(stored, role, shape, config)


def rows_of(stored: str, lines: int, **config: Any) -> dict[str, list[int]]:
    """Give the rows of each part of a matrix with 32 inputs."""
    parts = parts_of(stored, (lines, HIDDEN), **config)
    assert not isinstance(parts, str), parts
    return {part.component: [part.stored(row) for row in range(part.features)] for part in parts}


def test_internlm2_has_groups_as_its_published_code_takes_them_apart() -> None:
    # rearrange(qkv, "b q (h gs d) -> b q h gs d", gs=2 + groups); [..., :groups, :], -2, -1
    grouped = np.arange(64).reshape(2, 4, 8)
    config = {"model_type": "internlm2", "hidden_size": 32, "num_attention_heads": 4}
    found = rows_of("model.layers.0.attention.wqkv.weight", 64, **config, num_key_value_heads=2)
    assert found == {
        "q_proj": grouped[:, :2].ravel().tolist(),
        "k_proj": grouped[:, -2].ravel().tolist(),
        "v_proj": grouped[:, -1].ravel().tolist(),
    }


def test_olmo_1_has_blocks_and_its_gate_comes_second() -> None:
    # att_proj.split((d_model, kv, kv)); SwiGLU: x, gate = x.chunk(2); silu(gate) * x
    olmo = {"model_type": "hf_olmo", "d_model": 32, "n_heads": 4, "n_kv_heads": 2}
    found = rows_of("model.transformer.blocks.0.att_proj.weight", 64, **olmo)
    assert [(rows[0], len(rows)) for rows in found.values()] == [(0, 32), (32, 16), (48, 16)]
    found = rows_of("model.transformer.blocks.0.ff_proj.weight", 80, **olmo)
    assert found == {"up_proj": list(range(40)), "gate_proj": list(range(40, 80))}


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ("transformer.h.0.attn.c_attn.weight", "qwen"),  # split(split_size, dim=2)
        ("model.layers.0.self_attn.W_pack.weight", "baichuan"),  # unflatten(-1, (3, hidden))
        ("vision_model.encoder.layers.0.attn.qkv.weight", "intern_vit_6b"),  # reshape(B, N, 3, ...)
    ],
)
def test_families_with_published_code_of_their_own_have_three_blocks(
    stored: str, kind: str
) -> None:
    found = rows_of(stored, 96, model_type=kind)
    assert list(found.values()) == np.arange(96).reshape(3, 32).tolist()


def test_dinov2_stores_its_gate_first() -> None:
    # chunks of weights_in(x): silu of the first times the second
    found = rows_of("encoder.layer.0.mlp.weights_in.weight", 80, model_type="dinov2")
    assert found == {"gate_proj": list(range(40)), "up_proj": list(range(40, 80))}


QKV = "model.layers.0.self_attn.qkv_proj.weight"
NEOX = "gpt_neox.layers.0.attention.query_key_value.weight"
PHI = {"model_type": "phi3", "hidden_size": 32, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("stored", "shape", "config", "why"),
    [
        (QKV, (96, 32), {}, "config.json names no model_type"),
        (QKV, (96, 32), {"model_type": 3}, "config.json names no model_type"),
        (QKV, (96, 32), {"model_type": "new"}, "`qkv_proj` is known for the model_type new"),
        (NEOX, (96, 32), PHI, "`query_key_value` is known for the model_type phi3"),
        (QKV, (96, 32), {"model_type": "phi3"}, "does not say how many heads"),
        (QKV, (96, 32), PHI | {"num_attention_heads": True}, "does not say how many heads"),
        (QKV, (96, 32), PHI | {"num_attention_heads": -4}, "does not say how many heads"),
        (QKV, (96, 32), PHI | {"num_attention_heads": 10**30}, "does not say how many heads"),
        (QKV, (100, 32), PHI, "100 output features are not 1 times 32 of q_proj, 32 of k_proj"),
        (QKV, (96, 32), PHI | {"num_key_value_heads": 2}, "96 output features are not 1 times"),
        (QKV, (94, 32), {"model_type": "codegen"}, "94 output features are not 4 times"),
        (NEOX, (96, 32), PHI | {"model_type": "gpt_neox", "num_attention_heads": 5}, "5 times 6"),
        ("model.layers.0.mlp.gate_up_proj.weight", (81, 32), PHI, "81 output features are not"),
        ("model.layers.0.self_attn.kv_b_proj.weight", (96, 32), PHI, "multi-head latent"),
        (
            "model.layers.0.attention.wqkv.weight",
            (128, 32),
            PHI | {"model_type": "internlm2", "num_key_value_heads": 3},
            "4 heads are not 3 equal groups",
        ),
    ],
)
def test_what_cannot_be_split_says_why(
    stored: str, shape: tuple[int, ...], config: dict[str, Any], why: str
) -> None:
    found = parts_of(stored, shape, **config)
    assert isinstance(found, str)
    assert why in found


def test_what_is_not_fused_has_no_parts() -> None:
    assert parts_of("model.layers.0.self_attn.q_proj.weight", (32, 32), **PHI) == []


def test_a_tower_has_the_family_and_the_heads_of_its_section() -> None:
    config = {"model_type": "glm4v", "vision_config": {"model_type": "glm4v_vision"}}
    stored = "model.visual.blocks.0.attn.qkv.weight"
    found = parts_of(stored, (96, 32), **config)
    assert [one.component for one in found if not isinstance(one, str)] == [
        "vision.q_proj",
        "vision.k_proj",
        "vision.v_proj",
    ]
    assert isinstance(
        parts_of(stored, (96, 32), model_type="glm4v", vision_config={"model_type": "new"}), str
    )
    text = {"model_type": "internvl_chat", "llm_config": PHI}
    assert len(parts_of("language_model." + QKV, (96, 32), **text)) == 3


@pytest.mark.parametrize(("shape", "transposed"), [((3, 16, 48), True), ((3, 48, 16), False)])
def test_of_stacks_the_side_of_the_hidden_size_tells_the_orientation(
    shape: tuple[int, ...], transposed: bool
) -> None:
    # saved by transformers 4 as (experts, in, out), by 5 as (experts, out, in)
    stored = "model.language_model.layers.0.mlp.experts.gate_up_proj"
    text = {"model_type": "qwen3_vl_moe_text", "hidden_size": 16}
    found = parts_of(stored, shape, model_type="qwen3_vl_moe", text_config=text)
    assert [one.transposed for one in found if isinstance(one, Part)] == [transposed] * 2


@pytest.mark.parametrize(
    ("family", "word", "shape", "transposed"),
    [
        ("gpt_oss", "gate_up_proj", (3, 16, 16), True),
        ("gpt_oss", "down_proj", (3, 16, 16), True),
        ("mixtral", "gate_up_proj", (3, 16, 16), False),
        ("mixtral", "gate_up_proj", (3, 40, 16), False),
        ("mixtral", "gate_up_proj", (3, 40, 20), False),
        ("mixtral", "down_proj", (3, 16, 40), False),
        ("qwen3_vl_moe", "down_proj", (3, 40, 16), True),
    ],
)
def test_orientation_where_sides_are_equal_or_strange(
    family: str, word: str, shape: tuple[int, ...], transposed: bool
) -> None:
    role = identify(f"model.layers.0.mlp.experts.{word}", shape)
    assert isinstance(role, Role)
    config = {"model_type": family, "hidden_size": 16}
    assert is_transposed(role, shape, config) is transposed


@given(st.integers(1, 6), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_parts_are_views_that_cover_the_matrix_once(
    groups: int, lengths: list[int], transposed: bool
) -> None:
    width, cols = sum(lengths), 3
    weights = np.arange(groups * width * cols).reshape(groups * width, cols)
    stored = np.ascontiguousarray(weights.T) if transposed else weights
    seen: list[int] = []
    for i, length in enumerate(lengths):
        start = sum(lengths[:i])
        part = Part("x", groups, width, start, start + length, transposed)
        view = part.of(stored)
        assert np.shares_memory(view, stored)
        matrix = view.reshape(cols, -1).T if transposed else view.reshape(-1, cols)
        rows = [part.stored(row) for row in range(part.features)]
        np.testing.assert_array_equal(matrix, weights[rows])
        seen += rows
    assert sorted(seen) == list(range(groups * width))


_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -4, 2**31, 10**30, 3.0, float("nan"), "four", [4], {}]
)
_KEYS = ("hidden_size", "num_attention_heads", "n_head", "num_kv_heads", "head_dim", "multi_query")


@given(
    st.sampled_from(["gpt_neox", "falcon", "internlm2", "phi3", "codegen", "gpt2", "gpt_oss"]),
    st.sampled_from([QKV, NEOX, "h.0.attn.c_attn.weight", "layers.0.mlp.experts.gate_up_proj"]),
    st.dictionaries(st.sampled_from([*_KEYS, "text_config"]), _JUNK | st.integers(1, 40)),
    st.tuples(st.integers(2, 200), st.integers(2, 200)),
)
def test_whatever_the_configuration_parts_fit_or_a_reason_is_given(
    kind: str, stored: str, config: dict[str, Any], sides: tuple[int, int]
) -> None:
    shape = (3, *sides) if "experts" in stored else sides
    found = parts_of(stored, shape, model_type=kind, **config)
    if isinstance(found, str):
        assert found
        return
    lines = sides[1] if found[0].transposed else sides[0]
    assert sum(part.features for part in found) == lines
    assert all(part.groups * part.width == lines for part in found)
    assert all(part.of(np.empty(sides)).size for part in found)


@pytest.mark.parametrize(
    ("family", "shape", "transposed"),
    [("gpt2", (64, 64), True), ("llama", (64, 64), False), ("gpt2", (64, 32), True)],
)
def test_a_square_output_projection_is_told_by_its_family(
    family: str, shape: tuple[int, int], *, transposed: bool
) -> None:
    role = identify("transformer.h.0.attn.c_proj.weight", shape)
    assert isinstance(role, Role)
    assert is_transposed(role, shape, {"model_type": family}) is transposed
