"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling` finds the layers that stand out, `drift` and `bands` judge k, `attention` the queries and
keys, `tails`, `upper_tail` and `outliers` the large weights, `cohorts` the nearest published
models, `changes` (`changes_of_fits`) what changed between two checkpoints, `budget` and `dynamics`
the training. `decompose` says why k is low (`balance`, `explanation`), `shared_units` whether
matrices share scales. `check` goes by `rules`, `check_formats` writes its `findings`.
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
        "changes",
        "changes_of_fits",
        "check_formats",
        "cohorts",
        "decompose",
        "drift",
        "dynamics",
        "explanation",
        "findings",
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
