"""Hypothesis strategies for the parts of a checkpoint: headers, indexes and configurations."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.io.handmade import entry, pack
from weibnb.io.safetensors import BITS

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

names = st.one_of(
    st.text(min_size=0, max_size=8),
    st.builds(
        "model.layers.{}.{}.weight".format,
        st.integers(0, 3),
        st.sampled_from(["self_attn.q_proj", "mlp.down_proj", "mlp.experts.1.up_proj", "norm"]),
    ),
)
dtypes = st.sampled_from([*BITS, "F3", ""])
sides = st.one_of(st.integers(0, 12), st.sampled_from([2**31, 2**62, 2**63, 2**64 - 1]))
json_values: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def safetensors_files(draw: DrawFn) -> bytes:
    """Draw a file that keeps to the format, or nearly does."""
    header: dict[str, Any] = {}
    end = 0
    for name in draw(st.lists(names, max_size=4, unique=True)):
        dtype, shape = draw(dtypes), draw(st.lists(sides, max_size=3))
        size = -(-math.prod(shape) * BITS.get(dtype, 8) // 8)
        if draw(st.integers(0, 9)) == 0 or size > 10_000:
            size = draw(st.integers(0, 20))
        header[name] = entry(dtype, shape, end, end + size)
        end += size
        if draw(st.integers(0, 4)) == 0:
            header[name][draw(st.text(max_size=4))] = draw(json_values)
    if draw(st.booleans()):
        header["__metadata__"] = draw(
            st.one_of(json_values, st.dictionaries(st.text(max_size=4), st.text(max_size=4)))
        )
    length = end + draw(st.sampled_from([0, 0, 0, 0, 1]))
    text = json.dumps(header, ensure_ascii=draw(st.booleans()))
    return pack(text.encode(errors="surrogatepass"), draw(st.binary(min_size=length)))


@st.composite
def configurations(draw: DrawFn) -> bytes:
    """Draw a configuration whose known keys hold anything."""
    known = "num_attention_heads hidden_size model_type lr wd weight_decay global_step log_history"
    keys = [*known.split(), "num_key_value_heads", "text_config", "training"]
    content = draw(st.dictionaries(st.sampled_from(keys), json_values, max_size=6))
    return json.dumps(content).encode()


@st.composite
def indexes(draw: DrawFn) -> bytes:
    """Draw an index that places tensors in files, most of which are there."""
    files = st.one_of(st.sampled_from(["m-1.safetensors", "m-2.safetensors"]), st.text(max_size=6))
    weights = draw(st.dictionaries(names, st.one_of(files, files, json_values), max_size=4))
    content: dict[str, Any] = {"metadata": draw(json_values), "weight_map": weights}
    return json.dumps(content).encode()
