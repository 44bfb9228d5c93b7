"""The altair chart made of a specification.

Altair copies its own objects again with every call and layer; dicts make a chart ten times sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import altair as alt
except ImportError as err:
    raise ImportError(
        "charts need altair, which is not installed: pip install 'weibnb[charts]'"
    ) from err

from weibnb.charts.vega import CONFIG, columns_of, records

if TYPE_CHECKING:
    from weibnb.charts.vega import Spec

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart


class _Encoding(alt.FacetedEncoding):
    """An encoding of plain dicts, which altair neither checks nor fills up before the end."""

    _class_is_valid_at_instantiation = False

    def __init__(self, **channels: Any) -> None:
        alt.VegaLiteSchema.__init__(self, **channels)

    def __deepcopy__(self, memo: object = None) -> _Encoding:
        return self

    def to_dict(
        self,
        validate: bool = True,  # noqa: FBT001, FBT002  (altair's signature)
        *,
        ignore: list[str] | None = None,
        context: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Channels as they are, unless some have been replaced by altair's own objects."""
        if all(isinstance(channel, dict | list) for channel in self._kwds.values()):
            return dict(self._kwds)
        return dict(super().to_dict(validate, ignore=ignore, context=context))


class _Rows(alt.NamedData):
    """Records under a name, which altair neither copies nor searches for its own objects."""

    def __init__(self, label: str, rows: list[dict[str, Any]]) -> None:
        alt.VegaLiteSchema.__init__(self, name=label)
        object.__setattr__(self, "rows", rows)

    def __deepcopy__(self, memo: object = None) -> _Rows:
        return self

    def to_dict(
        self,
        validate: bool = True,  # noqa: ARG002, FBT001, FBT002  (altair's signature)
        *,
        ignore: list[str] | None = None,  # noqa: ARG002
        context: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Name of the records, which go to the top of the chart."""
        if context is not None:
            context.setdefault("datasets", {})[self._kwds["name"]] = self.rows
        return {"name": self._kwds["name"]}


def chart_of(spec: Spec) -> Chart:
    """Make an altair chart of a specification, with its data as named records at the top.

    Parameters
    ----------
    spec : dict
        Vega-Lite, where ``data`` is a DataFrame; columns that no encoding names are left out.

    Returns
    -------
    altair chart
        Readable on light and dark pages.
    """
    chart: Chart = _build(spec, columns_of(spec), {})
    chart.config = CONFIG
    return chart


def _build(spec: Spec, used: set[str], seen: dict[int, _Rows]) -> Any:
    parts = dict(spec)
    if "data" in parts:
        table = parts["data"]
        if id(table) not in seen:
            seen[id(table)] = _Rows(f"rows{len(seen)}", records(table, used))
        parts["data"] = seen[id(table)]
    for key, kind in (("vconcat", alt.VConcatChart), ("layer", alt.LayerChart)):
        if key in parts:
            parts[key] = [_build(child, used, seen) for child in parts[key]]
            return kind(**parts)
    if "spec" in parts:
        return alt.FacetChart(spec=_build(parts.pop("spec"), used, seen), **parts)
    return alt.Chart(**parts | {"encoding": _Encoding(**parts["encoding"])})
