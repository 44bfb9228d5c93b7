"""Layouts of fused matrices, held against what transformers' own classes compute."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from weibnb.io.fused import _LAYOUT_OF, Part, layout_of
from weibnb.io.naming import Role, identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

transformers = pytest.importorskip("transformers")

HIDDEN, HEADS, WORDS = 32, 4, 50
SMALL = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT = {"n_embd": HIDDEN, "n_layer": 1, "n_head": HEADS, "n_positions": 32, "vocab_size": WORDS}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
BLOOM = {"vocab_size": WORDS, "hidden_size": HIDDEN, "n_layer": 1, "n_head": HEADS}
ATTENTION: list[tuple[str, dict[str, Any]]] = [
    ("gpt_neox", SMALL),
    ("gpt_neox_japanese", SMALL),
    ("bloom", BLOOM),
    ("falcon", SMALL | {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": True}),
    ("falcon", SMALL | {"new_decoder_architecture": False, "multi_query": True, "alibi": True}),
    ("falcon", SMALL | {"new_decoder_architecture": False, "multi_query": False, "alibi": True}),
    ("gpt2", GPT | ENDS),
    ("imagegpt", GPT),
    ("openai-gpt", GPT),
    ("gpt_bigcode", GPT | ENDS | {"multi_query": True}),
    ("gpt_bigcode", GPT | ENDS | {"multi_query": False}),
    ("codegen", GPT | ENDS | {"n_ctx": 32, "rotary_dim": 4}),
    ("mpt", {"d_model": HIDDEN, "n_heads": HEADS, "n_layers": 1, "vocab_size": WORDS}),
    ("phi3", SMALL | {"num_key_value_heads": 2}),
    ("modernbert", SMALL | {"reference_compile": False}),
]


class Seen(TorchFunctionMode):
    """Collects the queries, keys and values of attention, however it is computed."""

    def __init__(self) -> None:
        self.products: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.attention: list[tuple[torch.Tensor, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            given = [*args, *(kwargs[n] for n in ("query", "key", "value") if n in kwargs)]
            self.attention.append(tuple(one.detach() for one in given[:3]))
        elif func in (torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.products.append((args[0].detach(), args[1].detach()))
        elif func in (torch.baddbmm, torch.Tensor.baddbmm):
            self.products.append(
                (
                    args[1] if len(args) > 1 else kwargs["batch1"],
                    args[2] if len(args) > 2 else kwargs["batch2"],
                )
            )
        return func(*args, **kwargs)

    def heads(self) -> list[torch.Tensor]:
        """Give query, key and value of the first attention, each (heads, positions, size)."""
        if self.attention:
            found = self.attention[0]
        else:
            products = [p for p in self.products if p[0].ndim >= 3 and p[1].ndim >= 3]
            (query, keys), (_, value) = products[0], products[1]
            found = query, keys.transpose(-1, -2), value
        return [one.reshape(-1, *one.shape[-2:]) for one in found]


@contextmanager
def without_rotation(model: torch.nn.Module) -> Iterator[None]:
    """Let rotary embeddings leave queries and keys as they are."""
    module = importlib.import_module(type(model).__module__)
    patch = pytest.MonkeyPatch()
    for name in ("apply_rotary_pos_emb", "apply_rotary_pos_emb_vision"):
        if hasattr(module, name):
            one = type(model).__name__.startswith("CodeGen")
            keep: Callable[..., Any] = (
                (lambda x, *_, **__: x) if one else (lambda q, k, *_, **__: (q, k))
            )
            patch.setattr(module, name, keep)
    try:
        yield
    finally:
        patch.undo()


def known(kind: str) -> Any:
    """Give the maker of configurations, if this version has the family as version 5 has it."""
    if transformers.__version__ < "5" or kind not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {kind}, or an older one")
    return transformers.AutoConfig


def tiny(kind: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = known(kind).for_model(kind, **settings)
    model = transformers.AutoModel.from_config(config)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.zero_() if name.endswith("bias") else parameter.normal_(0, 0.5)
    return model.eval()


def fused_in(model: torch.nn.Module, word: str) -> tuple[str, torch.nn.Parameter, Role]:
    for name, parameter in model.named_parameters():
        role = identify(name, tuple(parameter.shape))
        if isinstance(role, Role) and role.component.endswith(word):
            return name, parameter, role
    raise LookupError(word)


@pytest.mark.parametrize(("kind", "settings"), ATTENTION)
def test_the_parts_of_qkv_give_the_queries_keys_and_values_of_the_model(
    kind: str, settings: dict[str, Any]
) -> None:
    model = tiny(kind, settings)
    name, weights, role = fused_in(model, "qkv_proj")
    parts = layout_of(name, role, tuple(weights.shape), model.config.to_dict())
    assert not isinstance(parts, str), parts
    inputs: list[torch.Tensor] = []
    module = model.get_submodule(name.rpartition(".")[0])
    module.register_forward_hook(lambda _module, args, _output: inputs.append(args[0].detach()))
    with torch.no_grad(), without_rotation(model), Seen() as seen:
        model(torch.arange(3, 10)[None])
    x = inputs[0].reshape(-1, HIDDEN)
    by_name = {part.component: part for part in parts}
    for word, theirs in zip(("q_proj", "k_proj", "v_proj"), seen.heads(), strict=True):
        ours = x @ matrix_of(by_name[word], weights.detach()).T
        ours = ours.reshape(len(x), -1, HIDDEN // HEADS).transpose(0, 1)
        assert len(theirs) % len(ours) == 0
        torch.testing.assert_close(ours.repeat_interleave(len(theirs) // len(ours), 0), theirs)


def matrix_of(part: Part, weights: torch.Tensor) -> torch.Tensor:
    """Give a part as (out, in)."""
    view = part.of(weights)
    matrix: torch.Tensor = view.flatten(1).T if part.transposed else view.flatten(0, 1)
    return matrix


VISION = [
    ("qwen2_vl", "VisionAttention"),
    ("qwen2_5_vl", "Qwen2_5_VLVisionAttention"),
    ("qwen3_vl", "Qwen3VLVisionAttention"),
    ("qwen3_vl_moe", "Qwen3VLMoeVisionAttention"),
    ("qwen3_5", "Qwen3_5VisionAttention"),
    ("qwen3_5_moe", "Qwen3_5MoeVisionAttention"),
    ("glm4v", "Glm4vVisionAttention"),
    ("glm4v_moe", "Glm4vMoeVisionAttention"),
    ("ernie4_5_vl_moe", "Ernie4_5_VLMoeVisionAttention"),
    ("sam", "SamVisionAttention"),
    ("sam_hq", "SamHQVisionAttention"),
    ("mgp-str", "MgpstrAttention"),
]


@pytest.mark.parametrize(("kind", "name"), VISION)
def test_the_vision_towers_store_three_blocks(kind: str, name: str) -> None:
    config = known(kind).for_model(kind)
    section = getattr(config, "vision_config", config)
    for side in ("hidden_size", "embed_dim"):
        if hasattr(section, side):
            setattr(section, side, HIDDEN)
    for number in ("num_heads", "num_attention_heads"):
        if hasattr(section, number):
            setattr(section, number, HEADS)
    section._attn_implementation = "eager"
    word = kind.replace("-", "_")
    module = importlib.import_module(f"transformers.models.{word}.modeling_{word}")
    sam = kind.startswith("sam")
    attention = getattr(module, name)(section, 2) if sam else getattr(module, name)(section)
    torch.manual_seed(0)
    x, stored = torch.randn(4, HIDDEN), "visual.blocks.0.attn.qkv.weight"
    torch.nn.init.zeros_(attention.qkv.bias) if attention.qkv.bias is not None else None
    weights = attention.qkv.weight.detach()
    role = identify(stored, tuple(weights.shape))
    assert isinstance(role, Role)
    parts = layout_of(stored, role, tuple(weights.shape), config.to_dict())
    assert not isinstance(parts, str), parts
    calls: dict[str, Any] = {"sam": (x.reshape(1, 2, 2, HIDDEN),), "mgp-str": (x[None],)}
    rotation = torch.ones(4, HIDDEN // HEADS), torch.zeros(4, HIDDEN // HEADS)
    usual = (x, torch.tensor([0, 4]))
    with torch.no_grad(), without_rotation(attention), Seen() as seen:
        if kind in calls or sam:
            attention(*calls[kind.removesuffix("_hq")])
        else:
            attention(*usual, position_embeddings=rotation)
    for part, theirs in zip(parts, seen.heads(), strict=True):
        ours = (x @ matrix_of(part, weights).T).reshape(4, HEADS, -1).transpose(0, 1)
        scaled = (
            ours / (HIDDEN / HEADS) ** 0.5 if sam and part.component.endswith("q_proj") else ours
        )
        torch.testing.assert_close(scaled, theirs)


DENSE = [
    ("phi3", "Phi3MLP"),
    ("phi4_multimodal", "Phi4MultimodalMLP"),
    ("glm", "GlmMLP"),
    ("glm4", "Glm4MLP"),
    ("glm4v", "Glm4vTextMLP"),
    ("dia", "DiaMLP"),
    ("modernbert", "ModernBertMLP"),
    ("modernbert-decoder", "ModernBertDecoderMLP"),
    ("granitemoeshared", "GraniteMoeSharedMLP"),
    ("granitemoehybrid", "GraniteMoeHybridMLP"),
]
SIDES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 24,
    "shared_intermediate_size": 24,
    "expert_ffn_hidden_size": 24,
    "zero_expert_num": 0,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 3),
}


def small_config(kind: str) -> Any:
    """Give the configuration of a language model with small sides."""
    text = {"dia": "dia_decoder"}.get(kind, f"{kind}_text")
    config = known(kind).for_model(text if text in transformers.CONFIG_MAPPING else kind)
    for name, value in SIDES.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def random_module(kind: str, ending: str) -> tuple[Any, Any]:
    config, word = small_config(kind), kind.replace("-", "_")
    module = importlib.import_module(f"transformers.models.{word}.modeling_{word}")
    names = [name for name in vars(module) if name.endswith(ending)]
    made = getattr(module, ending if hasattr(module, ending) else names[0])(config)
    torch.manual_seed(0)
    for name, parameter in made.named_parameters():
        with torch.no_grad():
            parameter.zero_() if name.endswith("bias") else parameter.normal_(0, 0.3)
    return made.eval(), config


@pytest.mark.parametrize(("kind", "name"), DENSE)
def test_gate_and_up_give_what_the_feed_forward_gives(kind: str, name: str) -> None:
    module, config = random_module(kind, name)
    (word,) = [
        n for n, _ in module.named_parameters() if "gate_up" in n or "Wi" in n or "input" in n
    ]
    stored = f"model.layers.0.{'shared_mlp' if 'input' in word else 'mlp'}.{word}"
    weights = module.get_parameter(word).detach()
    role = identify(stored, tuple(weights.shape))
    assert isinstance(role, Role)
    parts = layout_of(stored, role, tuple(weights.shape), config.to_dict())
    assert not isinstance(parts, str), parts
    gate, up = (matrix_of(part, weights) for part in parts)
    (act,) = [m for n, m in module.named_children() if "act" in n]
    (down,) = [m for n, m in module.named_children() if n in ("down_proj", "Wo", "output_linear")]
    x = torch.randn(5, 16)
    with torch.no_grad():
        torch.testing.assert_close(down(act(x @ gate.T) * (x @ up.T)), module(x))
        assert not torch.allclose(down(act(x @ up.T) * (x @ gate.T)), module(x), atol=1e-3)


EXPERTS = [
    "granitemoe",
    "granitemoeshared",
    "granitemoehybrid",
    "gpt_oss",
    "llama4",
    "mixtral",
    "phimoe",
    "jamba",
    "olmoe",
    "flex_olmo",
    "afmoe",
    "dots1",
    "longcat_flash",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "kimi_linear",
    "hunyuan_v1_moe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_vl_moe",
    "qwen3_5_moe",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_moe",
    "glm_moe_dsa",
    "ernie4_5_moe",
    "minimax",
    "minimax_m2",
    "mistral4",
    "lfm2_moe",
    "mimo_v2_flash",
    "solar_open",
    "cohere2_moe",
    "exaone_moe",
    "hy_v3",
    "axk1",
    "bailing_hybrid",
]


@pytest.mark.parametrize("kind", EXPERTS)
def test_gate_and_up_give_what_experts_give(kind: str) -> None:
    module, config = random_module(kind, "Experts")
    weights, down = (module.get_parameter(n).detach() for n in ("gate_up_proj", "down_proj"))
    parent = "feed_forward" if kind in ("llama4", "jamba") else "mlp"
    stored = f"model.layers.0.{parent}.experts.gate_up_proj"
    role = identify(stored, tuple(weights.shape))
    assert isinstance(role, Role)
    parts = layout_of(stored, role, tuple(weights.shape), config.to_dict())
    assert not isinstance(parts, str), parts
    assert [part.transposed for part in parts] == [weights.shape[1] == 16] * 2
    x = torch.randn(3, 5, 16)

    def output(expert: int, gate: Part, up: Part) -> Any:
        opened = x[expert] @ matrix_of(gate, weights[expert]).T
        passed = x[expert] @ matrix_of(up, weights[expert]).T
        out = down[expert] if parts[0].transposed else down[expert].T
        if kind == "gpt_oss":
            opened, passed = (
                opened.clamp(max=module.limit),
                passed.clamp(-module.limit, module.limit),
            )
            return (passed + 1) * opened * torch.sigmoid(opened * module.alpha) @ out
        return (module.act_fn(opened) * passed) @ out

    with torch.no_grad():
        if kind == "llama4":
            theirs = list(module(x).reshape(3, 5, 16))
        else:
            first = torch.arange(3).repeat_interleave(5)
            chosen = torch.stack([first, (first + 1) % 3], 1)
            shares = torch.tensor([1.0, 0.0]).repeat(15, 1)
            theirs = list(module(x.reshape(15, 16), chosen, shares).reshape(3, 5, 16))
        for expert in range(3):
            torch.testing.assert_close(output(expert, *parts), theirs[expert])
            assert not torch.allclose(output(expert, *parts[::-1]), theirs[expert], atol=1e-3)


def test_attention_of_torch_has_three_blocks() -> None:
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(HIDDEN, HEADS, bias=False, batch_first=True)
    weights, x = attention.in_proj_weight.detach(), torch.randn(1, 6, HIDDEN)
    name, shape = "layers.0.self_attn.in_proj_weight", tuple(weights.shape)
    role = identify(name, shape)
    assert isinstance(role, Role)
    parts = layout_of(name, role, shape, {})
    assert not isinstance(parts, str), parts
    query, key, value = (
        (x @ matrix_of(part, weights).T).reshape(1, 6, HEADS, -1).transpose(1, 2) for part in parts
    )
    out = functional.scaled_dot_product_attention(query, key, value)
    with torch.no_grad():
        ours = attention.out_proj(out.transpose(1, 2).flatten(2))
        torch.testing.assert_close(ours, attention(x, x, x)[0])


def test_every_row_of_the_table_is_held_against_code() -> None:
    by_its_classes = {kind for kind, _ in ATTENTION + VISION + DENSE} | set(EXPERTS)
    same_code = {"phi3_v", "phi4mm"}  # the names under which Phi-3's own code was published
    published = {"qwen", "baichuan", "timm", "intern_vit_6b", "internlm2", "dinov2"}
    published |= {"olmo", "hf_olmo"}
    kinds = {kind for kind, _ in _LAYOUT_OF}
    assert kinds == by_its_classes | same_code | published | {"*"}
