"""Counts -> Weibull estimates with standard errors.

`weibull` is the distribution on paper with the anchors, `rows` the counts of many matrices,
`estimates` their fit, `single` that of one, `statistics` what needs no fit, `status` the outcome.
`kernels`, `ordinates`, `errors` are compiled loops, `torch_...` the same on tensors, by `backends`;
`clusters`, `rank_functions`, `pairs`, `scales`, `unequal`, `full_look` are about rows and columns.
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
        "unequal",
        "weibull",
    ],
)
