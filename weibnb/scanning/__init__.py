"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does so for a live model (`steps`, `keeping`,
`ranks`, ...). `check` tells whether a checkpoint is healthy; `locate`, `decompose`, `inside`,
`shared_units` look at `chosen` matrices again; `diff` compares two; `matrices` picks tensors,
`streaming` fetches them, `sampling` and `sampled` read parts, `listing` bounds their grid,
`structure` sees lines, `results` keeps, `cluster` sends `tasks`; `background` scans on a thread.
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
        "inside",
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
