"""Rules on the tensors in no cell: embeddings, norms, biases, heads, convolutions, buffers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.diagnostics.rules.material import layer_in
from weibnb.messages import counted, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weibnb.counting.counts import Counts
    from weibnb.diagnostics.rules.material import Material

    Found = Iterator[Finding | NotLookedAt]
    Checkpoint = tuple[str, int]
    Entry = Mapping[str, Any]

#: Layers of one kind from which on what most of them have is expected of each, and that share.
ALIKE, SHARE = 4, 0.9
# What is learned; masks and the ranges that observers saw hold infinities rightly.
_LEARNED = ("norm", "bias", "embedding", "head", "convolution", "lora", "shared_expert_gate")
# Embeddings of tokens and heads over them, which no model leaves at zero.
_TOKENS = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings?|tok(?:en)?_embeddings?|tokens_embed|token_embd|"
    r"embed_in|lm_head|embed_out)\.weight$"
)
_PART = re.compile(r"-0*[0-9]{1,6}-of-0*([0-9]{1,6})\.safetensors$")
_WRITE_AGAIN = "Write the checkpoint again from the state that was trained."
_DOWNLOAD = "Download or copy the checkpoint again, and see that its index is its own."
_UNSEEN = "embeddings, norms, biases and heads need the weights; check the checkpoint itself"


def unreadable(material: Material) -> Found:
    """Tensors whose values could not be read."""
    for place, entry, counts in _each(material):
        if isinstance(counts, str):
            text = f"its values could not be read: {shortened(counts, 300)}."
            yield Finding("unreadable", "error", (_cell(place, entry),), 1, 0, text, _DOWNLOAD)


def nonfinite(material: Material) -> Found:
    """NaN in any tensor, infinities in those that are learned."""
    for place, entry, counts in _each(material):
        if isinstance(counts, str):
            continue
        learned = entry["reason"] in _LEARNED or entry["tensor"].endswith((".weight", ".bias"))
        learned &= not (entry["tensor"].endswith(".bias") and len(entry["shape"]) > 2)  # a mask
        number = counts.nans + (counts.infinities if learned else 0)
        if number:
            are = "values are" if number > 1 else "value is"
            text = f"{number:,} {are} NaN{' or infinite' if learned else ''}."
            step = "Go back to a checkpoint from before the loss diverged, or write this one again."
            cells = (_cell(place, entry),)
            yield Finding("nonfinite", "error", cells, number, 0, text, step)
    yield from _without_weights(material, "nonfinite")


def all_zero(material: Material) -> Found:
    """Embeddings of tokens and heads of zeros, and norms where most are not."""
    norms: dict[Checkpoint, list[tuple[Entry, bool]]] = defaultdict(list)
    for place, entry, counts in _each(material):
        if isinstance(counts, str) or place in material.starts:
            continue
        zero = not (counts.n or counts.nans or counts.infinities)
        if entry["reason"] == "norm" and entry["tensor"].endswith(".weight"):
            norms[place].append((entry, zero))
        elif zero and _TOKENS.search(entry["tensor"]):
            yield _zeros(place, entry)
    for place, there in norms.items():
        dead = [entry for entry, zero in there if zero]
        if 2 * len(dead) < len(there):  # those that add 1 to their weight begin at zero
            yield from (_zeros(place, entry) for entry in dead)
    yield from _without_weights(material, "all-zero")


def _zeros(place: Checkpoint, entry: Entry) -> Finding:
    text = "every value is zero."
    return Finding("all-zero", "error", (_cell(place, entry),), 1.0, 1.0, text, _WRITE_AGAIN)


def missing(material: Material) -> Found:
    """Norms and biases that a layer lacks beside others, and what a language model needs."""
    for place in material.by_checkpoint:
        yield from _missing_in_layers(material, place)
        yield from _missing_around(material, place)


def _missing_in_layers(material: Material, place: Checkpoint) -> Iterator[Finding]:
    """Compare layers that have the same matrices; the first may do without a norm.

    One that has others instead is of another kind.
    """
    small = [
        entry["tensor"]
        for entry in material.left_out.get(place, [])
        if entry["reason"] in ("norm", "bias") and entry["tensor"].endswith((".weight", ".bias"))
    ]
    there = _by_layer(small)
    matrices = _by_layer(m.cell.tensor for m in material.by_checkpoint[place])
    for tower, layers in matrices.items():
        kinds: dict[frozenset[str], list[int]] = defaultdict(list)
        for number, names in layers.items():
            kinds[frozenset(names)].append(number)
        for alike in kinds.values():
            having = Counter(name for n in alike for name in there[tower][n])
            most = min(SHARE * len(alike), len(alike) - 1)
            usual = {name for name, number in having.items() if number >= most}
            for n in alike if len(alike) >= ALIKE else ():
                lost = sorted(usual - there[tower][n])
                if lost and n and there[tower][n] <= usual:
                    cells = tuple(Cell(*place, n, tensor=f"{tower}{n}.{name}") for name in lost)
                    text = f"{' and '.join(lost)}: missing, which the other layers have."
                    value = len(lost)
                    yield Finding("missing-tensors", "error", cells, value, 0, text, _DOWNLOAD)


def _by_layer(names: Any) -> defaultdict[str, defaultdict[int, set[str]]]:
    """Sort names by what is before the number of the layer, and by that."""
    found: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        number = layer_in(name)
        if number is not None:
            before, _, rest = name.partition(f".{number}.")
            found[f"{before}."][number].add(rest)
    return found


def _missing_around(material: Material, place: Checkpoint) -> Iterator[Finding]:
    """Say what a language model lacks before and behind its layers, by its config.json."""
    config, files = material.configs.get(place, {}), material.files.get(place, [])
    parts = [int(match[1]) for name, _ in files if (match := _PART.search(name))]
    architectures = config.get("architectures")
    words = architectures if isinstance(architectures, list) else []
    causal = any(str(word).endswith("ForCausalLM") for word in words)
    if not causal or "text_config" in config or any(number != len(files) for number in parts):
        return
    entries = material.left_out.get(place, [])
    inside, outside = (
        {e["reason"] for e in entries if (layer_in(e["tensor"]) is None) is apart}
        for apart in (False, True)
    )
    if outside & {"unrecognised", "quantized", "not_a_matrix"}:  # one of these may be it
        return
    wanted = {"embedding": True, "head": config.get("tie_word_embeddings") is False}
    wanted["norm"] = "rms_norm_eps" in config and "norm" in inside
    for reason, needed in wanted.items():
        if needed and reason not in outside:
            text = f"config.json is of a {words[0]}, and {_WORDS[reason]} is not there."
            cells = (Cell(*place),)
            yield Finding("missing-tensors", "error", cells, 1, 0, text, _DOWNLOAD)


_WORDS = {
    "embedding": "the embedding of tokens",
    "head": "the head, which is not tied to the embedding,",
    "norm": "the norm behind the last layer",
}


def _each(material: Material) -> Iterator[tuple[Checkpoint, Entry, Counts | str]]:
    """Give each tensor with its counts, or why it could not be read; nothing without weights."""
    for place, counts in material.other_counts.items():
        for entry in material.others.get(place, []):
            yield place, entry, counts.get(entry["tensor"], "it is not there any more")


def _cell(place: Checkpoint, entry: Entry) -> Cell:
    return Cell(*place, layer_in(entry["tensor"]), tensor=entry["tensor"])


def _without_weights(material: Material, rule: str) -> Found:
    """Say that a rule needs weights, where there are tensors to look at and no weights."""
    number = sum(map(len, material.others.values()))
    if material.reader is None and number:
        yield NotLookedAt(rule, f"{counted(number, 'tensor')}: {_UNSEEN}")
