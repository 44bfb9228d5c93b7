"""Ordinates of the Weibull plot and their sums over ranks, as operations on tensors.

The sums are those of `weibnb.fitting.ordinates`. Over y itself, the integrals of y and of y^2 over
F are smooth from end to end, so that one table of each serves every rank of every matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import special

from weibnb.counting.transfers import to_device

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Within this many ranks of either end the sums over ranks are taken term by term.
_EDGE = 16
# The ordinates of the table: F from 1e-17 to 1 - 1e-18, and cells per unit of y, which make its
# error some 5e-15.
_LOWEST, _HIGHEST, _CELLS = -39.0, 3.75, 1024
# Shares of the weights between which, for so many weights, third derivatives do not matter.
_CENTRAL, _MANY = 0.05, 4096
# Gauss-Legendre nodes of a cell.
_NODES = 8
# Tables that were made; a dict, which `torch.compile` can look into.
_TABLES: dict[tuple[int, torch.device], torch.Tensor] = {}


def free_to_ask(tensor: torch.Tensor) -> bool:
    """Whether a value can be looked at without waiting for a device."""
    return tensor.device.type == "cpu"


def worth(mask: torch.Tensor) -> bool:
    """Whether to do what a mask asks for; on a device always, for the answer would be waited for.

    Examples
    --------
    >>> worth(torch.tensor([False, True]))
    True
    """
    return not free_to_ask(mask) or bool(mask.any())


def table_of(power: int, device: torch.device) -> torch.Tensor:
    """Coefficients of the integral of y^power over F, by cell, lowest first: (4, cells)."""
    if (power, device) not in _TABLES:
        _TABLES[power, device] = to_device(_coefficients(power), device)
    return _TABLES[power, device]


def _coefficients(power: int) -> Array:
    """As of `table_of`."""
    y = np.linspace(_LOWEST, _HIGHEST, round((_HIGHEST - _LOWEST) * _CELLS) + 1)
    t = np.exp(y)
    density = np.exp(y - t)  # dF/dy
    if power == 1:
        integral = y * -np.expm1(-t) - _entire_integral(t)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        inner = y[:-1, None] + (nodes + 1) / (2 * _CELLS)
        cells = (inner**2 * np.exp(inner - np.exp(inner))) @ weights / (2 * _CELLS)
        integral = np.concatenate([[0.0], np.cumsum(cells)])
    rise, slope = np.diff(integral), y**power * density / _CELLS
    left, right = slope[:-1], slope[1:]  # the cubic through values and slopes at both ends
    coefficients = (integral[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise)
    return np.stack(coefficients)


def _entire_integral(t: Array) -> Array:
    """Ein(t), the integral of (1 - exp(-s))/s from 0 to t: its series, then E1 + ln t + γ."""
    order = np.arange(1, 30)
    small = np.minimum(t, 1.0)[:, None]
    terms = -((-small) ** order) / (order * special.factorial(order))
    return np.where(t < 1.0, terms.sum(1), special.exp1(t) + np.log(t) + np.euler_gamma)


def _integral(power: int, y: torch.Tensor) -> torch.Tensor:
    """Integral of y^power over F up to an ordinate, but for a constant."""
    table = table_of(power, y.device)
    place = (y - _LOWEST).mul_(_CELLS)
    cell = place.to(torch.int64).view(-1)
    place.frac_()
    total = table[3].index_select(0, cell).view(y.shape)
    for coefficients in (table[2], table[1], table[0]):
        total = coefficients.index_select(0, cell).view(y.shape).addcmul_(total, place)
    return total


def ordinate(rank: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Ordinate ln(-ln(1-F)) at F = rank/n, for ranks above 0 and below n."""
    return (rank / n).neg_().log1p_().neg_().log_()


def _between(rank: torch.Tensor, n: torch.Tensor, margin: float) -> torch.Tensor:
    """Move ranks so far from both ends at least."""
    return torch.minimum(rank.clamp(min=margin), n - margin)


def sum_of(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum over the last dim, which stays, of tensors of different widths, and add the sums up."""
    return torch.stack([part.sum(-1, keepdim=True) for part in parts]).sum(0)


def prefix_sums(rank: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of y over the first `rank` of n ranks, up to a constant of n; and y at F = rank/n.

    `rank` is (matrices, bins), ascending; `n` is (matrices, 1) and at least 100. At both ends y is
    that of half a rank further in.
    """
    least, most = rank[:, :1], rank[:, -1:]
    if not worth((least < _EDGE) | (most > n - _EDGE)):
        y = ordinate(rank, n)
        central = (least > _CENTRAL * n) & (most < (1 - _CENTRAL) * n) & (n > _MANY)
        return _smooth_sum(rank, n, y, central=not worth(~central)), y
    inner = _between(rank, n, _EDGE)
    smooth = _smooth_sum(inner, n, ordinate(inner, n))
    return smooth + _at_the_ends(rank, n, 1), ordinate(_between(rank, n, 0.5), n)


def square_sum(first: torch.Tensor, last: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Sum of y^2 over the ranks first ... last of n; each is (matrices, 1)."""
    rank = torch.cat([first - 1.0, last], 1)
    inner = _between(rank, n, _EDGE)
    y = ordinate(inner, n)
    d1, d2, d3 = _derivatives(inner, n, y)
    smooth = n * _integral(2, y) - 2.0 * y * d1 / (24.0 * n)
    smooth += 14.0 * (3.0 * d1 * d2 + y * d3) / (5760.0 * n**3)
    return (smooth + _at_the_ends(rank, n, 2)).diff(dim=1)


def _smooth_sum(
    rank: torch.Tensor, n: torch.Tensor, y: torch.Tensor, *, central: bool = False
) -> torch.Tensor:
    """Sum of y over the first ranks, up to a constant: Euler-Maclaurin for the midpoint rule.

    Where all ranks are `central` the third derivative is below 1e-9 of one rank's share.
    """
    total = _integral(1, y).mul_(n)
    if central:
        return total.sub_(y.exp().mul_(24.0 * (n - rank)).reciprocal_())
    first, _, third = _derivatives(rank, n, y)
    total -= first.div_(24.0 * n)
    return total.add_(third.mul_(7.0 / 5760.0).div_(n**3))


def _derivatives(
    rank: torch.Tensor, n: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First three derivatives of y by F."""
    t = y.exp()
    slope = ((1.0 - rank / n) * t).reciprocal_()
    t -= 1.0
    curve = t * slope * slope
    return slope, curve, (2.0 * t * t).add_(t).add_(1.0).mul_(slope).mul_(slope).mul_(slope)


def _at_the_ends(rank: torch.Tensor, n: torch.Tensor, power: int) -> torch.Tensor:
    """Sum y^power over ranks outside the smooth part, term by term, on both sides."""
    steps = torch.arange(1, _EDGE + 1, dtype=n.dtype, device=n.device)
    below = ordinate(steps - 0.5, n) ** power
    above = ordinate(n - _EDGE + steps - 0.5, n) ** power
    nothing = torch.zeros_like(n)
    below = torch.cat([below.flip(1).cumsum(1).flip(1), nothing], 1)
    above = torch.cat([nothing, above.cumsum(1)], 1)
    lower = rank.clamp(0, _EDGE).to(torch.int64)
    upper = (rank - n + _EDGE).clamp_(0, _EDGE).to(torch.int64)
    return above.gather(1, upper) - below.gather(1, lower)
