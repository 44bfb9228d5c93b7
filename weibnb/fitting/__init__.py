"""Counts -> Weibull estimates with standard errors.

`weibull` is the distribution on paper with the reference anchors, `rows` the counts of many
matrices, `estimates` their fit, `single` that of one, `statistics` what needs no fit, `status` the
outcome in one word; `kernels`, `ordinates` and `errors` are the compiled loops. `clusters` and
`rank_functions` make errors of weights that depend on each other, `pairs` those of a change.
`scales` tells how unequal rows and columns are, `full_look` looks at every one. `backends` chooses
between the compiled loops and the modules `torch_...`, which compute the same on tensors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "backends",
        "clusters",
        "errors",
        "estimates",
        "full_look",
        "kernels",
        "ordinates",
        "pairs",
        "rank_functions",
        "rows",
        "scales",
        "single",
        "statistics",
        "status",
        "torch_backend",
        "torch_body",
        "torch_fit",
        "torch_likelihood",
        "torch_ordinates",
        "torch_rows",
        "weibull",
    ],
)
