"""The functions that take a path, a model or a run.

`scan` joins reading, counting and fitting; `recorder` does the same for a live model, step by step;
`locate` looks at the weights again for outliers and dead rows; `matrices` and `experts` serve them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["experts", "locate", "matrices", "recorder", "scan"]
)
