"""A Hub on 127.0.0.1 that huggingface_hub talks to, and models to put on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from tests.hub_server import FakeHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Q, UP, NORM = (
    f"model.layers.{{}}.{name}.weight" for name in ("self_attn.q_proj", "mlp.up_proj", "norm")
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Run a Hub for one test, with a cache of its own and no token; waiting takes no time."""
    from huggingface_hub import constants

    from weibnb.io import ranges

    server = FakeHub()
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(ranges, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.close()


def weights(seed: int = 0, layers: int = 2, side: int = 64) -> dict[str, NDArray[Any]]:
    """Draw a model: matrices in float32 and float16, a norm, and an embedding."""
    rng = np.random.default_rng(seed)
    state: dict[str, NDArray[Any]] = {"model.embed_tokens.weight": np.zeros((100, side), "f4")}
    for layer in range(layers):
        state[Q.format(layer)] = rng.normal(0, 0.02, (side, side)).astype("f4")
        state[UP.format(layer)] = rng.normal(0, 0.02, (4 * side, side)).astype("f2")
        state[NORM.format(layer)] = np.ones(side, "f4")
    return state


def saved(state: dict[str, NDArray[Any]]) -> bytes:
    """Write a safetensors file."""
    data: bytes = safetensors.numpy.save(state)
    return data


def sharded(state: dict[str, NDArray[Any]], number: int = 2) -> dict[str, bytes]:
    """Write several files and their index."""
    names = sorted(state)
    files: dict[str, bytes] = {}
    places: dict[str, str] = {}
    for i in range(number):
        file = f"model-{i + 1:05}-of-{number:05}.safetensors"
        part = names[i::number]
        files[file] = saved({name: state[name] for name in part})
        places |= dict.fromkeys(part, file)
    index = json.dumps({"metadata": {}, "weight_map": places}).encode()
    return {**files, "model.safetensors.index.json": index, "config.json": b'{"a": 1}'}
