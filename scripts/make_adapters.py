"""Write adapters and what PEFT merges them to, which tests/io/test_adapters.py is held against.

``pip install peft`` first, then ``python scripts/make_adapters.py tests/io/peft``. Models are tiny
and random; factors are drawn, not trained.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

LLAMA = transformers.LlamaConfig(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=8,
)
GPT2 = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=8, n_positions=8)
ATTENTION = ["q_proj", "v_proj"]
#: Configuration, format of the base, and how the adapter is made.
KINDS: dict[str, tuple[Any, torch.dtype, dict[str, Any]]] = {
    "plain": (LLAMA, torch.float32, {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION}),
    "rslora-bf16": (
        LLAMA,
        torch.bfloat16,
        {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": "all-linear"},
    ),
    "patterns-fp16": (
        LLAMA,
        torch.float16,
        {
            "r": 2,
            "lora_alpha": 6,
            "target_modules": ["q_proj", "v_proj", "up_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 4, "v_proj": 3},
            "alpha_pattern": {r".*\.1\..*up_proj": 5, "v_proj": 16},
        },
    ),
    "conv1d": (
        GPT2,
        torch.float32,
        {"r": 3, "lora_alpha": 6, "fan_in_fan_out": True, "target_modules": ["c_proj", "c_attn"]},
    ),
    "whole-tensors": (
        LLAMA,
        torch.float32,
        {
            "r": 4,
            "target_modules": ["k_proj", "embed_tokens"],
            "modules_to_save": ["lm_head", "o_proj"],
        },
    ),
}


def write(kind: str, folder: Path) -> None:
    """Write the base, the adapter and the merged model of one kind."""
    config, dtype, settings = KINDS[kind]
    torch.manual_seed(list(KINDS).index(kind))
    folder.mkdir(parents=True, exist_ok=True)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    with tempfile.TemporaryDirectory() as place:
        model.save_pretrained(place)
        tensors = load_file(f"{place}/model.safetensors")
        save_file(tensors, folder / "base.safetensors")
        names = list(tensors)
        tuned: Any = peft.get_peft_model(model, peft.LoraConfig(**settings))
        for name, tensor in tuned.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                torch.nn.init.normal_(tensor, std=0.3)
        tuned.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink()
        tuned.merge_and_unload().save_pretrained(place)
        found = load_file(f"{place}/model.safetensors")
        save_file({name: found[name] for name in names}, folder / "merged.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    kept = {name: value for name, value in sorted(settings.items()) if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    for each in KINDS:
        write(each, Path(sys.argv[1]) / each)
