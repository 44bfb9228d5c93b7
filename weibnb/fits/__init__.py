"""The Dataset of fits: `schema` says what it holds and checks it.

`build` fits matrices (`on_device` those whose counts are there), `layout` puts them into it
(`experts`), `refit` fits anew (`rows`, `lazy`) with errors by `covariance`. `files` saves and
opens it (counts: `ragged`, `older`) after `inspection`; `store` fills an SQLite file
(`store_schema`, `packing`), `store_reading` opens it, `imported` takes tables from elsewhere.
`select` picks cells and lists what was not fitted, `tables` and `zarr_group` make tables and Zarr.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "build",
        "covariance",
        "experts",
        "files",
        "imported",
        "inspection",
        "layout",
        "lazy",
        "older",
        "on_device",
        "packing",
        "ragged",
        "refit",
        "rows",
        "runs",
        "schema",
        "select",
        "store",
        "store_reading",
        "store_schema",
        "tables",
        "zarr_group",
    ],
)
