"""Drift, bands, selection and storage: every edge from both sides, and every error message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import weibnb as wb
from weibnb.diagnostics import bands
from weibnb.diagnostics import drift as anchoring
from weibnb.diagnostics.attention import selection, storage_type
from weibnb.diagnostics.bands import BANDS, Band, judge, leaving, summarise
from weibnb.diagnostics.drift import drift
from weibnb.io.naming import tower, weight_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

GAUSSIAN = wb.anchor().k
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
TRANSMISSION = BANDS["transmission-feed-forward"]
DIMS = ("model", "layer", "component", "step")


def make(
    k: Any,
    *,
    se: float | None = 0.001,
    components: Sequence[str] = ("up_proj",),
    steps: Sequence[int] = (0,),
    trim: tuple[float, float] = (0.1, 0.9),
    estimator: str = "rank_regression",
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Fits with the given k, of shape (model, layer, component, step) after broadcasting."""
    values = np.asarray(k, float)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    variables: dict[str, Any] = {
        "k": (DIMS, values),
        "lam": (DIMS, np.full(values.shape, 0.02)),
        "status": (DIMS, np.where(np.isnan(values), "absent", "ok").astype(object)),
    }
    if se is not None:
        variables["k_se"] = (DIMS, np.full(values.shape, se))
    places = {
        "model": [f"m{i}" for i in range(values.shape[0])],
        "layer": range(values.shape[1]),
        "component": list(components),
        "step": list(steps),
        "weight_class": ("component", [weight_class(name) for name in components]),
        "tower": ("component", [tower(name) for name in components]),
    }
    attrs = {"estimator": estimator, "trim_lower": trim[0], "trim_upper": trim[1]}
    return xr.Dataset(variables, {**places, **(coords or {})}, attrs)


def cells(k: float, **options: Any) -> xr.Dataset:
    return make([[[[k]]]], **options)


def scan_one(draw: Callable[[tuple[int, int]], NDArray[Any]], size: int = 384) -> xr.Dataset:
    name = "model.layers.0.mlp.up_proj.weight"
    return wb.scan({"one": {name: draw((size, size)).astype(np.float32)}})


# --- drift -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(anchoring.NAMED_SHAPES))
def test_drift_names_the_shape_that_weights_were_drawn_from(name: str) -> None:
    rng = np.random.default_rng(1)
    word, parameter = anchoring.NAMED_SHAPES[name]

    def draw(shape: tuple[int, int]) -> NDArray[Any]:
        if word == "truncated_gaussian":
            many = rng.normal(size=2 * shape[0] * shape[1])
            return many[np.abs(many) < (parameter or 0)][: shape[0] * shape[1]].reshape(shape)
        if word == "student_t":
            return rng.standard_t(parameter or 0, shape)
        draws = {"gaussian": rng.normal, "laplace": rng.laplace}
        return draws[word](size=shape) if word in draws else rng.uniform(-1, 1, shape)

    moved = drift(scan_one(draw)).squeeze()
    assert moved.nearest_shape.item() == name
    assert moved.shape_distance.item() < anchoring.SHAPE_CLOSE
    assert moved.shape_resolved.item()


def test_drift_does_not_claim_a_shape_that_it_cannot_tell() -> None:
    rng = np.random.default_rng(0)
    small = drift(scan_one(lambda shape: rng.normal(size=shape), size=40)).squeeze()
    assert not small.shape_resolved.item()
    sharp = drift(scan_one(lambda shape: rng.normal(size=shape) ** 5)).squeeze()
    assert sharp.nearest_shape.item() == "none"
    assert not sharp.shape_resolved.item()


def test_drift_leaves_zeros_out_of_the_root_mean_square() -> None:
    rng = np.random.default_rng(0)
    sparse = scan_one(lambda shape: rng.normal(size=shape) * (rng.random(shape) < 0.3))
    assert sparse.zero_fraction.item() > 0.6
    assert drift(sparse).lam_over_rms.item() == pytest.approx(0.8875, abs=0.01)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("gaussian", None), ("uniform", None), ("truncated_gaussian", 2.0), ("student_t", 5.0)],
)
@pytest.mark.parametrize(
    ("trim", "estimator"),
    [
        ((0.1, 0.9), "rank_regression"),
        ((0.05, 0.95), "rank_regression"),
        ((0.0, 1.0), "maximum_likelihood"),
    ],
)
def test_drift_takes_the_anchor_of_the_protocol(
    name: Any, parameter: float | None, trim: tuple[float, float], estimator: Any
) -> None:
    anchor = wb.anchor(name, trim=trim, estimator=estimator, parameter=parameter)
    fits = cells(anchor.k + 0.003, trim=trim, estimator=estimator)
    moved = drift(fits, anchor=name, parameter=parameter)
    assert moved.delta_k.item() == pytest.approx(0.003)
    assert moved.delta_k_percent.item() == pytest.approx(0.3 / anchor.k)
    assert moved.z.item() == pytest.approx(3)
    xr.testing.assert_equal(moved.delta_k, drift(fits, anchor=anchor).delta_k)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("percent", "se_percent", "word"),
    [
        (0.0, 0.9, "invariant"),
        (0.0, 1.1, "not resolved"),
        (0.8, 0.1, "invariant"),
        (0.95, 0.1, "not resolved"),
        (1.05, 0.1, "not resolved"),
        (1.2, 0.1, "mild"),
        (1.0, 0.0, "mild"),
        (29.0, 0.5, "mild"),
        (29.8, 0.5, "not resolved"),
        (30.2, 0.5, "not resolved"),
        (31.0, 0.5, "strong"),
    ],
)
def test_drift_severity_on_both_sides_of_its_edges(
    percent: float, se_percent: float, word: str, sign: int
) -> None:
    k = GAUSSIAN * (1 + sign * (percent + 1e-9) / 100)
    moved = drift(cells(k, se=GAUSSIAN * se_percent / 100))
    assert moved.severity.item() == word


def test_drift_from_step_zero_combines_both_errors() -> None:
    fits = make([[[[1.20, 1.10, np.nan]]], [[[np.nan, 1.1, 1.1]]]], se=0.003, steps=(0, 100, 200))
    fits["k_se"][:, :, :, 1] = 0.004
    moved = drift(fits, anchor="step0").isel(layer=0, component=0)
    assert moved.delta_k.dims == ("model", "step")
    first = moved.sel(model="m0")
    assert first.delta_k.values[:2] == pytest.approx([0, -0.1])
    assert first.z.values[1] == pytest.approx(-20)
    assert first.severity.values.tolist() == ["invariant", "mild", "absent"]
    assert moved.sel(model="m1").severity.values.tolist() == ["absent", "no anchor", "no anchor"]


@pytest.mark.parametrize(("steps", "shown"), [((0,), r"\[0\]"), ((5, 10), r"\[5, 10\]")])
def test_drift_needs_step_zero_and_another(steps: tuple[int, ...], shown: str) -> None:
    fits = make([[[[1.2] * len(steps)]]], steps=steps)
    with pytest.raises(ValueError, match=rf"step 0 and another one .*got {shown}.*gaussian"):
        drift(fits, anchor="step0")


def test_drift_of_cells_without_a_fit_says_why() -> None:
    fits = make([[[[np.nan], [np.nan], [1.2]]]], components=FEED_FORWARD)
    fits["status"][0, 0, :, 0] = ["all_zero", "ok", "ok"]
    moved = drift(fits)
    assert moved.severity.values.ravel().tolist() == ["all_zero", "not fitted", "invariant"]
    assert moved.nearest_shape.values.ravel().tolist() == ["all_zero", "not fitted", "unknown"]


def test_drift_without_errors_goes_by_the_value_and_with_a_missing_one_does_not() -> None:
    assert drift(cells(1.2, se=None)).severity.item() == "invariant"
    assert drift(cells(1.2, se=np.nan)).severity.item() == "not resolved"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor": "gausian"}, r"`anchor` must be one of .*'step0', got 'gausian'.*'gaussian'\?"),
        ({"anchor": "step0", "parameter": 2.0}, r"`parameter` must be omitted"),
        ({"anchor": "gaussian", "parameter": 2.0}, r"`parameter` must be omitted"),
        ({"anchor": wb.anchor(trim=(0.0, 1.0))}, r"trim \(0.0, 1.0\), got .*refit"),
    ],
)
def test_drift_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift(cells(1.2), **options)


def test_results_save_and_open(tmp_path: Any) -> None:
    fits = cells(1.2)
    for result in (drift(fits), judge(fits), selection(cells(1.0, components=("q_proj",)))):
        result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as again:
            xr.testing.assert_equal(result, again.load())


# --- judge -------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", BANDS.values(), ids=list(BANDS))
@pytest.mark.parametrize("se", [0.0, 1e-4, 1e-3])
def test_verdict_on_both_sides_of_every_edge(band: Band, se: float) -> None:
    def word(k: float) -> str:
        fits = cells(k, se=se, components=band.components[:1])
        return str(judge(fits, band).verdict.item())

    step = 1.01 * se + 1e-9
    assert word(band.lower - step) == "below"
    assert word(band.lower + step) == "in"
    assert word(band.upper - step) == "in"
    assert word(band.upper + step) == "above"
    for edge in (band.lower, band.upper):
        expected = "in" if se == 0 else "not resolved"
        assert word(edge) == expected
        if se:
            assert {word(edge - 0.99 * se), word(edge + 0.99 * se)} == {"not resolved"}


def test_far_above_is_lighter_than_any_gaussian_for_certain() -> None:
    edge = 1.01 * GAUSSIAN
    assert judge(cells(GAUSSIAN, se=1e-4)).verdict.item() == "above"
    assert judge(cells(edge + 0.0049, se=0.001)).verdict.item() == "above"
    assert judge(cells(edge + 0.0051, se=0.001)).verdict.item() == "far above"
    assert judge(cells(1.3751, se=0.001)).verdict.item() == "far above"
    own = Band("wide", "1", 1.0, 1.5, "cell", ("up_proj",), "this test")
    assert judge(cells(1.3751, se=0.001), own).verdict.item() == "in"


def test_an_error_wider_than_the_band_resolves_nothing_inside() -> None:
    middle = (TRANSMISSION.lower + TRANSMISSION.upper) / 2
    assert judge(cells(middle, se=0.02)).verdict.item() == "not resolved"


@given(
    st.lists(st.floats(0.3, 2.0), min_size=2, max_size=30),
    st.floats(0.0, 0.05),
    st.sampled_from(sorted(BANDS)),
)
def test_verdict_is_monotone_in_k(values: list[float], se: float, name: str) -> None:
    band = BANDS[name]
    ordered = np.sort(values)
    fits = make(ordered[None, :, None, None], se=se, components=band.components[:1])
    words = judge(fits, band).verdict.values.ravel()
    rank = {"below": 0, "in": 2, "above": 4, "far above": 5}
    middle = (band.lower + band.upper) / 2
    ranks = [rank.get(str(w), 1 if k < middle else 3) for k, w in zip(ordered, words, strict=True)]
    assert ranks == sorted(ranks)


def test_cells_without_a_fit_are_not_fitted() -> None:
    judged = judge(cells(np.nan))
    assert judged.verdict.item() == "not fitted"
    assert np.isnan(judged.distance.item())


def test_judge_keeps_the_components_of_the_band_in_every_tower() -> None:
    names = ["q_proj", "up_proj", "vision.up_proj", "shared_expert.down_proj", "gate_up_proj"]
    fits = make(np.full((1, 2, 5, 1), 1.195), components=names)
    judged = judge(fits)
    assert judged.component.values.tolist() == names[1:4]
    with pytest.raises(ValueError, match=r"one tower for by='model', got '', 'vision'. Select"):
        judge(fits, by="model")
    assert judge(fits.sel(component=fits.tower == ""), by="model").verdict.item() == "in"
    one = fits.isel(component=1, model=0)
    assert judge(one, by="model").verdict.item() == "in"
    assert judge(one).verdict.dims == DIMS
    assert drift(one).severity.dims == ("layer", "step")


@pytest.mark.parametrize("missing", [False, True])
def test_medians_are_those_of_numpy(missing: bool) -> None:
    rng = np.random.default_rng(0)
    k = rng.normal(1.195, 0.004, (3, 9, 3, 2))
    if missing:
        k[rng.random(k.shape) < 0.2] = np.nan
    fits = make(k, components=FEED_FORWARD, steps=(0, 1))
    layer, component = np.nanmedian(k, 2), np.nanmedian(k, 1)
    np.testing.assert_allclose(judge(fits, by="layer").k, layer)
    np.testing.assert_allclose(judge(fits, by="component").k, component)
    np.testing.assert_allclose(judge(fits, by="model").k, np.nanmedian(component, 1))
    some = judge(fits, by="component", layers=(2, 5)).k
    np.testing.assert_allclose(some, np.nanmedian(k[:, 2:6], 1))
    assert judge(fits, by="model").verdict.dims == ("model", "step")


def test_experts_are_reduced_before_layers() -> None:
    k = np.array([[1.1, 1.19, 1.2], [1.0, 1.195, 1.3]])
    fits = make(k[:, 0][None, :, None, None]).drop_vars(["k", "status", "k_se"])
    dims = ("model", "layer", "component", "step", "expert")
    fits["k"] = (dims, k[None, :, None, None, :])
    fits["k_se"] = fits["k"] * 0 + 0.001
    fits["status"] = xr.full_like(fits["k"], "ok", object)
    assert judge(fits, by="model").k.item() == pytest.approx((1.19 + 1.195) / 2)
    assert judge(fits).verdict.sizes["expert"] == 3


def test_standard_error_of_a_median_over_layers_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    for layers in (6, 24, 40):
        k = rng.normal(1.195, 0.004, (4000, layers, 1, 1))
        summary = summarise(make(k, se=1e-6), by="component")
        truth = summary.k.std("model").item()
        assert summary.standard_error.mean().item() == pytest.approx(truth, rel=0.15)


def test_standard_error_is_never_below_that_of_the_cells() -> None:
    equal = summarise(make(np.full((1, 8, 3, 1), 1.19), se=0.002, components=FEED_FORWARD))
    np.testing.assert_allclose(equal.standard_error, np.hypot(0.002, 0.002) / 2)
    single = summarise(make(np.full((1, 1, 3, 1), 1.19), se=0.002, components=FEED_FORWARD))
    np.testing.assert_allclose(single.standard_error, 0.002)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": "transmision"}, r"`band` must be one of .*got 'transmision'.*'transmission-"),
        ({"by": "modell"}, r"`by` must be one of 'cell', .*got 'modell'. Did you mean 'model'\?"),
        ({"band": "selection-gqa"}, r"must hold one of 'q_proj', 'k_proj', got up_proj"),
        ({"layers": (3, 1)}, r"`layers` must satisfy first <= last, got \(3, 1\)"),
        ({"layers": 3}, r"`layers` must satisfy first <= last, got 3"),
        ({"layers": (7, 9)}, r"`layers` must lie within 0 to 0, got \(7, 9\)"),
    ],
)
def test_judge_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(cells(1.19), **options)


@pytest.mark.parametrize(
    "options",
    [{"trim": (0.05, 0.95)}, {"estimator": "maximum_likelihood", "trim": (0.0, 1.0)}],
)
def test_bands_hold_for_the_published_protocol_only(options: dict[str, Any]) -> None:
    fits = cells(1.19, components=("q_proj",), **options)
    with pytest.raises(ValueError, match=r"trim \(0.1, 0.9\), got .*weibnb.refit\(fits, trim"):
        judge(fits, "selection-gqa")
    with pytest.raises(ValueError, match="refit"):
        selection(fits)


def test_bands_are_checked_when_made() -> None:
    with pytest.raises(ValueError, match="0 < lower < upper, got"):
        Band("b", "1", 1.2, 1.1, "cell", ("up_proj",), "this test")
    with pytest.raises(ValueError, match="`components` must be a tuple"):
        Band("b", "1", 1.0, 1.1, "cell", "up_proj", "this test")  # type: ignore[arg-type]
    assert all(name == band.name for name, band in BANDS.items())


def test_leaving_lists_what_is_out_for_certain_farthest_first() -> None:
    k = np.array([1.195, 1.1855, 1.17, 1.375, np.nan])[None, :, None, None]
    table = leaving(make(k))
    assert table.columns.tolist() == [*DIMS, "k", "standard_error", "distance", "verdict"]
    assert table[["layer", "verdict"]].values.tolist() == [[3, "far above"], [2, "below"]]
    assert table.distance.tolist() == pytest.approx([0.171, -0.016])
    assert len(leaving(make(k), layers=(0, 1))) == 0


def test_coefficient_of_variation_is_that_of_the_entry_statistic() -> None:
    values = np.array([1.18, 1.20, 1.19])
    spread = bands.coefficient_of_variation(make(values[:, None, None, None]))
    expected = 100 * values.std(ddof=1) / values.mean()
    assert spread.coefficient_of_variation.item() == pytest.approx(expected)
    assert spread.standard_error.item() == pytest.approx(expected / 2)
    with pytest.raises(ValueError, match=r"at least two models .*got 1"):
        bands.coefficient_of_variation(cells(1.19))


# --- storage and selection ---------------------------------------------------------------------


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
        (GAUSSIAN, 0.001, "above transmission"),
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


def test_arguments_that_are_no_fits() -> None:
    verbs: list[Any] = [drift, judge, leaving, selection, storage_type, summarise]
    for verb in verbs:
        with pytest.raises(TypeError, match=r"`fits` must be an xarray\.Dataset"):
            verb(3)
        with pytest.raises(ValueError, match="lacks"):
            verb(xr.Dataset({"k": 1.0}))
