"""Print how often a healthy model raises any alarm, and how often one broken layer is found.

``python scripts/false_alarms.py [models]``: the table of "Many matrices at once" in
docs/diagnostics.md. A healthy model has seven components; k of a layer is a course along the
depth, plus scatter τ, plus the standard error. One layer of one component is then moved by 3, 5
and 10 τ of its component.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from weibnb.diagnostics.pooling import pool_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Place = tuple[NDArray[np.integer], ...]

COMPONENTS = tuple(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))
LAYERS = (5, 12, 32, 80)
MOVES = (3, 5, 10)
TAU = 0.01


@dataclass(frozen=True)
class Kind:
    """How healthy models scatter: relative to τ = 0.01."""

    name: str
    error: float  # standard error over τ
    differ: float = 0.0  # standard deviation of ln τ between components
    course: float = 0.0  # how far k moves along the depth, over τ


KINDS = (
    Kind("same scatter, no course", 0.3),
    Kind("own scatter and course of each component", 0.3, differ=0.7, course=5.0),
    Kind("mostly sampling error", 3.0),
)


def simulate(
    kind: Kind, layers: int, models: int, rng: np.random.Generator, *, move: float = 0.0
) -> tuple[xr.Dataset, Place]:
    """Give fits of models of which one layer each is moved, and where it is."""
    shape = (models, layers, len(COMPONENTS))
    depth = np.linspace(0, 1, layers)[:, None]
    tau = TAU * np.exp(kind.differ * rng.normal(size=(models, 1, len(COMPONENTS))))
    slope, bend, phase = rng.normal(size=(3, models, 1, len(COMPONENTS)))
    k = 1.2 + kind.course * TAU * (slope * depth + 0.5 * bend * np.sin(3 * depth + 3 * phase))
    error = kind.error * TAU
    k = k + tau * rng.normal(size=shape) + error * rng.normal(size=shape)
    place = (np.arange(models), rng.integers(layers, size=models), rng.integers(7, size=models))
    k[place] += move * tau[place[0], 0, place[2]] * rng.choice([-1, 1], models)
    dims = ("model", "layer", "component", "step")
    fits = xr.Dataset(
        {
            "k": (dims, k[..., None]),
            "lam": (dims, np.full((*shape, 1), 0.02)),
            "k_se": (dims, np.full((*shape, 1), error)),
            "status": (dims, np.full((*shape, 1), "ok", object)),
        },
        {
            "model": np.arange(models).astype(str),
            "layer": np.arange(layers),
            "component": list(COMPONENTS),
            "step": [0],
        },
        {"estimator": "rank_regression", "trim_lower": 0.1, "trim_upper": 0.9},
    )
    return fits, place


def alarms(
    kind: Kind, layers: int, models: int, rng: np.random.Generator, *, move: float = 0.0
) -> tuple[float, float]:
    """Share of models whose moved layer is found, and of those with an alarm elsewhere."""
    fits, place = simulate(kind, layers, models, rng, move=move)
    found = pool_layers(fits)["stands_out"].isel(step=0).values
    there = found[place].mean()
    if move:
        found[place] = False
    return float(there), float(found.any((1, 2)).mean())


def main(models: int) -> None:
    """Print the table."""
    print("| healthy models | layers | any false alarm | found at 3 τ | 5 τ | 10 τ |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        for layers in LAYERS:
            rng = np.random.default_rng([layers, KINDS.index(kind)])
            false = alarms(kind, layers, models, rng)[1]
            found = [alarms(kind, layers, models // 10, rng, move=move)[0] for move in MOVES]
            shares = " | ".join(f"{100 * share:.0f} %" for share in found)
            print(f"| {kind.name} | {layers} | {100 * false:.2f} % | {shares} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
