"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling` finds the layers that stand out, `drift` and `bands` judge k, `attention` the queries and
keys, `tails`, `upper_tail` and `outliers` the large weights, `cohorts` the nearest published
models, `budget` and `dynamics` the training. `decompose` says why k is low (`balance`,
`explanation`), `shared_units` whether matrices share scales. `check` goes by the `rules` of a
healthy checkpoint, its `findings` are written by `check_formats`; `changes` (and
`changes_of_fits`) says what changed between two.
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
