"""Where weights come from.

Names of tensors become tower, layer, component (`naming`, `naming_table`, `names`), parts of fused
matrices (`fused`), or rows that belong together (`rotary`). What holds weights becomes tensors of
raw bits (`checkpoint`, `directory`, a module per kind of file, `live`, `adapters`; quantised ones
as numbers `restored`), elsewhere too (`remote`, `hub` with what it asks, fetched `ahead` into
`rooms`). `sources`, `folders` and `steps` tell what is passed, `mapping` and `guard` how it fared.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "adapters",
        "ahead",
        "archives",
        "checkpoint",
        "convert",
        "directory",
        "distributed_checkpoint",
        "files",
        "folders",
        "fused",
        "gguf_files",
        "guard",
        "hub",
        "hub_answers",
        "hub_local",
        "hub_places",
        "hub_revisions",
        "hyperparameters",
        "kinds",
        "lazily",
        "limits",
        "links",
        "live",
        "mapping",
        "mlx_weights",
        "names",
        "naming",
        "naming_table",
        "numpy_files",
        "objects",
        "packed",
        "patterns",
        "pickles",
        "ranges",
        "remote",
        "restored",
        "rooms",
        "rotary",
        "safetensors",
        "scales",
        "small_floats",
        "sources",
        "steps",
        "torch_archives",
        "torch_files",
    ],
)
