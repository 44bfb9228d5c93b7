"""How rows of a head belong together, held against what transformers' own code turns."""

from __future__ import annotations

from typing import Any

import pytest

from weibnb.io.rotary import Rotary, rotary_of

GPTJ: dict[str, Any] = {"model_type": "gptj", "n_embd": 64, "n_head": 4, "rotary_dim": 8}
LONG: dict[str, Any] = {"model_type": "qwen3", "head_dim": 32, "rope_theta": 1e6}
HEADS: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "llama", **HEADS}, Rotary(16, 16, "half")),
        (LONG | HEADS, Rotary(32, 32, "half")),
        ({"model_type": "gpt_neox", "rotary_pct": 0.25, **HEADS}, Rotary(16, 4, "half")),
        (GPTJ, Rotary(16, 8, "interleaved")),
        ({"model_type": "phi", "partial_rotary_factor": 0.5, **HEADS}, Rotary(16, 8, "half")),
        (
            {"model_type": "glm4", "rope_parameters": {"partial_rotary_factor": 0.5}, **HEADS},
            Rotary(16, 8, "interleaved"),
        ),
        ({"model_type": "cohere2", **HEADS}, Rotary(16, 16, "interleaved")),
        ({"model_type": "falcon", "alibi": True, **HEADS}, Rotary(16, 16, "none")),
        ({"model_type": "gpt2", "n_embd": 64, "n_head": 4}, Rotary(16, 16, "none")),
        ({"model_type": "something", **HEADS}, Rotary(16, 16, None)),
        ({}, Rotary(0, 0, None)),
    ],
)  # fmt: skip
def test_of_configurations(config: dict[str, Any], expected: Rotary) -> None:
    assert rotary_of(config, "q_proj") == expected


def test_other_towers_are_not_guessed() -> None:
    config = {
        "model_type": "llava",
        "rope_theta": 1e4,
        "vision_config": {"hidden_size": 64, "num_attention_heads": 4},
    }
    assert rotary_of(config, "vision.q_proj").pairing is None


def turned_with(row: int, rotate: Any, size: int) -> set[int]:
    """Rows of a head that a rotation mixes with one row."""
    import torch

    head = torch.zeros(1, 1, 1, size)
    head[..., row] = 1.0
    angle = torch.full((1, 1, size), 0.3)
    out, _ = rotate(head, head, angle.cos(), angle.sin())
    return set(torch.nonzero(out.reshape(-1)).reshape(-1).tolist())


@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "glm", "cohere", "ernie4_5", "helium", "gpt_neox"]
)
def test_pairs_are_those_that_transformers_turns(family: str) -> None:
    import importlib

    pytest.importorskip("transformers")
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    found = rotary_of({"model_type": family, **HEADS, "rope_theta": 1e4}, "q_proj")
    size = found.size
    for row in (0, 3):
        partner = row + size // 2 if found.pairing == "half" else row ^ 1
        assert turned_with(row, module.apply_rotary_pos_emb, size) == {row, partner}
