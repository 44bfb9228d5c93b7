"""What became of a file while its map was read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from weibnb.io.files import CheckpointError, identity_of
from weibnb.io.mapping import (
    MappedFile,
    check_unchanged,
    map_file,
    mapped_file,
    origin_of,
    will_need,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 5 * 4096 + 100


def opened(place: Path) -> MappedFile:
    path = place / "weights"
    path.write_bytes(b"x" * SIZE)
    os.utime(path, ns=(1, 1))  # whatever is written from now on is later
    with path.open("rb") as file:
        return map_file(path, identity_of(file), 0, SIZE)


def test_views_and_their_parts_lead_to_the_map(tmp_path: Path) -> None:
    area = opened(tmp_path)
    bits = np.frombuffer(area, np.uint16, 1000, 2)
    for view in (bits, bits[10:20], bits[10:20].view(np.uint8), bits.reshape(10, 100)[3]):
        assert mapped_file(view) is area
    assert mapped_file(bits.copy()) is None
    assert mapped_file(None) is None
    check_unchanged(None)


def test_what_is_unchanged_or_replaced_passes(tmp_path: Path) -> None:
    area = opened(tmp_path)
    check_unchanged(area.origin)
    other = tmp_path / "other"
    other.write_bytes(b"new")
    other.replace(tmp_path / "weights")
    check_unchanged(area.origin)
    assert bytes(area[-3:]) == b"xxx"
    (tmp_path / "weights").unlink()
    check_unchanged(area.origin)


@pytest.mark.parametrize("size", [0, 1, 4096, 5 * 4096, SIZE - 1])
def test_a_truncated_file_is_named_also_where_nothing_faults(tmp_path: Path, size: int) -> None:
    area = opened(tmp_path)
    os.truncate(tmp_path / "weights", size)
    with pytest.raises(CheckpointError, match=r"weights`: the file was truncated"):
        check_unchanged(area.origin)


@pytest.mark.parametrize("content", [b"y" * SIZE, b"x" * (SIZE + 1)])
def test_a_file_that_was_written_to_is_named(tmp_path: Path, content: bytes) -> None:
    area = opened(tmp_path)
    with (tmp_path / "weights").open("r+b") as file:
        file.write(content)
    with pytest.raises(CheckpointError, match="the file changed while it was read"):
        check_unchanged(area.origin)


def test_zeros_in_place_of_a_file_are_named(tmp_path: Path) -> None:
    class Caught:
        caught = True

        def end(self) -> None: ...

    origin = origin_of(np.frombuffer(opened(tmp_path), np.uint8))
    assert origin is not None
    origin.watch = Caught()
    with pytest.raises(CheckpointError, match="its disk failed"):
        check_unchanged(origin)


def test_a_file_that_shrinks_just_before_it_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        identity = identity_of(file)
    with pytest.raises(CheckpointError, match="changed after it was opened"):
        map_file(path, identity, 0, 2)


def test_a_part_is_asked_for_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 64)
    with path.open("rb") as file:
        area = map_file(path, identity_of(file), 0, 256 * 64)
    bits = np.frombuffer(area, np.uint8)
    for part in (bits[5000:9000], bits[-1:], bits[:0], np.zeros(9, np.uint8), bits[::2]):
        will_need(part)
    assert bits[255] == 255
