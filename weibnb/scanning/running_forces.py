"""Forces of a training that was resumed: the sums go on where those of a record ended."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from weibnb.scanning.force_hooks import Forces
    from weibnb.scanning.matrices import Cell
    from weibnb.scanning.weight_tensors import Fused

    Sums = dict[Cell, NDArray[np.float64]]

# Relative difference of ‖W‖² between two looks at the same weights.
_SAME = 1e-9


class RunningForces:
    """The sums of `Forces`, added to those of the record that the training went on from."""

    def __init__(self, forces: Forces) -> None:
        self._forces = forces
        self._start = forces.look()
        self._before: Sums = {}

    def at(self, step: int) -> Sums:
        """Give `FORCES` of every matrix until now."""
        found = self._forces.at(step)
        return {cell: sums + self._before.get(cell, 0.0) for cell, sums in found.items()}

    def go_on(self, recorded: Sums, last: int, *, from_start: bool = False) -> None:
        """Continue the sums of a record, from now or from when the recorder was made.

        Warns if the weights are not those of the record: steps between were not seen.
        """
        now = self._start if from_start else self._forces.look()
        pairs = {cell: (recorded[cell], sums) for cell, sums in now.items() if cell in recorded}
        self._before = {}
        for cell, (old, sums) in pairs.items():
            offset = old - sums
            offset[-1] = 0.0  # ‖W‖² is no sum
            self._before[cell] = offset
        if any(abs(old[-1] - sums[-1]) > _SAME * old[-1] for old, sums in pairs.values()):
            warnings.warn(
                f"Forces go on from those of step {last}, the last record before, but the weights "
                "are others than then: what moved them in between was not recorded.",
                stacklevel=4,
            )

    def close(self) -> None:
        """Let go of the optimiser."""
        self._forces.close()


def begin_forces(
    optimizer: torch.optim.Optimizer | None, model: torch.nn.Module, fused: Fused
) -> RunningForces:
    """Begin to sum the forces of an optimiser."""
    if optimizer is None:
        raise ValueError("`optimizer` must be given for forces: Recorder(model, optimizer=...).")
    from weibnb.scanning.force_hooks import Forces

    return RunningForces(Forces(optimizer, model, fused=fused))
