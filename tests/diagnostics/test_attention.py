"""Storage from heads and shapes, and the severity of selection on both sides of its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.diagnostics.simple_fits import cells, make
from weibnb.diagnostics.attention import selection, storage_type

if TYPE_CHECKING:
    from collections.abc import Mapping

GAUSSIAN = wb.anchor().k


def stored(rows: Mapping[str, int], heads: tuple[float, float] | None = None) -> xr.Dataset:
    names = ("n_heads", "n_kv_heads") if heads else ()
    coords = {name: ("model", [n]) for name, n in zip(names, heads or (), strict=True)}
    fits = make(np.full((1, 2, len(rows), 1), 1.1), components=list(rows), coords=coords)
    fits["rows"] = xr.zeros_like(fits["k"]) + xr.DataArray(list(rows.values()), dims="component")
    return fits


@pytest.mark.parametrize(
    ("rows", "heads", "word"),
    [
        ({"q_proj": 64, "k_proj": 64}, None, "separate MHA"),
        ({"q_proj": 64, "k_proj": 16}, None, "GQA 4:1"),
        ({"q_proj": 64, "k_proj": 64}, (8.0, 8.0), "separate MHA"),
        ({"q_proj": 128, "k_proj": 16}, (8.0, 2.0), "GQA 4:1"),  # the rows hold a gate as well
        ({"q_proj": 64, "k_proj": 8}, (8.0, 1.0), "MQA"),
        ({"q_proj": 64, "k_proj": 16}, (np.nan, np.nan), "GQA 4:1"),
        ({"q_proj": 64, "k_proj": 16}, (8.0, 8.0), "GQA 4:1"),  # n_kv_heads by default
        ({"qkv_proj": 96}, (8.0, 2.0), "fused"),
        ({"q_proj": 64, "kv_a_proj": 20, "kv_b_proj": 64}, (8.0, 8.0), "MLA"),
        ({"q_a_proj": 8, "q_b_proj": 64, "kv_a_proj": 20, "kv_b_proj": 64}, None, "MLA"),
        ({"q_proj": 64, "k_proj": 40}, None, "unknown"),
        ({"q_proj": 16, "k_proj": 64}, None, "unknown"),
        ({"up_proj": 64}, None, "unknown"),
        ({"q_proj": 64, "k_proj": 16, "vision.qkv_proj": 96}, None, "GQA 4:1"),
        ({"vision.qkv_proj": 96}, None, "fused"),
        ({"decoder.q_proj": 64, "decoder.k_proj": 64}, None, "separate MHA"),
    ],
)
def test_storage_type(rows: dict[str, int], heads: tuple[float, float] | None, word: str) -> None:
    fits = stored(rows, heads)
    assert storage_type(fits).values.tolist() == [word]
    assert storage_type(fits.isel(model=0)).values.tolist() == [word]


def test_storage_type_of_layers_that_differ_and_of_absent_matrices() -> None:
    fits = stored({"q_proj": 64, "k_proj": 16, "qkv_proj": 96})
    fits["status"][:, :, 2] = "absent"
    assert storage_type(fits).item() == "GQA 4:1"
    fits["rows"][0, 0, 1] = 32
    assert storage_type(fits).item() == "mixed"
    assert storage_type(fits.drop_vars("rows")).item() == "unknown"


@pytest.mark.parametrize(
    ("k", "se", "word"),
    [
        (0.998, 0.001, "deep"),
        (0.9995, 0.001, "not resolved"),
        (1.0005, 0.001, "not resolved"),
        (1.002, 0.001, "mild"),
        (1.148, 0.001, "mild"),
        (1.1495, 0.001, "not resolved"),
        (1.152, 0.001, "near-transmission"),
        (1.202, 0.001, "near-transmission"),
        (1.2045, 0.001, "not resolved"),
        (1.204, 0.0, "near-transmission"),
        (GAUSSIAN, 0.0005, "above transmission"),
        (GAUSSIAN, 0.001, "not resolved"),
        (np.nan, 0.001, "absent"),
    ],
)
@pytest.mark.parametrize("component", ["q_proj", "decoder.k_proj", "qkv_proj"])
def test_selection_severity_on_both_sides_of_its_edges(
    k: float, se: float, word: str, component: str
) -> None:
    fits = make([[[[k], [1.19]]]], se=se, components=(component, "up_proj"))
    severity = selection(fits).severity
    assert severity.values.ravel().tolist() == [word]
    assert severity.storage_type.dims == ("model",)


def test_selection_needs_queries_or_keys_and_their_class() -> None:
    with pytest.raises(ValueError, match=r"queries or keys \(q_proj, .*got up_proj"):
        selection(cells(1.1))
    with pytest.raises(ValueError, match="weight_class"):
        selection(cells(1.1, components=("q_proj",)).drop_vars("weight_class"))


@pytest.mark.parametrize(
    "options",
    [{"trim": (0.05, 0.95)}, {"estimator": "maximum_likelihood", "trim": (0.0, 1.0)}],
)
def test_selection_holds_for_the_published_protocol_only(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="refit"):
        selection(cells(1.19, components=("q_proj",), **options))
