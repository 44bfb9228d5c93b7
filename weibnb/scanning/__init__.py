"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting (`under_way`, `finishing`); `recorder` does so for a live
model (`in_flight`, `steps`, ...). `check` tells whether a checkpoint is healthy; `locate`,
`decompose`, `inside` look at weights again (`reading_again`, `chosen`); `diff` compares two;
`matrices` lists `weight_tensors`, `streaming` fetches them, `sampling` reads parts, `listing`
bounds their grid, `structure` sees lines, `fitter` fits, `results` keeps, `cluster` sends `tasks`.
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
        "finishing",
        "fitter",
        "force_hooks",
        "forces",
        "hyperparameters",
        "in_flight",
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
        "reading_again",
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
        "under_way",
        "weight_tensors",
    ],
)
