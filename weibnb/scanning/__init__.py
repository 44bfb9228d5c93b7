"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does so for a live model (`steps`,
`live_model`, `ranks`, `running_forces`, `keeping`). `check` tells whether a checkpoint is healthy.
`locate`, `decompose`, `shared_units` look at `chosen` matrices again; `diff` compares two
checkpoints (`pairing`, `comparison`); `hyperparameters` finds how a run was trained. `matrices`
picks tensors, `listing` bounds their grid, `structure` looks at rows and columns, `results` keeps.
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
        "keeping",
        "listing",
        "live_model",
        "locate",
        "matrices",
        "pairing",
        "ranks",
        "recorder",
        "results",
        "running_forces",
        "scan",
        "steps",
        "shared_units",
        "structure",
    ],
)
