"""Compiled loops, kept from one session to the next where a place for them can be written."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def compiled(function: F) -> F:
    """Compile a loop, which runs with the interpreter lock released.

    Numba keeps it beside its source or in the home. Where nothing of the kind can be written, it
    is compiled anew in each process, and one warning says so.
    """
    return _compiled(function)


def compiled_inline(function: F) -> F:
    """Compile a small function into each loop that calls it, as `compiled` does."""
    return _compiled(function, forceinline=True)


def _compiled(function: F, *, forceinline: bool = False) -> F:
    loop: Any
    try:
        loop = numba.njit(nogil=True, cache=True, forceinline=forceinline)(function)
    except RuntimeError:  # numba found no place for its cache
        _tell_once()
        loop = numba.njit(nogil=True, forceinline=forceinline)(function)
    return cast("F", loop)


@cache
def _tell_once() -> None:
    warnings.warn(
        "The compiled loops cannot be kept, since neither the package nor the home can be "
        "written, and are compiled in each process, which takes some seconds. "
        "Set NUMBA_CACHE_DIR to a folder that can be written.",
        stacklevel=4,
    )
