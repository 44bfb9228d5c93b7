"""Raw weights -> how often each magnitude occurs: one pass, exact integers.

`formats` knows the bits of each storage format, `counters` which bins they lie in, `counts` holds
the result; `cpu` has the loops of the CPU, `lines` the rows and columns that are copied on the way,
`pieces` what comes by rows; `device`, `tables`, `staging`, `transfers`, `triton_kernel` those of a
GPU, where `blocks` stay; `dispatch` chooses. `second_look` finds lines of zeros and sums over every
line (`squares`), `device_look` the same on a device; `changes` compares two matrices.
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
        "dispatch",
        "formats",
        "limits",
        "lines",
        "pieces",
        "second_look",
        "squares",
        "staging",
        "tables",
        "transfers",
        "triton_kernel",
    ],
)
