"""Small models that the rules are tried on, and what they find in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import weibnb as wb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.diagnostics.findings import Check, Finding

    Weights = dict[str, NDArray[Any]]

SIDE = 64
MATRICES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def name_of(layer: int, matrix: str = "mlp.up_proj") -> str:
    return f"model.layers.{layer}.{matrix}.weight"


def model(
    layers: int = 4, *, dtype: Any = np.float32, seed: int = 0, scale: float = 1.0
) -> Weights:
    """Square matrices whose size grows with the layer, as those of no start do."""
    rng = np.random.default_rng([seed, layers])
    return {
        name_of(layer, matrix): rng.normal(
            0, 0.02 * scale * (1 + 0.1 * layer), (SIDE, SIDE)
        ).astype(dtype)
        for layer in range(layers)
        for matrix in MATRICES
    }


def experts(layers: int = 2, number: int = 4, *, dtype: Any = np.float16) -> Weights:
    rng = np.random.default_rng([7, layers, number])
    return {
        name_of(layer, f"mlp.experts.{expert}.{matrix}_proj"): rng.normal(
            0, 0.02 * (1 + 0.1 * layer), (SIDE, SIDE)
        ).astype(dtype)
        for layer in range(layers)
        for expert in range(number)
        for matrix in ("gate", "up", "down")
    }


def look(given: Any, rule: str, **options: Any) -> tuple[Finding, ...]:
    """What one rule finds in a source, or in fits."""
    return looked(given, rule, **options).findings


def looked(given: Any, rule: str, **options: Any) -> Check:
    plain = isinstance(given, dict) and name_of(0) in given
    return wb.check({"m": given} if plain else given, select=[rule], progress=False, **options)


def places(findings: tuple[Finding, ...]) -> list[tuple[int | None, str, int]]:
    """Layer, component and expert of the first cell of each finding."""
    firsts = [finding.cells[0] for finding in findings]
    return [(cell.layer, cell.component, cell.expert) for cell in firsts]
