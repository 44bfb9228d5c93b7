"""How families of models store several matrices in one: `layout_of` tells the parts.

To teach weibnb a new layout, add a row to `_TABLE`. Each row was held against what
the family's own code computes (`tests/io/test_fused_models.py`; without a class in transformers,
against its published code).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from weibnb.io.naming import last_word, tower
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weibnb.io.naming import Role

    # So many groups of output features, all alike, and the length of each part in a group.
    Lengths = tuple[int, list[tuple[str, int]]]

_PARTS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "kv_proj": ("k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_LATENT = ("kv_a_proj", "kv_b_proj")
_ENDINGS = ("_text", "_vision_model", "_vision", "_encoder", "_decoder")
_LARGEST = 2**31 - 1

# Types of models as config.json names them (without `_text` or `_vision`; * for every model), last
# words of parameters, and how their output features are laid out.
_TABLE: tuple[tuple[str, str, str], ...] = (
    ("*", "in_proj_weight", "blocks"),  # torch.nn.MultiheadAttention
    ("gpt2 imagegpt openai-gpt qwen", "c_attn", "blocks"),
    ("mpt modernbert", "Wqkv", "blocks"),
    ("baichuan", "W_pack", "blocks"),
    ("timm qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe qwen3_5 qwen3_5_moe", "qkv", "blocks"),
    ("glm4v glm4v_moe ernie4_5_vl_moe sam sam_hq mgp-str intern_vit_6b", "qkv", "blocks"),
    ("phi3 phi3_v phi4mm phi4_multimodal", "qkv_proj", "blocks by heads"),
    ("olmo hf_olmo", "att_proj", "blocks by heads"),
    ("gpt_neox gpt_neox_japanese bloom", "query_key_value", "each head"),
    ("internlm2", "wqkv", "each group"),
    ("falcon", "query_key_value", "falcon"),
    ("gpt_bigcode", "c_attn", "gpt_bigcode"),
    ("codegen", "qkv_proj", "codegen"),
    ("phi3 phi3_v phi4mm phi4_multimodal glm glm4 glm4v dia", "gate_up_proj", "blocks"),
    ("modernbert modernbert-decoder", "Wi", "blocks"),
    ("dinov2", "weights_in", "blocks"),
    ("granitemoe granitemoeshared granitemoehybrid", "input_linear gate_up_proj", "blocks"),
    ("olmo hf_olmo", "ff_proj", "up before gate"),
    # Stacks of experts, and the experts of transformers 5
    ("gpt_oss", "gate_up_proj", "interleaved"),
    (
        "llama4 mixtral phimoe jamba olmoe flex_olmo afmoe dots1 longcat_flash",
        "gate_up_proj",
        "blocks",
    ),
    ("deepseek_v2 deepseek_v3 deepseek_v32 kimi_linear hunyuan_v1_moe", "gate_up_proj", "blocks"),
    ("qwen2_moe qwen3_moe qwen3_next qwen3_vl_moe qwen3_5_moe", "gate_up_proj", "blocks"),
    ("glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa ernie4_5_moe", "gate_up_proj", "blocks"),
    ("minimax minimax_m2 mistral4 lfm2_moe mimo_v2_flash solar_open", "gate_up_proj", "blocks"),
    ("cohere2_moe exaone_moe hy_v3 axk1 bailing_hybrid", "gate_up_proj", "blocks"),
)
# Families whose stacks of experts are (experts, in, out).
_STACKED_IN_OUT = ("gpt_oss", "llama4")
# Families whose `Conv1D` stores (in, out), which a square matrix does not show.
_CONV1D = ("gpt2", "imagegpt", "openai-gpt")

_LAYOUT_OF: dict[tuple[str, str], str] = {
    (kind, word): layout
    for kinds, words, layout in _TABLE
    for kind in kinds.split()
    for word in words.split()
}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the matrices in a fused one: lines `start` to `stop` of each group of `width`.

    Lines are output features: rows of a matrix that is stored (out, in), else columns.
    """

    component: str
    groups: int
    width: int
    start: int
    stop: int
    transposed: bool = False

    @property
    def features(self) -> int:
        """Number of its output features."""
        return self.groups * (self.stop - self.start)

    def stored(self, feature: int) -> int:
        """Tell where in the fused matrix an output feature of the part is.

        Examples
        --------
        >>> Part("k_proj", groups=4, width=48, start=16, stop=32).stored(17)
        65
        """
        group, line = divmod(feature, self.stop - self.start)
        return group * self.width + self.start + line

    def of(self, matrix: Any) -> Any:
        """Take the part from a fused matrix, array or tensor, as a view: groups are a dim.

        Its shape is (groups, lines, in) or, transposed, (in, groups, lines).
        """
        grouped = self.groups, self.width
        rows, cols = matrix.shape
        if self.transposed:
            return matrix.reshape(rows, *grouped)[:, :, self.start : self.stop]
        return matrix.reshape(*grouped, cols)[:, self.start : self.stop]


def is_fused(component: str) -> bool:
    """Whether a matrix of this component holds several."""
    return component.rpartition(".")[2] in (*_PARTS, *_LATENT)


def is_transposed(role: Role, shape: tuple[int, ...], config: Mapping[str, Any]) -> bool:
    """Tell whether output features are columns; of a stack, the side of the hidden size tells.

    Examples
    --------
    >>> from weibnb.io.naming import identify
    >>> shape = (32, 64, 256)
    >>> role = identify("model.layers.0.mlp.experts.gate_up_proj", shape)
    >>> is_transposed(role, shape, {"hidden_size": 64}), is_transposed(role, shape, {})
    (True, False)
    """
    if not role.stacked:
        square = role.component.endswith("o_proj") and shape[0] == shape[-1]
        return role.transposed or (square and section_of(config, "")[0] in _CONV1D)
    family, section = section_of(config, tower(role.component))
    hidden, (rows, cols) = Heads.of(section).hidden, shape[-2:]
    if hidden in (rows, cols) and rows != cols:
        return hidden == (cols if role.component.endswith("down_proj") else rows)
    return role.transposed or family in _STACKED_IN_OUT


def layout_of(
    name: str, role: Role, shape: tuple[int, ...], config: Mapping[str, Any]
) -> list[Part] | str:
    """Tell the parts of a matrix, or of each expert of a stack; none if it is not fused.

    Returns
    -------
    list of Part or str
        A text says why a fused matrix has to stay one.

    Examples
    --------
    >>> from weibnb.io.naming import identify
    >>> name, config = "gpt_neox.layers.0.attention.query_key_value.weight", {
    ...     "model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4}
    >>> layout_of(name, identify(name, (192, 64)), (192, 64), config)[1]
    Part(component='k_proj', groups=4, width=48, start=16, stop=32, transposed=False)
    >>> layout_of(name, identify(name, (192, 64)), (192, 64), {})
    'config.json names no model_type'
    """
    prefix, dot, word = role.component.rpartition(".")
    if word in _LATENT:
        return "multi-head latent attention is not split"
    if word not in _PARTS:
        return []
    family, section = section_of(config, tower(role.component))
    stored = last_word(name)
    layout = _LAYOUT_OF.get((family, stored)) or _LAYOUT_OF.get(("*", stored))
    if layout is None:
        known = shortened(family)
        unknown = f"no layout of `{stored}` is known for the model_type {known}"
        return unknown if known else "config.json names no model_type"
    heads = Heads.of(section)
    transposed = is_transposed(role, shape, config)
    rows, cols = shape[-2:]
    inputs, lines = (rows, cols) if transposed else (cols, rows)
    found = _LENGTHS[layout](_Fused(_PARTS[word], inputs, lines, heads))
    if isinstance(found, str):
        return found
    groups, lengths = found
    width = sum(length for _, length in lengths)
    if groups * width != lines or min(length for _, length in lengths) < 1:
        each = ", ".join(f"{length:,} of {part}" for part, length in lengths)
        return f"its {lines:,} output features are not {groups:,} times {each}"
    stops = accumulate(length for _, length in lengths)
    return [
        Part(f"{prefix}{dot}{part}", groups, width, stop - length, stop, transposed)
        for (part, length), stop in zip(lengths, stops, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Heads:
    """What config.json says of attention; 0 where it says nothing."""

    heads: int
    kv_heads: int
    size: int
    hidden: int
    multi_query: bool
    grouped: bool

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Heads:
        """Read one section of a configuration, under the names of all families."""

        def number(*names: str) -> int:
            values = (section.get(name) for name in names)
            fit = (v for v in values if type(v) is int and 0 < v <= _LARGEST)
            return next(fit, 0)

        heads = number("num_attention_heads", "n_head", "n_heads", "num_heads")
        hidden = number("hidden_size", "n_embd", "d_model", "dim")
        return cls(
            heads=heads,
            kv_heads=number("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv"),
            size=number("head_dim") or (hidden // heads if heads else 0),
            hidden=hidden,
            multi_query=section.get("multi_query") is True,
            grouped=section.get("new_decoder_architecture") is True,
        )


@dataclass(frozen=True, slots=True)
class _Fused:
    """A fused matrix: the words for its parts, its sides, and its attention."""

    parts: tuple[str, ...]
    inputs: int
    lines: int
    attention: Heads


def _equal(fused: _Fused) -> Lengths | str:
    """Give parts of one length, one after the other; q, k and v are as wide as their input."""
    length = fused.lines // len(fused.parts)
    if "k_proj" in fused.parts:
        length = fused.inputs
    return 1, [(part, length) for part in fused.parts]


def _up_before_gate(fused: _Fused) -> Lengths | str:
    """Give halves in the other order."""
    return 1, [(part, fused.lines // 2) for part in reversed(fused.parts)]


def _interleaved(fused: _Fused) -> Lengths | str:
    """Give every other line to each."""
    return fused.lines // 2, [(part, 1) for part in fused.parts]


def _by_heads(groups: int, heads: int, kv_heads: int, size: int) -> Lengths | str:
    """Give groups of query heads, then key heads, then value heads."""
    if not (heads and kv_heads and size):
        return "config.json does not say how many heads it has, and of what size"
    if heads % groups or kv_heads % groups:
        return f"{heads:,} heads are not {groups:,} equal groups"
    kv = kv_heads // groups * size
    return groups, [("q_proj", heads // groups * size), ("k_proj", kv), ("v_proj", kv)]


def _blocks_by_heads(fused: _Fused) -> Lengths | str:
    """Give blocks of as many heads as the configuration says."""
    its = fused.attention
    return _by_heads(1, its.heads, its.kv_heads or its.heads, its.size)


def _each_head(fused: _Fused) -> Lengths | str:
    """Give q, k and v of one head after the other."""
    its = fused.attention
    return _by_heads(max(its.heads, 1), its.heads, its.heads, its.size)


def _each_group(fused: _Fused) -> Lengths | str:
    """Give the query heads of each key-value head, its key and its value."""
    its = fused.attention
    kv_heads = its.kv_heads or its.heads
    return _by_heads(max(kv_heads, 1), its.heads, kv_heads, its.size)


def _falcon(fused: _Fused) -> Lengths | str:
    """Give groups in the new architecture, one key-value head in the old one, or each head."""
    its = fused.attention
    if its.grouped:
        return _each_group(fused)
    return _by_heads(1, its.heads, 1, its.size) if its.multi_query else _each_head(fused)


def _gpt_bigcode(fused: _Fused) -> Lengths | str:
    """Give blocks with one key-value head, or each head."""
    its = fused.attention
    return _by_heads(1, its.heads, 1, its.size) if its.multi_query else _each_head(fused)


def _codegen(fused: _Fused) -> Lengths | str:
    """Give q, v and k, in this order, of each of the four processors that CodeGen was made for."""
    return 4, [(part, fused.lines // 12) for part in ("q_proj", "v_proj", "k_proj")]


_LENGTHS: dict[str, Callable[[_Fused], Lengths | str]] = {
    "blocks": _equal,
    "up before gate": _up_before_gate,
    "interleaved": _interleaved,
    "blocks by heads": _blocks_by_heads,
    "each head": _each_head,
    "each group": _each_group,
    "falcon": _falcon,
    "gpt_bigcode": _gpt_bigcode,
    "codegen": _codegen,
}


def section_of(config: Mapping[str, Any], tower: str) -> tuple[str, Mapping[str, Any]]:
    """Give the family of a tower, and the section of a configuration that describes it."""
    names = (f"{tower}_config", tower) if tower else ("text_config", "llm_config")
    sections = (config.get(name) for name in names)
    inner = next((one for one in sections if isinstance(one, dict)), {})
    family = inner.get("model_type") or config.get("model_type")
    if family is None and isinstance(config.get("pretrained_cfg"), dict):
        family = "timm"
    family = family if isinstance(family, str) else ""
    for ending in _ENDINGS:
        family = family.removesuffix(ending)
    return family, {**config, **inner}
