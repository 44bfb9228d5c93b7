"""Matrices that were counted become those of the Dataset, in their order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from weibnb.fits.build import Matrix
    from weibnb.fits.on_device import MatrixOnDevice
    from weibnb.scanning.matrices import MatrixInCounting


class Finishing:
    """Finishes matrices, several at once where each is looked at again; used in a ``with`` block.

    At its end, whatever ends it, all that were added are finished.

    Parameters
    ----------
    finish : callable
        Waits for a matrix, and hands it on.
    take : callable
        Hands on one that was finished on a thread.
    workers : int
        How many are looked at again at once.
    """

    def __init__(
        self,
        finish: Callable[[MatrixInCounting], None],
        take: Callable[[MatrixInCounting, Matrix | MatrixOnDevice], None],
        workers: int,
    ) -> None:
        self._finish, self._take, self._most = finish, take, workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="weibnb-look")
        self._looking: deque[tuple[MatrixInCounting, Future[Matrix | MatrixOnDevice]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:
            self._take_all()

    def add(self, item: MatrixInCounting) -> None:
        """Finish one more; waits where many are looked at already."""
        if self._most == 1 or not item.takes_long:
            self._take_all()
            self._finish(item)
            return
        self._looking.append((item, self._pool.submit(item.finish)))
        self._take_all(but=self._most)

    def _take_all(self, *, but: int = 0) -> None:
        """Hand on what was begun, all of it but some of the last."""
        while len(self._looking) > but:
            item, finished = self._looking[0]
            matrix = finished.result()
            self._looking.popleft()
            self._take(item, matrix)
