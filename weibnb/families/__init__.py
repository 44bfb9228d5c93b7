"""Rivals of the Weibull, and two populations of weights.

`rank` orders six families by their likelihood, `populations` looks for two scales in one matrix.
Below them: `samples` (weights grouped by magnitude), `distributions` (what each family is),
`likelihood` (its fit) and `mixture` (two Weibulls, and the notch between them).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["distributions", "likelihood", "mixture", "populations", "rank", "samples"],
)
