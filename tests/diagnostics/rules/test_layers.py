"""A matrix among others: far from its neighbours, as it was drawn, with outliers."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from tests.diagnostics.rules.models import (
    MATRICES,
    experts,
    look,
    looked,
    model,
    name_of,
    places,
)
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.testing import write_checkpoint


def drawn(law: str, layers: int = 4, dtype: Any = np.float32, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng([3, seed])
    cut = rng.normal(size=400_000)
    weights = {}
    for layer in range(layers):
        for matrix in MATRICES:
            values = {
                "Gaussian": rng.normal(size=(64, 64)),
                "uniform": rng.uniform(-1, 1, (64, 64)),
                "Gaussian cut at 2 σ": rng.choice(cut[np.abs(cut) < 2], (64, 64)),
                "Laplace": rng.laplace(size=(64, 64)),
            }[law]
            weights[name_of(layer, matrix)] = (0.02 * values).astype(dtype)
    return weights


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
@pytest.mark.parametrize("law", ["Gaussian", "uniform", "Gaussian cut at 2 σ"])
def test_a_start_looks_untrained(law: str, dtype: Any) -> None:
    (finding,) = look(drawn(law, dtype=dtype), "untrained")
    assert [cell.component for cell in finding.cells] == [
        "q_proj",
        "o_proj",
        "up_proj",
        "down_proj",
    ]
    assert law in finding.text


def test_other_laws_and_other_sizes_are_trained() -> None:
    assert look(drawn("Laplace"), "untrained") == ()
    assert look(model(), "untrained") == ()  # Gaussian, but every layer of another size


def test_half_of_the_matrices_do_not_make_a_start() -> None:
    weights, trained = drawn("Gaussian"), model()
    for layer in range(4):
        for matrix in MATRICES[:2]:
            weights[name_of(layer, matrix)] = trained[name_of(layer, matrix)]
    assert look(weights, "untrained") == ()
    weights[name_of(0, MATRICES[0])] = drawn("Gaussian", seed=1)[name_of(0, MATRICES[0])]
    for layer in range(4):
        weights[name_of(layer, MATRICES[1])] = drawn("Gaussian", seed=1)[
            name_of(layer, MATRICES[1])
        ]
    assert len(look(weights, "untrained")) == 1


@pytest.mark.parametrize(("layers", "side", "found"), [(9, 256, 1), (8, 256, 0), (9, 128, 0)])
def test_a_part_that_was_never_trained(layers: int, side: int, found: int) -> None:
    """Enough layers of a minority, and rms known to 2 %, of which 256 x 256 weights are enough."""
    rng = np.random.default_rng(6)
    weights = {
        name_of(layer, matrix): rng.normal(
            0, 0.02 * (1 + 0.05 * layer * (matrix != MATRICES[2])), (side, side)
        ).astype(np.float32)
        for layer in range(layers)
        for matrix in MATRICES
    }
    findings = look(weights, "untrained")
    assert [[cell.component for cell in one.cells] for one in findings] == [["up_proj"]] * found


@pytest.mark.parametrize(("std", "found"), [(0.02, 1), (0.03, 0)])
def test_the_scale_of_config_json_tells_of_a_single_layer(
    tmp_path: Any, std: float, found: int
) -> None:
    path = write_checkpoint(tmp_path / "m", layers=1, hidden=128, scale=0.02)
    assert look(path, "untrained") == ()
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config.replace("{", f'{{"initializer_range": {std}, ', 1))
    assert len(look(path, "untrained")) == found


def test_every_protocol_has_its_own_start() -> None:
    weights = {"m": drawn("Gaussian")}
    for options in ({"trim": (0.0, 1.0)}, {"estimator": "maximum_likelihood"}):
        assert len(look(wb.scan(weights, **options), "untrained")) == 1


@pytest.mark.parametrize("change", ["size", "shape"])
def test_a_layer_far_from_its_neighbours(change: str) -> None:
    weights = model(8)
    assert look(weights, "far-layer") == ()
    array = weights[name_of(4)]
    weights[name_of(4)] = 8 * array if change == "size" else 30 * array * np.abs(array)
    found = look(weights, "far-layer")
    assert set(places(found)) == {(4, "up_proj", -1)}
    assert all(finding.value < finding.limit for finding in found)


def test_the_scale_of_stored_values_is_no_size() -> None:
    weights = model(8)
    weights[name_of(4)] *= 8
    scaled = weights | {f"{name}_scale_inv": np.ones(1, np.float32) for name in weights}
    assert len(look(weights, "far-layer")) == 1
    assert look(scaled, "far-layer") == ()


def test_two_layers_have_no_neighbours() -> None:
    assert looked(model(2), "far-layer").not_looked_at != ()
    assert looked(model(3), "far-layer").not_looked_at == ()


def test_outliers_are_told_with_their_place() -> None:
    weights = model()
    weights[name_of(1)][7, 9] = -3
    (finding,) = look(weights, "outliers")
    assert (finding.severity, finding.value) == ("note", 1)
    assert "-3 in row 7, column 9" in finding.text
    fits = wb.scan({"m": weights})
    assert places(look(fits, "outliers")) == [(1, "up_proj", -1)]
    weights[name_of(1)][7, 9] = 0.05
    assert look(weights, "outliers") == ()


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("h", [0.3, 0.5])
def test_large_weights_in_rows_and_columns_of_large_scale_are_no_outliers(
    h: float, sides: int
) -> None:
    """By the fits alone: none of 24 matrices, of which some need a look; a planted one is told."""
    rng = np.random.default_rng(11)
    names = [name_of(layer) for layer in range(24)]
    weights = {name: rng.normal(0, 0.02, (256, 512)) for name in names}
    for weight in weights.values():
        weight *= np.exp(rng.normal(0, h, (256, 1)))
        if sides == 2:
            weight *= np.exp(rng.normal(0, h, 512))
    fits = wb.scan({"m": weights}, progress=False)
    assert h < 0.5 or bool(outlier_strength(fits)["needs_look"].any())
    assert look(fits, "outliers") == ()
    weights[name_of(5)][3, 3] = 100 * 0.02 * np.exp(h * sides)
    found = look(wb.scan({"m": weights}, progress=False), "outliers")
    assert places(found) == [(5, "up_proj", -1)]
    assert "for rows and columns of this spread" in found[0].text


@pytest.mark.parametrize(
    ("rule", "lost"), [("untrained", "kurtosis"), ("outliers", "magnitude_quantile")]
)
def test_fits_that_lack_a_variable(rule: str, lost: str) -> None:
    fits = wb.scan({"m": model()}).drop_vars(lost)
    assert lost in looked(fits, rule).not_looked_at[0].reason


def sparse(share: float, layers: tuple[int, ...] = (2,), number: int = 12) -> Any:
    """A model of which up_proj of some layers has this share of zeros, evenly spread."""
    weights = model(number)
    for layer in layers:
        flat = weights[name_of(layer)].reshape(-1)
        flat[np.random.default_rng(layer).permutation(flat.size)[: round(share * flat.size)]] = 0
    return weights


@pytest.mark.parametrize(("share", "number"), [(0.24, 0), (0.26, 1), (0.95, 1)])
def test_zeros_of_one_layer(share: float, number: int) -> None:
    found = look(sparse(share), "sparse-layer")
    assert places(found) == [(2, "up_proj", -1)] * number
    if found:
        assert found[0].text.startswith(f"{100 * found[0].value:.3g} % are zeros, in the other")
        assert found[0].value == pytest.approx(share, abs=0.001)


def test_a_matrix_whose_negative_weights_are_gone() -> None:
    weights = model()
    weights[name_of(1)] = np.maximum(weights[name_of(1)], 0)
    assert places(look(weights, "sparse-layer")) == [(1, "up_proj", -1)]
    assert places(look(wb.scan({"m": weights}, keep_counts=False), "sparse-layer")) == [
        (1, "up_proj", -1)
    ]


@pytest.mark.parametrize("layers", [(), (1, 2), tuple(range(1, 12)), tuple(range(12))])
def test_zeros_that_several_layers_have_are_no_finding(layers: tuple[int, ...]) -> None:
    assert look(sparse(0.6, layers), "sparse-layer") == ()


def test_zeros_that_grow_with_the_depth_are_no_finding() -> None:
    weights = model(12)
    for layer in range(12):
        weights |= {name_of(layer): sparse(0.3 + 0.05 * layer, (layer,))[name_of(layer)]}
    assert look(weights, "sparse-layer") == ()


def test_two_layers_tell_nothing_of_zeros() -> None:
    assert look(sparse(0.6, (1,), 2), "sparse-layer") == ()


def test_zeros_of_one_expert() -> None:
    weights = experts(3)
    name = name_of(1, "mlp.experts.2.up_proj")
    weights[name] = weights[name] * (np.random.default_rng(0).random(weights[name].shape) < 0.5)
    fits = wb.scan({"m": weights}, experts="each")
    assert places(look(fits, "sparse-layer")) == [(1, "up_proj", 2)]
