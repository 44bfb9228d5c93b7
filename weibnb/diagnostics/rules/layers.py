"""Rules on a matrix among others: far from its neighbours, untrained, with outliers."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.diagnostics.outliers import (
    NEEDED,
    expected_gaussian_maximum,
    expected_maximum_of_scales,
    outlier_strength,
)
from weibnb.diagnostics.pooling import ESTIMATES, FALSE_ALARM, FEWEST_LAYERS
from weibnb.diagnostics.rules.material import flagged
from weibnb.diagnostics.rules.values import EIGHT_BITS
from weibnb.fits.schema import RESCAN, protocol_of
from weibnb.fitting import weibull
from weibnb.fitting.status import FITTED
from weibnb.messages import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.diagnostics.rules.material import Material, Matrix

    Found = Iterator[Finding | NotLookedAt]
    Array = NDArray[np.float64]

#: Laws that weights are drawn from before training, and where those are cut.
STARTS: dict[str, tuple[weibull.Initialisation, float | None]] = {
    "Gaussian": ("gaussian", None),
    "uniform": ("uniform", None),
    "Gaussian cut at 2 σ": ("truncated_gaussian", 2.0),
    "Gaussian cut at 3 σ": ("truncated_gaussian", 3.0),
}
#: Standard errors, and what is added to them, within which k, r2 and kurtosis agree with a law,
#: and ln rms with that of the other layers; what is added for 8-bit formats, whose grid is coarse.
ERRORS, MARGINS, COARSE = 4.5, (0.003, 0.0005, 0.03), (0.03, 0.004, 0.05)
COMMON = 0.003
#: Fewest layers, beyond the first of each component, that must have the common rms.
FEWEST_AGREEING = 3
#: The same where they are not most of the matrices, and how well ln rms must be known then.
FEWEST_IN_PART, KNOWN_IN_PART = 8, 0.02
#: Share of zeros beyond that of the others that stands out, and of how many matrices at most.
SPARSE, FEW_SPARSE = 0.25, 0.1
# Standard deviation of r2 times sqrt(n), of Gaussian weights.
_R2_NOISE = 0.1


def far_layer(material: Material) -> Found:
    """Layers whose k or λ the others of their component do not lead to expect."""
    looked_at = material.fits["k"].notnull().sum("layer").values
    if not (looked_at >= FEWEST_LAYERS).any():
        reason = f"takes {FEWEST_LAYERS} fitted layers of a component"
        yield NotLookedAt("far-layer", reason)
        return
    for name, symbol in ESTIMATES.items():
        pooled = material.pooled[name]
        columns = ("estimate", "expected", "p_holm")
        values, others, chances = (
            pooled[column].transpose(*pooled["stands_out"].dims).values for column in columns
        )
        for at, cell in flagged(pooled["stands_out"]):
            value, expected, p = float(values[at]), float(others[at]), float(chances[at])
            if name == "lam":
                value, expected = np.exp(value), np.exp(expected)
            text = f"{symbol} is {value:.4g}, the other layers lead to expect {expected:.4g}."
            step = "Look at its Weibull plot beside a neighbour's: weibnb.explore(fits)."
            yield Finding("far-layer", "warning", (cell,), p, FALSE_ALARM, text, step)


def sparse_layer(material: Material) -> Found:
    """Matrices with zeros that the other layers of their component do not have."""
    alike: dict[tuple[Any, ...], list[Matrix]] = defaultdict(list)
    for matrix in material.matrices:
        cell = matrix.cell
        if matrix.status in FITTED and (cell.model, cell.step) not in material.starts:
            alike[cell.model, cell.step, cell.component].append(matrix)
    for matrices in alike.values():
        if len({matrix.cell.layer for matrix in matrices}) < FEWEST_LAYERS:
            continue
        ordered = sorted(matrices, key=lambda matrix: matrix.zeros)
        few = max(int(FEW_SPARSE * len(ordered)), 1)
        usual = ordered[-few - 1].zeros
        for matrix in (one for one in ordered[-few:] if one.zeros >= usual + SPARSE):
            share = 100 * matrix.zeros
            text = f"{share:.3g} % are zeros, in the other layers at most {100 * usual:.3g} %."
            step = "Take the matrix from before it was pruned, if that was not meant."
            limit = usual + SPARSE
            cells = (matrix.cell,)
            yield Finding("sparse-layer", "warning", cells, matrix.zeros, limit, text, step)


def outliers(material: Material) -> Found:
    """Matrices whose largest weight is far beyond their body."""
    if missing := [name for name in NEEDED if name not in material.fits]:
        yield NotLookedAt("outliers", f"the fits lack {', '.join(missing)}; {RESCAN}")
        return
    if material.reader is not None:
        yield from _placed(material.reader.outliers())
        return
    strength = outlier_strength(material.fits)
    wider = _by_scales(material.fits, strength)
    ratio = material.fits["max_abs"] / strength["threshold"] / wider
    for at, cell in flagged(ratio > 1.0):
        times = float(ratio.values[at])
        spread = ", for rows and columns of this spread" if wider.values[at] > 1.0 else ""
        text = f"its largest |w| is {times:.3g} times the threshold for outliers{spread}."
        step = "weibnb.find_outliers(fits) reads the weights and tells where it is."
        yield Finding("outliers", "note", (cell,), times, 1.0, text, step)


def _by_scales(fits: xr.Dataset, strength: xr.Dataset) -> xr.DataArray:
    """Tell how much larger weights may be where rows and columns are of unequal scale."""
    look = strength["needs_look"]
    wider = look.copy(data=np.ones(look.shape))
    if "h_row" in fits and "h_col" in fits:
        spread = (fits["h_row"] ** 2 + fits["h_col"] ** 2).fillna(0.0) ** 0.5
        h, n = (one.transpose(*look.dims).values[look.values] for one in (spread, fits["n"]))
        equal = expected_gaussian_maximum(n, 1.0)
        wider.values[look.values] = expected_maximum_of_scales(n, 1.0, h) / equal
    return wider


def _placed(table: pd.DataFrame) -> Iterator[Finding]:
    """Tell of matrices by the largest of their outliers, which were looked at in their rows."""
    keys = ["model", "step", "layer", "component", "expert"]
    for _, rows in table.groupby(keys, sort=False):
        one = rows.iloc[0]
        cell = Cell.of_row(one)
        where = f"row {int(one['row']):,}, column {int(one['col']):,}"
        largest = f"the largest is {one['value']:.3g} in {where}"
        weights = counted(int(one["total"]), "weight")
        text = f"{weights} beyond the others of row and column; {largest}."
        step = "weibnb.find_outliers(fits) lists them."
        yield Finding("outliers", "note", (cell,), float(one["total"]), 0, text, step)


def untrained(material: Material) -> Found:
    """Components that look as they were drawn, at one scale in all layers, or most of a model."""
    needed = ("r2", "kurtosis", "rms", "n", "k_se", "dtype")
    if missing := [name for name in needed if name not in material.fits]:
        yield NotLookedAt("untrained", f"the fits lack {', '.join(missing)}; {RESCAN}")
        return
    fits = material.fits
    order = ["model", "step", "component", "layer", *(["expert"] * ("expert" in fits["k"].dims))]
    shape = (*(fits.sizes[dim] for dim in order[:3]), -1)
    columns = {name: fits[name].transpose(*order).values.reshape(shape) for name in (*needed, "k")}
    laws = _laws(fits)
    for i, model in enumerate(material.models):
        for j, number in enumerate(fits["step"].values.tolist()):
            part = {name: column[i, j] for name, column in columns.items()}
            config = material.configs.get((model, number), {})
            found = _components(part, laws, _init_std(config))
            if found is None:
                continue
            law, at, agreeing = found
            names = [str(fits["component"].values[c]) for c in at]
            cells = tuple(Cell(model, number, None, name) for name in names)
            text = (
                f"{', '.join(names)} look untrained: {law} in k, r2 and kurtosis, at one scale in "
                "all layers."
            )
            step = "See whether the weights were loaded at all, or the step is the initial one."
            yield Finding("untrained", "warning", cells, agreeing, FEWEST_AGREEING, text, step)


@dataclass(frozen=True, slots=True)
class _Law:
    """What an initial law leads to expect."""

    name: str
    expected: tuple[float, float, float]


def _laws(fits: xr.Dataset) -> list[_Law]:
    """Give k, r2 and kurtosis of the initial laws by the protocol of the fits."""
    estimator, trim = protocol_of(fits)
    laws = []
    for name, (law, parameter) in STARTS.items():
        anchor = weibull.anchor(law, trim=trim, estimator=estimator, parameter=parameter)
        laws.append(_Law(name, (anchor.k, anchor.r2, _kurtosis(law, parameter))))
    return laws


def _density(z: float) -> float:
    """Density of a standard Gaussian."""
    return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _within(z: float) -> float:
    """Probability of a standard Gaussian between -z and z."""
    return math.erf(z / math.sqrt(2))


def _kurtosis(law: str, parameter: float | None) -> float:
    """Kurtosis about zero of a law."""
    if law == "truncated_gaussian" and parameter is not None:
        cut, edge = parameter**2, 2 * parameter * _density(parameter) / _within(parameter)
        return (3 - edge * (cut + 3)) / (1 - edge) ** 2
    return {"gaussian": 3.0, "uniform": 1.8}[law]


def _components(
    part: dict[str, Any], laws: list[_Law], init_std: float
) -> tuple[str, list[int], int] | None:
    """Find the components of a checkpoint that look as drawn; axes: component, layer."""
    there = np.isfinite(part["k"])
    noise = ERRORS / np.sqrt(np.maximum(part["n"], 1))
    coarse = np.isin(part["dtype"].astype(str), EIGHT_BITS)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.log(part["rms"])
    for law in laws:
        close = there.copy()
        errors = (ERRORS * part["k_se"], _R2_NOISE * noise, np.sqrt(24) * noise)
        for i, (name, error) in enumerate(zip(("k", "r2", "kurtosis"), errors, strict=True)):
            margin = MARGINS[i] + coarse * COARSE[i] + error
            close &= ~(np.abs(part[name] - law.expected[i]) > margin)
        drawn = [c for c in np.flatnonzero(there.any(1)) if close[c][there[c]].all()]
        common = [c for c in drawn if _one_scale(size[c][there[c]], noise[c][there[c]])]
        known = [c for c in drawn if _is_scale(size[c][there[c]], noise[c][there[c]], init_std)]
        agreeing = sum(int(there[c].sum()) - 1 for c in common)
        for at in (common if agreeing >= FEWEST_AGREEING else [], known):
            most = at and 2 * there[at].sum() > there.sum()
            sure = [c for c in at if noise[c][there[c]].max() < KNOWN_IN_PART]
            if most or sum(int(there[c].sum()) - 1 for c in sure) >= FEWEST_IN_PART:
                return law.name, [int(c) for c in (at if most else sure)], agreeing
    return None


def _one_scale(size: Array, noise: Array) -> bool:
    """Whether ln rms is the same in all layers, as far as they can tell."""
    return size.size > 1 and bool((np.abs(size - np.median(size)) <= noise + COMMON).all())


def _is_scale(size: Array, noise: Array, init_std: float) -> bool:
    """Whether rms is the standard deviation that config.json starts from."""
    if not init_std > 0:
        return False
    return bool((np.abs(size - np.log(init_std)) <= noise + COMMON).all())


def _init_std(config: Any) -> float:
    """Read the standard deviation of the initial weights."""
    value = config.get("initializer_range", np.nan)
    return float(value) if isinstance(value, float) and 0 < value < 1e3 else float("nan")
