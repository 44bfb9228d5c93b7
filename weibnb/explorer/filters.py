"""Which matrices of some fits are selected: facets, what they leave, and why nothing is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.schema import DIMS, VARIABLES
from weibnb.messages import printable, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

#: Labels along `DIMS`; layers and steps of published tables may be words.
Cell = tuple[Any, Any, Any, Any]
#: Coordinates that describe the layout of a file, of the counts or of one tensor.
_NO_FACETS = {*DIMS, *VARIABLES, "expert", "quantile", "bin", "magnitude"}
#: Facets, in the order in which they are shown, with their titles.
_TITLES = {
    "model": "Models",
    "tower": "Towers",
    "weight_class": "Classes",
    "component": "Components",
    "status": "Status",
}


def key_of(cell: Iterable[Any]) -> tuple[str, ...]:
    """Write a cell's labels as the charts and the page do."""
    return tuple(printable(label) for label in cell)


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to sort the matrices.

    Attributes
    ----------
    name, title : str
        The coordinate, and what people read.
    dim : str
        The dim that it describes; empty if it differs from cell to cell.
    labels : tuple of str
        Its values as text, in the order of the fits.
    values : tuple
        The values.
    codes : ndarray of int
        Which of them each matrix has.
    """

    name: str
    title: str
    dim: str
    labels: tuple[str, ...]
    values: tuple[Any, ...]
    codes: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is selected: small, frozen, hashable.

    Attributes
    ----------
    kept : tuple
        Pairs of a facet's name and the labels that are kept; a facet that is not named keeps all.
    layers : tuple of int
        First and last layer.
    """

    kept: tuple[tuple[str, tuple[str, ...]], ...]
    layers: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cells:
    """Every matrix that is there, and the facets that sort them.

    Attributes
    ----------
    at : ndarray of int, shape (matrices, 4)
        Place of each along `DIMS`.
    labels : dict of ndarray
        Labels of each dim.
    facets : dict of Facet
        By name.
    """

    at: NDArray[np.intp]
    labels: dict[str, NDArray[Any]]
    facets: dict[str, Facet] = field(default_factory=dict)

    @classmethod
    def of(cls, fits: xr.Dataset) -> Cells:
        """Sort the matrices of fits that have all dims and no counts.

        Parameters
        ----------
        fits : xarray.Dataset
            Such fits.

        Returns
        -------
        Cells
            Theirs.
        """
        status = fits["status"]
        if "expert" in status.dims:
            there = (status != "absent").any("expert").values
            first = (status != "absent").argmax("expert")
            words = status.isel(expert=first).values
        else:
            words = status.values
            there = words != "absent"
        at = np.argwhere(there)
        cells = cls(at, {dim: fits[dim].values for dim in DIMS})
        described = {name: fits[name] for name in fits.coords if name not in _NO_FACETS}
        known = {"model": fits["model"], "component": fits["component"]} | {
            str(name): array
            for name, array in described.items()
            if array.ndim == 1 and array.dims[0] in DIMS
        }
        for name, array in known.items():
            dim = str(array.dims[0])
            cells._add(name, dim, array.values, at[:, DIMS.index(dim)])
        cells._add("status", "", words[there], np.arange(len(at)))
        order = [*_TITLES, *(name for name in cells.facets if name not in _TITLES)]
        ordered = {name: cells.facets[name] for name in order if name in cells.facets}
        return cls(at, cells.labels, ordered)

    def _add(self, name: str, dim: str, values: NDArray[Any], of: NDArray[np.intp]) -> None:
        """Add a facet if there is something to choose by it."""
        listed = values.tolist()
        words = [str(value) for value in listed]
        labels = tuple(dict.fromkeys(words))
        if len(labels) < 2:
            return
        place = {label: i for i, label in enumerate(labels)}
        codes = np.array([place[word] for word in words], np.intp)[of]
        first = dict(zip(reversed(words), reversed(listed), strict=True))
        title = _TITLES.get(name, name.replace("_", " ").capitalize())
        values_ = tuple(first[label] for label in labels)
        self.facets[name] = Facet(name, title, dim, labels, values_, codes)

    def cell(self, number: int) -> Cell:
        """Labels of one matrix."""
        at = self.at[number]
        model, layer, component, step = (
            self.labels[dim][i].item() for dim, i in zip(DIMS, at, strict=True)
        )
        return model, layer, component, step

    def find(self, selected: Sequence[Sequence[Any]], kept: NDArray[np.bool_]) -> list[Cell]:
        """Find selected matrices, by their labels or as the page writes these.

        Parameters
        ----------
        selected : sequence
            Labels along `DIMS` of each.
        kept : ndarray of bool
            The matrices that may be found.

        Returns
        -------
        list of tuple
            Those that are there, once each. If none is, and the last names a layer between two,
            as a median over layers does, the matrix of the nearest layer.
        """
        shape = [len(self.labels[dim]) for dim in DIMS]
        flat = np.ravel_multi_index(tuple(self.at[kept].T), shape)
        there = dict(zip(flat.tolist(), np.flatnonzero(kept).tolist(), strict=True))
        places = [{printable(label): i for i, label in enumerate(self.labels[dim].tolist())}
                  for dim in DIMS]  # fmt: skip
        found: dict[int, None] = {}
        for cell in selected:
            at = [known.get(word, -1) for known, word in zip(places, key_of(cell), strict=True)]
            number = there.get(int(np.ravel_multi_index(at, shape))) if min(at) >= 0 else None
            if number is not None:
                found[number] = None
        if found or not selected:
            return [self.cell(number) for number in found]
        model, layer, component, step = selected[-1]
        rest = zip([places[0], *places[2:]], key_of((model, component, step)), strict=True)
        at = [known.get(word, -1) for known, word in rest]
        like = np.flatnonzero(kept & (self.at[:, [0, 2, 3]] == at).all(1))
        layers = self.labels["layer"]
        if not like.size or layers.dtype.kind not in "iu" or not isinstance(layer, int | float):
            return []
        distance = np.abs(layers[self.at[like, 1]] - layer)
        return [self.cell(int(like[distance.argmin()]))]

    @property
    def layer_range(self) -> tuple[int, int]:
        """First and last layer that has a matrix; (0, 0) where layers have no numbers."""
        layers = self.labels["layer"][self.at[:, 1]]
        if not layers.size or layers.dtype.kind not in "iu":
            return (0, 0)
        return int(layers.min()), int(layers.max())

    @property
    def steps(self) -> list[int]:
        """Steps that have a matrix, ascending; none where steps have no numbers."""
        steps = self.labels["step"][np.unique(self.at[:, 3])]
        found: list[int] = np.sort(steps).tolist() if steps.dtype.kind in "iu" else []
        return found

    def check(self, kept: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """Bring filters into the order of the fits, and leave out those that keep everything.

        Parameters
        ----------
        kept : Mapping
            Labels that are kept, by facet.

        Returns
        -------
        dict
            The same as tuples.

        Raises
        ------
        ValueError
            If a facet or a label is unknown.
        """
        found = {}
        for name, labels in kept.items():
            if name not in self.facets:
                raise unknown_name("filters", name, self.facets)
            wanted = [labels] if isinstance(labels, str) else [str(label) for label in labels]
            known = self.facets[name].labels
            for label in wanted:
                if label not in known:
                    raise unknown_name(f"filters[{name!r}]", label, known)
            if set(wanted) != set(known):
                found[name] = tuple(label for label in known if label in wanted)
        return found

    def masks(self, choice: Choice, step: int | None) -> dict[str, NDArray[np.bool_]]:
        """Tell which matrices pass each filter.

        Parameters
        ----------
        choice : Choice
            What is selected.
        step : int or None
            The one step, or all.

        Returns
        -------
        dict of ndarray of bool
            By filter; without those that let everything pass.
        """
        found: dict[str, NDArray[np.bool_]] = {}
        for name, labels in choice.kept:
            facet = self.facets[name]
            passes = np.array([label in labels for label in facet.labels])
            found[name] = passes[facet.codes]
        layers = self.labels["layer"][self.at[:, 1]]
        if choice.layers != self.layer_range:
            found["layers"] = (layers >= choice.layers[0]) & (layers <= choice.layers[1])
        if step is not None and len(self.steps) > 1:
            found["step"] = self.labels["step"][self.at[:, 3]] == step
        return found

    def together(
        self, masks: Mapping[str, NDArray[np.bool_]], *, less: str = ""
    ) -> NDArray[np.bool_]:
        """Matrices that pass all filters, or all but one.

        Parameters
        ----------
        masks : Mapping
            From `masks`.
        less : str
            The filter that is lifted.

        Returns
        -------
        ndarray of bool
            A value a matrix.
        """
        kept = np.ones(len(self.at), bool)
        for name, mask in masks.items():
            if name != less:
                kept &= mask
        return kept

    def counts(self, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, list[int]]:
        """Count, for every label, the matrices that the other filters leave.

        Parameters
        ----------
        masks : Mapping
            From `masks`.

        Returns
        -------
        dict of list of int
            By facet, in the order of its labels.
        """
        return {
            name: np.bincount(
                facet.codes[self.together(masks, less=name)], minlength=len(facet.labels)
            ).tolist()
            for name, facet in self.facets.items()
        }

    def why_empty(self, masks: Mapping[str, NDArray[np.bool_]]) -> list[str]:
        """Say which filters exclude everything.

        Parameters
        ----------
        masks : Mapping
            From `masks`.

        Returns
        -------
        list of str
            Lines; none if something is left.
        """
        if self.together(masks).any():
            return []
        if not len(self.at):
            return ["These fits hold no matrix."]
        titles = {name: facet.title for name, facet in self.facets.items()}
        titles |= {"layers": "Layers", "step": "Step"}
        alone = [titles[name] for name, mask in masks.items() if not mask.any()]
        if alone:
            return [f"{title} excludes every matrix." for title in alone]
        lines = [f"No matrix passes {', '.join(titles[name] for name in masks)} together."]
        for name in masks:
            left = int(self.together(masks, less=name).sum())
            if left:
                lines.append(f"Without the filter {titles[name]}: {left:,}.")
        return lines

    def query(self, choice: Choice, step: int | None) -> dict[str, Any]:
        """Indexers that select the same, as far as whole labels go.

        Parameters
        ----------
        choice : Choice
            What is selected.
        step : int or None
            The one step, or all.

        Returns
        -------
        dict
            For ``fits.sel(**query)``; without dims that keep everything.
        """
        passes = {dim: np.ones(len(labels), bool) for dim, labels in self.labels.items()}
        for name, labels in choice.kept:
            facet = self.facets[name]
            if not facet.dim:
                continue
            axis = DIMS.index(facet.dim)
            codes = np.full(len(self.labels[facet.dim]), -1)
            codes[self.at[:, axis]] = facet.codes
            wanted = [i for i, label in enumerate(facet.labels) if label in labels]
            passes[facet.dim] &= np.isin(codes, wanted)
        found: dict[str, Any] = {
            dim: self.labels[dim][kept].tolist() for dim, kept in passes.items() if not kept.all()
        }
        layers = self.labels["layer"]
        if choice.layers != self.layer_range and layers.size > 1:
            inside = (layers >= choice.layers[0]) & (layers <= choice.layers[1])
            ascending = bool((np.diff(layers) > 0).all())
            found["layer"] = slice(*choice.layers) if ascending else layers[inside].tolist()
        if step is not None and len(self.labels["step"]) > 1:
            found["step"] = [step]
        return {dim: found[dim] for dim in DIMS if dim in found}
