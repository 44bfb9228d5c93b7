"""Tables of the matrices that a chart draws: read, thinned, reduced, and why they are empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.fits.schema import DIMS
from weibnb.messages import TooManyError, grouped, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray

#: Weight classes, in the order of a legend.
CLASSES = ("selection", "value", "transmission", "fused", "other")
#: Thirds of the layers of a model.
DEPTHS = ("shallow", "middle", "deep")
#: Maximum number of rows of data in a chart.
MAX_ROWS = 4_500
#: Maximum number of matrices, or of small multiples, in a chart.
MAX_PANELS = 12
#: Reason of a matrix that is fitted, but lacks the number that a chart shows.
UNKNOWN = "fitted, but this number is not known"
_DESCRIPTIVE = ("weight_class", "status", "parameter", "n", "k", "k_se", "lam", "lam_se", "r2")


def cells(
    fits: xr.Dataset,
    extra: Mapping[str, xr.DataArray] | None = None,
    *,
    unknown: str = UNKNOWN,
) -> pd.DataFrame:
    """List the matrices of a model, one row each, in columns of fixed names.

    `extra` gives further columns. `reason` is empty where k, and ``value`` if given, is known,
    else the status, or `unknown` for a fitted matrix; ``<dim>_order`` is a label's place in `fits`.
    """
    dims = [str(dim) for dim in fits["k"].dims]
    arrays = {name: fits[name] for name in _DESCRIPTIVE if name in fits} | dict(extra or {})
    status = fits["status"].transpose(*dims).values
    there = dict(zip(dims, np.nonzero(status != "absent"), strict=True))
    columns: dict[str, Any] = {dim: fits[dim].values[there[dim]] for dim in dims}
    columns |= {f"{dim}_order": there[dim] for dim in ("model", "component", "step")}
    for name, array in arrays.items():
        own = [dim for dim in dims if dim in array.dims]
        columns[name] = array.transpose(*own).values[tuple(there[dim] for dim in own)]
    table = pd.DataFrame(columns).reindex(
        columns=[*columns, *(name for name in _DESCRIPTIVE if name not in columns)]
    )
    table["weight_class"] = table["weight_class"].where(
        table["weight_class"].isin(CLASSES), "other"
    )
    for name in ("model", "component", "status", "parameter", "weight_class"):
        table[name] = table[name].astype(object).fillna("").map(printable)
    if not table["parameter"].any():  # published entries do not know their tensors
        table = table.drop(columns="parameter")
    for number in [name for name, kind in table.dtypes.items() if kind.kind == "f"]:
        table[number] = table[number].where(np.isfinite(table[number]))
    unfitted = table["k"].isna()
    table["reason"] = table["status"].where(unfitted, "").replace("ok", "not fitted")
    if "value" in table:
        table["reason"] = table["reason"].mask(~unfitted & table["value"].isna(), unknown)
    return table


def reasons(fits: xr.Dataset) -> pd.Series[Any]:
    """Give the reason of every matrix without a fit, as `cells` does."""
    words = pd.Series(fits["status"].values[np.isnan(fits["k"].values)].astype(object))
    return words[words != "absent"].map(printable).replace("ok", "not fitted")


def with_few_steps(
    fits: xr.Dataset, drawn: xr.DataArray, *, rows: int = MAX_ROWS
) -> tuple[xr.Dataset, str]:
    """Keep evenly spaced steps of a long run, before its cells are made a table.

    `drawn` tells which cells become rows. Also returns a note of what was left out, empty if
    nothing was.
    """
    numbers = drawn.sum([dim for dim in drawn.dims if dim != "step"]).values
    order = np.argsort(fits["step"].values, kind="stable")
    places = order[numbers[order] > 0]
    if numbers.sum() <= rows or places.size < 3:
        return fits, ""
    for at in _even_choices(places.size, rows / numbers.sum()):
        if numbers[places[at]].sum() <= rows:
            break
    return fits.isel(step=places[at]), f"{at.size} of {places.size:,} steps drawn"


def _even_choices(size: int, share: float) -> Iterator[NDArray[np.intp]]:
    """Choose ever fewer of `size` values, evenly spaced with both ends, from a share on."""
    number = max(int(size * share), 2)
    while True:
        yield np.unique(np.linspace(0, size - 1, number).round().astype(np.intp))
        if number <= 2:
            return
        number -= max(number // 20, 1)


def thinned(
    table: pd.DataFrame,
    *names: str,
    rows: int = MAX_ROWS,
    keep: pd.Series[Any] | None = None,
) -> tuple[pd.DataFrame, str]:
    """Keep evenly spaced values of one column after another until a table has few rows.

    Rows in `keep` stay whatever their values. Also returns a note of what was left out, empty if
    nothing was.
    """
    notes = []
    keep = pd.Series(data=False, index=table.index) if keep is None else keep
    for name in names:
        values = np.sort(table[name].unique())
        if len(table) <= rows or values.size < 3:
            continue
        stays = keep.loc[table.index]
        for at in _even_choices(values.size, rows / len(table)):
            kept = table[table[name].isin(values[at]) | stays]
            if len(kept) <= rows:
                break
        table = kept
        notes.append(f"{at.size} of {values.size} {name}s drawn")
    if len(table) > rows:
        notes.append(f"the first {rows:,} of {len(table):,} rows drawn")
        table = table.head(rows)
    return table.reset_index(drop=True), ", ".join(notes)


def excluded(fits: xr.Dataset, table: pd.DataFrame) -> list[str]:
    """Say why none of the selected matrices can be drawn; `table` holds their `cells`."""
    empty = [dim for dim in (*DIMS, "expert") if fits.sizes.get(dim, 1) == 0]
    if empty:
        return [f"The selection has no {' and no '.join(empty)}."]
    if table.empty:
        number = fits["k"].size
        what = "the one selected cell is" if number == 1 else f"all {number:,} selected cells are"
        return ["Nothing to draw: no such matrix,", f"{what} absent from the model."]
    counts = table["reason"].value_counts()
    fitted = bool(table["k"].notna().any())
    if len(table) == 1:
        lines = [f"The selected matrix {'lacks this number' if fitted else 'is not fitted'}:"]
    else:
        lacks = "has this number" if fitted else "is fitted"
        lines = [f"None of the {len(table):,} selected matrices {lacks}:"]
    return lines + [f"{shortened(reason)}: {count:,}" for reason, count in counts.head(6).items()]


def source_in_code(fits: xr.Dataset) -> str:
    """Write where the weights were scanned from, as an argument of a call.

    Of weights in memory the fits know the type alone.
    """
    known = np.atleast_1d(fits["source"].values).ravel() if "source" in fits else np.array([])
    where = str(known[0]) if known.size else ""
    return "source" if not where or where.isidentifier() else repr(printable(where))


def panels(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Assign every row to its small multiple: one per combination of the columns `names`.

    `panel` names it by what differs, one line each; `place` is its position, in the order of the
    fits. Where both of two columns differ, `down` and `across` name its row and its column.
    """
    table = table.copy()
    keys = list(table[list(names)].itertuples(index=False, name=None))
    first = table.sort_values(_orders(names)).drop_duplicates(list(names))
    unique = list(first[list(names)].itertuples(index=False, name=None))
    numbers = [len({key[i] for key in unique}) for i in range(len(names))]
    limit = MAX_PANELS if names[-1] in ("model", "step") else 2 * MAX_PANELS
    if len(unique) > limit:
        what = f"pairs of {' and '.join(names)}" if len(names) > 1 else f"{names[0]}s"
        most = names[numbers.index(max(numbers))].replace("weight_class", "component")
        raise TooManyError(
            f"{limit} {what}",
            len(unique),
            use="for small multiples",
            select=f"fits.sel({most}=[...])",
        )
    varies = [number > 1 for number in numbers]
    words = {}
    for key in unique:
        parts = [
            _panel_word(name, part)
            for name, part, differs in zip(names, key, varies, strict=True)
            if differs
        ]
        words[key] = "\n".join(parts) or printable(key[-1])
    places = {key: i for i, key in enumerate(unique)}
    table["panel"] = [words[key] for key in keys]
    table["place"] = [places[key] for key in keys]
    if len(names) > 1 and all(varies):
        for side, name, which in zip(("down", "across"), names, (0, 1), strict=True):
            order = {label: i for i, label in enumerate(_in_order(table, name))}
            table[side] = [_panel_word(name, key[which]) for key in keys]
            table[f"{side}_place"] = [order[key[which]] for key in keys]
    return table


def _panel_word(name: str, label: Any) -> str:
    """Name a panel by one label of it."""
    return f"step {grouped(label)}" if name == "step" else printable(label)


def _in_order(table: pd.DataFrame, name: str) -> list[Any]:
    """List the labels of a column in the order of the fits."""
    found: list[Any] = table.sort_values(_orders([name]))[name].unique().tolist()
    return found


def _orders(names: Iterable[str]) -> list[str]:
    """Columns that sort a table by `names`; a class comes where its first component does."""
    return ["component_order" if name == "weight_class" else f"{name}_order" for name in names]


def components(table: pd.DataFrame) -> list[str]:
    """List the components of a table in the order of the fits."""
    ordered: list[str] = table.sort_values("component_order")["component"].unique().tolist()
    return ordered


def layer_medians(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Take medians over experts, and over bins of layers where a map has too many cells.

    `band` names the layers of a row and `order` is its position. Also returns a note of what the
    medians are taken over, empty if there are none.
    """
    layers = np.unique(table["layer"])
    numbers, components = table["place"].nunique(), table["component"].nunique()
    most = max(min(2_000, MAX_ROWS // numbers) // components, 1)
    width = -(-layers.size // most)
    order = np.searchsorted(layers, table["layer"].to_numpy()) // width
    ends = [
        (layers[i], layers[min(i + width, layers.size) - 1]) for i in range(0, layers.size, width)
    ]
    names = [str(a) if a == b else f"{a}–{b}" for a, b in ends]
    table = table.assign(order=order, band=[names[i] for i in order])
    experts = "expert" in table and len(set(table["expert"])) > 1
    table = table.drop(columns="expert") if experts else table
    if width == 1 and not experts:
        return table, ""
    keys = ["place", "order", "component"]
    numeric = [c for c in table.columns if c not in keys and table[c].dtype.kind in "iuf"]
    rest = [c for c in table.columns if c not in (*keys, *numeric)]
    table = table.groupby(keys, sort=False, as_index=False).agg(
        dict.fromkeys(numeric, "median") | dict.fromkeys(rest, "first")
    )
    table["reason"] = table["reason"].where(table["value"].isna(), "")
    notes = [f"medians over bins of {width} layers"] if width > 1 else []
    return table, ", ".join([*notes, *(["medians over experts"] if experts else [])])


def depth_words(table: pd.DataFrame) -> pd.Series[Any]:
    """Name the third of its own model in which the layer of each row lies."""
    words = pd.Series("", index=table.index, dtype=object)
    for _, layers in table.groupby("model")["layer"]:
        unique, at = np.unique(layers, return_inverse=True)
        words[layers.index] = np.array(DEPTHS, object)[3 * at // unique.size]
    return words


def joined(parts: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Stack tables given as columns, each an array as long as ``y`` or one value; gaps are NaN."""
    sized = [(len(part["y"]), part) for part in parts]
    names = dict.fromkeys(column for _, part in sized for column in part)
    columns = {}
    for column in names:
        values = [np.broadcast_to(part.get(column, np.nan), size) for size, part in sized]
        kinds = {value.dtype.kind for value in values if value.size}
        mixed = len(kinds) > 1 and not kinds <= set("iuf")
        columns[column] = np.concatenate([v.astype(object) for v in values] if mixed else values)
    return pd.DataFrame(columns)
