"""The pane of the selected matrices: their numbers, and those that are pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import traitlets

import weibnb as wb
from tests.explorer.conftest import rows_of, slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.widget import Explorer

A, B = ("demo", 0, "o_proj", 7000), ("demo", 1, "q_proj", 0)


def column(explorer: Explorer, number: int = 0) -> dict[str, str]:
    rows: list[list[str]] = words(explorer)["matrices"]["rows"]
    return {row[0]: row[number + 1] for row in rows}


def test_the_numbers_are_those_of_the_fits(explorer: Explorer, fits: xr.Dataset) -> None:
    explorer.selected = [A]
    one = fits.sel(layer=[0], component=["o_proj"], step=[7000])
    found = column(explorer)
    assert found["k"] == f"{one['k'].item():.4f} ± {one['k_se'].item():.2g}"
    assert found["n"] == f"{one['n'].item():,}"
    assert found["shape"] == "128 × 128"
    explorer.trim = (0.2, 0.8)
    assert column(explorer)["k"].startswith(f"{wb.refit(one, trim=(0.2, 0.8))['k'].item():.4f}")


def test_small_errors_are_written_without_an_exponent(fits: xr.Dataset) -> None:
    small = fits.assign(lam_se=fits["lam_se"] * 0 + 6.04e-5)
    lam = fits["lam"].sel(model="demo", layer=0, component="o_proj", step=7000).item()
    assert column(explore(small, selected=[A]))["λ"] == f"{lam:.4g} ± 0.00006"


def test_a_pin_stays_while_everything_else_changes(explorer: Explorer) -> None:
    explorer.pinned = {"A": B}
    explorer.selected = [A]
    for panel in ("overview", "classes", "trajectories", "table"):
        explorer.panel = panel
        heads: list[dict[str, Any]] = words(explorer)["matrices"]["heads"]
        assert [head["pin"] for head in heads] == ["A", ""]
        assert "q_proj" in heads[0]["name"]
        rows = [row for row in rows_of(slot(explorer, "detail")["spec"]) if "component" in row]
        drawn = {(row["layer"], row["component"], row["step"]) for row in rows}
        assert drawn == {(1, "q_proj", 0), (0, "o_proj", 7000)}
    explorer.filters = {"component": ["o_proj"]}
    assert words(explorer)["matrices"]["heads"][0]["pin"] == "A"
    explorer.pinned = {}
    assert len(words(explorer)["matrices"]["heads"]) == 1


def test_a_pinned_matrix_is_listed_once_and_four_beside_it(explorer: Explorer) -> None:
    explorer.pinned = {"A": A}
    explorer.selected = [A, *((*A[:2], name, 7000) for name in ("q_proj", "k_proj", "v_proj"))]
    found = words(explorer)["matrices"]
    assert [head["pin"] for head in found["heads"]] == ["A", "", "", ""]
    assert [head["name"].split(" ")[0] for head in found["heads"]] == [
        "o_proj", "q_proj", "k_proj", "v_proj"
    ]  # fmt: skip
    assert found["more"] == ""
    explorer.selected = [
        *explorer.selected,
        *(("demo", 1, name, 7000) for name in ("q_proj", "k_proj")),
    ]
    assert words(explorer)["matrices"]["more"] == "and 1 more"


def test_experts_are_taken_together() -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.0.mlp.experts.{i}.up_proj.weight": rng.normal(0, i + 1, (16, 16))
        for i in range(3)
    }
    fits = wb.scan({"tiny": weights}, experts="each")
    found = column(explore(fits))
    assert found["n"] == "768"
    assert found["max |w|"] == f"{max(np.abs(w).max() for w in weights.values()):.4g}"
    assert found["k"].startswith(f"{np.nanmedian(fits['k']):.4f}")


def test_a_pin_that_is_none_is_told(explorer: Explorer) -> None:
    for wrong in ({"C": A}, {"A": "demo"}, {"A": ("demo", 0)}):
        with pytest.raises(traitlets.TraitError, match="pinned"):
            explorer.pinned = wrong
    explorer.pinned = {"A": ("gone", 0, "o_proj", 7000)}
    assert [head["pin"] for head in words(explorer)["matrices"]["heads"]] == [""]


def test_compare_lists_both_checkpoints(explorer: Explorer) -> None:
    explorer.selected = [A]
    explorer.panel = "compare"
    places = [head["place"] for head in words(explorer)["matrices"]["heads"]]
    assert places == ["demo · step 0", "demo · step 7,000"]
    assert column(explorer, 0)["k"] != column(explorer, 1)["k"]


def test_several_in_a_plot_each_or_less_the_first(explorer: Explorer) -> None:
    explorer.selected = [A, ("demo", 1, "o_proj", 7000)]
    for arrangement in ("multiples", "difference"):
        explorer.arrangement = arrangement
        assert f"arrangement='{arrangement}'" in explorer.code
        assert "spec" in slot(explorer, "detail")
    explorer.selected = [A]
    assert "arrangement" not in explorer.code


def test_what_fits_do_not_hold_is_left_out() -> None:
    explorer = explore(wb.reference_cohort())
    assert set(column(explorer)) == {"k", "λ"}
    weights = {"model.layers.0.mlp.up_proj.weight": np.zeros((16, 16))}
    dead = explore(wb.scan({"dead": weights}))
    assert column(dead)["k"] not in ("", "nan")
    assert "λ" not in column(dead)
