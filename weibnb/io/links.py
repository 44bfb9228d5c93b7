"""Links in a checkpoint's directory: which of them may be followed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weibnb.io.files import CheckpointError, why

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def contained(directory: Path, name: str, next_step: str = "") -> Path:
    """Refuse a link out of the directory, unless into a Hugging Face cache.

    A cache links to its own ``models--*/blobs``; folders that huggingface_hub 0.13 to 0.22 filled
    (``local_dir=``) link into a cache elsewhere; since 2.4 blobs may link to a store that all
    models share. The names there are digests of the contents, so that a link cannot lead to
    anything that its author did not hold.
    """
    path = directory / name
    try:
        real, root = path.resolve(), directory.resolve()
    except (OSError, RuntimeError) as err:
        raise CheckpointError(path, f"the link leads nowhere: {why(err)}") from err
    own = next((p / "blobs" for p in root.parents if p.name.startswith("models--")), root)
    if real.is_relative_to(root) or real.is_relative_to(own) or _is_blob(real):
        return path
    cause = f"a link must stay in its directory or lead to `models--*/blobs`, got {real}"
    raise CheckpointError(path, cause, next_step or "Copy the file there if you trust it.")


def _is_blob(path: Path) -> bool:
    """Whether this is a file of a Hugging Face cache, by the digest that is its name."""
    store = path.parent
    if not _DIGEST.fullmatch(path.name):
        return False
    if store.name == "blobs":
        return store.parent.name.startswith("models--")
    return store.name == path.name[:2] and store.parent.name == "blobs"
