"""What a widget shows of its fits, as values: the first view, and whether a value is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weibnb.fitting.weibull import check_protocol

if TYPE_CHECKING:
    from weibnb.explorer.filters import Cells
    from weibnb.explorer.parts import Parts

_MOST_MODELS = 6  # that a new widget shows


def first_state(parts: Parts) -> dict[str, Any]:
    """Return what a new explorer shows: the last step, at most six models, their protocol."""
    estimator, trim = parts.protocol
    cells = parts.cells
    models = [str(name) for name in cells.labels["model"]]
    steps = cells.steps or cells.labels["step"].tolist()
    state: dict[str, Any] = {
        "layers": cells.layer_range,
        "step": cells.steps[-1] if cells.steps else 0,
        "trim": trim,
        "estimator": estimator,
    }
    if len(models) > _MOST_MODELS:
        state["filters"] = {"model": tuple(models[:_MOST_MODELS])}
    if len(models) > 1 and len(steps) < 2:
        state |= {"first": (models[0], steps[-1]), "second": (models[1], steps[-1])}
    elif models:
        state |= {"first": (models[0], steps[0]), "second": (models[0], steps[-1])}
    return state


def checked(cells: Cells, name: str, value: Any) -> Any:
    """Check a value of the state against the fits, and bring it into one form.

    Raises
    ------
    TypeError, ValueError
        If it is not valid.
    """
    if name == "filters":
        return cells.check(value)
    if name == "trim":
        lower, upper = check_protocol(value, "rank_regression")[0]
        return round(lower, 6), round(upper, 6)
    if name == "selected":
        return [tuple(cell) for cell in value]
    if name == "step" and cells.steps and value not in cells.steps:
        raise ValueError(f"`step` must be one of {cells.steps}, got {value!r}.")
    return value
