"""Which records of a long recording keep their counts: log-spaced ones, and every 1,000th."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Records of a model from which on a recording keeps counts of log-spaced ones alone.
THIN_BEYOND = 1000
# Records of a model that a thinned store lets go of the counts of, with each new one.
_THINNED_AT_ONCE = 2


def keeps_counts(record: int) -> bool:
    """Whether a thinned store keeps the counts of a record: log-spaced ones, and every 1,000th.

    Records of a model are numbered from 0 on, whatever their steps.

    Examples
    --------
    >>> [record for record in range(2100) if keeps_counts(record)]
    [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1024, 2000, 2048]
    """
    return record & (record - 1) == 0 or record % 1000 == 0


class Thinning:
    """Lets go of counts of records that need them no longer, a few with each new one.

    Parameters
    ----------
    beyond : int, optional
        Records of a model from which on it begins; by default never.
    """

    def __init__(self, beyond: int | None) -> None:
        self._beyond = beyond
        self._records: dict[str, int] = {}  # of each model
        self._left: dict[str, list[int]] = {}  # checkpoints of each model, the oldest last

    def forget(self, model: str) -> None:
        """Look at the records of a model anew: some went, or have another name."""
        self._records.pop(model, None)
        self._left.pop(model, None)

    def keeps_next(self, execute: Callable[..., Any], model: str) -> bool:
        """Whether a new record of a model is to keep its counts; let go of some that are not."""
        if self._beyond is None:
            return True
        if model not in self._records:
            query = "SELECT count(*) FROM checkpoint WHERE model = ?"
            (self._records[model],) = execute(query, (model,)).fetchone()
        number = self._records[model]
        self._records[model] = number + 1
        if number < self._beyond:
            return True
        if model not in self._left:
            query = "SELECT id, counts_kept FROM checkpoint WHERE model = ? ORDER BY id"
            rows = enumerate(execute(query, (model,)).fetchall())
            left = [at for record, (at, kept) in rows if kept and not keeps_counts(record)]
            self._left[model] = left[::-1]
        left = self._left[model]
        for at in [left.pop() for _ in range(min(_THINNED_AT_ONCE, len(left)))]:
            execute("DELETE FROM counts WHERE checkpoint = ?", (at,))
            execute("UPDATE estimates SET covariance = NULL WHERE checkpoint = ?", (at,))
            execute("UPDATE checkpoint SET counts_kept = 0 WHERE id = ?", (at,))
        return keeps_counts(number)
