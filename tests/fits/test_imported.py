"""Tables of k and λ from elsewhere: what becomes fits, and what is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import weibnb as wb
from tests.hostile import NAMES, SCRIPT
from weibnb import charts
from weibnb.fits import imported
from weibnb.fits.imported import fits_of_numbers

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

TABLE = """model,Layer,component,K,lambda,r2,note
a,0,q_proj,0.81,0.0017,0.94,x
a,1,q_proj,,0.0018,,
b,0,o_proj,1.19,0.0024,0.999,y
"""


def read(tmp_path: Path, text: str | bytes, **options: Any) -> xr.Dataset:
    path = tmp_path / "theirs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return wb.read_table(path, **options)


def rich() -> xr.Dataset:
    """A table of two models, seven components, three layers, with a gap."""
    components = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    rows = [
        {
            "model": model,
            "layer": i,
            "component": name,
            "k": 1.1 + 0.01 * j,
            "lam": 0.01 + 0.001 * i,
        }
        for model in "ab"
        for i in range(3)
        for j, name in enumerate(components)
    ]
    rows[3]["k"] = np.nan
    return wb.read_table(pd.DataFrame(rows))


def test_rows_become_cells(tmp_path: Path) -> None:
    fits = read(tmp_path, TABLE)
    cell = fits.sel(model="a", layer=0, component="q_proj", step=0)
    assert [cell[name].item() for name in ("k", "lam", "r2", "status")] == [
        0.81,
        0.0017,
        0.94,
        "ok",
    ]
    lost = fits.sel(model="a", layer=1, component="q_proj", step=0)
    assert lost["status"].item() == "not_given"
    assert np.isnan(lost["k"].item())
    assert np.isnan(lost["lam"].item())
    assert fits.sel(model="b", layer=1, component="o_proj")["status"].item() == "absent"
    assert fits["weight_class"].values.tolist() == ["selection", "transmission"]
    assert fits.attrs["columns_left_out"] == "note"
    assert "k_se" not in fits
    assert fits["source"].values[0, 0].endswith("theirs.csv")


def test_defaults_and_protocol(tmp_path: Path) -> None:
    fits = read(tmp_path, "component,k\nup_proj,1.2\n", trim=(0.05, 0.95))
    assert [fits[dim].item() for dim in ("model", "layer", "component", "step")] == [
        "theirs", 0, "up_proj", 0,
    ]  # fmt: skip
    assert fits["protocol"].item() == "rank regression, trim 5–95 %"
    with pytest.raises(ValueError, match=r"must be compared with fits by rank_regression"):
        wb.judge(fits)
    with pytest.raises(ValueError, match="0 <= lower < upper"):
        read(tmp_path, "component,k\nup_proj,1.2\n", trim=(0.9, 0.1))


def test_a_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    fits = read(tmp_path, b'\xef\xbb\xbf"k","component"\r\n"1.25","a,\nb"\r\n')
    assert fits["component"].values.tolist() == ["a,\nb"]
    assert fits["k"].item() == 1.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("component,k\nq,=1+1\n", "`k` must be a number, or empty, got '=1.1' in row 1"),
        ("component,k\nq,1\nr,-1\ns,-2\n", "`k` must be positive and finite.* row 2 .* 1 more"),
        ("component,k\nq,0\n", "`k` must be positive"),
        ("component,k\nq,inf\n", "`k` must be positive and finite"),
        ("component,k\nq,1e999\n", "`k` must be positive and finite"),
        ("component,k\nq,1_0\n", "`k` must be a number, or empty, got '1_0' in row 1"),
        ("component,k,lam\nq,1,-1\n", "`lam` must be positive"),
        ("component,k,k_se\nq,1,0\n", "`k_se` must be positive"),
        ("component,k,n\nq,1,many\n", "`n` must be a number"),
        ("component,k,r2\nq,1,inf\n", "`r2` must be finite"),
        ("component,k,layer\nq,1,first\n", "`layer` must be a whole number.*'first'"),
        ("component,k,layer\nq,1,\n", "`layer` must be a whole number"),
        ("component,k,layer\nq,1,1.5\n", "`layer` must be a whole number"),
        ("component,k,step\nq,1,-1\n", "`step` must be a whole number"),
        ("component,k,layer\nq,1,1e30\n", "`layer` must be a whole number"),
        ("component,kk\nq,1\n", "lacks k, got component, kk. Did you mean 'kk'"),
        ("model;component;k\na;q;1\n", "lacks component, k, got model;component;k"),
        ("component,k,K\nq,1,1\n", "got 'k' twice"),
        ("component,k\n", "at least one row"),
        ("component,k\nq,1\nq,1.1\n", "several of model theirs, layer 0, component q, step 0"),
        ("component,k\nq,1,2,3\n", "must be a CSV file in UTF-8"),
        ("", "must be a CSV file in UTF-8"),
        (b"\xff\xfe\x00component", "must be a CSV file in UTF-8"),
        ("component,k\nq,1" + "0" * 5000 + "x\n", "`k` must be a number"),
    ],
)
def test_what_is_no_table_is_refused_by_name(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 2000


def test_a_table_cannot_ask_for_any_amount_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"m{i},{i},c{i},{i},1.2\n" for i in range(100))
    with pytest.raises(ValueError, match="at most 10,000,000 cells, got 100,000,000"):
        read(tmp_path, f"model,layer,component,step,k\n{rows}")
    monkeypatch.setattr(imported, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match="at most 100 bytes"):
        read(tmp_path, f"model,layer,component,step,k\n{rows}")


def test_other_sources() -> None:
    with pytest.raises(TypeError, match=r"path of a CSV file or a pandas\.DataFrame, got dict"):
        wb.read_table({"k": [1]})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        wb.read_table("nowhere.csv")
    table = pd.DataFrame({"component": ["q_proj"], "k": [1.2]})
    wb.read_table(table)
    assert list(table) == ["component", "k"]


def test_summary_explorer_charts_and_files_take_it(tmp_path: Path) -> None:
    fits = rich()
    text = str(wb.summary(fits))
    assert "Not available: `fits` must hold max_abs" in text
    assert "not_given" in text
    explorer = wb.explore(fits)
    for panel in ("overview", "weibull", "classes", "trajectories", "compare", "table"):
        explorer.panel = panel
    for chart in (charts.layer_map, charts.class_bands, charts.depth_profile, charts.cohort):
        chart(fits).to_dict()
    wb.save_fits(fits, tmp_path / "fits.nc")
    with wb.open_fits(tmp_path / "fits.nc") as again:
        assert again["k"].equals(fits["k"])
        assert again["status"].values.tolist() == fits["status"].values.tolist()
    assert (
        wb.drift(fits)["severity"].sel(model="a", layer=0, component="o_proj").item() == "not_given"
    )
    assert wb.judge(fits, by="model")["verdict"].values.ravel().tolist() == ["below", "below"]
    assert wb.quantisation(fits).table["status"].unique().tolist() == ["no counts"]
    assert len(wb.not_fitted(fits)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str, tmp_path: Path) -> None:
    labels = {"model": name, "component": [name, f"{SCRIPT} or other"]}
    table = pd.DataFrame({**labels, "k": [1.1, 1.2], "lam": 0.1}, dtype=object)
    page = wb.summary(wb.read_table(table))._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    wb.write_report(wb.read_table(table), tmp_path / "report.csv")
    formula = wb.read_table(table.assign(model="=1+1"))
    wb.write_report(formula, tmp_path / "formula.csv")
    assert "'=1+1" in (tmp_path / "formula.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("k", [0, -1.0, np.inf, np.nan])
def test_numbers_alone_must_be_positive(k: float) -> None:
    with pytest.raises(ValueError, match="`k` must be positive and finite"):
        fits_of_numbers(k=k)
    for wrong in ("1.2", True, None):
        with pytest.raises(TypeError, match="`k` must be a number"):
            fits_of_numbers(k=wrong)  # type: ignore[arg-type]
