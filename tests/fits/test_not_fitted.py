"""Tensors and cells without an estimate are listed with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.fits.helpers import Q, dense, normal
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]


def test_not_fitted_lists_tensors_and_cells_with_reasons() -> None:
    weights = {
        Q.format(0): np.zeros((20, 20), "f2"),
        Q.format(1): normal(20, 20),
        "model.embed_tokens.weight": normal(64, 20),
        "model.layers.0.input_layernorm.weight": normal(20),
        "model.layers.0.mystery.weight": normal(4, 5),
        "model.layers.0.self_attn.q_proj.bias": normal(20),
        "lm_head.weight": normal(64, 20),
    }
    listed = wb.not_fitted(wb.scan({"run": {5: weights}}))
    assert listed.columns.tolist() == ["model", "step", "tensor", "shape", "dtype", "reason"]
    assert dict(zip(listed["tensor"], listed["reason"], strict=True)) == {
        Q.format(0): "all_zero",
        "model.embed_tokens.weight": "embedding",
        "model.layers.0.input_layernorm.weight": "norm",
        "model.layers.0.mystery.weight": "unrecognised",
        "model.layers.0.self_attn.q_proj.bias": "bias",
        "lm_head.weight": "head",
    }
    assert set(listed["model"]) == {"run"}
    assert set(listed["step"]) == {5}
    rows = listed.set_index("tensor")
    assert rows.loc["model.layers.0.mystery.weight", "shape"] == (4, 5)
    assert rows.loc[Q.format(0), "shape"] == (20, 20)
    assert set(rows["dtype"]) == {"F16"}


def test_not_fitted_of_nothing_and_of_a_selection() -> None:
    assert wb.not_fitted(wb.scan({"a": {Q.format(0): normal(20, 20)}})).empty
    fits = wb.scan({"a": dense(1), "b": dense(1)})
    assert wb.not_fitted(fits.sel(model="b"))["model"].tolist() == ["b"]
    with pytest.raises(TypeError, match=r"xarray\.Dataset"):
        wb.not_fitted(fits["k"])  # type: ignore[arg-type]


def test_every_tensor_of_a_checkpoint_is_in_a_cell_or_listed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "tiny", layers=1, hidden=32, shards=2)
    with wb.open_checkpoint(path) as checkpoint:
        names = set(checkpoint.tensors)
    fits = wb.scan(path)
    found = set(fits["parameter"].values.ravel()) - {""}
    listed = set(wb.not_fitted(fits)["tensor"])
    assert found | listed == names
    assert not found & listed
    assert listed == {"model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"}
