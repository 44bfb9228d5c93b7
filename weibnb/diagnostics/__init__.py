"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling` finds the layers that stand out, `drift` and `bands` judge k, `attention` the queries and
keys, `tails`, `upper_tail` and `outliers` the large weights, `cohorts` the nearest published
models, `budget` and `dynamics` the training. `check` goes by the `rules` of a healthy checkpoint,
its `findings` are written by `check_formats`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attention",
        "bands",
        "budget",
        "check",
        "check_formats",
        "cohorts",
        "drift",
        "dynamics",
        "findings",
        "multiplicity",
        "outliers",
        "pooling",
        "restricted",
        "rules",
        "tails",
        "upper_tail",
        "verdicts",
    ],
)
