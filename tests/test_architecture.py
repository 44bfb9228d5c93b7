"""Who may import what, what is public, what is never done."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weibnb as wb

PACKAGE = Path(wb.__file__).parent
MAIN_PATH = {"scan", "refit", "open_checkpoint", "fit_weibull", "count_magnitudes", "save_fits"}
# What a function works on beside its first argument.
OPERANDS = {
    "save_fits": 1,
    "write_report": 1,
    "judge": 1,
    "compare": 1,
    "nearest_published": 1,
    "diff": 1,
}
# Public things whose docstring needs no example of its own, and why.
WITHOUT_EXAMPLE = {
    "ScanInterrupted": "raised by Ctrl-C",
    "WeibullFit": "made by fit_weibull",
    "open_fits": "shown in save_fits",
}


MODULES = sorted(PACKAGE.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> set[str]:
    """Give the top-level packages that a module imports anywhere."""
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def calls(node: ast.AST) -> set[str]:
    return {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}


def public_things() -> list[str]:
    return [name for name in dir(wb) if callable(getattr(wb, name))]


def test_imports_go_one_way() -> None:
    """The contracts of pyproject.toml, held by import-linter."""
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_names_its_modules() -> None:
    for face in PACKAGE.glob("*/__init__.py"):
        modules = {path.stem for path in face.parent.glob("*.py")} - {"__init__"}
        text = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
        assert 3 <= len(text.splitlines()) <= 7
        if face.parent.name != "charts":  # its functions are what it names
            assert modules <= set(dir(importlib.import_module(f"weibnb.{face.parent.name}")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_no_module_does(path: Path) -> None:
    tree = tree_of(path)
    called = calls(tree)
    assert path.name == "cli_output.py" or "print" not in called
    forbidden = {
        *("pickle.load", "pickle.loads", "torch.load", "eval", "exec", "np.seterr"),
        *("numpy.seterr", "logging.basicConfig", "pd.read_pickle", "warnings.simplefilter"),
    }
    doors = {"torch_files.py": {"torch.load"}}  # with weights_only, after checks of its own
    assert not called & (forbidden - doors.get(path.name, set()))
    assert not any(
        "allow_pickle" in ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
    )
    # one names its errors, the other a table of stand-ins in the place of every class
    may = path.name in {"torch_files.py", "distributed_checkpoint.py"}
    pickles = {"marshal", "shelve", "dill"} | (set() if may else {"pickle"})
    assert not pickles & imported(tree)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


# What is done in a process of its own, which then tells what it has loaded.
DONE = {
    "weibnb": "dir(weibnb)",
    "command": "from weibnb.cli import _parser; _parser()",
    "check": "import weibnb.diagnostics.check",
    "scan": """if True:
        import numpy as np
        from weibnb.testing import write_checkpoint
        fits = weibnb.scan(write_checkpoint("tiny", layers=1, hidden=32))
        weibnb.save_fits(fits, "again.nc")
        with weibnb.open_fits("again.nc") as again:
            weibnb.refit(again, trim=(0.2, 0.8))
            weibnb.not_fitted(again)
        weibnb.fit_weibull(np.ones(200))
    """,
    "fits.nc": "weibnb.not_fitted(weibnb.open_fits('fits.nc'))",
    "fits.db": "weibnb.not_fitted(weibnb.open_fits('fits.db'))",
    "charts": """if True:
        from weibnb import charts
        fits = weibnb.reference_cohort().isel(model=[0, 1])
        for chart in (charts.layer_map, charts.class_bands, charts.depth_profile, charts.cohort):
            chart(fits).to_dict()
    """,
    "explorer": """if True:
        explorer = weibnb.explore(weibnb.reference_cohort().isel(model=[0, 1]))
        explorer.panel = "classes"
        explorer.chart.to_dict()
    """,
}
# One interpreter imports weibnb alone; each of these is done in a fork of it.
FORKS = """if True:
    import json, os, sys
    import weibnb
    children = []
    for name, code in json.loads(sys.argv[1]).items():
        child = os.fork()
        if not child:
            exec(code)
            with open(f"{name}.loaded", "w") as file:
                file.write(" ".join(sys.modules))
            break
        children.append(child)
    else:
        sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Give the modules that each of `DONE` loads."""
    place = tmp_path_factory.mktemp("loaded")
    source = {"a": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}}
    wb.save_fits(wb.scan(source, store=place / "fits.db"), place / "fits.nc")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, json.dumps(DONE)],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OPENBLAS_NUM_THREADS": "1"},
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return {name: set((place / f"{name}.loaded").read_text().split()) for name in DONE}


@pytest.mark.parametrize(
    ("what", "needs", "never"),
    [
        ("weibnb", "xarray", "torch numba altair scipy h5py tqdm safetensors"),
        ("command", "argparse", "torch numba altair scipy h5py tqdm safetensors"),
        # they take longer to import than a small model to check
        ("check", "weibnb.diagnostics.check", "scipy.stats"),
        ("scan", "weibnb.scanning.scan", "torch altair matplotlib transformers"),
        ("fits.nc", "weibnb.fits.schema", "numba torch weibnb.scanning.scan"),
        ("fits.db", "weibnb.fits.schema", "numba torch weibnb.scanning.scan"),
        ("charts", "altair", "numba torch weibnb.io weibnb.scanning"),
        ("explorer", "anywidget", "torch weibnb.io.checkpoint weibnb.scanning.scan"),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(
    loaded: dict[str, set[str]], what: str, needs: str, never: str
) -> None:
    assert {"weibnb", needs} <= loaded[what]
    assert not loaded[what] & set(never.split())


def test_help_begins_with_what_a_user_calls() -> None:
    text = inspect.getdoc(wb) or ""
    functions = {name for name in public_things() if inspect.isfunction(getattr(wb, name))}
    assert {name for name in functions if name not in text} == set()


def test_what_is_public_is_what_the_api_pages_list() -> None:
    page = (PACKAGE.parent / "docs" / "api" / "weibnb.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: weibnb\.(\w+)$", page, re.MULTILINE)) == set(public_things())


def test_public_names() -> None:
    assert len(set(dir(wb))) == len(dir(wb))
    for name in dir(wb):
        thing = getattr(wb, name)
        assert thing.__name__.rpartition(".")[2] == name
        assert (thing.__name__ if inspect.ismodule(thing) else thing.__module__).startswith(
            "weibnb."
        )
    assert wb.__version__
    with pytest.raises(AttributeError, match="attribute scam"):
        wb.scam  # type: ignore[attr-defined]  # noqa: B018
    assert len(dir(wb)) <= 52


def test_scan_stays_the_function() -> None:
    for module in ("weibnb.scanning.scan", "weibnb.fits.refit", "weibnb.diagnostics.drift"):
        importlib.import_module(module)
    assert all(inspect.isfunction(thing) for thing in (wb.scan, wb.refit, wb.drift))


@pytest.mark.parametrize("name", public_things())
def test_public_things_are_documented(name: str) -> None:
    thing: Any = getattr(wb, name)
    text = inspect.getdoc(thing) or ""
    sections = set(re.findall(r"^(\w[\w ]*)\n-{3,}$", text, re.MULTILINE))
    assert text.splitlines()[0].endswith((".", "?"))
    assert name in WITHOUT_EXAMPLE or "Examples" in sections
    if inspect.isclass(thing):
        assert {"Parameters", "Attributes"} & sections
        return
    signature = inspect.signature(thing)
    assert "Parameters" in sections or not signature.parameters
    assert "Returns" in sections
    body = text.partition("Parameters\n")[2].partition("Returns\n")[0]
    described = {
        word.strip()
        for line in re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", body, re.MULTILINE)
        for word in line.split(",")
    }
    assert set(signature.parameters) <= described
    for parameter in list(signature.parameters.values())[1 + OPERANDS.get(name, 0) :]:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter
    if name in MAIN_PATH:
        assert "Raises" in sections


def test_packaged_data_is_small() -> None:
    size = sum(path.stat().st_size for path in (PACKAGE / "data").rglob("*") if path.is_file())
    assert size < 12_000_000
