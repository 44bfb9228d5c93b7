"""The text alternatives of charts, and the titles that say a finding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.charts.others import OTHERS
from weibnb import charts
from weibnb.charts.sentences import course, listed, summary, where_falls, where_low


def description(chart: Any) -> str:
    return str(show.specification(chart)["description"])


def test_every_chart_function_is_tried() -> None:
    assert {*show.KINDS, *OTHERS, "table"} == set(dir(charts))


@pytest.mark.parametrize("name", sorted({*show.KINDS, *OTHERS}))
def test_every_chart_says_its_numbers(name: str) -> None:
    chart = OTHERS[name]() if name in OTHERS else show.usual(name, "run")
    text = description(chart)
    assert re.search(r"\d\.\d", text) or "%" in text
    assert text.endswith(".")
    assert len(text) < 1200
    assert "nan" not in text


@pytest.mark.parametrize("name", sorted(show.KINDS))
def test_a_chart_of_nothing_says_why(name: str) -> None:
    chart = show.KINDS[name](show.holes().sel(layer=[2], component=["up_proj"]))
    assert description(chart).endswith("The selected matrix is not fitted: all_zero: 1")


def test_the_ends_and_the_median_are_those_of_the_fits() -> None:
    k = show.run()["k"].isel(step=-1)
    text = description(charts.layer_map(show.run().isel(step=[-1])))
    for word, value in (("lowest", k.min()), ("highest", k.max())):
        found = re.search(rf"{word} ([\d.]+) \((\w+) of layer (\d)\)", text)
        assert found
        assert float(found[1]) == pytest.approx(value.item(), rel=1e-3)
        named = k.sel(component=found[2], layer=int(found[3])).item()
        assert named == value.item()
    median = re.search(r"median (\d+\.\d+)", text)
    assert median
    assert float(median[1]) == pytest.approx(k.median().item(), rel=1e-3)
    assert "15 matrices" in text


def test_what_lacks_a_number_is_counted() -> None:
    text = description(charts.layer_map(show.holes()))
    assert text.endswith("3 matrices without a number.")


def table(k: list[float], *, error: float = 0.001, layers: int = 3) -> pd.DataFrame:
    """Matrices of two components, layer after layer."""
    places = [(i % layers, "ab"[i // layers]) for i in range(len(k))]
    found = pd.DataFrame(places, columns=["layer", "component"])
    return found.assign(k=k, k_se=error, model="m", step=0)


@pytest.mark.parametrize(
    ("k", "error", "words"),
    [
        ([1.2, 1.2, 1.2, 1.2, 1.2, 1.2], 0.001, ""),
        ([1.0, 1.2, 1.2, 1.0, 1.2, 1.2], 0.001, "k is low in layer 0 only"),
        ([1.0, 1.0, 1.2, 1.2, 1.2, 1.2], 0.001, "k is low in a only"),
        ([1.0, 1.2, 1.2, 1.2, 1.0, 1.2], 0.001, "k is low in 2 of 6 matrices"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.001, "k is low in all 6 matrices"),
        ([1.0, np.nan, 1.2, 1.0, 1.2, 1.2], 0.001, "k is low in layer 0"),
        ([1.149, 1.2, 1.2, 1.2, 1.2, 1.2], 0.001, "k is low in layer 0 only"),
        ([1.151, 1.2, 1.2, 1.2, 1.2, 1.2], 0.001, ""),
        ([1.0, 1.2, 1.2, 1.2, 1.2, 1.2], 0.034, ""),
        ([1.0, 1.2, 1.2, 1.2, 1.2, 1.2], 0.033, "k is low in layer 0 only"),
        ([1.0, 1.2, 1.2, 1.2, 1.2, 1.2], np.nan, "k is low in layer 0 only"),
        ([1.5, 1.2, 1.2, 1.2, 1.2, 1.2], 0.001, ""),
    ],
)
def test_a_title_says_where_k_is_low(k: list[float], error: float, words: str) -> None:
    assert where_low(table(k, error=error), 1.2) == words


def test_a_title_says_where_k_falls() -> None:
    begin, end = table([1.2] * 6), table([1.0, 1.2, 1.2, 1.1, 1.2, 1.3]).assign(step=10)
    steps = pd.concat([end, begin], ignore_index=True)
    assert where_falls(steps) == "k falls in layer 0 only"
    assert where_falls(steps.assign(k_se=0.05)) == ""
    risen = pd.concat([begin.assign(step=20), end], ignore_index=True)
    assert where_falls(risen) == "k falls in layer 2 only"


def test_the_course_names_the_first_and_last_step_and_what_moved_most() -> None:
    begin, end = table([1.2] * 6), table([1.0, 1.2, 1.2, 1.1, 1.2, 1.3]).assign(step=10)
    text = course(pd.concat([end, begin], ignore_index=True), "k", "k")
    assert "of 2 steps: the median goes from 1.2 at step 0 to 1.2 at step 10" in text
    assert text.endswith("a of layer 0 moved most, from 1.2 to 1.")


def test_noise_is_no_finding_and_several_models_have_none() -> None:
    assert show.title(charts.layer_map(show.demo().isel(step=0))) == "Weibull shape k"
    assert show.title(charts.layer_map(show.demo().isel(step=-1))) == "k is low in layer 0 only"
    assert show.title(charts.layer_map(show.demo())) == "Weibull shape k"
    assert show.title(charts.trajectories(show.demo())) == "k falls in layer 0 only"
    assert show.subtitle(charts.trajectories(show.demo())).split("\n")[1] == (
        "Weibull shape k during training, one line per matrix"
    )


def test_long_lists_are_counted() -> None:
    assert listed(["a", "b"]) == "a; b."
    assert listed(list("abcdefgh")) == "a; b; c; d; e; f; and 2 more."


def test_one_matrix_and_none_have_their_own_sentence() -> None:
    one = table([1.1])
    assert summary(one, "k", "k") == "k of a of layer 0: 1.1."
    assert "nothing is known. 1 matrix without a number." in summary(one.assign(k=np.nan), "k", "k")
