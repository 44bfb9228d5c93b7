"""How often 1.96 standard errors cover the change of k between pairs, gap, closure and tails.

Rows, columns and weights are drawn anew for each matrix. ``docs/protocol.md`` and
``docs/diagnostics.md`` have the tables:

    python -m scripts.coverage_of_differences --draws 1000
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import weibnb as wb
from scripts.coverage_of_errors import HEADS, LAWS, normal, scaled
from weibnb import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.diagnostics.tails import body_tail, closure
from weibnb.diagnostics.upper_tail import upper_tail
from weibnb.fitting.pairs import change_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

_NAME = "model.layers.{}.mlp.up_proj.weight"


def tuned(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Gaussian weights, and the same with noise of 5 %."""
    before = normal(rng, rows, columns)
    return before, before + np.float32(0.05) * normal(rng, rows, columns)


def rows_tuned(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Rows of H = 0.5, noise of 5 % of them, and scales that move by 5 %."""
    scale = np.exp(np.float32(0.5) * normal(rng, rows, 1))
    before, after = tuned(rng, rows, columns)
    return before * scale, after * scale * np.exp(np.float32(0.05) * normal(rng, rows, 1))


def heads_tuned(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Gaussian weights, noise of 5 %, and heads whose scales move by 10 %."""
    before, after = tuned(rng, rows, columns)
    moved = np.exp(np.float32(0.1) * normal(rng, HEADS, 1))
    return before, after * np.repeat(moved, rows // HEADS, axis=0)


def low_rank(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Gaussian weights, and the same with four directions added."""
    before = normal(rng, rows, columns)
    return before, before + np.float32(0.05) * normal(rng, rows, 4) @ normal(rng, 4, columns)


def rows_kept(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Other weights in rows that keep their scales, H = 0.5."""
    scale = np.exp(np.float32(0.5) * normal(rng, rows, 1))
    return normal(rng, rows, columns) * scale, normal(rng, rows, columns) * scale


def apart(rng: Rng, rows: int, columns: int) -> tuple[Array, Array]:
    """Two matrices with nothing in common, rows of H = 0.5."""
    draw = scaled(0.5, 0.0)
    return draw(rng, rows, columns), draw(rng, rows, columns)


#: How a pair of checkpoints is drawn.
PAIRS: dict[str, Callable[[Rng, int, int], tuple[Array, Array]]] = {
    "noise of 5 %": tuned,
    "rows, H = 0.5; noise of 5 %, scales move by 5 %": rows_tuned,
    "noise of 5 %, scales of 16 heads move by 10 %": heads_tuned,
    "four directions added": low_rank,
    "rows, H = 0.5, kept; other weights": rows_kept,
    "rows, H = 0.5, nothing in common": apart,
}


def pairs(rng: Rng, name: str, shape: tuple[int, int], draws: int) -> list[str]:
    """Give the line of one kind of pair."""
    changes = []
    for _ in range(draws):
        before, after = PAIRS[name](rng, *shape)
        one, other = (lines_of(*as_bits(w), shape) for w in (before, after))
        counts = (count_magnitudes(w, device="cpu", workers=1) for w in (before, after))
        changes.append(change_between(next(counts), next(counts), (one, other)))
    k, k_se, log_lam, log_lam_se = np.array(changes).T
    return [_covered(k, k_se), _covered(log_lam, log_lam_se)]


def gaps(rng: Rng, name: str, shape: tuple[int, int], draws: int, *, fields: bool) -> list[str]:
    """Give the line of one law."""
    found: list[Array] = []
    for start in range(0, draws, 50):
        some = range(start, min(start + 50, draws))
        run = {_NAME.format(i): LAWS[name][0](rng, *shape) for i in some}
        fits = wb.scan({"m": run}, workers=1, progress=False, fields=fields)
        gap, closed = body_tail(fits, errors=True, workers=1), closure(fits, errors=True)
        tail = upper_tail(fits, workers=1)
        columns = [gap.gap_excess, gap.gap_excess_se, closed.excess, closed.excess_se]
        columns += [tail.near_tail, tail.near_tail_se, tail.hill, tail.hill_se]
        found.append(np.stack([column.values.ravel() for column in columns]))
    table = np.concatenate(found, 1)
    return [_covered(*table[at : at + 2]) for at in range(0, len(table), 2)]


def _covered(values: Array, errors: Array) -> str:
    """How often the mean of all draws is covered, and error over spread."""
    share = (np.abs(values - values.mean()) <= 1.96 * errors).mean()
    return f"{share:.3f} ({errors.mean() / values.std():.2f})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--shapes", nargs="+", default=["256x256", "512x512"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tables", nargs="+", default=list(_TABLES), choices=list(_TABLES))
    options = parser.parse_args()
    for table in options.tables:
        laws, line, columns = _TABLES[table]
        print(
            "|",
            " | ".join([table, "shape", *columns]),
            "|",
            "\n|---|---",
            "|---" * len(columns),
            "|",
        )
        for shape in options.shapes:
            rows, width = map(int, shape.split("x"))
            for name in laws:
                rng = np.random.default_rng(options.seed)
                cells = line(rng, name, (rows, width), options.draws)
                print("|", " | ".join([name, f"{rows} × {width}", *cells]), "|", flush=True)


_TAILS = ["gap_excess", "excess of the closure", "near_tail", "hill"]
_TABLES: dict[str, tuple[Any, Callable[..., list[str]], list[str]]] = {
    "pairs": (PAIRS, pairs, ["Δk", "Δ ln λ"]),
    "sampled": (LAWS, partial(gaps, fields=False), _TAILS),
    "fields": (LAWS, partial(gaps, fields=True), _TAILS),
}

if __name__ == "__main__":
    main()
