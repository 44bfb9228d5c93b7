"""What a pickle would call, told without running it.

The standard library's `pickletools` takes a pickle apart into its opcodes and executes none of
them. What is on neither list below is refused before anything that could build an object sees it.
"""

from __future__ import annotations

import pickletools
from typing import TYPE_CHECKING, BinaryIO

from weibnb.io.files import CheckpointError
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

_WORDS = (
    "PROTO STOP MARK TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET NONE "
    "NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINGET "
    "LONG_BINGET BINPUT LONG_BINPUT GLOBAL REDUCE BUILD APPEND APPENDS SETITEM SETITEMS BINPERSID"
)
#: What `torch.save` writes.
OPCODES = frozenset(_WORDS.split())
_STORAGES = "Double Float Half BFloat16 Long Int Short Char Byte Bool ComplexFloat ComplexDouble"
_TYPES = (
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool "
    "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz "
    "float8_e8m0fnu float4_e2m1fn_x2"
)
#: All that a file of tensors may name, module and name: nothing else is ever looked up or called.
GLOBALS = frozenset(
    (
        "collections OrderedDict",
        "torch Size",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch.storage UntypedStorage",
        *(f"torch {name}Storage" for name in _STORAGES.split()),
        *(f"torch {name}" for name in _TYPES.split()),
    )
)
_STEP = (
    "Nothing of it was run. Where you trust the file, load it there and save its tensors alone: "
    "safetensors.torch.save_file(state_dict, 'model.safetensors')."
)


def check_pickle(
    path: Path,
    file: BinaryIO | bytes,
    allowed: Container[str] = GLOBALS,
    opcodes: Container[str] = OPCODES,
) -> None:
    """Refuse a pickle that names or does anything that files of tensors do not.

    Parameters
    ----------
    path : path
        Named in errors.
    file : binary file or bytes
        Of a file, one pickle is read from where it stands.
    allowed : container of str
        Module and name, with a space between, of what may be named.
    opcodes : container of str
        What may be done, as `pickletools` calls it.

    Raises
    ------
    CheckpointError
        If it is damaged, or does something else.
    """
    refused = ""
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL" and argument not in allowed:
                name = shortened(".".join(str(argument).split(" ")), 200)
                refused = f"names `{name}`"
            elif opcode.name not in opcodes:
                refused = f"uses {opcode.name}"
            if refused:
                break
    except (ValueError, EOFError, LookupError, MemoryError, OverflowError) as err:
        cause = f"its pickle is damaged: {shortened(err, 200)}"
        raise CheckpointError(path, cause, "Download or save it again.") from err
    if refused:
        raise CheckpointError(path, f"its pickle {refused}, which is refused", _STEP)
