"""Truncated files: faults in watched maps read zeros, all others go where they went before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.io import guard
from weibnb.io.files import identity_of
from weibnb.io.guard import AVAILABLE, guarded, watch
from weibnb.io.mapping import map_file, origin_of

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="faults are caught on Linux only")
PAGES, PAGE = 64, os.sysconf("SC_PAGE_SIZE")


def mapped(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Map a file of ones."""
    path.write_bytes(b"\1" * PAGES * PAGE)
    with path.open("rb") as file:
        area = map_file(path, identity_of(file), 0, PAGES * PAGE)
    return np.frombuffer(area, np.uint8)


def caught(bits: Any) -> bool:
    origin = origin_of(bits)
    assert origin is not None
    return origin.watch is not None and origin.watch.caught


def action() -> int | None:
    handler: int | None = guard._current().handler
    return handler


@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, 17 * PAGE, 17 * PAGE + 5])
def test_what_was_truncated_reads_as_zeros(tmp_path: Path, size: int) -> None:
    with guarded():
        bits = mapped(tmp_path / "a")
        watch(bits)
        assert not caught(bits)
        os.truncate(tmp_path / "a", size)
        assert bits.sum(dtype=int) == size
        assert caught(bits)


def test_the_tail_of_a_page_is_no_fault(tmp_path: Path) -> None:
    with guarded():
        bits = mapped(tmp_path / "a")
        watch(bits)
        os.truncate(tmp_path / "a", PAGES * PAGE - 1)
        assert bits.sum(dtype=int) == PAGES * PAGE - 1
        assert not caught(bits)


def test_several_files_in_threads(tmp_path: Path) -> None:
    with guarded(), ThreadPoolExecutor(8) as pool:
        files = [mapped(tmp_path / str(number)) for number in range(12)]
        for number, bits in enumerate(files):
            watch(bits[PAGE:])
            if number % 2:
                os.truncate(tmp_path / str(number), number * PAGE)
        parts = [bits[at::4] for bits in files for at in range(4)]
        sums = list(pool.map(lambda part: part.sum(dtype=int), parts))
        for number, bits in enumerate(files):
            whole = number * PAGE if number % 2 else PAGES * PAGE
            assert sum(sums[4 * number : 4 * number + 4]) == whole
            assert caught(bits) == bool(number % 2)


def test_copies_on_threads_are_caught(tmp_path: Path) -> None:
    """As arrays pass through the buffers of a device."""
    target = np.empty(PAGES * PAGE, np.uint8)
    with guarded(), ThreadPoolExecutor(2) as pool:
        bits = mapped(tmp_path / "a")
        watch(bits)
        os.truncate(tmp_path / "a", 0)
        list(pool.map(lambda at: np.copyto(target[at::2], bits[at::2]), range(2)))
        assert not target.any()
        assert caught(bits)


def test_the_handler_is_there_while_it_is_asked_for() -> None:
    before = action()
    with guarded():
        ours = action()
        assert ours != before
        with guarded(), ThreadPoolExecutor(1) as pool:
            pool.submit(_enter_and_leave).result()
            assert action() == ours
        assert action() == ours
    assert action() == before


def _enter_and_leave() -> None:
    with guarded():
        pass


def test_a_fault_is_remembered_when_the_map_is_gone_and_its_place_is_free(tmp_path: Path) -> None:
    free = len(guard._free)
    with guarded():
        for number in range(200):
            bits = mapped(tmp_path / "a")
            watch(bits)
            assert len(guard._free) == free - 1
            origin = origin_of(bits)
            if number % 2:
                os.truncate(tmp_path / "a", 0)
                assert not bits.any()
            del bits
            assert origin is not None
            assert origin.watch is not None
            assert origin.watch.caught == bool(number % 2)
        assert len(guard._free) == free


def test_nothing_is_watched_outside(tmp_path: Path) -> None:
    bits = mapped(tmp_path / "a")
    watch(bits)
    origin = origin_of(bits)
    assert origin is not None
    assert origin.watch is None
    with guarded():
        watch(np.zeros(3))


def run(code: str, place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    head = """if True:
        import faulthandler, os, signal, sys
        from pathlib import Path
        import numpy as np
        from weibnb.io.files import identity_of
        from weibnb.io.guard import guarded, watch
        from weibnb.io.mapping import map_file, origin_of
        path = Path(sys.argv[1]) / "a"
        path.write_bytes(bytes([1]) * 40960)
        def mapped():
            with path.open("rb") as file:
                return np.frombuffer(map_file(path, identity_of(file), 0, 40960), np.uint8)
    """
    return subprocess.run(
        [sys.executable, *options, "-c", head + code, str(place)],
        env=os.environ
        | {"PYTHONPATH": str(Path(wb.__file__).parents[1]), "PYTHONFAULTHANDLER": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


FOREIGN = """
        with guarded():
            ours, others = mapped(), mapped()
            watch(ours)
            os.truncate(path, 0)
            assert not ours.any()
            print("ours", flush=True)
            others.any()
        print("not reached", flush=True)
"""
SENT = """
        with guarded():
            os.kill(os.getpid(), signal.SIGBUS)
        print("not reached", flush=True)
"""


@pytest.mark.parametrize(("code", "said"), [(FOREIGN, "ours\n"), (SENT, "")])
@pytest.mark.parametrize("options", [[], ["-X", "faulthandler"]])
def test_other_faults_and_sent_signals_end_the_process(
    tmp_path: Path, code: str, said: str, options: list[str]
) -> None:
    done = run(code, tmp_path, *options)
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, said)
    assert done.stderr.count("Fatal Python error: Bus error") == len(options) // 2


def test_a_faulthandler_that_is_enabled_later_ends_in_no_loop(tmp_path: Path) -> None:
    code = """
        with guarded():
            faulthandler.enable()
            with guarded():
                os.kill(os.getpid(), signal.SIGBUS)
    """
    done = run(code, tmp_path)
    assert done.returncode == -signal.SIGBUS
    assert done.stderr.count("Fatal Python error: Bus error") == 1


def test_a_handler_of_the_user_gets_what_is_sent(tmp_path: Path) -> None:
    code = """
        signal.signal(signal.SIGBUS, lambda *_: print("theirs", flush=True))
        for _ in range(2):
            with guarded():
                os.kill(os.getpid(), signal.SIGBUS)
        os.kill(os.getpid(), signal.SIGBUS)
    """
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "theirs\n" * 3, "")


def test_in_a_fork(tmp_path: Path) -> None:
    code = """
        with guarded():
            bits = mapped()
            watch(bits)
            os.truncate(path, 4096)
            child = os.fork()
            if not child:
                right = bits.sum() == 4096 and origin_of(bits).watch.caught
                with guarded():
                    pass
                os._exit(0 if right else 3)
            _, status = os.waitpid(child, 0)
            print(status, origin_of(bits).watch.caught, bits.sum())
    """
    assert run(code, tmp_path).stdout == "0 False 4096\n"
