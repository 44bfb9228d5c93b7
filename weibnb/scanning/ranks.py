"""The processes of a distributed training: all record a model, or the first alone."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from weibnb.scanning.live_model import LiveModel

T = TypeVar("T")

#: Seconds that a process waits for the others to record the same step.
PATIENCE = 300.0


class Ranks:
    """What a recorder asks of the other processes; nothing where there are none.

    Of a sharded model every process counts its part, and the first writes. Of one that every
    process has a copy of, the first records alone.
    """

    def __init__(self, model: LiveModel) -> None:
        self._model = model
        self._group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return is_first_process()

    @property
    def together(self) -> bool:
        """Whether all processes must take part in a record."""
        return _distributed() is not None and self._model.is_sharded

    @property
    def left_to_the_first(self) -> bool:
        """Whether another process records what this one has a copy of."""
        return not self.is_first and not self._model.is_sharded

    def meet(self, step: int) -> None:
        """Wait until every process records this step.

        Raises
        ------
        RuntimeError
            If one does not for `PATIENCE` seconds: without this, counting would wait for ever.
        """
        distributed = _distributed()
        if distributed is None or not distributed.is_gloo_available():
            return
        patience = timedelta(seconds=PATIENCE)
        try:
            if self._group is None:
                self._group = distributed.new_group(backend="gloo", timeout=patience)
            distributed.monitored_barrier(self._group, patience, wait_all_ranks=True)
        except RuntimeError as err:
            raise RuntimeError(
                "`record` must be called in every process of a model that is sharded over them, "
                f"got only some in {PATIENCE:g} s, at step {step}. Do not put it behind "
                "`if rank == 0`: of all that call it, the first writes."
            ) from err

    def agree(self, value: T) -> T:
        """Give every process the value of the first."""
        distributed = _distributed()
        if distributed is None or not self.together:
            return value
        several = [value]
        distributed.broadcast_object_list(several, src=0, group=self._group)
        return several[0]


def is_first_process() -> bool:
    """Whether this is the only process, or the first of a distributed training."""
    distributed = _distributed()
    return distributed is None or distributed.get_rank() == 0


def _distributed() -> Any:
    """Give torch.distributed if there are several processes."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return None
    distributed = torch.distributed
    several = distributed.is_initialized() and distributed.get_world_size() > 1
    return distributed if several else None
