"""A refit of very many matrices: on a thread, with its progress, and cancelled."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr

import weibnb as wb
from tests.explorer.conftest import from_page, rows_of, slot, words
from weibnb.explorer import parts
from weibnb.explorer.parts import Parts
from weibnb.fits.schema import DIMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.explorer.refitting import Refit
    from weibnb.explorer.widget import Explorer

WIDER: Any = ("rank_regression", (0.05, 0.95))


@pytest.fixture
def many(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 20 matrices be very many, and none of them be fitted again by another test."""
    explorer._parts._kept.clear()
    monkeypatch.setattr(parts, "_MANY", 20)
    monkeypatch.setattr(parts, "_PIECE", 7)


@pytest.fixture
def told(explorer: Explorer) -> list[str]:
    """What the page is told of the work, from now on."""
    found: list[str] = []
    explorer.observe(lambda change: found.append(change["new"]), "_working")
    return found


def ended(explorer: Explorer) -> None:
    """Wait until nothing is fitted any more."""
    while (refit := explorer._refit) is not None:
        refit.wait()


def first_k(explorer: Explorer) -> float:
    return float(rows_of(slot(explorer)["spec"])[0]["k"])


@pytest.mark.parametrize("query", [{}, {"step": [7000]}, {"layer": slice(1, 2), "step": [0, 7000]}])
def test_piece_by_piece_is_the_same_refit(
    many: None, fits: xr.Dataset, query: dict[str, Any]
) -> None:
    whole = Parts(fits)
    shares = list(whole.refit_by_pieces(query, WIDER))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) >= min(3, max(whole.whole.sel(query).sizes[dim] for dim in DIMS))
    assert not whole.is_slow(query, WIDER)
    expected = wb.refit(whole.whole.sel(query), trim=WIDER[1], estimator=WIDER[0])
    found = whole.select(query, WIDER).drop_vars("counts")
    found.attrs["created"] = expected.attrs["created"]
    xr.testing.assert_identical(found, expected.drop_vars("counts"))


def test_a_page_is_answered_when_it_is_done(
    many: None, explorer: Explorer, told: list[str], fits: xr.Dataset
) -> None:
    from_page(explorer, trim=[0.05, 0.95])
    asked = explorer._asked
    ended(explorer)
    assert explorer._answered == asked
    *shares, last = told
    numbers = [json.loads(text)["share"] for text in shares]
    assert numbers == sorted({0.0, *numbers, 1.0})
    assert len(numbers) > 3
    assert last == ""
    expected = wb.refit(fits, trim=(0.05, 0.95)).sel(step=7000)
    q_proj = expected["k"].isel(model=0, layer=0).sel(component="q_proj").item()
    assert first_k(explorer) == pytest.approx(q_proj, rel=1e-6)
    assert words(explorer)["drawn"]["trim"] == [0.05, 0.95]


class Held:
    """Pieces that wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        refit = Parts.refit_by_pieces

        def pieces(parts: Parts, query: Any, protocol: Any) -> Iterator[float]:
            self.begun.set()
            assert self.go.wait(60)
            yield from refit(parts, query, protocol)

        monkeypatch.setattr(Parts, "refit_by_pieces", pieces)


def running(explorer: Explorer) -> Refit:
    refit = explorer._refit
    assert refit is not None
    return refit


def test_cancelled_it_goes_back_to_what_is_drawn(
    many: None, explorer: Explorer, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, before = Held(monkeypatch), first_k(explorer)
    from_page(explorer, trim=[0.05, 0.95])
    refit, asked = running(explorer), explorer._asked
    assert held.begun.wait(60)
    assert explorer._answered == asked - 1
    explorer._on_message(explorer, {"cancel": True}, [])
    assert explorer.trim == (0.1, 0.9)
    assert explorer._answered == asked
    assert explorer._working == ""
    held.go.set()
    refit.wait()
    assert explorer._working == ""
    assert first_k(explorer) == before


def test_another_trim_takes_the_place_of_one_that_is_fitted(
    many: None, explorer: Explorer, fits: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    explorer.trim = (0.05, 0.95)
    first = running(explorer)
    explorer.trim = (0.2, 0.8)
    second = running(explorer)
    explorer.selected = [("demo", 1, "q_proj", 7000)]
    assert running(explorer) is second is not first
    held.go.set()
    ended(explorer)
    first.wait()
    assert words(explorer)["drawn"]["trim"] == [0.2, 0.8]
    assert words(explorer)["chosen"] == [["demo", 1, "q_proj", 7000]]
    expected = wb.refit(fits, trim=(0.2, 0.8))["k"].sel(step=7000, component="q_proj")
    assert first_k(explorer) == pytest.approx(expected.isel(model=0, layer=0).item(), rel=1e-6)


def test_what_went_wrong_is_told_and_the_last_charts_stay(
    many: None, explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(type(explorer), "send", lambda _self, message, *_: sent.append(message))

    def failing(*_: Any) -> Iterator[float]:
        yield 0.5
        raise OSError("the disk is gone")

    monkeypatch.setattr(Parts, "refit_by_pieces", failing)
    explorer.trim = (0.05, 0.95)
    ended(explorer)
    assert {"problem": "OSError: the disk is gone"} in sent
    assert explorer.trim == (0.1, 0.9)


def test_few_are_fitted_at_once(explorer: Explorer, told: list[str]) -> None:
    explorer.trim = (0.05, 0.95)
    assert explorer._refit is None
    assert told == []
