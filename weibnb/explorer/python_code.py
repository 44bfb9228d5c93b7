"""Python that draws from a variable ``fits`` what the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weibnb.explorer.panels import View
    from weibnb.fitting.weibull import Estimator, Trim

_IMPORTS = ("import weibnb as wb", "from weibnb import charts", "from weibnb.fits import select")


def python_code(
    views: Sequence[View],
    query: Mapping[str, Any],
    protocol: tuple[Estimator, Trim] | None,
    statuses: Sequence[Any] | None,
    *,
    table: bool,
) -> str:
    """Write what draws the views, and what lists the table where it is asked for.

    `protocol` is given where it was changed, `statuses` where only some are kept.
    """
    blocks = [list(_IMPORTS)]
    for view in views:
        kept = statuses if view.of_status else None
        blocks.append([*_selection(view.query, protocol, kept), *view.code("view")])
    if table or not views:
        blocks.append([*_selection(query, protocol, statuses), "wb.tidy(view)"])
    return "\n\n".join("\n".join(block) for block in blocks)


def _indexer(value: Any) -> str:
    """Write labels, or a slice as people do."""
    return f"slice({value.start!r}, {value.stop!r})" if isinstance(value, slice) else repr(value)


def _selection(
    query: Mapping[str, Any],
    protocol: tuple[Estimator, Trim] | None,
    statuses: Sequence[Any] | None,
) -> list[str]:
    words = ", ".join(f"{dim}={_indexer(value)}" for dim, value in query.items())
    lines = [f"view = fits.sel({words})" if query else "view = fits"]
    if protocol is not None:
        estimator, trim = protocol
        lines.append(f"view = wb.refit(view, trim={trim}, estimator={estimator!r})")
    if statuses is not None:
        lines.append(f"view = select.keep_status(view, {list(statuses)!r})")
    return lines
