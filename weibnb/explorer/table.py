"""The table of matrices as the page gets it: column by column, in one compact message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.charts.layers import least_reach
from weibnb.charts.tables import cells
from weibnb.charts.vega import DIVERGING, rounded
from weibnb.explorer.labels import COLUMNS
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.drawing import Drawing

# What a browser can lay out as one list, at 24 pixels a row: Firefox ends at 17 million.
_MOST_ROWS = 500_000
# A column with at most this share of different values is sent as these and their numbers.
_FEW = 0.25


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the page gets it, which is made once for each selection."""

    made_from: tuple[Any, ...] = ()
    text: str = ""  # JSON

    @classmethod
    def of(cls, drawing: Drawing, last: Table, *, whole: bool) -> Table:
        """List what the filters leave, if the `whole` is wanted, else what is chosen."""
        if drawing.empty:
            return cls()
        which = repr(drawing.query) if whole else tuple(drawing.chosen)
        made_from = (drawing.parts, drawing.protocol, drawing.statuses, which)
        if made_from == last.made_from:
            return last
        fits = drawing.part(drawing.query) if whole else drawing.chosen_fits()
        return cls(made_from, table_columns(fits))


def table_columns(fits: xr.Dataset) -> str:
    """List matrices, each column as its values or, of few different ones, as these and numbers.

    A model or step that all share stands last, so that k is in sight on a narrow page; a status
    that is not ok of all stands before k.
    `bars` says what the bars are drawn from: those of k from the anchor, the distance that fills
    one half, and the colours of the map from one end to the other; those of λ from the `largest`.
    """
    part = prepare(fits, light=True, dims=DIMS, mixed_protocols=True)
    table = cells(part, {"ks": part["ks"]} if "ks" in part else None)
    total = len(table)
    table = table.head(_MOST_ROWS)
    middle = gaussian_anchor(part).k
    distances = (table["k"] - middle).abs().to_numpy(float)
    reach = max(np.nanmax(distances, initial=0.0), least_reach(table["k_se"]))
    bars = {
        "middle": middle,
        "reach": reach,
        "colours": DIVERGING,
        "largest": np.nanmax(table["lam"].to_numpy(float), initial=0.0),
    }
    shared = [name for name in ("model", "step") if len(set(table[name])) == 1]
    names = [name for name in (*(n for n in COLUMNS if n not in shared), *shared) if name in table]
    if "status" in names and not (table["status"] == "ok").all():
        names.remove("status")
        names.insert(names.index("k"), "status")
    columns = [_column(name, table[name]) for name in names]
    return json.dumps({"total": total, "columns": columns, "bars": bars})


def _column(name: str, values: pd.Series[Any]) -> dict[str, Any]:
    """Write one column: errors with 4 significant digits, numbers with 7, None for unknown."""
    codes, different = pd.factorize(values.to_numpy(), use_na_sentinel=False)
    if len(different) <= max(_FEW * len(values), 1):
        return {"name": name, "values": _plain(name, different), "codes": codes.tolist()}
    return {"name": name, "values": _plain(name, values.to_numpy())}


def _plain(name: str, values: Any) -> list[Any]:
    """Write values as JSON knows them."""
    if values.dtype.kind == "f":
        return rounded(values.astype(np.float64), 4 if name.endswith("_se") else 7)
    return [value.item() if isinstance(value, np.generic) else value for value in values.tolist()]
