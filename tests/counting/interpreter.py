"""The GPU's kernel as Triton's interpreter runs it, on the CPU."""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from typing import Any

import pytest

from weibnb import counting

NO_TRITON = "Triton is not installed"
KERNEL = "weibnb.counting.triton_kernel"


def triton_modules() -> list[str]:
    """Name what was imported of Triton, except for its extension module."""
    return [name for name in sys.modules if name.split(".")[0] == "triton" and "._C" not in name]


@lru_cache(maxsize=1)
def interpreted() -> Any:
    """Import the kernel as what Triton's interpreter runs, and leave no trace.

    The functions of Triton's own language are decorated when it is imported, so this takes a
    second import of it as well.
    """
    before = {name: sys.modules.pop(name) for name in triton_modules()}
    before |= {KERNEL: sys.modules.pop(KERNEL)} if KERNEL in sys.modules else {}
    attribute = counting.__dict__.pop("triton_kernel", None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            return importlib.import_module(KERNEL)
    finally:
        for name in (*triton_modules(), KERNEL):
            sys.modules.pop(name, None)
        sys.modules.update(before)
        counting.__dict__.pop("triton_kernel", None)
        if attribute is not None:
            counting.__dict__["triton_kernel"] = attribute


def use_interpreter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let `choose_kernel` find the interpreted kernel for the CPU."""
    pytest.importorskip("triton", reason=NO_TRITON)
    module = interpreted()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, KERNEL, module)
    monkeypatch.setitem(vars(counting), "triton_kernel", module)  # setattr would import it first
    return module
