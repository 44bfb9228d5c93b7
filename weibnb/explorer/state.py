"""What a widget shows of its fits, as values: the first view, and whether a value is valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.explorer.labels import COLUMNS
from weibnb.explorer.matrices import check_pins
from weibnb.fits.schema import DIMS
from weibnb.fitting.weibull import check_protocol
from weibnb.messages import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weibnb.explorer.filters import Cells
    from weibnb.explorer.parts import Parts

_MOST_MODELS = 6  # that a new widget shows


def first_state(parts: Parts) -> dict[str, Any]:
    """Return what a new explorer shows: the last step, at most six models, their protocol."""
    estimator, trim = parts.protocol
    cells = parts.cells
    models = [str(name) for name in cells.labels["model"]]
    state: dict[str, Any] = {
        "layers": cells.layer_range,
        "step": cells.steps[-1] if cells.steps else 0,
        "trim": trim,
        "estimator": estimator,
    }
    if len(models) > _MOST_MODELS:
        state["filters"] = {"model": tuple(models[:_MOST_MODELS])}
    return state | _compared(cells)


def _compared(cells: Cells) -> dict[str, Any]:
    """Choose what is compared: the ends of a run, or else the first two models."""
    own: dict[str, list[Any]] = {}
    for model, step in cells.checkpoints:
        own.setdefault(model, []).append(step)
    ends = [(model, sorted(steps) if cells.steps else steps) for model, steps in own.items()]
    if not ends:
        return {}
    model, steps = ends[0]
    if len(steps) > 1 or len(ends) < 2:
        return {"first": (model, steps[0]), "second": (model, steps[-1])}
    other, others = ends[1]
    return {"first": (model, steps[-1]), "second": (other, others[-1])}


def checked(cells: Cells, name: str, value: Any) -> Any:
    """Check a value of the state against the fits, and bring it into one form.

    Raises
    ------
    TypeError, ValueError
        If it is not valid.
    """
    if name == "filters":
        return cells.check(_as_mapping(name, value))
    if name == "layers" and value[0] > value[1]:
        raise ValueError(f"`layers` must be the first and the last layer, got {tuple(value)!r}.")
    if name == "trim":
        lower, upper = check_protocol(value, "rank_regression")[0]
        return round(lower, 6), round(upper, 6)
    if name == "selected":
        return [_as_cell(cell) for cell in value]
    if name == "pinned":
        return check_pins(_as_mapping(name, value))
    if name == "step" and cells.steps and value not in cells.steps:
        raise ValueError(f"`step` must be one of {cells.steps}, got {value!r}.")
    if name in ("first", "second") and value and tuple(value) not in cells.checkpoints:
        raise ValueError(f"`{name}` must be a model and one of its steps, got {tuple(value)!r}.")
    if name == "order" and value and value[0] not in tuple(COLUMNS):
        raise unknown_name("order", value[0], COLUMNS)
    if name == "window" and value and not _is_window(value):
        raise ValueError(
            "`window` must be empty or four integers (first row, the one after the last, and "
            f"likewise columns), got {value!r}."
        )
    return value


def _as_mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"`{name}` must be a dict, got {type(value).__name__}.")
    return dict(value)


def _as_cell(cell: Any) -> tuple[Any, ...]:
    labels = tuple(cell) if isinstance(cell, (tuple, list)) else ()
    if len(labels) != len(DIMS):
        raise ValueError(f"`selected` must hold tuples ({', '.join(DIMS)}), got {cell!r}.")
    return tuple(plain(label) for label in labels)


def _is_window(value: tuple[Any, ...]) -> bool:
    """Whether these are rows and columns from a first one to a later one."""
    if len(value) != 4 or not all(isinstance(one, (int, np.integer)) for one in value):
        return False
    return bool(0 <= value[0] < value[1] and 0 <= value[2] < value[3])


def checked_names(state: Any, known: Iterable[str]) -> dict[str, Any]:
    """Check that a state is a dict of traits that there are.

    Raises
    ------
    TypeError
        If it is no dict.
    ValueError
        If it names something else.
    """
    found = _as_mapping("state", state)
    for name in found:
        if name not in known:
            raise unknown_name("state", name, known)
    return found


def plain(value: Any) -> Any:
    """Write a value as JSON has it: tuples as lists, numbers of NumPy as those of Python."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def difference(now: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what differs from a first view, as JSON has it."""
    return {name: plain(now[name]) for name in now if plain(now[name]) != plain(first[name])}
