"""Which matrices of some fits are selected: facets, what they leave, and why nothing is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.explorer.labels import FACETS, LAYERS, STEP
from weibnb.fits.schema import DIMS, VARIABLES, gaussian_anchor
from weibnb.messages import printable, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    #: For every matrix, whether it passes.
    Mask = NDArray[np.bool_]

#: Labels along `DIMS`; layers and steps of published tables may be words.
Cell = tuple[Any, Any, Any, Any]
# Coordinates that describe the layout of a file, of the counts or of one tensor.
_NO_FACETS = {*DIMS, *VARIABLES, "expert", "quantile"}


def key_of(cell: Iterable[Any]) -> tuple[str, ...]:
    """Write a cell's labels as the charts and the page do."""
    return tuple(printable(label) for label in cell)


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to sort the matrices."""

    title: str
    dim: str  # that it describes; empty if it differs from cell to cell
    values: dict[str, Any]  # by their text, in the order of the fits
    codes: NDArray[np.intp]  # which of the values each matrix has

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text."""
        return tuple(self.values)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is selected."""

    kept: Mapping[str, tuple[str, ...]]  # labels by facet; a facet that is not named keeps all
    layers: tuple[int, int]  # first and last
    step: int | None = None  # the one step, or all


@dataclass(frozen=True, slots=True)
class Cells:
    """Every matrix that is there, and the facets that sort them."""

    places: NDArray[np.intp]  # (matrices, 4): of each along `DIMS`
    labels: dict[str, NDArray[Any]]  # of each dim
    facets: dict[str, Facet]  # by the name of the coordinate

    @classmethod
    def of(cls, fits: xr.Dataset) -> Cells:
        """List the matrices of fits that have all dims."""
        words = fits["status"].values
        if "expert" in fits["status"].dims:  # the first expert that is there speaks for all
            first = (fits["status"] != "absent").argmax("expert")
            words = fits["status"].isel(expert=first).values
        there = words != "absent"
        at = np.argwhere(there)
        return cls(at, {dim: fits[dim].values for dim in DIMS}, _facets(fits, at, words[there]))

    @property
    def layers(self) -> NDArray[Any]:
        """Layer of each matrix."""
        return self.labels["layer"][self.places[:, 1]]

    @property
    def layer_range(self) -> tuple[int, int]:
        """First and last layer that has a matrix; (0, 0) where layers have no numbers."""
        layers = self.layers
        if not layers.size or layers.dtype.kind not in "iu":
            return (0, 0)
        return int(layers.min()), int(layers.max())

    @property
    def steps(self) -> list[int]:
        """Steps that have a matrix, ascending; none where steps have no numbers."""
        there = np.bincount(self.places[:, 3], minlength=len(self.labels["step"])) > 0
        steps = self.labels["step"][there]
        found: list[int] = np.sort(steps).tolist() if steps.dtype.kind in "iu" else []
        return found

    @property
    def checkpoints(self) -> list[tuple[str, Any]]:
        """Every pair of model and step that has a matrix."""
        models, steps = self.labels["model"], self.labels["step"]
        there = np.zeros((len(models), len(steps)), bool)
        there[self.places[:, 0], self.places[:, 3]] = True
        names, numbers = [str(name) for name in models], steps.tolist()
        return [(names[model], numbers[step]) for model, step in np.argwhere(there).tolist()]

    def of_checkpoints(self, pairs: Iterable[Sequence[Any]]) -> Mask:
        """Tell which matrices belong to one of several pairs of model and step."""
        models = self.labels["model"][self.places[:, 0]]
        steps = self.labels["step"][self.places[:, 3]]
        found = np.zeros(len(self.places), bool)
        for model, step in pairs:
            found |= (models == model) & (steps == step)
        return found

    def in_both(self, pairs: Sequence[Sequence[Any]]) -> Mask:
        """Tell which matrices belong to one of two pairs, and have their like in the other."""
        first, second = (self.of_checkpoints([pair]) for pair in pairs)
        like = self.places[:, 1] * len(self.labels["component"]) + self.places[:, 2]
        return (first | second) & np.isin(like, np.intersect1d(like[first], like[second]))

    def cell(self, number: int) -> Cell:
        """Labels of one matrix."""
        model, layer, component, step = (
            self.labels[dim][i].item() for dim, i in zip(DIMS, self.places[number], strict=True)
        )
        return model, layer, component, step

    def find(self, selected: Sequence[Sequence[Any]], kept: Mask) -> list[Cell]:
        """Find selected matrices among those kept, by labels or as the page writes these.

        Each is given once. If none is there, and the last names a layer between two, as a median
        over layers does, it is the matrix of the nearest layer.
        """
        shape = [len(self.labels[dim]) for dim in DIMS]
        flat = np.ravel_multi_index(tuple(self.places[kept].T), shape)
        there = dict(zip(flat.tolist(), np.flatnonzero(kept).tolist(), strict=True))
        numbers = [
            {printable(label): i for i, label in enumerate(self.labels[dim].tolist())}
            for dim in DIMS
        ]
        found: dict[int, None] = {}
        for cell in selected:
            at = [known.get(word, -1) for known, word in zip(numbers, key_of(cell), strict=True)]
            number = there.get(int(np.ravel_multi_index(at, shape))) if min(at) >= 0 else None
            if number is not None:
                found[number] = None
        if found or not selected:
            return [self.cell(number) for number in found]
        model, layer, component, step = selected[-1]
        rest = zip([numbers[0], *numbers[2:]], key_of((model, component, step)), strict=True)
        at = [known.get(word, -1) for known, word in rest]
        like = np.flatnonzero(kept & (self.places[:, [0, 2, 3]] == at).all(1))
        layers = self.layers
        if not like.size or layers.dtype.kind not in "iu" or not isinstance(layer, int | float):
            return []
        return [self.cell(int(like[np.abs(layers[like] - layer).argmin()]))]

    def check(self, kept: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """Check filters, bring them into the order of the fits, drop those that keep everything."""
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

    def masks(self, choice: Choice) -> dict[str, Mask]:
        """Tell which matrices pass each filter; without those that let everything pass."""
        found: dict[str, Mask] = {}
        for name, labels in choice.kept.items():
            passes = np.array([label in labels for label in self.facets[name].values])
            found[name] = passes[self.facets[name].codes]
        if choice.layers != self.layer_range:
            found["layers"] = _between(self.layers, choice.layers)
        if choice.step is not None and len(self.steps) > 1:
            found["step"] = self.labels["step"][self.places[:, 3]] == choice.step
        return found

    def passing(self, masks: Mapping[str, Mask], *, without: str = "") -> Mask:
        """Tell which matrices pass all filters, or all but one."""
        kept = np.ones(len(self.places), bool)
        for name, mask in masks.items():
            if name != without:
                kept &= mask
        return kept

    def counts(self, masks: Mapping[str, Mask]) -> dict[str, list[int]]:
        """Count, for every label of every facet, the matrices that the other filters leave."""
        return {
            name: np.bincount(
                facet.codes[self.passing(masks, without=name)], minlength=len(facet.values)
            ).tolist()
            for name, facet in self.facets.items()
        }

    def why_empty(self, masks: Mapping[str, Mask]) -> list[str]:
        """Say which filters exclude everything; nothing if something is left."""
        if self.passing(masks).any():
            return []
        if not len(self.places):
            return ["These fits hold no matrix."]
        titles = {name: facet.title for name, facet in self.facets.items()}
        titles |= {"layers": LAYERS, "step": STEP}
        alone = [titles[name] for name, mask in masks.items() if not mask.any()]
        if alone:
            return [f"{title} excludes every matrix." for title in alone]
        lines = [f"No matrix passes {', '.join(titles[name] for name in masks)} together."]
        for name in masks:
            left = int(self.passing(masks, without=name).sum())
            if left:
                lines.append(f"Without the filter {titles[name]}: {left:,}.")
        return lines

    def query(self, choice: Choice) -> dict[str, Any]:
        """Indexers that select the same, as far as whole labels go; only dims that are cut."""
        passes = {dim: np.ones(len(labels), bool) for dim, labels in self.labels.items()}
        for name, labels in choice.kept.items():
            facet = self.facets[name]
            if not facet.dim:
                continue
            codes = np.full(len(self.labels[facet.dim]), -1)
            codes[self.places[:, DIMS.index(facet.dim)]] = facet.codes
            wanted = [i for i, label in enumerate(facet.values) if label in labels]
            passes[facet.dim] &= np.isin(codes, wanted)
        found: dict[str, Any] = {
            dim: self.labels[dim][kept].tolist() for dim, kept in passes.items() if not kept.all()
        }
        layers = self.labels["layer"]
        if choice.layers != self.layer_range and layers.size > 1:
            ascending = bool((np.diff(layers) > 0).all())
            inside = layers[_between(layers, choice.layers)].tolist()
            found["layer"] = slice(*choice.layers) if ascending else inside
        if choice.step is not None and len(self.labels["step"]) > 1:
            found["step"] = [choice.step]
        return {dim: found[dim] for dim in DIMS if dim in found}


def standing_out(cells: Cells, fits: xr.Dataset, kept: Mask, step: int) -> Cell:
    """Give the kept matrix that is surely farthest from a Gaussian, at a step if it has any.

    Its distance is that of k from the anchor less two standard errors.
    """
    far = abs(fits["k"] - gaussian_anchor(fits).k)
    far = far - 2 * fits["k_se"].fillna(0) if "k_se" in fits else far
    far = far.median("expert") if "expert" in far.dims else far
    distance = far.values[tuple(cells.places.T)]
    fitted = np.isfinite(distance) & kept
    now = fitted & (cells.labels["step"][cells.places[:, 3]] == step)
    best = next(mask for mask in (now, fitted, kept) if mask.any())
    return cells.cell(int(np.where(best, np.nan_to_num(distance, nan=-9), -np.inf).argmax()))


def _between(layers: NDArray[Any], ends: tuple[int, int]) -> Mask:
    return np.asarray((layers >= ends[0]) & (layers <= ends[1]))


def _facets(fits: xr.Dataset, at: NDArray[np.intp], statuses: NDArray[Any]) -> dict[str, Facet]:
    """Collect the facets in the order in which they are shown."""
    described = {"model": fits["model"], "component": fits["component"]} | {
        str(name): array
        for name, array in fits.coords.items()
        if name not in _NO_FACETS and array.ndim == 1 and array.dims[0] in DIMS
    }
    found = {}
    for name, array in described.items():
        dim = str(array.dims[0])
        found[name] = _facet(name, dim, array.values, at[:, DIMS.index(dim)])
    found["status"] = _facet("status", "", statuses, np.arange(len(at)))
    order = [*FACETS, *(name for name in found if name not in FACETS)]
    # with one value there is nothing to choose
    return {name: found[name] for name in order if name in found and len(found[name].values) > 1}


def _facet(name: str, dim: str, values: NDArray[Any], of: NDArray[np.intp]) -> Facet:
    # every matrix has a status: few of many first, then their text
    codes, different = pd.factorize(values, use_na_sentinel=False)
    texts = np.array([str(value) for value in different.tolist()], object)
    same, labels = pd.factorize(texts)
    first = different[np.unique(same, return_index=True)[1]].tolist()
    codes = same[codes]
    title = FACETS.get(name, name.replace("_", " ").capitalize())
    return Facet(title, dim, dict(zip(labels, first, strict=True)), codes[of])
