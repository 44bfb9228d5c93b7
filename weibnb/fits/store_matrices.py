"""The list of matrices of a checkpoint, which a store holds once for all checkpoints alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.inspection import FitsError
from weibnb.fits.schema import escape
from weibnb.fits.store_schema import KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from weibnb.fits.build import Matrix

    Cell = tuple[int, str, int]

_CELL = 3
# Layers, experts and sides of matrices, as the columns of fits hold them.
_SMALLEST, _LARGEST = -1, 2**31 - 1


@dataclass(frozen=True, eq=False)
class Matrices:
    """Matrices in the order of their places.

    Attributes
    ----------
    rows : list of tuple
        `KNOWN` of each.
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)

    @cached_property
    def places(self) -> dict[Cell, int]:
        """Place of each cell."""
        return {row[:_CELL]: at for at, row in enumerate(self.rows)}

    @cached_property
    def text(self) -> str:
        """The list as a store holds it."""
        return json.dumps(self.rows, separators=(",", ":"))

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """`KNOWN`, by name."""
        kinds = [object if kind is str else np.int64 for kind in KNOWN.values()]
        lists = list(zip(*self.rows, strict=True)) or [()] * len(KNOWN)
        return {
            name: np.array(values, kind)
            for name, values, kind in zip(KNOWN, lists, kinds, strict=True)
        }

    def joined(self, matrices: Sequence[Matrix]) -> Matrices:
        """Add matrices that are not in the list yet, behind the others."""
        new = [
            (m.layer, m.component, m.expert, escape(m.parameter), m.dtype, m.rows, m.cols)
            for m in matrices
            if (m.layer, m.component, m.expert) not in self.places
        ]
        return Matrices(self.rows + new) if new else self


def matrices_of(path: Path, text: str) -> Matrices:
    """Read a list of matrices.

    Raises
    ------
    FitsError
        If it is not what `Matrices.text` gives.
    """
    try:
        rows = [tuple(map(_escaped, entry)) for entry in json.loads(text)]
        found = Matrices(rows)
        good = all(map(_is_matrix, rows)) and len(found.places) == len(rows)
    except (ValueError, TypeError, RecursionError) as err:
        raise FitsError(path, f"a JSON list of matrices is expected ({err})", "shared") from err
    if not good:
        raise FitsError(path, "a JSON list of different matrices is expected", "shared")
    return found


def _is_matrix(row: tuple[Any, ...]) -> bool:
    """Whether a list of JSON holds `KNOWN` of a matrix."""
    return [*map(type, row)] == [*KNOWN.values()] and all(
        _SMALLEST <= value <= _LARGEST for value in row if isinstance(value, int)
    )


def _escaped(value: Any) -> Any:
    """Escape a text."""
    return escape(value) if isinstance(value, str) else value
