"""How charts look in any place: legends of colours, names below, and numbers that do not exist."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.charts.others import OTHERS
from weibnb import charts
from weibnb.charts.marks import swatches

TURN = re.compile(r"rotate\((-?\d+)\)")
# Fill and words of one row of a legend of squares.
SQUARE = re.compile(r'role-legend-symbol.*?fill="([^"]+)".*?<text[^>]*?(?:/>|>([^<]*)</text>)')


@pytest.mark.parametrize(
    ("name", "words"),
    [("layer_map", "1.2054 · a Gaussian"), ("difference", "0 · no change"), ("matrix", "")],
)
def test_colours_are_explained_by_squares_from_high_to_low(name: str, words: str) -> None:
    """A gradient is found by an id, which a second Vega in the page gives to its own, too."""
    chart = OTHERS[name]() if name in OTHERS else show.usual(name, "run")
    picture = show.svg(chart)
    assert "inearGradient" not in picture
    assert "url(#gradient" not in picture
    rows = SQUARE.findall(picture)
    assert len({fill for fill, _ in rows}) == len(rows) == 9
    labels = [label for _, label in rows]
    assert [bool(label) for label in labels] == [i % 4 == 0 for i in range(9)]
    assert labels[4] == words or name == "matrix"
    found = next(part for part in show.marks(chart) if part.kind == "rect" and part.rows
                 and "scale" in part.encoding.get("color", {}))  # fmt: skip
    domain = found.scale("color")["domain"]
    ends = [float(labels[at].replace("−", "-")) for at in (8, 0)]
    assert ends == pytest.approx([domain[0], domain[-1]], rel=5e-3)


def test_the_middle_of_the_squares_is_the_middle_of_the_colours() -> None:
    legend = swatches(1.0, 3.0, middle="here")
    assert legend["values"] == pytest.approx(np.linspace(3, 1, 9))
    assert legend["labelExpr"].startswith("datum.index === 4 ? datum.label + ' · here'")


@pytest.mark.parametrize("name", ["class_bands", "cohort", "decomposition"])
def test_names_below_are_slanted_where_there_is_no_room(name: str) -> None:
    chart = OTHERS[name]() if name in OTHERS else show.usual(name, "run")
    spec = show.specification(chart)
    assert slants(spec) == {(0, "middle")}
    assert slants(spec | {"width": 140}) == {(-35, "end")}


def test_words_of_a_name_stand_one_below_the_other_where_there_is_room() -> None:
    fits = show.run().isel(step=[-1], component=slice(3))
    names = [f"decoder.cross.{name}" for name in fits["component"].values]
    picture = show.svg(charts.class_bands(fits.assign_coords(component=names)))
    axis = picture.split('aria-label="Y-axis')[0]
    words = re.findall(r"<tspan[^>]*>([a-z_]+)</tspan>", axis[axis.index('aria-label="X-axis') :])
    assert words == [word for name in names for word in name.split(".")]


@pytest.mark.parametrize("wide", [200, 400, 2000])
def test_medians_of_neighbours_keep_apart_in_every_width(wide: int) -> None:
    spec = show.specification(show.usual("class_bands", "run")) | {"width": wide}
    picture = show._svg_of(json.dumps(spec))
    drawn = re.findall(r'aria-roledescription="tick" d="M[\d.]+,[\d.]+h([\d.]+)v2.5', picture)
    names = show.run().sizes["component"]
    assert len(drawn) >= names
    expected = min(36, 0.6 * wide / names)
    np.testing.assert_allclose([float(one) for one in drawn], expected, rtol=1e-3)


def slants(spec: dict[str, Any]) -> set[tuple[int, str]]:
    """Angles at which the names below a chart are written, and what of them is at their tick."""
    labels = show._svg_of(json.dumps(spec)).split('aria-label="Y-axis')[0]
    axis = labels[labels.index('aria-label="X-axis') :]
    texts = re.findall(r'<text text-anchor="(\w+)" transform="([^"]*)"[^>]*>[a-z_]+</text>', axis)
    assert texts
    return {(int(found[1]) if (found := TURN.search(turn)) else 0, end) for end, turn in texts}


def test_what_is_infinite_is_not_known() -> None:
    fits = show.run().isel(step=[-1])
    k = fits["k"].copy()
    k[0, 1, 2] = np.inf
    chart = charts.layer_map(fits.assign(k=k))
    assert "hatched: 1 without a number" in show.subtitle(chart)
    usual = charts.layer_map(fits).to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
    found = chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert np.mean(found) == pytest.approx(np.mean(usual))
    for lam in (0.0, -1.0, np.inf):
        plot = charts.weibull_plot(
            fits.isel(layer=[0], component=[0]).assign(lam=fits["lam"] * 0 + lam)
        )
        assert not [row for part in show.marks(plot) for row in part.rows if row.get("kind")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layer_map", "k is low in layer 0 only"),
        ("class_bands", "k is low in layer 0 only"),
        ("depth_profile", "k is low in layer 0 only"),
        ("trajectories", "k falls in layer 0 only"),
        ("phase_portrait", "k falls in layer 0 only"),
        ("difference", "k is lower in layer 0 only"),
    ],
)
def test_the_finding_of_the_packaged_run_is_the_title(name: str, words: str) -> None:
    steps = [0, -1] if name in ("trajectories", "phase_portrait", "difference") else [-1]
    fits = show.demo().isel(step=steps)
    assert show.title(show.KINDS[name](fits)) == words
    quiet = show.KINDS[name](fits.sel(layer=[1, 2]))
    assert not re.search("layer 0|falls|is low", show.title(quiet))
    turned = fits.isel(step=[-1] * len(steps)).assign_coords(step=fits["step"])
    if len(steps) > 1:
        assert not re.search("falls|is low", show.title(show.KINDS[name](turned)))


def test_what_to_select_is_what_there_is_too_much_of() -> None:
    many = show.tall(1).isel(component=np.arange(30) % 5)
    many = many.assign_coords(component=[f"c{i}" for i in range(30)])
    with pytest.raises(ValueError, match=r"24 components .* got 30\. .*fits\.sel\(component="):
        charts.depth_profile(many)
    with pytest.raises(ValueError, match=r"12 models .* got 13\. .*fits\.sel\(model="):
        charts.outlier_strip(show.tall(1, models=13))
    with pytest.raises(ValueError, match=r"at most 6 models .* got 500\."):
        charts.depth_profile(show.tall(3, models=500))


def test_a_tooltip_names_no_number_that_is_not_there() -> None:
    chart = OTHERS["change_map"]()
    part = next(part for part in show.marks(chart) if part.kind == "rect" and part.rows)
    assert all(column in part.rows[0] for column in part.tips().values())


@pytest.mark.parametrize("name", ["layer_map", "class_bands", "depth_profile"])
def test_what_a_stopped_scan_did_not_reach_is_shown_with_its_reason(name: str) -> None:
    fits = show.run().isel(step=[-1])
    pending = fits.assign(status=fits["status"].copy(), k=fits["k"].copy())
    pending["status"][0, 1, 2], pending["k"][0, 1, 2] = "pending", np.nan
    found = charts.table(show.KINDS[name](pending))
    (row,) = found[found["reason"] == "pending"].to_dict("records")
    assert (row["layer"], row["component"]) == (1, show.RUN_COMPONENTS[2])


def test_numbers_on_the_strong_cells_of_a_map_are_light_and_no_others() -> None:
    chart = charts.layer_map(show.demo())
    text = show.mark(chart, "text")
    low, *_, high = show.mark(chart, "rect", fill=None).scale("color")["domain"]
    test = text.encoding["color"]["condition"]["test"]
    far = {abs(row["value"] - (low + high) / 2) / (high - low) for row in text.rows
           if row[test["field"]] == test["equal"]}  # fmt: skip
    assert len(far) == 2
    assert min(far) > 0.375
    assert text.encoding["color"]["condition"]["value"] == "#ffffff"
    assert text.encoding["color"]["value"] == "#000000"


def test_paths_that_surely_moved_are_strong_in_the_picture() -> None:
    picture = show.svg(charts.phase_portrait(show.demo()))
    strength = re.findall(r'<path aria-label="[^"]*"[^>]*stroke-width="[12]"[^>]*opacity="([^"]+)"',
                          picture)  # fmt: skip
    assert sorted(map(float, strength)) == [0.2] * 19 + [1, 1]
