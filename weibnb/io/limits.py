"""How much a checkpoint may ask for before anything is built from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    import os

#: Most tensors of a checkpoint, and most bytes of one header, unless told otherwise.
MAX_TENSORS, MAX_HEADER = 500_000, 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the headers of a checkpoint may hold.

    Attributes
    ----------
    max_tensors : int
        Most tensors of one checkpoint; of a stack of experts, each matrix counts.
    max_header : int
        Most bytes of one header, and a quarter of those of an index, which lists the tensors of
        all files. A tensor takes some 110 bytes; the format allows a header 100,000,000.

    Raises
    ------
    TypeError, ValueError
        If one is not an integer, or less than 1.

    Examples
    --------
    >>> Limits(max_tensors=1_000_000).max_header
    10000000
    """

    max_tensors: int = MAX_TENSORS
    max_header: int = MAX_HEADER

    @property
    def max_index(self) -> int:
        """Most bytes of an index."""
        return 4 * self.max_header

    def check_number(
        self, path: str | os.PathLike[str], number: int, what: str = "tensors"
    ) -> None:
        """Raise a `CheckpointError` if there are too many tensors.

        Raises
        ------
        CheckpointError
            With the number that would do.
        """
        if number > self.max_tensors:
            cause = f"it lists {number:,} {what}, at most {self.max_tensors:,} are taken"
            raise CheckpointError(path, cause, raise_it("max_tensors", number))

    def __post_init__(self) -> None:
        for name in ("max_tensors", "max_header"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
                raise TypeError(f"`{name}` must be an integer, got {number!r}.")
            if number < 1:
                raise ValueError(f"`{name}` must be at least 1, got {number}.")


DEFAULTS = Limits()
#: For what was scanned before: whatever the format allows.
OF_THE_FORMAT = Limits(max_tensors=10_000_000, max_header=100_000_000)


def raise_it(name: str, number: int) -> str:
    """Say how to raise a limit to what a checkpoint asks for."""
    option = f"--{name.replace('_', '-')}"
    return f"If you trust it, pass `{name}={number}` (in a shell `{option} {number}`)."
