"""Which format for which matrix: the least noise for a budget of bits per weight."""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from weibnb.messages import counted, printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


# Fused matrices and what is in them.
_PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class TooFewBitsError(ValueError):
    """No format takes as few bits per weight as there are."""


@dataclass(frozen=True, slots=True, eq=False)
class BitPlan:
    """A format for every matrix; prints as a sentence and shows as HTML in a notebook.

    Attributes
    ----------
    budget, bits : float
        Bits per weight that were allowed, and that the plan takes, scales included.
    sqnr : float
        Of all matrices together, in dB: -10 log₁₀ of the mean noise-to-signal ratio, each matrix
        counting by its weights.
    table : pandas.DataFrame
        One row for each matrix: its labels, ``format``, ``bits``, ``sqnr`` (dB) and ``weights``.
    not_planned : pandas.DataFrame
        Matrices of which nothing could be predicted: labels and ``status``.
    """

    budget: float
    bits: float
    sqnr: float
    table: pd.DataFrame
    not_planned: pd.DataFrame

    def __str__(self) -> str:
        sentence = (
            f"{_choice_words(self.table)}: {self.bits:.2f} of {self.budget:.2f} bits per weight, "
            f"{self.sqnr:.1f} dB overall."
        )
        if self.not_planned.empty:
            return sentence
        reasons = self.not_planned["status"].value_counts()
        text = ", ".join(f"{number} {printable(word)}" for word, number in reasons.items())
        lost = counted(len(self.not_planned), "matrix", "matrices")
        return f"{sentence} Not planned: {lost} ({text})."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"


def plan_bits(predicted: xr.Dataset, budget: float) -> BitPlan:
    """Choose a format for every matrix so that all of them keep to a budget, with the least noise.

    Parameters
    ----------
    predicted : xarray.Dataset
        From `weibnb.quantisation`, of one model and one step.
    budget : float
        Bits per weight, scales included, on average over all weights.

    Returns
    -------
    BitPlan

    Raises
    ------
    ValueError
        If there are several models or steps, nothing was predicted, or the budget is below that of
        the cheapest formats.

    Notes
    -----
    Noise is relative to the signal of each matrix, since the norm of a matrix says nothing of its
    part in the model: a norm or a neighbouring matrix can take any factor over. Of each matrix
    only the formats on the lower convex hull of bits and noise are of use; from the cheapest on,
    the step that saves the most noise per bit is taken next, if the budget has room for it. Where
    a step just uses the budget up no choice has less noise; elsewhere the choice is at most the
    gain of one step away from that.

    References
    ----------
    Y. Shoham and A. Gersho, "Efficient bit allocation for an arbitrary set of quantizers", IEEE
    Transactions on Acoustics, Speech, and Signal Processing 36 (1988) 1445-1453.
    """
    for dim in ("model", "step"):
        if predicted.sizes[dim] != 1:
            raise ValueError(
                f"`fits` must hold one {dim} for a plan, got {predicted.sizes[dim]}. Select one: "
                f"weibnb.quantisation(fits.sel({dim}=[{predicted[dim].values[-1].item()!r}]))."
            )
    rows, weights, noise, bits, lost = _choices(predicted)
    _refuse_twice(rows)
    if rows.empty:
        reasons = ", ".join(sorted(set(lost["status"].astype(str)))) or "no matrix"
        raise ValueError(
            f"`fits` must hold counts of at least one matrix for a plan, got none ({reasons}). "
            "Scan with keep_counts=True (the default)."
        )
    total = weights.sum()
    least = float((bits.min(1) * weights).sum() / total)
    if not budget >= least:
        raise TooFewBitsError(
            f"`bits` must be at least {least:.4g}, the cheapest of these formats, got {budget!r}. "
            "Offer a cheaper format, or larger blocks."
        )
    chosen = allocate(bits * weights[:, None], noise * weights[:, None], budget * total)
    each = np.arange(len(rows))
    names = predicted["format"].values.astype(str)
    share = noise[each, chosen]
    with np.errstate(divide="ignore"):
        rows = rows.assign(
            format=names[chosen],
            bits=bits[each, chosen],
            sqnr=-10 * np.log10(share),
            weights=weights.astype(np.int64),
        )
        overall = -10 * np.log10((share * weights).sum() / total)
    used = float((bits[each, chosen] * weights).sum() / total)
    return BitPlan(float(budget), used, float(overall), rows, lost)


def allocate(cost: Array, noise: Array, budget: float) -> NDArray[np.int64]:
    """Choose one column in each row so that the costs keep to a budget with little noise in all.

    Parameters
    ----------
    cost, noise : ndarray, shape (rows, choices)
        Cost and noise of each choice.
    budget : float
        Most that the chosen costs may add up to; the cheapest choices must keep to it.

    Returns
    -------
    ndarray of int, shape (rows,)
        Column of each row.

    Examples
    --------
    >>> cost = np.array([[4.0, 8.0], [4.0, 8.0]])
    >>> allocate(cost, np.array([[1.0, 0.1], [5.0, 0.1]]), 12.0).tolist()
    [0, 1]
    """
    chosen = np.zeros(len(cost), np.int64)
    steps: list[tuple[float, int, int, float]] = []
    spent = 0.0
    for row, (costs, noises) in enumerate(zip(cost, noise, strict=True)):
        hull = _hull(costs, noises)
        chosen[row] = hull[0]
        spent += costs[hull[0]]
        for before, after in pairwise(hull):
            more = costs[after] - costs[before]
            steps.append(((noises[before] - noises[after]) / more, row, after, more))
    blocked: set[int] = set()
    for _, row, after, more in sorted(steps, key=lambda step: -step[0]):
        if row in blocked or spent + more > budget * (1 + 1e-12):
            blocked.add(row)
            continue
        chosen[row] = after
        spent += more
    return chosen


def _hull(cost: Array, noise: Array) -> list[int]:
    """Give the choices on the lower convex hull, from the cheapest to that with the least noise."""
    hull: list[int] = []
    for i in np.lexsort((noise, cost)).tolist():
        if hull and noise[i] >= noise[hull[-1]]:
            continue
        while len(hull) > 1 and _is_above(cost, noise, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    return hull


def _is_above(cost: Array, noise: Array, a: int, b: int, c: int) -> bool:
    """Whether choice b lies on or above the line from a to c."""
    direct = (noise[a] - noise[c]) * (cost[b] - cost[a])
    return bool((noise[a] - noise[b]) * (cost[c] - cost[a]) <= direct)


def _choices(
    predicted: xr.Dataset,
) -> tuple[pd.DataFrame, Array, Array, Array, pd.DataFrame]:
    """Give the labels of the matrices, their weights, noise and bits, and what is left out.

    Matrices of zeros alone have no noise in any format.
    """
    keys = [str(dim) for dim in predicted["weights"].dims]
    table = predicted[["weights"]].to_dataframe(dim_order=keys)[["weights"]].reset_index()
    sqnr, bits, status = (
        predicted[name].transpose(*keys, "format").values.reshape(len(table), -1)
        for name in ("sqnr", "bits", "status")
    )
    status = status[:, 0].astype(str)
    noise = np.where((status == "all_zero")[:, None], 0.0, 10 ** (-sqnr / 10))
    known = np.isfinite(noise).all(1) & (table["weights"].to_numpy() > 0)
    there = ~known & (status != "absent")
    lost = table.loc[there, keys].assign(status=status[there]).reset_index(drop=True)
    rows = table.loc[known, keys].reset_index(drop=True)
    return rows, table["weights"].to_numpy(float)[known], noise[known], bits[known], lost


def _refuse_twice(rows: pd.DataFrame) -> None:
    """Raise ValueError where a fused matrix and a part of it would both take bits."""
    held = set(zip(rows["layer"], rows["component"].map(str), strict=True))
    for layer, name in held:
        tower, _, last = name.rpartition(".")
        before = f"{tower}." if tower else ""
        both = [part for part in _PARTS.get(last, ()) if (layer, f"{before}{part}") in held]
        if both:
            raise ValueError(
                f"`fits` must hold a fused matrix or its parts for a plan, got {last} and "
                f"{both[0]} of layer {layer}. Scan with fused='keep' (the default) or 'split'."
            )


def _choice_words(table: pd.DataFrame) -> str:
    """Say which component of which layers has which format; the most common one has the rest."""
    common = str(table.groupby("format")["weights"].sum().idxmax())
    others = table[table["format"] != common]
    if others.empty:
        return f"all in {common}"
    parts = []
    for name, group in others.groupby("format", sort=False):
        words = [
            f"{printable(component)} of {_layer_words(table, str(component), layers)}"
            for component, layers in group.groupby("component", sort=False)["layer"]
        ]
        parts.append(f"{', '.join(words)} in {name}")
    return f"{'; '.join(parts)}, the rest in {common}"


def _layer_words(table: pd.DataFrame, component: str, chosen: pd.Series[int]) -> str:
    """Name layers, runs of neighbours as a range: "layers 0–2, 5"."""
    known = sorted(table.loc[table["component"] == component, "layer"].unique().tolist())
    places = sorted({known.index(layer) for layer in chosen})
    if len(places) == len(known) > 1:
        return "all layers"
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    words = [f"{known[a]}–{known[b]}" if b > a else f"{known[a]}" for a, b in runs]
    return f"layer{'s' if len(places) > 1 else ''} {', '.join(words)}"
