"""Signals to stop: held back, turned into interrupts, and ending a program at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import weibnb as wb
from weibnb.interrupts import STOPPING, Terminated, held, signals_as_interrupts
from weibnb.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
ROOT = Path(wb.__file__).parent.parent


@contextmanager
def handlers(handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_goes_to_the_handler_of_the_user_when_the_block_ends(number: int) -> None:
    log: list[Any] = []
    with handlers(lambda number, frame: log.append((number, frame is not None))):
        with held():
            os.kill(os.getpid(), number)
            log.append("work")
        assert log == ["work", (number, True)]
        os.kill(os.getpid(), number)
        assert len(log) == 3


def test_ctrl_c_is_raised_at_the_end_also_when_the_work_fails() -> None:
    @held()
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("the work")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_is_changed() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with held():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in STOPPING] == before
    with pytest.raises(ValueError, match="work"), held():
        raise ValueError("work")
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_second_signal_is_raised_at_once() -> None:
    log: list[str] = []

    @held()
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        log.append("after the first")
        signal.raise_signal(signal.SIGINT)
        log.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert log == ["after the first"]


def test_both_signals_reach_a_handler_that_counts() -> None:
    log: list[int] = []
    with handlers(lambda number, _: log.append(number)), held():
        signal.raise_signal(signal.SIGTERM)
        assert log == []
        signal.raise_signal(signal.SIGINT)
        assert log == [signal.SIGTERM, signal.SIGINT]


def test_the_outer_block_of_two_decides() -> None:
    log: list[str] = []

    @held()
    def work() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
        log.append("after the inner block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert log == ["after the inner block"]


def test_what_is_ignored_stays_so() -> None:
    with handlers(signal.SIG_IGN), held():
        for number in STOPPING:
            assert signal.getsignal(number) is signal.SIG_IGN
            signal.raise_signal(number)


def test_other_threads_are_left_alone() -> None:
    inside: list[Any] = []

    def work() -> None:
        with held(), signals_as_interrupts(lambda: None):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize("number", STOPPING)
def test_a_default_action_waits_for_the_end_of_the_block(number: int) -> None:
    code = """if True:
        import os, signal, sys
        from weibnb.interrupts import held
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with held():
            os.kill(os.getpid(), int(sys.argv[1]))
            print("work", flush=True)
        print("not reached", flush=True)
    """
    done = run(code, int(number))
    assert (done.returncode, done.stdout, done.stderr) == (-number, "work\n", "")


@pytest.mark.parametrize("number", STOPPING)
def test_signals_become_interrupts(number: int) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(KeyboardInterrupt) as caught, signals_as_interrupts(lambda: None) as stop:
        os.kill(os.getpid(), number)
    assert isinstance(caught.value, Terminated) == (number != signal.SIGINT)
    assert getattr(caught.value, "number", signal.SIGINT) == number
    assert (
        stop.status == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}[signal.Signals(number).name]
    )
    assert (stop.text == "interrupted") == (number == signal.SIGINT)
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts(lambda: None) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("block", ["held()", "nullcontext()"])
@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_second_signal_ends_at_once(block: str, first: str, second: str) -> None:
    code = """if True:
        import os, signal, sys
        from contextlib import nullcontext
        from weibnb.interrupts import held, signals_as_interrupts
        with signals_as_interrupts(lambda: print("cleaned", flush=True)), BLOCK:
            try:
                os.kill(os.getpid(), getattr(signal, sys.argv[1]))
            finally:
                os.kill(os.getpid(), getattr(signal, sys.argv[2]))
                print("not reached", flush=True)
    """
    done = run(code.replace("BLOCK", block), first, second)
    status = 128 + getattr(signal, second)
    assert (done.returncode, done.stdout, done.stderr) == (status, "cleaned\n", "")


def test_a_closing_terminal_may_hang_up_twice() -> None:
    log: list[str] = []

    def work() -> None:
        with signals_as_interrupts(lambda: log.append("cleaned")):
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:
                os.kill(os.getpid(), signal.SIGHUP)
                log.append("saved")

    with pytest.raises(Terminated, match="SIGHUP"):
        work()
    assert log == ["saved"]


def test_a_file_is_written_whole_before_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def interrupted(handle: int) -> None:
        signal.raise_signal(signal.SIGINT)
        flush(handle)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):  # the directory is flushed, too: a second one
        write_whole(tmp_path / "a.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_no_half_written_file_is_left_by_two_signals(
    tmp_path: Path, first: str, second: str
) -> None:
    code = """if True:
        import os, signal, sys
        from weibnb.interrupts import signals_as_interrupts
        from weibnb.writing import remove_unfinished, write_whole
        def twice(_):
            for name in sys.argv[2:]:
                os.kill(os.getpid(), getattr(signal, name))
        os.fsync = twice
        with signals_as_interrupts(remove_unfinished) as stop:
            try:
                write_whole(sys.argv[1], "new")
            except KeyboardInterrupt:
                sys.exit(stop.status)
    """
    target = tmp_path / "a.txt"
    target.write_text("old")
    done = run(code, target, first, second)
    last = first if second == "SIGHUP" else second
    assert (done.returncode, done.stderr) == (128 + getattr(signal, last), "")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


IMPORTING = """if True:
    import runpy, signal, sys
    module, *sys.argv = sys.argv[1:]
    sys.orig_argv = [sys.executable, "-m", module, *sys.argv[1:]]

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name in ("xarray", "numba", "scipy", "weibnb.scanning.scan"):
                print("importing", name, flush=True)
                signal.raise_signal(signal.SIGTERM if "term" in sys.argv else signal.SIGINT)

    sys.meta_path.insert(0, Finder())
    runpy.run_module(module, run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [("term", 143, "stopped by SIGTERM"), ("file", 130, "interrupted")],
)
@pytest.mark.parametrize("first", ["-m", "/usr/bin/weibnb"])
@pytest.mark.parametrize("module", ["weibnb", "weibnb.cli"])
def test_one_line_while_the_command_is_imported(
    word: str, status: int, said: str, first: str, module: str
) -> None:
    done = run(IMPORTING, module, first, "scan", word)
    assert (done.returncode, done.stdout) == (status, "importing xarray\n")
    assert done.stderr == f"weibnb: {said}\n"


@pytest.mark.parametrize("program", ["script.py", "-c", "/usr/bin/jupyter"])
def test_the_import_in_other_programs_is_untouched(program: str) -> None:
    code = """if True:
        import signal, sys
        sys.argv = sys.argv[1:]
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        import weibnb
        after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        print(before == after, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    assert run(code, program).stdout == "True True\n"
