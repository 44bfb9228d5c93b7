"""Maximum likelihood of censored Weibull masses, for many matrices at once, on tensors."""

from __future__ import annotations

from typing import Any

import torch

from weibnb.fitting.torch_body import Body, Influence
from weibnb.fitting.torch_ordinates import free_to_ask

# Most steps of Newton's method, and after how many a device is asked whether all have converged.
STEPS, _ASKED = 60, 8


def censored_fit(
    g: torch.Tensor,
    x: torch.Tensor,
    censored: tuple[torch.Tensor, torch.Tensor],
    k: torch.Tensor,
    b: torch.Tensor,
    *,
    ask: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
    """Maximise the likelihood of masses `g` at `x`, with so many `censored` below and above.

    `weibnb.fitting.kernels.censored_fit` on tensors: `g` and `x` are (matrices, width), the others
    (matrices, 1). Returns k, b = ln λ, the inverse of the Hessian, and whether it was found. If it
    may not `ask`, a device does all steps.
    """
    origin, b = b, torch.zeros_like(b)
    x = (x - origin).where(g > 0.0, 0.0)
    begin, end = _ends(g, x)
    inverse = (k, k, k)
    converged = torch.zeros_like(k, dtype=torch.bool)
    found, failed = converged, ~(k > 0.0)
    for step in range(STEPS):
        (s1, s2), (h11, h12, h22) = _score(g, x, (begin, end), censored, k, b)
        determinant = h11 * h22 - h12 * h12
        failed = failed | ~(found | (determinant > 0.0))
        i11, i12, i22 = h22 / determinant, -h12 / determinant, h11 / determinant
        inverse = (i11, i12, i22)
        found = found | (converged & ~failed)
        settled = found | failed
        now = free_to_ask(k) or (ask and step % _ASKED == _ASKED - 1)
        if now and bool(settled.all()):
            break
        step_k, step_b = -(i11 * s1 + i12 * s2), -(i12 * s1 + i22 * s2)
        damp = (0.5 * k / step_k.abs()).clamp(max=1.0)
        damp = torch.minimum(damp, (1.0 / step_b.abs()).clamp(max=1.0))
        converged = (step_k.abs() < 1e-12 * k) & (step_b.abs() < 1e-12)
        k = k.where(settled, k + damp * step_k)
        b = b.where(settled, b + damp * step_b)
    return k, b + origin, inverse, found


def _ends(g: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give x of the first and of the last mass."""
    there = g > 0.0
    lowest = x.where(there, torch.inf).amin(1, keepdim=True)
    return lowest, x.where(there, -torch.inf).amax(1, keepdim=True)


def _score(g: Any, x: Any, ends: Any, censored: Any, k: Any, b: Any) -> tuple[Any, Any]:
    """Give the gradient and the Hessian of the log-likelihood by k and b."""
    d = x - b
    mass = (k * d).exp_().mul_(g)
    total, body = mass.sum(1, keepdim=True), g.sum(1, keepdim=True)
    first = mass.mul_(d).sum(1, keepdim=True)
    second = mass.mul_(d).sum(1, keepdim=True)
    s1 = body / k + (g * d).sum(1, keepdim=True) - first
    s2 = k * (total - body)
    h11, h12, h22 = -body / (k * k) - second, k * first + total - body, -k * k * total
    for number, place, side in zip(censored, ends, (_below, _above), strict=True):
        (a1, a2), (c11, c12, c22) = side(k, place - b)
        nothing = number == 0.0
        s1, s2, h11, h12, h22 = (
            whole + (number * part).masked_fill(nothing, 0.0)
            for whole, part in ((s1, a1), (s2, a2), (h11, c11), (h12, c12), (h22, c22))
        )
    return (s1, s2), (h11, h12, h22)


def _below(k: Any, d: Any) -> tuple[Any, Any]:
    """Gradient and Hessian of a weight that is known to lie below."""
    z = (k * d).exp()
    r = 1.0 / z.expm1()
    curve = -r * (1.0 + r)
    return (r * z * d, -r * k * z), (
        curve * (z * d) ** 2 + r * z * d * d,
        -curve * k * z * z * d - r * (k * z * d + z),
        curve * (k * z) ** 2 + r * k * k * z,
    )


def _above(k: Any, d: Any) -> tuple[Any, Any]:
    """Gradient and Hessian of a weight that is known to lie above."""
    z = (k * d).exp()
    return (-z * d, k * z), (-z * d * d, k * z * d + z, -k * k * z)


def likelihood_influence(
    body: Body, k: torch.Tensor, b: torch.Tensor, inverse: tuple[torch.Tensor, ...]
) -> Influence:
    """Influence on maximum likelihood, up to a constant; see `weibnb.fitting.errors`."""
    begin, end = body.x.gather(1, body.begin), body.x.gather(1, body.end)
    lower, upper = _density(body)
    d = begin - b
    z = (k * d).exp()
    r, scale = 1.0 / z.expm1(), body.low / body.n / lower
    left = torch.stack(
        [
            scale * r * z * (1.0 + k * d - (1.0 + r) * k * z * d),
            scale * k * k * r * z * ((1.0 + r) * z - 1.0),
        ]
    ).masked_fill(body.low == 0.0, 0.0)
    d = end - b
    z = (k * d).exp()
    scale = body.high / body.n / upper
    right = torch.stack([-scale * z * (1.0 + k * d), scale * k * k * z])
    right = right.masked_fill(body.high == 0.0, 0.0)

    def influence(x: torch.Tensor, shift: torch.Tensor | float) -> torch.Tensor:
        a1, a2 = (_scores(k, x - b) - shift).unbind()
        i11, i12, i22 = inverse
        return -body.n * torch.stack([i11 * a1 + i12 * a2, i12 * a1 + i22 * a2])

    x = body.x.where(body.weights > 0.0, begin)
    return Influence(influence(begin, left + right), influence(x, right), influence(end, 0.0))


def _scores(k: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Differentiate the log-density at d = ln|w| - b by k and by b."""
    z = (k * d).exp()
    return torch.stack([1.0 / k + d - z * d, k * z - k])


def _density(body: Body) -> tuple[torch.Tensor, torch.Tensor]:
    """Density of ln|w| over 2 % of the mass, inward from the lower and from the upper end."""
    g, number = body.weights, torch.arange(body.x.shape[1], device=body.x.device)
    seen = g.cumsum(1)
    whole = seen[:, -1:]
    ends = []
    for place, inward, other in (
        (body.begin, seen, body.end),
        (body.end, whole - seen + g, body.begin),
    ):
        mass = inward - 0.5 * (g + g.gather(1, place))  # the trapezium rule
        stop = (g > 0.0) & (mass >= 0.02 * body.n) & (number != place)
        distance = (number - place).abs()
        nearest = distance.where(stop, g.shape[1]).amin(1, keepdim=True)
        sign = torch.where(other > place, 1, -1)
        at = (place + sign * nearest).where(nearest < g.shape[1], other)
        run = (body.x.gather(1, at) - body.x.gather(1, place)).abs()
        ends.append((mass.gather(1, at) / body.n / run).where(at != place, torch.inf))
    return ends[0], ends[1]
