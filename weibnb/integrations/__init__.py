"""What records inside the loops of others: thin, and imported by name alone.

`transformers` and `lightning` hold a callback each for the trainers of these libraries; `watching`
is what both do: a recorder in the right processes, and its numbers told once. `trackers` shows
counts as histograms in TensorBoard and W&B.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["lightning", "trackers", "transformers", "watching"]
)
