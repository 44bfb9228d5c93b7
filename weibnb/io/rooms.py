"""Memory for what is fetched, taken again once nobody looks at it.

Fresh pages of the system are filled with zeros first, and each is a fault on its first touch, which
together cost more than to fetch from a fast server.
"""

from __future__ import annotations

import mmap
import threading
import weakref

import numpy as np

#: Bytes below which memory is not kept, and in whose multiples it is kept.
_LEAST, _STEP = 1 << 20, 1 << 23


class Rooms:
    """Gives memory, and gives it again when every view of it is gone; threads may share it."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self, length: int) -> memoryview:
        """Give memory of a length, which may hold what was there before.

        Examples
        --------
        >>> rooms = Rooms()
        >>> first = rooms.take(20_000_000)
        >>> first[:5] = b"again"
        >>> del first
        >>> bytes(rooms.take(19_000_000)[:5])
        b'again'
        """
        if length < _LEAST:
            return memoryview(bytearray(length))
        with self._lock:
            pages = next((pages for pages in self._free if len(pages) >= length), None)
            if pages is not None:
                self._free.remove(pages)
            elif self._free:
                self._free.pop()
        if pages is None:
            pages = mmap.mmap(-1, -(-length // _STEP) * _STEP)
        owner = np.frombuffer(pages, np.uint8)
        weakref.finalize(owner, self._free.append, pages).atexit = False
        return owner.data[:length]
