"""The fit as operations on tensors: many matrices at once, on the device that holds the counts.

It computes what `weibnb.fitting.kernels` does, in float64, from a batch of counts in one table; no
step but those that `worth` guards waits for a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from weibnb.fitting.kernels import (
    ALL_ZERO,
    COARSE,
    COARSE_AS_FLOAT32,
    CONSTANT,
    DEGENERATE,
    FINE,
    NO_CONVERGENCE,
    OK,
    SUBNORMAL,
    TOO_FEW,
)
from weibnb.fitting.torch_body import Body, Influence, body_of, trim_ranks
from weibnb.fitting.torch_likelihood import censored_fit, likelihood_influence
from weibnb.fitting.torch_ordinates import free_to_ask, square_sum, sum_of, worth

if TYPE_CHECKING:
    from weibnb.fitting.torch_rows import Batch

# Share of the weights below which coarse intervals do no harm.
_LOWEST = 1e-3


class Regression(NamedTuple):
    """A rank regression, each (matrices, 1): k, b = ln λ, r2, means of x and y, Sxx/n."""

    k: torch.Tensor
    b: torch.Tensor
    r2: torch.Tensor
    mean_x: torch.Tensor
    mean_y: torch.Tensor
    sxx: torch.Tensor


def fit_batch(
    batch: Batch,
    trim: tuple[float, float],
    *,
    likelihood: bool,
    minimum: int,
    influence: bool = False,
    ask: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fit every matrix of a batch.

    Returns the columns of `weibnb.fitting.kernels.fit_rows`, (matrices, 10), and, if it is asked
    for, the `influence` of each entry on k and ln λ, (2, matrices, width). Without `ask` maximum
    likelihood takes all its steps, and waits for no device either.
    """
    x, seen = batch.x, batch.counts.cumsum(1)
    total = seen[:, -1:]
    n = total.clamp(min=float(minimum))
    first, last = trim_ranks(n, *trim)
    near = _near_the_trim(seen, n, trim)
    body, sums = body_of(seen[:, near].contiguous(), x[:, near], n, first, last)
    regression = _regression(body, sums)
    k, b, converged = regression.k, regression.b, torch.ones_like(n, dtype=torch.bool)
    if likelihood:
        censored = (body.low, body.high)
        k, b, inverse, converged = censored_fit(body.weights, body.x, censored, k, b, ask=ask)
        v = likelihood_influence(body, k, b, inverse)
    else:
        v = _regression_influence(body, regression)
    v, (k_se, b_se, correlation) = _independent_errors(v, body)
    lam = b.exp()
    above = (x - b).mul_(k).exp_().neg_().exp_()
    if batch.alike is False:
        ks, ks_full = _distances_of_intervals(batch, seen, n, trim, above, near)
        ks_midrank = ks
    else:
        ks_full = _largest_distance(batch, seen, n, above)
        body_alone = batch.near(near), seen[:, near], n, trim, above[:, near]
        ks, ks_midrank = _distances_in_trim(*body_alone)
    outcome = torch.cat(
        [k, lam, regression.r2, ks, ks_full, k_se, lam * b_se, correlation, ks_midrank], 1
    )
    status = _status(batch, seen, total, trim, minimum, body, converged)
    columns = torch.cat([outcome.where(status == OK, torch.nan), status], 1)
    if not influence:
        return columns, None
    return columns, _by_entry(v, batch.counts, seen, body, near)


def _near_the_trim(seen: torch.Tensor, n: torch.Tensor, trim: tuple[float, float]) -> slice:
    """Give the entries with a part of any body; on a device all, for theirs would be waited for."""
    if not free_to_ask(seen):
        return slice(None)
    start = int(torch.searchsorted(seen, trim[0] * n - 2.0).min())
    stop = int(torch.searchsorted(seen, trim[1] * n + 2.0).max())
    return slice(max(start - 1, 0), max(stop + 2, 2))


def _regression(body: Body, sums: torch.Tensor) -> Regression:
    """Regress y on x, with x measured from the begin of the body."""
    origin = body.x.gather(1, body.begin)
    dx = body.x - origin
    weighted = body.weights * dx
    sx, sy = weighted.sum(1, keepdim=True), sums.sum(1, keepdim=True)
    sxx = (weighted * dx).sum(1, keepdim=True)
    sxy = (sums * dx).sum(1, keepdim=True)
    m = body.last - body.first + 1.0
    syy = square_sum(body.first, body.last, body.n) - sy * sy / m
    sxy, sxx = sxy - sx * sy / m, sxx - sx * sx / m
    k, mean_x, mean_y = sxy / sxx, origin + sx / m, sy / m
    return Regression(k, mean_x - mean_y / k, sxy * sxy / (sxx * syy), mean_x, mean_y, sxx / body.n)


def _regression_influence(body: Body, fit: Regression) -> Influence:
    """Influence on rank regression, up to a constant; see `weibnb.fitting.errors`.

    The integral of h is that of y, piece by piece, less that of a straight line.
    """
    begin, end = body.x.gather(1, body.begin), body.x.gather(1, body.end)
    x = torch.minimum(torch.maximum(body.x, begin), end).sub_(fit.mean_x)
    origin = begin - fit.mean_x
    steps = torch.diff(x, dim=1, prepend=x[:, :1])
    h = steps.mul_(body.before).cumsum(1)
    rise = x - origin
    h -= rise * (fit.mean_y + fit.k * (x + origin))
    h /= fit.sxx
    share = (body.last - body.first + 1.0) / body.n
    m = rise.div_(share).add_(fit.mean_y / (fit.k * fit.k) * h)
    v = torch.stack([h, m])
    return Influence(torch.zeros_like(v[:, :, :1]), v, v[:, :, -1:])


def _independent_errors(
    v: Influence, body: Body
) -> tuple[Influence, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Centre an influence; give the errors of k and ln λ, and their correlation."""
    n, masses = body.n, (body.low, body.weights, body.high)
    mean = sum_of(mass * part for mass, part in zip(masses, v, strict=True)) / n
    v = Influence(*(part - mean for part in v))
    parts = [(part, mass * part) for mass, part in zip(masses, v, strict=True)]
    kk, bb, kb = (
        sum_of(part[i] * weighted[j] for part, weighted in parts)
        for i, j in ((0, 0), (1, 1), (0, 1))
    )
    return v, (kk.sqrt() / n, bb.sqrt() / n, kb / (kk * bb).sqrt())


def _by_entry(
    v: Influence,
    counts: torch.Tensor,
    seen: torch.Tensor,
    body: Body,
    near: slice,
) -> torch.Tensor:
    """Give the influence of each entry: the mean over its weights, zero without any."""
    low = torch.minimum((body.low - seen + counts).clamp_(min=0.0), counts)
    high = torch.minimum((seen - body.last).clamp_(min=0.0), counts)
    every = low * v.below + high * v.above
    every[:, :, near] += body.weights * v.body
    return every.div_(counts.clamp(min=1.0))


def _distances_of_intervals(
    batch: Batch,
    seen: torch.Tensor,
    n: torch.Tensor,
    trim: tuple[float, float],
    above: torch.Tensor,
    near: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest |F - F_Weibull| in the trim and everywhere, where no bin is one value.

    An interval is taken at its middle and mid-rank alone.
    """
    middle = torch.add(seen, batch.counts, alpha=-0.5).div_(n)
    distance = (above + middle).sub_(1.0).abs_().masked_fill_(batch.counts == 0.0, -1.0)
    full, middle = distance.amax(1, keepdim=True), middle[:, near]
    inside = (middle >= trim[0]).logical_and_(middle <= trim[1])
    ks = distance[:, near].where(inside, -1.0).amax(1, keepdim=True)
    return ks.where(ks >= 0.0, torch.nan), full


def _largest_distance(
    batch: Batch, seen: torch.Tensor, n: torch.Tensor, above: torch.Tensor
) -> torch.Tensor:
    """Largest |F - F_Weibull|, where `above` is 1 - F_Weibull; see `weibnb.fitting.kernels`.

    Where no weight is, F stays and neither side of it is further away than its neighbours.
    """
    high, size = (n * above).add_(seen), batch.counts
    if batch.alike is None:
        there = (size > 0.0) | batch.exact[:, None]
        high.sub_(size * (0.5 * ~batch.exact[:, None]))
        high = high.where(there, n)
        size = size * batch.exact[:, None]
    low = (high - size).amin(1, keepdim=True)
    return torch.maximum(high.amax(1, keepdim=True) - n, n - low) / n


def _distances_in_trim(
    batch: Batch,
    seen: torch.Tensor,
    n: torch.Tensor,
    trim: tuple[float, float],
    above: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest |F - F_Weibull| in the trim, over all levels of F and at mid-ranks."""
    lower, upper = trim
    fitted, there = 1.0 - above, batch.counts > 0.0
    middle = torch.add(seen, batch.counts, alpha=-0.5).div_(n)
    low, high = (seen - batch.counts).div_(n), seen / n
    if batch.alike is None:
        low, high = (level.where(batch.exact[:, None], middle) for level in (low, high))
    inside = (high >= lower).logical_and_(low <= upper).logical_and_(there)
    distance = torch.maximum(fitted - low.clamp_(min=lower), high.clamp_(max=upper) - fitted)
    ks = distance.where(inside, -1.0).amax(1, keepdim=True)
    distance = (fitted - middle).abs_()
    inside = (middle >= lower).logical_and_(middle <= upper).logical_and_(there)
    midrank = distance.where(inside, -1.0).amax(1, keepdim=True)
    return ks.where(ks >= 0.0, torch.nan), midrank.where(midrank >= 0.0, torch.nan)


def _status(
    batch: Batch,
    seen: torch.Tensor,
    total: torch.Tensor,
    trim: tuple[float, float],
    minimum: int,
    body: Body,
    converged: torch.Tensor,
) -> torch.Tensor:
    """Give the outcome as one of the numbers of `weibnb.fitting.kernels`, (matrices, 1)."""
    single = batch.counts.amax(1, keepdim=True) == total
    status = torch.full_like(total, OK)
    status = status.masked_fill(~converged, NO_CONVERGENCE)
    status = status.masked_fill(body.end <= body.begin, DEGENERATE)
    status = status.masked_fill(_too_coarse(batch, seen, total, trim), SUBNORMAL)
    status = status.masked_fill(total < minimum, TOO_FEW)
    status = status.masked_fill(single, CONSTANT)
    return status.masked_fill(total == 0, ALL_ZERO)


def _too_coarse(
    batch: Batch,
    seen: torch.Tensor,
    total: torch.Tensor,
    trim: tuple[float, float],
) -> torch.Tensor:
    """Whether the interval of the first rank that matters is too coarse, (matrices, 1).

    Weights are float32 if all intervals up to there lie on the grid of its subnormal numbers.
    """
    if not worth(batch.coarse != FINE):
        return torch.zeros_like(total, dtype=torch.bool)
    place = torch.searchsorted(seen, max(trim[0], _LOWEST) * total)
    place.clamp_(max=seen.shape[1] - 1)
    other = (batch.coarse != COARSE_AS_FLOAT32) & (batch.counts > 0.0)
    first_other = other.to(torch.int8).argmax(1, keepdim=True)
    first_other = first_other.where(other.any(1, keepdim=True), seen.shape[1])
    kind = batch.coarse.gather(1, place)
    return (first_other > place) | (kind == COARSE)
