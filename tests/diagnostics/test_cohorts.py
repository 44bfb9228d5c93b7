"""The published tables: every finding that follows from them, and comparison with a scan."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import weibnb as wb
from weibnb.diagnostics.attention import selection, storage_type
from weibnb.diagnostics.bands import coefficient_of_variation, judge, leaving
from weibnb.diagnostics.budget import training_budget
from weibnb.diagnostics.cohorts import (
    CLOSE,
    compare,
    load_cohort,
    nearest_published,
    qwen_cohort,
    reference_cohort,
)
from weibnb.diagnostics.dynamics import first_departure, lambda_scaling, paired_growth, split_growth
from weibnb.testing import llama_shapes

if TYPE_CHECKING:
    from pathlib import Path

PYTHIA = ["pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-6.9b"]


def scanned(*, seed: int = 0, names: str = "", scale: float = 0.02) -> xr.Dataset:
    """Fits of Gaussian weights with the names of Llama, or those of them that hold `names`."""
    rng = np.random.default_rng(seed)
    shapes = llama_shapes(layers=3, hidden=64, intermediate=128, kv_share=4)
    return wb.scan(
        {
            "tiny": {
                name: rng.normal(0, scale, shape).astype(np.float32)
                for name, shape in shapes.items()
                if names in name
            }
        }
    )


def as_fits(entry: str, *, se: float, shift: float = 0.0, layers: int = 3) -> xr.Dataset:
    """Fits whose medians are those of an entry, all moved by `shift`."""
    one = reference_cohort().sel(model=[entry])
    one = one.drop_vars(["layer", "step", "protocol"]).expand_dims(layer=range(layers), step=[0])
    one = one.transpose("model", "layer", "component", "step")
    one = one.assign(k=one["k"] + shift, status=one["status"].astype(object))
    return one.assign(k_se=xr.full_like(one["k"], se)).assign_coords(model=["mine"])


def join(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    return xr.concat(parts, dim, coords="minimal", compat="override", join="outer")


# --- the tables --------------------------------------------------------------------------------


def test_the_former_name_warns_and_two_models_are_sent_to_diff() -> None:
    cohort = reference_cohort()
    with pytest.warns(FutureWarning, match="is weibnb.nearest_published now"):
        table = compare(cohort)
    assert table.equals(nearest_published(cohort))
    for pair in (("base", "tuned"), (cohort, "tuned")):
        with pytest.raises(TypeError, match=r"Use wb\.diff\(before, after\) to compare"):
            compare(*pair)


def test_cohorts_are_complete_and_cite_their_source() -> None:
    reference, qwen = reference_cohort(), qwen_cohort()
    assert dict(reference.sizes) == {"model": 12, "component": 8}
    assert dict(qwen.sizes) == {"model": 11, "component": 7}
    assert len(set(reference.family.values)) == 7
    assert int(reference.k.notnull().sum()) == 5 * 4 + 7 * 7
    assert int(qwen.k.notnull().sum()) == 77
    for cohort in (reference, qwen):
        assert (cohort.k.notnull() == cohort.lam.notnull()).all()
        assert ((cohort.status == "ok") == cohort.k.notnull()).all()
        assert "2605.18898" in cohort.attrs["citation"]
        assert cohort.attrs["trim_lower"] == 0.1
        assert cohort.protocol.values.tolist() == ["rank regression, trim 10–90 %"] * len(
            cohort.model
        )
    assert {"n_kv_heads", "t_over_tau", "qk_norm", "n_layers"} <= set(reference.coords)
    assert {"regime", "n_layers"} <= set(qwen.coords)


def test_a_cohort_is_a_fresh_copy() -> None:
    reference_cohort().k[:] = 0
    assert reference_cohort().k.max().item() > 1


def test_timescales_follow_from_the_hyperparameters() -> None:
    cohort = reference_cohort()
    tau = 1 / (cohort.learning_rate * cohort.weight_decay)
    np.testing.assert_allclose(cohort.tau, tau, atol=0.5)
    np.testing.assert_allclose(cohort.t_over_tau, cohort.steps / tau, rtol=2.5e-3)


def test_storage_of_the_entries_follows_from_heads_and_components() -> None:
    cohort = reference_cohort()
    assert storage_type(cohort).values.tolist() == cohort.storage.values.tolist()


def test_outlying_layers_of_selection_are_those_of_olmo() -> None:
    cohort = reference_cohort()
    assert (cohort.low_r2_layers <= cohort.n_layers).all()
    assert cohort.low_r2_layers.idxmax().item() == "olmo-1-7b"


def test_qwen_regimes_are_told_by_the_shallow_layers() -> None:
    qwen = qwen_cohort()
    shallow = qwen.shallow_median_k_gate
    assert ((shallow < 1.1) == (qwen.regime == "B")).all()
    assert (qwen.deep_median_k_gate > 1.17).all()
    assert (qwen.shallow_min_k < shallow).all()


def test_entries_of_both_cohorts_agree() -> None:
    for ours, theirs in {"qwen2.5-14b": "Qwen2.5-14B", "qwen3-8b": "Qwen3-8B"}.items():
        one = reference_cohort().k.sel(model=ours).dropna("component")
        two = qwen_cohort().k.sel(model=theirs)
        np.testing.assert_array_equal(one, two)


# --- the findings ------------------------------------------------------------------------------


def test_transmission_band_on_the_feed_forward_medians() -> None:
    judged = judge(reference_cohort(), "transmission-feed-forward", by="model")
    assert round(judged.k.min().item(), 3) == 1.187
    assert round(judged.k.max().item(), 3) == 1.204
    assert set(judged.verdict.values) == {"in"}
    assert np.isnan(judged.standard_error).all()


def test_transmission_spread_is_half_a_percent() -> None:
    spread = coefficient_of_variation(reference_cohort())
    value, models = spread.coefficient_of_variation.item(), spread.models.item()
    assert value == pytest.approx(0.48, abs=0.005)
    assert value * np.sqrt((models - 1) / models) == pytest.approx(0.46, abs=0.005)
    assert abs(value - 0.51) < spread.standard_error.item()  # what was published


def test_output_projection_leaves_the_band_in_five_entries() -> None:
    table = leaving(reference_cohort(), "transmission-abstract", by="component")
    table = table[table["component"] == "o_proj"]
    out = {"olmo-1-7b": 1.041, "qwen2.5-7b": 1.166, "qwen3-8b": 1.180}
    out |= {"pythia-70m": 1.184, "llama-3-8b": 1.184}
    assert table["model"].tolist()[:3] == list(out)[:3]
    assert dict(zip(table["model"], table["k"], strict=True)) == pytest.approx(out, abs=6e-4)
    assert set(table["verdict"]) == {"below"}


@pytest.mark.parametrize(
    ("storage", "components", "lowest", "highest"),
    [
        ("separate MHA", ["q_proj", "k_proj"], 0.760, 0.990),
        ("GQA", ["q_proj", "k_proj"], 1.103, 1.164),
        ("fused", ["qkv_proj"], 1.049, 1.176),
    ],
)
def test_selection_ranges(
    storage: str, components: list[str], lowest: float, highest: float
) -> None:
    cohort = reference_cohort()
    chosen = [str(word).startswith(storage) for word in storage_type(cohort).values]
    k = cohort.k.isel(model=chosen).sel(component=components)
    assert k.min().item() == pytest.approx(lowest, abs=6e-4)
    assert k.max().item() == pytest.approx(highest, abs=6e-4)


def test_severity_of_selection_orders_the_storage_types() -> None:
    severity = selection(reference_cohort()).severity
    words = {
        storage: set(severity.where(severity.storage_type == storage, drop=True).values.ravel())
        for storage in ("separate MHA", "fused", "GQA 4:1")
    }
    assert words["separate MHA"] == {"deep", "absent"}
    assert words["fused"] == {"mild", "near-transmission", "absent"}
    assert words["GQA 4:1"] == {"mild", "near-transmission", "absent"}


def test_fused_selection_falls_with_training_but_for_the_two_largest() -> None:
    pythia = reference_cohort().sel(model=PYTHIA, component="qkv_proj")
    assert (pythia.t_over_tau.diff("model") <= 0).all()
    assert np.argsort(pythia.k.values).tolist() == [0, 1, 2, 4, 3]


def test_what_the_tables_say_of_k_and_the_budget_and_of_k_and_lam() -> None:
    """The published words go further: see the findings in docs/diagnostics.md."""
    cohort = reference_cohort()
    fused = cohort.sel(model=cohort.k.sel(component="qkv_proj").notnull().values)
    budget = stats.spearmanr(fused.k.sel(component="qkv_proj"), fused.t_over_tau)
    assert budget.statistic == pytest.approx(-0.82, abs=5e-3)
    assert budget.pvalue == pytest.approx(0.09, abs=5e-3)
    for component, expected in {"k_proj": 0.89, "qkv_proj": -0.90}.items():
        entries = cohort.sel(component=component).dropna("model", subset=["k"])
        found = stats.spearmanr(entries.k, entries.lam)
        assert found.statistic == pytest.approx(expected, abs=5e-3)
        assert found.pvalue < 0.05


def test_an_edge_of_selection_parts_entries_of_one_storage() -> None:
    cohort = reference_cohort()
    k, storage = cohort.k.sel(component=["q_proj", "k_proj", "qkv_proj"]), storage_type(cohort)
    for word, above, of in (("GQA", 3, 10), ("fused", 2, 5), ("separate MHA", 0, 4)):
        some = k.values[storage.str.startswith(word).values]
        some = some[np.isfinite(some)]
        assert ((some > 1.15).sum(), some.size) == (above, of)


def test_scale_of_pythia_follows_the_optimiser() -> None:
    pythia = reference_cohort().sel(model=PYTHIA)
    lam = pythia.lam.sel(component=["o_proj", "up_proj", "down_proj"]).mean("component")
    force = np.sqrt(pythia.learning_rate / pythia.weight_decay)
    # three digits of λ leave r between 0.936 and 0.944
    assert np.corrcoef(lam, force)[0, 1] == pytest.approx(0.94, abs=5e-4)
    slope = (lam * force).sum() / (force**2).sum()
    assert slope.item() == pytest.approx(0.0854, abs=5e-5)


# --- compare -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cohort", [reference_cohort, qwen_cohort])
def test_every_entry_finds_itself(cohort: Any) -> None:
    entries = cohort()
    nearest = nearest_published(entries, entries).groupby("model", sort=False).first()
    assert nearest["entry"].tolist() == nearest.index.tolist() == entries.model.values.tolist()
    assert (nearest["distance"] == 0).all()
    assert (nearest["note"] == "").all()


def test_columns_and_order_of_the_comparison() -> None:
    table = nearest_published(reference_cohort())
    assert len(table) == 144
    columns = ["model", "entry", "distance", "standard_error", "shared_components", "note"]
    assert table.columns.tolist() == columns
    for _, part in table.groupby("model"):
        blind = part["note"].str.contains("no shared selection component")
        assert blind.is_monotonic_increasing
        assert part.loc[~blind, "distance"].is_monotonic_increasing
        assert part.loc[blind, "distance"].is_monotonic_increasing


def test_fused_and_separate_storage_meet_in_transmission_only() -> None:
    table = nearest_published(reference_cohort())
    fused_model, fused_entry = table["model"].isin(PYTHIA), table["entry"].isin(PYTHIA)
    across = table[fused_model != fused_entry]
    assert set(across["shared_components"]) == {3}
    assert across["note"].str.contains("no shared selection component").all()
    within = table[fused_model == fused_entry]
    assert set(within.loc[fused_model, "shared_components"]) == {4}
    assert set(within.loc[~fused_model, "shared_components"]) == {7}
    assert not within["note"].str.contains("no shared").any()


def test_distance_is_in_spreads_between_entries() -> None:
    cohort = reference_cohort()
    k, spread = cohort.k, cohort.k.std("model", ddof=1)
    z = (k.sel(model="mistral-7b") - k.sel(model="llama-3-8b")) / spread
    table = nearest_published(cohort).set_index(["model", "entry"])
    expected = float(np.sqrt((z**2).mean()))
    assert table.loc[("mistral-7b", "llama-3-8b"), "distance"] == pytest.approx(expected)


@pytest.mark.parametrize(("se", "tied"), [(1e-6, False), (0.02, True)])
def test_entries_that_noise_cannot_separate_are_tied(se: float, tied: bool) -> None:
    between = as_fits("pythia-1b", se=se)
    other = reference_cohort().k.sel(model="pythia-6.9b")
    between["k"] = (between["k"] + other) * 0.5
    between["k"] = between["k"] + 1e-4
    table = nearest_published(between)
    assert set(table["entry"][:2]) == {"pythia-1b", "pythia-6.9b"}
    assert (table["note"][:2] == "tied").all() == tied
    assert "tied" not in table["note"].iloc[-1]


def test_standard_error_of_a_distance_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    fits = as_fits("llama-3-8b", se=0.001, shift=0.01, layers=1)
    many = join([fits.assign_coords(model=[f"m{i}"]) for i in range(400)], "model")
    many["k"] = many["k"] + rng.normal(0, 0.001, many["k"].shape)
    table = nearest_published(many)
    far = table[table["entry"] == "olmo-2-7b"]
    assert far["standard_error"].mean() == pytest.approx(far["distance"].std(), rel=0.1)


def test_nothing_close_and_untrained() -> None:
    far = nearest_published(as_fits("mistral-7b", se=1e-4, shift=-0.3))
    assert far["distance"].iloc[0] > CLOSE
    assert far["note"].iloc[0] == "nothing close"
    assert (far["note"].iloc[1:] != "nothing close").all()
    sure, noisy = (
        nearest_published(as_fits("mistral-7b", se=se, shift=-0.025)) for se in (1e-4, 0.1)
    )
    assert noisy["distance"].iloc[0] == sure["distance"].iloc[0] > CLOSE
    assert "nothing close" in sure["note"].iloc[0]
    assert "nothing close" not in noisy["note"].iloc[0]
    new = nearest_published(scanned())
    assert "untrained is closer" in new["note"].iloc[0]
    assert np.isfinite(new["standard_error"]).all()


def test_compare_takes_the_last_step_of_each_model_or_the_given_one() -> None:
    early, late = as_fits("olmo-1-7b", se=1e-4), as_fits("mistral-7b", se=1e-4)
    run = join([early, late.assign_coords(step=[9])], "step")
    short = run.copy(deep=True).assign_coords(model=["short"])
    short["k"] = short["k"].where(short["step"] < 9)
    both = join([run, short], "model")
    nearest = nearest_published(both).groupby("model")["entry"].first()
    assert nearest.to_dict() == {"mine": "mistral-7b", "short": "olmo-1-7b"}
    assert (
        nearest_published(both, step=0).groupby("model")["entry"].first().tolist()
        == ["olmo-1-7b"] * 2
    )
    with pytest.raises(ValueError, match=r"`step` must be one of 0, 9, got 5"):
        nearest_published(run, step=5)


def test_a_cohort_of_your_own() -> None:
    own = join(
        [
            as_fits("olmo-1-7b", se=0.01).assign_coords(model=["first"]),
            as_fits("mistral-7b", se=0.01).assign_coords(model=["second"]),
        ],
        "model",
    )
    table = nearest_published(as_fits("mistral-7b", se=0.01, shift=0.001), own)
    assert table["entry"].tolist() == ["second", "first"]
    with pytest.raises(ValueError, match="at least two entries that differ"):
        nearest_published(own, own.isel(model=[0]))


def test_models_that_share_nothing() -> None:
    fits = scanned(names="v_proj")
    pythia = reference_cohort().sel(model=PYTHIA)
    with pytest.raises(ValueError, match=r"share a fitted component .*qkv_proj.*tiny does not"):
        nearest_published(fits, pythia)
    empty = reference_cohort().copy(deep=True)
    empty["k"][3] = np.nan
    with pytest.raises(ValueError, match=r"; pythia-1b does not. Leave it out"):
        nearest_published(empty)


def test_protocols_must_agree() -> None:
    fits = wb.refit(scanned(), trim=(0.05, 0.95))
    with pytest.raises(ValueError, match=r"The cohort must .*weibnb.refit\(fits, trim=\(0.1, 0.9"):
        nearest_published(fits)


# --- the packaged cohort -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stdlib() -> xr.Dataset:
    return load_cohort("stdlib")


def test_packaged_cohort_is_complete_and_small(stdlib: xr.Dataset) -> None:
    file = resources.files("weibnb") / "data" / "cohort" / "stdlib.nc"
    assert len(file.read_bytes()) < 5_000_000
    assert stdlib.k.dims == ("model", "layer", "component", "step")
    assert stdlib.sizes["model"] == 13
    assert stdlib.step.values.tolist() == [0, 100, 500, 1500]
    assert set(np.unique(stdlib.status)) == {"ok", "absent"}
    assert (stdlib.k.notnull() == (stdlib.status == "ok")).all()
    assert isinstance(stdlib.counts.variable._data, np.ndarray)
    assert set(stdlib.attention.values) == {"separate", "gqa", "fused"}
    assert set(stdlib.mlp.values) == {"gated", "gelu"}
    assert set(stdlib.init.values) == {"normal", "uniform"}
    assert set(stdlib.seed.values) == {0, 1}
    assert set(stdlib.hidden_size.values) == {128, 192}
    rates = zip(stdlib.learning_rate.values, stdlib.weight_decay.values, strict=True)
    assert len({(lr, wd) for lr, wd in rates if wd}) == 6
    assert stdlib.source.sel(model="gqa").values.tolist()[0] == "gqa/step0"


def test_the_recorded_run_is_the_base_of_the_cohort(stdlib: xr.Dataset) -> None:
    file = resources.files("weibnb") / "data" / "cohort" / "stdlib-recorded.nc"
    assert len(file.read_bytes()) < 2_000_000
    recorded = load_cohort("stdlib-recorded")
    base = stdlib.sel(model=recorded.model.values, component=recorded.component.values)
    assert recorded.sizes["step"] == 60
    assert set(stdlib.step.values) <= set(recorded.step.values)
    assert (recorded.status == "ok").all()
    same = recorded.sel(step=stdlib.step.values)
    assert abs(same.rms / base.rms - 1).sel(step=[0, 100]).max() < 2e-3  # base: in bfloat16
    assert abs(same.rms / base.rms - 1).max() < 0.05  # rounding of another machine has grown
    assert abs(same.eval_loss - base.eval_loss).max() < 0.01
    for name in ("learning_rate", "weight_decay", "steps", "attention", "mlp", "init", "seed"):
        assert recorded[name].values == base[name].values, name
    found = wb.forces(recorded)
    assert (abs(found.residual) < 1e-6 * found.squared_norm).all()
    named = ("from_alignment", "from_injection", "from_decay")
    largest = max(abs(found[name]).max() for name in named)
    assert abs(found.from_second_order).max() < 0.01 * largest


def test_packaged_cohort_tells_its_storage(stdlib: xr.Dataset) -> None:
    words = dict(zip(stdlib.model.values, storage_type(stdlib).values, strict=True))
    assert words.pop("gqa") == "GQA 2:1"
    assert words.pop("fused") == "fused"
    assert set(words.values()) == {"separate MHA"}
    assert set(selection(stdlib).component.values) == {"q_proj", "k_proj", "qkv_proj"}


def test_losses_of_the_packaged_cohort_fall(stdlib: xr.Dataset) -> None:
    for name in ("train_loss", "eval_loss"):
        loss = stdlib[name]
        assert loss.dims == ("model", "step")
        assert loss.attrs["units"] == "nats per byte"
        assert (loss.diff("step") < 0).all()
        assert abs(loss.isel(step=0) - np.log(256)).max() < 0.25


def test_first_weights_of_the_packaged_cohort_are_at_their_anchors(stdlib: xr.Dataset) -> None:
    first = stdlib.isel(step=0)
    for init, anchor in (("normal", wb.anchor()), ("uniform", wb.anchor("uniform"))):
        kept = first.isel(model=first.init.values == init)
        z = (kept.k - anchor.k) / kept.k_se
        assert abs(z).max() < 4
        assert abs(kept.rms / 0.02 - 1).max() < 0.04


def test_counts_of_the_packaged_cohort_give_its_fits(stdlib: xr.Dataset) -> None:
    again = wb.refit(stdlib)
    xr.testing.assert_allclose(again[["k", "lam", "r2"]], stdlib[["k", "lam", "r2"]], rtol=1e-12)
    weights = [counts.n for counts in stdlib.counts.values.flat]
    assert weights == stdlib.n.values.ravel().tolist()
    assert {"attention", "learning_rate"} <= set(again.coords)
    assert again.eval_loss.identical(stdlib.eval_loss)


def test_a_fused_matrix_starts_as_its_three_parts(stdlib: xr.Dataset) -> None:
    """Same draws: the fused run differs from its base in storage alone."""
    counts = stdlib.counts.isel(step=0)
    apart = counts.sel(model="lr0.004-wd0.5", component=["q_proj", "k_proj", "v_proj"])
    fused = counts.sel(model="fused", component="qkv_proj")
    np.testing.assert_array_equal(apart.sum("component").transpose(*fused.dims), fused)


def test_settings_survive_saving_and_selection(stdlib: xr.Dataset, tmp_path: Path) -> None:
    wide = stdlib.isel(model=stdlib.hidden_size.values == 192)
    assert wide.model.values.tolist() == ["width192"]
    wb.save_fits(stdlib, tmp_path / "again.nc")
    again = wb.open_fits(tmp_path / "again.nc").load()
    xr.testing.assert_identical(again, stdlib)
    again.close()
    assert {"attention", "init", "learning_rate"} <= set(wb.tidy(stdlib).columns)
    one = stdlib.sel(model="gqa")
    assert one.attention.item() == wb.refit(one).attention.item() == "gqa"
    tau = 1 / (stdlib.learning_rate * stdlib.weight_decay).where(stdlib.weight_decay > 0)
    budget = training_budget(stdlib).budget
    np.testing.assert_allclose(budget, (1500 / tau).fillna(0))


def test_packaged_cohort_to_compare_with(stdlib: xr.Dataset) -> None:
    nearest = nearest_published(stdlib, stdlib).groupby("model", sort=False).first()
    assert nearest["entry"].tolist() == nearest.index.tolist()
    table = nearest_published(scanned(), stdlib)
    assert set(table["entry"]) == set(stdlib.model.values)
    assert np.isfinite(table["standard_error"]).all()


def test_packaged_cohort_merged_with_a_scan(stdlib: xr.Dataset, tmp_path: Path) -> None:
    both = xr.merge([stdlib, scanned()], join="outer", compat="no_conflicts")
    with wb.open_fits(wb.save_fits(both, tmp_path / "both.nc")) as file:
        again = wb.refit(file.load())
    assert again.sizes["model"] == 14
    assert again.attention.sel(model="fused").item() == "fused"
    assert np.isnan(again.learning_rate.sel(model="tiny"))
    known = again.k.sel({dim: stdlib[dim].values for dim in stdlib.k.dims})
    np.testing.assert_allclose(known, stdlib.k, rtol=1e-12)
    assert np.isfinite(again.k.sel(model="tiny", step=0, component="q_proj")).all()


def test_scale_of_the_packaged_cohort_follows_the_optimiser(stdlib: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        lambda_scaling(stdlib)
    names = [name for name in stdlib.model.values if str(name).startswith("lr")]
    line = lambda_scaling(stdlib.sel(model=names))
    assert line.n_models == 6
    assert line.r == pytest.approx(0.92, abs=0.005)
    assert line.slope_origin == pytest.approx(0.342, abs=0.001)
    # λ is no function of η/wd alone: the same ratio, four times the decay
    twins = line.lam.sel(model=["lr0.002-wd0.5", "lr0.008-wd2"])
    assert twins[0] / twins[1] == pytest.approx(1.86, abs=0.01)


def test_trajectories_of_the_packaged_cohort(stdlib: xr.Dataset) -> None:
    parts = split_growth(stdlib)
    total = parts.from_lam + parts.from_k + parts.from_zeros + parts.residual
    np.testing.assert_allclose(total, parts.growth, atol=1e-9)
    assert set(np.unique(first_departure(stdlib, sigmas=4).fillna(0))) <= {0, 100, 500, 1500}
    assert paired_growth(stdlib, "o_proj", "down_proj").n_pairs == 13 * 4


def test_unknown_packaged_cohort() -> None:
    with pytest.raises(
        ValueError, match=r"`name` must be one of 'stdlib', 'stdlib-recorded', got 'stdlibs'. Did"
    ):
        load_cohort("stdlibs")
