"""What `weibnb.decompose` found of a matrix, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.lines import FEWEST
from weibnb.fitting.status import FITTED, MEANINGS
from weibnb.messages import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

# So near to a Gaussian's k (relatively) and r2 counts as Gaussian, and besides so many errors.
_K_NEAR, _R2_NEAR, _ERRORS = 0.01, 0.0015, 3.0
# The same for r2 of n weights, times √n: it has a longer tail than its standard deviation, 0.055.
_R2_NOISE = 0.075


def explain(found: Mapping[Any, Any]) -> str:
    """Say in one sentence why k of a matrix is low.

    Parameters
    ----------
    found : mapping
        From `take_apart`, or one matrix of the Dataset as ``dataset.isel(matrix=0)``.

    Returns
    -------
    str
    """
    values = {name: np.asarray(value).item() for name, value in found.items()}
    if values["status"] not in FITTED:
        return f"There is no k: {MEANINGS.get(values['status'], values['status'])}."
    if values["status_core"] in FITTED:
        text = f"{_parted(values)}; {_core(values)}."
    else:
        text = f"{_how_low(values)} is not taken apart: {_obstacle(values)}."
    pools = values["populations"], values["core_populations"]
    if "two populations" in pools:
        again = {"two populations": ", also when divided", "": ""}.get(pools[1], ", divided one")
        text += f" The weights are two populations{again}."
    return text + _left_out(values)


def _obstacle(found: Mapping[str, Any]) -> str:
    """Say why rows and columns are not both divided, or leave nothing to fit."""
    if found["status_core"] == "constant":
        return "divided by rows and columns, all weights have one magnitude"
    if found["status_core"] == "subnormal":
        return "the weights span more magnitudes than float32 holds"
    if found["status_core"]:
        return f"the core is {MEANINGS[found['status_core']]}"
    if found["rounds"]:
        return (
            f"{found['rounds']} rounds did not make rows and columns equal, which zeros or "
            "magnitudes far apart prevent (rows still differ by "
            f"{100 * found['imbalance']:.2g} %); k is {found['k_rows']:.3f} with rows divided, "
            f"{found['k_cols']:.3f} with columns"
        )
    rows, cols = found["rows"] - found["dead_rows"], found["cols"] - found["dead_cols"]
    return f"{rows:,} x {cols:,} hold weights, and at least {FEWEST} x {FEWEST} are needed"


def _how_low(found: Mapping[str, Any]) -> str:
    """Say where k lies."""
    return f"k {found['k_raw']:.3f} (a Gaussian: {found['anchor']:.3f})"


def _parted(found: Mapping[str, Any]) -> str:
    """Say what k being low is made of, or that it is not low."""
    below = found["below"]
    if below <= max(_ERRORS * found["k_se_raw"], _K_NEAR * found["anchor"]):
        return f"{_how_low(found)} is not low"
    digits = 2 if below >= 0.05 else 3
    # a core that lies above the anchor by chance makes them more than all
    whole = max(found["from_rows"] + found["from_cols"], below) / below
    parts = {
        "unequal rows": found["from_rows"] / whole,
        "unequal columns": found["from_cols"] / whole,
    }
    least = max(0.1 * below, 0.5 * 10**-digits)
    named = [f"{part:.{digits}f} {{}}{cause}" for cause, part in parts.items() if part >= least]
    total = f"of the {below:.{digits}f} below the anchor"
    if not named:
        return f"None {total} is unequal rows or columns"
    words = [text.format(f"{total} is " if i == 0 else "") for i, text in enumerate(named)]
    return " and ".join(words)


def _core(found: Mapping[str, Any]) -> str:
    """Say whether the core is Gaussian."""
    above = found["k_core"] - found["anchor_core"]
    words = f"k {found['k_core']:.3f}, r2 {found['r2_core']:.4f}"
    if found["core_populations"] in ("two populations", "comb"):
        return f"the core is {found['core_populations'].replace('comb', 'a comb')} ({words})"
    if abs(above) > max(_K_NEAR * found["anchor"], _ERRORS * found["k_se_core"]):
        more = "more" if above < 0 else "less"
        return f"the core's magnitudes are {more} unequal than a Gaussian's ({words})"
    size = (found["rows"] - found["dead_rows"]) * (found["cols"] - found["dead_cols"])
    if abs(found["r2_core"] - found["anchor_r2_core"]) > max(
        _R2_NEAR, _ERRORS * _R2_NOISE / size**0.5
    ):
        return f"the core has a Gaussian's k, but not its shape ({words})"
    return "the core is Gaussian"


def _left_out(found: Mapping[str, Any]) -> str:
    """Say what was left out."""
    lost = int(found["nonfinite"])
    zeros = "of zeros, NaN or infinities" if lost else "of zeros"
    left = (
        (int(found["dead_rows"]), f"row {zeros}", f"rows {zeros}"),
        (int(found["dead_cols"]), f"column {zeros}", f"columns {zeros}"),
        (lost, "NaN or infinite weight", "NaN or infinite weights"),
    )
    words = [counted(*one) for one in left if one[0]]
    return f" Left out: {', '.join(words)}." if words else ""
