"""Several processes of torch that make checks together, started once for all of them."""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.multiprocessing import start_processes  # type: ignore[attr-defined]

#: What every process does: it is told which one it is, and where all may write.
Check = Callable[[int, Path], None]

# Loaded once: the processes are forks of one that has done nothing else.
_LOADED = ["tests.forked"]


def failures_of(
    checks: Mapping[str, Check], *, number: int = 2, patience: float = 30.0
) -> dict[str, list[str]]:
    """Make checks in turn, each in every process; give the tracebacks of each that failed.

    After a failure the processes meet anew: one that waits for another gives up after `patience`
    seconds, and the next check is made all the same.
    """
    with TemporaryDirectory() as folder:
        multiprocessing.set_forkserver_preload(_LOADED)
        start_processes(
            _process, (number, checks, patience, folder), number, start_method="forkserver"
        )
        return {
            name: [Path(folder, f"{rank}.{name}").read_text() for rank in range(number)]
            for name in checks
        }


def _process(
    rank: int, number: int, checks: Mapping[str, Check], patience: float, folder: str
) -> None:
    """Make all checks in one of the processes, and write down what failed."""
    warnings.filterwarnings("error", module="weibnb")
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    told = FileStore(f"{folder}/told", number)
    groups = 0
    for name, check in checks.items():
        if not torch.distributed.is_initialized():
            groups += 1
            torch.distributed.init_process_group(
                "gloo",
                store=FileStore(f"{folder}/group{groups}", number),
                rank=rank,
                world_size=number,
                timeout=timedelta(seconds=patience),
            )
        failure = ""
        try:
            check(rank, Path(folder))
        except BaseException:  # noqa: BLE001
            failure = traceback.format_exc()
        Path(folder, f"{rank}.{name}").write_text(failure)
        told.set(f"{rank}.{name}", "failed" if failure else "made")
        if any(told.get(f"{other}.{name}") == b"failed" for other in range(number)):
            torch.distributed.destroy_process_group()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
