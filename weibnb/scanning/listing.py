"""The checkpoints of a scan, one after the other, on a grid in proportion to their matrices."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weibnb.fits.schema import NO_EXPERT
from weibnb.io.adapters import AdapterWarning
from weibnb.io.files import CheckpointError
from weibnb.io.limits import DEFAULTS
from weibnb.io.names import names_from, names_to_copy
from weibnb.messages import shortened
from weibnb.scanning.matrices import list_matrices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr

    from weibnb.io.limits import Limits
    from weibnb.io.names import Names
    from weibnb.io.sources import Planned
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.weight_tensors import Fused

#: Cells that a Dataset may always have, and more for each matrix. A cell takes some 350 bytes.
ALWAYS_ALLOWED, ALLOWED_PER_MATRIX = 1 << 18, 32


def list_checkpoints(
    plan: Iterable[Planned], limits: Limits = DEFAULTS, *, fused: Fused = "keep"
) -> Iterator[Listing]:
    """List the weight matrices of checkpoints, as `list_matrices` does.

    A Dataset has a cell for every model, step, layer, component and expert. A checkpoint that
    would make it far larger than its matrices, such as one whose every layer has an expert of
    another number, has an error in place of its tensors.
    """
    extent = _Extent()
    for planned in plan:
        listing = list_matrices(planned, limits, fused=fused)
        wider = extent.with_listing(listing)
        if wider.cells > ALWAYS_ALLOWED + ALLOWED_PER_MATRIX * wider.matrices:
            if listing.checkpoint is not None:
                listing.checkpoint.close()
            error = CheckpointError(listing.source.path, *wider.too_wide(extent))
            source = replace(listing.source, problem=str(error), not_fitted=[])
            listing = replace(listing, source=source, checkpoint=None, tensors=[], error=error)
            wider = extent.with_listing(listing)
        extent = wider
        yield listing


def check_names_used(names: Names, listings: Sequence[Listing]) -> None:
    """Raise ValueError if a pattern of a user fits no matrix of checkpoints that were read."""
    opened = [one.checkpoint for one in listings if one.checkpoint is not None]
    if opened:
        names.check_used((i.name, i.shape) for one in opened for i in one.tensors.values())


def warn_unmerged(listings: Sequence[Listing], *, stacklevel: int) -> None:
    """Tell of which checkpoints the base weights are shown, without their adapter."""
    for one in listings:
        if one.checkpoint is not None and one.checkpoint.unmerged:
            text = f"{shortened(one.source.model)}: {one.checkpoint.unmerged}"
            warnings.warn(text, AdapterWarning, stacklevel=stacklevel)


def nothing_found(listings: Sequence[Listing]) -> CheckpointError:
    """Make the error for a scan without one matrix: the first cause, or what there is instead."""
    for listing in listings:
        if listing.error is not None:
            return listing.error
    source = listings[0].source
    entries = [entry for entry in source.not_fitted if entry["dtype"]]
    names = [f"{_named(entry['tensor'])} ({entry['reason']})" for entry in entries[:3]]
    to_copy = names_to_copy(entries)
    return CheckpointError(
        source.path,
        "no tensor in it is a weight matrix of a known layer",
        f"It holds {', '.join(names) if names else 'no tensors'}."
        + (f" Name them yourself: weibnb.scan(..., names={to_copy})." if to_copy else ""),
    )


def _named(tensor: str) -> str:
    """Name a tensor in a message, also one without a name."""
    return shortened(tensor, 200) or "a tensor without a name"


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far the grid of the checkpoints so far reaches."""

    models: frozenset[str] = frozenset()
    steps: frozenset[int] = frozenset()
    layers: frozenset[int] = frozenset()
    components: frozenset[str] = frozenset()
    experts: frozenset[int] = field(default=frozenset({NO_EXPERT}))
    matrices: int = 0

    @property
    def cells(self) -> int:
        """Number of cells of the grid."""
        places = len(self.models) * len(self.steps) * len(self.layers)
        return places * len(self.components) * len(self.experts)

    def with_listing(self, listing: Listing) -> _Extent:
        """Take in one more checkpoint."""
        roles = [tensor.role for tensor in listing.tensors]
        experts = {number for tensor in listing.tensors for number in tensor.experts}
        return _Extent(
            models=self.models | {listing.source.model},
            steps=self.steps | {listing.source.step},
            layers=self.layers | {role.layer for role in roles},
            components=self.components | {role.component for role in roles},
            experts=self.experts | experts,
            matrices=self.matrices + sum(len(tensor.experts) for tensor in listing.tensors),
        )

    def too_wide(self, before: _Extent) -> tuple[str, str]:
        """Say why this grid is not laid out, and what to do."""
        sides = ", ".join(
            f"{len(getattr(self, name)):,} {name}"
            for name in ("models", "steps", "layers", "components", "experts")
        )
        cause = f"{self.matrices:,} matrices would be spread over {self.cells:,} cells ({sides})"
        alone = "Do not trust this checkpoint, or scan parts of it."
        return cause, "Scan it apart from the others." if before.matrices else alone


def given_names(fits: xr.Dataset) -> Names:
    """Give the names of the user's own that fits were made with."""
    try:
        return names_from(json.loads(str(fits.attrs.get("names", "{}"))))
    except (ValueError, TypeError) as err:
        raise ValueError(f"`fits.attrs['names']` must be what weibnb.scan wrote: {err}") from err
