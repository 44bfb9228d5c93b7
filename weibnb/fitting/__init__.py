"""Counts -> Weibull estimates with standard errors.

`weibull` is the distribution on paper with the anchors, `rows` the counts of many matrices,
`estimates` their fit, `single` that of one, `statistics` what needs no fit, `status` the outcome;
`kernels`, `ordinates` and `errors` are compiled loops, `clusters` those for rows and columns.
`backends` chooses between these and the modules `torch_...`, which compute the same on tensors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "backends",
        "clusters",
        "errors",
        "estimates",
        "kernels",
        "ordinates",
        "rows",
        "single",
        "statistics",
        "status",
        "torch_backend",
        "torch_body",
        "torch_clusters",
        "torch_fit",
        "torch_likelihood",
        "torch_ordinates",
        "torch_rows",
        "weibull",
    ],
)
