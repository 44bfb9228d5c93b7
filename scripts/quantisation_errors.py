"""How near predictions of the quantisation noise come to really quantising.

``docs/quantisation.md`` has the table:

    python -m scripts.quantisation_errors
"""

from __future__ import annotations

import argparse
import math
from importlib import resources
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

import weibnb as wb
from weibnb.diagnostics.number_formats import NUMBER_FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from weibnb.diagnostics.number_formats import NumberFormat
    from weibnb.diagnostics.quantisation import Block

    Array = NDArray[Any]

BLOCKS: tuple[Block, ...] = (None, "row", 128, 32)
_NAME = "model.layers.{}.mlp.up_proj.weight"
_SHAPE = (1024, 1024)


def rounded(weights: Array, form: NumberFormat, block: Block) -> Array:
    """Quantise weights and give what they become, with a scale for each block."""
    values = np.asarray(weights, float)
    rows, cols = values.shape
    size = form.block or block
    if size is None:
        return _rounded(values.reshape(1, -1), form).reshape(rows, cols)
    step = cols if size == "row" else size
    parts = [_rounded(values[:, at : at + step], form) for at in range(0, cols, step)]
    return np.concatenate(parts, axis=1)


def _rounded(blocks: Array, form: NumberFormat) -> Array:
    """Quantise blocks, one in each row."""
    largest = np.abs(blocks).max(1, keepdims=True)
    largest[largest == 0] = 1
    scale = largest / form.reach
    if form.power_of_two:
        scale = 2.0 ** (np.floor(np.log2(largest)) - math.log2(form.reach))
    above = np.searchsorted(form.levels, blocks / scale).clip(1, form.levels.size - 1)
    low, high = form.levels[above - 1], form.levels[above]
    nearer = blocks / scale - low < high - blocks / scale
    return np.asarray(np.where(nearer, low, high) * scale)


def sqnr(weights: Array, form: NumberFormat, block: Block) -> float:
    """Signal-to-noise ratio of really quantising, in dB."""
    values = np.asarray(weights, float)
    noise = ((values - rounded(values, form, block)) ** 2).sum()
    return float(10 * np.log10((values**2).sum() / noise)) if noise else math.inf


def simulated(rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Draw matrices of several kinds."""
    plain = rng.normal(0, 0.02, _SHAPE)
    rows = np.exp(0.5 * rng.normal(size=(_SHAPE[0], 1)))
    outliers = plain.copy()
    outliers[rng.integers(0, _SHAPE[0], 20), rng.integers(0, _SHAPE[1], 20)] *= 30
    yield "Gaussian, bfloat16", plain.astype(ml_dtypes.bfloat16)
    yield "Gaussian, float16", plain.astype(np.float16)
    yield "Gaussian, float32", plain.astype(np.float32)
    yield "uniform, float32", rng.uniform(-0.03, 0.03, _SHAPE).astype(np.float32)
    heavy = rng.standard_t(4, _SHAPE) * 0.02
    yield "Student t, 4 degrees, bfloat16", heavy.astype(ml_dtypes.bfloat16)
    yield "20 outliers of 30 times, bfloat16", outliers.astype(ml_dtypes.bfloat16)
    yield "rows, H = 0.5, bfloat16", (plain * rows).astype(ml_dtypes.bfloat16)
    yield "rows, H = 0.5, Student t, bfloat16", (heavy * rows).astype(ml_dtypes.bfloat16)
    yield "skewed: w + 0.3 w², bfloat16", (plain + 15 * plain**2).astype(ml_dtypes.bfloat16)
    yield "16 × 24, float32", plain[:16, :24].astype(np.float32)


def demo() -> dict[str, Array]:
    """Give the packaged weights of the last step."""
    folder = resources.files("weibnb") / "data" / "demo" / "step7000"
    with resources.as_file(folder) as path, wb.open_checkpoint(path) as checkpoint:
        found = {}
        for name, info in checkpoint.tensors.items():
            if "_proj" in name:
                words = checkpoint.raw(name).copy()
                found[name] = words.view(ml_dtypes.bfloat16).reshape(info.shape)
        return found


def errors(weights: dict[str, Array], block: Block, *, fields: bool) -> dict[str, list[float]]:
    """Predicted less real SQNR of every matrix, in dB, for each format."""
    fits = wb.scan({"m": weights}, fields=fields, progress=False)
    found = wb.quantisation(fits, block=block).predicted["sqnr"]
    listed: dict[str, list[float]] = {name: [] for name in NUMBER_FORMATS}
    for at in np.argwhere((fits["status"] != "absent").values):
        cell = dict(zip(fits["k"].dims, at.tolist(), strict=True))
        tensor = weights[str(fits["parameter"].isel(cell).item())]
        for name, form in NUMBER_FORMATS.items():
            predicted = float(found.isel(cell).sel(format=name))
            listed[name].append(predicted - sqnr(tensor, form, block))
    return listed


def words(found: list[float]) -> str:
    """Write an error; of several the median of their sizes, and the largest."""
    if len(found) == 1:
        return f"{found[0]:+.3f}"
    return f"{np.median(np.abs(found)):.3f}, worst {max(found, key=abs):+.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases: list[tuple[str, dict[str, Array], bool]] = [
        ("packaged weights, fields=True", demo(), True), ("packaged weights", demo(), False)
    ]  # fmt: skip
    for name, drawn in simulated(np.random.default_rng(options.seed)):
        fields = name.startswith("rows")
        cases.append(
            (f"{name}{', fields=True' if fields else ''}", {_NAME.format(0): drawn}, fields)
        )
        if fields:
            cases.append((name, {_NAME.format(0): drawn}, False))
    print(f"| weights | scales | {' | '.join(NUMBER_FORMATS)} |")
    print(f"|---|---|{'---|' * len(NUMBER_FORMATS)}")
    for name, weights, fields in cases:
        for block in BLOCKS:
            found = errors(weights, block, fields=fields)
            cells = [
                "" if form.block and form.block != block else words(found[form.name])
                for form in NUMBER_FORMATS.values()
            ]
            print(f"| {name} | {block or 'matrix'} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
