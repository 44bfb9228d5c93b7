"""Noise of rounding weights to a number format, from the distribution of their magnitudes.

One scale for a whole matrix needs the counts alone. Where rows or blocks of a row have scales of
their own, the largest of each is an order statistic, and the distribution that counts is that
within a row: `within_rows` takes the unequal scales of rows out of that of the matrix.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled
from weibnb.counting.formats import label_values, upper_edge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.diagnostics.number_formats import NumberFormat

    Array = NDArray[np.float64]

# Groups of largest weights that are told apart have at most this share of the scales' squares.
_SHARE = 1 / 256
# Bins of the logarithmic grid on which scales of rows are taken out: per octave, and octaves.
PER_OCTAVE, _OCTAVES = 32, 16
# Rounds of taking them out: more follow the noise of the counts.
_ROUNDS = 100
# What a distribution keeps of the one before its scales were taken out, so that no bin is empty.
_KEPT = 1e-3


class Magnitudes(NamedTuple):
    """Distribution of |w|: bins in ascending order, each a value or an interval.

    Attributes
    ----------
    low, high : ndarray, shape (bins,)
        Ends of the bins, equal where a bin is one value.
    share : ndarray, shape (bins,)
        Of the weights in each bin; with `zeros` they add up to 1.
    zeros : float
        Share of weights that are zero.
    """

    low: Array
    high: Array
    share: Array
    zeros: float

    @property
    def mean_square(self) -> float:
        """Mean square of the weights."""
        a, b = self.low, self.high
        return float((self.share * (a * a + a * b + b * b)).sum() / 3)


class RowScales(NamedTuple):
    """How the scales of rows are spread: on the logarithmic grid, around their middle.

    Attributes
    ----------
    share : ndarray, shape (2 reach + 1,)
        Of the rows at each distance from the middle.
    basis : str
        What tells them: ``"row_rms"`` or ``"h_row"``.
    """

    share: Array
    basis: str

    @property
    def reach(self) -> int:
        """Bins to either side of the middle."""
        return self.share.size // 2


def magnitudes(counts: Counts, dead: int = 0) -> Magnitudes:
    """Take the distribution from counts with weights; `dead` zeros are of rows of zeros alone."""
    low = label_values(counts.labels)
    high = low if counts.exact else np.minimum(upper_edge(counts.labels), counts.largest)
    zeros = max(counts.zeros - dead, 0)
    total = counts.n + zeros
    return Magnitudes(low, np.maximum(low, high), counts.counts / total, zeros / total)


def tensor_noise(distribution: Magnitudes, largest: float, form: NumberFormat) -> float:
    """Mean squared error with one scale for all weights."""
    if form.power_of_two:
        scale = math.ldexp(1.0, math.frexp(largest)[1] - 1) / form.reach
    else:
        scale = largest / form.reach
    low, high, share, _ = distribution
    sides = [float((share * _mean_errors(low, high, *side, scale)).sum()) for side in form.sides]
    return sum(sides) / len(sides)


def row_noise(
    distribution: Magnitudes, cols: int, size: int, form: NumberFormat, rows: RowScales | None
) -> float:
    """Mean squared error of rows of `cols` weights, in blocks of which the last may be shorter."""
    rest = cols % size
    noise = (cols - rest) / cols * block_noise(distribution, size, form, rows)
    return noise + rest / cols * block_noise(distribution, rest, form, rows) if rest else noise


def block_noise(
    distribution: Magnitudes, size: int, form: NumberFormat, rows: RowScales | None = None
) -> float:
    """Mean squared error with one scale for each block of `size` weights drawn independently.

    With `rows`, `distribution` is that within a row, and rows lie at all places between two powers
    of two that their scales tell.
    """
    if not form.power_of_two or rows is None:
        return _block_noise(distribution, size, form)
    places = np.arange(-rows.reach, rows.reach + 1)
    energy = rows.share * 4.0 ** (places / PER_OCTAVE)
    phases = np.bincount(places % PER_OCTAVE, energy, PER_OCTAVE) / energy.sum()
    noise = 0.0
    for phase in np.flatnonzero(phases):
        factor = 2.0 ** (phase / PER_OCTAVE)
        moved = distribution._replace(
            low=distribution.low * factor, high=distribution.high * factor
        )
        noise += phases[phase] * _block_noise(moved, size, form) / factor**2
    return noise


def _block_noise(distribution: Magnitudes, size: int, form: NumberFormat) -> float:
    """Mean squared error of blocks, from the distribution of the largest of each."""
    low, high, share, zeros = distribution
    below = zeros + np.concatenate([[0.0], np.cumsum(share)])
    below = np.minimum(below / below[-1], 1.0)
    starts, scales, factors = _groups(low, high, below**size, form)
    stops = np.append(starts[1:], low.size)
    likely = below[stops] ** size > below[starts] ** size
    groups = starts[likely], stops[likely], scales[likely], factors[likely]
    top = 0.0 if form.power_of_two else form.reach
    sides = [
        _noise_of_groups(low, high, share, below, size, *groups, *side, top) for side in form.sides
    ]
    return float(sum(sides)) / len(sides) / size


def _groups(
    low: Array, high: Array, largest: Array, form: NumberFormat
) -> tuple[NDArray[np.int64], Array, Array]:
    """Group the bins that the largest weight of a block may be in: first bins, scales, factors.

    `largest` is the probability that it lies below each bin, and below the end. Factors turn the
    square of a group's scale into the mean over the group.
    """
    if form.power_of_two:
        scales = np.ldexp(1.0, np.frexp(low)[1] - 1) / form.reach
        starts = np.flatnonzero(np.diff(scales, prepend=0.0))
        return starts, scales[starts], np.ones(starts.size)
    middle, likely = (low + high) / 2, np.diff(largest)
    energy = np.cumsum(likely * middle**2)
    numbers = np.floor(energy / (energy[-1] * _SHARE))
    starts = np.flatnonzero(np.diff(numbers, prepend=-1.0))
    last = middle[np.append(starts[1:], low.size) - 1]
    chance = np.add.reduceat(likely, starts)
    mean = np.add.reduceat(likely * middle**2, starts) / np.where(chance > 0, chance, 1.0)
    return starts, last / form.reach, mean / last**2


def row_scales(h_row: float, row_rms: Array | None) -> RowScales | None:
    """Give the spread of the scales of rows; None where they are equal for all that is seen.

    `h_row` is their spread without noise. Root mean squares of all rows tell its form; without
    them it is lognormal.
    """
    width = h_row / math.log(2) * PER_OCTAVE
    if not width >= 1:
        return None
    if row_rms is None:
        reach = min(math.ceil(5 * width), _OCTAVES * PER_OCTAVE // 2)
        share = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    else:
        logs = np.log2(row_rms.astype(float)) * PER_OCTAVE
        spread = max(float(logs.std()), 1e-9)
        places = np.rint((logs - logs.mean()) * min(width / spread, 1.0))
        most = _OCTAVES * PER_OCTAVE // 2
        places = np.clip(places, -most, most).astype(int)
        reach = int(np.abs(places).max())
        share = np.bincount(places + reach, minlength=2 * reach + 1).astype(float)
    return RowScales(share / share.sum(), "h_row" if row_rms is None else "row_rms")


def within_rows(distribution: Magnitudes, rows: RowScales) -> Magnitudes:
    """Take the scales of rows out of a distribution, by Richardson and Lucy's iteration.

    Notes
    -----
    ln|w| is the sum of the logarithms of a row's scale and of a weight in units of it, so that the
    distribution of the second solves a convolution. The iteration is the EM algorithm of that
    mixture: shares stay positive, and the likelihood grows each time. It begins at the generalised
    Gaussian, exp(-|x|^β), whose variance of ln|x|, ψ'(1/β)/β², is that of ln|w| less that of the
    scales.

    References
    ----------
    W. H. Richardson, J. Opt. Soc. Am. 62 (1972) 55-59. L. B. Lucy, Astron. J. 79 (1974) 745-754.
    """
    last, observed = _on_grid(distribution)
    reach, bins = rows.reach, observed.size
    length = 1 << math.ceil(math.log2(bins + 4 * reach + 1))
    padded = np.zeros((2, length))
    padded[0, reach : reach + bins] = observed
    padded[1, : bins + 2 * reach] = _start(padded[0, : bins + 2 * reach], rows)
    kernel = np.zeros(length)
    kernel[np.arange(-reach, reach + 1)] = rows.share
    forward = np.fft.rfft(kernel)
    seen, found = padded
    for _ in range(_ROUNDS):
        expected = np.fft.irfft(np.fft.rfft(found) * forward, length)
        ratio = np.divide(seen, expected, out=np.zeros(length), where=expected > 1e-14)
        found = found * np.maximum(np.fft.irfft(np.fft.rfft(ratio) * forward.conj(), length), 0)
    share = found[: bins + 2 * reach]
    share = share / share.sum() * (1 - distribution.zeros)
    edges = 2.0 ** ((np.arange(share.size + 1) - share.size + reach + last) / PER_OCTAVE)
    return Magnitudes(edges[:-1], edges[1:], share, distribution.zeros)


def _on_grid(distribution: Magnitudes) -> tuple[int, Array]:
    """Lay non-zero magnitudes out on the grid: number of its last edge, shares of the bins.

    Values are spread over the gaps to their neighbours; what is below the grid is in the first bin.
    """
    low, high, share, _ = distribution
    gaps = (low[1:] + high[:-1]) / 2
    ends = np.log2(np.concatenate([[low[0] * (1 - 2**-8)], gaps, [high[-1] * (1 + 2**-9)]]))
    last = math.ceil(ends[-1] * PER_OCTAVE)
    edges = np.arange(last - _OCTAVES * PER_OCTAVE, last + 1) / PER_OCTAVE
    below = np.interp(edges, ends, np.concatenate([[0.0], np.cumsum(share)]) / share.sum())
    below[0] = 0.0
    return last, np.diff(below)


def _start(observed: Array, rows: RowScales) -> Array:
    """Give the generalised Gaussian that has the right variance of ln|x|, and a little of all."""
    from scipy import special

    octave = math.log(2) / PER_OCTAVE
    mean, variance = _moments(observed)
    middle, spread = _moments(rows.share)
    shapes = np.geomspace(60, 0.3, 400)
    of_shapes = special.polygamma(1, 1 / shapes) / shapes**2
    shape = float(np.interp((variance - spread) * octave**2, of_shapes, shapes))
    centre = mean - (middle - rows.reach) - special.psi(1 / shape) / shape / octave
    logs = (np.arange(observed.size + 1) - 0.5 - centre) * octave
    below = special.gammainc(1 / shape, np.exp(np.minimum(shape * logs, 700.0)))
    return np.asarray((1 - _KEPT) * np.diff(below) + _KEPT * observed + 1e-30)


def _moments(share: Array) -> tuple[float, float]:
    """Mean and variance of the number of a bin."""
    number = np.arange(share.size)
    total = share.sum()
    mean = float((share * number).sum() / total)
    return mean, float((share * (number - mean) ** 2).sum() / total)


@compiled
def _mean_errors(low: Any, high: Any, levels: Any, bounds: Any, scale: float) -> Any:
    """Mean squared error of the weights of each bin at a scale."""
    errors = np.empty(low.size)
    at = 0
    for j in range(low.size):
        a, b = low[j] / scale, high[j] / scale
        while at < bounds.size and bounds[at] < a:
            at += 1
        if b <= a:
            errors[j] = (a - levels[at]) ** 2
            continue
        total, i, left = 0.0, at, a
        while left < b:
            right = min(bounds[i], b) if i < bounds.size else b
            x, y = left - levels[i], right - levels[i]
            total += (right - left) * (x * x + x * y + y * y)
            left = right
            i += 1
        errors[j] = total / (3.0 * (b - a))
    return errors * (scale * scale)


@compiled
def _noise_of_groups(
    low: Any, high: Any, share: Any, below: Any, size: int,
    starts: Any, stops: Any, scales: Any, factors: Any, levels: Any, bounds: Any, top: float,
) -> float:  # fmt: skip
    """Sum the expected squared error of a block over the bins its largest weight may lie in.

    A group of bins has one scale, that of its last bin; `factors` make up for it. The largest
    weight itself is at `top` scales, if that is not 0.
    """
    noise = 0.0
    for group in range(starts.size):
        start, stop, scale = starts[group], stops[group], scales[group]
        errors = _mean_errors(low[:stop], high[:stop], levels, bounds, scale)
        before, inside, mass = 0.0, 0.0, 0.0
        for j in range(start):
            before += share[j] * errors[j]
        for j in range(start, stop):
            inside += share[j] * errors[j]
            mass += share[j]
        lower, upper = below[start], below[stop]
        found = size * ((before + inside) * upper ** (size - 1) - before * lower ** (size - 1))
        if top > 0.0 and mass > 0.0:
            at_top = ((top - levels[-1]) * scale) ** 2
            found += (upper**size - lower**size) * (at_top - inside / mass)
        noise += found * factors[group]
    return noise
