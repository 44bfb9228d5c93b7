"""Where weights come from.

Names of tensors become tower, layer and component (`naming`, and `names` of one's own, which are
`patterns`), parts where several matrices are in
one (`fused`), or rows that belong together (`rotary`); files, directories and live modules become
tensors whose raw bits can be read (`checkpoint`, `safetensors`, `directory`, `live`), `adapters`
on their base; `mapping` and `guard` know what became of a file while it was read; `sources` lists
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
        "sources",
        "steps",
    ],
)
