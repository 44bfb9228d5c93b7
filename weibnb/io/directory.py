"""The files of a checkpoint: which of a directory belong together, and where they lie.

A directory's index decides which files are read. Without one, all are, except ``consolidated*``
next to others. Files must lie in the directory; where a link may lead says `links`.
"""

from __future__ import annotations

import reprlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weibnb.io.distributed_checkpoint import read_distributed
from weibnb.io.files import (
    AGAIN,
    CheckpointError,
    list_directory,
    natural_order,
    read_json,
    why,
)
from weibnb.io.kinds import DISTRIBUTED, SAFETENSORS, is_index, kind_in, kind_of
from weibnb.io.links import contained
from weibnb.io.safetensors import PICKLES, Shard, not_safetensors
from weibnb.io.steps import step_of

if TYPE_CHECKING:
    import os

    from weibnb.io.kinds import Kind
    from weibnb.io.limits import Limits

_LARGEST_CONFIG = 10_000_000
_LARGE_INDEX = (
    "If you trust it, pass a quarter of that as `max_header` (in a shell `--max-header`)."
)


def read_files(
    source: str | os.PathLike[str], limits: Limits
) -> tuple[tuple[Shard, ...], dict[str, Any], list[str]]:
    """Read the headers of a checkpoint's files and its configuration, with notes on the rest."""
    given = Path(source)
    if source == "":
        raise CheckpointError(given, "the path is empty", "Pass `.` for the current directory.")
    hint = "For a Hugging Face repository, download it and pass the folder."
    try:
        path = given.expanduser().absolute()
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise CheckpointError(given, "there is no such file or directory", hint) from err
    except (OSError, ValueError, RuntimeError) as err:
        raise CheckpointError(given, f"the path cannot be used: {why(err)}") from err
    notes: list[str] = []
    if is_directory:
        shards, notes = _open_directory(path, None, limits)
    elif is_index(path.name):
        shards, notes = _open_directory(path.parent, path.name, limits)
    else:
        shards = (kind_of(path.name).read(path, limits),)
    notes += [note for shard in shards for note in shard.notes]
    directory = path if is_directory else path.parent
    config: dict[str, Any] = dict(shards[0].config) if shards else {}
    if (directory / "config.json").exists():
        try:
            config |= read_json(contained(directory, "config.json"), limit=_LARGEST_CONFIG)
        except CheckpointError as err:
            notes.append(f"The configuration was not read: {err}")
    return shards, config, notes


def _open_directory(
    directory: Path, index: str | None, limits: Limits
) -> tuple[tuple[Shard, ...], list[str]]:
    """Read the headers of the files that belong together, and say what was left out."""
    names = list_directory(directory)
    kind = kind_in([index] if index else names)
    if kind is None:
        raise _nothing_to_read(directory, names)
    if kind is DISTRIBUTED:
        return read_distributed(directory, limits), []
    files = [name for name in names if kind.holds(name)]
    indexes = [name for name in names if kind.index and name.endswith(kind.index)]
    weight_map: dict[str, str] = {}
    if indexes:
        usual = f"{'model' if kind is SAFETENSORS else 'pytorch_model'}{kind.index}"
        index = index or (usual if usual in indexes else min(indexes, key=len))
        weight_map = _read_index(directory, index, names, limits)
        used = sorted(set(weight_map.values()), key=natural_order)
    else:
        used = [name for name in files if not name.startswith("consolidated")] or files
    shards, place = _read_shards(directory, used, kind, limits)
    for tensor, name in weight_map.items():
        if place.get(tensor) != name:
            cause = f"`{index}` places it in `{name}`, which does not hold it"
            raise CheckpointError(directory, cause, AGAIN, tensor)
    left = [f"`{n}`" for n in files + indexes if n not in used and n != index]
    if not left:
        return shards, []
    rest = f" and {len(left) - 8:,} more" if len(left) > 8 else ""
    note = f"Left out in favour of `{index or used[0]}`: {', '.join(left[:8])}{rest}."
    return shards, [f"{note} Pass a file itself to read it."]


def _read_shards(
    directory: Path, names: list[str], kind: Kind, limits: Limits
) -> tuple[tuple[Shard, ...], dict[str, str]]:
    """Read the headers of files, and tell which file holds each tensor: one alone."""
    shards: list[Shard] = []
    place: dict[str, str] = {}
    for name in names:
        shard = kind.read(contained(directory, name), limits)
        shards.append(shard)
        for info, _ in shard.tensors:
            if info.name in place:
                cause = f"two files hold this tensor: `{place[info.name]}` and `{name}`"
                step = "Pass the file that you mean, or remove the other."
                raise CheckpointError(directory, cause, step, info.name)
            place[info.name] = name
        limits.check_number(directory, len(place), "tensors in its first files")
    return tuple(shards), place


def _read_index(directory: Path, index: str, names: list[str], limits: Limits) -> dict[str, str]:
    """Read which file holds each tensor; only plain files of the directory may be named."""
    path = contained(directory, index)
    content = read_json(path, limit=limits.max_index, too_large=_LARGE_INDEX, strict=True)
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


def _nothing_to_read(directory: Path, names: list[str]) -> CheckpointError:
    for name in names:
        if name.endswith(PICKLES):
            return not_safetensors(directory / name, b"", "the directory has no file of tensors")
    steps = [name for name in names if step_of(name) is not None]
    hint = f"Pass one step, such as `{steps[0]}`." if steps else "Pass the folder of the weights."
    return CheckpointError(directory, "the directory has no .safetensors file", hint)
