"""How far a scan is: a bar for people, and `Progress` for programs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from tqdm import tqdm

    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.results import Results


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is, as ``scan(..., progress=callable)`` tells it.

    Attributes
    ----------
    done, matrices : int
        How many matrices are counted, and how many there are.
    read, nbytes : int
        Bytes of matrices that this scan has read, and will have.
    problems : tuple of str
        What could not be read until now.

    Examples
    --------
    >>> import numpy as np
    >>> from weibnb.scanning.scan import scan
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": np.ones((8, 8)) for i in range(3)}
    >>> fits = scan({"tiny": weights}, progress=lambda at: print(f"{at.done} of {at.matrices}"))
    1 of 3
    2 of 3
    3 of 3
    """

    done: int
    matrices: int
    read: int
    nbytes: int
    problems: tuple[str, ...]
    _newer: Callable[[int], tuple[int, xr.Dataset] | None] = field(repr=False)

    def fits_since(self, seen: int) -> tuple[int, xr.Dataset] | None:
        """Give the fits so far, on any thread, if there are more than when they were last seen.

        Parameters
        ----------
        seen : int
            The number that came with them then; 0 at first.

        Returns
        -------
        tuple of int and xarray.Dataset, or None
            A number for the next call, and the fits now; matrices of the checkpoints that were
            reached and are still to come have the status ``"pending"``.
        """
        return self._newer(seen)

    def without_fits(self) -> Progress:
        """Give the same without fits, which then may go."""
        return replace(self, _newer=lambda _seen: None)


class Reporter:
    """Tells how far a scan is: to a bar, and to whom `progress` names.

    Attributes
    ----------
    bar : tqdm
        A bar of bytes.
    """

    def __init__(
        self,
        bar: tqdm[Any],
        results: Results,
        problems: Sequence[str],
        listings: Sequence[Listing],
        *,
        progress: bool | Callable[[Progress], object] | None,
    ) -> None:
        self.bar = bar
        self._results, self._problems = results, problems
        self._tell = progress if callable(progress) else None
        self._matrices = sum(len(listing.cells()) for listing in listings)
        self._read = 0

    def update(self, nbytes: int) -> None:
        """Take in bytes that were read; a bar that is not shown does not count."""
        self._read += nbytes
        self.bar.update(nbytes)

    def tell(self) -> None:
        """Tell how far the scan is."""
        if self._tell is not None:
            at = self._results.done, self._matrices, self._read, int(self.bar.total or 0)
            self._tell(Progress(*at, tuple(self._problems), self._results.since))


def progress_bar(*, progress: bool | None) -> tqdm[Any]:
    """Make a bar of bytes, shown on a terminal and in a notebook unless told otherwise."""
    from tqdm.auto import tqdm

    disable = not progress if progress is not None else None
    if progress is None and "ipykernel" in sys.modules:
        disable = False
    return tqdm(total=0, unit="B", unit_scale=True, delay=0.5, disable=disable, dynamic_ncols=True)
