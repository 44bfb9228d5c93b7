"""What a chart shows in one or two sentences: its text alternative, and its title where known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.messages import counted, grouped, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

# How far k must lie from what it is compared with: standard errors, and in units of k.
_SURELY, _FAR = 6.0, 0.05
# Names that a sentence holds at most.
_NAMED = 6


def summary(table: pd.DataFrame, column: str, name: str) -> str:
    """Say the lowest, highest and median of a column, and where the first two are."""
    known = table[table[column].notna()]
    missing = len(table) - len(known)
    without = f" {counted(missing, 'matrix', 'matrices')} without a number." if missing else ""
    if known.empty:
        return f"{name}: nothing is known.{without}"
    values = known[column].astype(float)
    if len(known) == 1:
        return f"{name} of {_where(known, values.idxmin())}: {_number(values.iloc[0])}.{without}"
    ends = [(word, values.iloc[at]) for word, at in _extremes(values)]
    places = [_where(known, values.index[at]) for _, at in _extremes(values)]
    parts = [f"{w} {_number(v)} ({p})" for (w, v), p in zip(ends, places, strict=True)]
    middle = f"median {_number(float(values.median()))}"
    return f"{name} of {len(known):,} matrices: {', '.join(parts)}, {middle}.{without}"


def _extremes(values: pd.Series[Any]) -> list[tuple[str, int]]:
    """Places of the lowest and of the highest number."""
    numbers = values.to_numpy()
    return [("lowest", int(np.argmin(numbers))), ("highest", int(np.argmax(numbers)))]


def _number(value: float) -> str:
    """Write a number with four digits."""
    return f"{value:.4g}"


def _where(table: pd.DataFrame, row: Any) -> str:
    """Name a matrix by what differs among those of a table."""
    one = dict(zip(table.columns, table.loc[[row]].to_numpy()[0], strict=True))
    layers = one["band"] if "band" in table else one["layer"]
    text = f"{shortened(str(one['component']))} of layer {layers}"
    for name, word in (("step", "step "), ("model", ""), ("panel", "")):
        told = name in table and len(set(table[name])) > 1
        if told and not (name == "panel" and {"step", "model"} & set(table)):
            text += f", {word}{shortened(str(one[name]))}"
    return text


def course(table: pd.DataFrame, column: str, name: str) -> str:
    """Say how the median of a column moved along the steps, and which matrix moved most."""
    known = table[table[column].notna()]
    medians = known.groupby("step")[column].median()
    found = list(zip(medians.index.tolist(), medians.tolist(), strict=True))
    ends = [f"{_number(median)} at step {grouped(at)}" for at, median in (found[0], found[-1])]
    text = (
        f"{name} of {known['step'].nunique():,} steps: the median goes from {ends[0]} to {ends[1]}."
    )
    moved = _moves(known, column)
    if moved.empty:
        return text
    most = moved.iloc[int(moved["moved"].abs().to_numpy().argmax())]
    place = f"{shortened(str(most['component']))} of layer {most['layer']}"
    if len(set(table["model"])) > 1:
        place += f", {shortened(str(most['model']))}"
    begin, end = _number(float(most["begin"])), _number(float(most["end"]))
    return f"{text} {place} moved most, from {begin} to {end}."


def _moves(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """List matrices with their first and last number, and the error of the difference."""
    key = ["model", "layer", "component", *(["expert"] if "expert" in table else [])]
    rows = table[table[column].notna()].sort_values("step", kind="stable")
    groups = rows.groupby(key, sort=False)
    begin, end, steps = groups[column].first(), groups[column].last(), groups["step"].nunique()
    errors = groups["k_se"].agg(["first", "last"]).astype(float)
    error = np.hypot(errors["first"], errors["last"])
    found = pd.DataFrame({"begin": begin, "end": end, "moved": end - begin, "error": error})
    return found[steps > 1].reset_index()


def where_low(table: pd.DataFrame, anchor: float) -> str:
    """Say where k lies surely and far below a Gaussian's; empty where that is no short sentence.

    `table` holds matrices, of one model and step or there is none; far is 0.05 and 6 standard
    errors.
    """
    if len(set(table["model"])) > 1 or len(set(table["step"])) > 1:
        return ""
    k, error = table["k"].astype(float), table["k_se"].astype(float)
    low = anchor - k > np.maximum(_FAR, _SURELY * error.fillna(0))
    return _told("k is low", table, low)


def where_lower(table: pd.DataFrame) -> str:
    """Say where k of one checkpoint is surely and far below that of another; see `where_low`.

    `value` is the difference, `noise` two standard errors of it.
    """
    value, noise = table["value"].astype(float), table["noise"].astype(float)
    low = -value > np.maximum(_FAR, _SURELY * noise.fillna(0) / 2)
    return _told("k is lower", table.assign(k=value), low)


def where_falls(table: pd.DataFrame) -> str:
    """Say where k falls surely and far along the steps of one model; see `where_low`."""
    if len(set(table["model"])) > 1:
        return ""
    moves = _moves(table, "k")
    fell = -moves["moved"] > np.maximum(_FAR, _SURELY * moves["error"].fillna(0))
    return _told("k falls", moves.assign(k=moves["end"]), fell)


def _told(verb: str, table: pd.DataFrame, chosen: pd.Series[Any]) -> str:
    """Name what the chosen rows have in common, or count them."""
    number = int(chosen.sum())
    if not number or len(table) < 3:
        return ""
    if number == len(table):
        return f"{verb} in all {number:,} matrices"
    only = " only" if table["k"].notna().all() else ""
    found = table[chosen]
    for column, words in (("layer", "layer {}"), ("component", "{}")):
        labels = found[column].unique()
        if len(labels) == 1 and len(set(table[column])) > 1:
            return f"{verb} in {words.format(shortened(str(labels[0])))}{only}"
    return f"{verb} in {number:,} of {len(table):,} matrices"


def listed(parts: Sequence[str]) -> str:
    """Join the first parts of a sentence, and count the rest."""
    rest = len(parts) - _NAMED
    return "; ".join(parts[:_NAMED]) + (f"; and {rest} more" if rest > 0 else "") + "."
