"""What config.json says of the shapes of matrices, and no matrix has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weibnb.diagnostics.findings import Cell, Finding

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from weibnb.diagnostics.rules.material import Material, Matrix

    Checkpoint = tuple[str, int]
    Layers = dict[int, dict[str, Matrix]]

# What takes the residual stream, and what is as wide as the feed-forward part.
_INPUTS = ("qkv_proj", "q_proj", "k_proj", "gate_up_proj", "gate_proj", "up_proj")
_FEED_FORWARD = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")


def contradictions(
    material: Material, place: Checkpoint, layers: Layers, strange: Container[int | None]
) -> Iterator[Finding]:
    """Say which numbers of config.json no matrix of a model without towers agrees with.

    Heads are looked at in layers that are not `strange`: linear attention has heads of its own.
    """
    config = material.configs.get(place, {})
    every = [(name, matrix) for layer in layers.values() for name, matrix in layer.items()]
    hidden, heads = _number(material, place, "hidden_size"), _number(material, place, "n_heads")
    shared, size = _number(material, place, "n_kv_heads"), _head_size(config, hidden, heads)
    checks = (
        _hidden_size(hidden, every, _other_widths(material, place)),
        _heads(heads, shared, size, {n: one for n, one in layers.items() if n not in strange}),
        _intermediate_size(config, every),
    )
    for text, value, limit in filter(None, checks):
        step = "See that all files and config.json are of one model."
        yield Finding("shape-conflict", "error", (Cell(*place),), value, limit, text, step)


def _other_widths(material: Material, place: Checkpoint) -> set[int]:
    """Give the widths of norms and embeddings, and the sides of matrices of unknown names.

    The matrices of a layer may work at another width, between two of unknown names.
    """
    entries = material.left_out.get(place, [])
    last = {e["shape"][-1] for e in entries if e["reason"] in ("norm", "embedding") and e["shape"]}
    return last.union(*(e["shape"] for e in entries if e["reason"] == "unrecognised"))


def _hidden_size(promised: float, every: list[tuple[str, Matrix]], others: set[int]) -> Any:
    """Compare the width of the residual stream."""
    widths = {side for name, m in every if name in _INPUTS for side in (m.rows, m.cols)}
    inputs = {m.cols for name, m in every if name in _INPUTS}
    known = inputs or {side for _, m in every for side in (m.rows, m.cols)}
    if not promised > 0 or not known or promised in known | others:
        return None
    what = "no matrix takes" if promised in widths or inputs else "no matrix has as a side"
    return f"config.json says hidden_size {promised:.0f}, which {what}.", 0.0, promised


def _heads(heads: float, shared: float, size: float, layers: Layers) -> Any:
    """Compare the rows of queries and keys; gated queries have twice as many."""
    pairs = [
        (layer["q_proj"].rows, layer["k_proj"].rows)
        for layer in layers.values()
        if "q_proj" in layer and "k_proj" in layer
    ]
    if not (heads > 0 and shared > 0) or not pairs:
        return None
    for q, k in pairs:
        gated = 2 * k * heads == q * shared and (k == shared * size or not size > 0)
        if k * heads == q * shared or gated:
            return None
    q, k = pairs[0]
    text = (
        f"config.json says {heads:.0f} heads of queries and {shared:.0f} of keys; "
        f"q_proj has {q:,} rows, k_proj {k:,}."
    )
    return text, q / k if k else 0.0, heads / shared


def _head_size(config: Mapping[str, Any], hidden: float, heads: float) -> float:
    """Give the rows of one head, NaN if config.json does not tell."""
    size = config.get("head_dim")
    if isinstance(size, int) and not isinstance(size, bool):
        return float(size)
    return hidden / heads if config and heads > 0 else float("nan")


def _intermediate_size(config: Mapping[str, Any], every: list[tuple[str, Matrix]]) -> Any:
    """Compare the width of the feed-forward part, where all layers have one alike."""
    promised = config.get("intermediate_size")
    others = [key for key in config if key != "intermediate_size"]
    words = ("moe", "expert", "ffn", "intermediate", "auto_adjust")  # what rules the width instead
    mixed = any(word in key for key in others for word in words)
    sides = {side for name, m in every if name in _FEED_FORWARD for side in (m.rows, m.cols)}
    if isinstance(promised, bool) or not isinstance(promised, int) or mixed or not sides:
        return None
    if promised in sides:
        return None
    text = f"config.json says intermediate_size {promised:,}, which no matrix has as a side."
    return text, 0.0, float(promised)


def _number(material: Material, place: Checkpoint, name: str) -> float:
    """Give a number of a model from its config.json, NaN if it is not known."""
    if name not in material.fits.coords:
        return float("nan")
    values = material.fits[name].values.reshape(-1).tolist()
    return float(values[material.models.index(place[0])])
