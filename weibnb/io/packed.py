"""What checkpoints that are quantised by known tools are, and what to do with them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from weibnb.io.gguf_files import is_quantised
from weibnb.io.mlx_weights import find_grouped
from weibnb.io.restored import find_schemes

if TYPE_CHECKING:
    from weibnb.io.mlx_weights import Grouped
    from weibnb.io.restored import Scheme, Tensors

_LOAD = (
    "Scan the weights that it was made from, or load it with the library that made it, dequantise "
    "it there, and scan the model."
)


def advice(tensors: Tensors) -> list[str]:
    """Say of quantised tensors, which are not counted as they are, what they are and what to do.

    Examples
    --------
    >>> from weibnb.io.safetensors import TensorInfo
    >>> names = ("q.qweight", "q.qzeros", "q.scales", "q.g_idx")
    >>> advice({name: (TensorInfo(name, "I32", (8, 8), 256), "") for name in names})[0][:30]
    '1 tensor is quantised by GPTQ:'
    """
    found: list[Scheme | Grouped] = [*find_schemes(tensors), *find_grouped(tensors)]
    counted_as_stored = ("F8_E4M3", "F8_E5M2")
    restorable = Counter(
        one.words for one in found if tensors[one.codes][0].dtype not in counted_as_stored
    )
    known = {one.codes for one in found}
    others: Counter[str] = Counter()
    for name, (info, _) in tensors.items():
        if is_quantised(info.dtype):
            restorable[info.dtype] += 1
        elif name not in known and (tool := _tool(name, info.dtype, tensors)):
            others[tool] += 1
    notes = [
        f"{_tensors(number)} quantised as {words}: weibnb.scan(..., dequantise=True), in a shell "
        "--dequantise, restores and fits them."
        for words, number in restorable.items()
    ]
    return notes + [
        f"{_tensors(number)} quantised by {tool}: listed, not fitted. {_LOAD}"
        for tool, number in others.items()
    ]


def _tensors(number: int) -> str:
    return "1 tensor is" if number == 1 else f"{number:,} tensors are"


def _tool(name: str, dtype: str, tensors: Tensors) -> str:
    """Name the tool that quantised a tensor, by what lies beside it; nothing if none is known."""
    stem, _, last = name.rpartition(".")
    if last == "qweight" and f"{stem}.qzeros" in tensors:
        return "GPTQ" if f"{stem}.g_idx" in tensors else "AWQ"
    if last == "weight_packed" and dtype == "I32":
        return "compressed-tensors (packed integers)"
    if last == "weight" and (f"{name}.absmax" in tensors or f"{stem}.SCB" in tensors):
        return "bitsandbytes"
    if last == "weight" and dtype == "U32" and f"{stem}.scales" in tensors:
        return "MLX"
    return ""
