"""What `weibnb.charts.layer_map` shows: a number of every matrix, its colour, and every gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts
from weibnb.charts.vega import INK

if TYPE_CHECKING:
    import xarray as xr

VALUES = ["k", "lam", "r2", "ks", "z", "outlier"]
TITLES = {
    "k": ("Weibull shape k", "k"),
    "lam": ("Weibull scale λ (units of the weights)", "λ"),
    "r2": ("r² of the Weibull plot", "r²"),
    "ks": ("Kolmogorov-Smirnov distance within the trim", "KS"),
    "z": ("Distance of k from the Gaussian anchor, in standard errors", "z"),
    "outlier": ("Largest |w| over the maximum expected of a Gaussian", "max ratio"),
}


def coloured(chart: Any) -> show.Mark:
    """The cells with a number."""
    return show.mark(chart, "rect", fill=None)


def expected(fits: xr.Dataset, row: dict[str, Any], value: str) -> float:
    cell = show.cell_of(fits, row)
    anchor = wb.anchor()
    if value == "z":
        return float((cell["k"] - anchor.k) / cell["k_se"])
    if value == "outlier":
        sigma = cell["lam"] / anchor.lam_over_rms
        tail = np.exp(-np.euler_gamma) / (2 * cell["n"])
        return float(cell["max_abs"] / (-sigma * special.ndtri(tail)))
    return float(cell[value])


@pytest.mark.parametrize("value", VALUES)
def test_colours_are_the_numbers_of_the_fits(value: Any) -> None:
    drawn = coloured(charts.layer_map(show.run(), value=value))
    assert len(drawn.rows) == show.run()["k"].size
    for row, number in zip(drawn.rows, drawn.values("color"), strict=True):
        assert number == pytest.approx(expected(show.run(), row, value), rel=1e-6)
        assert row[drawn.field("x")] == str(row["layer"])
        assert row[drawn.field("y")] == row["component"]


def test_the_shape_and_the_scale_are_those_of_a_full_sort() -> None:
    for name in ("k", "lam", "r2"):
        drawn = coloured(charts.layer_map(show.run(), value=name))
        for row, number in zip(drawn.rows, drawn.values("color"), strict=True):
            weights = show.run_weights()[row["step"]][show.tensor(row["component"], row["layer"])]
            fit = full_sort(magnitudes(weights), (0.1, 0.9))
            assert number == pytest.approx(getattr(fit, name), rel=2e-6)


@pytest.mark.parametrize("value", VALUES)
def test_titles_say_what_the_colours_are(value: Any) -> None:
    chart = charts.layer_map(show.run().isel(step=-1), value=value)
    words, short = TITLES[value]
    assert show.title(chart) == words
    (legend,) = show.legends(chart)
    assert legend.startswith(f"Symbol legend titled '{short}' for fill color")


@pytest.mark.parametrize("value", VALUES)
def test_no_number_lies_beyond_the_ends_of_the_colours(value: Any) -> None:
    for fits in (show.run(), show.demo(), show.holes(), show.pair()):
        drawn = coloured(charts.layer_map(fits, value=value))
        low, *_between, high = drawn.scale("color")["domain"]
        numbers = drawn.values("color")
        assert low - abs(low) * 1e-6 <= min(numbers)
        assert max(numbers) <= high + abs(high) * 1e-6
        assert low < high


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 1.0)])
@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
def test_colours_diverge_from_the_gaussian_by_the_protocol(trim: Any, estimator: Any) -> None:
    fits = wb.refit(show.run(), trim=trim, estimator=estimator)
    anchor = wb.anchor(trim=trim, estimator=estimator).k
    chart = charts.layer_map(fits)
    assert np.mean(coloured(chart).scale("color")["domain"]) == pytest.approx(anchor)
    legend = coloured(chart).encoding["color"]["legend"]
    assert legend["values"][4] == pytest.approx(anchor)
    assert f"{anchor:.4g} · a Gaussian" in show.svg(chart) or (
        f"{anchor:.4f}".rstrip("0") + " · a Gaussian" in show.svg(chart)
    )
    distance = coloured(charts.layer_map(fits, value="z"))
    assert np.mean(distance.scale("color")["domain"]) == pytest.approx(0)
    for row, number in zip(distance.rows, distance.values("color"), strict=True):
        cell = show.cell_of(fits, row)
        assert number == pytest.approx(float((cell["k"] - anchor) / cell["k_se"]), rel=1e-5)


@pytest.mark.parametrize("value", ["lam", "r2", "ks", "outlier"])
def test_other_colours_go_from_the_lowest_to_the_highest(value: Any) -> None:
    drawn = coloured(charts.layer_map(show.run(), value=value))
    numbers = drawn.values("color")
    assert drawn.scale("color")["domain"] == pytest.approx([min(numbers), max(numbers)], rel=1e-6)
    assert drawn.scale("color")["scheme"] == "viridis"
    assert "scheme" not in coloured(charts.layer_map(show.run())).scale("color")


def test_noise_does_not_fill_the_colours() -> None:
    """A Gaussian checkpoint is pale: no matrix is as strong as one that is surely no Gaussian."""
    rng = np.random.default_rng(0)
    names = [show.tensor(name, layer) for name in show.RUN_COMPONENTS for layer in range(12)]
    gaussian = {name: rng.normal(size=(48, 48)) for name in names}
    fits = wb.scan({"m": gaussian}, structure=False)
    odd = gaussian | {names[0]: rng.laplace(size=(48, 48))}
    for value in ("k", "z"):
        drawn = coloured(charts.layer_map(fits, value=value))
        low, *_, high = drawn.scale("color")["domain"]
        middle = (low + high) / 2
        strongest = max(abs(number - middle) for number in drawn.values("color"))
        assert strongest < 0.75 * (high - middle)
        error = 1 if value == "z" else float(fits["k_se"].median())
        assert high - middle >= 4 * error
        other = coloured(charts.layer_map(wb.scan({"m": odd}, structure=False), value=value))
        low, *_, high = other.scale("color")["domain"]
        assert max(abs(n - middle) for n in other.values("color")) > 0.75 * (high - middle)


def test_one_number_alone_has_a_colour() -> None:
    one = show.run().isel(layer=0, component=0, step=0)
    for value in ("k", "lam", "r2"):
        low, *_, high = coloured(charts.layer_map(one, value=value)).scale("color")["domain"]
        assert low < high


@pytest.mark.parametrize(
    ("value", "digits"), [("k", ".3f"), ("z", ".1f"), ("lam", ".3g"), ("outlier", ".3g")]
)
def test_numbers_stand_in_the_cells(value: Any, digits: str) -> None:
    chart = charts.layer_map(show.run().isel(step=-1), value=value)
    text = show.mark(chart, "text")
    assert text.encoding["text"]["format"] == digits
    assert text.values("text") == coloured(chart).values("color")
    if value == "k":
        picture = show.svg(chart)
        assert all(f">{number:.3f}<" in picture for number in text.values("text"))


def test_numbers_on_dark_cells_are_white() -> None:
    chart = charts.layer_map(show.run(), value="lam")
    text = show.mark(chart, "text")
    low, high = coloured(chart).scale("color")["domain"]
    test = text.encoding["color"]["condition"]["test"]
    for row, number in zip(text.rows, text.values("text"), strict=True):
        white = row[test["field"]] == test["equal"]
        assert white is (number < (low + high) / 2)
    assert text.encoding["color"]["condition"]["value"] == "white"
    assert text.encoding["color"]["value"] == "black"


def test_layers_and_components_keep_the_order_of_the_fits() -> None:
    chart = charts.layer_map(show.tall(11))
    drawn = coloured(chart)
    assert drawn.scale("x")["domain"] == [str(i) for i in range(11)]
    assert drawn.scale("y")["domain"] == list(show.RUN_COMPONENTS)
    (axis,) = show.axes(chart, "X")
    assert axis.startswith("X-axis titled 'layer' for a discrete scale with 11 values: 0, 1, 2")


def test_a_panel_for_each_model_and_step() -> None:
    assert show.panels(charts.layer_map(show.run())) == [f"step {s:,}" for s in show.RUN_STEPS]
    assert show.panels(charts.layer_map(show.pair())) == ["deep", "flat"]
    both = wb.scan({name: show.run_weights() for name in ("a", "b")}).isel(step=[0, 3])
    assert show.panels(charts.layer_map(both)) == [
        f"{model}\nstep {step:,}" for model in "ab" for step in (0, 2000)
    ]
    assert show.panels(charts.layer_map(show.run().isel(step=[2]))) == []


def test_matrices_that_a_model_lacks_are_not_drawn() -> None:
    drawn = coloured(charts.layer_map(show.pair()))
    flat = {(row["layer"], row["component"]) for row in drawn.rows if row["model"] == "flat"}
    assert flat == {(i, name) for i in range(2) for name in ("q_proj", "up_proj", "down_proj")}
    assert len(drawn.rows) == 4 * 4 + len(flat)


@pytest.mark.parametrize("value", VALUES)
def test_a_matrix_without_the_number_is_hatched_with_its_status(value: Any) -> None:
    chart = charts.layer_map(show.holes(), value=value)
    hatched = [
        part for part in show.marks(chart) if "reason" in part.encoding["tooltip"][0].values()
    ]
    assert {part.kind for part in hatched} == {"rect", "point"}
    for part in hatched:
        reasons = {(row["component"], row["layer"]): row["reason"] for row in part.rows}
        assert reasons == {
            ("up_proj", 1): "constant",
            ("up_proj", 2): "all_zero",
            ("down_proj", 2): "too_few",
        }
    assert "hatched: 3 without a number" in show.subtitle(chart)
    assert len(coloured(chart).rows) == 3


def test_an_untrusted_fit_is_drawn_with_its_status() -> None:
    drawn = coloured(charts.layer_map(show.holes()))
    (row,) = [row for row in drawn.rows if (row["component"], row["layer"]) == ("down_proj", 1)]
    assert row[drawn.tips()["status"]] == "nonfinite"


def test_a_fitted_matrix_whose_number_is_not_known_says_so() -> None:
    fits = show.run().isel(step=-1)
    k_se = fits["k_se"].copy()
    k_se[0, 1, 2] = np.nan
    chart = charts.layer_map(fits.assign(k_se=k_se), value="z")
    (row,) = show.mark(chart, "rect", fill=INK).rows
    assert (row["layer"], row["component"]) == (1, "o_proj")
    assert row["reason"] == "fitted, but this number is not known"


@pytest.mark.parametrize("value", ["r2", "ks", "z"])
def test_fitted_matrices_without_the_number_are_not_called_unfitted(value: Any) -> None:
    chart = charts.layer_map(wb.reference_cohort().isel(model=[0, 8]), value=value)
    assert show.words(chart) == (
        "None of the 11 selected matrices has this number:\n"
        "fitted, but this number is not known: 11"
    )


def test_components_keep_the_order_of_the_fits_where_the_first_model_lacks_some() -> None:
    fits = wb.scan(
        {
            "b": show.checkpoint(range(1), ("q_proj", "down_proj")),
            "a": show.checkpoint(range(1), ("q_proj", "up_proj", "down_proj"), 2),
        }
    )
    names = fits["component"].values.tolist()
    assert names == ["q_proj", "up_proj", "down_proj"]
    turned = fits.isel(component=[2, 1, 0])
    assert coloured(charts.layer_map(fits)).scale("y")["domain"] == names
    assert coloured(charts.layer_map(turned)).scale("y")["domain"] == names[::-1]


def test_steps_keep_their_order_where_a_matrix_comes_late() -> None:
    fits = wb.scan(
        {"m": {s: show.checkpoint(range(1), names) for s, names in
               ((0, ("up_proj",)), (10, ("q_proj", "up_proj")))}}
    )  # fmt: skip
    assert show.panels(charts.layer_map(fits)) == ["step 0", "step 10"]


def test_the_tooltip_says_which_matrix_and_what_it_is() -> None:
    drawn = coloured(charts.layer_map(show.run(), value="ks"))
    tips = drawn.tips()
    for row in drawn.rows:
        cell = show.cell_of(show.run(), row)
        assert show.close(row[tips["value"]], cell["ks"].item())
        assert show.close(row[tips["k"]], cell["k"].item())
        assert row[tips["parameter"]] == show.tensor(row["component"], row["layer"])
        assert row[tips["n"]] == cell["n"].item()
    spoken = [text for text in show.spoken(charts.layer_map(show.run())) if "parameter" in text]
    assert len(spoken) == 2 * len(drawn.rows)
    assert all("model: run" in text and "step: " in text for text in spoken)


def test_the_tooltip_leaves_out_what_published_entries_do_not_have() -> None:
    drawn = coloured(charts.layer_map(wb.reference_cohort()))
    assert {"model", "component", "k", "λ"} <= set(drawn.tips())
    assert not {"parameter", "n", "r2", "SE(k)"} & set(drawn.tips())
    texts = {str(value) for row in drawn.rows for value in row.values()}
    assert not {"nan", "NaN"} & texts
    one = wb.reference_cohort().isel(model=[0])
    named = one.assign(parameter=one["status"].copy(data=np.full(one["k"].shape, None)))
    named["parameter"][0, 0] = "w"
    rows = coloured(charts.layer_map(named)).rows
    assert {row["parameter"] for row in rows} == {"w", ""}


def test_experts_are_drawn_as_their_median() -> None:
    chart = charts.layer_map(show.each_expert(), value="lam")
    drawn = coloured(chart)
    assert "medians over experts" in show.subtitle(chart)
    assert "expert" not in drawn.tips()
    assert len(drawn.rows) == 2 * 3
    for row, number in zip(drawn.rows, drawn.values("color"), strict=True):
        labels = {dim: row[dim] for dim in ("layer", "component")}
        cell = show.each_expert()["lam"].sel(labels).squeeze()
        assert number == pytest.approx(np.nanmedian(cell.values), rel=1e-6)


def test_many_layers_are_drawn_as_medians_of_bins() -> None:
    fits = show.tall(1000)
    chart = charts.layer_map(fits)
    drawn = coloured(chart)
    assert "medians over bins of 3 layers" in show.subtitle(chart)
    names = drawn.scale("x")["domain"]
    assert names[:2] == ["0–2", "3–5"]
    assert names[-1] == "999"
    assert len(drawn.rows) == len(names) * 5 <= 2000
    for row, number in zip(drawn.rows, drawn.values("color"), strict=True):
        first, _, last = row[drawn.field("x")].partition("–")
        part = fits["k"].sel(
            layer=slice(int(first), int(last or first)), component=row["component"]
        )
        assert number == pytest.approx(part.median().item(), rel=1e-6)


def test_published_entries_have_a_map_of_shapes_and_of_scales() -> None:
    entries = wb.reference_cohort()
    for value in ("k", "lam"):
        chart = charts.layer_map(entries, value=value)
        drawn = coloured(chart)
        assert len(drawn.rows) == int(entries["k"].notnull().sum())
        for row, number in zip(drawn.rows, drawn.values("color"), strict=True):
            cell = entries[value].sel(model=row["model"], component=row["component"])
            assert show.close(number, cell.item())
        assert show.panels(chart) == entries["model"].values.tolist()
        assert drawn.scale("x")["domain"] == ["median"]


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_the_layers_does_not_matter(order: list[int]) -> None:
    fits = show.tall(6)

    def numbers(chart: Any) -> dict[tuple[str, str], float]:
        drawn = coloured(chart)
        keys = zip(drawn.values("x"), drawn.values("y"), strict=True)
        return dict(zip(keys, drawn.values("color"), strict=True))

    shuffled = charts.layer_map(fits.isel(layer=order))
    assert numbers(shuffled) == numbers(charts.layer_map(fits))
    assert coloured(shuffled).scale("x")["domain"] == [str(i) for i in range(6)]


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-3, 4))
def test_the_unit_of_the_weights_moves_the_scale_alone(power: int) -> None:
    weights = show.checkpoint(range(2), ("q_proj", "up_proj"), 31)
    for values in weights.values():
        values[np.abs(values) < 1e-3] = np.float16(1e-3)
    maps = [wb.scan({"m": part}) for part in (weights, show.scaled(weights, 2.0**power))]
    for value in ("k", "z", "r2", "ks", "outlier"):
        first, second = (coloured(charts.layer_map(part, value=value)) for part in maps)
        assert np.allclose(first.values("color"), second.values("color"), rtol=1e-5)
    first, second = (coloured(charts.layer_map(part, value="lam")) for part in maps)
    shift = np.log(second.values("color")) - np.log(first.values("color"))
    assert np.allclose(shift, power * np.log(2), atol=1e-6)


def test_errors_name_the_argument_and_the_closest_word() -> None:
    for value, closest in {"lambda": "lam", "R2": "r2", "outliers": "outlier", "kk": "k"}.items():
        with pytest.raises(ValueError, match=rf"`value` must be one of .*mean '{closest}'"):
            charts.layer_map(show.run(), value=value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at most 12 pairs of model and step .* got 13"):
        charts.layer_map(show.tall(1, steps=13))
    with pytest.raises(ValueError, match="`fits` must hold n, max_abs, magnitude_quantile"):
        charts.layer_map(wb.reference_cohort(), value="outlier")
