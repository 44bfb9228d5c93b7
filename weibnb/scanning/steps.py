"""Which steps of a training are recorded, and which were before it was resumed."""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

from weibnb.messages import check_choice

#: What `Recorder` takes: a word, every so many steps, or a function of the step.
Schedule: TypeAlias = Literal["log"] | int | Callable[[int], object]
# With ``"log"``, the steps beside the powers of two.
_EVERY = 1000


def whole_step(step: Any) -> int:
    """Give a step as an integer: also one of numpy or a tensor of one.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, negative, or too large for 64 bits.
    """
    try:
        whole = operator.index(step)
    except (TypeError, ValueError):
        whole = None
    if whole is None or "bool" in str(getattr(step, "dtype", type(step))):
        raise TypeError(f"`step` must be an integer, got {step!r}.")
    if whole < 0:
        raise ValueError(f"`step` must be at least 0, got {step!r}.")
    if whole >= 2**63:
        raise ValueError(f"`step` must be less than 2^63, got {step!r}.")
    return whole


def schedule(steps: Schedule) -> Callable[[int], object]:
    """Give the function that says of a step whether it is due.

    Raises
    ------
    TypeError, ValueError
        If `steps` is not ``"log"``, an integer of at least 1, or callable.

    Examples
    --------
    >>> [step for step in range(70) if schedule("log")(step)]
    [0, 1, 2, 4, 8, 16, 32, 64]
    """
    if steps == "log":
        return is_log_spaced
    if callable(steps):
        return steps
    if isinstance(steps, bool) or not isinstance(steps, (int, str)):
        raise TypeError(f'`steps` must be "log", an integer or a function, got {steps!r}.')
    if isinstance(steps, str):
        check_choice("steps", steps, ["log"])
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps!r}.")
    return partial(_is_multiple, of=steps)


def is_log_spaced(step: int) -> bool:
    """Whether a step is 0, a power of two, or one of every 1,000."""
    return step & (step - 1) == 0 or step % _EVERY == 0


def _is_multiple(step: int, of: int) -> bool:
    return step % of == 0


class Course:
    """The recorded steps of a training, and where in them it is.

    Attributes
    ----------
    steps : list of int
        In ascending order.
    at : int or None
        The last step that the training and its records have in common; None until that is known.
    resumed : int or None
        The step from which it was said to go on, until a record there has the same weights.
    """

    def __init__(self, steps: Iterable[int] = ()) -> None:
        self.steps = sorted(steps)
        self.at: int | None = None
        self.resumed: int | None = None

    def __contains__(self, step: int) -> bool:
        place = bisect_left(self.steps, step)
        return self.steps[place : place + 1] == [step]

    def after(self, step: int) -> list[int]:
        """Give the recorded steps after one."""
        return self.steps[bisect_right(self.steps, step) :]

    def last(self, step: int) -> int | None:
        """Give the last recorded step up to one."""
        return max(self.steps[: bisect_right(self.steps, step)], default=None)

    def passes_by(self, step: int) -> bool:
        """Whether steps were recorded between where the training is and a later one."""
        return self.at is not None and any(one < step for one in self.after(self.at)[:1])

    def resume(self, step: int) -> None:
        """Go on from a step, which the records are said to have in common."""
        self.at = self.resumed = step

    def common_before(self, step: int) -> int | None:
        """Give the last step in common with a training that has other weights at a recorded one.

        That is the recorded step before, if it was resumed from this very step, as of a checkpoint
        in fewer bits; None if it has not gone back, or nothing was recorded before.
        """
        if self.resumed == step == self.at:
            return self.last(step - 1)
        return self.at if self.at is not None and self.at < step else None

    def meet(self, step: int) -> None:
        """Note that a step is recorded, now or before with the same weights."""
        if step not in self:
            insort(self.steps, step)
        self.at, self.resumed = step, None

    def leave_behind(self) -> list[int]:
        """Take out the steps that the training went through before it went back."""
        gone = [] if self.at is None else self.after(self.at)
        self.steps = self.steps[: len(self.steps) - len(gone)]
        return gone
