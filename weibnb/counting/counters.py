"""The counters of a format: where the bins of counts lie among them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled, compiled_inline
from weibnb.counting.formats import FORMATS, INTERVAL_MASK, INTERVAL_WIDTH, counter_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Counters(NamedTuple):
    """The magnitudes of a format, numbered; the compiled loops take it whole.

    Attributes
    ----------
    labels : ndarray of int32
        Label that the weights of each counter have in counts, ascending.
    places : ndarray of int32
        Counter of each label from the first, of those that are shifted by `coarser`; 0 where no
        counter has it.
    coarser : int
        Bits that labels of intervals leave empty; 0 where each counter is one value.
    mask, shift : unsigned int
        The counter of a weight is its bits under the mask, shifted.
    """

    labels: NDArray[np.int32]
    places: NDArray[np.int32]
    coarser: int
    mask: np.unsignedinteger[Any]
    shift: np.unsignedinteger[Any]


@lru_cache(maxsize=16)
def counters_of(dtype: str, *, exact: bool) -> Counters:
    """Give the counters of a format, whose weights are counted as values or in intervals."""
    form, coarser = FORMATS[dtype], 0 if exact else INTERVAL_WIDTH.bit_length() - 1
    word, labels = form.bits.type, counter_labels(form)[:: 1 << coarser]
    if not exact:
        labels = np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)
    places = np.zeros((labels[-1] - labels[0] >> coarser) + 1, np.int32)
    places[labels[1:] - labels[0] >> coarser] = np.arange(1, labels.size)
    mask = word((1 << 8 * form.bits.itemsize - 1) - 1)
    return Counters(labels, places, coarser, mask, word(form.shift + coarser))


def by_counter(counters: Counters, labels: NDArray[np.int32], values: NDArray[Any]) -> NDArray[Any]:
    """Lay values of bins, (..., bins), out by counter; 0 for counters without a bin, and zeros."""
    size = int(counters.mask >> counters.shift) + 1
    table = np.zeros((*values.shape[:-1], size), values.dtype)
    number = table.size // size
    flat = table.reshape(number, size), labels, values.reshape(number, labels.size)
    _lay_out_rows(*flat, counters)
    return table


@compiled
def _lay_out_rows(table: Any, labels: Any, values: Any, counters: Any) -> None:
    """Lay rows of values out."""
    for i in range(len(table)):
        lay_out(table[i], labels, values[i], counters)


@compiled_inline
def lay_out(table: Any, labels: Any, values: Any, counters: Any) -> None:
    """Put a value for each bin where its counter is; bins that are of no counter have no place."""
    for i in range(labels.size):
        place = (labels[i] - counters.labels[0]) >> counters.coarser
        if 0 <= place < counters.places.size:
            at = counters.places[place]
            if at > 0 and counters.labels[at] == labels[i]:
                table[at] = values[i]
