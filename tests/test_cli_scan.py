"""``weibnb scan``: what it prints, writes and returns."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from tests.command_line import normal, rows, write
from weibnb.cli import main
from weibnb.counting.cpu import PendingOnThreads
from weibnb.counting.dispatch import Counting
from weibnb.scanning import scan as scanner

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import Capture

collect = PendingOnThreads.result


def test_scan_prints_a_table_and_writes_a_file(tmp_path: Path, capsys: Capture) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    assert main(["scan", str(model), "-o", str(file)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    expected = wb.scan(model)
    (line,) = rows(shown.out, "tiny", "q_proj")
    k = expected["k"].sel(component="q_proj")
    for value in (k.median(), k.min(), k.max()):
        assert f"{value.item():.4f}" in line.split()
    delta = 100 * (k.median().item() / 1.205434 - 1)
    assert f"{delta:+.2f}" in line.split()
    assert "selection" in line
    assert "1.2054" in shown.out
    assert "trim 10–90 %" in shown.out
    assert "6 matrices in" in shown.out
    assert "Not fitted: 1 norm." in shown.out
    assert f"weibnb show {file}" in shown.out
    with wb.open_fits(file) as fits:
        np.testing.assert_array_equal(fits["k"], expected["k"])


@pytest.mark.parametrize("ending", [".txt", ".safetensors", "", ".db.nc4.bak"])
def test_another_ending_of_the_output_is_wrong_usage(
    tmp_path: Path, capsys: Capture, ending: str
) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / f"fits{ending}"
    assert main(["scan", str(model), "-o", str(file)]) == 2
    assert "`path` must end in .nc" in capsys.readouterr().err
    assert not file.exists()


def test_two_paths_are_two_models(tmp_path: Path, capsys: Capture) -> None:
    paths = [write(tmp_path / "zebra"), write(tmp_path / "ant", seed=7)]
    assert main(["scan", *map(str, paths)]) == 0
    text = capsys.readouterr().out
    for name, path in (("zebra", paths[0]), ("ant", paths[1])):
        (line,) = rows(text, name, "up_proj")
        k = wb.scan(path)["k"].sel(component="up_proj").median().item()
        assert f"{k:.4f}" in line.split()


def test_paths_of_one_basename_stay_apart(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / name / "final", seed=i)) for i, name in enumerate("ab")]
    file = tmp_path / "fits.nc"
    assert main(["scan", *paths, "-o", str(file)]) == 0
    with wb.open_fits(file) as fits:
        assert fits["model"].values.tolist() == ["a/final", "b/final"]


def test_protocol_and_experts(tmp_path: Path, capsys: Capture) -> None:
    path, file = tmp_path / "moe.safetensors", tmp_path / "fits.nc"
    names = [f"model.layers.0.mlp.experts.{i}.up_proj.weight" for i in range(3)]
    save_file({name: normal(24, 24, seed=i) for i, name in enumerate(names)}, path)
    options = ["--trim", "0.05", "0.95", "--experts", "each", "--device", "cpu", "--quiet"]
    assert main(["scan", str(path), *options, "-o", str(file)]) == 0
    text = capsys.readouterr().out
    assert "trim 5–95 %" in text
    assert "k = 1.1909" in text
    with wb.open_fits(file) as fits:
        assert fits["expert"].values.tolist() == [-1, 0, 1, 2]
        assert fits.attrs["trim_lower"] == 0.05
        k = fits["k"].sel(expert=2).item()
    assert k == wb.fit_weibull(normal(24, 24, seed=2), trim=(0.05, 0.95)).k
    assert main(["scan", str(path), "--estimator", "maximum_likelihood"]) == 0
    text = capsys.readouterr().out
    assert "maximum likelihood, trim 0–100 %" in text
    assert "k = 1.2628" in text


def test_steps_of_a_run(tmp_path: Path, capsys: Capture) -> None:
    for step in (0, 5, 10):
        write(tmp_path / "run" / f"step{step}", seed=step)
    assert main(["scan", str(tmp_path / "run")]) == 0
    lines = rows(capsys.readouterr().out, "run", "up_proj")
    assert [line.split()[1] for line in lines] == ["0", "5", "10"]


@pytest.mark.parametrize(
    ("output", "status"),
    [("missing/fits.nc", 1), ("folder", 1), ("fits.zarr", 2)],
    ids=["missing", "folder", "zarr"],
)
def test_output_that_cannot_be_written_is_refused_before_the_scan(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, output: str, status: int
) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("scanned before the output was checked")

    monkeypatch.setattr(scanner, "scan", never)
    (tmp_path / "folder").mkdir()
    assert main(["scan", str(tmp_path), "-o", str(tmp_path / output)]) == status
    message = capsys.readouterr().err
    assert str(tmp_path / output) in message


@pytest.mark.filterwarnings("default")
def test_one_of_several_paths_is_bad(tmp_path: Path, capsys: Capture) -> None:
    assert main(["scan", str(write(tmp_path / "tiny")), str(tmp_path / "gone")]) == 1
    shown = capsys.readouterr()
    assert rows(shown.out, "tiny", "up_proj")
    assert "gone" in shown.out
    assert re.fullmatch(r"weibnb: gone, step 0 is left out: .*\n", shown.err)


@pytest.mark.skipif(sys.platform != "linux", reason="faults are caught on Linux only")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("how", ["truncate", "replace"])
def test_a_file_that_changes_during_the_scan(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    model, other, output = write(tmp_path / "tiny"), tmp_path / "other", tmp_path / "fits.nc"
    file, begin = model / "model.safetensors", Counting.submit_bits
    other.write_bytes(file.read_bytes())

    def submit_bits(*arguments: Any) -> Any:
        if other.exists():
            if how == "truncate":
                os.truncate(file, 4096)
                other.unlink()
            else:
                other.replace(file)
        return begin(*arguments)

    monkeypatch.setattr(Counting, "submit_bits", submit_bits)
    assert main(["scan", str(model), "-o", str(output)]) == 1
    assert f"weibnb: `{file}`: the file " in capsys.readouterr().err
    with wb.open_fits(output) as fits:
        assert (fits["status"] == "unreadable").sum() == (6 if how == "truncate" else 5)


@pytest.mark.parametrize("output", [True, False])
def test_interrupt(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, output: bool
) -> None:
    calls = []

    def stop(pending: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return collect(pending)

    monkeypatch.setattr(PendingOnThreads, "result", stop)
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    arguments = ["scan", str(model), *(["-o", str(file)] if output else [])]
    assert main(arguments) == 130
    message = capsys.readouterr().err
    assert "interrupted; the 3 matrices so far" in message
    assert file.exists() == output
    if output:
        assert str(file) in message
        with wb.open_fits(file) as fits:
            assert (fits["status"] == "ok").sum() == 3
    else:
        assert "not saved" in message


def test_interrupt_before_the_first_matrix(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(PendingOnThreads, "result", stop)
    file = tmp_path / "fits.nc"
    assert main(["scan", str(write(tmp_path / "tiny")), "-o", str(file)]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not file.exists()


def test_limits_are_raised_as_the_message_says(tmp_path: Path, capsys: Capture) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (3, 16, 16)).astype("f2")
    file = tmp_path / "model.safetensors"
    save_file({"model.layers.0.mlp.experts.down_proj": weights}, file)
    for option in ("--max-tensors", "--max-header"):
        assert main(["scan", str(file), "--quiet", option, "2"]) == 1
        advice = capsys.readouterr().err.partition(f"in a shell `{option} ")[2]
        assert main(["scan", str(file), "--quiet", option, advice.partition("`")[0]]) == 0
        capsys.readouterr()


def test_scan_looks_at_rows_and_columns_as_asked(tmp_path: Path) -> None:
    model = str(write(tmp_path / "tiny", layers=1))
    found = {}
    for flag in ("", "--fields", "--no-structure"):
        file = tmp_path / f"fits{flag}.nc"
        assert main(["scan", model, "-o", str(file), "--quiet", *([flag] if flag else [])]) == 0
        with wb.open_fits(file) as fits:
            found[flag] = "row_rms" in fits, bool(fits["h_row"].notnull().all())
    assert found == {"": (False, True), "--fields": (True, True), "--no-structure": (False, False)}


def test_fields_without_structure_are_refused(tmp_path: Path, capsys: Capture) -> None:
    model = str(write(tmp_path / "tiny", layers=1))
    assert main(["scan", model, "--fields", "--no-structure"]) == 1
    assert "`fields` must come with structure=True" in capsys.readouterr().err
