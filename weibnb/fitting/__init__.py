"""Counts -> Weibull estimates with standard errors.

`weibull` is the distribution on paper with the reference anchors, `kernels` the compiled loops,
`estimates` the fit of many matrices or of one, `status` what can be said of a fit in one word.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["estimates", "kernels", "status", "weibull"]
)
