"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does the same for a live model, step by step;
`locate` looks at the weights again for outliers and dead rows, `decompose` for why k is low,
`shared_units` for scales that matrices share, both at some `chosen` matrices; `check` tells whether
a checkpoint is healthy; `hyperparameters` finds how a run was trained; `matrices` chooses the
tensors, `listing` bounds the grid that they are laid out on; `structure` tells how rows and columns
are looked at; `results` keeps the fits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "check",
        "chosen",
        "decompose",
        "hyperparameters",
        "listing",
        "locate",
        "matrices",
        "recorder",
        "results",
        "scan",
        "shared_units",
        "structure",
    ],
)
