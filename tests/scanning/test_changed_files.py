"""Scans of files that change under them: the cells that are concerned are named, the rest stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.counting.dispatch import Counting
from weibnb.io.files import CheckpointError
from weibnb.io.guard import AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="faults are caught on Linux only")
NAME = "model.layers.{}.mlp.up_proj.weight"
FILES, EACH, ROWS, COLS = 3, 3, 128, 256


def write(place: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(FILES):
        layers = range(number * EACH, number * EACH + EACH)
        weights = {NAME.format(i): rng.normal(0, 0.02, (ROWS, COLS)).astype("f2") for i in layers}
        file = place / f"model-{number}.safetensors"
        save_file(weights, file)
        os.utime(file, ns=(1, 1))
    return place


def size_of(path: Path) -> int:
    return path.stat().st_size


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(size_of(path) - 1000)
        file.write(b"\0" * 1000)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "to nothing": lambda path: os.truncate(path, 0),
    "to the middle": lambda path: os.truncate(path, size_of(path) // 2),
    "to a page": lambda path: os.truncate(path, 4096),
    "by one byte": lambda path: os.truncate(path, size_of(path) - 1),
    "written over": write_over,
    "replaced": replace,
    "removed": lambda path: path.unlink(),
}


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something just before the n-th matrix is counted."""

    def at(number: int, what: Callable[[], None]) -> None:
        begin, calls = Counting.submit_bits, []

        def submit_bits(self: Counting, *given: Any) -> Any:
            calls.append(1)
            if len(calls) == number:
                what()
            return begin(self, *given)

        monkeypatch.setattr(Counting, "submit_bits", submit_bits)

    return at


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("number", [1, 3, 4, 5])
def test_one_of_several_files_changes(
    tmp_path: Path, change: Callable[..., None], how: str, number: int
) -> None:
    whole = wb.scan(write(tmp_path))
    file = tmp_path / "model-1.safetensors"  # layers 3 to 5; counted 4th to 6th
    change(number, lambda: CHANGES[how](file))
    with pytest.warns(UserWarning, match=r"model-1\.safetensors`: the file") as warned:
        fits = wb.scan(tmp_path)
    status = fits["status"].isel(model=0, component=0, step=0).to_series()
    late = range(max(number, 4), 6) if how in ("replaced", "removed") else range(3, 6)
    allowed = range(3, 6)
    bad = set(status.index[status == "unreadable"])
    assert set(late) <= bad <= set(allowed)
    if how == "replaced":  # what was mapped before stays whole
        assert bad == set(range(max(number, 3), 6))
    assert len(warned) <= 2  # what was being read, and what was to be opened
    rest = [layer for layer in range(FILES * EACH) if layer not in bad]
    for variable in ("k", "lam", "n", "max_abs"):
        assert fits[variable].sel(layer=rest).equals(whole[variable].sel(layer=rest))
    assert fits["k"].sel(layer=sorted(bad)).isnull().all()
    assert (fits["n"].sel(layer=sorted(bad)) == 0).all()


def test_all_files_at_once(tmp_path: Path, change: Callable[..., None]) -> None:
    write(tmp_path)

    def cut() -> None:
        for path in tmp_path.iterdir():
            os.truncate(path, 4096)

    change(2, cut)
    with pytest.warns(UserWarning, match="truncated|changed"):
        fits = wb.scan(tmp_path)
    assert (fits["status"] == "unreadable").all()


def test_a_stack_of_experts(tmp_path: Path, change: Callable[..., None]) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    stack = np.random.default_rng(0).normal(0, 0.02, (4, 64, 128)).astype("f4")
    save_file({name: stack}, tmp_path / "model.safetensors")
    assert (wb.scan(tmp_path)["status"] == "ok").all()
    change(2, lambda: os.truncate(tmp_path / "model.safetensors", 4096))
    with pytest.warns(UserWarning, match="truncated while it was read"):
        fits = wb.scan(tmp_path, experts="each")
    assert (fits["status"] == "unreadable").sum() == 4


def test_a_second_look_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weibnb.scanning import locate

    weights = np.random.default_rng(0).normal(0, 0.02, (256, 256)).astype("f2")
    weights[3, 5], weights[:, 7] = 3, 0
    file = tmp_path / "model.safetensors"
    save_file({NAME.format(0): weights}, file)
    fits = wb.scan(file)
    assert len(locate.dead_lines(fits)) == 1
    look = locate.largest_weights

    def cut(*arguments: Any, **options: Any) -> Any:
        os.truncate(file, 4096)
        return look(*arguments, **options)

    content = file.read_bytes()
    monkeypatch.setattr(locate, "largest_weights", cut)
    for find in (locate.find_outliers, locate.dead_lines):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="truncated while it was read"):
            find(fits)


def test_truncated_at_any_moment_no_process_dies(tmp_path: Path) -> None:
    code = """if True:
        import os, random, sys, threading, warnings
        from pathlib import Path
        import weibnb as wb
        place = Path(sys.argv[1])
        warnings.simplefilter("ignore")
        files = sorted(place.glob("*.safetensors"))
        contents = [file.read_bytes() for file in files]
        wb.scan(place)
        seen = set()
        for number in range(30):
            for file, content in zip(files, contents):
                file.write_bytes(content)
            def cut():
                for file in random.sample(files, 2):
                    os.truncate(file, random.randrange(file.stat().st_size))
            thread = threading.Timer(random.random() * 0.01, cut)
            thread.start()
            try:
                seen |= set(wb.scan(place, workers=2)["status"].values.flat)
            except wb.CheckpointError:
                seen.add("unreadable")
            thread.join()
        print(*sorted(seen))
    """
    write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(wb.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert set(done.stdout.split()) <= {"ok", "unreadable"}
