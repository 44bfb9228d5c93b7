"""The code of an explorer draws what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.widget import Explorer


@pytest.mark.parametrize("panel", ["overview", "weibull", "classes", "trajectories", "compare"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.2, 0.7)])
def test_the_code_redoes_the_view(fits: xr.Dataset, panel: str, trim: tuple[float, float]) -> None:
    explorer = explore(fits, panel=panel, trim=trim, layers=(0, 1))
    explorer.side_by_side = True
    drawn = {name: chart.to_dict() for name, chart in explorer.charts.items()}
    assert drawn
    namespace: dict[str, Any] = {"fits": fits}
    made = []
    for line in explorer.code.splitlines():
        if line.startswith("charts."):
            made.append(eval(line, namespace).to_dict())  # noqa: S307  (our own text)
        else:
            exec(line, namespace)  # noqa: S102  (our own text)
    assert made == list(drawn.values())


def test_layers_are_written_as_people_write_them(fits: xr.Dataset) -> None:
    assert "layer=slice(0, 0)" in explore(fits, layers=(0, 0)).code
    assert "layer=slice(1, 2)" in explore(fits, layers=(1, 2)).code


def test_the_code_of_the_table(explorer: Explorer, fits: xr.Dataset) -> None:
    explorer.panel = "table"
    namespace: dict[str, Any] = {"fits": fits}
    *lines, last = explorer.code.splitlines()
    exec("\n".join(lines), namespace)  # noqa: S102  (our own text)
    table = eval(last, namespace)  # noqa: S307  (our own text)
    assert len(table) == 21
    assert explorer.chart is not None, "the plot of what is selected"
