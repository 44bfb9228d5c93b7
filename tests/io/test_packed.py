"""Quantised checkpoints that are not restored: what they are, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.io.checkpoint import open_checkpoint

UP = "model.layers.0.mlp.up_proj"
INTS, HALF = np.zeros((32, 32), "i4"), np.zeros(32, "f2")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"qweight": INTS, "qzeros": INTS, "scales": HALF, "g_idx": INTS}, "by GPTQ: listed"),
        ({"qweight": INTS, "qzeros": INTS, "scales": HALF}, "by AWQ: listed"),
        ({"weight": INTS.astype("u1"), "weight.absmax": HALF}, "by bitsandbytes: listed"),
        ({"weight": INTS.astype("i1"), "SCB": HALF}, "by bitsandbytes: listed"),
        ({"weight": INTS.view("u4"), "scales": HALF.astype("u1")}, "by MLX: listed"),
        ({"weight_packed": INTS, "weight_scale": HALF}, r"by compressed-tensors \(packed"),
        (
            {"weight_packed": INTS.astype("u1"), "weight_scale": INTS[:, :2].astype("u1")},
            "as MXFP4: .*dequantise=True",
        ),
    ],
)
def test_what_to_do(parts: dict[str, Any], words: str) -> None:
    state = {f"{UP}.{name}": one for name, one in parts.items()}
    q = np.random.default_rng(0).normal(size=(32, 32))
    fits = wb.scan({"m": {**state, "model.layers.0.self_attn.q_proj.weight": q}}, progress=False)
    told = wb.not_fitted(fits)
    assert told["reason"].str.contains(f"^1 tensor is quantised {words}").any()
    weight = fits["status"].sel(component="up_proj") if "up_proj" in fits["component"] else None
    if weight is None:
        assert "quantized" in told["reason"].tolist()
    else:
        assert weight.item() == "quantized"


def test_nothing_is_said_of_others() -> None:
    state = {f"{UP}.weight": np.ones((32, 32), "f4"), f"{UP}.weight_scale": HALF}
    assert open_checkpoint(state).notes == ()
