"""Names of single matrices."""

from __future__ import annotations

from weibnb.charts.curves import labels


def test_matrices_are_named_by_what_differs() -> None:
    places = [{"component": "q_proj", "layer": 0, "step": step} for step in (0, 10)]
    assert labels(places) == ["q_proj of layer 0, step 0", "q_proj of layer 0, step 10"]


def test_names_stay_apart() -> None:
    places = [{"model": m, "component": "q", "layer": 0} for m in ("a" * 60 + "b", "a" * 60 + "c")]
    assert len(set(labels(places))) == 2
