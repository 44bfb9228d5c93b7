"""Files of tensors by the endings of their names, and which of them in a directory is the model.

Where several kinds lie in one directory, the first of `KINDS` is read: safetensors before PyTorch
files before GGUF before distributed checkpoints before ``.npz``. A ``.npy`` is read where it is
named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weibnb.io.distributed_checkpoint import SUFFIX as CHUNKS
from weibnb.io.files import CheckpointError
from weibnb.io.gguf_files import SUFFIX as GGUF
from weibnb.io.gguf_files import read_gguf
from weibnb.io.numpy_files import ARCHIVE, ARRAY, read_numpy_file
from weibnb.io.safetensors import read_shard
from weibnb.io.torch_files import SUFFIXES, is_torch_file, read_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from weibnb.io.limits import Limits
    from weibnb.io.safetensors import Shard


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    holds : callable
        Whether a file is of this kind and holds a model, by its name.
    index : str
        How the name of an index of such files ends; empty if there is none.
    read : callable
        Lists the tensors of a file.
    """

    holds: Callable[[str], bool]
    index: str
    read: Callable[[Path, Limits], Shard]


def _is_safetensors(name: str) -> bool:
    return name.endswith(".safetensors")


def _is_gguf(name: str) -> bool:
    return name.endswith(GGUF)


def _is_chunks(name: str) -> bool:
    return name.endswith(CHUNKS)


def _is_archive(name: str) -> bool:
    return name.endswith(ARCHIVE)


def _is_array(name: str) -> bool:
    return name.endswith(ARRAY)


def _refuse_chunks(path: Path, _: Limits) -> Shard:
    """Raise, for chunks mean nothing without the metadata beside them."""
    cause = "this is a part of a distributed checkpoint"
    raise CheckpointError(path, cause, "Pass the folder of it.")


SAFETENSORS = Kind(_is_safetensors, ".safetensors.index.json", read_shard)
DISTRIBUTED = Kind(_is_chunks, "", _refuse_chunks)
KINDS: tuple[Kind, ...] = (
    SAFETENSORS,
    Kind(is_torch_file, ".bin.index.json", read_torch_file),
    Kind(_is_gguf, "", read_gguf),
    DISTRIBUTED,
    Kind(_is_archive, "", read_numpy_file),
)
# Of these a directory holds many that are no models.
_ALONE = Kind(_is_array, "", read_numpy_file)
#: Endings of one file that is a model.
ENDINGS = (".safetensors", *SUFFIXES, GGUF)
#: Those of files that may be one, where they are named.
WHERE_NAMED = (*ENDINGS, ARCHIVE, ARRAY)


def kind_of(name: str) -> Kind:
    """Give the kind of a file; safetensors where its name tells nothing."""
    return next((kind for kind in (*KINDS, _ALONE) if kind.holds(name)), SAFETENSORS)


def kind_in(names: Sequence[str], kinds: Sequence[Kind] = KINDS) -> Kind | None:
    """Give the kind that the model of a directory is of, None if there is none of `kinds`."""
    for kind in kinds:
        if any(kind.holds(name) or (kind.index and name.endswith(kind.index)) for name in names):
            return kind
    return None


def is_weights(name: str) -> bool:
    """Whether a file holds a model, or a part of one, by its name."""
    return any(kind.holds(name) for kind in KINDS)


def is_index(name: str) -> bool:
    """Whether a file is an index of a model's files."""
    return any(kind.index and name.endswith(kind.index) for kind in KINDS)


def without_ending(name: str) -> str:
    """Give the name of a file without what tells its kind."""
    return next((name.removesuffix(end) for end in WHERE_NAMED if name.endswith(end)), name)
