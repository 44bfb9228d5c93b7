"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does so for a live model (`steps`, `keeping`,
`ranks`, ...). `check` tells whether a checkpoint is healthy; `locate`, `decompose`, `shared_units`
look at `chosen` matrices again; `diff` compares two checkpoints. `matrices` picks tensors,
`streaming` fetches those that are elsewhere, `sampling` and `sampled` read parts, `listing` bounds
their grid, `structure` sees lines, `results` keeps, `cluster` sends `tasks`; `background` scans.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "background",
        "check",
        "chosen",
        "cluster",
        "comparison",
        "decompose",
        "diff",
        "force_hooks",
        "forces",
        "hyperparameters",
        "keeping",
        "listing",
        "live_fits",
        "live_model",
        "locate",
        "matrices",
        "pairing",
        "progress",
        "ranks",
        "recorder",
        "results",
        "running_forces",
        "sampled",
        "sampling",
        "scan",
        "shared_files",
        "shared_units",
        "steps",
        "streaming",
        "structure",
        "tasks",
    ],
)
