"""Where weights come from.

Names of tensors become tower, layer and component (`naming`, one's own `names` by `patterns`), parts
of what is `fused` or `rotary` rows; files, directories and live modules become tensors whose bits
can be read (`checkpoint`, `safetensors`, `directory`, `live`), multiplied by their `scales`, or
`adapters` on a base; `mapping` and `guard` know what became of a file meanwhile; `sources` lists
what people pass to `scan`, by the names of `folders` and `steps`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "adapters",
        "checkpoint",
        "directory",
        "files",
        "folders",
        "fused",
        "guard",
        "hyperparameters",
        "limits",
        "links",
        "live",
        "mapping",
        "names",
        "naming",
        "patterns",
        "rotary",
        "safetensors",
        "scales",
        "sources",
        "steps",
    ],
)
