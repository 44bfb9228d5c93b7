"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does the same for a live model, step by step;
`locate` looks at the weights again for outliers and dead rows, `hyperparameters` beside them for
how a run was trained; `matrices` and `experts` serve them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["experts", "hyperparameters", "locate", "matrices", "recorder", "scan"],
)
