"""The Dataset of fits: `schema` says what it holds and checks it.

`build` fits matrices (`on_device` those whose counts are there), `layout` puts them into it
(`experts`), `refit` fits anew (`rows`, `lazy`) with errors by `covariance` and `sampled`. `files`
saves and opens it (`ragged`, `older`) after `inspection`; `store` and parts fill an SQLite file,
`store_reading` opens it, `following` while it grows. `imported` takes tables from elsewhere,
`select` picks cells and lists what was not fitted, `tables` and `zarr_group` write tables and Zarr.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "build",
        "covariance",
        "experts",
        "files",
        "following",
        "growing",
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
        "sampled",
        "schema",
        "select",
        "store",
        "store_blocks",
        "store_columns",
        "store_errors",
        "store_estimates",
        "store_filling",
        "store_matrices",
        "store_older",
        "store_opened",
        "store_protocol",
        "store_reading",
        "store_schema",
        "store_thinning",
        "tables",
        "zarr_group",
    ],
)
