"""Print what `weibnb.check` says of every architecture of transformers, with random weights.

``python scripts/check_architectures.py [part of a name]``: each language model, masked language
model, sequence-to-sequence model and image classifier is made small, saved, and checked.
`untrained` is left out, which is right. What cannot be made small, or has no weight matrix of a
known layer, is counted.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

import weibnb as wb
from weibnb.io.files import CheckpointError

MAPPINGS = ("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_CLASSIFICATION")
#: Weights of the largest model that is made.
LARGEST = 60_000_000
LAYERS, WIDTH, HEADS, FEED_FORWARD = 11, 64, 4, 96
#: What configurations call their sizes.
SMALL = (
    dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], LAYERS)
    | dict.fromkeys(["encoder_layers", "decoder_layers"], LAYERS)
    | dict.fromkeys(["hidden_size", "n_embd", "d_model", "dim", "embedding_size"], WIDTH)
    | dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads"], HEADS)
    | dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], HEADS)
    | dict.fromkeys(["intermediate_size", "n_inner", "d_ff", "ffn_dim", "hidden_dim"], FEED_FORWARD)
    | dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], FEED_FORWARD)
    | dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4)
    | {"num_key_value_heads": 2, "head_dim": 16, "d_kv": 16, "moe_intermediate_size": 32}
    | {"vocab_size": 200, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
)


def made(kind: str, name: str) -> Any:
    """Make a small model, or the default one where its configuration takes no other sizes."""
    configuration: Any = transformers.CONFIG_MAPPING[kind]
    known = configuration().to_dict()
    config = configuration(**{name: size for name, size in SMALL.items() if name in known})
    with torch.device("meta"):
        size = sum(p.numel() for p in getattr(transformers, name)(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} weights")
    return getattr(transformers, name)(config)


def said(model: Any) -> list[str]:
    """Give the errors and warnings about a model that is saved."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        check = wb.check({"m": directory}, ignore=["untrained"], progress=False)
    return [f"{one.rule}: {one.cells[0]}: {one.text}" for one in check.at_least("warning")]


def main(part: str) -> None:
    """Check all whose name has a part."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    names: dict[str, str] = {}
    for mapping in MAPPINGS:
        for kind, name in getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").items():
            names.setdefault(name if isinstance(name, str) else name[0], kind)
    ends: Counter[str] = Counter()
    for name, kind in sorted(names.items()):
        if part not in name:
            continue
        try:
            found = said(made(kind, name))
        except CheckpointError:
            ends["no weight matrix of a known layer"] += 1
        except Exception as err:  # noqa: BLE001  (whatever a configuration raises)
            ends[f"not made: {type(err).__name__}"] += 1
        else:
            ends["checked"] += 1
            for text in found[:3]:
                print(f"{name}: {text}", flush=True)
    print(", ".join(f"{number} {end}" for end, number in ends.most_common()))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
