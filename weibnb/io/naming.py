"""What a tensor is, from its name and shape: tower, layer, component, expert and class.

To teach weibnb a new architecture, add a row to `_TABLE`: the names inside a layer, one row per
naming family. The tables around it know the rest: `_CLASSES` the components, their weight class
and their order in a layer, `_TOWERS` the words before the layer number, `_STORED_IN_OUT` who
stores matrices transposed, and the sets of words below them what is no projection, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

WEIGHT_CLASSES: tuple[str, ...] = ("selection", "transmission", "value", "fused", "other")

SKIP_REASONS: tuple[str, ...] = (
    "lora",  # a low-rank factor; the base matrix beside it has a Role
    "buffer",  # causal masks, rotary frequencies, position ids
    "quantisation",  # scales, zero points, code books
    "packed",  # low-bit values packed into bytes or words, e.g. `qweight`, MXFP4 `_blocks`
    "bias",
    "norm",
    "shared_expert_gate",  # the one-row gate of a shared expert
    "embedding",  # tokens, positions, token types, relative position tables, class tokens
    "head",  # output heads, classifiers, poolers
    "convolution",
    "not_a_matrix",  # a known name or a stranger, but not 2-D (or 3-D experts), or empty
    "unrecognised",  # no row of the table knows the name, or it has no layer number
)

# Every component, in the order in which a layer applies them, and its class: queries and keys
# select, the output projection and the feed-forward transmit; in multi-head latent attention the
# query's two factors select, and a matrix that holds keys and values is fused.
_CLASSES: dict[str, str] = {
    "qkv_proj": "fused",
    "q_proj": "selection",
    "q_a_proj": "selection",
    "q_b_proj": "selection",
    "k_proj": "selection",
    "kv_proj": "fused",
    "kv_a_proj": "fused",
    "kv_b_proj": "fused",
    "v_proj": "value",
    "o_proj": "transmission",
    "router": "other",
    "gate_proj": "transmission",
    "gate_up_proj": "transmission",
    "up_proj": "transmission",
    "down_proj": "transmission",
}
_ORDER = list(_CLASSES)
_WITHIN_A_LAYER = ("cross", "shared_expert")  # prefixes of components that are no towers

_QKVO = "q_proj k_proj v_proj o_proj"
_CROSS_QKVO = "cross.q_proj cross.k_proj cross.v_proj cross.o_proj"
_GLU = "gate_proj up_proj down_proj"
_SHARED_GLU = "shared_expert.gate_proj shared_expert.up_proj shared_expert.down_proj"
_ATTENTION = "self_attn attn attention self_attention mixer"
_FEED_FORWARD = "mlp feed_forward ffn block_sparse_moe moe mixer"
_EXPERTS = "mlp.experts feed_forward.experts ffn.experts block_sparse_moe.experts mixer.experts"
_SHARED = (
    "mlp.shared_expert mlp.shared_experts mlp.shared_mlp mixer.shared_experts "
    "feed_forward.shared_expert feed_forward.shared_experts ffn.shared_experts"
)

# The path between the layer number and `.weight` (an expert's number left out), as any of the
# parents joined to a leaf, and the component of each leaf. An empty parent is written ".".
_TABLE: tuple[tuple[str, str, str], ...] = (
    # Llama, Mistral, Qwen 2 and 3, Gemma, OLMo 1 and 2, Cohere, GLM 4, Phi-3, ViT in transformers 5
    (_ATTENTION, f"{_QKVO} qkv_proj", f"{_QKVO} qkv_proj"),
    (_FEED_FORWARD, f"{_GLU} gate_up_proj", f"{_GLU} gate_up_proj"),
    # Mixture of experts: Mixtral, Qwen-MoE, OLMoE, DeepSeek, Llama 4, gpt-oss, Jamba, Granite
    (_EXPERTS, f"{_GLU} gate_up_proj", f"{_GLU} gate_up_proj"),
    (_EXPERTS, "w1 w3 w2", _GLU),
    (_SHARED, _GLU, _SHARED_GLU),
    (_SHARED, "w1 w3 w2", _SHARED_GLU),
    (_FEED_FORWARD, "gate router router.layer router.classifier", "router router router router"),
    ("block_sparse_moe", "input_linear output_linear", "gate_up_proj down_proj"),
    ("shared_mlp", "input_linear", "shared_expert.gate_up_proj"),
    ("shared_mlp", "output_linear", "shared_expert.down_proj"),
    # Multi-head latent attention: DeepSeek, MiniCPM3; then DeepSeek's own inference code
    ("self_attn", "q_a_proj q_b_proj kv_b_proj", "q_a_proj q_b_proj kv_b_proj"),
    ("self_attn", "kv_a_proj_with_mqa kv_a_proj", "kv_a_proj kv_a_proj"),
    ("attn", "wq_a wq_b wkv_a wkv_b", "q_a_proj q_b_proj kv_a_proj kv_b_proj"),
    # Llama, Mistral and DeepSeek as their authors released them; InternLM 2
    ("attention attn", "wq wk wv wo wqkv", f"{_QKVO} qkv_proj"),
    ("feed_forward ffn", "w1 w3 w2", _GLU),
    # OLMo 1 as its authors released it
    (".", "att_proj attn_out ff_proj ff_out", "qkv_proj o_proj gate_up_proj down_proj"),
    (".", "q_proj k_proj v_proj", "q_proj k_proj v_proj"),
    # GPT-2, nanoGPT, GPT-BigCode, StarCoder 2; nanochat
    ("attn", "c_attn c_proj", "qkv_proj o_proj"),
    ("attn", "c_q c_k c_v", "q_proj k_proj v_proj"),
    ("mlp", "c_fc c_proj", "up_proj down_proj"),
    ("crossattention", "q_attn c_attn c_proj", "cross.q_proj cross.kv_proj cross.o_proj"),
    # GPT-NeoX, Pythia, BLOOM, Falcon
    ("attention self_attention attn", "query_key_value dense", "qkv_proj o_proj"),
    ("mlp", "dense_h_to_4h dense_4h_to_h", "up_proj down_proj"),
    # GPT-J, CodeGen; GPT-Neo
    ("attn.attention", "q_proj k_proj v_proj out_proj", _QKVO),
    ("mlp", "fc_in fc_out", "up_proj down_proj"),
    # Phi 1 and 2, in both namings (`mixer.out_proj` is Mamba's too: see `_is_stranger`)
    ("self_attn", "dense", "o_proj"),
    ("mixer", "Wqkv out_proj", "qkv_proj o_proj"),
    # MPT, ModernBERT, Baichuan
    ("attn", "Wqkv Wo", "qkv_proj o_proj"),
    ("mlp", "Wi Wo", "gate_up_proj down_proj"),
    ("self_attn", "W_pack", "qkv_proj"),
    # OPT, BART, Whisper, Marian, CLIP, SigLIP, wav2vec 2.0, MiniMax, GPT-J, MPT
    ("self_attn attention attn", "out_proj", "o_proj"),
    ("encoder_attn cross_attn", "q_proj k_proj v_proj out_proj", _CROSS_QKVO),
    ("cross_attn", "o_proj", "cross.o_proj"),
    (". mlp ffn ffn.experts", "fc1 fc2", "up_proj down_proj"),
    ("feed_forward", "intermediate_dense output_dense", "up_proj down_proj"),
    # Whisper and CLIP as their authors released them; torch.nn.Transformer
    ("attn", "query key value out", _QKVO),
    ("cross_attn", "query key value out", _CROSS_QKVO),
    ("mlp", "0 2", "up_proj down_proj"),
    ("attn self_attn", "in_proj_weight", "qkv_proj"),
    ("multihead_attn", "in_proj_weight out_proj", "cross.qkv_proj cross.o_proj"),
    (".", "linear1 linear2", "up_proj down_proj"),
    # BERT, RoBERTa, ELECTRA, ESM, ViT, DeBERTa; DistilBERT; MPNet
    ("attention.self attention.attention", "query key value", "q_proj k_proj v_proj"),
    ("attention.self", "query_proj key_proj value_proj", "q_proj k_proj v_proj"),
    ("crossattention.self", "query key value", "cross.q_proj cross.k_proj cross.v_proj"),
    ("attention.output", "dense", "o_proj"),
    ("crossattention.output", "dense", "cross.o_proj"),
    ("intermediate", "dense", "up_proj"),
    ("output", "dense", "down_proj"),
    ("attention", "q_lin k_lin v_lin out_lin", _QKVO),
    ("ffn mlp", "lin1 lin2", "up_proj down_proj"),
    ("attention.attn", "q k v o", _QKVO),
    # T5, Switch Transformers
    ("layer.0.SelfAttention", "q k v o", _QKVO),
    ("layer.1.EncDecAttention", "q k v o", _CROSS_QKVO),
    ("layer.1.DenseReluDense layer.2.DenseReluDense", "wi wi_0 wi_1 wo", f"up_proj {_GLU}"),
    ("layer.1.mlp layer.2.mlp", "wi wo router.classifier", "up_proj down_proj router"),
    ("layer.1.mlp.experts layer.2.mlp.experts", "wi wo", "up_proj down_proj"),
    # GGUF, whose names are one word, with the shape of a matrix turned already
    (".", "attn_q attn_k attn_v attn_output attn_qkv", f"{_QKVO} qkv_proj"),
    (".", "attn_q_a attn_q_b", "q_a_proj q_b_proj"),
    (".", "attn_kv_a_mqa attn_kv_b", "kv_a_proj kv_b_proj"),
    (".", "cross_attn_q cross_attn_k cross_attn_v cross_attn_o", _CROSS_QKVO),
    (".", "ffn_gate ffn_up ffn_down ffn_gate_inp", f"{_GLU} router"),
    (".", "ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_up_exps", f"{_GLU} gate_up_proj"),
    (".", "ffn_gate_shexp ffn_up_shexp ffn_down_shexp", _SHARED_GLU),
    # timm, DINOv2, and the vision towers of Qwen-VL and InternVL
    ("attn", "qkv proj", "qkv_proj o_proj"),
    ("mlp", "weights_in weights_out", "gate_up_proj down_proj"),
    ("mlp", "linear_fc1 linear_fc2", "up_proj down_proj"),
)

_COMPONENT_OF_PATH: dict[str, str] = {
    f"{parent}.{leaf}".lstrip("."): component
    for parents, leaves, components in _TABLE
    for parent in parents.split()
    for leaf, component in zip(leaves.split(), components.split(), strict=True)
}

# Towers and the words before the layer number that name them; the first row that matches wins.
_TOWERS: tuple[tuple[str, str], ...] = (
    ("mtp", "mtp mtp_layers"),  # multi-token prediction, which numbers its layers from 0 again
    ("talker", "talker"),
    ("qformer", "qformer"),
    ("connector", "connector resampler"),
    ("vision.global", "global_transformer"),  # Mllama's second image encoder, from 0 again
    ("vision", "vision_tower vision_model vision_encoder vision visual"),
    ("audio", "audio_tower audio_model audio_encoder"),
    ("text", "resblocks"),  # CLIP's own release, whose image tower has "visual" as well
    ("decoder", "decoder dec"),
    ("encoder", "encoder enc"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOWER_MARKS = tuple((name, _words(marks)) for name, marks in _TOWERS)
_CONTAINERS = _words("layers layer h blocks block resblocks blk")
_WRAPPERS = _words("module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module base_layer")

# GPT-2's `Conv1D` stores (in, out), nanoGPT under the same names (out, in), and Llama 4 its stacks
# of experts (experts, in, out): the wider side tells. It cannot for GPT-2's square `o_proj` and
# for gpt-oss, whose experts are named as Mixtral's; these pass for (out, in), until
# `weibnb.io.fused.is_transposed` has seen a configuration.
_STORED_IN_OUT = _words("c_attn c_fc c_proj")
_STACKED_IN_OUT = "feed_forward"
_WIDENING = _words("qkv_proj cross.kv_proj gate_proj up_proj gate_up_proj")

_BUFFERS = _words(
    "inv_freq original_inv_freq freqs freqs_cis cos_cached sin_cached masked_bias position_ids "
    "token_type_ids relative_position_index running_mean running_var num_batches_tracked"
)
_QUANTISATION = _words(
    "scale scales zeros qzeros g_idx absmax nested_absmax quant_map nested_quant_map SCB k_scale "
    "v_scale input_scale output_scale weight_scale weight_scale_2 weight_global_scale "
    "input_global_scale weight_zero_point input_zero_point weight_shape"
)
_PACKED = _words("qweight weight_packed blocks")
_NORMS = _words("ln ln1 ln2 q_ln k_ln")
_EMBEDDINGS = _words(
    "wte wpe token_embd position_embd token_types shared cls_token mask_token "
    "relative_attention_bias relative_position_bias_table"
)
_HEADS = _words(
    "head embed_out score classifier pooler cls pre_classifier vocab_projector vocab_transform "
    "proj_out qa_outputs visual_projection text_projection"
)
_FINAL_HEADS = _words("output decoder ff_out")

_LONGEST_NAME = 1_000  # also bounds the digits that `int` has to read
#: Largest number of a layer or expert.
LARGEST_INDEX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Role:
    """What a projection is and where it stands."""

    component: str  # q_proj, encoder.q_proj, decoder.cross.q_proj, shared_expert.up_proj, ...
    layer: int
    expert: int | None = None  # the number that the name carries
    stacked: bool = False  # 3-D, its leading dimension is the experts
    transposed: bool = False  # stored (in, out) or (experts, in, out); False where nothing tells


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a tensor is not taken for a projection: one of `SKIP_REASONS`."""

    reason: str


def identify(name: str, shape: tuple[int, ...]) -> Role | Skip:
    """Tell what a tensor of a checkpoint is; what cannot be told is ``Skip("unrecognised")``.

    One name is seen at a time: OPT, which calls its only tower ``decoder`` and cannot be told from
    BART's, gets ``decoder.q_proj``. A caller that knows all names may drop the prefix.

    Examples
    --------
    >>> identify("model.layers.7.self_attn.q_proj.weight", (64, 64))
    Role(component='q_proj', layer=7, expert=None, stacked=False, transposed=False)
    >>> identify("decoder.block.0.layer.1.EncDecAttention.k.weight", (64, 64)).component
    'decoder.cross.k_proj'
    >>> identify("model.embed_tokens.weight", (99, 64))
    Skip(reason='embedding')
    """
    if len(name) > _LONGEST_NAME:
        return Skip("unrecognised")
    words = [word for word in name.split(".") if word not in _WRAPPERS] or [""]
    if "lora_" in name and any(word.startswith("lora_") for word in words):
        return Skip("lora")
    reason = _reason_from_ending(words[-2] if len(words) > 1 else "", words[-1], len(shape))
    if reason is not None:
        return Skip(reason)
    if words[-1] == "weight":
        words.pop()
    position, layer = _find_layer(words)
    path, expert = _take_expert(words[position + 1 :])
    component = _COMPONENT_OF_PATH.get(".".join(path))
    if layer is None or component is None or _is_stranger(path, shape):
        return Skip(_reason_from_words(path, shape, inside_layer=layer is not None))
    stacked = len(shape) == 3 and expert is None and _may_stack(path, component)
    if not (len(shape) == 2 or stacked) or shape[0] < 1 or min(shape[-2:]) < 2:
        return Skip("not_a_matrix")
    return Role(
        component=_tower_prefix(tuple(words[:position])) + component,
        layer=layer,
        expert=expert,
        stacked=stacked,
        transposed=_is_transposed(path, component, shape, stacked=stacked),
    )


def numbers_in(name: str) -> tuple[int | None, int | None]:
    """Return the numbers of the layer and the expert that a name carries, whatever else it says.

    Examples
    --------
    >>> numbers_in("net.3.experts.7.fc.weight"), numbers_in("proj.weight")
    ((3, 7), (None, None))
    """
    words = [word for word in name.split(".") if word not in _WRAPPERS]
    position, layer = _find_layer(words)
    return layer, _take_expert(words[position + 1 :])[1]


def tower(component: str) -> str:
    """Return the tower of a component (``encoder``, ``vision``, ...), or "" if it names none."""
    first, dot, _ = component.partition(".")
    return first if dot and first not in _WITHIN_A_LAYER else ""


def last_word(name: str) -> str:
    """Return the last word of a parameter's name, without ``weight`` and what wraps it."""
    words = [word for word in name.split(".") if word not in _WRAPPERS and word != "weight"]
    return words[-1] if words else ""


def weight_class(component: str) -> str:
    """Return the class of a component, whatever its tower; ``other`` for unknown words."""
    return _CLASSES.get(component.rpartition(".")[2], "other")


def component_order(component: str) -> tuple[str, bool, int, str]:
    """Sort by tower, shared experts last, then in the order in which a layer applies them."""
    word = component.rpartition(".")[2]
    rank = _ORDER.index(word) if word in _CLASSES else len(_ORDER)
    return tower(component), "shared_expert" in component, rank, component


def _as_index(word: str) -> int | None:
    """Return the number that a word is, if it is one and fits in int32."""
    if not (word.isascii() and word.isdigit()):
        return None
    index = int(word)
    return index if index <= LARGEST_INDEX else None


def _find_layer(words: list[str]) -> tuple[int, int | None]:
    """Return where the layer number stands and its value, or (-1, None).

    It stands after one of the usual words (``layers.7``), else it is the first number that is
    not an expert's.
    """
    fallback: tuple[int, int | None] = (-1, None)
    for position, (parent, word) in enumerate(zip(["", *words], words, strict=False)):
        layer = _as_index(word)
        if layer is None or parent == "experts":
            continue
        if parent in _CONTAINERS:
            return position, layer
        if fallback[1] is None:
            fallback = position, layer
    return fallback


def _take_expert(path: list[str]) -> tuple[list[str], int | None]:
    """Split the number after ``experts`` (``3`` or ``expert_3``) from a path."""
    for i in range(1, len(path)):
        expert = _as_index(path[i].removeprefix("expert_"))
        if path[i - 1] == "experts" and expert is not None:
            return path[:i] + path[i + 1 :], expert
    return path, None


@lru_cache(maxsize=1024)
def _tower_prefix(words: tuple[str, ...]) -> str:
    """Return the prefix, with its dot, that the words before the layer number ask for."""
    if words[-2:] == ("encoder", "layer"):
        words = words[:-2]  # BERT and ViT write this in a model of one tower
    for name, marks in _TOWER_MARKS:
        if not marks.isdisjoint(words):
            # CLIP's `text_model.encoder` is a tower; `text_model.layers` is a language model
            return "text." if name == "encoder" and "text_model" in words else f"{name}."
    return ""


def _is_stranger(path: list[str], shape: tuple[int, ...]) -> bool:
    """Tell Mamba's ``mixer.out_proj``, which widens twice, from Phi's, which is square."""
    return path == ["mixer", "out_proj"] and len(set(shape)) != 1


def _may_stack(path: list[str], component: str) -> bool:
    named = "experts" in path or path[0] == "block_sparse_moe" or path[-1].endswith("_exps")
    return component != "router" and named


def _is_transposed(
    path: list[str], component: str, shape: tuple[int, ...], *, stacked: bool
) -> bool:
    """Tell the orientation, for names that exist in both, from which side is the wider."""
    if path[-1] not in _STORED_IN_OUT and not (stacked and path[0] == _STACKED_IN_OUT):
        return False
    rows, columns = shape[-2:]
    return rows < columns if component in _WIDENING else rows > columns


def _is_norm(word: str) -> bool:
    word = word.lower()
    return "norm" in word or word.startswith("ln_") or word in _NORMS


@lru_cache(maxsize=1024)
def _reason_from_ending(parent: str, last: str, dims: int) -> str | None:
    """Return the reason that the last words give, which holds whatever stands before."""
    mask = last == "bias" and dims > 1 and parent in ("attn", "attention")
    if last in _BUFFERS or mask:
        return "buffer"
    if last == "bias" or last.endswith("_bias"):
        return "bias"
    if _is_norm(last) or _is_norm(parent):
        return "norm"
    if last in _PACKED or last.endswith("_blocks"):
        return "packed"
    if last in _QUANTISATION or last.endswith(("_scales", "_scale_inv")) or parent == "quant_state":
        return "quantisation"
    return None


def _reason_from_words(path: list[str], shape: tuple[int, ...], *, inside_layer: bool) -> str:
    """Return why a name that is no projection was skipped; `path` as much as is local to it."""
    final = not inside_layer and path[-1:] and path[-1] in _FINAL_HEADS
    if "shared_expert_gate" in path:
        return "shared_expert_gate"
    if final or any(word in _HEADS or word.endswith("_head") for word in path):
        return "head"
    if any("conv" in word for word in path):
        return "convolution"
    if any("embed" in word or word.endswith("_emb") or word in _EMBEDDINGS for word in path):
        patches = len(shape) > 2 and any("patch_embed" in word for word in path)
        return "convolution" if patches else "embedding"
    return "unrecognised" if len(shape) in (2, 3) else "not_a_matrix"
