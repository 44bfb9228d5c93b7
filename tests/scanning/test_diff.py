"""What changed between two checkpoints, against numpy in float64 on the whole matrices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from tests.scanning.helpers import EXPERT, HIDDEN, WIDE, Q, llama, moe, normal, write
from weibnb.counting.changes import PendingChange
from weibnb.scanning import comparison
from weibnb.testing import write_checkpoint, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from weibnb.diagnostics.changes import Diff

    Weights = dict[str, NDArray[Any]]

CHANGES = ["delta_k", "delta_ln_lam", "delta_ln_rms", "distance"]


def noisy(weights: Weights, size: float = 0.002, dtype: str = "f4") -> Weights:
    rng = np.random.default_rng(5)
    return {
        name: (w.astype("f8") + size * rng.normal(size=w.shape)).astype(dtype)
        for name, w in weights.items()
    }


def row_of(found: Diff, name: str) -> pd.Series[Any]:
    part = found.table[found.table["tensor"] == name]
    assert len(part) == 1
    return part.iloc[0]


def held_against_numpy(row: pd.Series[Any], before: NDArray[Any], after: NDArray[Any]) -> None:
    """The numbers of the weights, from matrices whose rows are output features."""
    a, b = before.astype("f8"), after.astype("f8")
    d = b - a
    assert (row["rows"], row["cols"]) == (a.shape[0], a.shape[1] if a.ndim > 1 else 1)
    assert row["changed"] == np.count_nonzero(d) / d.size
    assert row["relative"] == pytest.approx(np.linalg.norm(d) / np.linalg.norm(a), rel=1e-12)
    cosine = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
    assert row["cosine"] == pytest.approx(cosine, abs=1e-12)
    assert row["largest"] == np.abs(d).max()
    place = np.unravel_index(np.abs(d).argmax(), d.shape)
    assert [row["largest_row"], row["largest_col"]] == [*place, 0][:2]
    rms = np.log((b**2).mean() / (a**2).mean()) / 2
    assert row["delta_ln_rms"] == pytest.approx(rms, abs=1e-12)
    if (d != 0).sum() >= 100:
        fit = wb.fit_weibull(d)
        assert row["change_k"] == pytest.approx(fit.k, rel=1e-9)


@pytest.mark.parametrize(("dtype", "other"), [("f2", "f2"), ("f4", "f4"), ("f4", "f2")])
def test_every_tensor_is_held_against_numpy(tmp_path: Path, dtype: str, other: str) -> None:
    base = llama(dtype=dtype)
    tuned = noisy(base, dtype=other)
    found = wb.diff(write(tmp_path / "base", base), write(tmp_path / "tuned", tuned))
    assert len(found.table) == len(base)
    assert found.not_compared.empty
    for name, weights in base.items():
        held_against_numpy(row_of(found, name), weights, tuned[name])
    assert (np.diff(found.table["relative"]) <= 0).all()  # what changed most comes first
    assert (found.before, found.after) == ("base", "tuned")


def test_estimates_are_those_of_two_scans_and_their_errors_are_paired() -> None:
    base = llama(dtype="f4")
    tuned = noisy(base, 0.004)
    found = wb.diff({"a": base}, {"b": tuned})
    fits = [wb.scan({name: w}).squeeze() for name, w in (("a", base), ("b", tuned))]
    for _, row in found.table[found.table["layer"].notna()].iterrows():
        one, other = (f.sel(layer=row["layer"], component=row["component"]) for f in fits)
        assert row["k_before"] == pytest.approx(float(one.k), rel=1e-12)
        assert row["delta_k"] == pytest.approx(float(other.k - one.k), abs=1e-12)
        assert row["delta_ln_lam"] == pytest.approx(float(np.log(other.lam / one.lam)), abs=1e-12)
        assert 0 < row["delta_k_se"] < np.hypot(one.k_se, other.k_se)
        assert row["errors"] == "paired"


def test_a_copy_is_zero_exactly(tmp_path: Path) -> None:
    base = write(tmp_path / "base", llama())
    found = wb.diff(base, write(tmp_path / "copy", llama()))
    assert found.same
    zeros = ["changed", "relative", "largest", *CHANGES, *(f"{name}_se" for name in CHANGES)]
    matrices = found.table[found.table["layer"].notna()]
    assert (matrices[zeros] == 0).all(axis=None)
    assert (matrices["cosine"] == 1).all()
    assert set(matrices["status"]) == {"unchanged"}
    assert "none of 16 tensors differs" in str(found)


def test_a_permutation_is_seen_by_the_weights_and_by_no_estimate() -> None:
    base = llama(dtype="f4")
    rng = np.random.default_rng(0)
    turned = {name: w[rng.permutation(len(w))] for name, w in base.items()}
    found = wb.diff({"a": base}, {"b": turned})
    matrices = found.table[found.table["layer"].notna()]
    assert (matrices["changed"] > 0.9).all()
    np.testing.assert_allclose(matrices["relative"].astype(float), np.sqrt(2), rtol=0.1)
    assert (matrices[["delta_k", "delta_ln_lam", "distance"]] == 0).all(axis=None)
    by_fits = wb.diff(wb.scan({"a": base}), wb.scan({"b": turned}))
    assert by_fits.same


def test_one_shuffled_matrix_comes_first() -> None:
    base = llama()
    name = "model.layers.1.mlp.down_proj.weight"
    shuffled = base | {name: np.random.default_rng(0).permuted(base[name])}
    found = wb.diff({"a": base}, {"b": shuffled})
    assert found.number_changed == 1
    assert found.table["tensor"][0] == name
    assert found.table["distance"][0] == 0


def test_a_requantised_copy(tmp_path: Path) -> None:
    base = noisy(llama())
    for kind, spelt in ((ml_dtypes.bfloat16, "BF16"), (np.float16, "F16")):
        rounded = {name: w.astype(kind) for name, w in base.items()}
        about = {name: (spelt, w.shape) for name, w in rounded.items()}
        (tmp_path / spelt).mkdir()
        path = tmp_path / spelt / "model.safetensors"
        write_safetensors(path, about, rounded.values())
        found = wb.diff(write(tmp_path / "base", base), path)
        for name, w in base.items():
            held_against_numpy(row_of(found, name), w, rounded[name])
        matrices = found.table[found.table["layer"].notna()]
        # rounding to b bits: an error of up to 2^-b, evenly spread, of each weight
        bits = 8 if spelt == "BF16" else 11
        assert matrices["relative"].astype(float).between(0.3 * 2.0**-bits, 2.0**-bits).all()
        assert (matrices["delta_k"].abs() < 4 * matrices["delta_k_se"] + 1e-3).all()


@pytest.mark.parametrize("scales", [(1,), (WIDE, 1), (3, 2)])
@pytest.mark.parametrize("name", ["weight_scale_inv", "weight_scale"])
def test_a_copy_in_8_bits_is_multiplied_by_its_scales(
    tmp_path: Path, scales: tuple[int, ...], name: str
) -> None:
    stem = "model.layers.0.mlp.up_proj"
    weights = normal(WIDE, HIDDEN, dtype="f4")
    rng = np.random.default_rng(0)
    factors = rng.uniform(4e-4, 8e-4, scales).astype("f4")
    table = factors if len(scales) > 1 else factors[:, None]
    tiles = np.repeat(np.repeat(table, -(-WIDE // len(table)), 0)[:WIDE], 32, 1)[:, :HIDDEN]
    tiles = np.broadcast_to(table, (WIDE, HIDDEN)) if table.shape[1] == 1 else tiles
    quantised = (weights / tiles).astype(ml_dtypes.float8_e4m3fn)
    restored = quantised.astype("f4") * tiles
    about = {
        f"{stem}.weight": ("F8_E4M3", (WIDE, HIDDEN)),
        f"{stem}.{name}": ("F32", scales),
    }
    path = write_safetensors(tmp_path / "q.safetensors", about, [quantised, factors])
    found = wb.diff({"base": {f"{stem}.weight": weights}}, path)
    held_against_numpy(row_of(found, f"{stem}.weight"), weights, restored)
    assert 0.01 < found.table["relative"][0] < 0.05
    assert found.not_compared["reason"].tolist() == ["on one side only: quantisation"]


def test_scales_that_do_not_fit_are_listed_and_nothing_is_guessed(tmp_path: Path) -> None:
    stem = "model.layers.0.mlp.up_proj.weight"
    about = {stem: ("F8_E4M3", (WIDE, HIDDEN)), f"{stem}_scale": ("F32", (7, 5))}
    data = [np.zeros((WIDE, HIDDEN), "u1"), np.ones((7, 5), "f4")]
    path = write_safetensors(tmp_path / "q.safetensors", about, data)
    found = wb.diff({"a": {stem: normal(WIDE, HIDDEN)}}, path)
    assert found.table.empty
    assert found.not_compared["reason"].str.contains("7 scales do not tile a side of 96").any()


def test_a_matrix_that_is_stored_transposed_is_turned() -> None:
    weights = normal(WIDE, HIDDEN)
    tuned = noisy({"w": weights})["w"]
    ours, theirs = "model.layers.0.mlp.up_proj.weight", "transformer.h.0.mlp.c_fc.weight"
    for base, other in (
        ({ours: weights}, {theirs: tuned.T}),
        ({theirs: weights.T}, {ours: tuned}),
        ({theirs: weights.T}, {theirs: tuned.T}),
    ):
        found = wb.diff({"a": base}, {"b": other})
        held_against_numpy(found.table.iloc[0], weights, tuned)
        plain = wb.diff({"a": {ours: weights}}, {"b": {ours: tuned}}).table.iloc[0]
        row = found.table.iloc[0]
        for name in ("delta_k", "delta_k_se", "change_h_row", "change_h_col", "distance"):
            assert row[name] == pytest.approx(plain[name], rel=1e-9), name
        assert row["directions"] == plain["directions"]


def test_a_fused_matrix_meets_its_like_or_its_parts(tmp_path: Path) -> None:
    config = {"model_type": "phi3", "hidden_size": 64, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2}
    q, k, v = normal(64, 64), normal(32, 64, seed=1), normal(32, 64, seed=2)
    fused = {"model.layers.0.self_attn.qkv_proj.weight": np.concatenate([q, k, v])}
    stem = "model.layers.0.self_attn.{}_proj.weight".format
    apart = noisy({stem("q"): q, stem("k"): k, stem("v"): v})
    one = write(tmp_path / "fused", fused, config)
    found = wb.diff(one, write(tmp_path / "apart", apart, config))
    for name, weights in ((stem("q"), q), (stem("k"), k), (stem("v"), v)):
        held_against_numpy(row_of(found, name), weights, apart[name])
    assert found.not_compared.empty
    whole = wb.diff(one, write(tmp_path / "other", noisy(fused), config))
    assert whole.table["component"].tolist() == ["qkv_proj"]
    assert whole.not_compared.empty
    missing = wb.diff(one, write(tmp_path / "half", {stem("q"): q}, config))
    assert missing.table["component"].tolist() == ["q_proj"]
    reasons = missing.not_compared["reason"].tolist()
    assert reasons == ["its k_proj is on one side only", "its v_proj is on one side only"]


def test_experts_meet_by_number_stacked_or_not() -> None:
    apart = moe()
    name = "model.layers.0.mlp.experts.{}".format
    stacks = {
        name(word): np.stack([apart[EXPERT.format(0, i, word)] for i in range(4)])
        for word in ("gate_proj", "down_proj")
    }
    tuned = noisy(stacks)
    found = wb.diff({"a": apart}, {"b": {Q.format(0): apart[Q.format(0)]} | tuned})
    experts = found.table[found.table["expert"] >= 0]
    assert len(experts) == 8
    for _, row in experts.iterrows():
        before = apart[EXPERT.format(0, row["expert"], row["component"])]
        held_against_numpy(row, before, tuned[name(row["component"])][row["expert"]])
    assert found.fits is not None
    assert found.fits.k.dims == ("model", "layer", "component", "step", "expert")
    cell = found.fits.sel(component="gate_proj", expert=2).squeeze()
    row = experts[(experts["expert"] == 2) & (experts["component"] == "gate_proj")].iloc[0]
    assert (float(cell.k), float(cell.relative)) == (row["change_k"], row["relative"])


def test_shards_and_live_modules_are_the_same_as_a_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = write_checkpoint(tmp_path / "whole", layers=1, hidden=64)
    parts = write_checkpoint(tmp_path / "parts", layers=1, hidden=64, shards=3)
    assert wb.diff(whole, parts).same
    weights = llama(1, dtype="f4")
    tuned = {name: torch.tensor(w) for name, w in noisy(weights).items()}
    expected = wb.diff(weights, noisy(weights)).table
    model = torch.nn.Module()
    for name, w in tuned.items():
        part = model
        *words, last = name.split(".")
        for word in words:
            if not hasattr(part, word):
                part.add_module(word, torch.nn.Module())
            part = getattr(part, word)
        part.register_parameter(last, torch.nn.Parameter(w))
    for after in (tuned, model):
        assert wb.diff(weights, after).table.equals(expected)


def test_what_is_not_compared_is_listed() -> None:
    base = llama(1)
    ids = np.arange(7)
    gone, new = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    other = {name: w for name, w in base.items() if name != gone}
    other |= {new: base[gone], "model.embed_tokens.weight": normal(66, HIDDEN)}
    other |= {Q.format(0): normal(HIDDEN, HIDDEN + 2)}
    base |= {"ids": ids, "mask": ids}
    other |= {"ids": ids, "mask": ids + 1}
    found = wb.diff({"a": base}, {"b": other})
    listed = found.not_compared.set_index("tensor")
    assert listed["where"].to_dict() == {
        gone: "before", new: "after", Q.format(0): "both", "model.embed_tokens.weight": "both",
        "ids": "both", "mask": "both",
    }  # fmt: skip
    reasons = listed["reason"]
    assert reasons[gone] == reasons[new] == "on one side only"
    assert reasons[Q.format(0)] == reasons["model.embed_tokens.weight"] == "of different shape"
    assert reasons["ids"] == "I64 is not read as numbers: the same bits"
    assert reasons["mask"] == "I64 is not read as numbers: other bits"
    assert listed["shape_after"][Q.format(0)] == (HIDDEN, HIDDEN + 2)
    text = str(found)
    for name in listed.index:
        assert name in text
    assert not found.same


def test_weights_that_are_not_finite_are_told() -> None:
    base = llama(1)
    broken = {name: w.copy() for name, w in base.items()}
    broken[Q.format(0)][2, :5] = np.nan
    row = row_of(wb.diff(base, broken), Q.format(0))
    assert (row["status"], row["change_nonfinite"]) == ("nonfinite", 5)
    assert row["changed"] == 5 / HIDDEN**2
    assert row["relative"] == 0
    assert row_of(wb.diff(broken, broken), Q.format(0))["changed"] == 0


def test_matrices_of_zeros() -> None:
    name = Q.format(0)
    zeros, weights = np.zeros((HIDDEN, HIDDEN), "f4"), normal(HIDDEN, HIDDEN, dtype="f4")
    born = wb.diff({name: zeros}, {name: weights}).table.iloc[0]
    assert (born["relative"], born["changed"]) == (np.inf, np.count_nonzero(weights) / zeros.size)
    assert born["change_k"] == pytest.approx(wb.fit_weibull(weights).k)
    still = wb.diff({name: zeros}, {name: zeros}).table.iloc[0]
    assert (still["relative"], still["changed"]) == (0, 0)


def test_the_fits_of_the_change_are_fits(tmp_path: Path) -> None:
    base = llama(dtype="f4")
    found = wb.diff({"a": base}, {"b": noisy(base)})
    fits = found.fits
    assert fits is not None
    path = wb.save_fits(fits, tmp_path / "change.nc")
    with wb.open_fits(path) as again:
        np.testing.assert_array_equal(again.relative.values, fits.relative.values)
        assert again.model.item() == "a → b"
        refitted = wb.refit(again, trim=(0.2, 0.8)).sel(layer=1, component="q_proj")
    tuned = noisy(base)[Q.format(1)]
    expected = wb.fit_weibull(tuned.astype("f8") - base[Q.format(1)], trim=(0.2, 0.8))
    assert float(refitted.k.squeeze()) == pytest.approx(expected.k, rel=1e-9)


# ------------------------------------------------------------------------------- fits and runs
def test_fits_are_compared_as_the_weights_are_but_for_errors(tmp_path: Path) -> None:
    base = llama(dtype="f4")
    tuned = noisy(base, 0.004)
    ones = wb.scan({"a": base}), wb.scan({"b": tuned})
    by_fits = wb.diff(*ones)
    by_weights = wb.diff({"a": base}, {"b": tuned}).table.set_index("tensor")
    assert by_fits.fits is None
    assert len(by_fits.table) == 14
    for _, row in by_fits.table.iterrows():
        other = by_weights.loc[row["tensor"]]
        for name in CHANGES:
            assert row[name] == pytest.approx(other[name], abs=1e-4), name
        assert row["delta_k_se"] > other["delta_k_se"]
        assert row["errors"] == "separate"
    files = [wb.save_fits(fits, tmp_path / f"{i}.nc") for i, fits in enumerate(ones)]
    assert wb.diff(*files).table.equals(by_fits.table)
    mixed = wb.diff(files[0], {"b": tuned})
    assert mixed.table.equals(by_fits.table)
    with pytest.raises(ValueError, match="fits of the change need the weights"):
        by_fits.save(tmp_path / "change.nc")


def test_fits_of_other_protocols_are_fitted_again_or_refused() -> None:
    base, tuned = llama(dtype="f4"), noisy(llama(dtype="f4"), 0.004)
    one, other = wb.scan({"a": base}), wb.scan({"b": tuned}, trim=(0.2, 0.8))
    tables = [wb.diff(one, o).table for o in (other, wb.scan({"b": tuned}))]
    errors = [f"{name}_se" for name in CHANGES]  # those of a refit are near
    assert tables[0].drop(columns=errors).equals(tables[1].drop(columns=errors))
    without = other.drop_vars("counts")
    with pytest.raises(ValueError, match=r"by one protocol.*weibnb\.scan\(source, trim=\(0\.1"):
        wb.diff(one, without)
    bare = wb.diff(without, without)
    assert bare.same
    assert bare.table["distance"].isna().all()


def test_experts_that_fits_merge_are_one_row() -> None:
    one, other = wb.scan({"a": moe()}), wb.scan({"b": noisy(moe())})
    found = wb.diff(one, other).table.set_index("component")
    assert sorted(found.index) == ["down_proj", "gate_proj", "q_proj"]
    each = wb.diff({"a": moe()}, {"b": noisy(moe())}).table
    gates = each[each["component"] == "gate_proj"]
    assert found["distance"]["gate_proj"] == pytest.approx(gates["distance"].median(), abs=1e-4)


def test_fits_on_one_side_only_are_listed() -> None:
    one, other = wb.scan({"a": llama(2)}), wb.scan({"b": llama(3)})
    found = wb.diff(one, other)
    assert found.number_changed == 0
    assert set(found.not_compared["where"]) == {"after"}
    assert len(found.not_compared) == 7


def test_one_checkpoint_is_asked_for(tmp_path: Path) -> None:
    for step in (0, 5):
        write(tmp_path / f"step{step}", llama(1))
    with pytest.raises(ValueError, match=r"`before` must be one checkpoint, got 2: .* step 5"):
        wb.diff(tmp_path, tmp_path / "step0")
    fits = wb.scan(tmp_path)
    with pytest.raises(ValueError, match=r"`after` must be fits of one step, got 2: 0, 5"):
        wb.diff(fits.sel(step=[0]), fits)
    found = wb.diff(fits.sel(step=0), fits.sel(step=[5]))
    assert found.same
    assert found.after.endswith("step 5")
    with pytest.raises(wb.CheckpointError, match="nothing"):
        wb.diff(tmp_path / "step0", tmp_path / "nothing")
    with pytest.raises(TypeError, match="`source` must be"):
        wb.diff(tmp_path / "step0", 3)
    with pytest.raises(ValueError, match="`workers` must be at least 1"):
        wb.diff(tmp_path / "step0", tmp_path / "step0", workers=0)


# ------------------------------------------------------------------- what may happen on the way
def test_a_file_that_changes_costs_its_own_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def changed(origin: Any) -> None:
        calls.append(origin)
        if len(calls) == 1:
            raise wb.CheckpointError("a", "it changed meanwhile")

    monkeypatch.setattr(comparison, "check_unchanged", changed)
    found = wb.diff(llama(1), noisy(llama(1)))
    assert len(found.table) == 8
    assert found.not_compared["reason"].str.contains("it changed meanwhile").sum() == 1


def test_ctrl_c_ends_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = []

    class Stopped(PendingChange):
        load = 0.5

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.load = 0.5

        def result(self) -> Any:
            raise KeyboardInterrupt

        def abandon(self) -> None:
            abandoned.append(self)

    monkeypatch.setattr(comparison, "PendingChange", Stopped)
    with pytest.raises(KeyboardInterrupt):
        wb.diff(llama(1), noisy(llama(1)))
    assert abandoned


def test_matrices_are_fitted_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = llama(2), noisy(llama(2))
    whole = wb.diff(base, tuned)
    monkeypatch.setattr(comparison, "_BATCH", 3)
    found = wb.diff(base, tuned, workers=1)
    assert found.table.equals(whole.table)
    assert found.fits is not None
    assert whole.fits is not None
    assert found.fits.drop_attrs().equals(whole.fits.drop_attrs())


# ------------------------------------------------------------------------------ real fine-tunes
@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packaged model, fine-tuned whole and by a merged adapter of rank 8."""
    torch = pytest.importorskip("torch")
    from scripts import fine_tune

    place = tmp_path_factory.mktemp("tuned")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = {"base": fine_tune.start(), "full": fine_tune.full(6)}
        made["lora"] = fine_tune.lora(6, rank=8)
    finally:
        torch.set_num_threads(threads)
    return {name: fine_tune.write(weights, place / name) for name, weights in made.items()}


def test_a_fine_tune_is_seen_everywhere_and_a_merged_adapter_by_its_directions(
    tuned: dict[str, Path],
) -> None:
    full, lora = (wb.diff(tuned["base"], tuned[name]) for name in ("full", "lora"))
    assert full.number_changed == len(full.table) == 29
    matrices = full.table[full.table["layer"].notna()]
    assert (matrices["changed"] > 0.9).all()
    assert matrices["relative"].astype(float).between(1e-4, 0.2).all()
    assert (full.table["delta_k_se"] < 0.02).sum() >= len(matrices)
    adapted = lora.table[lora.table["layer"].notna()]
    assert lora.number_changed == len(adapted) == 21  # neither norms nor the embedding
    # rank 8 needs at most 8 directions; rounding to float32 adds next to nothing
    assert (adapted["directions"] <= 8).all()
    assert matrices["directions"].min() > adapted["directions"].median()
    assert adapted["change_h_row"].median() > matrices["change_h_row"].median()
    config = json.loads((tuned["base"] / "config.json").read_text())
    assert found_config(full) == config["num_attention_heads"]


def test_a_fine_tuned_model_is_healthy(tuned: dict[str, Path]) -> None:
    for path in tuned.values():
        check = wb.check(path, progress=False)
        assert check.at_least("warning") == (), check


def found_config(found: Diff) -> float:
    """What the fits of a change say of the model."""
    assert found.fits is not None
    return float(found.fits["n_heads"].item())
