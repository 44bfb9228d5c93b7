"""What holds of every chart: names, titles, limits, and what is said where nothing can be drawn."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.testing import write_checkpoint

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from weibnb import charts
from weibnb.charts.vega import COLOURS, DARK, DIVERGING, INK, ON_PALE, ON_STRONG, on_dark

KINDS = sorted(show.KINDS)
#: Charts that draw a run along its steps.
STEPS = ("trajectories", "phase_portrait")
#: Channels whose scale lists every category.
CATEGORIES = ("x", "y", "color", "shape", "strokeDash", "xOffset", "size")


def drawn(name: str, fits: xr.Dataset) -> Any:
    return show.KINDS[name](fits)


def one_step(fits: xr.Dataset) -> xr.Dataset:
    return fits.isel(step=[-1])


# ----------------------------------------------------------------- the specification is sound
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("source", ["run", "pair", "holes", "each_expert"])
def test_encodings_draw_columns_that_are_there(name: str, source: str) -> None:
    chart = show.usual(name, source)
    chart.to_dict()  # held against the schema of Vega-Lite
    for part in show.marks(chart):
        for channel, encoding in part.encoding.items():
            parts = encoding if isinstance(encoding, list) else [encoding]
            for field in [piece["field"] for piece in parts if "field" in piece]:
                assert all(field in row for row in part.rows), (channel, field)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("source", ["run", "pair", "each_expert"])
def test_scales_list_the_categories_that_are_drawn_and_no_other(name: str, source: str) -> None:
    listed: dict[str, list[Any]] = {}
    seen: dict[str, set[Any]] = {}
    for part in show.marks(show.usual(name, source)):
        for channel in CATEGORIES:
            encoding = part.encoding.get(channel, {})
            if encoding.get("type") not in ("nominal", "ordinal") or "scale" not in encoding:
                continue
            domain = part.scale(channel).get("domain")
            if domain is None:
                continue
            assert listed.setdefault(channel, domain) == domain
            assert len(set(domain)) == len(domain)
            looks = part.scale(channel).get("range")
            assert looks is None or len(looks) == len(domain)
            seen.setdefault(channel, set()).update(part.values(channel))
    for channel, domain in listed.items():
        roles = {"begin", "between", "end"}  # a run of two steps has no step between
        assert set(domain) - roles == seen[channel] - roles, channel


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("source", ["run", "pair", "holes", "each_expert"])
def test_fixed_axes_hold_what_is_drawn(name: str, source: str) -> None:
    for part in show.marks(show.usual(name, source)):
        # a clip is found by an id, which a second Vega in the page gives to a panel of its own
        assert not part.look.get("clip")
        for channel in ("x", "y", "xOffset", "color"):
            encoding = part.encoding.get(channel, {})
            domain = encoding.get("scale", {}).get("domain") if encoding else None
            if encoding.get("type") != "quantitative" or domain is None:
                continue
            if encoding["scale"].get("clamp") and part.kind == "area":
                continue  # a band is cut off by the scale
            numbers = np.array([v for v in part.values(channel) if v is not None])
            slack = 1e-6 * max(np.abs(domain))
            assert numbers.min() >= domain[0] - slack
            assert numbers.max() <= domain[-1] + slack


@pytest.mark.parametrize("name", KINDS)
def test_logarithmic_axes_draw_positive_numbers(name: str) -> None:
    for source in ("run", "holes", "each_expert"):
        for part in show.marks(show.usual(name, source)):
            for channel in ("x", "y"):
                encoding = part.encoding.get(channel, {})
                if encoding.get("scale") and encoding["scale"].get("type") == "log":
                    assert all(v > 0 for v in part.values(channel) if v is not None)


# -------------------------------------------------------------------------- titles and words
@pytest.mark.parametrize("name", KINDS)
def test_the_title_names_the_models_and_their_protocol(name: str) -> None:
    chart = show.usual(name, "run")
    assert show.title(chart)
    assert show.subtitle(chart).startswith("run · rank regression, trim 10–90 %")


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"cohort"}))
def test_another_protocol_is_named(name: str) -> None:
    fits = wb.refit(show.run(), trim=(0.025, 0.975), estimator="maximum_likelihood")
    assert "run · maximum likelihood, trim 2.5–97.5 %" in show.subtitle(drawn(name, fits))


@pytest.mark.parametrize(
    "name", sorted({"layer_map", "class_bands", "outlier_strip", "depth_profile", "cohort"})
)
def test_more_than_three_models_are_counted(name: str) -> None:
    chart = drawn(name, show.tall(1, models=5))
    assert show.subtitle(chart).startswith("m0, m1, m2 and 2 more · ")


@pytest.mark.parametrize("name", KINDS)
def test_charts_are_readable_on_light_and_dark_pages(name: str) -> None:
    spec = show.usual(name, "run").to_dict()
    for config, paper in ((spec["config"], "#ffffff"), (on_dark(spec)["config"], "#111111")):
        assert config["background"] == {"#ffffff": "white"}.get(paper, paper)
        inks = {config[part]["labelColor"] for part in ("axis", "legend", "header")}
        inks |= {config[part]["titleColor"] for part in ("axis", "legend", "header")}
        inks |= {config["title"]["color"], config["title"]["subtitleColor"]}
        inks |= {config["text"]["color"]}
        for ink in inks:
            assert contrast(ink, paper) >= 4.5  # WCAG 2, AA


def test_colours_are_seen_on_light_and_dark_pages() -> None:
    for colour in (*COLOURS, INK):
        assert contrast(colour, "#ffffff") >= 3
        assert contrast(DARK[colour], "#111111") >= 4.5
    for colours, strong, pale in (
        (DIVERGING, ON_STRONG, ON_PALE),
        ([DARK[c] for c in DIVERGING], DARK[ON_STRONG], DARK[ON_PALE]),
    ):
        stops = [[int(colour[i : i + 2], 16) for colour in colours] for i in (1, 3, 5)]
        for far in np.linspace(-1, 1, 401):
            place = (far + 1) / 2 * (len(colours) - 1)
            parts = [int(np.interp(place, range(len(colours)), stop).round()) for stop in stops]
            colour = "#{:02x}{:02x}{:02x}".format(*parts)
            assert contrast(colour, strong if abs(far) > 0.75 else pale) >= 4.5


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", KINDS)
def test_no_chart_needs_a_network(name: str) -> None:
    spec = show.specification(show.usual(name, "run"))
    text = json.dumps({key: part for key, part in spec.items() if key != "$schema"})
    assert "http" not in text
    assert '"url"' not in text


# ------------------------------------------------------------------------------------- names
@pytest.mark.parametrize("name", KINDS)
def test_hostile_names_are_only_text(name: str) -> None:
    fits = show.run().assign_coords(
        model=[show.HOSTILE],
        component=("component", [show.HOSTILE, *show.RUN_COMPONENTS[1:]]),
    )
    parameter = fits["parameter"].copy(data=np.full(fits["parameter"].shape, show.HOSTILE, object))
    chart = drawn(name, fits.assign(parameter=parameter))
    for rows in show.specification(chart)["datasets"].values():
        for row in rows:
            assert all(str(v).replace("\n", "").isprintable() for v in row.values()), row
    picture = show.svg(chart)
    assert "<img" not in picture
    assert "</script" not in picture
    assert "\x1b" not in picture
    assert "\u202e" not in picture
    if name not in ("weibull_plot", "density"):
        assert "onerror" in picture  # it is shown, as text


@pytest.mark.parametrize("name", KINDS)
def test_no_name_becomes_part_of_an_expression(name: str) -> None:
    def expressions(node: Any) -> list[str]:
        if isinstance(node, list):
            return [text for child in node for text in expressions(child)]
        if not isinstance(node, dict):
            return []
        keys = ("labelExpr", "expr", "signal", "calculate", "field", "test")
        own = [str(node[key]) for key in keys if isinstance(node.get(key), str)]
        return own + [t for key, c in node.items() if key != "datasets" for t in expressions(c)]

    fits = show.run().assign_coords(model=["evil'name"])
    assert not [t for t in expressions(show.specification(drawn(name, fits))) if "evil" in t]


@pytest.mark.parametrize("name", KINDS)
def test_long_names_are_shortened_in_titles_and_whole_in_the_data(name: str) -> None:
    long = "a-model-with-a-name-that-does-not-end/" * 6
    chart = drawn(name, show.run().assign_coords(model=[long]))
    assert max(map(len, show.subtitle(chart).split("\n"))) < 160
    assert "a-model-with-a-name" in show.subtitle(chart)
    assert "…" in show.subtitle(chart)
    if name != "weibull_plot":
        models = {row["model"] for part in show.marks(chart) for row in part.rows if "model" in row}
        assert long in models


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = ["x" * 60 + end for end in ("1", "2")]
    fits = wb.scan({name: show.run_weights()[0] for name in names})
    for name in ("layer_map", "class_bands", "outlier_strip"):
        assert len(show.panels(drawn(name, fits))) == 2
    cell = fits.isel(layer=0, component=0)
    legend = next(p for p in show.marks(charts.weibull_plot(cell)) if "shape" in p.encoding)
    assert len(set(legend.scale("color")["domain"])) == 2


@pytest.mark.parametrize(
    "name",
    ["class_bands", "trajectories", "phase_portrait", "depth_profile", "body_tail_chart",
     "outlier_strip"],
)  # fmt: skip
def test_tooltips_name_the_expert_where_there_are_several(name: str) -> None:
    weights = dict(show.expert_weights())
    broken = next(iter(weights))
    steps = {0: weights, 5: weights | {broken: np.zeros_like(weights[broken])}}
    chart = drawn(name, wb.scan({"moe": steps}, experts="each"))
    for part in show.marks(chart):
        fields = [tip["field"] for tip in part.encoding.get("tooltip", [])]
        if {"model", "layer", "component"} <= set(fields):
            assert "expert" in fields
            assert {row["expert"] for row in part.rows} <= set(range(show.EXPERTS))
    for part in show.marks(show.usual(name, "run")):
        assert all(tip["field"] != "expert" for tip in part.encoding.get("tooltip", []))


@pytest.mark.parametrize("name", KINDS)
def test_rows_name_their_matrix(name: str) -> None:
    for part in show.marks(show.usual(name, "run")):
        tips = part.encoding.get("tooltip", [])
        if {"model", "layer"} <= {tip["field"] for tip in tips}:
            for row in part.rows:
                cell = show.cell_of(show.run(), row)
                assert row.get("parameter", cell["parameter"].item()) == cell["parameter"].item()
                assert row.get("n", cell["n"].item()) == cell["n"].item()
                assert row.get("status", "ok") == "ok"


# ------------------------------------------------------------------------------- selections
@pytest.mark.parametrize("name", sorted(set(KINDS) - {*STEPS}))
def test_a_cell_chosen_by_its_labels_is_drawn_like_a_slice_of_one(name: str) -> None:
    labels = {"model": "run", "layer": 1, "component": "up_proj", "step": 300}
    scalar = show.run().sel(labels)
    slices = show.run().sel({dim: [label] for dim, label in labels.items()})
    assert scalar["k"].ndim == 0
    first, second = (show.specification(drawn(name, fits)) for fits in (scalar, slices))
    assert first == second
    assert "up_proj" in json.dumps(first)


@pytest.mark.parametrize("name", STEPS)
def test_a_matrix_chosen_by_its_labels_has_a_path(name: str) -> None:
    labels = {"model": "run", "layer": 1, "component": "up_proj"}
    chart = drawn(name, show.run().sel(labels))
    assert {row["step"] for row in show.mark(chart, "line").rows} == set(show.RUN_STEPS)
    assert not show.panels(chart)


@pytest.mark.parametrize("name", KINDS)
def test_one_layer_is_drawn(name: str) -> None:
    chart = drawn(name, show.run().isel(layer=[2]))
    rows = [row for part in show.marks(chart) for row in part.rows if "layer" in row]
    if name != "cohort":
        assert {row["layer"] for row in rows} == {2}
    assert show.svg(chart).startswith("<svg")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dim", ["model", "layer", "component", "step"])
def test_an_empty_selection_says_which_dim_is_empty(name: str, dim: str) -> None:
    fits = show.run().isel({dim: []})
    if name == "difference":
        if dim in ("model", "step"):
            with pytest.raises(ValueError, match="`first` must"):
                charts.difference(fits, {"step": 0}, {"step": 10})
            return
        chart: Any = charts.difference(fits, {"step": 0}, {"step": 10})
    elif name == "weibull_plot":
        chart = charts.weibull_plot(fits)
    else:
        chart = drawn(name, fits)
    assert show.words(chart) == f"The selection has no {dim}."
    assert show.title(chart)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_fitted_says_why(name: str) -> None:
    fits = show.holes().sel(layer=[2], component=["up_proj"])
    text = show.words(drawn(name, fits))
    assert text == "The selected matrix is not fitted:\nall_zero: 1"


@pytest.mark.parametrize("name", KINDS)
def test_a_matrix_that_is_not_there_is_called_absent(name: str) -> None:
    fits = show.pair().sel(model=["flat"], layer=[3])
    chart = drawn(name, fits)
    assert show.words(chart).startswith("Nothing to draw: no such matrix,")
    assert "absent from the model" in show.words(chart)


@pytest.mark.parametrize("name", show.LIGHT)
def test_charts_of_estimates_need_no_counts(name: str) -> None:
    light = show.run().drop_vars("counts")
    assert show.specification(drawn(name, light)) == show.specification(show.usual(name, "run"))


@pytest.mark.parametrize("name", KINDS)
def test_the_fits_are_left_as_they_were(name: str) -> None:
    fits = show.run().copy(deep=True)
    drawn(name, fits)
    xr.testing.assert_identical(fits, show.run())


@pytest.mark.parametrize("name", KINDS)
def test_the_order_of_the_dims_does_not_matter(name: str) -> None:
    turned = show.run().transpose("step", "component", "model", "layer", ...)
    expected = show.specification(show.usual(name, "run"))
    assert show.specification(drawn(name, turned)) == expected


# ------------------------------------------------------------------------- files and wholes
@pytest.mark.parametrize("name", sorted(set(KINDS) - {*STEPS}))
def test_a_checkpoint_of_untrained_weights_lies_on_the_gaussian(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "untrained"
    if not path.exists():
        write_checkpoint(path, layers=2, hidden=128, kv_share=2)
    fits = wb.scan({"untrained": path})
    chart = drawn(name, fits)
    assert show.svg(chart).startswith("<svg")
    rows = [r for part in show.marks(chart) for r in part.rows if r.get("model") == "untrained"]
    assert rows
    for row in rows:
        if row.get("k") is not None and row.get("trim", 0.8) == 0.8:
            assert row["k"] == pytest.approx(wb.anchor().k, abs=0.05)


@pytest.mark.parametrize("name", sorted({*show.LIGHT} - {"cohort", "difference"}))
def test_what_a_chart_cannot_hold_is_left_out_and_told(name: str) -> None:
    chart = drawn(name, show.tall(1000, steps=2))
    assert sum(map(len, show.specification(chart)["datasets"].values())) <= 5_000
    told = re.search(r"(\d+) of 1000 layers drawn|medians over bins of (\d+)", show.subtitle(chart))
    assert told
    assert int(told[1] or 1000 // int(told[2])) < 1000


# ------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("fits", [3, None, "fits", {"k": 1}])
def test_what_is_no_dataset_is_a_type_error(name: str, fits: Any) -> None:
    call = getattr(charts, name)
    more = ({"step": 0}, {"step": 1}) if name == "difference" else ()
    with pytest.raises(TypeError, match=r"`fits` must be an xarray\.Dataset of fits, got"):
        call(fits, *more)


@pytest.mark.parametrize("name", KINDS)
def test_a_dataset_without_estimates_is_a_value_error(name: str) -> None:
    call = getattr(charts, name)
    more = ({"step": 0}, {"step": 10}) if name == "difference" else ()
    with pytest.raises(ValueError, match=r"as weibnb\.scan returns; it lacks lam"):
        call(one_step(show.run()).drop_vars("lam"), *more)


@pytest.mark.parametrize("name", KINDS)
def test_unknown_keywords_are_type_errors(name: str) -> None:
    words: Any = {"colour": "red"}
    with pytest.raises(TypeError, match="colour"):
        getattr(charts, name)(show.run(), **words)


@pytest.mark.parametrize("name", KINDS)
def test_fits_by_two_protocols_are_a_value_error(name: str) -> None:
    parts = [one_step(show.run()), wb.refit(one_step(show.run()), trim=(0.0, 1.0))]
    mixed = xr.concat(
        [part.assign_coords(model=[label]) for part, label in zip(parts, "ab", strict=True)],
        "model",
        combine_attrs="override",
    )
    call = getattr(charts, name)
    more = ({"model": "a"}, {"model": "b"}) if name == "difference" else ()
    with pytest.raises(ValueError, match=r"`fits` must be made by one protocol, got .* and "):
        call(mixed, *more)
