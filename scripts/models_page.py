"""Make the tables of docs/models.md anew, from the package's own tables and from the tests.

Needs what ``pip install -e '.[test]'`` brings; run ``python -m scripts.models_page``.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import weibnb as wb
from tests.io import test_fused_models as fused_models
from tests.io.handmade import entry, write
from tests.io.test_naming import FAMILIES
from weibnb.counting.formats import FORMATS
from weibnb.io.fused import _LAYOUT_OF
from weibnb.io.naming import component_order, tower, weight_class
from weibnb.io.naming_table import CLASSES, TABLE
from weibnb.io.safetensors import BITS

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
NAME = "model.layers.0.mlp.up_proj.weight"
SIDE = 32
NOT_READ = {
    "quantized": "listed, not fitted: the numbers are codes, not weights",
    "unsupported_dtype": "listed, not fitted",
}
#: What an argument of a configuration adds to a model.
VARIANTS = {
    "add_cross_attention": " with cross-attention",
    "feed_forward_proj": " with a gated feed-forward",
    "vision_config": " and its vision tower",
}
GROUPS = {
    "queries, keys and values": ("qkv_proj", "kv_proj"),
    "gate and up": ("gate_up_proj",),
}


def renewed(text: str) -> str:
    """Return the text of the page with its tables made anew."""
    for name, table in (("formats", formats), ("families", families), ("names", names),
                        ("fused", fused)):  # fmt: skip
        begin, end = f"<!-- {name} -->\n\n", "\n\n<!-- end -->"
        head, rest = text.split(begin)
        text = head + begin + "\n".join(table()) + end + rest.partition(end)[2]
    return text


def formats() -> list[str]:
    """Scan a small matrix of every type that safetensors knows, and tell what became of it."""
    rows = ["| stored as | what weibnb does |", "|---|---|"]
    found: dict[str, list[str]] = defaultdict(list)
    for kind, bits in BITS.items():
        found[what_becomes_of(kind, bits)].append(kind)
    return rows + [f"| {', '.join(kinds)} | {what} |" for what, kinds in found.items()]


def what_becomes_of(kind: str, bits: int) -> str:
    """Return what a scan makes of a type."""
    pattern = bytes(range(1, 120)) if bits == 8 else bytes(range(60, 68))
    size = SIDE * SIDE * bits // 8
    data = (pattern * size)[:size]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        write(file, {NAME: entry(kind, [SIDE, SIDE], 0, size)}, data)
        status = str(wb.scan(file, progress=False).status.item())
    if kind not in FORMATS:
        return NOT_READ[status]
    if status in NOT_READ:
        raise RuntimeError(f"{kind} has a counter and the status {status}.")
    exact = FORMATS[kind].shift == 0
    return "fitted, counted exactly" if exact else "fitted, counted in 256 intervals per octave"


def families() -> list[str]:
    """Group the model classes of the tests by what a scan finds in them."""
    groups: dict[str, list[str]] = defaultdict(list)
    for model_class, _, arguments, layers, _ in FAMILIES:
        found = {word.rstrip("*^") for words in layers for word in words.split()}
        variant = "".join(words for key, words in VARIANTS.items() if key in arguments)
        groups[by_tower(found)].append(plain_name(model_class) + variant)
    rows = ["| models | components |", "|---|---|"]
    return rows + [f"| {listed(models)} | {said} |" for said, models in groups.items()]


def by_tower(components: set[str]) -> str:
    """Write components, those of a tower after its name."""
    towers: dict[str, list[str]] = defaultdict(list)
    for component in sorted(components, key=component_order):
        prefix = tower(component)
        towers[prefix].append(f"`{component.removeprefix(prefix).lstrip('.')}`")
    said = [f"{name}: " * bool(name) + " ".join(words) for name, words in towers.items()]
    return "; ".join(said) or "nothing: `unrecognised`"


def plain_name(model_class: str) -> str:
    """Take what a class is for off its name."""
    return re.sub(r"(For[A-Z]\w+|LMHeadModel|MTModel|Model)$", "", model_class)


def listed(words: Iterable[str]) -> str:
    """Join words, each once, in their order."""
    return ", ".join(dict.fromkeys(words))


def names() -> list[str]:
    """Tell the last words of parameters by which each component is known."""
    spelled: dict[str, list[str]] = defaultdict(list)
    for _, leaves, components in TABLE:
        for leaf, component in zip(leaves.split(), components.split(), strict=True):
            if not leaf.isdigit():
                spelled[component.rpartition(".")[2]].append(f"`{leaf}`")
    rows = ["| component | class | last words of its names |", "|---|---|---|"]
    return rows + [f"| `{one}` | {weight_class(one)} | {listed(spelled[one])} |" for one in CLASSES]


def fused() -> list[str]:
    """List the model types whose fused matrices are taken apart, and what holds them."""
    by_class = {kind for kind, _ in fused_models.ATTENTION + fused_models.VISION}
    by_class |= {kind for kind, _ in fused_models.DENSE} | set(fused_models.EXPERTS)
    rows = ["| parts | held against the family's class | held against published code |"]
    rows.append("|---|---|---|")
    for parts, components in GROUPS.items():
        kinds = sorted({kind for kind, word in _LAYOUT_OF if word_of(word) in components} - {"*"})
        tested = [f"`{kind}`" for kind in kinds if kind in by_class]
        others = [f"`{kind}`" for kind in kinds if kind not in by_class]
        rows.append(f"| {parts} | {', '.join(tested)} | {', '.join(others)} |")
    return rows


def word_of(leaf: str) -> str:
    """Return the component that a last word of a fused matrix means."""
    for _, leaves, components in TABLE:
        for one, component in zip(leaves.split(), components.split(), strict=True):
            if one == leaf:
                return component.rpartition(".")[2]
    raise LookupError(leaf)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"Wrote {PAGE}.")
