"""Truncated files read as zeros: SIGBUS is caught in the maps that are watched.

A map of a file that is truncated, or whose disk fails, raises SIGBUS where it is touched, which
ends the process. While `guarded` is entered, a compiled handler puts zeros in the place of the rest
of a watched map and lets the reader go on; `weibnb.io.mapping.check_unchanged` then tells. Faults
elsewhere go to the handler that was there before.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import signal
import sys
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import as_array, c_function, compiled_callback, named_memory
from weibnb.interrupts import held
from weibnb.io.mapping import mapped_file

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Whether this system's SIGBUS and maps are those that the handler knows.
AVAILABLE = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
#: More maps than Linux lets a process have.
SLOTS = 1 << 16

# The handler's memory: slots that were ever used, the mask of a page, where the action before it
# stands, where the default action stands, and for each slot the first address, the one behind the
# last, and whether zeros are there.
_HEAD = 4
_WORDS = _HEAD + 3 * SLOTS
_memory = np.zeros(_WORDS, np.int64)
_memory[1] = -mmap.PAGESIZE
_free = list(range(SLOTS - 1, -1, -1))

_state = named_memory("weibnb_guard", _memory)
_mmap = c_function("mmap", "intp(intp, intp, int32, int32, int32, intp)")
_sigaction = c_function("sigaction", "int32(int32, intp, intp)")
_raise = c_function("raise", "int32(int32)")

_SIGBUS = getattr(signal, "SIGBUS", 0)
_ADDRESS_FAULT = 2  # BUS_ADRERR: nothing stands behind a valid address
_READ, _PRIVATE_FIXED_ANONYMOUS = 1, 0x32
_SIGINFO, _ON_STACK = 0x4, 0x08000000


def _handle(number: Any, info: Any, _context: Any) -> None:
    """Put zeros in the place of a watched map; for other faults, go back to the action before."""
    state = as_array(_state(), _WORDS)
    fields = as_array(info, 3)
    code, address = np.int32(fields[1]), fields[2]
    if code == _ADDRESS_FAULT:
        for slot in range(state[0]):
            at = _HEAD + 3 * slot
            if state[at] <= address < state[at + 1]:
                page = address & state[1]
                rest = state[at + 1] - page
                if _mmap(page, rest, _READ, _PRIVATE_FIXED_ANONYMOUS, -1, 0) == page:
                    state[at + 2] = 1
                    return
    _sigaction(number, state[2], 0)
    state[2] = state[3]  # should that one, too, go back to this
    if code <= 0:  # sent by a process; a fault repeats by itself
        _raise(number)


class _Action(ctypes.Structure):
    """``struct sigaction`` of Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Slot:
    """A watched map's place in the handler's memory."""

    def __init__(self, start: int, end: int) -> None:
        try:
            self._number = _free.pop()
        except IndexError:
            raise OSError(errno.ENOMEM, "too many maps of files") from None
        self._at = at = _HEAD + 3 * self._number
        self._caught: bool | None = None
        _memory[at + 2], _memory[at], _memory[at + 1] = 0, start, end
        _memory[0] = max(_memory[0], self._number + 1)

    @property
    def caught(self) -> bool:
        return bool(_memory[self._at + 2]) if self._caught is None else self._caught

    def end(self) -> None:
        self._caught = self.caught
        _memory[self._at + 1] = 0
        _free.append(self._number)


_users = 0
_lock = threading.RLock()
_before, _default = _Action(), _Action()
_memory[3] = ctypes.addressof(_default)


@contextmanager
def guarded() -> Iterator[None]:
    """Catch the faults of watched maps until the block ends; blocks may be nested, and in threads.

    Where the system is not `AVAILABLE`, nothing is done.
    """
    entered = False
    try:
        if AVAILABLE:
            with held(), _lock:
                _enter()
                entered = True
        yield
    finally:
        if entered:
            with held(), _lock:
                _leave()


def watch(bits: Any) -> None:
    """Let faults be caught in the map that an array is a view of, if `guarded` is entered."""
    area = mapped_file(bits)
    if not _users or area is None or area.origin is None or area.origin.watch is not None:
        return
    start = np.frombuffer(area, np.uint8).ctypes.data
    area.origin.watch = _Slot(start, start + len(area))


def _enter() -> None:
    """Install the handler, if it is not the current one."""
    global _users  # noqa: PLW0603  (one handler serves the process)
    new = _Action(_address(), (0,) * 16, _SIGINFO | _ON_STACK, None)
    if _current().handler != new.handler:
        _check(_libc().sigaction(_SIGBUS, ctypes.byref(new), ctypes.byref(_before)))
        _memory[2] = ctypes.addressof(_before)
    _users += 1


def _leave() -> None:
    """Bring the action back that was there before, unless another took the place since."""
    global _users  # noqa: PLW0603
    _users -= 1
    if not _users and _current().handler == _address():
        _check(_libc().sigaction(_SIGBUS, ctypes.byref(_before), None))


def _current() -> _Action:
    """Tell what is done on SIGBUS."""
    action = _Action()
    _check(_libc().sigaction(_SIGBUS, None, ctypes.byref(action)))
    return action


def _check(failed: int) -> None:
    """Raise what the C library says."""
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@cache
def _address() -> int:
    """Give the address of the handler, compiled where it was not kept."""
    return compiled_callback(_handle, "void(int32, CPointer(int64), voidptr)")


@cache
def _libc() -> ctypes.CDLL:
    """Give the C library."""
    return ctypes.CDLL(None, use_errno=True)
