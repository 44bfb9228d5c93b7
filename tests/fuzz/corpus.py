"""Files from a stranger, made by code: each with what must become of it.

They are tests of their own, and what the mutations of `targets` begin with. A case is the files of
one directory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tests.io.handmade import entry, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Files: TypeAlias = "dict[str, bytes]"

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
FITS, STORE = "fits.nc", "fits.db"
Q = "model.layers.{}.self_attn.q_proj.weight"
STACK = "model.layers.0.mlp.experts.down_proj"
EXPERT = "model.layers.{}.mlp.experts.{}.down_proj.weight"
BYTES = np.random.default_rng(0).normal(0, 0.02, 4096).astype("f2").tobytes()


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file from a stranger.

    Attributes
    ----------
    make : callable
        Makes its files.
    words : str
        Of the error, or of the reason why a tensor is not fitted; empty if nothing is amiss.
    """

    make: Callable[[], Files]
    words: str


def tensors(shapes: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    """Make a file of tensors, each of a type, a shape and a number of bytes."""
    header, end = {}, 0
    for name, (dtype, shape, nbytes) in shapes.items():
        header[name] = entry(dtype, shape, end, end + nbytes)
        end += nbytes
    return pack(header, (BYTES * (end // len(BYTES) + 1))[:end])


def one(name: str, dtype: str, shape: list[int], nbytes: int = 0) -> Callable[[], Files]:
    """Give what makes a file of one tensor."""
    return lambda: {FILE: tensors({name: (dtype, shape, nbytes)})}


def raw(header: bytes, data: bytes = b"") -> Callable[[], Files]:
    """Give what makes a file with this header."""
    return lambda: {FILE: pack(header, data)}


def with_field(field: bytes) -> Callable[[], Files]:
    """Give what makes a good file whose one tensor has a field more."""
    text = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":' + field + b"}}"
    return raw(text, b"1")


def _diagonal(number: int) -> Files:
    names = {EXPERT.format(i, i): ("BF16", [2, 2], 8) for i in range(number)}
    return {FILE: tensors(names)}


def _long_header(number: int) -> Files:
    entries = (
        b'"model.layers.%d.mlp.experts.%d.down_proj.weight":'
        b'{"dtype":"U8","shape":[1,1],"data_offsets":[%d,%d]}' % (i // 1000, i, i, i + 1)
        for i in range(number)
    )
    return {FILE: pack(b"{" + b",".join(entries) + b"}", bytes(number))}


def _long_index(number: int) -> Files:
    entries = (b'"model.layers.%d.mlp.down_proj":"%b"' % (i, FILE.encode()) for i in range(number))
    return {FILE: tensors({}), INDEX: b'{"weight_map":{' + b",".join(entries) + b"}}"}


HOSTILE: dict[str, Hostile] = {
    "unknown type, 10^12 experts": Hostile(one(STACK, "X", [10**12, 20, 20]), "unsupported_dtype"),
    "unknown type, long side": Hostile(one(Q.format(0), "X", [2**62, 1]), "not_a_matrix"),
    "side beyond int32": Hostile(one(Q.format(0), "X", [2**40, 2]), "a side of its matrix"),
    "overflow": Hostile(one(Q.format(0), "X", [2**62, 4]), "overflows 63 bits"),
    "F4 stack of 2x2": Hostile(one(STACK, "F4", [200_000, 2, 2], 400_000), "4 weights each"),
    "F6 of three bits": Hostile(one("w", "F6_E2M3", [1], 1), "takes 6 bits"),
    "F8 of too many bytes": Hostile(one("w", "F8_E8M0", [1], 2), "takes 8 bits"),
    "diagonal of experts": Hostile(lambda: _diagonal(1500), "2,251,500 cells"),
    "NaN": Hostile(with_field(b"NaN"), "NaN is no number"),
    "infinity": Hostile(with_field(b"-Infinity"), "-Infinity is no number"),
    "number out of range": Hostile(with_field(b"1e999"), "1e999 is out of range"),
    "surrogate in a value": Hostile(with_field(rb'"\ud800"'), "surrogates not allowed"),
    "surrogate in a name": Hostile(raw(rb'{"\udfff":{}}'), "surrogates not allowed"),
    "nested": Hostile(with_field(b"[" * 50_000 + b"]" * 50_000), "nested too deeply"),
    "long integer": Hostile(with_field(b"9" * 5000), "digits"),
    "metadata is a list": Hostile(raw(b'{"__metadata__":[]}'), "`__metadata__` must map"),
    "metadata is 0": Hostile(raw(b'{"__metadata__":0}'), "`__metadata__` must map"),
    "metadata is text": Hostile(raw(b'{"__metadata__":""}'), "`__metadata__` must map"),
    "long name": Hostile(one("a" * 1_000_000, "X", [2, 2]), "unrecognised"),
    "long name, cut short": Hostile(one("a" * 1_000_000, "U8", [2]), "takes 16 bits"),
    "long type": Hostile(one(Q.format(0), "X" * 1_000_000, [20, 20]), "unsupported_dtype"),
    "index to another place": Hostile(
        lambda: {FILE: tensors({}), INDEX: b'{"weight_map":{"w":"../secret.safetensors"}}'},
        "plain files beside it",
    ),
    "index with NaN": Hostile(
        lambda: {FILE: tensors({}), INDEX: b'{"weight_map":{"w":NaN}}'}, "NaN is no number"
    ),
    "configuration of long numbers": Hostile(
        lambda: good() | {"config.json": b'{"num_attention_heads":1%s}' % (b"0" * 4000)}, ""
    ),
}

#: The same by size; too slow to make in each run of the tests.
LARGE: dict[str, Hostile] = {
    "F4 stack of 4 MB": Hostile(one(STACK, "F4", [2_000_000, 2, 2], 4_000_000), "4 weights each"),
    "header of 93 MB": Hostile(lambda: _long_header(750_000), "max_header"),
    "index of 3 M entries": Hostile(lambda: _long_index(3_000_000), "max_header"),
    "name of 99 MB": Hostile(one("a" * 99_000_000, "X", [2, 2]), "max_header"),
}


@cache
def _good() -> tuple[tuple[str, bytes], ...]:
    weights = {Q.format(0): ("F16", [32, 32], 2048), "model.norm.weight": ("F32", [16], 64)}
    weights[STACK] = ("BF16", [2, 16, 16], 1024)
    config = {"model_type": "llama", "num_attention_heads": 4, "text_config": {"hidden_size": 32}}
    log = {"global_step": 3, "max_steps": 9, "log_history": [{"learning_rate": 1e-3}]}
    return (
        (FILE, tensors(weights)),
        ("config.json", json.dumps(config | {"weight_decay": 0.1}).encode()),
        ("trainer_state.json", json.dumps(log).encode()),
    )


def good() -> Files:
    """Make a checkpoint with a matrix, a norm, a stack of experts, a configuration and a log."""
    return dict(_good())


def sharded() -> Files:
    """Make a checkpoint of two files and an index."""
    files = {f"m-{i}.safetensors": tensors({Q.format(i): ("F16", [16, 16], 512)}) for i in (1, 2)}
    weights = {Q.format(i): f"m-{i}.safetensors" for i in (1, 2)}
    return files | {INDEX: json.dumps({"metadata": {}, "weight_map": weights}).encode()}


@cache
def _fits(name: str, *, keep_counts: bool) -> bytes:
    import tempfile
    from pathlib import Path

    import weibnb as wb

    with tempfile.TemporaryDirectory() as folder:
        for file, content in good().items():
            Path(folder, file).write_bytes(content)
        place = Path(folder, name)
        store = place if name == STORE else None
        fits = wb.scan(folder, keep_counts=keep_counts, store=store)
        return (place if store else wb.save_fits(fits, place)).read_bytes()


def fits_files(name: str) -> list[Files]:
    """Make files (or stores) of fits, with counts and without."""
    return [{name: _fits(name, keep_counts=keep)} for keep in (True, False)]


def headers() -> list[Files]:
    """Make good files of many kinds, for the mutations of headers."""
    kinds: list[dict[str, Any]] = [
        {"w": ("U8", [3], 3)},
        {"a": ("F32", [2, 2], 16), "b": ("BF16", [2, 0], 0), "c": ("F4", [4, 2], 4)},
        {"x.1": ("F6_E2M3", [4], 3), "x.2": ("F8_E8M0", [2], 2), "x.10": ("I64", [], 8)},
    ]
    made = [{FILE: tensors(kind)} for kind in kinds] + [with_field(b'[1, "\\u00e9", null]')()]
    return [
        *made,
        {FILE: pack({"__metadata__": {"a": "b"}, "w": entry("BOOL", [1], 0, 1)}, b"1")},
    ]


def hostile_headers() -> list[Files]:
    """Give the small hostile files of one header."""
    made = (case.make() for case in HOSTILE.values())
    return [files for files in made if set(files) == {FILE} and len(files[FILE]) < 9999]
