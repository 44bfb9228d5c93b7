"""Compiled loops where nothing can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import weibnb as wb
from weibnb.compiled import compiled, compiled_inline


def test_a_compiled_loop_is_the_function() -> None:
    def triple(values: object) -> float:
        """Sum three times."""
        total = 0.0
        for value in values:  # type: ignore[attr-defined]
            total += 3 * value
        return total

    for decorate in (compiled, compiled_inline):
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
            import numpy as np, weibnb as wb
            fit = wb.fit_weibull(np.random.default_rng(0).normal(size=5000))
        print(len([w for w in told if "NUMBA_CACHE_DIR" in str(w.message)]), fit.status, fit.k)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(wb.__file__).parents[1])},
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    sentences, status, k = done.stdout.split()
    assert (sentences, status) == ("1", "ok")
    assert float(k) == wb.fit_weibull(np.random.default_rng(0).normal(size=5000)).k
