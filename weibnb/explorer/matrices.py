"""Numbers of the matrices that are looked at closely, as the pane beside the map lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.schema import DIMS
from weibnb.messages import grouped, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from weibnb.explorer.filters import Cell

#: Names of the matrices that stay while everything else changes.
PINS = ("A", "B")
_MOST = 4  # selected matrices that are listed beside the pinned ones
# Of matrices that are taken together, as experts: what is no median.
_TOGETHER: dict[str, Callable[[Any], Any]] = {"n": np.sum, "max_abs": np.max}
# Label and format of further numbers.
# From here on errors are written without an exponent, as the page's table writes them.
_TINY = 1e-6
_WRITTEN = {"r2": ("r²", ".4f"), "n": ("n", ",.0f"), "max_abs": ("max |w|", ".4g")}


def check_pins(pinned: Mapping[str, Sequence[Any]]) -> dict[str, Cell]:
    """Return pinned matrices as given; raise if they are not by name, or no cells."""
    for pin, cell in pinned.items():
        if pin not in PINS:
            raise ValueError(f"`pinned` must have the keys {', '.join(PINS)}, got {pin!r}.")
        if isinstance(cell, str) or len(cell) != len(DIMS):
            raise ValueError(
                f"`pinned` must hold cells (model, layer, component, step), got {cell!r}."
            )
    return {pin: (cell[0], cell[1], cell[2], cell[3]) for pin, cell in pinned.items()}


def close_up(chosen: Sequence[Cell], pinned: Mapping[str, Cell]) -> list[Cell]:
    """List the matrices that are drawn: the pinned ones and the selected ones, each once."""
    return list(dict.fromkeys([*pinned.values(), *chosen]))


def numbers(
    part: xr.Dataset, chosen: Sequence[Cell], pinned: Mapping[str, Cell], *, dated: bool
) -> dict[str, Any] | None:
    """List numbers of the pinned matrices and of the first selected ones, a column each.

    `dated` is whether the step of each is told, also the first.
    A number that no matrix has is left out; None where nothing is selected.
    """
    others = [cell for cell in chosen if cell not in pinned.values()]
    listed = [*pinned.items(), *(("", cell) for cell in others[:_MOST])]
    if not listed:
        return None
    columns = [_numbers_of(part.sel(dict(zip(DIMS, cell, strict=True)))) for _, cell in listed]
    heads = [
        {"pin": pin, "name": _name(cell), "place": _place(cell, dated=dated)}
        for pin, cell in listed
    ]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    rows = [[label, *(column.get(label, "–") for column in columns)] for label in labels]
    more = len(others) - _MOST
    return {"heads": heads, "rows": rows, "more": f"and {more:,} more" if more > 0 else ""}


def _name(cell: Cell) -> str:
    """Name a matrix by its component and layer."""
    return f"{shortened(cell[2])} · layer {cell[1]}"


def _place(cell: Cell, *, dated: bool) -> str:
    """Name the model and the step of a matrix."""
    model, step = shortened(cell[0]), cell[3]
    return f"{model} · step {grouped(step)}" if dated or step else model


def _numbers_of(cell: xr.Dataset) -> dict[str, str]:
    """Write the numbers of one matrix, by their labels."""
    found = {}
    k, lam = (_number(cell, name) for name in ("k", "lam"))
    if k is None or lam is None:
        status = cell["status"].values.ravel()
        found["k"] = printable(next((word for word in status if word != "absent"), "not fitted"))
    else:
        found["k"] = f"{k:.4f}" + _error(cell, "k_se")
        found["λ"] = f"{lam:.4g}" + _error(cell, "lam_se")
    for name, (label, form) in _WRITTEN.items():
        if (value := _number(cell, name)) is not None:
            found[label] = format(value, form)
    shape = [_number(cell, name) for name in ("rows", "cols")]
    if all(side is not None and side > 0 for side in shape):
        found["shape"] = " × ".join(f"{side:,.0f}" for side in shape)
    if "dtype" in cell and cell["dtype"].size == 1 and cell["dtype"].item():
        found["format"] = printable(cell["dtype"].item())
    return found


def _number(cell: xr.Dataset, name: str) -> float | None:
    """Return a number of one matrix, or of its experts together; None where it is not known."""
    if name not in cell:
        return None
    values = np.asarray(cell[name].values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return float(_TOGETHER.get(name, np.median)(values))


def _error(cell: xr.Dataset, name: str) -> str:
    """Write a standard error; nothing where it is not known."""
    value = _number(cell, name)
    if value is None or value <= 0:
        return ""
    text = f"{value:.2g}"
    return f" ± {np.format_float_positional(float(text), trim='-') if value > _TINY else text}"
