"""Fine-tune the packaged model on other text, whole or by a low-rank adapter that is merged.

    python scripts/fine_tune.py full OUT           # every weight, AdamW
    python scripts/fine_tune.py lora OUT --rank 8  # W + B A of every matrix, merged

The text is this repository's documentation. OUT/before and OUT/after are checkpoints in float32
(``--bfloat16`` rounds them), to be compared with ``weibnb diff OUT/before OUT/after``. With equal
settings and torch the weights are the same every time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from scripts.train_cohort import GRID, ROOT, Weights, loss_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

START = ROOT / "weibnb" / "data" / "demo" / "step7000"
RUN = replace(GRID["demo"], batch=4, context=128, seed=1)


def read_text() -> Tensor:
    """Give the bytes of the documentation."""
    text = b"\0".join(path.read_bytes() for path in sorted((ROOT / "docs").glob("*.md")))
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def start() -> Weights:
    """Read the last step of the packaged run, in float32."""
    return {name: w.float() for name, w in load_file(START / "model.safetensors").items()}


def _train(trained: list[Tensor], weights: Callable[[], Weights], steps: int, rate: float) -> None:
    """Make steps of AdamW, without decay; `weights` gives those of the model at each."""
    text = read_text()
    generator = torch.Generator().manual_seed(RUN.seed)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    for _ in range(steps):
        starts = torch.randint(len(text) - RUN.context - 1, (RUN.batch,), generator=generator)
        loss = loss_at(weights(), text, starts, RUN)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def full(steps: int, rate: float = 3e-4) -> Weights:
    """Fine-tune every weight."""
    weights = {name: w.requires_grad_() for name, w in start().items()}
    _train(list(weights.values()), lambda: weights, steps, rate)
    return {name: w.detach() for name, w in weights.items()}


def lora(steps: int, rank: int, rate: float = 1e-3) -> Weights:
    """Fine-tune B A of every matrix inside the layers, as PEFT begins them, and merge."""
    base = start()
    generator = torch.Generator().manual_seed(0)
    names = [name for name, w in base.items() if w.ndim == 2 and ".layers." in name]
    down = {
        name: (torch.randn(rank, base[name].shape[1], generator=generator) / rank).requires_grad_()
        for name in names
    }
    up = {name: torch.zeros(base[name].shape[0], rank, requires_grad=True) for name in names}

    def merged() -> Weights:
        return base | {name: base[name] + up[name] @ down[name] for name in names}

    _train([*down.values(), *up.values()], merged, steps, rate)
    return {name: w.detach() for name, w in merged().items()}


def write(weights: Weights, directory: Path, *, bfloat16: bool = False) -> Path:
    """Write a checkpoint, with the configuration of the packaged one."""
    directory.mkdir(parents=True, exist_ok=True)
    kind = torch.bfloat16 if bfloat16 else torch.float32
    tensors = {name: w.to(kind).contiguous() for name, w in weights.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_bytes((START / "config.json").read_bytes())
    return directory


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("how", choices=["full", "lora"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--bfloat16", action="store_true")
    options = parser.parse_args()
    tuned = full(options.steps) if options.how == "full" else lora(options.steps, options.rank)
    write(start(), options.out / "before", bfloat16=options.bfloat16)
    write(tuned, options.out / "after", bfloat16=options.bfloat16)


if __name__ == "__main__":
    main()
