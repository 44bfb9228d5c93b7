"""``weibnb watch``: one line for each record of a run, as a training writes it."""

from __future__ import annotations

import argparse
import io
import math
import select
import sys
import time
from typing import TYPE_CHECKING, Any

from weibnb.cli_arguments import as_path, whole
from weibnb.cli_output import say, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.cli_arguments import AddCommand
    from weibnb.fits.following import News

_STATUS = """\
k: medians over the matrices of a class, λ: over all matrices; errors: what `weibnb check` calls so.
A record is told when all its matrices are fitted. A store does not know whether its training will
go on: Ctrl-C ends this.

exit status: 0 with --once; 1 if nobody reads the lines any more, or what --once is to read cannot
be read; 130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP."""
_EVERY = 0.5  # seconds between two looks


def describe_watch(add: AddCommand) -> None:
    """Add the command to the parser."""
    watch = add(
        "watch",
        help="print a line for each record of a training",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    watch.add_argument(
        "store",
        type=as_path,
        metavar="STORE",
        help="the store (run.db) that a Recorder or a scan writes; it need not be there yet",
    )
    watch.add_argument(
        "--once", action="store_true", help="print what is there, finished or not, and end"
    )
    watch.add_argument(
        "--last", type=whole(0), metavar="N", help="begin with the last N records (default: all)"
    )
    watch.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    """Print lines, and what keeps it waiting, until it is interrupted."""
    from weibnb.fits.following import StoreNews
    from weibnb.fits.store_schema import STORE_SUFFIXES

    if options.store.suffix.lower() not in STORE_SUFFIXES:
        endings = ", ".join(STORE_SUFFIXES)
        raise ValueError(f"`STORE` must end in {endings}, got {str(options.store)!r}.")
    news = StoreNews(options.store)
    lines = Lines(options.last, unfinished=options.once)
    told = ""
    while True:
        try:
            found = news.read()
        except (OSError, ValueError) as err:
            if options.once:
                raise
            told = _tell_once(str(err), told)
        else:
            told = ""
            for line in lines.of(found):
                say(line)
            sys.stdout.flush()
        if options.once:
            return 0
        _rest(_EVERY)


def _tell_once(text: str, told: str) -> str:
    """Say what is wrong, unless it was said before."""
    if text != told:
        tell(text)
    return text


def _rest(seconds: float) -> None:
    """Wait; raise BrokenPipeError as soon as nobody reads the lines any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors alone
    except (AttributeError, io.UnsupportedOperation):  # Windows; a stream that is no file
        time.sleep(seconds)
        return
    if poll.poll(1000 * seconds):
        raise BrokenPipeError


class Lines:
    """The lines of records, each told once.

    Parameters
    ----------
    last : int, optional
        How many of those that are there at first are told.
    unfinished : bool
        Whether records are told that have matrices without a fit yet.
    """

    def __init__(self, last: int | None = None, *, unfinished: bool = False) -> None:
        self._last, self._unfinished = last, unfinished
        self._told: dict[tuple[str, int], str] = {}
        self._columns: tuple[list[str], int] = [], 0
        self._errors: tuple[Any, int] = None, 0

    def of(self, news: News | None) -> Iterator[str]:
        """Give the lines of what is new, after a head where the columns have changed."""
        if news is None:
            return
        numbers = Numbers(news.fits)
        records = [at for at in numbers.records if self._unfinished or not numbers.left(*at)]
        if not self._told and self._last is not None:
            gone = records[: max(len(records) - self._last, 0)]
            self._told |= dict.fromkeys((numbers.name(*at) for at in gone), "")
            records = records[len(gone) :]
        several = len({model for model, _ in self._told} | set(numbers.models)) > 1
        for at in records:
            key, errors = numbers.name(*at), self._count_errors(numbers, at)
            line = numbers.line(*at, errors=errors, with_model=several)
            if self._told.get(key) == line or (self._told.get(key) == "" and news.whole):
                continue
            self._told[key] = line
            columns = numbers.classes, int(several)
            if columns != self._columns:
                self._columns = columns
                yield numbers.head(with_model=several)
            yield line

    def _count_errors(self, numbers: Numbers, at: tuple[int, int]) -> int:
        """Count errors, anew only where something differs from the record before."""
        from weibnb.diagnostics.check import count_errors

        causes = numbers.causes(*at)
        if causes != self._errors[0]:
            self._errors = causes, count_errors(numbers.fits_of(*at))
        return self._errors[1]


class Numbers:
    """What the lines of some fits tell."""

    def __init__(self, fits: xr.Dataset) -> None:
        import numpy as np

        self._fits = fits
        names = ("status", "k", "lam", "nonfinite", "rows", "cols")
        ordered = fits[[*names, "problem"]].transpose("model", "step", ...)
        self._cells = {name: ordered[name].values for name in (*names, "problem")}
        self._class = fits["weight_class"].values
        self.classes = list(dict.fromkeys(self._class.tolist()))
        self.models = [str(name) for name in fits["model"].values]
        self._steps = fits["step"].values.tolist()
        there = (self._cells["status"] != "absent").reshape(*self._cells["status"].shape[:2], -1)
        places = np.argwhere(there.any(-1) | (self._cells["problem"] != "")).tolist()
        self.records = sorted(((a, b) for a, b in places), key=lambda at: (at[1], at[0]))

    def name(self, model: int, step: int) -> tuple[str, int]:
        """Give the labels of a record."""
        return self.models[model], int(self._steps[step])

    def left(self, model: int, step: int) -> int:
        """Count its matrices that are not fitted yet."""
        return int((self._cells["status"][model, step] == "pending").sum())

    def causes(self, model: int, step: int) -> tuple[Any, ...]:
        """Give all that its errors depend on."""
        cells = self._cells
        arrays = (cells[name][model, step] for name in ("nonfinite", "rows", "cols"))
        return (
            self._steps[step] == 0,
            model,
            cells["problem"][model, step],
            cells["status"][model, step].tolist(),
            *(array.tobytes() for array in arrays),
        )

    def fits_of(self, model: int, step: int) -> xr.Dataset:
        """Give the fits of one record."""
        return self._fits.isel(model=[model], step=[step])

    def head(self, *, with_model: bool) -> str:
        """Name the columns."""
        columns = [*(f"k {name}" for name in self.classes), "λ", "errors"]
        return f"{'step':>10}" + "".join(map(" {:>15}".format, columns)) + "  model" * with_model

    def line(self, model: int, step: int, *, errors: int, with_model: bool) -> str:
        """Write one record."""
        k, lam = (self._cells[name][model, step] for name in ("k", "lam"))
        medians = [_median(k[:, self._class == name]) for name in self.classes]
        words = [_written(value, "{:.4f}") for value in medians]
        words += [_written(_median(lam), "{:.4g}"), str(errors)]
        text = f"{self._steps[step]:>10,}" + "".join(map(" {:>15}".format, words))
        text += f"  {self.models[model]}" * with_model
        if problem := self._cells["problem"][model, step]:
            text += f"  {problem}"
        left, number = self.left(model, step), self._cells["status"][model, step]
        total = int((number != "absent").sum())
        return text + (f"  {total - left:,} of {total:,} matrices" if left else "")


def _median(values: NDArray[np.float64]) -> float:
    """Take the median of what is known."""
    import numpy as np

    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _written(value: float, form: str) -> str:
    """Write a number, a dash for none."""
    return "–" if math.isnan(value) else form.format(value)
