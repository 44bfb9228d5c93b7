"""What a tensor is, from its name and shape: tower, layer, component, expert and class.

The names of all families are in `weibnb.io.naming_table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from weibnb.io.naming_table import (
    BEHIND_H,
    BUFFERS,
    CLASSES,
    COMPONENT_OF_PATH,
    CONTAINERS,
    EMBEDDINGS,
    EXPERT_LISTS,
    FINAL_HEADS,
    HEADS,
    JOINED,
    NORMS,
    PACKED,
    QUANTISATION,
    STACKED_IN_OUT,
    STORED_IN_OUT,
    TOWER_MARKS,
    WIDENING,
    WITHIN_A_LAYER,
    WRAPPERS,
)

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

_ORDER = list(CLASSES)
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
    words = [word for word in name.split(".") if word not in WRAPPERS] or [""]
    if "lora_" in name and any(word.startswith("lora_") for word in words):
        return Skip("lora")
    reason = _reason_from_ending(words[-2] if len(words) > 1 else "", words[-1], len(shape))
    if reason is not None:
        return Skip(reason)
    if words[-1] == "weight":
        words.pop()
    position, layer = _find_layer(words)
    path, expert = _take_expert(words[position + 1 :])
    prefix, local = _tower_prefix(tuple(words[:position])), ".".join(path)
    if prefix == "single." and local in JOINED:
        return Skip("unrecognised")
    behind_h = words[position - 1 : position] == ["h"]
    component = (BEHIND_H.get(local) if behind_h else None) or COMPONENT_OF_PATH.get(local)
    if layer is None or component is None or _is_stranger(path, shape):
        return Skip(_reason_from_words(path, shape, inside_layer=layer is not None))
    stacked = len(shape) == 3 and expert is None and _may_stack(path, component)
    if not (len(shape) == 2 or stacked) or shape[0] < 1 or min(shape[-2:]) < 2:
        return Skip("not_a_matrix")
    return Role(
        component=prefix + component,
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
    words = [word for word in name.split(".") if word not in WRAPPERS]
    position, layer = _find_layer(words)
    return layer, _take_expert(words[position + 1 :])[1]


def tower(component: str) -> str:
    """Return the tower of a component (``encoder``, ``vision``, ...), or "" if it names none."""
    first, dot, _ = component.partition(".")
    return first if dot and first not in WITHIN_A_LAYER else ""


def last_word(name: str) -> str:
    """Return the last word of a parameter's name, without ``weight`` and what wraps it."""
    words = [word for word in name.split(".") if word not in WRAPPERS and word != "weight"]
    return words[-1] if words else ""


def weight_class(component: str) -> str:
    """Return the class of a component, whatever its tower; ``other`` for unknown words."""
    return CLASSES.get(component.rpartition(".")[2], "other")


def component_order(component: str) -> tuple[str, bool, int, str]:
    """Sort by tower, shared experts last, then in the order in which a layer applies them."""
    word = component.rpartition(".")[2]
    rank = _ORDER.index(word) if word in CLASSES else len(_ORDER)
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
        if layer is None or parent in EXPERT_LISTS:
            continue
        if parent in CONTAINERS:
            return position, layer
        if fallback[1] is None:
            fallback = position, layer
    return fallback


def _take_expert(path: list[str]) -> tuple[list[str], int | None]:
    """Split the number after ``experts`` (``3`` or ``expert_3``) from a path."""
    for i in range(1, len(path)):
        expert = _as_index(path[i].removeprefix("expert_"))
        if path[i - 1] in EXPERT_LISTS and expert is not None:
            return path[:i] + path[i + 1 :], expert
    return path, None


@lru_cache(maxsize=1024)
def _tower_prefix(words: tuple[str, ...]) -> str:
    """Return the prefix, with its dot, that the words before the layer number ask for."""
    if words[-2:] == ("encoder", "layer"):
        words = words[:-2]  # BERT and ViT write this in a model of one tower
    for name, marks in TOWER_MARKS:
        if not marks.isdisjoint(words):
            # CLIP's `text_model.encoder` is a tower; `text_model.layers` is a language model
            return "text." if name == "encoder" and "text_model" in words else f"{name}."
    return ""


def _is_stranger(path: list[str], shape: tuple[int, ...]) -> bool:
    """Tell Mamba's ``mixer.out_proj``, which widens twice, from Phi's, which is square."""
    return path == ["mixer", "out_proj"] and len(set(shape)) != 1


def _may_stack(path: list[str], component: str) -> bool:
    named = (
        not EXPERT_LISTS.isdisjoint(path)
        or path[0] == "block_sparse_moe"
        or path[-1].endswith("_exps")
    )
    return component != "router" and named


def _is_transposed(
    path: list[str], component: str, shape: tuple[int, ...], *, stacked: bool
) -> bool:
    """Tell the orientation, for names that exist in both, from which side is the wider."""
    if path[-1] not in STORED_IN_OUT and not (stacked and path[0] == STACKED_IN_OUT):
        return False
    rows, columns = shape[-2:]
    return rows < columns if component in WIDENING else rows > columns


def _is_norm(word: str) -> bool:
    word = word.lower()
    return "norm" in word or word.startswith("ln_") or word in NORMS


@lru_cache(maxsize=1024)
def _reason_from_ending(parent: str, last: str, dims: int) -> str | None:
    """Return the reason that the last words give, which holds whatever stands before."""
    mask = last == "bias" and dims > 1 and parent in ("attn", "attention")
    if last in BUFFERS or mask:
        return "buffer"
    if last == "bias" or last.endswith("_bias"):
        return "bias"
    if _is_norm(last) or _is_norm(parent):
        return "norm"
    if last in PACKED or last.endswith("_blocks"):
        return "packed"
    if last in QUANTISATION or last.endswith(("_scales", "_scale_inv")) or parent == "quant_state":
        return "quantisation"
    return None


def _reason_from_words(path: list[str], shape: tuple[int, ...], *, inside_layer: bool) -> str:
    """Return why a name that is no projection was skipped; `path` as much as is local to it."""
    last = path[-1] if path and not inside_layer else ""
    final = last in FINAL_HEADS or path == ["output_layer"]
    if "shared_expert_gate" in path:
        return "shared_expert_gate"
    if final or any(word in HEADS or word.endswith("_head") for word in path):
        return "head"
    if any("conv" in word for word in path):
        return "convolution"
    if any("embed" in word or word.endswith("_emb") or word in EMBEDDINGS for word in path):
        patches = len(shape) > 2 and any("patch_embed" in word for word in path)
        return "convolution" if patches else "embedding"
    return "unrecognised" if len(shape) in (2, 3) else "not_a_matrix"
