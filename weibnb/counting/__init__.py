"""Raw weights -> how often each magnitude occurs: one pass, exact integers.

`formats` knows the bits of each storage format, `counters` their bins, `counts` holds the result;
`cpu` has the loops of the CPU, `lines` the rows and columns that are copied on the way, `pieces`
what comes row by row, `sampling` blocks of rows; `device`, `tables`, `staging`, `transfers`,
`triton_kernel` those of a GPU, where `blocks` stay; `dispatch` chooses. `second_look` finds zero
lines and sums (`squares`), `device_look` so on a device; `changes` (`differences`) compares.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "bincount",
        "blocks",
        "changes",
        "counters",
        "counts",
        "cpu",
        "device",
        "device_look",
        "differences",
        "dispatch",
        "formats",
        "limits",
        "lines",
        "pieces",
        "sampling",
        "second_look",
        "squares",
        "staging",
        "tables",
        "transfers",
        "triton_kernel",
    ],
)
