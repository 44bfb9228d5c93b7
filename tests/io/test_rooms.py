"""Memory is taken again only once nobody looks at it."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from weibnb.io.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIZE = 3_000_000


@pytest.mark.parametrize(
    "look",
    [
        lambda room: room,
        lambda room: room.toreadonly(),
        lambda room: room[10:20],
        lambda room: np.frombuffer(room, np.uint8),
        lambda room: np.frombuffer(room[8:], np.uint16).reshape(2, -1).T[3:5, :1],
        lambda room: [np.frombuffer(room[5:9], np.uint8).data],
    ],
)
def test_a_view_of_any_kind_keeps_its_memory(look: Callable[[memoryview], Any]) -> None:
    rooms = Rooms()
    room = rooms.take(SIZE)
    room[:] = bytes([7]) * SIZE
    seen = look(room)
    before = bytes(np.ravel(seen[0] if isinstance(seen, list) else seen))
    del room
    for _ in range(3):
        rooms.take(SIZE)[:] = bytes([9]) * SIZE
    assert bytes(np.ravel(seen[0] if isinstance(seen, list) else seen)) == before
    del seen
    gc.collect()
    assert {rooms.take(SIZE)[0] for _ in range(2)} <= {7, 9}


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 1])
def test_little_memory_is_fresh(length: int) -> None:
    rooms = Rooms()
    rooms.take(length)[:] = bytes([7]) * length
    room = rooms.take(length)
    assert len(room) == length
    assert not any(room)


@pytest.mark.parametrize("length", [1 << 20, 1 << 23, (1 << 23) + 1])
def test_memory_has_the_length_that_was_asked_for(length: int) -> None:
    room = Rooms().take(length)
    assert len(room) == room.nbytes == length
    assert not room.readonly


def test_what_is_too_small_goes_back_to_the_system() -> None:
    rooms = Rooms()
    for length in range(1 << 20, 1 << 26, 1 << 22):
        room = rooms.take(length)
        assert len(room) == length
        del room
    assert len(rooms._free) == 1


def test_threads_never_share_memory() -> None:
    rooms, begin = Rooms(), threading.Barrier(4)

    def fill(number: int) -> bool:
        begin.wait()
        for at in range(50):
            room = np.frombuffer(rooms.take(SIZE), np.uint64)
            room[:] = mark = number * 1000 + at
            if not (room == mark).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(4)))
    assert len(rooms._free) <= 8  # each thread holds one while it takes the next


def test_memory_that_outlives_its_rooms_stays() -> None:
    rooms = Rooms()
    room = rooms.take(SIZE)
    room[:3] = b"abc"
    del rooms
    gc.collect()
    assert bytes(room[:3]) == b"abc"
