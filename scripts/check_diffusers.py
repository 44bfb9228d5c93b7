"""Print what `weibnb.check` says of diffusion transformers, with random weights.

``python -m scripts.check_diffusers [part of a name]``: each is made small by diffusers (``pip
install diffusers``), saved, and checked. `untrained` is left out, which is right.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import diffusers

from scripts.check_architectures import said

HEADS = {"attention_head_dim": 16, "num_attention_heads": 4}
LAYERS = {"num_layers": 4}
BOTH = {**LAYERS, "num_single_layers": 3}
TEXT = {"joint_attention_dim": 32}
THREE_AXES = {"axes_dims_rope": (4, 6, 6)}
SHORT_AXES = {"axes_dims": [4, 6, 6], "axes_lens": [8, 8, 8]}
TIMED = {"text_embed_dim": 32, "time_embed_dim": 16}
MODELS: dict[str, dict[str, Any]] = {
    "AuraFlow": {"num_mmdit_layers": 4, "num_single_dit_layers": 3, **TEXT},
    "Chroma": {**BOTH, **TEXT, **THREE_AXES},
    "CogVideoX": {**LAYERS, **TIMED},
    "CogView4": {**LAYERS, **TIMED},
    "DiT": LAYERS,
    "Flux": {**BOTH, **TEXT, **THREE_AXES, "pooled_projection_dim": 16},
    "Flux2": {**BOTH, **TEXT, "axes_dims_rope": (4, 4, 4, 4)},
    "HunyuanVideo": {
        **BOTH,
        "num_refiner_layers": 2,
        "text_embed_dim": 32,
        "rope_axes_dim": (2, 2, 4),
    },
    "LTXVideo": {**LAYERS, "cross_attention_dim": 48, "caption_channels": 16},
    "Lumina2": {**LAYERS, "hidden_size": 64, "num_kv_heads": 2, "axes_dim_rope": (4, 6, 6)},
    "Mochi": {**LAYERS, **TIMED, "pooled_projection_dim": 32},
    "PixArt": {**LAYERS, "cross_attention_dim": 48, "caption_channels": 16},
    "QwenImage": {**LAYERS, **TEXT, **THREE_AXES},
    "SD3": {**LAYERS, **TEXT, "caption_projection_dim": 64, "pooled_projection_dim": 16},
    "Sana": {**LAYERS, "cross_attention_dim": 48, "caption_channels": 16},
    "StableAudio": {**LAYERS, "num_key_value_attention_heads": 2, "cross_attention_dim": 32},
    "Wan": {**LAYERS, "ffn_dim": 128},
    "ZImage": {"dim": 64, "n_layers": 4, "n_heads": 4, "n_kv_heads": 4, **SHORT_AXES},
}


def class_named(name: str) -> Any:
    """Find what diffusers calls a model: of pictures, of videos or of sounds."""
    ends = ("Transformer2DModel", "Transformer3DModel", "DiTModel")
    return next(getattr(diffusers, name + end) for end in ends if hasattr(diffusers, name + end))


def main(part: str) -> None:
    """Check all whose name has a part."""
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    names = [name for name in MODELS if part in name]
    for name in names:
        sizes = MODELS[name] if name in ("Lumina2", "ZImage") else HEADS | MODELS[name]
        for text in said(class_named(name)(**sizes)):
            print(f"{name}: {text}", flush=True)
    print(f"{len(names)} checked")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
