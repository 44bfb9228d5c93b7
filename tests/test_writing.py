"""Files appear whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "model.layers.0.mlp.up_proj.weight"


def scanned(place: Path) -> Path:
    weights = np.random.default_rng(0).normal(0, 0.02, (64, 64)).astype(np.float32)
    save_file({NAME: weights}, place / "model.safetensors")
    return place / "model.safetensors"


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_text_bytes_and_views_are_written(tmp_path: Path) -> None:
    for content in ("λ", "λ".encode(), memoryview("λ".encode())):
        file = write_whole(tmp_path / "a.txt", content)
        assert file.read_text(encoding="utf-8") == "λ"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_new_file_follows_the_umask_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        new = write_whole(tmp_path / "new.txt", "a")
    finally:
        os.umask(before)
    assert new.stat().st_mode & 0o777 == 0o640
    new.chmod(0o604)
    assert write_whole(new, "b").stat().st_mode & 0o777 == 0o604


def test_a_link_keeps_leading_to_its_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_whole(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("there", [True, False], ids=["over a file", "new"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "big.txt"
    if there:
        target.write_text("old")
    with full_disk(10_000), pytest.raises(OSError, match="99,999 bytes could not be") as caught:
        write_whole(target, b"x" * 99_999)
    assert "File too large" in str(caught.value)
    assert ("the file that was there is untouched" in str(caught.value)) is there
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"] * there


def test_fits_on_a_full_disk_end_in_an_error_and_not_in_a_crash(tmp_path: Path) -> None:
    scanned(tmp_path)
    code = """if True:
        import resource, sys
        import weibnb as wb
        fits = wb.scan(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        wb.save_fits(fits, sys.argv[2])
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "fits.nc")],
        env=os.environ | {"PYTHONPATH": str(Path(wb.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "bytes could not be written" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


@pytest.mark.parametrize("force", [False, True])
def test_scanned_weights_are_never_replaced(tmp_path: Path, force: bool) -> None:
    model = scanned(tmp_path)
    content = model.read_bytes()
    link = tmp_path / "fits.nc"
    link.symlink_to(model)
    for source in (model, tmp_path):
        fits = wb.scan(source)
        for target in (model, link):
            with pytest.raises((FileExistsError, ValueError)):
                wb.save_fits(fits, target, force=force)
    assert model.read_bytes() == content


def test_a_file_of_something_else_is_replaced_only_by_force(tmp_path: Path) -> None:
    fits = wb.scan(scanned(tmp_path))
    thesis = tmp_path / "thesis.nc"
    thesis.write_text("years of work")
    with pytest.raises(FileExistsError, match=r"no file of fits.*force=True"):
        wb.save_fits(fits, thesis)
    assert thesis.read_text() == "years of work"
    wb.save_fits(fits, thesis, force=True)
    wb.save_fits(fits, thesis)
    assert wb.open_fits(thesis).k.shape == fits.k.shape


@pytest.mark.parametrize("name", ["fits.csv", "fits", "fits.safetensors", "fits.nc.gz"])
def test_the_ending_is_that_of_the_content(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in \.nc"):
        wb.save_fits(wb.scan(scanned(tmp_path)), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


def test_a_target_must_be_a_file_in_a_directory(tmp_path: Path) -> None:
    assert check_target(tmp_path / "a.HTML", (".html",), "a") == tmp_path / "a.HTML"
    with pytest.raises(FileNotFoundError, match=r"make .*missing' first"):
        check_target(tmp_path / "missing" / "a.html", (".html",), "a")
    with pytest.raises(IsADirectoryError, match=r"such as a\.html"):
        check_target(tmp_path, (".html",), "a")
    (tmp_path / "kept.html").touch(mode=0o444)
    with pytest.raises(PermissionError, match="read-only"):
        check_target(tmp_path / "kept.html", (".html",), "a")
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(PermissionError, match="regular file"):
        check_target(tmp_path / "pipe.html", (".html",), "a")
