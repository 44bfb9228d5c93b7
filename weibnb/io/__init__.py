"""Where weights come from.

Names of tensors become tower, layer, component (`naming`; one's own `names` and `patterns`), parts
of fused matrices (`fused`), or rows that belong together (`rotary`). Files, directories and live
modules become tensors whose raw bits can be read (`checkpoint`, `safetensors`, `directory`, `live`),
`adapters` on their base; `mapping` and `guard` know what became of a file while it was read;
`sources`, `folders` and `steps` tell what people pass to `scan`."""

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
