"""Which rows of queries and keys a rotation of positions turns together, by config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weibnb.io.fused import Heads, section_of
from weibnb.io.naming import tower

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How a head's rows are paired: row i with i + half of them, neighbours, or not at all.
Pairing = Literal["half", "interleaved", "none"]

# Families, as config.json names them, that pair neighbours; that turn positions without a word in
# config.json; and that do not turn them.
_INTERLEAVED = (
    "gptj codegen cohere cohere2 glm glm4 glm4v helium ernie4_5 ernie4_5_moe ernie4_5_vl_moe "
    "llama4 roformer moonshine"
)
_TURNED = "llama mistral gptj codegen gpt_neox falcon cohere qwen2 stablelm"
_NOT_TURNED = (
    "gpt2 gpt_neo opt bloom mpt gpt_bigcode bert roberta xlm-roberta distilbert electra t5 mt5 "
    "bart mbart whisper imagegpt openai-gpt biogpt"
)
_WORDS = (
    "rope_theta", "rope_scaling", "rope_parameters", "rotary_pct", "rotary_dim", "rotary_emb_base",
    "partial_rotary_factor",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rows of a head, how many of them are turned, and how these are paired; rows 0 if unknown."""

    size: int
    turned: int
    pairing: Pairing | None


def rotary_of(config: Mapping[str, Any], component: str) -> Rotary:
    """Read from config.json how the rows of a head belong together.

    Parameters
    ----------
    config : Mapping
        What config.json says.
    component : str
        A component of the tower.

    Returns
    -------
    Rotary
        Its pairing is None if config.json does not tell.

    Examples
    --------
    >>> rotary_of({"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4,
    ...            "rotary_pct": 0.25}, "q_proj")
    Rotary(size=16, turned=4, pairing='half')
    """
    where = tower(component)
    family, section = section_of(config, where)
    size = Heads.of(section).size
    return Rotary(size, _turned(section, size), _pairing(family, section, where))


def _pairing(family: str, section: Mapping[str, Any], where: str) -> Pairing | None:
    """Tell how rows are paired; only decoders are known."""
    if section.get("alibi") is True or family in _NOT_TURNED.split():
        return "none"
    if where not in ("", "decoder"):
        return None
    if family in _INTERLEAVED.split():
        return "interleaved"
    known = family in _TURNED.split() or any(section.get(word) is not None for word in _WORDS)
    return "half" if known else None


def _turned(section: Mapping[str, Any], size: int) -> int:
    """Count the rows of a head that are turned: all, unless config.json names a share."""
    inner = section.get("rope_parameters")
    both = {**section, **inner} if isinstance(inner, dict) else section
    share = both.get("rotary_pct", both.get("partial_rotary_factor"))
    rows = both.get("rotary_dim")
    if type(rows) is int and 0 < rows <= size:
        return rows - rows % 2
    if isinstance(share, float) and 0 < share < 1:
        return int(share * size) // 2 * 2
    return size
