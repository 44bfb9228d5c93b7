"""What `weibnb.charts.difference` shows: one k less another, its noise floor, and what is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts
from weibnb.charts.vega import INK


def coloured(chart: Any) -> show.Mark:
    """The cells with a number."""
    return show.mark(chart, "rect", fill=None)


def numbers(chart: Any) -> dict[tuple[str, str], float]:
    """Differences by layer and component, as drawn."""
    drawn = coloured(chart)
    keys = zip(drawn.values("x"), drawn.values("y"), strict=True)
    return dict(zip(keys, drawn.values("color"), strict=True))


@pytest.mark.parametrize(("first", "second"), [(0, 2000), (2000, 0), (10, 300), (10, 10)])
def test_colours_are_the_second_less_the_first(first: int, second: int) -> None:
    drawn = numbers(charts.difference(show.run(), {"step": first}, {"step": second}))
    assert len(drawn) == 15
    for (layer, component), value in drawn.items():
        name = show.tensor(component, int(layer))
        fits = [
            full_sort(magnitudes(show.run_weights()[step][name]), (0.1, 0.9)).k
            for step in (second, first)
        ]
        assert value == pytest.approx(fits[0] - fits[1], abs=1e-6)


def test_models_of_different_architecture_meet_where_both_have_the_matrix() -> None:
    fits = show.pair()
    drawn = numbers(charts.difference(fits, {"model": "deep"}, {"model": "flat"}))
    there = [(str(i), name) for i in range(2) for name in ("q_proj", "up_proj", "down_proj")]
    assert sorted(drawn) == sorted(there)
    for (layer, component), value in drawn.items():
        k = fits["k"].sel(layer=int(layer), component=component).squeeze()
        assert value == pytest.approx(
            (k.sel(model="flat") - k.sel(model="deep")).item(), rel=1e-6, abs=1e-9
        )


def test_swapping_both_turns_the_sign() -> None:
    there = numbers(charts.difference(show.run(), {"step": 0}, {"step": 2000}))
    back = numbers(charts.difference(show.run(), {"step": 2000}, {"step": 0}))
    assert there.keys() == back.keys()
    assert np.allclose(list(there.values()), [-back[key] for key in there], rtol=1e-6)


def test_colours_diverge_from_no_difference() -> None:
    chart = charts.difference(show.run(), {"step": 0}, {"step": 2000})
    low, *_, high = coloured(chart).scale("color")["domain"]
    largest = max(abs(value) for value in numbers(chart).values())
    noise = np.hypot(*(show.run()["k_se"].sel(step=step).values for step in (0, 2000)))
    assert high == -low >= max(largest, 4 * np.median(noise))
    (legend,) = show.legends(chart)
    assert legend.startswith("Symbol legend titled 'Δk' for fill color")
    same = charts.difference(show.run(), {"step": 0}, {"step": 0})
    assert set(numbers(same).values()) == {0}
    low, *_, high = coloured(same).scale("color")["domain"]
    assert low == -high < 0


def test_a_dot_stands_where_the_difference_is_noise() -> None:
    fits = show.run()
    fits = fits.assign(k_se=fits["k_se"] / 4)  # some differences are to be more than noise
    chart = charts.difference(fits, {"step": 0}, {"step": 300})
    dots = {(row["layer"], row["component"]) for row in show.mark(chart, "point").rows}
    k, error = fits["k"].squeeze("model"), fits["k_se"].squeeze("model")
    delta = k.sel(step=300, drop=True) - k.sel(step=0, drop=True)
    noise = 2 * (error.sel(step=[0, 300]) ** 2).sum("step") ** 0.5
    quiet = abs(delta) < noise
    assert dots == {
        (layer, component)
        for layer in range(3)
        for component in show.RUN_COMPONENTS
        if quiet.sel(layer=layer, component=component).item()
    }
    assert 0 < len(dots) < 15
    drawn = coloured(chart)
    for row in drawn.rows:
        place = {"layer": row["layer"], "component": row["component"]}
        assert show.close(row[drawn.tips()["two standard errors"]], noise.sel(place).item())
    assert "dot: below two standard errors" in show.subtitle(chart)


def test_where_dots_would_touch_there_are_none() -> None:
    fits = show.tall(61, models=2)
    models = [{"model": name} for name in fits["model"].values]
    for number, dotted in ((60, True), (61, False)):
        chart = charts.difference(fits.isel(layer=slice(0, number)), *models)
        assert bool([part for part in show.marks(chart) if part.kind == "point"]) == dotted
        assert ("dot:" in show.subtitle(chart)) == dotted
        assert ("noise is pale" in show.subtitle(chart)) != dotted


def test_the_tooltip_has_both_shapes_and_the_difference() -> None:
    fits = show.run()
    drawn = coloured(charts.difference(fits, {"step": 10}, {"step": 300}))
    tips = drawn.tips()
    for row in drawn.rows:
        k = fits["k"].sel(layer=row["layer"], component=row["component"]).squeeze()
        assert show.close(row[tips["first k"]], k.sel(step=10).item())
        assert show.close(row[tips["second k"]], k.sel(step=300).item())
        assert row[tips["difference"]] == row[drawn.field("color")]
        assert row[tips["parameter"]] == show.tensor(row["component"], row["layer"])


def test_the_title_says_which_less_which() -> None:
    chart = charts.difference(show.run(), {"step": 10}, {"step": 300})
    assert show.title(chart) == "Difference of k"
    assert "step 300 minus step 10" in show.subtitle(chart)
    chart = charts.difference(show.pair(), {"model": "flat"}, {"model": "deep"})
    assert "deep minus flat" in show.subtitle(chart)


def test_numbers_stand_in_the_cells() -> None:
    chart = charts.difference(show.run(), {"step": 0}, {"step": 2000})
    picture = show.svg(chart)
    for value in numbers(chart).values():
        assert f">{value:.3f}<".replace("-", "−") in picture


def test_layers_and_components_keep_the_order_of_the_fits() -> None:
    drawn = coloured(charts.difference(show.run(), {"step": 0}, {"step": 10}))
    assert drawn.scale("x")["domain"] == ["0", "1", "2"]
    assert drawn.scale("y")["domain"] == list(show.RUN_COMPONENTS)


@pytest.mark.parametrize("broken", ["first", "second", "both"])
def test_a_cell_that_one_of_both_did_not_fit_is_hatched(broken: str) -> None:
    weights = {step: dict(show.run_weights()[step]) for step in (0, 10)}
    name = show.tensor("o_proj", 1)
    for step in {"first": (0,), "second": (10,), "both": (0, 10)}[broken]:
        weights[step][name] = np.zeros((48, 48), np.float16)
    chart = charts.difference(wb.scan({"run": weights}), {"step": 0}, {"step": 10})
    (row,) = show.mark(chart, "rect", fill=INK).rows
    assert (row["layer"], row["component"]) == (1, "o_proj")
    assert row["reason"] == ("not fitted in `first`" if broken == "first" else "all_zero")
    assert len(numbers(chart)) == 14
    assert "hatched: 1 without a number" in show.subtitle(chart)


def test_published_entries_can_be_compared() -> None:
    entries = wb.reference_cohort()
    chart = charts.difference(entries, {"model": "llama-3-8b"}, {"model": "mistral-7b"})
    k = entries["k"].sel(model="mistral-7b") - entries["k"].sel(model="llama-3-8b")
    for (layer, component), value in numbers(chart).items():
        assert layer == "median"
        assert value == pytest.approx(k.sel(component=component).item(), rel=1e-6, abs=1e-9)
    assert len(numbers(chart)) == 7
    assert not [part for part in show.marks(chart) if part.kind == "point"]
    assert "dot:" not in show.subtitle(chart), "there is none"


def test_entries_without_a_common_matrix_say_so() -> None:
    fits = wb.reference_cohort().sel(component=["qkv_proj"])
    chart = charts.difference(fits, {"model": "pythia-70m"}, {"model": "llama-3-8b"})
    assert "the one selected cell is absent from the model" in show.words(chart)


def test_experts_are_drawn_as_their_median() -> None:
    weights = show.expert_weights()
    other = {
        name: values * np.float16(1 + i / 9) for i, (name, values) in enumerate(weights.items())
    }
    fits = wb.scan({"a": {0: weights, 1: other}}, experts="each")
    drawn = numbers(charts.difference(fits, {"step": 0}, {"step": 1}))
    k = (fits["k"].sel(step=1) - fits["k"].sel(step=0)).squeeze("model")
    for (layer, component), value in drawn.items():
        cell = k.sel(layer=int(layer), component=component)
        assert value == pytest.approx(np.nanmedian(cell.values), rel=1e-6, abs=1e-9)
    assert len(drawn) == 6
    assert "medians over experts" in show.subtitle(
        charts.difference(fits, {"step": 0}, {"step": 1})
    )


def test_medians_over_layers_are_told() -> None:
    chart = charts.difference(show.tall(1000, steps=2), {"step": 0}, {"step": 1})
    assert "medians over bins of 3 layers" in show.subtitle(chart)
    assert "medians" not in show.subtitle(charts.difference(show.run(), {"step": 0}, {"step": 10}))


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(3)), components=st.permutations(range(5)))
def test_the_order_of_the_cells_does_not_matter(order: list[int], components: list[int]) -> None:
    pick = {"step": 0}, {"step": 300}
    shuffled = show.run().isel(layer=order, component=components)
    assert numbers(charts.difference(shuffled, *pick)) == numbers(
        charts.difference(show.run(), *pick)
    )


def test_the_difference_of_a_part_is_a_part_of_the_difference() -> None:
    pick = {"step": 0}, {"step": 300}
    whole = numbers(charts.difference(show.run(), *pick))
    part = numbers(charts.difference(show.run().sel(layer=[0, 2], component=["v_proj"]), *pick))
    assert part == {key: whole[key] for key in (("0", "v_proj"), ("2", "v_proj"))}


def test_differences_add_up() -> None:
    steps = [0, 10, 300]
    parts = [
        numbers(charts.difference(show.run(), {"step": a}, {"step": b}))
        for a, b in ((steps[0], steps[1]), (steps[1], steps[2]), (steps[0], steps[2]))
    ]
    for key, value in parts[2].items():
        assert value == pytest.approx(parts[0][key] + parts[1][key], abs=1e-6)


def test_errors_name_the_argument_and_what_is_there() -> None:
    run, step = show.run(), {"step": 0}
    for wrong in ({"step": 5}, {"model": "ran", "step": 0}, {"stp": 0}):
        with pytest.raises(ValueError, match=r"`second` must be labels of `fits`, got \{"):
            charts.difference(run, step, wrong)
        with pytest.raises(ValueError, match=r"`first` must be labels of `fits`, got \{"):
            charts.difference(run, wrong, step)
    with pytest.raises(ValueError, match=r"Choose from models 'run'; steps 0, 10, 300, 2000\."):
        charts.difference(run, step, {"step": 5})
    for none in (None, "run", 3, ["step"]):
        labels: Any = none
        with pytest.raises(TypeError, match=r"`first` must be a mapping .*, got .*Write first="):
            charts.difference(run, labels, step)
        with pytest.raises(TypeError, match=r"`second` must be a mapping .*, got .*Write second="):
            charts.difference(run, step, labels)
    with pytest.raises(
        ValueError, match=r"`first` must choose one step, got \{\}: 0, 10, 300, 2000"
    ):
        charts.difference(run, {}, step)
    with pytest.raises(ValueError, match=r"`second` must choose one model.*: 'deep', 'flat'"):
        charts.difference(show.pair(), {"model": "deep"}, {})


@pytest.mark.parametrize(
    ("first", "second", "dim"),
    [
        ({"layer": 0}, {}, "layer"),
        ({"layer": [0]}, {"layer": [1]}, "layer"),
        ({"layer": 0}, {"layer": 1}, "layer"),
        ({"component": "q_proj"}, {"component": "v_proj"}, "component"),
        ({"component": ["q_proj"]}, {}, "component"),
    ],
)
def test_only_like_cells_are_subtracted(
    first: dict[str, Any], second: dict[str, Any], dim: str
) -> None:
    rule = rf"`first` and `second` must choose the same {dim}s, got .* fits\.sel\({dim}="
    with pytest.raises(ValueError, match=rule):
        charts.difference(show.run(), {"step": 0, **first}, {"step": 10, **second})


def test_experts_are_not_subtracted_from_one_another() -> None:
    with pytest.raises(ValueError, match="must choose the same experts"):
        charts.difference(show.each_expert(), {"expert": 0}, {"expert": 1})


def test_a_layer_that_both_choose_is_drawn() -> None:
    whole = numbers(charts.difference(show.run(), {"step": 0}, {"step": 10}))
    chart = charts.difference(show.run(), {"step": 0, "layer": 1}, {"step": 10, "layer": [1]})
    assert numbers(chart) == {key: value for key, value in whole.items() if key[0] == "1"}
