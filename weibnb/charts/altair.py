"""The altair chart made of Vega-Lite in dicts.

Altair copies and checks its own objects with every call and layer. With channels that stay dicts
and records that it does not inspect, a chart is made ten times faster.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

try:
    import altair as alt
except ImportError as err:
    raise ImportError("`altair` is not installed: pip install altair") from err

from weibnb.charts.vega import CONFIG, vega_lite

if TYPE_CHECKING:
    from weibnb.charts.vega import Spec

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart
_JOINED = {
    "vconcat": alt.VConcatChart,
    "hconcat": alt.HConcatChart,
    "layer": alt.LayerChart,
}
# What ends a script, or changes how it is read: altair writes a chart into one as it is.
_TAG = re.compile("<(?=/|!--|script)", re.IGNORECASE)


def chart_of(spec: Spec) -> Chart:
    """Make an altair chart, with its data as named records at the top.

    A name from a file may hold ``</script>``: its ``<`` is written as an escape.
    """
    written = vega_lite(spec)
    del written["$schema"], written["config"]
    tables = written.pop("datasets").items()
    written = _harmless(written)
    rows = {label: _Rows(label, _harmless_rows(rows)) for label, rows in tables}
    chart: Chart = _build(written, rows)
    chart.config = CONFIG
    return chart


def _harmless(node: Any) -> Any:
    """Write the strings of a specification so that none is read as a tag."""
    if isinstance(node, str):
        return _TAG.sub(r"\\x3c", node)
    if isinstance(node, dict):
        return {key: _harmless(value) for key, value in node.items()}
    return [_harmless(value) for value in node] if isinstance(node, list | tuple) else node


def _harmless_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write records likewise; they are many, and hardly ever need it."""
    suspect = any("<" in text for row in rows for text in row.values() if isinstance(text, str))
    return _harmless(rows) if suspect else rows


def _build(node: Spec, rows: dict[str, _Rows]) -> Any:
    parts = dict(node)
    if "data" in parts:
        parts["data"] = rows[parts["data"]["name"]]
    for key, kind in _JOINED.items():
        if key in parts:
            parts[key] = [_build(child, rows) for child in parts[key]]
            return kind(**parts)
    if "spec" in parts:
        return alt.FacetChart(spec=_build(parts.pop("spec"), rows), **parts)
    return alt.Chart(**parts | {"encoding": _Encoding(**parts["encoding"])})


# The two classes below are all that uses private parts of altair: VegaLiteSchema.__init__, _kwds,
# _class_is_valid_at_instantiation and the `context` of to_dict. Tested with altair
# 5.5.0, 6.0.0 and 6.3.0.


class _Encoding(alt.FacetedEncoding):
    """An encoding of plain dicts, which altair neither checks nor completes before the end."""

    _class_is_valid_at_instantiation = False

    def __init__(self, **channels: Any) -> None:
        alt.VegaLiteSchema.__init__(self, **channels)

    def __deepcopy__(self, memo: object = None) -> _Encoding:
        return self

    def to_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Channels as they are, unless some have been replaced by altair's own objects."""
        if all(isinstance(channel, dict | list) for channel in self._kwds.values()):
            return dict(self._kwds)
        return dict(super().to_dict(*args, **options))


class _Rows(alt.NamedData):
    """Records under a name, which altair neither copies nor searches for its own objects."""

    def __init__(self, label: str, rows: list[dict[str, Any]]) -> None:
        alt.VegaLiteSchema.__init__(self, name=label)
        object.__setattr__(self, "rows", rows)

    def __deepcopy__(self, memo: object = None) -> _Rows:
        return self

    def to_dict(self, *_: Any, **options: Any) -> dict[str, Any]:
        """Name of the records, which go to the top of the chart."""
        name = self._kwds["name"]
        if (context := options.get("context")) is not None:
            held = context.setdefault("datasets", {})
            others = (f"{name}_{i}" for i in count(2))  # in a chart joined of several
            while held.setdefault(name, self.rows) is not self.rows:
                name = next(others)
        return {"name": name}
