"""``weibnb show``: the table, and what is not in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import weibnb as wb
from tests.command_line import Q, normal, rows, write
from weibnb.cli import main
from weibnb.cli_show import table_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import Capture


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
