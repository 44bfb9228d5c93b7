"""A decoder that trains in a second with the Trainer of Hugging Face; also as a command.

    python -m tests.integrations.tiny OUT STORE KILLED_AT

trains it until it is killed at the end of a step.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from weibnb.integrations.transformers import WeibullCallback

STEPS = 12
COMPONENTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama() -> Any:
    """Draw a decoder of two layers."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
        )
    )


def trainer(out: Path, *callbacks: Any, model: Any = None, **more: Any) -> Trainer:
    """Make a trainer that saves a checkpoint every four steps and logs the loss every three."""
    return Trainer(
        llama() if model is None else model,
        arguments(out, **more),
        train_dataset=rows(),
        callbacks=list(callbacks),
    )


def rows() -> list[dict[str, torch.Tensor]]:
    """Draw 100 texts."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(64, (100, 16), generator=generator)
    return [{"input_ids": row, "labels": row} for row in tokens]


def arguments(out: Path, **more: Any) -> TrainingArguments:
    """Give how it is trained."""
    defaults: dict[str, Any] = {
        "max_steps": STEPS,
        "save_steps": 4,
        "logging_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return TrainingArguments(str(out), **defaults | more)


class Kill(TrainerCallback):
    """Kills its own process at the end of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    to, store, killed_at = sys.argv[1:]
    trainer(Path(to), WeibullCallback(store, steps=1), Kill(int(killed_at))).train()
