"""Bias of ``h_row``, and how often it ± 1.96 errors covers H of the law of a matrix.

Rows, columns and weights are drawn anew for each matrix. ``docs/protocol.md`` has the table:

    python scripts/coverage_of_scales.py --draws 500
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import as_bits
from weibnb.counting.lines import SAMPLED, lines_of
from weibnb.fitting.scales import spreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

#: Laws of a weight in a row and column of scale 1.
CORES: dict[str, Callable[[Rng, tuple[int, int]], Array]] = {
    "Gaussian": lambda rng, shape: rng.standard_normal(shape, dtype=np.float32),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
}
#: H of rows and of columns.
SPREADS = [(0.0, 0.0), (0.2, 0.0), (0.35, 0.0), (0.5, 0.0), (0.0, 0.5), (0.35, 0.35), (0.5, 0.5)]


def measured(rng: Rng, core: str, shape: tuple[int, int], h: tuple[float, float]) -> list[float]:
    """Draw a matrix; give h of its rows and the error, by all lines and by a sample."""
    rows = np.exp(h[0] * rng.standard_normal((shape[0], 1)))
    weights = CORES[core](rng, shape) * rows * np.exp(h[1] * rng.standard_normal(shape[1]))
    bits, dtype = as_bits(weights.astype(np.float32))
    lines = [lines_of(bits, dtype, shape, number) for number in (1 << 30, SAMPLED)]
    found = spreads(lines, np.abs(weights).max(keepdims=True)[0].repeat(2))
    numbers: list[float] = found[:, 0, :2].ravel().tolist()
    return numbers


def main() -> None:
    """Print the table, one line per law and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--shapes", nargs="+", default=["64x64", "512x512", "512x2048"])
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print("| core | H of rows, columns | shape | all rows | covered | 32 rows | covered |")
    print("|---" * 7, end="|\n")
    for name in options.shapes:
        rows, columns = map(int, name.split("x"))
        for core in CORES:
            for h in SPREADS:
                rng = np.random.default_rng(options.seed)
                drawn = [measured(rng, core, (rows, columns), h) for _ in range(options.draws)]
                table = np.array(drawn)
                cells = []
                for estimate, error in (table[:, :2].T, table[:, 2:].T):
                    covered = (np.abs(estimate - h[0]) <= 1.96 * error).mean()
                    cells += [f"{estimate.mean():.4f} ± {estimate.std():.4f}", f"{covered:.3f}"]
                line = [core, f"{h[0]:g}, {h[1]:g}", f"{rows} × {columns}", *cells]
                print("|", " | ".join(line), "|", flush=True)


if __name__ == "__main__":
    main()
