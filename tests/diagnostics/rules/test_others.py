"""Rules on embeddings, norms, biases and heads, which are in no cell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import weibnb as wb
from tests.diagnostics.rules.models import SIDE, look, looked, model
from tests.io.test_fused_models import ATTENTION, tiny
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.diagnostics.rules.models import Weights

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
RULES = ["nonfinite", "all-zero", "missing-tensors", "unreadable"]


def norm_of(layer: int) -> str:
    return f"model.layers.{layer}.input_layernorm.weight"


def bias_of(layer: int) -> str:
    return f"model.layers.{layer}.self_attn.q_proj.bias"


def whole(layers: int = 6, dtype: Any = np.float32) -> Weights:
    """Matrices, with all that a language model has around them."""
    rng = np.random.default_rng(3)
    weights = model(layers, dtype=dtype)
    weights |= {name: rng.normal(0, 0.02, (100, SIDE)).astype(dtype) for name in (EMBEDDING, HEAD)}
    for layer in range(layers):
        weights[norm_of(layer)] = np.ones(SIDE, dtype)
        weights[bias_of(layer)] = np.zeros(SIDE, dtype)
    return weights | {NORM: np.ones(SIDE, dtype)}


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 6, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}  # fmt: skip


def written(weights: Weights, path: Path, **config: Any) -> Path:
    path.mkdir()
    about = {name: (_FORMAT[str(w.dtype)], w.shape) for name, w in weights.items()}
    write_safetensors(path / "model.safetensors", about, weights.values())
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    return path


_FORMAT = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def tensors(findings: Any) -> list[tuple[int | None, str]]:
    return [(cell.layer, cell.tensor) for one in findings for cell in one.cells]


def test_a_whole_model_is_healthy(tmp_path: Path) -> None:
    check = wb.check({"m": written(whole(), tmp_path / "m")}, select=RULES, progress=False)
    assert not check.findings
    assert not check.not_looked_at


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("name", [EMBEDDING, HEAD, NORM, norm_of(3), bias_of(0)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite(dtype: Any, name: str, value: float) -> None:
    weights = whole(dtype=dtype)
    weights[name].reshape(-1)[-1] = value
    (finding,) = look(weights, "nonfinite")
    assert (finding.severity, finding.value, finding.cells[0].tensor) == ("error", 1, name)
    assert finding.text == "1 value is NaN or infinite."
    assert name in str(finding.cells[0])


@pytest.mark.parametrize(
    "name", ["attn_mask", "model.layers.2.self_attn.causal_mask", "h.2.self_attn.bias"]
)
def test_masks_hold_infinities_rightly_and_no_nan(name: str) -> None:
    mask = np.triu(np.full((9, 9), -np.inf, np.float32), 1)
    mask = mask[None, None] if name.endswith("bias") else mask
    assert look(whole() | {name: mask}, "nonfinite") == ()
    mask[..., 0, 0] = np.nan
    (finding,) = look(whole() | {name: mask}, "nonfinite")
    assert (finding.value, finding.text) == (1, "1 value is NaN.")


def test_observers_hold_infinities_rightly() -> None:
    seen = {f"model.observer.{end}": np.full(3, np.inf, np.float32) for end in ("min_val", "eps")}
    assert look(whole() | seen, "nonfinite") == ()


@pytest.mark.parametrize("name", [EMBEDDING, HEAD, NORM, norm_of(3), "transformer.wte.weight"])
def test_zeros_where_no_model_has_them(name: str) -> None:
    weights = whole()
    weights[name] = np.zeros_like(weights.get(name, weights[EMBEDDING]))
    (finding,) = look(weights, "all-zero")
    assert (finding.severity, finding.cells[0].tensor) == ("error", name)
    weights[name].reshape(-1)[0] = 1e-30
    assert look(weights, "all-zero") == ()


def test_zeros_where_models_have_them() -> None:
    weights = whole()
    weights["model.token_types.weight"] = np.zeros((2, SIDE), np.float32)  # as of RoBERTa
    assert look(weights, "all-zero") == ()
    for name in [*map(norm_of, range(6)), NORM]:  # norms of Gemma add 1 to their weight
        weights[name][:] = 0
    assert look(weights, "all-zero") == ()
    run = [("run", step, whole()) for step in (0, 1)]
    for _, _, one in run:
        one[HEAD][:] = 0
    found = look({name: {step: one for _, step, one in run} for name in ("run",)}, "all-zero")
    assert [finding.cells[0].step for finding in found] == [1], "a head may begin at zero"


def test_a_layer_that_has_another_norm_instead() -> None:
    weights = whole()
    weights["model.layers.3.query_norm.weight"] = weights.pop(norm_of(3))
    assert look(weights, "missing-tensors") == ()


def test_all_that_a_layer_lacks_is_one_finding() -> None:
    weights = whole()
    del weights[norm_of(3)], weights[bias_of(3)]
    (finding,) = look(weights, "missing-tensors")
    assert tensors([finding]) == [(3, norm_of(3)), (3, bias_of(3))]
    assert finding.text.startswith("input_layernorm.weight and self_attn.q_proj.bias: missing")


@pytest.mark.parametrize(("lost", "number"), [([3], 1), ([5], 1), ([0], 0), ([2, 3], 0)])
@pytest.mark.parametrize("name_in", [norm_of, bias_of])
def test_a_norm_or_bias_that_one_layer_lacks(lost: list[int], number: int, name_in: Any) -> None:
    weights = {name: w for name, w in whole().items() if name not in map(name_in, lost)}
    found = look(weights, "missing-tensors")
    assert tensors(found) == [(lost[0], name_in(lost[0]))] * number


@pytest.mark.parametrize(
    "name", ["model.layers.3.norm.weight", "h.3.ln_1.bias", "blk.3.attn_norm.weight"]
)
def test_the_layer_is_told_for_names_of_every_family(name: str) -> None:
    weights = whole() | {name: np.full(SIDE, np.nan, np.float32)}
    (finding,) = look(weights, "nonfinite")
    assert (finding.cells[0].layer, finding.cells[0].tensor) == (3, name)


def test_layers_of_another_kind_have_norms_of_their_own() -> None:
    weights = whole()
    del weights[norm_of(3)], weights["model.layers.3.mlp.up_proj.weight"]
    del weights["model.layers.3.mlp.down_proj.weight"]
    assert look(weights, "missing-tensors") == ()


def test_too_few_layers_tell_nothing() -> None:
    weights = whole(3)
    del weights[norm_of(2)]
    assert look(weights, "missing-tensors") == ()


@pytest.mark.parametrize("name", [EMBEDDING, HEAD, NORM])
def test_what_a_language_model_lacks(tmp_path: Path, name: str) -> None:
    weights = whole()
    del weights[name]
    path = written(weights, tmp_path / "m")
    (finding,) = look({"m": path}, "missing-tensors")
    assert finding.text.startswith("config.json is of a LlamaForCausalLM, and the ")
    (path / "config.json").write_text(json.dumps(CONFIG | {"architectures": ["LlamaModel"]}))
    assert look({"m": path}, "missing-tensors") == ()
    stranger = weights | {"readout.weight": np.ones((100, SIDE), np.float32)}
    assert look({"m": written(stranger, tmp_path / "n")}, "missing-tensors") == ()


def test_a_head_that_is_tied_is_not_missed(tmp_path: Path) -> None:
    weights = whole()
    del weights[HEAD]
    tied = written(weights, tmp_path / "m", tie_word_embeddings=True)
    assert look({"m": tied}, "missing-tensors") == ()
    (tied / "config.json").write_text(
        json.dumps({k: v for k, v in CONFIG.items() if k != "tie_word_embeddings"})
    )
    assert look({"m": tied}, "missing-tensors") == (), "config.json does not tell"


def test_what_config_json_tells_of_another_part_is_not_missed(tmp_path: Path) -> None:
    """The numbers of a model of several parts are those of a part; norms may have no weights."""
    weights = whole()
    del weights[HEAD]
    assert len(look({"m": written(weights, tmp_path / "m")}, "missing-tensors")) == 1
    parts = written(weights, tmp_path / "n", text_config={"tie_word_embeddings": True})
    assert look({"m": parts}, "missing-tensors") == ()
    without = {name: w for name, w in whole().items() if "norm" not in name}
    assert look({"m": written(without, tmp_path / "o")}, "missing-tensors") == ()


def test_one_file_of_several_lacks_nothing(tmp_path: Path) -> None:
    weights = whole()
    del weights[EMBEDDING]
    path = written(weights, tmp_path / "m")
    (path / "model.safetensors").rename(path / "model-00002-of-00003.safetensors")
    assert look({"m": path}, "missing-tensors") == ()


def test_fits_alone_say_what_they_cannot_tell(tmp_path: Path) -> None:
    weights = whole()
    weights[NORM][0] = np.nan
    fits = wb.scan({"m": weights})
    for rule in ("nonfinite", "all-zero"):
        check = looked(fits, rule)
        assert check.findings == ()
        (unseen,) = check.not_looked_at
        assert unseen.reason.startswith("15 tensors: embeddings, norms, biases and heads need")
    (finding,) = look(fits, "nonfinite", source={"m": weights})
    assert finding.cells[0].tensor == NORM
    assert looked(wb.scan({"m": model()}), "nonfinite").not_looked_at == ()


def test_a_live_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    made = tiny(*ATTENTION[0])
    assert wb.check(made, select=RULES, progress=False).findings == ()
    norms = [name for name, _ in made.named_parameters() if "norm" in name or ".ln_" in name]
    with torch.no_grad():
        made.get_parameter(norms[-1])[0] = torch.nan
    (finding,) = wb.check(made, select=RULES, progress=False).findings
    assert (finding.rule, finding.cells[0].tensor) == ("nonfinite", norms[-1])


def test_an_unreadable_tensor_is_told(tmp_path: Path) -> None:
    weights = {name: torch.from_numpy(w) for name, w in whole().items()}
    weights[NORM] = torch.empty(SIDE, device="meta")
    (finding,) = wb.check({"m": weights}, select=RULES, progress=False).findings
    assert (finding.rule, finding.cells[0].tensor) == ("unreadable", NORM)
    assert re.match("its values could not be read: .*meta", finding.text)


@given(
    st.lists(
        st.tuples(st.sampled_from([EMBEDDING, HEAD, NORM, norm_of(1), bias_of(5)]), st.booleans()),
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_every_tensor_with_nan_is_told_once(chosen: list[tuple[str, bool]]) -> None:
    weights = whole()
    for name, infinite in chosen:
        weights[name].reshape(-1)[::7] = np.inf if infinite else np.nan
    found = {f.cells[0].tensor: f.value for f in look(weights, "nonfinite")}
    assert found == {name: -(-weights[name].size // 7) for name, _ in chosen}
