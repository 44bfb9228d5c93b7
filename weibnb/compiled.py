"""Compiled loops, kept from one session to the next where a place for them can be written."""

from __future__ import annotations

import warnings
from functools import cache
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
#: View so many words behind a pointer as an array, in a compiled function.
as_array: Any = carray


def compiled(function: F) -> F:
    """Compile a loop, which runs with the interpreter lock released.

    Numba keeps it beside its source or in the home. Where nothing of the kind can be written, it
    is compiled anew in each process, and one warning says so.
    """
    return _compiled(function)


def compiled_inline(function: F) -> F:
    """Compile a small function into each loop that calls it, as `compiled` does."""
    return _compiled(function, forceinline=True)


def compiled_sums(function: F) -> F:
    """Compile a loop as `compiled` does; it may add up numbers in any order, several at once."""
    return _compiled(function, fastmath={"reassoc", "nsz"})


def compiled_callback(function: Callable[..., None], signature: str) -> int:
    """Compile a function for callers in C, and give its address; it needs no interpreter."""
    try:
        callback = numba.cfunc(signature, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache
        _tell_once()
        callback = numba.cfunc(signature)(function)
    _kept.append(callback)
    return cast("int", callback.address)


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
    try:
        loop = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba found no place for its cache
        _tell_once()
        loop = numba.njit(nogil=True, **options)(function)
    return cast("F", loop)


@cache
def _tell_once() -> None:
    warnings.warn(
        "The compiled loops cannot be kept, since neither the package nor the home can be "
        "written, and are compiled in each process, which takes some seconds. "
        "Set NUMBA_CACHE_DIR to a folder that can be written.",
        stacklevel=4,
    )
