"""Rivals of the Weibull, and two populations of weights.

`rank` orders six families by their likelihood, `populations` looks for two scales in one matrix;
`distributions`, `likelihood` and `mixture` are their compiled loops.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["distributions", "groups", "likelihood", "mixture", "populations", "rank"]
)
