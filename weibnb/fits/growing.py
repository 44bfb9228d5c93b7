"""Fits to which checkpoints are added: an addition costs what is new, not what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from weibnb.fits.schema import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# What every step has room for in the first of them, so that not every addition makes new room.
_ROOM = 64


class Growing:
    """Fits, and those of later steps behind them.

    Parameters
    ----------
    first : xarray.Dataset
        Fits as a store is opened; what lies on disk stays there until it is asked for.

    Attributes
    ----------
    fits : xarray.Dataset
        All of them. One that was given out stays as it is, and shares no values with another.
    """

    def __init__(self, first: xr.Dataset) -> None:
        self._first = first
        self._segments = {
            str(name): _Segments(variable)
            for name, variable in first.variables.items()
            if name != "step" and "step" in variable.dims
        }
        self.fits = self._whole(first["step"].values, first.attrs)

    def add(self, part: xr.Dataset) -> bool:
        """Put later steps behind what is there.

        Gives False, and does nothing, where they do not fit there: they are not later, or have
        other models, layers, components or variables.
        """
        if not self._fits_behind(part):
            return False
        for name, segments in self._segments.items():
            segments.add(part.variables[name])
        steps = np.concatenate([self.fits["step"].values, part["step"].values])
        self.fits = self._whole(steps, part.attrs)
        return True

    def _whole(self, steps: NDArray[np.int64], attrs: Mapping[Any, Any]) -> xr.Dataset:
        """Put together all that there is."""
        variables: dict[Any, Any] = {"step": ("step", steps)}
        for name, variable in self._first.variables.items():
            if name != "step":
                own = self._segments.get(str(name))
                variables[name] = variable.copy() if own is None else own.variable()
        coords = {name: variables.pop(name) for name in self._first.coords}
        return xr.Dataset(variables, coords, attrs)

    def _fits_behind(self, part: xr.Dataset) -> bool:
        """Whether a part differs in its steps alone, and these are later."""
        whole = self.fits
        if not part.sizes["step"] or not whole.sizes["step"]:
            return False
        if set(part.variables) != set(whole.variables) or part["step"][0] <= whole["step"][-1]:
            return False
        sizes = {dim: size for dim, size in whole.sizes.items() if dim != "step"}
        if sizes != {dim: size for dim, size in part.sizes.items() if dim != "step"}:
            return False
        return all(
            variable.dims == whole.variables[name].dims
            and ("step" in variable.dims or _are_equal(variable, whole.variables[name]))
            for name, variable in part.variables.items()
        )


def _are_equal(one: xr.Variable, other: xr.Variable) -> bool:
    return bool(one.equals(other))  # type: ignore[no-untyped-call]


class _Segments:
    """What one variable holds of the first steps, and of those behind them."""

    def __init__(self, first: xr.Variable) -> None:
        self._axis = first.dims.index("step")
        self._is_counts = first.attrs.get("long_name") == VARIABLES["counts"][0]
        self._segments = [first]
        self._room: NDArray[Any] | None = None
        self._used = 0

    def add(self, variable: xr.Variable) -> None:
        """Take the values of further steps; counts stay where they are."""
        if not self._is_counts:
            values = self._put(variable.values)
            variable = xr.Variable(variable.dims, values, variable.attrs, fastpath=True)
            del self._segments[1:]
        self._segments.append(variable)

    def variable(self) -> xr.Variable:
        """Give the variable of all steps."""
        last = self._segments[-1]
        array: Any = indexing.LazilyIndexedArray(_Joined(self._segments, self._axis))
        if not self._is_counts:
            array = indexing.MemoryCachedArray(array)  # type: ignore[no-untyped-call]
        return xr.Variable(last.dims, array, last.attrs)

    def _put(self, values: NDArray[Any]) -> NDArray[Any]:
        """Put values behind those of earlier additions; give all of them.

        There is room for as many again as there are: an addition copies what it brings.
        """
        new = np.moveaxis(values, self._axis, 0)
        end = self._used + len(new)
        if self._room is None or end > len(self._room):
            room = np.empty((max(2 * end, _ROOM), *new.shape[1:]), values.dtype)
            if self._room is not None:
                room[: self._used] = self._room[: self._used]
            self._room = room
        self._room[self._used : end] = new
        self._used = end
        return np.moveaxis(self._room[:end], 0, self._axis)


class _Joined(BackendArray):
    """Variables one behind the other; of each is read what is asked for."""

    def __init__(self, segments: Sequence[xr.Variable], axis: int) -> None:
        self._segments, self._axis = tuple(segments), axis
        sizes = [segment.shape[axis] for segment in self._segments]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        shape = list(segments[0].shape)
        shape[axis] = int(self._starts[-1])
        self.shape = tuple(shape)
        self.dtype = segments[0].dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read what an outer index selects."""
        wanted = np.arange(self.shape[self._axis])[key[self._axis]]
        places = np.atleast_1d(wanted)
        owners = np.searchsorted(self._starts, places, side="right") - 1
        parts = [self._part(number, places[owners == number], key) for number in np.unique(owners)]
        axis = sum(np.ndim(one) > 0 or isinstance(one, slice) for one in key[: self._axis])
        if not parts:
            return self._part(0, places, key)
        found = np.concatenate(parts, axis)  # a copy, also of one part
        order = np.argsort(np.argsort(owners, kind="stable"))
        if len(parts) > 1 and (np.diff(order) != 1).any():
            found = found.take(order, axis)
        return found if np.ndim(wanted) else found.take(0, axis)

    def _part(self, number: int, places: NDArray[np.intp], key: tuple[Any, ...]) -> NDArray[Any]:
        """Read places of one segment, the other dims by a key."""
        segment = self._segments[number]
        rest = [*key[: self._axis], *key[self._axis + 1 :]]
        sizes = [*segment.shape[: self._axis], *segment.shape[self._axis + 1 :]]
        whole = np.array_equal(places - self._starts[number], np.arange(segment.shape[self._axis]))
        if whole and all(_is_full(one, size) for one, size in zip(rest, sizes, strict=True)):
            return np.asarray(segment.values)  # which is kept, for the next addition
        own = (*key[: self._axis], places - self._starts[number], *key[self._axis + 1 :])
        return np.asarray(segment[own].values)


def _is_full(key: Any, size: int) -> bool:
    """Whether a key takes all of a dim."""
    return isinstance(key, slice) and key.indices(size) == (0, size, 1)
