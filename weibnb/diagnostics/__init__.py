"""What fits mean: rules that take fits and return verdicts with their errors.

`pooling`, `drift`, `bands`, `attention` and `regimes` judge k; `tails`, `upper_tail` and `outliers`
the large weights; `cohorts` the nearest published models; `budget` and `dynamics` the training.
`decompose` says why k is low, `shared_units` which matrices share scales, `check` whether a
checkpoint is healthy, `changes` what changed between two, `quantisation` what fewer bits would
cost; other modules are parts of these.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attention",
        "balance",
        "bands",
        "bit_budget",
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
        "forces",
        "hill",
        "multiplicity",
        "number_formats",
        "outliers",
        "pooling",
        "quantisation",
        "quantised",
        "regimes",
        "restricted",
        "rounding",
        "rules",
        "shared_units",
        "tails",
        "upper_tail",
        "verdicts",
    ],
)
