"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb import cli
from weibnb.cli import copy_tutorials, main, table_text
from weibnb.counting.cpu import PendingOnThreads
from weibnb.scanning import scan as scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(wb.__file__).parent.parent
DEMO = Path(wb.__file__).parent / "data" / "demo"
Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
Capture = pytest.CaptureFixture[str]
collect = PendingOnThreads.result


def normal(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype("f2")


def write(directory: Path, *, seed: int = 0, layers: int = 3) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    weights = {UP.format(i): normal(40, 24, seed=seed + i) for i in range(layers)}
    weights |= {Q.format(i): normal(24, 24, seed=seed + i) for i in range(layers)}
    save_file(weights | {"model.norm.weight": normal(24)}, directory / "model.safetensors")
    return directory


def rows(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line.split() for word in words)]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    command = [sys.executable, "-m", "weibnb.cli", *arguments]
    return subprocess.run(
        command, env=environment, check=False, capture_output=True, timeout=60, **options
    )


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
    ("arguments", "message"),
    [
        (["scan", "nowhere"], "nowhere"),
        (["scan", "{}", "--trim", "0.9", "0.1"], "`trim` must satisfy"),
        (["scan", "{}", "--device", "gpu"], "`device` must be"),
        (["scan", "{}", "-o", "no such folder/fits.nc"], "no such folder"),
        (["show", "nowhere.nc"], "nowhere.nc"),
        (["show", "{}/model.safetensors"], "model.safetensors"),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    model = write(tmp_path / "tiny")
    assert main([argument.format(model) for argument in arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("weibnb: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "output", ["missing/fits.nc", "folder", "fits.zarr"], ids=["missing", "folder", "zarr"]
)
def test_output_that_cannot_be_written_is_refused_before_the_scan(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("scanned before the output was checked")

    monkeypatch.setattr(scanner, "scan", never)
    (tmp_path / "folder").mkdir()
    assert main(["scan", str(tmp_path), "-o", str(tmp_path / output)]) == 1
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
@pytest.mark.parametrize("how", ["os.truncate(file, 4096)", "os.replace(other, file)"])
def test_a_file_that_changes_during_the_scan(tmp_path: Path, how: str) -> None:
    model, other, output = write(tmp_path / "tiny"), tmp_path / "other", tmp_path / "fits.nc"
    other.write_bytes((model / "model.safetensors").read_bytes())
    code = """if True:
        import os, sys
        from weibnb import cli
        from weibnb.counting.dispatch import Counting
        begin, (model, other, output) = Counting.submit_bits, sys.argv[1:]
        file = model + "/model.safetensors"
        def submit_bits(*arguments):
            if os.path.exists(other):
                CHANGE
                if os.path.exists(other):
                    os.remove(other)
            return begin(*arguments)
        Counting.submit_bits = submit_bits
        raise SystemExit(cli.main(["scan", model, "-o", output]))
    """
    done = subprocess.run(
        [sys.executable, "-c", code.replace("CHANGE", how), str(model), str(other), str(output)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        timeout=60,
    )
    message = done.stderr.decode()
    assert done.returncode == 1, message
    assert "Traceback" not in message
    assert f"weibnb: `{model}/model.safetensors`: the file " in message
    with wb.open_fits(output) as fits:
        assert (fits["status"] == "unreadable").sum() == (6 if "truncate" in how else 5)


def shell(command: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    program = f"'{sys.executable}' -m weibnb.cli"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("weibnb", program)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("command", "statuses", "said"),
    [
        ("weibnb show fits.nc >&-", {0}, ""),
        ("weibnb show fits.nc 2>&-", {0}, ""),
        ("weibnb show fits.nc >&- 2>&- <&-", {0}, ""),
        ("weibnb scan tiny -o again.nc >&- 2>&- <&-", {0}, ""),
        ("weibnb show gone.nc 2>&-", {1}, ""),
        ("weibnb show fits.nc --all | head -1", {0, 1}, ""),
        ("weibnb show fits.nc --all | true", {0, 1}, ""),
        ("weibnb show gone.nc 2>&1 | true", {0, 1}, ""),
        ("weibnb show gone.nc 2>/dev/full", {1}, ""),
        ("weibnb show fits.nc >/dev/full", {1}, "weibnb: .*No space left"),
        ("weibnb show gone.nc >/dev/full", {1}, "weibnb: "),
    ],
)
def test_streams_that_take_nothing(
    tmp_path: Path, command: str, statuses: set[int], said: str
) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    wb.save_fits(wb.scan(write(tmp_path / "tiny")), tmp_path / "fits.nc")
    done = shell(command, tmp_path)
    message = done.stderr.decode()
    assert done.returncode in statuses, message
    assert re.match(said, message) if said else not message
    assert len(message.splitlines()) <= 1
    if "again" in command:
        again, fits = (wb.open_fits(tmp_path / name) for name in ("again.nc", "fits.nc"))
        assert again["k"].equals(fits["k"])


@pytest.mark.parametrize("arguments", [[], ["scan"], ["scan", "a", "--trim", "1"], ["paint"]])
def test_bad_usage(capsys: Capture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: weibnb" in capsys.readouterr().err


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"weibnb {wb.__version__}\n"


def test_show(tmp_path: Path, capsys: Capture) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    fits = wb.scan(model)
    wb.save_fits(fits, file)
    assert main(["show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(table_text(fits))
    assert "Not fitted: 1 norm." in shown
    assert main(["show", str(file), "--all"]) == 0
    text = capsys.readouterr().out
    lines = rows(text, "tiny", "ok")
    assert len(lines) == 6
    for layer in range(3):
        (line,) = rows(text, "tiny", str(layer), "q_proj")
        k = fits["k"].sel(layer=layer, component="q_proj").item()
        assert f"{k:.4f}" in line.split()


def test_cells_without_a_fit_are_shown(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "fits.nc"
    weights = {Q.format(0): np.zeros((20, 20), "f2"), Q.format(1): normal(20, 20)}
    wb.save_fits(wb.scan({"tiny": weights}), file)
    assert main(["show", str(file), "--all"]) == 0
    text = capsys.readouterr().out
    assert len(rows(text, "tiny", "all_zero")) == 1
    assert "nan" not in text.lower()
    assert "Not fitted: 1 all_zero." in text


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


@pytest.mark.skipif(not DEMO.is_dir(), reason="the demo is not packaged")
def test_demo(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "demo.nc"
    assert main(["demo", "-o", str(file)]) == 0
    text = capsys.readouterr().out
    steps = [int(name.name.removeprefix("step")) for name in DEMO.glob("step*")]
    assert "1.2054" in text
    assert str(file) in text
    with wb.open_fits(file) as fits:
        assert fits["step"].values.tolist() == sorted(steps)
        assert fits["k"].notnull().any(["layer", "component"]).all()
    for step in steps:
        assert rows(text, "demo", str(step), "q_proj") or rows(text, "demo", str(step), "qkv_proj")


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """JupyterLab seems to be there; the commands that would take over are listed instead."""
    started: list[list[str]] = []
    monkeypatch.setattr(cli, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "execv", lambda program, words: started.append([program, *words]))
    return started


@pytest.fixture
def packaged() -> list[Path]:
    beside = (DEMO.parent / "notebooks", ROOT / "notebooks")
    return next(filter(None, (sorted(place.glob("*.ipynb")) for place in beside)))


def test_lab_copies_the_tutorials_and_opens_the_first(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], capsys: Capture
) -> None:
    directory = tmp_path / "new" / "place"
    main(["lab", str(directory)])
    main(["lab", str(directory), "--no-browser"])
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        path.name: path.read_bytes() for path in packaged
    }
    first = packaged[0].name
    address = f"--LabApp.default_url=/lab/tree/{first}"
    command = [sys.executable, "-m", "jupyterlab", str(directory / first), address]
    assert lab == [[sys.executable, *command], [sys.executable, *command, "--no-browser"]]
    assert capsys.readouterr().out == ""


def test_lab_goes_to_a_directory_of_its_own_by_default(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["lab"])
    assert [path.name for path in tmp_path.iterdir()] == ["weibnb-tutorials"]
    assert Path(lab[0][4]).resolve() == tmp_path / "weibnb-tutorials" / packaged[0].name


def test_lab_keeps_what_was_changed(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], capsys: Capture
) -> None:
    copy_tutorials(tmp_path)
    changed, lost = tmp_path / packaged[-1].name, tmp_path / packaged[0].name
    changed.write_text("mine")
    (tmp_path / "notes.txt").write_text("mine, too")
    if lost != changed:
        lost.unlink()
    main(["lab", str(tmp_path)])
    assert capsys.readouterr().out == (f"{changed.name} kept: it differs from the packaged one\n")
    assert changed.read_text() == "mine"
    assert (tmp_path / "notes.txt").read_text() == "mine, too"
    assert lost.exists()
    assert len(lab) == 1


def test_lab_without_jupyterlab_writes_nothing(
    tmp_path: Path, lab: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert main(["lab", str(tmp_path / "new")]) == 1
    assert "pip install 'weibnb[lab]'" in capsys.readouterr().err
    assert not lab
    assert not (tmp_path / "new").exists()


def test_lab_where_a_file_is(tmp_path: Path, lab: list[list[str]], capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["lab", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("weibnb: ")
    assert not lab


def test_as_a_program(tmp_path: Path) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    done = run("scan", str(model), "-o", str(file))
    assert done.returncode == 0
    assert done.stderr == b""
    assert re.search(r"tiny +q_proj +selection +3 ", done.stdout.decode())
    assert file.exists()
    failed = run("scan", str(tmp_path / "nowhere"))
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"weibnb: ")
    assert b"Traceback" not in failed.stderr


def test_output_that_cannot_spell_greek_does_not_lose_the_fits(tmp_path: Path) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    done = run("scan", str(model), "-o", str(file), env={"PYTHONIOENCODING": "ascii"})
    assert file.exists()
    assert done.returncode == 0, done.stderr
    assert b"q_proj" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently there")
def test_closed_pipe_does_not_lose_the_fits(tmp_path: Path) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-u", "-m", "weibnb.cli", "scan", str(model), "-o", str(file)]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert file.exists()
    assert b"Traceback" not in done.stderr


def test_an_empty_path_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["scan", ""], ["scan", ".", "-o", ""]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert "a path is empty; pass . for the current directory" in capsys.readouterr().err


def test_limits_are_raised_as_the_message_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (3, 16, 16)).astype("f2")
    file = tmp_path / "model.safetensors"
    save_file({"model.layers.0.mlp.experts.down_proj": weights}, file)
    for option in ("--max-tensors", "--max-header"):
        assert cli.main(["scan", str(file), "--quiet", option, "2"]) == 1
        advice = capsys.readouterr().err.partition(f"in a shell `{option} ")[2]
        assert cli.main(["scan", str(file), "--quiet", option, advice.partition("`")[0]]) == 0
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
