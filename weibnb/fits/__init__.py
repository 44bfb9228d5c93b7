"""The Dataset of fits.

`schema` says what it holds and checks it, `build` makes it (with `experts`), `files` saves and
opens it, after `inspection` looked it over, `refit` estimates anew from the counts (by `rows`),
`select` picks cells and lists what was not fitted, `tables` makes tables of fits. `store` fills an
SQLite file with fits while they are made (tables: `store_schema`, counts as bytes: `packing`),
`store_reading` opens it.
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
        "packing",
        "ragged",
        "refit",
        "rows",
        "schema",
        "select",
        "store",
        "store_reading",
        "store_schema",
        "tables",
    ],
)
