"""What several tests of the command line use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(wb.__file__).parent.parent
DEMO = Path(wb.__file__).parent / "data" / "demo"
Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
Capture = pytest.CaptureFixture[str]


def normal(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype("f2")


def write(directory: Path, *, seed: int = 0, layers: int = 3) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    weights = {UP.format(i): normal(40, 24, seed=seed + i) for i in range(layers)}
    weights |= {Q.format(i): normal(24, 24, seed=seed + i) for i in range(layers)}
    save_file(weights | {"model.norm.weight": normal(24)}, directory / "model.safetensors")
    return directory


def rows(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line.split() for word in words)]
