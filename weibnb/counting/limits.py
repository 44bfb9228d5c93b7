"""How much is counted, copied and kept waiting at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes that decide speed and memory, never counts; the defaults suit real matrices."""

    # Fewest weights that are handed to another thread, which takes some 30 us; weights that it
    # counts at once: many enough to hide what a task costs, few enough for uint32 counters; and
    # how many such pieces may wait for each core.
    worth_a_thread: int = 1 << 16
    piece: int = 1 << 23
    # Weights with gaps between them that are copied and counted at once, while they are in a cache.
    gathered: int = 1 << 20
    # Weights that are computed as they are counted: few enough for several threads' memory.
    computed: int = 1 << 22
    pieces_waiting: int = 4
    # Matrices that may wait on devices; bytes of an array that "auto" brings to a device.
    matrices_waiting: int = 4096
    worth_a_device: int = 1 << 26
    # Bytes of a table on a device, and tables that a format may have before they are fetched.
    table: int = 1 << 26
    tables: int = 4
    # Weights of a tensor with gaps that are packed at once.
    packed: int = 1 << 22
    # Bytes of a staging buffer, the fewest that will do, and those that a thread copies at once.
    buffer: int = 1 << 26
    smallest_buffer: int = 1 << 20
    copied: int = 1 << 22


DEFAULTS = Limits()
