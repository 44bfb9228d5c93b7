"""The zip archives of `torch.save`: held to what it writes, and where in them each record lies."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, BinaryIO

from weibnb.io.archives import DAMAGED, check_directory, data_start
from weibnb.io.files import AGAIN, CheckpointError
from weibnb.io.limits import raise_it
from weibnb.io.pickles import check_pickle
from weibnb.messages import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.io.limits import Limits

_LEGACY = (
    "It was written before torch 1.6, or asked to be. Write it anew: "
    "weibnb convert {name} -o model.safetensors"
)


def records_of(path: Path, file: BinaryIO, limits: Limits) -> dict[int, int]:
    """Give where each record of an archive begins and how long it is, and check its pickle."""
    try:
        check_directory(path, file, limits)
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
            limits.check_number(path, max(len(listed) - 10, 0), "records")
            content, little = _pickle_of(path, archive, listed, limits)
        places = {data_start(path, file, one): one.file_size for one in listed}
        end = file.seek(0, os.SEEK_END)
        if any(at + length > end for at, length in places.items()):
            raise CheckpointError(path, "a record lies behind the end: it is truncated", AGAIN)
    except DAMAGED as err:
        if isinstance(err, CheckpointError):
            raise
        raise CheckpointError(path, f"the archive is damaged: {err}", AGAIN) from err
    check_pickle(path, content)
    if not little:
        cause = "it was written on a machine of the other byte order"
        raise CheckpointError(path, cause, "Write it as safetensors there.")
    return places


def _pickle_of(
    path: Path, archive: zipfile.ZipFile, listed: list[zipfile.ZipInfo], limits: Limits
) -> tuple[bytes, bool]:
    """Read the pickle of an archive of `torch.save`, and whether it is little-endian."""
    names = [one.filename for one in listed]
    top = names[0].partition("/")[0] if names else ""
    pickles = [one for one in listed if one.filename == f"{top}/data.pkl"]
    if len(pickles) != 1 or len(set(names)) < len(names):
        raise CheckpointError(path, "this is no archive that torch.save wrote", AGAIN)
    if any(name.endswith(("/constants.pkl", ".py")) for name in names):
        step = "Save its state_dict(): safetensors.torch.save_file(module.state_dict(), path)."
        raise CheckpointError(path, "this is TorchScript, a program, not weights", step)
    if any(one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1 for one in listed):
        raise CheckpointError(path, "its records are compressed or encrypted", AGAIN)
    if pickles[0].file_size > limits.max_index:
        size, most = pickles[0].file_size, limits.max_index
        cause = f"its pickle takes {size:,} bytes, at most {most:,} are read"
        raise CheckpointError(path, cause, raise_it("max_header", -(-size // 4)))
    order = f"{top}/byteorder"
    little = order not in names or archive.read(order)[:16] == b"little"
    return archive.read(pickles[0]), little


def not_a_zip(path: Path, file: BinaryIO) -> CheckpointError:
    """Make the error for a file that is no zip archive."""
    file.seek(0)
    head = file.read(64)
    if not head:
        return CheckpointError(path, "the file is empty", AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(path, "this is a Git LFS pointer", "Run `git lfs pull`.")
    if head.startswith(b"\x80"):
        step = _LEGACY.format(name=shortened(path.name, 200))
        return CheckpointError(path, "this is a legacy PyTorch file, a bare pickle", step)
    return CheckpointError(path, "this is no file that torch.save wrote", AGAIN)
