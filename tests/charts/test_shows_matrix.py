"""The inside of a matrix: a picture of its cells, lines beside it, and circles on its outliers."""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from weibnb import charts
from weibnb.charts.inside import _SHADES
from weibnb.charts.vega import vega_lite


def planted(height: int = 60, width: int = 90) -> Any:
    weights = np.random.default_rng(0).normal(0, 0.02, (height, width)).astype(np.float32)
    weights[7, 81] = -1.5
    return weights


def tables(spec: Any) -> dict[str, list[dict[str, Any]]]:
    """Give the tables of a chart by a column that only it has."""
    rows = [rows for rows in spec["datasets"].values() if rows]
    return {key: some for some in rows for key in ("picture", "row_stop", "highest", "z")
            if key in some[0]}  # fmt: skip


def pixels(url: str) -> Any:
    """Decode a PNG of eight bits and four channels without filters, chunk by chunk."""
    data = b64decode(url.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 4)


@pytest.mark.parametrize("value", ["rms", "largest"])
def test_the_picture_has_one_pixel_a_cell_in_the_colours_of_the_legend(value: Any) -> None:
    weights = planted()
    weights[:10, :10] = np.nan
    found = wb.look_inside(weights, bins=30)
    spec = vega_lite(charts.matrix.spec(found, value=value))
    image = pixels(tables(spec)["picture"][0]["picture"])
    assert image.shape == (30, 30, 4)
    assert (image[..., 3] == 0).tolist() == np.isnan(found[value].values).tolist()
    smallest, largest = (
        "#" + bytes(image[np.unravel_index(pick(found[value].values), (30, 30))][:3]).hex()
        for pick in (np.nanargmin, np.nanargmax)
    )
    assert largest == _SHADES[-1]
    scale = spec["vconcat"][1]["hconcat"][0]["layer"][1]["encoding"]["color"]["scale"]
    assert scale["range"] == list(_SHADES)
    if scale["domain"][0] == np.nanmin(found[value]):
        assert smallest == _SHADES[0]
    inside = np.sort(found[value].values[np.isfinite(found[value].values)])
    assert inside[int(0.99 * inside.size)] <= scale["domain"][1] <= inside[-1]


def test_tooltips_cover_every_weight_once_and_hold_the_largest() -> None:
    weights = planted()
    places = tables(vega_lite(charts.matrix.spec(wb.look_inside(weights, bins=50))))["row_stop"]
    covered = np.zeros(weights.shape, int)
    for place in places:
        part = slice(place["row"], place["row_stop"]), slice(place["col"], place["col_stop"])
        covered[part] += 1
        assert place["largest"] == pytest.approx(np.abs(weights[part]).max(), rel=1e-5)
        assert place["rms"] == pytest.approx(np.sqrt((weights[part] ** 2).mean()), rel=1e-5)
    assert (covered == 1).all()
    assert len(places) <= 24 * 24


def test_outliers_are_marked_where_they_are_and_named_in_the_title() -> None:
    found = wb.look_inside(planted())
    spec = vega_lite(charts.matrix.spec(found))
    (circle,) = tables(spec)["z"]
    assert (circle["row"], circle["col"]) == (7, 81)
    assert (circle["at_row"], circle["at_col"]) == (7.5, 81.5)
    assert circle["value"] == pytest.approx(-1.5)
    assert spec["title"]["text"] == "weights of layer 0: 1 outlier"
    assert "-1.5 (-7" in spec["title"]["subtitle"][1]
    assert spec["title"]["subtitle"][1].endswith("at 7, 81")
    part = vega_lite(charts.matrix.spec(wb.look_inside(planted(), rows=(8, 60))))
    assert "z" not in tables(part), "it lies outside of the part"
    assert part["title"]["subtitle"][0] == "52 × 90 weights of 60 × 90 · |w| of each"


def test_lines_beside_the_map_are_those_of_the_weights() -> None:
    weights = planted()
    spec = vega_lite(charts.matrix.spec(wb.look_inside(weights)))
    lines = {
        next(dim for dim in ("row", "col") if dim in rows[0]): rows
        for rows in spec["datasets"].values()
        if rows and "highest" in rows[0]
    }
    expected = {"row": np.sqrt((weights**2).mean(1)), "col": np.sqrt((weights**2).mean(0))}
    for dim, rms in expected.items():
        np.testing.assert_allclose([row["rms"] for row in lines[dim]], rms, rtol=1e-5)


def test_pale_lines_are_the_highest_of_each_cell() -> None:
    weights = planted()
    spec = vega_lite(charts.matrix.spec(wb.look_inside(weights, bins=30)))
    for dim, axis in (("row", 1), ("col", 0)):
        rows = next(r for r in spec["datasets"].values() if r and {dim, "highest"} <= r[0].keys())
        each = np.sqrt((weights**2).mean(axis)).reshape(30, -1)
        np.testing.assert_allclose([row["highest"] for row in rows], each.max(1), rtol=1e-5)
        np.testing.assert_allclose(
            [row["rms"] for row in rows], np.sqrt((each**2).mean(1)), rtol=1e-5
        )


def test_rows_go_down_the_page() -> None:
    """The picture of the cells does: row 7 of 60 is near the top, column 81 of 90 at the right."""
    picture = show.svg(charts.matrix(wb.look_inside(planted())))
    circles = re.findall(r"z in its row and column[^>]*translate\(([\d.]+),([\d.]+)\)", picture)
    assert len(circles) == 2
    for x, y in circles:
        assert (float(x), float(y)) == pytest.approx((420 * 81.5 / 90, 280 * 7.5 / 60), abs=0.1)


@pytest.mark.parametrize("shape", [(2, 2), (1, 300), (300, 1), (600, 40)])
def test_any_shape_is_drawn(shape: tuple[int, int]) -> None:
    weights = np.random.default_rng(1).normal(size=shape)
    assert "image" in show.svg(charts.matrix(wb.look_inside(weights)))


def test_zeros_and_nothing_finite_are_drawn() -> None:
    for weights in (np.zeros((20, 20)), np.full((20, 20), np.nan)):
        charts.matrix(wb.look_inside(weights)).to_dict()


def test_fits_are_told_what_to_run(tmp_path: Any) -> None:
    fits = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": planted()}})
    with pytest.raises(ValueError, match=r"these are fits\. Run charts\.matrix\(wb\.look_inside\("):
        charts.matrix(fits)
    with pytest.raises(TypeError, match=r"`found` must be an xarray\.Dataset, got ndarray"):
        charts.matrix(planted())
    with pytest.raises(ValueError, match="`value` must be one of 'rms', 'largest'"):
        charts.matrix(wb.look_inside(planted()), value="k")  # type: ignore[arg-type]


def test_what_to_run_names_a_file_but_not_weights_in_memory() -> None:
    fits = show.run().isel(step=[0])
    for source, called in (("models/a", "'models/a'"), ("dict", "source")):
        with pytest.raises(ValueError, match=rf"wb\.look_inside\({called}, fits=fits"):
            charts.matrix(fits.assign(source=fits["source"].copy(data=[[source]])))
