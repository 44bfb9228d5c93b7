"""What several tests of this folder use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from weibnb.fitting.estimates import ESTIMATES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

HIDDEN, WIDE = 48, 96
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
Q = "model.layers.{}.self_attn.q_proj.weight"
EXPERT = "model.layers.{}.mlp.experts.{}.{}.weight"


def normal(*shape: int, seed: int = 0, dtype: str = "f2") -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype(dtype)


def llama(layers: int = 2, *, seed: int = 0, dtype: str = "f2") -> Weights:
    weights = {
        f"model.layers.{layer}.{name}.weight": normal(*shape, seed=seed + 10 * layer + i)
        for layer in range(layers)
        for i, (name, shape) in enumerate(SHAPES.items())
    }
    weights |= {"model.embed_tokens.weight": normal(64, HIDDEN), "model.norm.weight": normal(48)}
    return {name: array.astype(dtype) for name, array in weights.items()}


def write(directory: Path, weights: Weights, config: Mapping[str, Any] | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors")
    if config is not None:
        (directory / "config.json").write_text(json.dumps(config))
    return directory


def moe(experts: int = 4, *, layers: int = 1) -> Weights:
    """Give layers whose experts differ in spread and shape of distribution."""
    weights: Weights = {}
    for layer in range(layers):
        weights |= {Q.format(layer): normal(HIDDEN, HIDDEN, seed=layer)}
        for name in ("gate_proj", "down_proj"):
            for i in range(experts):
                draws = normal(32, HIDDEN, seed=100 + 10 * layer + i).astype(float)
                shaped = np.sign(draws) * np.abs(draws) ** (1 + 0.1 * i)
                weights[EXPERT.format(layer, i, name)] = shaped.astype("f2")
    return weights


def same_estimates(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in ESTIMATES:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)
    assert one["status"].values.tolist() == other["status"].values.tolist()


def only(fits: xr.Dataset, name: str, **where: Any) -> Any:
    """Give the one value of a variable at a place."""
    return fits[name].sel(where).squeeze().item()
