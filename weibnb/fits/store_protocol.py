"""How the fits of a store are made: what a scan that goes on with it must have in common."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from weibnb.fits.schema import package_version, protocol_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Execute = Callable[..., Any]

# What else may be done about a store that was made in another way.
_REFIT = (
    ", or open this one and refit: weibnb.refit(weibnb.open_fits(store), trim=..., estimator=...)."
)
_REMEDIES = {
    "trim": _REFIT,
    "estimator": _REFIT,
    "sampling": ", or ask for more than it has: a larger sample or a smaller precision adds to it.",
}
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)"
_SAMPLING = re.compile(rf"(?:sample={_NUMBER}(?:, |$))?(?:precision={_NUMBER})?")


def protocol(
    trim: tuple[float, float], estimator: str, *, keep_counts: bool, sampling: str
) -> dict[str, str]:
    """Describe how fits are made, as a store records it."""
    return {
        "estimator": estimator,
        "trim": json.dumps([float(end) for end in trim]),
        "keep_counts": json.dumps(keep_counts),
        "sampling": sampling,
    }


def agree(execute: Execute, made: Mapping[str, str], last: Mapping[str, str]) -> None:
    """Record how fits are made, or check that it is how those in the store were made.

    `last` is what may change, and is always recorded.

    Raises
    ------
    ValueError
        If it is not.
    """
    known = dict(execute("SELECT name, value FROM about").fetchall())
    new = dict(last)
    if not known:
        created = str(protocol_attributes((0.0, 1.0), "")["created"])
        new |= made
        new |= {"created": created, "weibnb_version": package_version()}
    for name, value in made.items() if known else ():
        _check(name, value, known.get(name, "none" if name == "sampling" else ""))
    for name, value in new.items():
        execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))


def refined_after(execute: Execute, sampling: str) -> int:
    """Tell from which row of estimates on fits are of samples as large as this sampling asks for.

    Where it asks for more than the store has, from the next one on.

    Raises
    ------
    ValueError
        If it asks for less.
    """
    found = execute("SELECT value FROM about WHERE name = 'sampling'").fetchone()
    before = "none" if found is None else str(found[0])
    _check("sampling", sampling, before)
    if sampling != before:
        execute("INSERT OR REPLACE INTO about VALUES ('sampling', ?)", (sampling,))
        execute(
            "INSERT OR REPLACE INTO about "
            "SELECT 'refined_after', coalesce(max(id), 0) FROM estimates"
        )
    query = "SELECT CAST(value AS INTEGER) FROM about WHERE name = 'refined_after'"
    (after,) = execute(query).fetchone() or (0,)
    return int(after)


def _check(name: str, value: str, before: str) -> None:
    """Refuse to go on with fits that were made in another way."""
    if value == before or (name == "sampling" and _asks_for_more(value, before)):
        return
    raise ValueError(
        f"`store` must be used with the {name} that it was made with, {before}, got {value}. "
        f"Use another store{_REMEDIES.get(name, '.')}"
    )


def _asks_for_more(sampling: str, before: str) -> bool:
    """Whether no matrix is to be read less than before, both as `Sampling` is written."""
    share, precision = _asked(sampling)
    share_before, precision_before = _asked(before)
    return share >= share_before and precision <= precision_before


def _asked(sampling: str) -> tuple[float, float]:
    """Give the most that is read of a matrix, and the error at which it is enough; NaN for text."""
    found = _SAMPLING.fullmatch(sampling)
    if found is None or not sampling:
        return float("nan"), float("nan")
    share, precision = found.groups()
    return float(share or 1.0), float(precision or 0.0)
