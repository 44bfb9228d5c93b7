"""The weight matrices of a live model, which are named once and looked up at every record."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.sources import Planned
from weibnb.messages import counted, printable, shortened
from weibnb.scanning.listing import check_names_used, nothing_found, warn_unmerged
from weibnb.scanning.matrices import list_matrices

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from weibnb.io.names import Names
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.weight_tensors import Fused

    Shapes = dict[Cell, tuple[int, int]]

# Share of the matrices by which a model is known again; some may have been added or resized.
_ENOUGH = 0.5


class LiveModel:
    """A model that is listed again and again.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    name : str
        Its name in the fits.
    names, fused
        As in `weibnb.scan`.

    Raises
    ------
    TypeError
        If `model` is no module.
    """

    def __init__(self, model: torch.nn.Module, name: str, names: Names, fused: Fused) -> None:
        if not hasattr(model, "named_parameters"):
            raise TypeError(f"`model` must be a torch.nn.Module, got {shortened(repr(model))}.")
        self._model, self.name, self._names, self._fused = model, name, names, fused
        self._parameters: list[tuple[Any, ...]] = []
        self._listing: Listing | None = None
        self._shapes: Shapes = {}

    @property
    def is_sharded(self) -> bool:
        """Whether it is spread over processes, which all must take part in a record."""
        return any(hasattr(one, "device_mesh") for one in self._model.parameters())

    def listing(self, step: int) -> Listing:
        """List the weight matrices; again only if a parameter is another one than before.

        Warns of matrices that have another shape than before.

        Raises
        ------
        CheckpointError
            If there is no weight matrix of a known layer.
        """
        parameters = [
            (name, one, one.shape, one.dtype, one.device)
            for name, one in self._model.named_parameters()
        ]
        if self._listing is None or not _are_the_same(parameters, self._parameters):
            self._listing = self._list(step)
            self._parameters = parameters
        return replace(self._listing, source=replace(self._listing.source, step=step))

    def check_is_in(self, fits: xr.Dataset) -> None:
        """Raise ValueError if fits of one step, from a store, are of quite another model."""
        planned = Planned(self.name, 0, self._model, names=self._names)
        ours = shapes_of(list_matrices(planned, fused=self._fused))
        ours = {(layer, component, -1): shape for (layer, component, _), shape in ours.items()}
        theirs = shapes_in(fits)
        same = len(ours.items() & theirs.items())
        if ours and same < _ENOUGH * max(len(ours), len(theirs)):
            raise ValueError(
                f"`store` must hold this model as {shortened(self.name)!r}, got one of which only "
                f"{same:,} of {len(theirs):,} matrices have a place and shape in this one of "
                f"{len(ours):,}. Take another store, or another name: Recorder(model, name=...)."
            )

    def _list(self, step: int) -> Listing:
        """List the weight matrices, and tell what is odd with them."""
        planned = Planned(self.name, step, self._model, names=self._names)
        listing = list_matrices(planned, fused=self._fused)
        if listing.error is not None:
            raise listing.error
        if self._listing is None:
            check_names_used(self._names, [listing])
            warn_unmerged([listing], stacklevel=5)
        if not listing.tensors:
            raise nothing_found([listing])
        shapes = shapes_of(listing)
        self._tell_of_other_shapes(step, shapes)
        self._shapes = shapes
        return listing

    def _tell_of_other_shapes(self, step: int, shapes: Shapes) -> None:
        """Warn of matrices that have another shape than in the record before."""
        before = self._shapes
        changed = [at for at in shapes if before.get(at, shapes[at]) != shapes[at]]
        if changed:
            layer, component, _ = changed[0]
            (rows, cols), (old_rows, old_cols) = shapes[changed[0]], before[changed[0]]
            has = "has" if len(changed) == 1 else "have"
            warnings.warn(
                f"{counted(len(changed), 'matrix', 'matrices')} of {shortened(self.name)} {has} "
                f"another shape from step {step} on: {printable(component)} of layer {layer} is "
                f"{rows} x {cols}, and was {old_rows} x {old_cols}.",
                stacklevel=6,
            )


def shapes_in(fits: xr.Dataset) -> Shapes:
    """Give rows and columns of every weight matrix of fits of one checkpoint; expert -1 for all.

    The first expert stands for all of a cell.
    """
    fits = fits.isel(model=0, step=0)
    there = fits["n_matrices"].transpose("layer", "component").values > 0
    layers, components = fits["layer"].values.tolist(), fits["component"].values.tolist()
    sides = [fits[name].transpose("layer", "component").values for name in ("rows", "cols")]
    return {
        (layers[i], components[j], -1): (int(sides[0][i, j]), int(sides[1][i, j]))
        for i, j in np.argwhere(there).tolist()
    }


def shapes_of(listing: Listing) -> Shapes:
    """Give rows and columns of every weight matrix of a listing."""
    return {
        (tensor.role.layer, tensor.role.component, expert): tensor.features
        for tensor in listing.tensors
        for expert in tensor.experts
    }


def _are_the_same(now: list[tuple[Any, ...]], before: list[tuple[Any, ...]]) -> bool:
    """Whether these are the same parameters, with the same shapes, at the same place."""
    return len(now) == len(before) and all(
        one[1] is other[1] and (one[0], *one[2:]) == (other[0], *other[2:])
        for one, other in zip(now, before, strict=True)
    )
