"""Scales beside weights of 8 bits, against numpy's own tiles."""

from __future__ import annotations

import numpy as np
import pytest

import weibnb as wb
from weibnb.io.scales import read_scales, scale_name, scaled
from weibnb.testing import write_safetensors

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("shape", "scales"),
    [
        ((6, 8), ()),
        ((6, 8), (1,)),
        ((6, 8), (6,)),
        ((6, 8), (6, 1)),
        ((256, 384), (2, 3)),
        ((576, 200), (5, 2)),  # blocks of 128, cut at the end
        ((3, 64), (3, 2)),  # 32 to a block of one row
    ],
)
def test_scales_tile_the_matrix(shape: tuple[int, int], scales: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype("f4")
    factors = rng.uniform(0.5, 2, scales).astype("f4")
    found = scaled(values, factors)
    table = factors.reshape((*scales, 1) if len(scales) == 1 else scales or (1, 1))
    known: dict[tuple[int, ...], tuple[int, int]] = {
        (5, 2): (128, 128),
        (2, 3): (128, 128),
        (3, 2): (1, 32),
        (6, 1): (1, 8),
    }
    sides = known.get(table.shape, shape)
    for row, col in [(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 3)]:
        expected = values[row, col] * table[row // sides[0], col // sides[1]]
        assert found[row, col] == expected


@pytest.mark.parametrize("scales", [(3, 1), (2, 5), (0,), (2, 2, 2)])
def test_scales_that_do_not_tile(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not tile a side|are not applied"):
        scaled(np.ones((100, 100), "f4"), np.ones(scales, "f4"))


def test_names_and_formats(tmp_path: object) -> None:
    path = f"{tmp_path}/a.safetensors"
    about = {
        f"{NAME}_scale_inv": ("BF16", (2,)),
        "a.weight_scale": ("F8_E8M0", (3,)),
        "b.scale": ("F16", (1,)),
        "c.weight_scale": ("I8", (1,)),
    }
    data = [
        np.array([0x3F80, 0x4000], "u2"),
        np.array([127, 128, 0], "u1"),
        np.array([0.5], "f2"),
        np.array([1], "i1"),
    ]
    with wb.open_checkpoint(write_safetensors(path, about, data)) as opened:
        names = [scale_name(name, opened.tensors) for name in (NAME, "a.weight", "b.weight", "d")]
        assert names == [f"{NAME}_scale_inv", "a.weight_scale", "b.scale", None]
        found = [read_scales(opened, str(name)).tolist() for name in names[:3]]
        assert found == [[1.0, 2.0], [1.0, 2.0, 2.0**-127], [0.5]]
        with pytest.raises(wb.CheckpointError, match="scales of the format I8 are not applied"):
            read_scales(opened, "c.weight_scale")
