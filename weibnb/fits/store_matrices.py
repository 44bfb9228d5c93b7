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
        rows = json.loads(text)
        columns = [*zip(*rows, strict=True)] if rows else [()] * len(KNOWN)
        good = len(columns) == len(KNOWN) and all(map(_is_column, columns, KNOWN.values()))
        found = Matrices([*zip(*map(_escaped, columns), strict=True)] if good else [])
    except (ValueError, TypeError, RecursionError) as err:
        raise FitsError(path, f"a JSON list of matrices is expected ({err})", "shared") from err
    if not good or len(found.places) != len(columns[0]):
        raise FitsError(path, "a JSON list of different matrices is expected", "shared")
    return found


def _is_column(values: tuple[Any, ...], kind: type) -> bool:
    """Whether values of JSON are one of `KNOWN`, of many matrices."""
    if not {*map(type, values)} <= {kind}:
        return False
    return kind is str or not values or _SMALLEST <= min(values) <= max(values) <= _LARGEST


def _escaped(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Escape texts; numbers stay."""
    if not isinstance(values[0] if values else 0, str):
        return values
    known = {text: escape(text) for text in {*values}}
    return tuple(map(known.__getitem__, values))
