"""``weibnb quantisation`` prints what the function says, of checkpoints and of fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import weibnb as wb
from weibnb.cli import main
from weibnb.testing import write_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return Path(write_checkpoint(folder / "tiny", layers=2, hidden=64))


def test_it_prints_the_worst_matrices_and_the_plan(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["quantisation", str(place), "--bits", "5", "--quiet"]) == 0
    text = capsys.readouterr().out
    found = wb.quantisation(wb.scan(place, progress=False))
    assert text == f"{found}\n\n{found.recommend(5)}\n"
    wb.save_fits(wb.scan(place, progress=False), tmp_path / "fits.nc")
    assert main(["quantisation", str(tmp_path / "fits.nc"), "--bits", "5"]) == 0
    assert capsys.readouterr().out == text


def test_blocks_of_a_checkpoint_go_by_the_scales_of_its_rows(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantisation", str(place), "--block", "32", "--formats", "int4, nf4", "--quiet"]
    assert main(arguments) == 0
    fits = wb.scan(place, progress=False, fields=True)
    expected = wb.quantisation(fits, formats=["int4", "nf4"], block=32)
    assert capsys.readouterr().out == f"{expected}\n"


def test_each_model_has_its_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    weights = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    fits = wb.scan(
        {"a": {0: {name: weights[0]}, 9: {name: weights[1]}}, "b": {5: {name: weights[2]}}},
        progress=False,
    )
    wb.save_fits(fits, tmp_path / "fits.nc")
    assert main(["quantisation", str(tmp_path / "fits.nc"), "--formats", "int8"]) == 0
    text = capsys.readouterr().out
    assert text.count("Predicted SQNR of 1 matrix") == 2
    assert main(["quantisation", str(tmp_path / "fits.nc"), "--step", "7"]) == 2
    assert "--step must be one of 0, 5, 9, got 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--block", "rows"], "--block: must be matrix, row or a number of weights, got 'rows'"),
        (["--block", "0"], "--block: must be matrix, row or a number of weights, got '0'"),
        (["--formats", "int4,x"], "must be some of int8, int4, fp8_e4m3, nf4, mxfp4, got 'x'"),
        (["--formats", "int5"], "Did you mean 'int8'?"),
        (["--formats", ""], "must be some of int8, int4, fp8_e4m3, nf4, mxfp4, got ''"),
        (["--bits", "-1"], "--bits: must be a number above 0, got '-1'"),
    ],
)
def test_wrong_options_are_wrong_usage_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["quantisation", "nowhere", "--quiet", *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_budget_below_the_cheapest_format_is_wrong_usage(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantisation", str(place), "--quiet", "--bits", "1"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("weibnb: --bits must be at least 4.")
    assert "the cheapest of these formats, got 1.0" in told
