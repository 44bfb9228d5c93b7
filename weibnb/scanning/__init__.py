"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does the same for a live model; `check` tells
whether a checkpoint is healthy. `locate`, `decompose` and `shared_units` look at `chosen` weights
again; `diff` compares two checkpoints (`pairing`, `comparison`); `hyperparameters` finds how a run
was trained. `matrices` picks the tensors, `streaming` fetches those that are elsewhere, `listing`
bounds their grid, `structure` looks at rows and columns, `results` keeps; `shared_files` once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "check",
        "chosen",
        "comparison",
        "decompose",
        "diff",
        "force_hooks",
        "forces",
        "hyperparameters",
        "listing",
        "locate",
        "matrices",
        "pairing",
        "recorder",
        "results",
        "scan",
        "shared_files",
        "shared_units",
        "streaming",
        "structure",
    ],
)
