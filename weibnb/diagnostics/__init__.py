"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling` finds the layers that stand out, `drift` and `bands` judge k, `attention` the queries and
keys, `tails`, `upper_tail` and `outliers` the large weights, `cohorts` the nearest published
models, `budget` and `dynamics` the training. `decompose` says why k is low, by the scales of
`balance` and in the words of `explanation`; `shared_units` whether matrices have them in common.
`check` goes by the `rules` of a healthy checkpoint, its `findings` are written by `check_formats`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attention",
        "balance",
        "bands",
        "budget",
        "check",
        "check_formats",
        "cohorts",
        "decompose",
        "drift",
        "dynamics",
        "explanation",
        "findings",
        "forces",
        "multiplicity",
        "outliers",
        "pooling",
        "restricted",
        "rules",
        "shared_units",
        "tails",
        "upper_tail",
        "verdicts",
    ],
)
