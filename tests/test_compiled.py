"""Compiled loops where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weibnb as wb
from weibnb.compiled import (
    _forget_stale,
    compiled,
    compiled_inline,
    compiled_inline_sums,
    compiled_sums,
)


def test_a_compiled_loop_is_the_function() -> None:
    def triple(values: object) -> float:
        """Sum three times."""
        total = 0.0
        for value in values:  # type: ignore[attr-defined]
            total += 3 * value
        return total

    for decorate in (compiled, compiled_inline, compiled_sums, compiled_inline_sums):
        loop = decorate(triple)
        assert loop(np.arange(4.0)) == triple(np.arange(4.0)) == 18
        assert loop.__doc__ == "Sum three times."


def test_without_a_place_for_a_cache_everything_works_and_one_sentence_says_so() -> None:
    code = """if True:
        import warnings
        import numba.core.caching as caching
        caching.CacheImpl._locator_classes = []  # as where package and home are read-only
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            import weibnb.counting.cpu
            from weibnb.compiled import compiled
            @compiled
            def double(x):
                return 2 * x
        print(len([w for w in told if "NUMBA_CACHE_DIR" in str(w.message)]), double(21))
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(wb.__file__).parents[1])},
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.split() == ["1", "42"]


def test_sums_are_the_same_when_they_were_compiled_and_when_they_were_loaded(
    tmp_path: Path,
) -> None:
    code = """if True:
        import numpy as np
        from weibnb.counting.lines import lines_of
        from weibnb.fitting.scales import _spreads, spreads
        found = b""
        for shape in ((64, 64), (700, 40), (2048, 1024)):
            w = np.random.default_rng(0).normal(size=shape).astype("f4")
            some = [lines_of(w.view("u4"), "F32", shape)]
            found += spreads(some, np.abs(w).max(keepdims=True)[0]).tobytes()
        print(found.hex(), sum(_spreads.stats.cache_hits.values()))
    """
    root = str(Path(wb.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "NUMBA_CACHE_DIR": str(tmp_path)}

    def call() -> list[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=240,
        ).stdout.split()

    (fresh, before), (loaded, after) = call(), call()
    assert (before, after) == ("0", "1")
    assert fresh == loaded


LOOPS = {
    "inner": """
from weibnb.compiled import compiled_inline
@compiled_inline
def inner(x):
    return x + {added}
""",
    "outer": """
from weibnb.compiled import compiled
from weibnb.{inner} import inner
@compiled
def outer(x):
    return inner(x)
""",
}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_kept_loop_is_compiled_anew_when_one_that_it_calls_has_changed(
    tmp_path: Path, *, elsewhere: bool
) -> None:
    package = tmp_path / "weibnb"
    package.mkdir()
    shutil.copy(Path(wb.__file__).parent / "compiled.py", package)
    (package / "__init__.py").touch()
    (package / "outer.py").write_text(LOOPS["outer"].format(inner="inner"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    if elsewhere:
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kept")

    def call() -> list[int]:
        code = (
            "from weibnb.outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            timeout=240,
        )
        return [int(word) for word in done.stdout.split()]

    (package / "inner.py").write_text(LOOPS["inner"].format(added=1))
    assert call() == [2, 0]
    assert call() == [2, 1]
    (package / "inner.py").write_text(LOOPS["inner"].format(added=5))
    assert call() == [6, 0]
    assert call() == [6, 1]


def test_a_kept_loop_that_another_process_removes_meanwhile(tmp_path: Path) -> None:
    """A link to nothing is listed, and is not there."""
    (tmp_path / "gone.nbi").symlink_to(tmp_path / "nothing")
    old = tmp_path / "old.nbi"
    old.touch()
    os.utime(old, (0, 0))
    _forget_stale.__wrapped__(tmp_path)
    assert not old.exists()
