"""The files of a checkpoint: which of a directory belong together, and where they lie.

A directory's index decides which files are read. Without one, all are, except ``consolidated*``
next to others. Files must lie in the directory; where a link may lead says `links`.
"""

from __future__ import annotations

import re
import reprlib
import stat
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weibnb.io.distributed_checkpoint import read_distributed
from weibnb.io.files import (
    AGAIN,
    CheckpointError,
    list_directory,
    natural_order,
    read_json,
    why,
)
from weibnb.io.kinds import DISTRIBUTED, KINDS, SAFETENSORS, is_index, kind_in, kind_of
from weibnb.io.links import contained
from weibnb.io.safetensors import PICKLES, Shard, not_safetensors
from weibnb.io.steps import step_of
from weibnb.messages import shortened

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from weibnb.io.kinds import Kind
    from weibnb.io.limits import Limits

SUFFIX, INDEX = ".safetensors", ".safetensors.index.json"
# A file that is one of several by its name: what they share, its number, how many there are.
_NUMBERED = re.compile(r"(.*)-0*([0-9]{1,6})-of-0*([0-9]{1,6})(\.\w+)")
#: Most bytes of a config.json.
LARGEST_CONFIG = 10_000_000
_LARGE_INDEX = (
    "If you trust it, pass a quarter of that as `max_header` (in a shell `--max-header`)."
)


class Folder(Protocol):
    """A directory that may hold a checkpoint, here or on another machine."""

    @property
    def place(self) -> str | os.PathLike[str]:
        """What errors call it."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the files in it, in natural order."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """Which kinds of files can be read there."""

    def path(self, name: str) -> str | os.PathLike[str]:
        """Say what errors call a file in it."""

    def shards(self, names: Sequence[str], limits: Limits) -> Iterator[Shard]:
        """Read the headers of files, one by one."""

    def read_json(
        self, name: str, *, limit: int, too_large: str = "", strict: bool = False
    ) -> dict[str, Any]:
        """Read a JSON object, as `weibnb.io.files.read_json` does."""


@dataclass(frozen=True)
class LocalFolder:
    """A directory of this machine."""

    place: Path
    kinds: Sequence[Kind] = KINDS

    @cached_property
    def names(self) -> list[str]:
        """List what is in it, hidden files left out."""
        return list_directory(self.place)

    def path(self, name: str) -> Path:
        """Give the path of a file; a link out of the directory is refused."""
        return contained(self.place, name)

    def shards(self, names: Sequence[str], limits: Limits) -> Iterator[Shard]:
        """Read the headers of files, one by one."""
        return (kind_of(name).read(self.path(name), limits) for name in names)

    def read_json(
        self, name: str, *, limit: int, too_large: str = "", strict: bool = False
    ) -> dict[str, Any]:
        """Read a JSON object."""
        return read_json(self.path(name), limit=limit, too_large=too_large, strict=strict)


def read_files(
    source: str | os.PathLike[str], limits: Limits
) -> tuple[tuple[Shard, ...], dict[str, Any], list[str]]:
    """Read the headers of a checkpoint's files and its configuration, with notes on the rest."""
    given = Path(source)
    if source == "":
        raise CheckpointError(given, "the path is empty", "Pass `.` for the current directory.")
    hint = "A model of the Hugging Face Hub is `org/name`, or `hf://org/name@revision`."
    try:
        path = given.expanduser().absolute()
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise CheckpointError(given, "there is no such file or directory", hint) from err
    except (OSError, ValueError, RuntimeError) as err:
        raise CheckpointError(given, f"the path cannot be used: {why(err)}") from err
    folder = LocalFolder(path if is_directory else path.parent)
    notes: list[str] = []
    if is_directory:
        shards, notes = open_folder(folder, None, limits)
    elif is_index(path.name):
        shards, notes = open_folder(folder, path.name, limits)
    else:
        shards = (kind_of(path.name).read(path, limits),)
    notes += [note for shard in shards for note in shard.notes]
    config: dict[str, Any] = dict(shards[0].config) if shards else {}
    if (folder.place / "config.json").exists():
        config |= read_config(folder, notes)
    return shards, config, notes


def read_config(folder: Folder, notes: list[str]) -> dict[str, Any]:
    """Read the configuration of a model, or note why it was not read."""
    try:
        return folder.read_json("config.json", limit=LARGEST_CONFIG)
    except CheckpointError as err:
        notes.append(f"The configuration was not read: {err}")
    return {}


def open_folder(
    folder: Folder, index: str | None, limits: Limits
) -> tuple[tuple[Shard, ...], list[str]]:
    """Read the headers of the files that belong together, and say what was left out."""
    names = folder.names
    kind = kind_in([index] if index else names, folder.kinds)
    if kind is None:
        raise _nothing_to_read(folder, names)
    if kind is DISTRIBUTED:
        return read_distributed(Path(folder.place), limits), []
    files = [name for name in names if kind.holds(name)]
    indexes = [name for name in names if kind.index and name.endswith(kind.index)]
    weight_map: dict[str, str] = {}
    if index or indexes:
        usual = f"{'model' if kind is SAFETENSORS else 'pytorch_model'}{kind.index}"
        index = index or (usual if usual in indexes else min(indexes, key=len))
        weight_map = _read_index(folder, index, names, limits)
        used = sorted(set(weight_map.values()), key=natural_order)
    else:
        used = [name for name in files if not name.startswith("consolidated")] or files
    shards, place = _read_shards(folder, used, limits)
    for tensor, name in weight_map.items():
        if place.get(tensor) != name:
            cause = f"`{index}` places it in `{name}`, which does not hold it"
            raise CheckpointError(folder.place, cause, AGAIN, tensor)
    notes = [] if weight_map else _incomplete(used)
    left = [f"`{n}`" for n in files + indexes if n not in used and n != index]
    if left:
        rest = f" and {len(left) - 8:,} more" if len(left) > 8 else ""
        note = f"Left out in favour of `{index or used[0]}`: {', '.join(left[:8])}{rest}."
        notes.append(f"{note} Pass a file itself to read it.")
    return shards, notes


def _incomplete(names: Sequence[str]) -> list[str]:
    """Say of files that are numbered, without an index, where some are missing."""
    found = [match for match in map(_NUMBERED.fullmatch, names) if match]
    there = Counter((match[1], int(match[3]), match[4]) for match in found)
    return [
        f"Of {total:,} files `{shortened(name)}-…-of-{total:05}{ending}` only {number:,} are "
        f"here, so that tensors are missing. {AGAIN}"
        for (name, total, ending), number in there.items()
        if number < total
    ]


def _read_shards(
    folder: Folder, names: list[str], limits: Limits
) -> tuple[tuple[Shard, ...], dict[str, str]]:
    """Read the headers of files, and tell which file holds each tensor: one alone."""
    shards: list[Shard] = []
    place: dict[str, str] = {}
    for name, shard in zip(names, folder.shards(names, limits), strict=True):
        shards.append(shard)
        for info, _ in shard.tensors:
            if info.name in place:
                cause = f"two files hold this tensor: `{place[info.name]}` and `{name}`"
                step = "Pass the file that you mean, or remove the other."
                raise CheckpointError(folder.place, cause, step, info.name)
            place[info.name] = name
        limits.check_number(folder.place, len(place), "tensors in its first files")
    return tuple(shards), place


def _read_index(folder: Folder, index: str, names: Sequence[str], limits: Limits) -> dict[str, str]:
    """Read which file holds each tensor; only plain files of the directory may be named."""
    path = folder.path(index)
    content = folder.read_json(index, limit=limits.max_index, too_large=_LARGE_INDEX, strict=True)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(path, "the index has no `weight_map` of tensor to file", AGAIN)
    limits.check_number(path, len(weight_map))
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            cause = f"an index must name plain files beside it, got {reprlib.repr(name)}"
            raise CheckpointError(path, cause, "Do not trust this checkpoint.", tensor)
    if missing := sorted(set(weight_map.values()) - set(names)):
        raise CheckpointError(path, f"the index names `{missing[0]}`, which is missing", AGAIN)
    return weight_map


def _nothing_to_read(folder: Folder, names: Sequence[str]) -> CheckpointError:
    for name in names:
        if name.endswith((*PICKLES, ".gguf")):
            path = f"{folder.place}/{name}"
            return not_safetensors(path, b"", "the directory has no file of tensors")
    steps = [name for name in names if step_of(name) is not None]
    hint = f"Pass one step, such as `{steps[0]}`." if steps else "Pass the folder of the weights."
    return CheckpointError(folder.place, "the directory has no .safetensors file", hint)
