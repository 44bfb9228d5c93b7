"""The page on trainings runs as it stands, section by section, in one small world."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weibnb as wb

for name in ("torch", "transformers", "accelerate", "lightning", "tensorboard"):
    pytest.importorskip(name, reason=f"the page on trainings uses {name}")

import torch

from tests.integrations.test_lightning import Module
from tests.integrations.tiny import arguments, llama, rows

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BLOCKS = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*treespec")
def test_every_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = llama()
    batches: Any = [{name: value[None] for name, value in row.items()} for row in rows()[:5]]
    inputs: Any = torch.randn(16, 8, 32)
    names: dict[str, Any] = {
        "wb": wb,
        "model": llama(),
        "args": arguments(tmp_path / "out", max_steps=4),
        "data": rows(),
        "module": Module(),
        "loader": torch.utils.data.DataLoader(inputs, batch_size=4),
        "net": net,
        "optimizer": torch.optim.AdamW(net.parameters()),
        "batches": torch.utils.data.DataLoader(batches, batch_size=None),
        "own": llama(),
        "first": 0,
        "steps": 5,
    }
    for text in BLOCKS.findall(PAGE.read_text(encoding="utf-8")):
        exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102  (our own page)
    for store, steps in (("run", 4), ("lightning", 8), ("accelerate", 4), ("own", 4)):
        with wb.open_fits(f"{store}.db") as fits:
            expected = [step for step in (0, 1, 2, 4, 8) if step <= steps]
            assert fits.step.values.tolist() == expected, store
            assert (fits.status == "ok").all()
    assert names["run"].step.values.tolist() == [0, 1, 2, 4]
    printed = capsys.readouterr().out
    drift = [float(line) for line in re.findall(r"^-?\d+\.\d+$", printed, re.MULTILINE)]
    assert len(drift) == 4
    assert np.isfinite(drift).all()
    for folder in ("logs", "own"):
        assert list((tmp_path / folder).rglob("events*"))
