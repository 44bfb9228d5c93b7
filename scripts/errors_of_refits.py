"""Errors of a refit over those of a scan by the same protocol: median, and 5 to 95 % of them.

The fits are scanned by rank regression at trim 10-90 %, from all lines and from some of them.
``docs/protocol.md`` has the table:

    python -m scripts.errors_of_refits --draws 8
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

import weibnb as wb
from scripts.coverage_of_errors import LAWS

if TYPE_CHECKING:
    import xarray as xr

RANK, LIKELIHOOD = "rank_regression", "maximum_likelihood"
PROTOCOLS: list[tuple[str, dict[str, Any]]] = [
    ("rank regression, trim 5–95 %", {"estimator": RANK, "trim": (0.05, 0.95)}),
    ("rank regression, no trim", {"estimator": RANK, "trim": (0.0, 1.0)}),
    ("rank regression, trim 30–60 %", {"estimator": RANK, "trim": (0.3, 0.6)}),
    ("rank regression, trim 0–50 %", {"estimator": RANK, "trim": (0.0, 0.5)}),
    ("rank regression, trim 50–100 %", {"estimator": RANK, "trim": (0.5, 1.0)}),
    ("maximum likelihood", {"estimator": LIKELIHOOD, "trim": (0.0, 1.0)}),
    ("maximum likelihood, trim 10–90 %", {"estimator": LIKELIHOOD, "trim": (0.1, 0.9)}),
    ("maximum likelihood, trim 0–50 %", {"estimator": LIKELIHOOD, "trim": (0.0, 0.5)}),
]


def main() -> None:
    """Print the table, one line per protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--shape", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    drawn = [LAWS[law][0](rng, *given.shape) for law in given.laws for _ in range(given.draws)]
    model = {f"model.layers.{i}.mlp.up_proj.weight": each for i, each in enumerate(drawn)}

    def scan(**protocol: Any) -> xr.Dataset:
        return wb.scan({"drawn": model}, progress=False, **protocol)

    known = [scan(fields=True), scan()]
    print("| refitted by | k, every line | λ, every line | k, 32 + 32 lines | λ, 32 + 32 lines |")
    print("|---|---|---|---|---|")
    for name, protocol in PROTOCOLS:
        direct = scan(fields=True, **protocol)
        cells = [name]
        for fits in known:
            refitted = wb.refit(fits, **protocol)
            for error in ("k_se", "lam_se"):
                ratio = (refitted[error] / direct[error]).values
                low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
                cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
