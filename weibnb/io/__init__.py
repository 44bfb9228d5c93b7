"""Where weights come from.

Names of tensors become tower, layer, component (`naming`; one's own `names` and `patterns`), parts
of fused matrices (`fused`), or rows that belong together (`rotary`). What holds weights becomes
tensors whose raw bits can be read (`checkpoint`, `safetensors`, `torch_files`, `gguf_files`,
`live`, `adapters`, ...), quantised ones as numbers (`restored`). `sources`, `folders` and `steps`
tell what people pass; `mapping` and `guard`, how files fared.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "adapters",
        "checkpoint",
        "convert",
        "directory",
        "distributed_checkpoint",
        "files",
        "folders",
        "fused",
        "gguf_files",
        "guard",
        "hyperparameters",
        "kinds",
        "lazily",
        "limits",
        "links",
        "live",
        "mapping",
        "names",
        "naming",
        "packed",
        "patterns",
        "pickles",
        "restored",
        "rotary",
        "safetensors",
        "scales",
        "small_floats",
        "sources",
        "steps",
        "torch_files",
    ],
)
