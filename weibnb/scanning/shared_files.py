"""Matrices of several checkpoints that are the same bytes: counted once, for all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.fits.layout import Source
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.weight_tensors import WeightTensor

    #: What else has the matrix of a cell of a checkpoint: by model, step and cell.
    Shared = dict[tuple[str, int, Cell], list[Source]]


def share(listings: Sequence[Listing], still_open: Sequence[set[Cell]]) -> Shared:
    """Take the cells out of later checkpoints whose bytes an earlier one holds in the same place.

    What is the same is told by hashes of whole files, where they are known without reading: of
    branches on the Hub, and of what its cache holds. Gives who else is to have each cell.
    """
    first: dict[tuple[str, WeightTensor, int], tuple[str, int, Cell]] = {}
    shared: Shared = defaultdict(list)
    for listing, cells in zip(listings, still_open, strict=True):
        for tensor in listing.tensors:
            at = listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None
            if at is None or not at[0].blob:
                continue
            for expert in tensor.experts:
                cell = tensor.role.layer, tensor.role.component, expert
                if cell not in cells:
                    continue
                place = listing.source.model, listing.source.step, cell
                owner = first.setdefault((at[0].blob, tensor, expert), place)
                if owner != place:
                    shared[owner].append(listing.source)
                    cells.discard(cell)
    return shared
