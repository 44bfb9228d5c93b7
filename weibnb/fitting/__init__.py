"""Counts -> Weibull estimates with standard errors.

`weibull` is the distribution on paper with the anchors, `rows` the counts of many matrices,
`estimates` their fit, `single` that of one, `statistics` what needs no fit, `status` the outcome.
`kernels`, `ordinates`, `errors` are compiled loops, `torch_...` the same and more on tensors, of
counts that are there in `torch_blocks`; `backends` chooses. `clusters`, `neighbours`, `pairs`,
`rank_functions`, `scales`, `unequal`, `line_sums`, `full_look` see lines, `sampling` some of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "backends",
        "clusters",
        "distances",
        "errors",
        "estimates",
        "full_look",
        "kernels",
        "line_sums",
        "neighbours",
        "ordinates",
        "pairs",
        "rank_functions",
        "rows",
        "sampling",
        "scales",
        "single",
        "statistics",
        "status",
        "torch_backend",
        "torch_blocks",
        "torch_body",
        "torch_clusters",
        "torch_fit",
        "torch_likelihood",
        "torch_lines",
        "torch_neighbours",
        "torch_ordinates",
        "torch_rows",
        "torch_statistics",
        "unequal",
        "weibull",
    ],
)
