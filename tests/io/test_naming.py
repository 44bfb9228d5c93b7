"""Names to roles: real architectures on the meta device, names as published, hostile names.

For a real model the modules themselves say what a tensor is (an `nn.Embedding` holds an
embedding, an `nn.LayerNorm` a norm), so that every tensor has an expectation and none can be
dropped silently; only the components of the layers are written down by hand.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weibnb.io.naming import (
    SKIP_REASONS,
    WEIGHT_CLASSES,
    Role,
    Skip,
    component_order,
    identify,
    tower,
    weight_class,
)
from weibnb.io.naming_table import CLASSES, TABLE

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

QKVO = "q_proj k_proj v_proj o_proj"
GLU = "gate_proj up_proj down_proj"
GELU = "up_proj down_proj"
STACKED = "router gate_up_proj* down_proj*"
MLA = "q_a_proj q_b_proj kv_a_proj kv_b_proj o_proj"
SHARED = "shared_expert.gate_proj shared_expert.up_proj shared_expert.down_proj"
HEAD = {"lm_head.weight": "head"}

SIZE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
MHA = {**SIZE, "num_attention_heads": 4, "vocab_size": 99}
GQA = {**MHA, "num_key_value_heads": 2}
VISION = {**SIZE, "num_attention_heads": 4}
GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 99, "n_positions": 32}
SEQ2SEQ = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "vocab_size": 99,
    "pad_token_id": 0,
}
T5 = {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 99}
LATENT = {
    **MHA,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "n_group": 1,
    "topk_group": 1,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}


def prefixed(prefix: str, components: str) -> str:
    return " ".join(prefix + component for component in components.split())


SEQ2SEQ_TOWERS = " ".join(
    (
        prefixed("encoder.", f"{QKVO} {GELU}"),
        prefixed("decoder.", f"{QKVO} {GELU}"),
        prefixed("decoder.cross.", QKVO),
    )
)
T5_GLU_TOWERS = SEQ2SEQ_TOWERS + " encoder.gate_proj decoder.gate_proj"
CLIP_TOWERS = prefixed("text.", f"{QKVO} {GELU}") + " " + prefixed("vision.", f"{QKVO} {GELU}")
DENSE = f"{QKVO} {GLU}"
PROJECTOR = dict.fromkeys(
    (
        "model.multi_modal_projector.linear_1.weight",
        "model.multi_modal_projector.linear_2.weight",
    ),
    "unrecognised",
)

# (model class, config class, its arguments, the components of each layer, the tensors that the
# type of their module does not explain). "*" marks stacked experts and "^" a transposed matrix.
Family = tuple[str, str, dict[str, Any], list[str], dict[str, str]]
FAMILIES: list[Family] = [
    ("LlamaForCausalLM", "LlamaConfig", GQA, [DENSE] * 2, HEAD),
    ("MistralForCausalLM", "MistralConfig", GQA, [DENSE] * 2, HEAD),
    ("Qwen2ForCausalLM", "Qwen2Config", GQA, [DENSE] * 2, HEAD),
    ("Qwen3ForCausalLM", "Qwen3Config", {**GQA, "head_dim": 16}, [DENSE] * 2, HEAD),
    ("GemmaForCausalLM", "GemmaConfig", {**GQA, "head_dim": 16}, [DENSE] * 2, HEAD),
    ("Gemma2ForCausalLM", "Gemma2Config", {**GQA, "head_dim": 16}, [DENSE] * 2, HEAD),
    ("Gemma3ForCausalLM", "Gemma3TextConfig", {**GQA, "head_dim": 16}, [DENSE] * 2, HEAD),
    ("OlmoForCausalLM", "OlmoConfig", GQA, [DENSE] * 2, HEAD),
    ("Olmo2ForCausalLM", "Olmo2Config", GQA, [DENSE] * 2, HEAD),
    ("CohereForCausalLM", "CohereConfig", {**GQA, "use_qk_norm": True}, [DENSE] * 2, HEAD),
    ("PhiForCausalLM", "PhiConfig", GQA, [f"{QKVO} {GELU}"] * 2, HEAD),
    (
        "Phi3ForCausalLM",
        "Phi3Config",
        {**GQA, "pad_token_id": 0},
        ["qkv_proj o_proj gate_up_proj down_proj"] * 2,
        HEAD,
    ),
    (
        "Glm4ForCausalLM",
        "Glm4Config",
        {**GQA, "head_dim": 16, "pad_token_id": 0},
        [f"{QKVO} gate_up_proj down_proj"] * 2,
        HEAD,
    ),
    ("Starcoder2ForCausalLM", "Starcoder2Config", GQA, [f"{QKVO} {GELU}"] * 2, HEAD),
    # A square o_proj does not tell its orientation, so that GPT-2's is not marked
    ("GPT2LMHeadModel", "GPT2Config", GPT, ["qkv_proj^ o_proj up_proj^ down_proj^"] * 2, HEAD),
    ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT, [f"qkv_proj o_proj {GELU}"] * 2, HEAD),
    ("GPTNeoXForCausalLM", "GPTNeoXConfig", MHA, [f"qkv_proj o_proj {GELU}"] * 2, HEAD),
    ("GPTJForCausalLM", "GPTJConfig", {**GPT, "rotary_dim": 8}, [f"{QKVO} {GELU}"] * 2, HEAD),
    (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 99,
            "attention_types": [[["global", "local"], 1]],
        },
        [f"{QKVO} {GELU}"] * 2,
        HEAD,
    ),
    (
        "BloomForCausalLM",
        "BloomConfig",
        {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 99},
        [f"qkv_proj o_proj {GELU}"] * 2,
        HEAD,
    ),
    ("FalconForCausalLM", "FalconConfig", MHA, [f"qkv_proj o_proj {GELU}"] * 2, HEAD),
    (
        "MptForCausalLM",
        "MptConfig",
        {"d_model": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 99},
        [f"qkv_proj o_proj {GELU}"] * 2,
        HEAD,
    ),
    # OPT names its only tower as BART names its decoder
    (
        "OPTForCausalLM",
        "OPTConfig",
        {**MHA, "ffn_dim": 96, "word_embed_proj_dim": 32},
        [prefixed("decoder.", f"{QKVO} {GELU}")] * 2,
        HEAD
        | {
            "model.decoder.project_in.weight": "unrecognised",
            "model.decoder.project_out.weight": "unrecognised",
        },
    ),
    (
        "BertForMaskedLM",
        "BertConfig",
        MHA,
        [f"{QKVO} {GELU}"] * 2,
        {
            "cls.predictions.transform.dense.weight": "head",
            "cls.predictions.decoder.weight": "head",
        },
    ),
    (
        "BertForSequenceClassification",
        "BertConfig",
        MHA,
        [f"{QKVO} {GELU}"] * 2,
        {"bert.pooler.dense.weight": "head", "classifier.weight": "head"},
    ),
    (
        "BertLMHeadModel",
        "BertConfig",
        {**MHA, "is_decoder": True, "add_cross_attention": True},
        [f"{QKVO} {prefixed('cross.', QKVO)} {GELU}"] * 2,
        {
            "cls.predictions.transform.dense.weight": "head",
            "cls.predictions.decoder.weight": "head",
        },
    ),
    (
        "RobertaForMaskedLM",
        "RobertaConfig",
        MHA,
        [f"{QKVO} {GELU}"] * 2,
        {"lm_head.dense.weight": "head", "lm_head.decoder.weight": "head"},
    ),
    (
        "DebertaV2Model",
        "DebertaV2Config",
        MHA | {"relative_attention": True},
        [f"{QKVO} {GELU}"] * 2,
        {},
    ),
    (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        MHA | dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id"), 0),
        ["qkv_proj o_proj gate_up_proj down_proj"] * 2,
        {"head.dense.weight": "head", "decoder.weight": "head"},
    ),
    (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "vocab_size": 99},
        [f"{QKVO} {GELU}"] * 2,
        {"vocab_transform.weight": "head", "vocab_projector.weight": "head"},
    ),
    ("T5ForConditionalGeneration", "T5Config", T5, [SEQ2SEQ_TOWERS] * 2, HEAD),
    (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu"},
        [T5_GLU_TOWERS] * 2,
        HEAD,
    ),
    ("BartForConditionalGeneration", "BartConfig", SEQ2SEQ, [SEQ2SEQ_TOWERS] * 2, HEAD),
    (
        "MarianMTModel",
        "MarianConfig",
        {**SEQ2SEQ, "max_position_embeddings": 32},
        [SEQ2SEQ_TOWERS] * 2,
        HEAD,
    ),
    (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        SEQ2SEQ,
        [SEQ2SEQ_TOWERS] * 2,
        {"proj_out.weight": "head"},
    ),
    (
        "ViTForImageClassification",
        "ViTConfig",
        VISION,
        [f"{QKVO} {GELU}"] * 2,
        {
            "vit.embeddings.cls_token": "embedding",
            "vit.embeddings.position_embeddings": "embedding",
            "classifier.weight": "head",
        },
    ),
    (
        "CLIPModel",
        "CLIPConfig",
        {"text_config": MHA, "vision_config": VISION},
        [CLIP_TOWERS] * 2,
        {
            "logit_scale": "not_a_matrix",
            "vision_model.embeddings.class_embedding": "embedding",
            "visual_projection.weight": "head",
            "text_projection.weight": "head",
        },
    ),
    ("MixtralForCausalLM", "MixtralConfig", GQA, [f"{QKVO} {STACKED}"] * 2, HEAD),
    ("OlmoeForCausalLM", "OlmoeConfig", GQA, [f"{QKVO} {STACKED}"] * 2, HEAD),
    (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {**GQA, "num_experts": 4, "moe_intermediate_size": 32},
        [f"{QKVO} {STACKED} {SHARED}"] * 2,
        HEAD
        | {
            f"model.layers.{layer}.mlp.shared_expert_gate.weight": "shared_expert_gate"
            for layer in range(2)
        },
    ),
    (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**GQA, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16},
        [f"{QKVO} {STACKED}"] * 2,
        HEAD,
    ),
    ("GraniteMoeForCausalLM", "GraniteMoeConfig", GQA, [f"{QKVO} {STACKED}"] * 2, HEAD),
    (
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        {**LATENT, "q_lora_rank": None},
        [
            f"q_proj kv_a_proj kv_b_proj o_proj {GLU}",
            f"q_proj kv_a_proj kv_b_proj o_proj {STACKED} {SHARED}",
        ],
        HEAD,
    ),
    (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {**LATENT, "num_hidden_layers": 3},
        [f"{MLA} {GLU}"] + [f"{MLA} {STACKED} {SHARED}"] * 2,
        HEAD,
    ),
    (
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {**GQA, "head_dim": 16, "intermediate_size_mlp": 80, "interleave_moe_layer_step": 2},
        [DENSE, f"{QKVO} router gate_up_proj*^ down_proj*^ {SHARED}"],
        HEAD,
    ),
    # gpt-oss stores its experts (in, out) under the names that Mixtral uses for (out, in)
    (
        "GptOssForCausalLM",
        "GptOssConfig",
        {**GQA, "head_dim": 16, "num_local_experts": 4},
        [f"{QKVO} {STACKED}"] * 2,
        HEAD | {f"model.layers.{layer}.self_attn.sinks": "not_a_matrix" for layer in range(2)},
    ),
    (
        "MambaForCausalLM",
        "MambaConfig",
        {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 99},
        [""] * 2,
        HEAD
        | {
            f"backbone.layers.{layer}.mixer.{leaf}": reason
            for layer in range(2)
            for leaf, reason in (
                ("A_log", "unrecognised"),
                ("D", "not_a_matrix"),
                ("in_proj.weight", "unrecognised"),
                ("x_proj.weight", "unrecognised"),
                ("dt_proj.weight", "unrecognised"),
                ("out_proj.weight", "unrecognised"),
            )
        },
    ),
    (
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        {
            "text_config": {"model_type": "llama", **GQA},
            "vision_config": {"model_type": "clip_vision_model", **VISION},
        },
        [DENSE + " " + prefixed("vision.", f"{QKVO} {GELU}")] * 2,
        HEAD | PROJECTOR | {"model.vision_tower.embeddings.class_embedding": "embedding"},
    ),
    (
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLConfig",
        {
            "text_config": {**GQA, "rope_parameters": MROPE},
            "vision_config": {
                "depth": 2,
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_heads": 4,
                "out_hidden_size": 64,
            },
        },
        [DENSE + " " + prefixed("vision.", f"qkv_proj o_proj {GLU}")] * 2,
        HEAD | {f"model.visual.merger.mlp.{i}.weight": "unrecognised" for i in (0, 2)},
    ),
    # The wrapper of Llama 4 nests as `language_model.model.layers`
    (
        "Llama4ForConditionalGeneration",
        "Llama4Config",
        {
            "text_config": {**GQA, "head_dim": 16, "num_local_experts": 4},
            "vision_config": {
                **VISION,
                "intermediate_size": 256,
                "vision_output_dim": 64,
                "projector_input_dim": 64,
                "projector_output_dim": 64,
            },
        },
        [
            f"{QKVO} router gate_up_proj*^ down_proj*^ {SHARED} "
            + prefixed("vision.", f"{QKVO} {GELU}")
        ]
        * 2,
        {
            "language_model.lm_head.weight": "head",
            "vision_model.class_embedding": "embedding",
            "vision_model.positional_embedding_vlm": "embedding",
            "vision_model.patch_embedding.linear.weight": "embedding",
            "vision_model.vision_adapter.mlp.fc1.weight": "unrecognised",
            "vision_model.vision_adapter.mlp.fc2.weight": "unrecognised",
            "multi_modal_projector.linear_1.weight": "unrecognised",
        },
    ),
]


def build(model_class: str, config_class: str, arguments: dict[str, Any]) -> Any:
    """Make a model without storage."""
    config = getattr(transformers, config_class)(**arguments)
    with torch.device("meta"):
        return getattr(transformers, model_class)(config)


def reason_of_module(model: Any, name: str) -> str | None:
    """Tell from the type of its module why a tensor is no projection."""
    module = model.get_submodule(name.rpartition(".")[0])
    if name.endswith("bias"):
        return "bias"
    if "Norm" in type(module).__name__:
        return "norm"
    if isinstance(module, torch.nn.Embedding):
        return "embedding"
    if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
        return "convolution"
    return None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[0])
def test_every_tensor_of_a_real_architecture(family: Family) -> None:
    model_class, config_class, arguments, layers, extras = family
    model = build(model_class, config_class, arguments)
    roles: list[tuple[int, str]] = []
    for name, tensor in model.state_dict().items():
        found = identify(name, tuple(tensor.shape))
        reason = extras.get(name) or reason_of_module(model, name)
        if reason is not None:
            assert found == Skip(reason), name
            continue
        assert isinstance(found, Role), (name, found)
        assert found.expert is None
        marks = "*" * found.stacked + "^" * found.transposed
        roles.append((found.layer, found.component + marks))
    expected = [(layer, word) for layer, words in enumerate(layers) for word in words.split()]
    assert sorted(roles) == sorted(expected)
    assert len(set(roles)) == len(roles)


def test_gate_and_up_are_not_exchanged() -> None:
    llama = "layers.3.feed_forward"
    assert identify(f"{llama}.w1.weight", (96, 64)) == Role("gate_proj", 3)
    assert identify(f"{llama}.w3.weight", (96, 64)) == Role("up_proj", 3)
    assert identify(f"{llama}.w2.weight", (64, 96)) == Role("down_proj", 3)


A, B = (64, 64), (96, 64)

# Names as published, where they differ from those that the class in transformers builds
PUBLISHED: list[tuple[str, tuple[int, ...], Role | str]] = [
    # GPT-2 on the hub (no prefix, mask buffers), nanoGPT, a compiled nanoGPT
    ("h.11.attn.c_attn.weight", (64, 192), Role("qkv_proj", 11, transposed=True)),
    ("h.11.attn.c_proj.weight", A, Role("o_proj", 11)),
    ("h.11.mlp.c_proj.weight", (256, 64), Role("down_proj", 11, transposed=True)),
    ("h.11.attn.bias", (1, 1, 32, 32), "buffer"),
    ("h.11.attn.bias", (32, 32), "buffer"),
    ("h.11.attn.c_attn.bias", (192,), "bias"),
    ("h.11.ln_1.weight", (64,), "norm"),
    ("wte.weight", (99, 64), "embedding"),
    ("wpe.weight", (32, 64), "embedding"),
    ("transformer.h.1.attn.c_attn.weight", (192, 64), Role("qkv_proj", 1)),
    ("_orig_mod.transformer.h.1.mlp.c_proj.weight", (64, 256), Role("down_proj", 1)),
    ("h.0.crossattention.c_attn.weight", (64, 128), Role("cross.kv_proj", 0, transposed=True)),
    # GPT-NeoX
    ("gpt_neox.layers.5.attention.bias", (1, 1, 32, 32), "buffer"),
    ("gpt_neox.layers.5.attention.masked_bias", (), "buffer"),
    ("gpt_neox.layers.5.attention.rotary_emb.inv_freq", (8,), "buffer"),
    ("embed_out.weight", (99, 64), "head"),
    # Llama as released
    ("layers.31.attention.wq.weight", A, Role("q_proj", 31)),
    ("layers.31.attention.wk.weight", A, Role("k_proj", 31)),
    ("layers.31.attention.wv.weight", A, Role("v_proj", 31)),
    ("layers.31.attention.wo.weight", A, Role("o_proj", 31)),
    ("layers.31.attention_norm.weight", (64,), "norm"),
    ("tok_embeddings.weight", (99, 64), "embedding"),
    ("output.weight", (99, 64), "head"),
    ("rope.freqs", (32,), "buffer"),
    # InternLM 2
    ("model.layers.2.attention.wqkv.weight", (128, 64), Role("qkv_proj", 2)),
    # OLMo as released
    ("model.transformer.blocks.4.att_proj.weight", (192, 64), Role("qkv_proj", 4)),
    ("model.transformer.blocks.4.attn_out.weight", A, Role("o_proj", 4)),
    ("model.transformer.blocks.4.ff_proj.weight", (192, 64), Role("gate_up_proj", 4)),
    ("model.transformer.blocks.4.ff_out.weight", (64, 96), Role("down_proj", 4)),
    ("model.transformer.blocks.4.q_proj.weight", A, Role("q_proj", 4)),
    ("model.transformer.blocks.4.k_proj.weight", A, Role("k_proj", 4)),
    ("model.transformer.blocks.4.v_proj.weight", A, Role("v_proj", 4)),
    ("model.transformer.blocks.4.attn_norm.weight", (64,), "norm"),
    ("model.transformer.ff_out.weight", (99, 64), "head"),
    ("model.transformer.wte.weight", (99, 64), "embedding"),
    # Phi 1.5 in its first naming
    ("layers.1.mixer.Wqkv.weight", (192, 64), Role("qkv_proj", 1)),
    ("layers.1.mixer.out_proj.weight", A, Role("o_proj", 1)),
    ("layers.1.mlp.fc1.weight", B, Role("up_proj", 1)),
    # Mixtral, before transformers 5 and as released
    (
        "model.layers.0.block_sparse_moe.experts.7.w1.weight",
        B,
        Role("gate_proj", 0, expert=7),
    ),
    ("model.layers.0.block_sparse_moe.experts.7.w3.weight", B, Role("up_proj", 0, expert=7)),
    (
        "model.layers.0.block_sparse_moe.experts.7.w2.weight",
        (64, 96),
        Role("down_proj", 0, expert=7),
    ),
    ("model.layers.0.block_sparse_moe.gate.weight", (8, 64), Role("router", 0)),
    ("layers.0.feed_forward.experts.7.w1.weight", B, Role("gate_proj", 0, expert=7)),
    ("layers.0.feed_forward.gate.weight", (8, 64), Role("router", 0)),
    # Qwen-MoE, OLMoE, DeepSeek, before transformers 5
    ("model.layers.3.mlp.experts.127.gate_proj.weight", B, Role("gate_proj", 3, expert=127)),
    ("model.layers.3.mlp.experts.127.down_proj.weight", A, Role("down_proj", 3, expert=127)),
    ("model.layers.3.mlp.gate.weight", (128, 64), Role("router", 3)),
    ("model.layers.3.mlp.shared_expert.up_proj.weight", B, Role("shared_expert.up_proj", 3)),
    ("model.layers.3.mlp.shared_experts.up_proj.weight", B, Role("shared_expert.up_proj", 3)),
    ("model.layers.3.mlp.shared_expert_gate.weight", (1, 64), "shared_expert_gate"),
    ("model.layers.3.mlp.gate.e_score_correction_bias", (8,), "bias"),
    ("model.layers.3.self_attn.kv_a_proj_with_mqa.weight", (24, 64), Role("kv_a_proj", 3)),
    ("model.layers.3.self_attn.kv_a_layernorm.weight", (16,), "norm"),
    ("model.layers.3.self_attn.q_a_proj.weight_scale_inv", (2, 2), "quantisation"),
    ("model.layers.61.self_attn.q_a_proj.weight", (24, 64), Role("q_a_proj", 61)),
    ("model.layers.61.eh_proj.weight", (64, 128), "unrecognised"),
    ("model.layers.61.shared_head.head.weight", (99, 64), "head"),
    ("model.layers.61.shared_head.norm.weight", (64,), "norm"),
    ("model.layers.61.embed_tokens.weight", (99, 64), "embedding"),
    ("model.layers.61.enorm.weight", (64,), "norm"),
    ("mtp.layers.0.self_attn.q_proj.weight", A, Role("mtp.q_proj", 0)),
    # Jamba's per-expert matrices are stored (out, in), unlike the stacked ones of Llama 4
    ("model.layers.1.feed_forward.experts.2.gate_proj.weight", B, Role("gate_proj", 1, expert=2)),
    ("model.layers.1.feed_forward.router.weight", (8, 64), Role("router", 1)),
    # Granite MoE
    (
        "model.layers.1.block_sparse_moe.input_linear.weight",
        (4, 192, 64),
        Role("gate_up_proj", 1, stacked=True),
    ),
    ("model.layers.1.block_sparse_moe.router.layer.weight", (4, 64), Role("router", 1)),
    # Switch Transformers
    (
        "decoder.block.1.layer.2.mlp.experts.expert_3.wi.weight",
        B,
        Role("decoder.up_proj", 1, expert=3),
    ),
    ("decoder.block.1.layer.2.mlp.router.classifier.weight", (4, 64), Role("decoder.router", 1)),
    # gpt-oss
    ("model.layers.0.mlp.experts.gate_up_proj_blocks", (4, 192, 2, 16), "packed"),
    ("model.layers.0.mlp.experts.gate_up_proj_scales", (4, 192, 2), "quantisation"),
    ("model.layers.0.mlp.experts.gate_up_proj_bias", (4, 192), "bias"),
    ("model.layers.0.mlp.router.bias", (4,), "bias"),
    # MLX
    ("model.layers.0.self_attn.q_proj.scales", (64, 1), "quantisation"),
    ("model.layers.0.self_attn.q_proj.biases", (64, 1), "quantisation"),
    # BERT2BERT keeps two towers apart
    ("encoder.encoder.layer.1.attention.self.query.weight", A, Role("encoder.q_proj", 1)),
    (
        "decoder.bert.encoder.layer.1.crossattention.self.query.weight",
        A,
        Role("decoder.cross.q_proj", 1),
    ),
    ("0.auto_model.encoder.layer.3.attention.self.key.weight", A, Role("k_proj", 3)),
    ("bert.embeddings.position_ids", (1, 32), "buffer"),
    ("bert.encoder.layer.0.output.LayerNorm.gamma", (64,), "norm"),
    # T5
    (
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        (32, 4),
        "embedding",
    ),
    ("shared.weight", (99, 64), "embedding"),
    # ViT and DINOv2 on the hub, timm
    ("vit.encoder.layer.2.attention.attention.query.weight", A, Role("q_proj", 2)),
    ("vit.encoder.layer.2.attention.output.dense.weight", A, Role("o_proj", 2)),
    ("vit.encoder.layer.2.intermediate.dense.weight", B, Role("up_proj", 2)),
    ("vit.encoder.layer.2.output.dense.weight", (64, 96), Role("down_proj", 2)),
    ("blocks.2.attn.qkv.weight", (192, 64), Role("qkv_proj", 2)),
    ("patch_embed.proj.weight", (64, 3, 16, 16), "convolution"),
    ("pos_embed", (1, 197, 64), "embedding"),
    # CLIP, Whisper, as released
    ("visual.transformer.resblocks.1.attn.in_proj_weight", (192, 64), Role("vision.qkv_proj", 1)),
    ("transformer.resblocks.1.mlp.c_fc.weight", (256, 64), Role("text.up_proj", 1)),
    ("decoder.blocks.1.cross_attn.key.weight", A, Role("decoder.cross.k_proj", 1)),
    ("decoder.blocks.1.mlp.2.weight", (64, 96), Role("decoder.down_proj", 1)),
    ("vision_model.head.attention.in_proj_weight", (192, 64), "head"),
    # Multimodal wrappers
    ("language_model.model.layers.1.self_attn.q_proj.weight", A, Role("q_proj", 1)),
    ("model.text_model.layers.1.self_attn.q_proj.weight", A, Role("q_proj", 1)),
    (
        "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
        B,
        Role("vision.up_proj", 1),
    ),
    ("model.language_model.layers.1.cross_attn.o_proj.weight", A, Role("cross.o_proj", 1)),
    (
        "model.vision_model.global_transformer.layers.1.self_attn.q_proj.weight",
        A,
        Role("vision.global.q_proj", 1),
    ),
    # Single rows of the table
    ("layers.1.mlp.shared_experts.w2.weight", A, Role("shared_expert.down_proj", 1)),
    ("model.layers.1.shared_mlp.input_linear.weight", A, Role("shared_expert.gate_up_proj", 1)),
    ("model.layers.1.shared_mlp.output_linear.weight", A, Role("shared_expert.down_proj", 1)),
    ("layers.1.attn.wkv_b.weight", A, Role("kv_b_proj", 1)),
    ("transformer.h.1.attn.c_k.weight", A, Role("k_proj", 1)),
    ("model.layers.1.self_attn.W_pack.weight", (192, 64), Role("qkv_proj", 1)),
    ("wav2vec2.encoder.layers.1.attention.out_proj.weight", A, Role("encoder.o_proj", 1)),
    (
        "wav2vec2.encoder.layers.1.feed_forward.output_dense.weight",
        (64, 96),
        Role("encoder.down_proj", 1),
    ),
    ("encoder.blocks.1.attn.out.weight", A, Role("encoder.o_proj", 1)),
    ("decoder.layers.1.multihead_attn.out_proj.weight", A, Role("decoder.cross.o_proj", 1)),
    ("encoder.layers.1.linear2.weight", (64, 96), Role("encoder.down_proj", 1)),
    ("blocks.1.mlp.weights_in.weight", B, Role("gate_up_proj", 1)),
    ("model.visual.blocks.1.mlp.linear_fc2.weight", (64, 96), Role("vision.down_proj", 1)),
    ("talker.model.layers.1.mlp.up_proj.weight", B, Role("talker.up_proj", 1)),
    ("qformer.encoder.layer.1.attention.attention.key.weight", A, Role("qformer.k_proj", 1)),
    (
        "model.connector.perceiver_resampler.layers.1.self_attn.q_proj.weight",
        A,
        Role("connector.q_proj", 1),
    ),
    ("audio_tower.layers.1.self_attn.q_proj.weight", A, Role("audio.q_proj", 1)),
    # Wrappers, adapters, quantised checkpoints
    ("module.model.layers.1.self_attn.q_proj.weight", A, Role("q_proj", 1)),
    (
        "base_model.model.model.layers.1.self_attn.q_proj.base_layer.weight",
        A,
        Role("q_proj", 1),
    ),
    (
        "model.layers.1._fsdp_wrapped_module.mlp._checkpoint_wrapped_module.up_proj.weight",
        B,
        Role("up_proj", 1),
    ),
    ("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", (8, 64), "lora"),
    ("base_model.model.model.layers.1.self_attn.q_proj.lora_B.default.weight", (64, 8), "lora"),
    ("model.layers.1.self_attn.q_proj.lora_magnitude_vector", (64,), "lora"),
    ("model.layers.1.self_attn.q_proj.qweight", (8, 64), "packed"),
    ("model.layers.1.self_attn.q_proj.qzeros", (1, 8), "quantisation"),
    ("model.layers.1.self_attn.q_proj.weight.absmax", (64, 1), "quantisation"),
    (
        "model.layers.1.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4",
        (90,),
        "quantisation",
    ),
    # The field's usual words in a container that nobody knows
    ("something.7.attn.q_proj.weight", A, Role("q_proj", 7)),
    ("something.7.attn.q_proj.weight", (64,), "not_a_matrix"),
    ("something.7.attn.q_proj.weight", (4, 64, 64), "not_a_matrix"),
    ("something.7.attn.q_proj.weight", (2048, 1), "not_a_matrix"),
    ("something.7.mlp.experts.down_proj", (0, 64, 64), "not_a_matrix"),
    ("model.layers.0.block_sparse_moe.gate.weight", (4, 64, 64), "not_a_matrix"),
    ("model.layers.0.mlp.experts.gate_up_proj.bias", (4, 192), "bias"),
    ("model.layers.0.strange.output.weight", A, "unrecognised"),
    ("experts.3.mlp.up_proj.weight", B, "unrecognised"),
    # What nobody should guess: no layer, one number too many, too large a number, a stranger
    ("extra.self_attn.q_proj.weight", A, "unrecognised"),
    # Megatron-Core
    ("decoder.layers.5.self_attention.linear_qkv.weight", (192, 64), Role("decoder.qkv_proj", 5)),
    ("decoder.layers.5.self_attention.linear_qkv.layer_norm_weight", (64,), "norm"),
    ("decoder.layers.5.self_attention.linear_proj.weight", A, Role("decoder.o_proj", 5)),
    ("decoder.layers.5.self_attention.linear_kv_down_proj.weight", A, Role("decoder.kv_a_proj", 5)),
    ("decoder.layers.5.mlp.linear_fc1.weight", B, Role("decoder.up_proj", 5)),
    (
        "decoder.layers.5.mlp.experts.local_experts.3.linear_fc2.weight",
        (64, 96),
        Role("decoder.down_proj", 5, expert=3),
    ),
    (
        "decoder.layers.5.mlp.shared_experts.linear_fc1.weight",
        B,
        Role("decoder.shared_expert.up_proj", 5),
    ),
    ("output_layer.weight", (99, 64), "head"),
    ("embedding.word_embeddings.weight", (99, 64), "embedding"),
    # OLMo-core
    ("blocks.3.attention.w_q.weight", A, Role("q_proj", 3)),
    ("blocks.3.attention.w_out.weight", A, Role("o_proj", 3)),
    ("blocks.3.feed_forward.w3.weight", B, Role("up_proj", 3)),
    ("blocks.3.feed_forward_moe.router.weight", (8, 64), Role("router", 3)),
    ("blocks.3.feed_forward_moe.shared_mlp.w2.weight", A, Role("shared_expert.down_proj", 3)),
    # torchtitan, and its experts as they were named before
    ("layers.3.attention.qkv_linear.wk.weight", A, Role("k_proj", 3)),
    ("layers.3.attention.wo.weight", A, Role("o_proj", 3)),
    (
        "layers.3.moe.routed_experts.inner_experts.w2_EDF",
        (8, 64, 96),
        Role("down_proj", 3, stacked=True),
    ),
    ("layers.3.moe.experts.w1", (8, 96, 64), Role("gate_proj", 3, stacked=True)),
    ("layers.3.moe.router.gate.weight", (8, 64), Role("router", 3)),
    ("layers.3.moe.shared_experts.w1.weight", B, Role("shared_expert.gate_proj", 3)),
    # nanotron
    ("model.decoder.3.pp_block.attn.qkv_proj.weight", (192, 64), Role("decoder.qkv_proj", 3)),
    ("model.decoder.3.pp_block.mlp.down_proj.weight", (64, 96), Role("decoder.down_proj", 3)),
    # LitGPT, before and after its layout of q, k and v changed; torchtune
    ("transformer.h.1.attn.attn.weight", (192, 64), Role("qkv_proj", 1)),
    ("transformer.h.1.attn.qkv.weight", (192, 64), Role("qkv_proj", 1)),
    ("transformer.h.1.attn.proj.weight", A, Role("o_proj", 1)),
    ("transformer.h.1.mlp.fc.weight", B, Role("up_proj", 1)),
    ("transformer.h.1.mlp.fc_1.weight", B, Role("gate_proj", 1)),
    ("transformer.h.1.mlp.fc_2.weight", B, Role("up_proj", 1)),
    ("transformer.h.1.mlp.proj.weight", (64, 96), Role("down_proj", 1)),
    ("transformer.h.1.mlp.experts.2.fc_1.weight", B, Role("gate_proj", 1, expert=2)),
    ("layers.3.attn.output_proj.weight", A, Role("o_proj", 3)),
    ("layers.3.mlp.w1.weight", B, Role("gate_proj", 3)),
    ("layers.3.mlp.w3.weight", B, Role("up_proj", 3)),
    ("layers.3.mlp.w2.weight", (64, 96), Role("down_proj", 3)),
    ("layers.3.sa_norm.scale", (64,), "norm"),
    # Qwen 1, with some of torchtune's names for other matrices: its `w2` goes through SiLU
    ("transformer.h.3.mlp.w1.weight", B, Role("up_proj", 3)),
    ("transformer.h.3.mlp.w2.weight", B, Role("gate_proj", 3)),
    ("transformer.h.3.mlp.c_proj.weight", (64, 96), Role("down_proj", 3)),
    # diffusers: FLUX, AuraFlow, PixArt, Lumina 2, and a U-Net, whose layers have three numbers
    ("transformer_blocks.7.attn.to_q.weight", A, Role("q_proj", 7)),
    ("transformer_blocks.7.attn.to_out.0.weight", A, Role("o_proj", 7)),
    ("transformer_blocks.7.attn.to_out.0.bias", (64,), "bias"),
    ("transformer_blocks.7.attn.add_k_proj.weight", A, Role("context.k_proj", 7)),
    ("transformer_blocks.7.attn.to_add_out.weight", A, Role("context.o_proj", 7)),
    ("transformer_blocks.7.ff.net.0.proj.weight", B, Role("up_proj", 7)),
    ("transformer_blocks.7.ff_context.net.2.weight", (64, 96), Role("context.down_proj", 7)),
    ("transformer_blocks.7.norm1.linear.weight", (384, 64), "unrecognised"),
    ("single_transformer_blocks.2.attn.to_v.weight", A, Role("single.v_proj", 2)),
    ("single_transformer_blocks.2.proj_mlp.weight", B, Role("single.up_proj", 2)),
    ("single_transformer_blocks.2.proj_out.weight", (64, 160), "unrecognised"),
    ("single_transformer_blocks.2.attn.to_out.weight", (64, 160), "unrecognised"),
    ("encoder.layers.2.attn.to_out.weight", A, Role("encoder.o_proj", 2)),
    ("encoder.layers.2.attn.to_kv.weight", (128, 64), Role("encoder.kv_proj", 2)),
    ("proj_out.weight", (99, 64), "head"),
    ("input_ff_layer.output_layer.weight", A, "unrecognised"),
    (
        "joint_transformer_blocks.1.ff_context.out_projection.weight",
        A,
        Role("context.down_proj", 1),
    ),
    ("transformer_blocks.7.attn2.to_k.weight", (64, 48), Role("cross.k_proj", 7)),
    ("noise_refiner.1.feed_forward.linear_3.weight", B, Role("noise_refiner.up_proj", 1)),
    ("layers.1.feed_forward.linear_2.weight", (64, 96), Role("down_proj", 1)),
    (
        "context_embedder.token_refiner.refiner_blocks.1.attn.to_q.weight",
        A,
        Role("token_refiner.q_proj", 1),
    ),
    ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight", A, "unrecognised"),
    # FLUX, Stable Diffusion 3 and Wan as their authors released them
    ("model.diffusion_model.double_blocks.3.img_attn.qkv.weight", (192, 64), Role("qkv_proj", 3)),
    ("double_blocks.3.txt_attn.proj.weight", A, Role("context.o_proj", 3)),
    ("double_blocks.3.img_mlp.0.weight", B, Role("up_proj", 3)),
    ("double_blocks.3.txt_mlp.2.weight", (64, 96), Role("context.down_proj", 3)),
    ("single_blocks.3.linear1.weight", (448, 64), "unrecognised"),
    ("single_blocks.3.linear2.weight", (64, 320), "unrecognised"),
    ("joint_blocks.3.x_block.attn.qkv.weight", (192, 64), Role("qkv_proj", 3)),
    ("joint_blocks.3.context_block.mlp.fc1.weight", B, Role("context.up_proj", 3)),
    ("blocks.3.self_attn.o.weight", A, Role("o_proj", 3)),
    ("blocks.3.cross_attn.k.weight", A, Role("cross.k_proj", 3)),
    ("blocks.3.ffn.2.weight", (64, 96), Role("down_proj", 3)),
    ("swin.encoder.layers.0.blocks.1.attention.self.query.weight", A, "unrecognised"),
    (f"model.layers.{2**31}.self_attn.q_proj.weight", A, "unrecognised"),
    (f"model.layers.{2**31 - 1}.self_attn.q_proj.weight", A, Role("q_proj", 2**31 - 1)),
    ("model.layers.-1.self_attn.q_proj.weight", A, "unrecognised"),
    ("model.layers.²٣.self_attn.q_proj.weight", A, "unrecognised"),
    ("model.layers.0.self_attn.indexer.wk.weight", A, "unrecognised"),
    ("model.layers.0.mlp.experts.9.strange.weight", A, "unrecognised"),
]


@pytest.mark.parametrize(("name", "shape", "expected"), PUBLISHED)
def test_names_as_published(name: str, shape: tuple[int, ...], expected: Role | str) -> None:
    assert identify(name, shape) == (Skip(expected) if isinstance(expected, str) else expected)


def test_table_does_not_contradict_itself() -> None:
    meaning: dict[str, str] = {}
    for parents, leaves, components in TABLE:
        for parent in parents.split():
            for leaf, component in zip(leaves.split(), components.split(), strict=True):
                path = f"{parent}.{leaf}"
                assert meaning.setdefault(path, component) == component, path


def test_every_component_of_the_table_has_a_class() -> None:
    components = {word for row in TABLE for word in row[2].split()}
    assert {word for word in components if weight_class(word) == "other"} == {"router"}
    assert {word.rpartition(".")[2] for word in components} == set(CLASSES)
    assert set(CLASSES.values()) == set(WEIGHT_CLASSES)


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ("q_proj k_proj q_a_proj q_b_proj encoder.q_proj decoder.cross.k_proj", "selection"),
        ("v_proj vision.v_proj decoder.cross.v_proj", "value"),
        ("o_proj gate_proj up_proj down_proj gate_up_proj", "transmission"),
        ("shared_expert.gate_proj text.down_proj vision.global.o_proj", "transmission"),
        ("qkv_proj kv_proj kv_a_proj kv_b_proj vision.qkv_proj", "fused"),
        ("router decoder.router my_proj . ", "other"),
    ],
)
def test_weight_class(components: str, expected: str) -> None:
    assert {weight_class(component) for component in components.split()} == {expected}


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("q_proj", ""),
        ("shared_expert.up_proj", ""),
        ("cross.q_proj", ""),
        ("decoder.cross.q_proj", "decoder"),
        ("vision.global.q_proj", "vision"),
        ("context.q_proj", "context"),
        ("vision.shared_expert.up_proj", "vision"),
    ],
)
def test_tower(component: str, expected: str) -> None:
    assert tower(component) == expected


def test_order_is_that_of_a_layer_tower_by_tower() -> None:
    text = (
        "qkv_proj q_proj q_a_proj q_b_proj k_proj kv_proj kv_a_proj kv_b_proj cross.v_proj v_proj "
        "o_proj router gate_proj gate_up_proj up_proj down_proj my_proj shared_expert.gate_proj "
        "shared_expert.down_proj decoder.cross.q_proj decoder.k_proj encoder.q_proj vision.o_proj"
    )
    ordered = text.split()
    assert sorted(sorted(ordered), key=component_order) == ordered


@pytest.mark.parametrize(
    "name",
    [
        "a" * 100_000,
        "." * 100_000,
        "layers." * 20_000,
        "layers.0." * 12_000 + "self_attn.q_proj.weight",
        "layers." + "9" * 100_000 + ".self_attn.q_proj.weight",
        "layers." + "9" * 900 + ".self_attn.q_proj.weight",
        "." * 1_000,
        "",
        "module",
    ],
    ids=len,
)
def test_hostile_names_are_refused_at_once(name: str) -> None:
    start = time.perf_counter()
    assert identify(name, (64, 64)) == Skip("unrecognised")
    assert time.perf_counter() - start < 0.1


VOCABULARY = sorted(
    {
        word
        for row in TABLE
        for column in row[:2]
        for path in column.split()
        for word in path.split(".")
    }
    | {"layers", "layer", "h", "block", "encoder", "decoder", "experts", "weight", "bias", "module"}
    | {"0", "3", "99999999999"}
)
# A shared machine may stall; failures are not kept, as files belong in `tmp_path`
UNHURRIED = settings(deadline=None, database=None)
SHAPES = st.lists(st.integers(0, 300), max_size=5).map(tuple)


@UNHURRIED
@given(st.text() | st.lists(st.sampled_from(VOCABULARY)).map(".".join), SHAPES)
def test_any_name_has_a_role_or_a_reason(name: str, shape: tuple[int, ...]) -> None:
    found = identify(name, shape)
    if isinstance(found, Skip):
        assert found.reason in SKIP_REASONS
        return
    assert 0 <= found.layer < 2**31
    assert len(shape) == (3 if found.stacked else 2)
    assert found.expert is None or (found.expert >= 0 and not found.stacked)
    assert weight_class(found.component) in WEIGHT_CLASSES
    assert found.component.rpartition(".")[2] in CLASSES


@UNHURRIED
@given(
    st.sampled_from(sorted(SKIP_REASONS[:3])),
    st.sampled_from([entry for entry in PUBLISHED if isinstance(entry[2], Role)]),
)
def test_companions_of_a_projection_are_never_taken_for_it(
    kind: str, entry: tuple[str, tuple[int, ...], Role | str]
) -> None:
    name, shape, _ = entry
    stem = name.removesuffix(".weight")
    ending = {"lora": "lora_A.weight", "buffer": "rotary.inv_freq", "quantisation": "weight_scale"}
    assert identify(f"{stem}.{ending[kind]}", shape) == Skip(kind)
