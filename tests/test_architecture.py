"""The table of rooms: who may import what, what is public, what is never done."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import weibnb as wb

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(wb.__file__).parent
# Rooms from the ground up, with the packages that each may import; those in brackets only inside
# functions. A room imports rooms above it in this list, and no others.
ROOMS = {
    "weibull": "numpy scipy",
    "components": "",
    "safetensors_file": "numpy safetensors",
    "checkpoint": "numpy",
    "sources": "numpy",
    "histogram": "numba numpy (torch)",
    "_gpu_kernel": "numpy torch triton",
    "_counters": "numpy torch",
    "_staging": "numpy torch",
    "accelerator": "numpy torch",
    "counting": "(torch)",
    "_kernels": "numba numpy scipy",
    "fit": "numpy",
    "dataset": "numpy pandas xarray",
    "scanner": "numpy xarray (tqdm)",
    "monitor": "xarray",
    "verdicts": "numpy xarray",
    "anchoring": "numpy xarray",
    "bands": "numpy xarray",
    "storage": "numpy xarray",
    "cohorts": "numpy pandas xarray",
    "_distributions": "numba numpy",
    "_families": "numba numpy",
    "_mixture": "numba numpy",
    "families": "numpy pandas scipy xarray",
    "tails": "numba numpy xarray",
    "outliers": "numpy (pandas) scipy xarray",
    "budget": "numpy xarray",
    "dynamics": "numpy scipy xarray",
    "report": "numpy pandas",
    "_tables": "numpy pandas xarray",
    "_curves": "numpy scipy",
    "_drawing": "numpy",
    "_marks": "numpy pandas",
    "_maps": "numpy",
    "_paper": "numpy pandas",
    "_densities": "numpy pandas",
    "_lines": "numpy pandas",
    "_strips": "numpy pandas",
    "_altair": "altair",
    "charts": "",
    "subsets": "numpy xarray",
    "_filters": "numpy",
    "_views": "",
    "_still": "(IPython vl_convert)",
    "explorer": "anywidget numpy traitlets",
    "accessor": "xarray",
    "testing": "numpy",
    "cli": "",
}
# Rooms that a room sees, where they are fewer than all above.
SEES = {
    "safetensors_file": set(),
    "checkpoint": {"components", "safetensors_file"},
    "sources": {"checkpoint"},
    "histogram": set(),
    "_gpu_kernel": {"histogram"},
    "_counters": {"histogram", "_gpu_kernel"},
    "_staging": {"_counters", "histogram"},
    "accelerator": {"histogram", "_counters", "_staging"},
    "counting": {"histogram", "accelerator"},
    "_kernels": set(),
    "fit": {"weibull", "histogram", "counting", "_kernels"},
    "dataset": {"weibull"},
    "verdicts": {"weibull", "dataset"},
    "anchoring": {"weibull", "dataset", "verdicts"},
    "bands": {"weibull", "dataset", "verdicts"},
    "storage": {"weibull", "dataset", "verdicts"},
    "cohorts": {"weibull", "dataset", "verdicts", "bands"},
    "_distributions": set(),
    "_families": {"_distributions"},
    "_mixture": {"_distributions"},
    "_drawing": set(),
    "_altair": {"_drawing"},
    "subsets": {"weibull", "dataset"},
    "_filters": {"weibull", "dataset", "verdicts", "_tables"},
    "_still": set(),
    "testing": set(),
}
MAIN_PATH = {"scan", "refit", "open_checkpoint", "fit_weibull", "count_magnitudes", "save_fits"}
# What a function works on beside its first argument.
OPERANDS = {"save_fits": 1, "write_report": 1, "judge": 1, "compare": 1}
# Public things whose docstring needs no example of its own, and why.
WITHOUT_EXAMPLE = {
    "ScanInterrupted": "raised by Ctrl-C",
    "WeibullFit": "made by fit_weibull",
    "open_fits": "shown in save_fits",
}


def tree_of(room: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))


def imports(node: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Give what is imported at run time, and whether it is inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from imports(other, inside=inside)
        elif isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            names = [alias.name for alias in child.names]
            yield from (
                (
                    f"{child.module}.{name}" if child.module == "weibnb" else str(child.module),
                    inside,
                )
                for name in names
            )
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(child, inside=inside or function)


def calls(node: ast.AST) -> set[str]:
    return {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}


def public_things() -> list[str]:
    return [name for name in wb.__all__ if callable(getattr(wb, name))]


def test_every_room_is_in_the_table() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ROOMS, "__init__"}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_the_table_allows(room: str) -> None:
    order = list(ROOMS)
    above = SEES.get(room, set(order[: order.index(room)]))
    anywhere = {word.strip("()") for word in ROOMS[room].split()}
    at_the_top = {word for word in ROOMS[room].split() if not word.startswith("(")}
    for name, inside in imports(tree_of(room)):
        package, _, rest = name.partition(".")
        if package == "weibnb":
            assert rest.split(".")[0] in above, f"{room} imports {name}"
        elif package not in sys.stdlib_module_names:
            allowed = anywhere if inside else at_the_top
            assert package in allowed, f"{room} imports {name}{' in a function' * inside}"


@pytest.mark.parametrize("room", [*ROOMS, "__init__"])
def test_what_no_room_does(room: str) -> None:
    tree = tree_of(room)
    called = calls(tree)
    assert room == "cli" or "print" not in called
    forbidden = {
        *("pickle.load", "pickle.loads", "torch.load", "eval", "exec", "np.seterr"),
        *("numpy.seterr", "logging.basicConfig", "pd.read_pickle", "warnings.simplefilter"),
    }
    assert not called & forbidden
    assert not any(
        "allow_pickle" in ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
    )
    assert not {"pickle", "marshal", "shelve", "dill"} & {name for name, _ in imports(tree)}
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def python(code: str, *arguments: str, cwd: Path | None = None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_is_light() -> None:
    code = "import sys, weibnb; dir(weibnb); print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(python(code))
    heavy = {"torch", "numba", "xarray", "pandas", "altair", "scipy", "numpy", "h5py", "tqdm"}
    assert "weibnb" in loaded
    assert not loaded & heavy


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
    assert "weibnb.scanner" in loaded
    assert not loaded & {"torch", "altair", "matplotlib", "transformers"}


def test_opening_fits_needs_neither_numba_nor_torch(tmp_path: Path) -> None:
    python(
        """if True:
        import numpy as np, weibnb as wb
        name = "model.layers.0.mlp.up_proj.weight"
        wb.save_fits(wb.scan({"a": {name: np.random.default_rng(0).normal(size=(20, 20))}}), "f.nc")
    """,
        cwd=tmp_path,
    )
    loaded = python(
        """if True:
        import sys, weibnb as wb
        with wb.open_fits("f.nc") as fits:
            wb.not_fitted(fits)
        print(*sys.modules)
    """,
        cwd=tmp_path,
    )
    assert "weibnb.dataset" in loaded
    assert not {"numba", "torch", "weibnb.scanner"} & set(loaded)


def test_public_names() -> None:
    assert len(set(wb.__all__)) == len(wb.__all__)
    assert set(dir(wb)) == {*wb.__all__, "__version__"}
    assert set(wb._ROOMS) == set(wb.__all__)
    for name in wb.__all__:
        assert getattr(wb, name).__name__ == name
        assert getattr(wb, name).__module__ == f"weibnb.{wb._ROOMS[name]}"
    assert isinstance(wb.__version__, str)
    assert wb.__version__
    with pytest.raises(AttributeError, match="no attribute 'scam'"):
        wb.scam  # noqa: B018
    assert len(wb.__all__) <= 27


def test_type_checkers_see_the_same_names() -> None:
    tree = tree_of("__init__")
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and "CHECKING" in ast.unparse(node)
    ]
    seen = {
        (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(f"weibnb.{room}", name) for name, room in wb._ROOMS.items()}


def test_scan_stays_the_function() -> None:
    importlib.import_module("weibnb.scanner")
    assert inspect.isfunction(wb.scan)
    assert not (PACKAGE / "scan.py").exists()
    assert not set(wb.__all__) & set(ROOMS)


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
