"""How often k ± 1.96 standard errors covers k of the law that a matrix was drawn from.

Rows, columns and weights are drawn anew for each matrix. ``docs/protocol.md`` has the table:

    python scripts/coverage_of_errors.py --draws 2000
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from weibnb import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

EVERY = 1 << 30
#: Heads of a matrix.
HEADS = 16
# Points of the grids on which the law of one weight is laid out.
_POINTS = 2048


def normal(rng: Rng, *shape: int) -> Array:
    """Gaussian weights."""
    return rng.standard_normal(shape, dtype=np.float32)


def scaled(h_rows: float, h_columns: float) -> Callable[[Rng, int, int], Array]:
    """Gaussian weights in rows and columns of lognormal scale."""

    def draw(rng: Rng, rows: int, columns: int) -> Array:
        scale_of_rows = np.exp(h_rows * normal(rng, rows, 1))
        return normal(rng, rows, columns) * scale_of_rows * np.exp(h_columns * normal(rng, columns))

    return draw


def in_heads(h: float, h_rows: float = 0.0) -> Callable[[Rng, int, int], Array]:
    """Gaussian weights in `HEADS` blocks of neighbouring rows, and in rows, of lognormal scale."""

    def draw(rng: Rng, rows: int, columns: int) -> Array:
        scale = np.repeat(np.exp(h * normal(rng, HEADS, 1)), rows // HEADS, axis=0)
        weights: Array = scaled(h_rows, 0.0)(rng, rows, columns) * scale
        return weights

    return draw


def low_rank(rng: Rng, rows: int, columns: int) -> Array:
    """Four directions and noise, of the same variance."""
    return normal(rng, rows, 4) @ normal(rng, 4, columns) / 2 + normal(rng, rows, columns)


def of_scale(quantiles: Array) -> Array:
    """Weights of a Gaussian whose scale has these quantiles: the law of one weight, on a grid."""
    weights: Array = np.outer(stats.halfnorm.ppf(_grid()), quantiles)
    return weights


def _grid() -> Array:
    """Probabilities in the middle of equal parts."""
    return (np.arange(_POINTS) + 0.5) / _POINTS


def _lognormal(h: float) -> Array:
    return of_scale(np.exp(h * stats.norm.ppf(_grid())))


#: Laws: how a matrix is drawn, and the weights of a very large one.
LAWS: dict[str, tuple[Callable[[Rng, int, int], Array], Callable[[], Array]]] = {
    "Gaussian": (normal, lambda: _lognormal(0.0)),
    "Laplace": (
        lambda rng, rows, columns: rng.standard_exponential((rows, columns), dtype=np.float32),
        lambda: stats.expon.ppf((np.arange(1 << 22) + 0.5) / (1 << 22)),
    ),
    "t, 5 degrees": (
        lambda rng, rows, columns: rng.standard_t(5, (rows, columns)).astype(np.float32),
        lambda: stats.t.ppf(0.5 + (np.arange(1 << 22) + 0.5) / (1 << 23), 5),
    ),
    "rows, H = 0.35": (scaled(0.35, 0.0), lambda: _lognormal(0.35)),
    "rows, H = 0.5": (scaled(0.5, 0.0), lambda: _lognormal(0.5)),
    "columns, H = 0.35": (scaled(0.0, 0.35), lambda: _lognormal(0.35)),
    "columns, H = 0.5": (scaled(0.0, 0.5), lambda: _lognormal(0.5)),
    "both, H = 0.35": (scaled(0.35, 0.35), lambda: _lognormal(0.35 * 2**0.5)),
    "both, H = 0.5": (scaled(0.5, 0.5), lambda: _lognormal(0.5 * 2**0.5)),
    "rows four times": (
        lambda rng, rows, columns: np.repeat(normal(rng, rows // 4, columns), 4, axis=0),
        lambda: _lognormal(0.0),
    ),
    "low rank and noise": (
        low_rank,
        lambda: of_scale(np.sqrt(1 + stats.chi2.ppf(_grid(), 4) / 4)),
    ),
    "heads, H = 0.2": (in_heads(0.2), lambda: _lognormal(0.2)),
    "heads, H = 0.35": (in_heads(0.35), lambda: _lognormal(0.35)),
    "heads of columns, H = 0.35": (
        lambda rng, rows, columns: np.ascontiguousarray(in_heads(0.35)(rng, columns, rows).T),
        lambda: _lognormal(0.35),
    ),
    "heads, H = 0.2, rows, H = 0.35": (
        in_heads(0.2, 0.35),
        lambda: _lognormal(np.hypot(0.2, 0.35)),
    ),
}


def errors_of(weights: Array, samples: list[int]) -> tuple[float, float, list[float]]:
    """Give k, its independent error, and the clustered one by each number of lines."""
    bits, dtype = as_bits(weights)
    rows = CountRows.of([count_magnitudes(weights, device="cpu", workers=1)])
    independent = fit_counts(rows, workers=1)
    shape = (weights.shape[0], weights.shape[1])
    clustered = [
        fit_counts(rows, lines=[lines_of(bits, dtype, shape, n)], workers=1)["k_se"][0]
        for n in samples
    ]
    return float(independent["k"][0]), float(independent["k_se"][0]), clustered


def main() -> None:
    """Print the table, one line per law and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--shapes", nargs="+", default=["64x64", "256x256", "512x512", "512x2048"])
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--lines", nargs="+", type=int, default=[64, 32])
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    samples = [EVERY, *options.lines]
    names = ["all lines", *(f"{n} + {n}" for n in options.lines)]
    print("| weights | shape | spread / independent error | independent |", " | ".join(names), "|")
    print("|---" * (4 + len(names)), end="|\n")
    for shape in options.shapes:
        rows, columns = map(int, shape.split("x"))
        for name in options.laws:
            draw, law = LAWS[name]
            truth = fit_counts(CountRows.of([count_magnitudes(law(), device="cpu")]))["k"][0]
            rng = np.random.default_rng(options.seed)
            drawn = [errors_of(draw(rng, rows, columns), samples) for _ in range(options.draws)]
            k, independent = np.array([one[:2] for one in drawn]).T
            errors = np.column_stack([independent, np.array([one[2] for one in drawn])])
            covered = (np.abs(k - truth)[:, None] <= 1.96 * errors).mean(0)
            wider = (errors / independent[:, None]).mean(0)
            cells = [f"{c:.3f} ({w:.2f})" for c, w in zip(covered[1:], wider[1:], strict=True)]
            ratio = k.std() / independent.mean()
            line = [name, f"{rows} × {columns}", f"{ratio:.2f}", f"{covered[0]:.3f}", *cells]
            print("|", " | ".join(line), "|", flush=True)


if __name__ == "__main__":
    main()
