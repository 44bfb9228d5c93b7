"""Rules on the weights of one matrix: values that are lost, cut, rounded away or too few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.diagnostics.rules import others
from weibnb.diagnostics.rules.facts import SMALLEST_NORMAL
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.diagnostics.rules.facts import Facts
    from weibnb.diagnostics.rules.material import Material, Matrix

    Found = Iterator[Finding | NotLookedAt]

#: Largest magnitude of a format.
LARGEST = {
    "F8_E4M3": 448.0,
    "F8_E5M2": 57344.0,
    "F16": 65504.0,
    "BF16": float.fromhex("0x1.fep127"),
    "F32": float(np.finfo(np.float32).max),
    "F64": float(np.finfo(np.float64).max),
}
EIGHT_BITS = ("F8_E4M3", "F8_E5M2")
#: Share of the weights of an 8-bit matrix that may have the largest magnitude: a scale for each
#: row or block puts one weight of each there.
SATURATED = {False: 0.002, True: 0.01}
#: Share of the non-zero weights that may be subnormal.
UNDERFLOW = 0.25
#: Distinct magnitudes of a 16- or 32-bit matrix that are few, and how many weights each must have.
FEW_LEVELS, WEIGHTS_A_LEVEL = 256, 16
#: Times the next magnitude that few weights may have, and of how many weights at least.
RUNAWAY, ENOUGH = 1000.0, 1000
#: Weights of the largest magnitude, and how many times those of any magnitude beside it, from which
#: on they were clipped.
CLIPPED, TIMES_BESIDE = 20, 8
# A larger ratio of two floats would be infinite.
_LN_MOST = np.log(np.finfo(float).max)
_WRITE_AGAIN = "Write the checkpoint again from the state that was trained, and scan it."


def nonfinite(material: Material) -> Found:
    """NaN or infinite weights."""
    for matrix in material.matrices:
        if matrix.nonfinite:
            are = "weights are" if matrix.nonfinite > 1 else "weight is"
            text = f"{matrix.nonfinite:,} {are} NaN or infinite."
            step = "Go back to a checkpoint from before the loss diverged, or write this one again."
            yield Finding("nonfinite", "error", (matrix.cell,), matrix.nonfinite, 0, text, step)
    yield from others.nonfinite(material)


def all_zero(material: Material) -> Found:
    """Matrices of zeros, but for those that start there."""
    for matrix in material.matrices:
        start = (matrix.cell.model, matrix.cell.step) in material.starts
        if matrix.status == "all_zero" and not start:
            text = "every weight is zero."
            yield Finding("all-zero", "error", (matrix.cell,), 1.0, 1.0, text, _WRITE_AGAIN)
    yield from _merged_experts(material, "all-zero")
    yield from others.all_zero(material)


def constant(material: Material) -> Found:
    """Matrices of one magnitude without a zero; with zeros they have been rounded to levels."""
    for matrix in material.matrices:
        if matrix.status == "constant" and not matrix.zeros > 0:
            text = "all weights have one magnitude."
            yield Finding("constant", "error", (matrix.cell,), 1, 2, text, _WRITE_AGAIN)
    yield from _merged_experts(material, "constant")


def unreadable(material: Material) -> Found:
    """Tensors and whole checkpoints that could not be read."""
    for matrix in material.matrices:
        if matrix.status == "unreadable":
            text = "its tensor could not be read."
            step = "weibnb.not_fitted(fits) has the cause; download or copy the file again."
            yield Finding("unreadable", "error", (matrix.cell,), 1, 0, text, step)
    for (model, number), problem in material.about("problem").items():
        text = f"the checkpoint could not be read: {shortened(problem, 300)}"
        step = "Download or copy it again."
        yield Finding("unreadable", "error", (Cell(model, number),), 1, 0, text, step)
    yield from others.unreadable(material)


def runaway(material: Material) -> Found:
    """Weights that are by far larger than all others, and few."""
    for matrix, facts in _counted(material):
        times = float(np.exp(min(facts.ln_gap, _LN_MOST)))
        if times < RUNAWAY or facts.n < ENOUGH:
            continue
        are = f"{facts.alone:,} weights are" if facts.alone > 1 else "1 weight is"
        text = f"{are} {times:.2g} times as large as all others, up to {facts.largest:.3g}."
        step = (
            "A bit of the file is wrong, most likely: compare its hash, copy it again, or go back "
            "to an earlier checkpoint."
        )
        yield Finding("runaway", "error", (matrix.cell,), times, RUNAWAY, text, step)
    yield from _without_counts(material, "runaway")


def clipping(material: Material) -> Found:
    """More weights of the largest magnitude than there are beside it."""
    for matrix, facts in _counted(material):
        rounded = matrix.dtype in EIGHT_BITS or facts.levels <= FEW_LEVELS
        if rounded or facts.largest >= LARGEST.get(matrix.dtype, np.inf):
            continue
        limit = max(CLIPPED, TIMES_BESIDE * facts.beside_largest)
        if facts.at_largest < limit:
            continue
        share = facts.at_largest / facts.n
        text = (
            f"{100 * share:.2g} % of its weights have the largest magnitude, {facts.largest:.4g}: "
            "they were clipped."
        )
        step = "Take the checkpoint from before, if the clipping was not meant."
        value = float(facts.at_largest)
        yield Finding("clipping", "warning", (matrix.cell,), value, limit, text, step)
    yield from _without_counts(material, "clipping")


def saturation(material: Material) -> Found:
    """Weights at the largest magnitude of their format."""
    for matrix, facts in _counted(material):
        largest = LARGEST.get(matrix.dtype, np.inf)
        if not facts.levels or facts.largest < largest:
            continue
        share = facts.at_largest / facts.n
        limit = SATURATED[matrix.scaled] if matrix.dtype in EIGHT_BITS else 0.0
        if share > limit:
            there = f"{largest:.5g}, the largest {matrix.dtype}"
            text = f"{100 * share:.2g} % of its weights lie at {there}."
            step = "Convert it again with a smaller scale, or from a wider format."
            yield Finding("saturation", "warning", (matrix.cell,), share, limit, text, step)
    yield from _without_counts(material, "saturation")


def underflow(material: Material) -> Found:
    """Weights that are smaller than the normal numbers of their format."""
    for matrix, facts in _counted(material):
        smallest = SMALLEST_NORMAL.get(matrix.dtype, 0.0)
        if not facts.subnormal or matrix.status == "constant":
            continue
        if facts.subnormal > UNDERFLOW * facts.n:
            share = (facts.subnormal + facts.zeros) / (facts.n + facts.zeros)
            text = (
                f"{100 * share:.3g} % of its weights are zero or below {smallest:.3g}, where "
                f"{matrix.dtype} keeps fewer digits."
            )
            step = "Convert it again with a larger scale, or to a wider format."
            value = facts.subnormal / facts.n
            yield Finding("underflow", "warning", (matrix.cell,), value, UNDERFLOW, text, step)
    yield from _without_counts(material, "underflow")


def comb(material: Material) -> Found:
    """Few distinct magnitudes in a format that has many."""
    step = "Take the checkpoint from before it was quantised, if you want to judge the training."
    found = material.reader.levels() if material.reader is not None else {}
    by_row = {cell[:5]: levels for cell, levels in found.items()}
    for matrix, facts in _counted(material):
        if matrix.dtype in EIGHT_BITS or facts.n < WEIGHTS_A_LEVEL:
            continue
        if matrix.status == "constant" and not facts.zeros:
            continue
        levels, limit = facts.levels, min(FEW_LEVELS, facts.n / WEIGHTS_A_LEVEL)
        ternary = matrix.status == "constant" and facts.zeros > 0
        if (levels <= limit and matrix.status != "constant") or ternary:
            text = f"it has {levels:,} distinct magnitudes alone, as after a quantisation."
            yield Finding("comb", "warning", (matrix.cell,), levels, limit, text, step)
        elif matrix.cell[:5] in by_row:
            value, of = by_row[matrix.cell[:5]]
            few = f"{of:,} neighbours in a row have {value:.3g} distinct magnitudes"
            text = f"{few}, as after a quantisation."
            yield Finding("comb", "warning", (matrix.cell,), value, of, text, step)
    yield from _without_counts(material, "comb")
    if material.reader is None:
        yield NotLookedAt("comb", "levels of single rows and groups need the weights")


def _counted(material: Material) -> Iterator[tuple[Matrix, Facts]]:
    """Give the matrices that have counts, with what is known from them."""
    for matrix in material.matrices:
        if matrix.facts is not None:
            yield matrix, matrix.facts


def _merged_experts(material: Material, rule: str) -> Found:
    """Say that single experts cannot be told apart, where there are no counts of them."""
    fits = material.fits
    if "counts" not in fits and bool((fits["n_matrices"] > 1).any()):
        yield NotLookedAt(rule, "single experts need counts; scan with keep_counts=True")


def _without_counts(material: Material, rule: str) -> Found:
    """Say that a rule needs counts, where there are none."""
    if "counts" not in material.fits:
        yield NotLookedAt(rule, "the fits hold no counts; scan with keep_counts=True")
