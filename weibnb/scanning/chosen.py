"""Some matrices of a source, chosen by their labels, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.formats import as_bits, decode
from weibnb.fits.schema import DIMS, prepare
from weibnb.io.guard import guarded, watch
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.names import names_from
from weibnb.io.sources import resolve_sources
from weibnb.messages import check_choice, did_you_mean, printable
from weibnb.scanning.listing import check_names_used, given_names
from weibnb.scanning.matrices import list_matrices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from weibnb.counting.formats import Bits
    from weibnb.io.mapping import Origin
    from weibnb.io.names import Names
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.weight_tensors import WeightTensor

#: Coordinates of a matrix that is not in a grid.
KEYS = (*DIMS, "expert", "parameter")
# Labels that an error lists.
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """A matrix that was chosen.

    Attributes
    ----------
    place : dict
        Its labels, by `KEYS`.
    shape : tuple of int
        Output and input features.
    status : str
        A word of `weibnb.fitting.status.COUNTED`, or why it has no numbers.
    """

    place: dict[str, Any]
    shape: tuple[int, int]
    status: str
    tensor: WeightTensor | None
    source: Any  # checkpoint that holds it, or the matrix itself

    @property
    def config(self) -> Mapping[str, Any]:
        """What config.json says of the model."""
        return {} if self.tensor is None else self.source.config

    @property
    def is_part(self) -> bool:
        """Whether it is one of the matrices that are fused in a tensor."""
        return self.tensor is not None and self.tensor.part is not None

    def weights(self) -> NDArray[Any]:
        """Read it as float32, or float64 if it is stored so: rows are output features.

        Raises
        ------
        CheckpointError
            If it cannot be read, or its file changed meanwhile.
        """
        stored = self.stored()
        values = decode(stored.bits, stored.dtype, narrow=True)
        check_unchanged(stored.origin)
        return np.ascontiguousarray(values.T) if stored.transposed else values

    def stored(self) -> Stored:
        """Read its bits, in the order of storage.

        Raises
        ------
        CheckpointError
            If it cannot be read.
        """
        if self.tensor is None:
            bits, dtype = as_bits(self.source)
            return Stored(bits.reshape(self.shape), dtype, transposed=False, origin=None)
        info, role = self.tensor.info, self.tensor.role
        bits = self.source.raw(info.name)
        watch(bits)
        matrix = np.asarray(self.tensor.one_expert(bits, self.place["expert"]))
        table = np.ascontiguousarray(matrix).reshape(self.tensor.stored_shape)
        return Stored(table, info.dtype, role.transposed, origin_of(bits))


@dataclass(frozen=True, slots=True)
class Stored:
    """The bits of one matrix: rows and columns as they are stored.

    Attributes
    ----------
    bits : ndarray of unsigned int, shape (rows, columns)
        A view of the file, where the matrix is not a part of another.
    dtype : str
        A key of `weibnb.counting.formats.FORMATS`.
    transposed : bool
        Whether columns are output features.
    origin : Origin or None
        The file, to be checked once the bits were read.
    """

    bits: Bits
    dtype: str
    transposed: bool
    origin: Origin | None


def chosen_matrices(
    source: Any,
    fits: xr.Dataset | None,
    select: Mapping[str, Any] | None,
    *,
    parts: bool = False,
    names: Mapping[str, str] | None = None,
) -> Iterator[Chosen]:
    """Give the matrices of a source that are in `fits`, if given, and that `select` names.

    `names` place matrices as in `weibnb.scan`; without any, those of `fits` do.

    Of fused matrices their parts, if `parts`, else the whole, unless `select` or `fits` names a
    part. Nothing is read before the choice is known to be valid; checkpoints stay open as long as
    matrices are asked for.

    Raises
    ------
    CheckpointError
        If a checkpoint cannot be read.
    TypeError, ValueError
        If an argument is not valid, or nothing is chosen.
    """
    with opened_matrices(source, fits, select, parts=parts, names=names) as found:
        yield from found


@contextmanager
def opened_matrices(
    source: Any,
    fits: xr.Dataset | None,
    select: Mapping[str, Any] | None,
    *,
    parts: bool = False,
    names: Mapping[str, str] | None = None,
) -> Iterator[list[Chosen]]:
    """List what `chosen_matrices` gives; their checkpoints are open until the end."""
    if isinstance(source, xr.Dataset):
        raise TypeError(
            "`source` must be what was scanned, got the fits: pass its path, a model or a "
            "mapping, and the fits as `fits=`."
        )
    wanted = _checked(select)
    given = names_from(names)
    with ExitStack() as stack:
        stack.enter_context(guarded())
        remembered = given_names(fits) if fits is not None and names is None else None
        found = _matrices(source, stack, given, remembered)
        if fits is not None:
            found = _of_fits(found, fits)
        yield _selected(found, wanted, parts=parts, named=fits is not None)


def _checked(select: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Bring a selection into lists of labels."""
    if select is None:
        return {}
    if not isinstance(select, Mapping):
        raise TypeError(
            f"`select` must be a mapping like {{'layer': 0, 'component': 'o_proj'}}, "
            f"got {type(select).__name__}."
        )
    for name in select:
        check_choice("select", name, KEYS)
    several = (list, tuple, set, range, np.ndarray)
    return {
        name: list(labels) if isinstance(labels, several) else [labels]
        for name, labels in select.items()
    }


def _matrices(
    source: Any, stack: ExitStack, given: Names, remembered: Names | None
) -> list[Chosen]:
    """List every matrix of a source; an array is one. Names that were given must be of use."""
    if hasattr(source, "shape") and hasattr(source, "dtype") and not isinstance(source, Mapping):
        shape = tuple(source.shape)
        if len(shape) != 2:
            raise ValueError(f"`source` must have rows and columns, got an array of shape {shape}.")
        if given.patterns:
            raise ValueError("`names` must come with tensors that have names, got one array.")
        place = dict(zip(KEYS, ("array", 0, "weights", 0, -1, ""), strict=True))
        return [Chosen(place, (shape[0], shape[1]), "ok", None, source)]
    found: list[Chosen] = []
    listings: list[Listing] = []
    for planned in resolve_sources(source, names=remembered or given):
        listing = list_matrices(planned, fused="both")
        if listing.error is not None:
            raise listing.error
        checkpoint = listing.checkpoint
        if checkpoint is not None:
            stack.callback(checkpoint.close)
        for tensor in listing.tensors:
            labels = planned.model, tensor.role.layer, tensor.role.component, planned.step
            for expert in tensor.experts:
                place = dict(zip(KEYS, (*labels, expert, tensor.info.name), strict=True))
                found.append(Chosen(place, tensor.features, tensor.status, tensor, checkpoint))
        listings.append(listing)
    check_names_used(given, listings)
    return found


def _of_fits(found: list[Chosen], fits: xr.Dataset) -> list[Chosen]:
    """Keep the matrices that fits hold; of one model and step whatever it is called."""
    fits = prepare(fits, light=True, dims=DIMS)
    status = fits["status"].broadcast_like(fits["k"])
    dims = [str(dim) for dim in status.dims]
    at = np.argwhere(status.values != "absent")
    labels = [fits[dim].values[at[:, i]].tolist() for i, dim in enumerate(dims)]
    compared = list(dims)
    if all(len({one.place[d] for one in found}) == 1 == fits.sizes[d] for d in ("model", "step")):
        compared = [dim for dim in dims if dim not in ("model", "step")]
    columns = [labels[dims.index(dim)] for dim in compared]
    there = set(zip(*columns, strict=True))
    kept = [one for one in found if tuple(one.place[dim] for dim in compared) in there]
    if not kept:
        raise ValueError("`source` must hold a matrix of `fits`: is it what was scanned?")
    return kept


def _selected(
    found: list[Chosen], wanted: Mapping[str, list[Any]], *, parts: bool, named: bool
) -> list[Chosen]:
    """Keep what is wanted; raise if that is nothing, with the closest labels."""
    if not found:
        raise ValueError("`source` must hold a weight matrix, got none; see weibnb.not_fitted.")
    for name, labels in wanted.items():
        known = list(dict.fromkeys(one.place[name] for one in found))
        for label in labels:
            if label not in known:
                raise _unknown(name, label, known)
    kept = [one for one in found if all(one.place[n] in labels for n, labels in wanted.items())]
    if not kept:
        raise ValueError(f"`select` must name a matrix that is there, got {wanted}.")
    if named or {"component", "parameter"} & set(wanted):
        return kept
    split = {_tensor_of(one) for one in kept if one.is_part}
    return [one for one in kept if one.is_part == (parts and _tensor_of(one) in split)]


def _tensor_of(one: Chosen) -> tuple[Any, ...]:
    """Tell which tensor holds a matrix."""
    return tuple(one.place[name] for name in ("model", "step", "parameter"))


def _unknown(name: str, label: Any, known: list[Any]) -> ValueError:
    """Make the error for a label that no matrix has."""
    if isinstance(label, str):
        hint = did_you_mean(label, [str(one) for one in known])
    else:
        numbers = [one for one in known if isinstance(one, int)]
        close = min(numbers, key=lambda n: abs(n - label)) if numbers else None
        hint = "" if close is None else f" The closest is {close}."
    listed = ", ".join(
        repr(printable(one)) if isinstance(one, str) else str(one) for one in known[:_LISTED]
    )
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ValueError(f"`select[{name!r}]` must be one of {listed}{more}, got {label!r}.{hint}")
