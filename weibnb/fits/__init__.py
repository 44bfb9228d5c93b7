"""The Dataset of fits.

`schema` says what it holds and checks it, `build` makes it (with `experts`), `files` saves and
opens it, after `inspection` looked it over, with counts as `ragged` lays them out (`older`: as 0.1
did) and `lazy` reads them, `refit` estimates anew from the counts (by `rows`), `select` picks cells
and lists what was not fitted, `tables` makes tables of fits and of counts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "build",
        "experts",
        "files",
        "inspection",
        "lazy",
        "older",
        "ragged",
        "refit",
        "rows",
        "schema",
        "select",
        "tables",
    ],
)
