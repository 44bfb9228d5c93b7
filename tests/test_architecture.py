"""Who may import what, what is public, what is never done."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def python(code: str, *arguments: str, cwd: Path | None = None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_is_light() -> None:
    code = "import sys, weibnb; dir(weibnb); print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(python(code))
    assert {"weibnb", "xarray"} <= loaded
    assert not loaded & {"torch", "numba", "altair", "scipy", "h5py", "tqdm", "safetensors"}


def test_the_command_begins_without_what_it_may_not_need() -> None:
    code = "import sys; from weibnb.cli import _parser; _parser(); print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code)}
    assert not loaded & {"torch", "numba", "altair", "scipy", "h5py", "tqdm", "safetensors"}


def test_a_check_needs_no_statistics_of_scipy() -> None:
    """They take longer to import than a small model to check."""
    code = "import sys, weibnb.diagnostics.check; print(*sys.modules)"
    assert not {name for name in python(code) if name.startswith("scipy.stats")}


def test_scanning_and_opening_need_no_torch(tmp_path: Path) -> None:
    code = """if True:
        import sys, numpy as np, weibnb as wb
        from weibnb.testing import write_checkpoint
        fits = wb.scan(write_checkpoint("tiny", layers=1, hidden=32))
        wb.save_fits(fits, "fits.nc")
        with wb.open_fits("fits.nc") as again:
            wb.refit(again, trim=(0.2, 0.8))
            wb.not_fitted(again)
        wb.fit_weibull(np.ones(200))
        print(*sys.modules)
    """
    loaded = set(python(code, cwd=tmp_path))
    assert "weibnb.scanning.scan" in loaded
    assert not loaded & {"torch", "altair", "matplotlib", "transformers"}


@pytest.mark.parametrize("file", ["fits.nc", "fits.db"])
def test_opening_fits_needs_neither_numba_nor_torch(tmp_path: Path, file: str) -> None:
    python(
        """if True:
        import numpy as np, weibnb as wb
        name = "model.layers.0.mlp.up_proj.weight"
        source = {"a": {name: np.random.default_rng(0).normal(size=(20, 20))}}
        wb.save_fits(wb.scan(source, store="fits.db"), "fits.nc")
    """,
        cwd=tmp_path,
    )
    loaded = python(
        f"""if True:
        import sys, weibnb as wb
        with wb.open_fits("{file}") as fits:
            wb.not_fitted(fits)
        print(*sys.modules)
    """,
        cwd=tmp_path,
    )
    assert "weibnb.fits.schema" in loaded
    assert not {"numba", "torch", "weibnb.scanning.scan"} & set(loaded)


def test_charts_need_neither_numba_nor_torch() -> None:
    loaded = python("""if True:
        import sys, weibnb as wb
        from weibnb import charts
        fits = wb.reference_cohort().isel(model=[0, 1])
        for chart in (charts.layer_map, charts.class_bands, charts.depth_profile, charts.cohort):
            chart(fits).to_dict()
        print(*sys.modules)
    """)
    assert "altair" in loaded
    assert not {"numba", "torch", "weibnb.io", "weibnb.scanning"} & set(loaded)


def test_the_explorer_needs_no_torch_and_reads_no_weights() -> None:
    loaded = python("""if True:
        import sys, weibnb as wb
        explorer = wb.explore(wb.reference_cohort().isel(model=[0, 1]))
        explorer.panel = "classes"
        explorer.chart.to_dict()
        print(*sys.modules)
    """)
    assert "anywidget" in loaded
    assert not {"torch", "weibnb.io.checkpoint", "weibnb.scanning.scan"} & set(loaded)


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
