"""Coverage of the errors of samples of rows: ``python -m scripts.coverage_of_samples``.

Matrices of known kinds are scanned as a whole and in part, at many random places; the table says
how often 1.96 `k_sampling_se` hold the difference, and what share of the weights was read.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.cpu import count_bits
from weibnb.counting.sampling import RowBlocks, count_block
from weibnb.fitting.estimates import influences
from weibnb.fitting.kernels import LAM, K
from weibnb.fitting.rows import CountRows
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.sources import resolve_sources
from weibnb.scanning.sampling import Sample, Sampling, judge
from weibnb.scanning.weight_tensors import choose_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits

    Matrix = tuple[Bits, str]
    Make = Callable[[np.random.Generator], NDArray[np.float64]]

TRIM = (0.1, 0.9)
ROWS, COLUMNS = 2048, 512


def _gaussian(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=(ROWS, COLUMNS))


def _row_scaled(rng: np.random.Generator) -> NDArray[np.float64]:
    return _gaussian(rng) * np.exp(rng.normal(0, 0.5, (ROWS, 1)))


def _column_scaled(rng: np.random.Generator) -> NDArray[np.float64]:
    return _gaussian(rng) * np.exp(rng.normal(0, 0.5, COLUMNS))


def _drifting(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(_gaussian(rng) * np.exp(np.linspace(-0.5, 0.5, ROWS))[:, None])


def _in_heads(rng: np.random.Generator) -> NDArray[np.float64]:
    scales = np.exp(rng.normal(0, 0.5, ROWS // 64))
    return np.asarray(_gaussian(rng) * np.repeat(scales, 64)[:, None])


def _student(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_t(3, size=(ROWS, COLUMNS))


#: Kinds of matrices that are drawn.
KINDS: dict[str, Make] = {
    "Gaussian": _gaussian,
    "rows of unequal scale, H = 0.5": _row_scaled,
    "columns of unequal scale, H = 0.5": _column_scaled,
    "scale drifting along the rows by e": _drifting,
    "heads of 64 rows of unequal scale": _in_heads,
    "Student's t, ν = 3": _student,
}


def packaged(smallest: int = 1 << 13) -> list[Matrix]:
    """Give bits and format of the matrices of the packaged training run that are not too small."""
    from weibnb.io.sources import demo_checkpoints

    found = []
    for planned in resolve_sources(demo_checkpoints()):
        with open_checkpoint(planned.checkpoint) as checkpoint:
            for tensor in choose_tensors(checkpoint)[0]:
                if tensor.info.size >= smallest:
                    bits = checkpoint.raw(tensor.info.name).reshape(tensor.stored_shape)
                    found.append((np.array(bits), tensor.info.dtype))
    return found


def z_scores(
    matrix: Matrix, sampling: Sampling, nbytes: int, seeds: range
) -> tuple[NDArray[np.float64], float]:
    """Give the error of k and ln λ over its standard error, (seeds, 2), and the share read."""
    bits, dtype = matrix
    full = _fit([count_bits(bits, dtype).finish()])[0]
    cut = partial(RowBlocks.of, bits.shape, itemsize=bits.itemsize, nbytes=nbytes)
    number = len(cut(seed=0).order)
    some = (slice(*cut(seed=0).rows_of(place)) for place in range(number))
    counted = [count_block(bits[rows], dtype, first=True) for rows in some]
    samples = [Sample(cut(seed=seed), dtype, sampling.at_first(number)) for seed in seeds]
    wanted = samples
    while wanted:
        for one in wanted:
            one.counted |= {place: counted[place] for place in one.still_wanted()}
        wanted = judge(wanted, sampling)
    fits = _fit([one.add_up() for one in samples])
    errors = np.sqrt([one.errors[:2] for one in samples])
    off = np.stack([fits[:, K] - full[K], np.log(fits[:, LAM] / full[LAM])], 1)
    return off / errors, float(np.mean([one.share for one in samples]))


def _fit(counts: list[Counts]) -> NDArray[np.float64]:
    return influences(CountRows.of(counts), trim=TRIM, estimator="rank_regression", needed=False)[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrices", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    hows = {
        "16 blocks": (Sampling(1e-9, None, TRIM, "rank_regression"), 4096),
        "precision=0.01": (Sampling(None, 0.01, TRIM, "rank_regression"), 2048),
    }
    print("| matrices | how | k | ln λ | read |\n|---|---|---|---|---|")
    seeds = range(options.seeds)
    for name, make in KINDS.items():
        rng = np.random.default_rng(7)
        drawn = [make(rng).astype(np.float32) for _ in range(options.matrices)]
        bits = [((one.view("u4") + 0x8000) >> 16).astype("u2") for one in drawn]
        _print(name, [(one, "BF16") for one in bits], hows, seeds)
    few = range(max(options.seeds // 4, 1))
    small = {
        "16 blocks": (hows["16 blocks"][0], 1),
        "precision=0.01": (hows["precision=0.01"][0], 1),
    }
    _print("packaged, blocks of one row", packaged(), small, few)


def _print(
    name: str, matrices: list[Matrix], hows: dict[str, tuple[Sampling, int]], seeds: range
) -> None:
    """Print the rows of one kind."""
    for how, (sampling, nbytes) in hows.items():
        found = []
        for number, one in enumerate(matrices):
            own = range(number * len(seeds), (number + 1) * len(seeds))
            found.append(z_scores(one, sampling, nbytes, own))
        z = np.concatenate([scores for scores, share in found if share < 1.0])
        z = z[np.isfinite(z).all(1)]
        k, lam = (np.abs(z) < 1.96).mean(0)
        share = np.mean([share for _, share in found])
        print(f"| {name} | {how} | {k:.3f} | {lam:.3f} | {100 * share:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
