"""What a program is told while it scans, and the fits that it gets then."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb

if TYPE_CHECKING:
    from weibnb.scanning.progress import Progress

DEMO = Path(wb.__file__).parent / "data" / "demo"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit every matrix as soon as it is counted."""
    monkeypatch.setattr("weibnb.scanning.results._BATCH_SECONDS", -1.0)


def test_every_matrix_is_told() -> None:
    told: list[Progress] = []
    fits = wb.scan(DEMO, progress=told.append)
    assert [at.done for at in told] == list(range(1, 106))
    assert {at.matrices for at in told} == {105}
    read = [at.read for at in told]
    assert read == sorted(read)
    assert told[-1].read == told[-1].nbytes == 2 * int(fits["n"].sum())
    assert told[-1].problems == ()


def test_fits_so_far() -> None:
    whole = wb.scan(DEMO, progress=False)
    seen, numbers = 0, []

    def look(at: Progress) -> None:
        nonlocal seen
        found = at.fits_since(seen)
        assert found is not None
        seen, fits = found
        assert at.fits_since(seen) is None
        fitted = fits["status"] == "ok"
        assert int(fitted.sum()) == at.done
        assert set(np.unique(fits["status"].where(~fitted, "pending"))) == {"pending"}
        same = whole["k"].sel(model=fits["model"], step=fits["step"])
        np.testing.assert_array_equal(fits["k"].where(fitted), same.where(fitted))
        numbers.append(at.done)

    wb.scan(DEMO, progress=look)
    assert numbers == list(range(1, 106))


def test_what_is_raised_ends_the_scan() -> None:
    def stop(at: Progress) -> None:
        if at.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(wb.ScanInterrupted) as caught:
        wb.scan(DEMO, progress=stop)
    fits = caught.value.fits
    assert fits is not None
    assert int((fits["status"] == "ok").sum()) >= 7

    def fail(at: Progress) -> None:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        wb.scan(DEMO, progress=fail)


def test_fits_of_a_store_are_read_from_the_store(tmp_path: Path) -> None:
    told: list[Progress] = []
    wb.scan(DEMO, store=tmp_path / "run.db", progress=told.append)
    assert told[-1].done == 105
    assert told[-1].fits_since(0) is None
