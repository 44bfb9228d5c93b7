"""A function that gives Vega-Lite becomes one that gives an altair chart."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec

P = ParamSpec("P")


class ChartFunction(Protocol[P]):
    """A function from fits to an altair chart; `spec` gives the chart without altair."""

    __name__: str
    __signature__: inspect.Signature
    spec: Callable[P, Spec]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Chart:
        """Draw with altair."""


def as_chart(spec: Callable[P, Spec]) -> ChartFunction[P]:
    """Turn a function that returns Vega-Lite into one that returns an altair chart.

    The function itself stays reachable as ``spec``: the explorer's page draws without altair.
    """

    @functools.wraps(spec)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Chart:
        from weibnb.charts.altair import chart_of

        return chart_of(spec(*args, **kwargs))

    drawing = cast("ChartFunction[P]", draw)
    drawing.spec = spec
    drawing.__signature__ = inspect.signature(spec).replace(return_annotation="Chart")
    return drawing
