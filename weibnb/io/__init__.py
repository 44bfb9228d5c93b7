"""Where weights come from.

Names of tensors become tower, layer and component (`naming`), parts where several matrices are in
one (`fused`), or rows that belong together (`rotary`); files, directories and live modules become
tensors whose raw bits can be read (`checkpoint`, `safetensors`, `directory`, `live`) and multiplied
by their `scales`; `mapping` and `guard` know what became of a file while it was read; `sources`
lists what people pass to `scan`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "checkpoint",
        "directory",
        "files",
        "fused",
        "guard",
        "hyperparameters",
        "limits",
        "links",
        "live",
        "mapping",
        "naming",
        "rotary",
        "safetensors",
        "scales",
        "sources",
    ],
)
