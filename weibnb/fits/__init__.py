"""The Dataset of fits.

`schema` says what it holds and checks it, `build` makes it, `files` saves and opens it, `refit`
estimates anew from the counts, `select` picks cells and lists what was not fitted, `tables` makes
tables of fits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["build", "files", "refit", "schema", "select", "tables"]
)
