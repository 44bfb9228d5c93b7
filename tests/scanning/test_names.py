"""Names of one's own in scans, records, checks, stores and the shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import weibnb as wb
from tests.scanning.helpers import Q, normal
from weibnb.cli import main

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {"net.*.weight": "linear", "top": "readout"}


def stack() -> dict[str, Any]:
    """Give what no family knows, beside what one does."""
    weights = {f"net.{i}.weight": normal(24, 24, seed=i) for i in (0, 2, 4)}
    return weights | {"top": normal(8, 24, seed=9), Q.format(0): normal(24, 24, seed=10)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stack.safetensors"
    save_file(stack(), path)
    return path


def placed(fits: Any) -> list[tuple[int, str]]:
    there = (fits["status"] != "absent").transpose("layer", "component", "model", "step")
    at = np.argwhere(there.values)
    layer, component = (fits[name].values for name in ("layer", "component"))
    return sorted((int(layer[i]), str(component[j])) for i, j, *_ in at)


EXPECTED = [(0, "linear"), (0, "q_proj"), (0, "readout"), (2, "linear"), (4, "linear")]


def test_files_and_live_modules_are_placed_alike(file: Path) -> None:
    module = torch.nn.Module()
    module.net = torch.nn.Sequential(
        torch.nn.Linear(24, 24), torch.nn.ReLU(), torch.nn.Linear(24, 8)
    )
    assert placed(wb.scan(file, names=NAMES)) == EXPECTED
    live = wb.scan(module, names={"net.*.weight": "linear"})
    assert placed(live) == [(0, "linear"), (2, "linear")]
    with wb.Recorder(module, names={"net.*.weight": "linear"}) as recorder:
        recorder.record(3)
        fits = recorder.fits()
    assert placed(fits) == placed(live)
    np.testing.assert_array_equal(fits["k"].values, live["k"].values)


def test_second_looks_find_the_matrices_again(file: Path, tmp_path: Path) -> None:
    fits = wb.scan(file, names=NAMES)
    wb.save_fits(fits, tmp_path / "fits.nc")
    stored = wb.scan(file, names=NAMES, store=tmp_path / "fits.db")
    with wb.open_fits(tmp_path / "fits.nc") as opened, wb.open_fits(tmp_path / "fits.db") as store:
        for some in (fits, opened, stored, store, wb.refit(fits, trim=(0.2, 0.8))):
            table = wb.find_outliers(some, factor=0, top=1)
            assert sorted(zip(table["layer"], table["component"], strict=True)) == EXPECTED
        taken = wb.decompose(file, fits=opened, select={"component": "linear"})
    assert taken["layer"].values.tolist() == [0, 2, 4]


def test_a_matrix_of_ones_own_is_taken_apart(file: Path) -> None:
    taken = wb.decompose(file, names=NAMES)
    by_fits = wb.decompose(file, fits=wb.scan(file, names=NAMES))
    places = zip(taken["layer"].values, taken["component"].values, strict=True)
    assert sorted(places) == EXPECTED
    np.testing.assert_array_equal(taken["k_raw"].values, by_fits["k_raw"].values)
    # what is given goes before what the fits remember
    one = wb.decompose(file, fits=wb.scan(file, names=NAMES), names={"net.2.weight": "linear"})
    assert sorted(one["layer"].values) == [0, 2]
    with pytest.raises(ValueError, match="'nothing' fits none"):
        wb.decompose(file, names={"nothing": "linear"})
    with pytest.raises(ValueError, match="`names` must come with tensors that have names"):
        wb.decompose(normal(24, 24), names=NAMES)


def test_fits_of_several_models_may_remember_names_of_another(file: Path) -> None:
    other = {"other": {"linear.0.weight": normal(24, 24)}}
    fits = wb.scan([file, other], names={"net.*.weight": "linear", "linear.*": "lin"})
    taken = wb.decompose(file, fits=fits.isel(model=[0]))
    assert set(taken["component"].values) == {"linear", "q_proj"}


def test_a_check_looks_at_all_of_them(file: Path) -> None:
    weights = stack()
    weights["net.2.weight"] = weights["net.0.weight"]
    save_file(weights, file)
    found = wb.check(file, names=NAMES)
    assert {one.rule for one in found.at_least("warning")} == {"same-matrix"}
    assert found.ok  # numbers of one's own need not follow each other
    with pytest.raises(ValueError, match="must come with a checkpoint"):
        wb.check(wb.scan(file, names=NAMES), names=NAMES)


def test_what_a_file_of_fits_claims_is_held_to_the_rules(file: Path) -> None:
    fits = wb.scan(file, names=NAMES)
    fits.attrs["names"] = '{"re:(a+)+b": "linear"}'
    with pytest.raises(ValueError, match=r"attrs\['names'\].*take for ever"):
        wb.find_outliers(fits, factor=0)


def test_a_pattern_must_fit_in_some_checkpoint(file: Path) -> None:
    other = {"other": {"linear.0.weight": normal(24, 24)}}
    names = {"net.*.weight": "linear", "linear.*": "lin"}
    assert wb.scan([file, other], names=names).sizes["model"] == 2
    with pytest.raises(ValueError, match=r"'linear\.\*' fits none"):
        wb.scan(file, names=names)


def test_two_matrices_in_one_place_are_told(file: Path) -> None:
    with pytest.raises(ValueError, match=r"`net\.0\.weight` and `top` would both be layer 0"):
        wb.scan(file, names={"net.*": "linear", "top": "linear"})
    with pytest.raises(ValueError, match=r"would both be layer 0 of 'q_proj'"):
        wb.scan(file, names={"top": "q_proj"})


def test_a_scan_of_strangers_gives_a_line_that_works(file: Path) -> None:
    weights = {name: array for name, array in stack().items() if name != Q.format(0)}
    with pytest.raises(wb.CheckpointError, match="Name them yourself") as caught:
        wb.scan({"m": weights})
    line = re.search(r"weibnb\.scan\(\.\.\., names=(\{.*\})\)", str(caught.value))
    assert line is not None
    fits = wb.scan({"m": weights}, names=eval(line[1]))  # noqa: S307 - it is meant to be copied
    assert len(placed(fits)) == len(weights)


def test_the_shell_takes_names_lists_and_patterns(file: Path, capsys: Any) -> None:
    args = [option for item in NAMES.items() for option in ("--names", "=".join(item))]
    assert main(["scan", str(file), *args, "--quiet"]) == 0
    assert "linear" in capsys.readouterr().out
    assert main(["check", str(file), *args, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["scan", str(file), "--quiet"]) == 0
    assert "--names 'net.*.weight=linear' --names top=top" in capsys.readouterr().out
    assert main(["scan", str(file.parent / "*.safetensors"), "--quiet"]) == 0
    for wrong in (["--names", "x"], ["--names", "a=b", "--names", "a=c"]):
        with pytest.raises(SystemExit) as stop:
            main(["scan", str(file), *wrong])
        assert stop.value.code == 2
    assert main(["scan", str(file), "--names", "x=y"]) == 1
    assert "fits none" in capsys.readouterr().err
