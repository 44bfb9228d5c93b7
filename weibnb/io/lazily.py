"""Arrays that are computed piece by piece, as they are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray


# Elements that are computed at once.
_AT_ONCE = 1 << 20


class Computed:
    """Bits of a tensor that are computed for whole rows at a time, when they are asked for.

    It is cut as a one-dimensional array is, or after `reshape` to rows and columns as a matrix;
    ``np.asarray`` computes what is left. Nothing is kept.

    Parameters
    ----------
    rows, columns : int
        Of the tensor, its leading dimensions taken as one.
    dtype : numpy.dtype
        Type of the bits.
    compute : callable
        Gives rows `first` to `stop` of it, an array of shape (stop - first, columns).
    stored : ndarray, optional
        What it is computed from: tells which file that is.

    Examples
    --------
    >>> squares = np.arange(6).reshape(3, 2) ** 2
    >>> twice = Computed(3, 2, np.dtype("i8"), lambda first, stop: 2 * squares[first:stop])
    >>> np.asarray(twice[1:5]).tolist(), np.asarray(twice.reshape(3, 2)[2:]).tolist()
    ([2, 8, 18, 32], [[32, 50]])
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        dtype: np.dtype[Any],
        compute: Callable[[int, int], NDArray[Any]],
        stored: Any = None,
        *,
        part: tuple[int, int] | None = None,
        as_matrix: bool = False,
    ) -> None:
        self._rows, self._columns, self._compute = rows, columns, compute
        self._start, self._stop = (0, rows * columns) if part is None else part
        self._as_matrix = as_matrix
        self.dtype, self.stored = dtype, stored

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._stop - self._start

    @property
    def shape(self) -> tuple[int, ...]:
        """One length, or rows and columns."""
        if self._as_matrix:
            return self.size // max(self._columns, 1), self._columns
        return (self.size,)

    @property
    def ndim(self) -> int:
        """One or two."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes that it takes once it is computed."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice) or index.step not in (None, 1):
            lines = np.atleast_1d(index)  # numbers of rows, or of elements
            return np.concatenate([np.asarray(self[i : i + 1]) for i in lines.tolist()])
        first, stop, _ = index.indices(len(self))
        width = self._columns if self._as_matrix else 1
        part = self._start + first * width, self._start + max(stop, first) * width
        return self._of(part, as_matrix=self._as_matrix)

    def __array__(
        self,
        dtype: DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - numpy's protocol
    ) -> NDArray[Any]:
        columns = max(self._columns, 1)
        first, stop = self._start // columns, -(-self._stop // columns)
        rows = self._compute(first, stop) if self.size else np.empty((0, columns), self.dtype)
        flat = np.ascontiguousarray(rows).reshape(-1)
        some = flat[self._start - first * columns : self._stop - first * columns]
        found: NDArray[Any] = some.reshape(self.shape)
        return found if dtype is None else found.astype(dtype, copy=False)

    def take(self, columns: NDArray[Any], axis: int) -> NDArray[Any]:
        """Give some columns of a matrix, some rows at a time."""
        step = max(_AT_ONCE // max(self._columns, 1), 1)
        starts = range(0, max(len(self), 1), step)
        return np.concatenate([np.asarray(self[i : i + step]).take(columns, axis) for i in starts])

    def reshape(self, *shape: Any) -> Any:
        """View it as one dimension or as rows and columns; else compute it."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if sizes in ((-1,), (self.size,)):
            return self._of((self._start, self._stop), as_matrix=False)
        if (
            len(sizes) == 2
            and sizes[1] == self._columns
            and self._start % max(self._columns, 1) == 0
            and math.prod(sizes) == self.size
        ):
            return self._of((self._start, self._stop), as_matrix=True)
        return np.asarray(self).reshape(sizes)

    def _of(self, part: tuple[int, int], *, as_matrix: bool) -> Computed:
        """Give a part of it."""
        return Computed(
            self._rows, self._columns, self.dtype, self._compute, self.stored,
            part=part, as_matrix=as_matrix,
        )  # fmt: skip
