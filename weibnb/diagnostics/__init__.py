"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling` finds the layers that stand out, `drift` and `bands` judge k, `attention` the queries and
keys, `tails`, `upper_tail` and `outliers` the large weights, `cohorts` the nearest published
models, `budget` and `dynamics` the training.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attention",
        "bands",
        "budget",
        "cohorts",
        "drift",
        "dynamics",
        "multiplicity",
        "outliers",
        "pooling",
        "restricted",
        "tails",
        "upper_tail",
        "verdicts",
    ],
)
