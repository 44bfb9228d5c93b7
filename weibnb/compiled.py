"""Compiled loops, kept from one session to the next where a place for them can be written."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from llvmlite import binding, ir
from numba import carray  # type: ignore[attr-defined]
from numba.core import sigutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

F = TypeVar("F", bound="Callable[..., Any]")
# What the compiler may do with sums: add up in any order, without regard to the sign of zero.
_ANY_ORDER = {"reassoc", "nsz"}
#: View so many words behind a pointer as an array, in a compiled function.
as_array: Any = carray


def compiled(function: F) -> F:
    """Compile a loop, which runs with the interpreter lock released.

    What is divided by zero is infinite or NaN in it, as in NumPy.

    Numba keeps it beside its source or in the home. Where nothing of the kind can be written, it
    is compiled anew in each process, and one warning says so. Assign numbers in it, not arrays to
    slices: for each of those numba compiles the words of an error, which takes 2 s. Pass literals
    as ``np.int64``: for each numba compiles what is called once more.
    """
    return _compiled(function)


def compiled_inline(function: F) -> F:
    """Compile a small function into each loop that calls it, as `compiled` does."""
    return _compiled(function, forceinline=True)


def compiled_sums(function: F) -> F:
    """Compile a loop as `compiled` does; it may add up numbers in any order, several at once.

    One that another loop calls must be `compiled_inline_sums`: what is left as a call is optimised
    anew when it is compiled, but not when it is loaded, and its order may be another then.
    """
    return _compiled(function, fastmath=_ANY_ORDER)


def compiled_inline_sums(function: F) -> F:
    """Compile a loop as `compiled_sums` does, into each loop that calls it."""
    return _compiled(function, fastmath=_ANY_ORDER, forceinline=True)


def compiled_callback(function: Callable[..., None], signature: str) -> int:
    """Compile a function for callers in C, and give its address; it needs no interpreter."""
    try:
        callback = numba.cfunc(signature, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache
        _tell_once()
        callback = numba.cfunc(signature)(function)
    _kept.append(callback)
    return cast("int", callback.address)


@intrinsic
def _as_float32(_: Any, _bits: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


#: Read 32 bits as a float32, in a compiled function.
as_float32: Any = _as_float32


def c_function(name: str, signature: str) -> Any:
    """Name a function of the C library that compiled functions may call."""
    arguments, result = sigutils.normalize_signature(signature)
    return types.ExternalFunction(name, result(*arguments))


def named_memory(name: str, words: NDArray[np.int64]) -> Any:
    """Make the function by which compiled functions find an array, kept from session to session."""
    binding.add_symbol(name, words.ctypes.data)

    @intrinsic
    def pointer(_: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            place = builder.module.globals.get(name)
            return place or ir.GlobalVariable(builder.module, ir.IntType(64), name)

        return types.CPointer(types.int64)(), generate

    return pointer


# Callbacks that C may call.
_kept: list[Any] = []


def _compiled(function: F, **options: Any) -> F:
    loop: Any
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        loop = numba.njit(cache=True, **options)(function)
        _forget_stale(Path(loop.stats.cache_path))
    except RuntimeError:  # numba found no place for its cache
        _tell_once()
        loop = numba.njit(**options)(function)
    return cast("F", loop)


@cache
def _forget_stale(kept_in: Path) -> None:
    """Remove kept loops that are older than any source of loops, from a place that can be written.

    Numba holds a loop against its own module alone; loops have copies of those that they call.
    """
    written = {}
    for path in kept_in.glob("*.nbi"):
        with suppress(FileNotFoundError):  # another process has just removed it
            written[path] = path.stat().st_mtime_ns
    newest = _newest_source(min(written.values(), default=sys.maxsize))
    for path, time in written.items():
        if time < newest:
            path.unlink(missing_ok=True)


@cache
def _newest_source(oldest: int) -> int:
    """When the newest source of loops was changed, if after the oldest that is kept; or 0."""
    times = {path: path.stat().st_mtime_ns for path in Path(__file__).parent.rglob("*.py")}
    newer = [path for path, time in times.items() if time > oldest]
    sources = (path for path in newer if b"weibnb.compiled" in path.read_bytes())
    return max((times[path] for path in sources), default=0)


@cache
def _tell_once() -> None:
    warnings.warn(
        "The compiled loops cannot be kept, since neither the package nor the home can be "
        "written, and are compiled in each process, which takes some seconds. "
        "Set NUMBA_CACHE_DIR to a folder that can be written.",
        stacklevel=4,
    )
