"""Recording in several processes: of shards all take part, of copies the first records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("torch was built without gloo", allow_module_level=True)

import weibnb as wb
from tests.processes import failures_of
from tests.scanning.test_recorder_steps import Tiny, recorded, scales, straight
from weibnb.scanning import ranks

if TYPE_CHECKING:
    from pathlib import Path


def shards_are_recorded_by_all_and_written_by_the_first(rank: int, folder: Path) -> None:
    """Resumed, repeated and rolled back: every process follows what the first finds."""
    model, store = sharded(), folder / "shards.db"
    with wb.Recorder(model, name="run", store=store, steps=2) as recorder:
        assert [recorder.due(step) for step in range(3)] == [True, False, True]
        recorded(recorder, model, 0, 2, 4)
        assert scales(recorder.fits()) == straight(0, 2, 4)
    torch.distributed.barrier()
    with wb.Recorder(model, name="run", store=store if rank == 0 else None) as recorder:
        recorded(recorder, model, 2)
        assert recorder.steps == [0, 2, 4]
        with pytest.warns(UserWarning, match="went back to step 2.*kept as 'run~1'"):
            recorded(recorder, model, 4, course=1)
        with pytest.raises(ValueError, match="got 4"):
            recorded(recorder, model, 4, course=2)
    torch.distributed.barrier()
    fits = wb.open_fits(store)
    assert scales(fits) == straight(0, 2) | straight(4, course=1)
    assert scales(fits, "run~1") == straight(4)


def copies_are_recorded_by_the_first(rank: int, folder: Path) -> None:
    model = Tiny()
    with wb.Recorder(model, name="run", store=folder / "copies.db", steps=2) as recorder:
        assert recorder.due(2) == (rank == 0)
        recorded(recorder, model, 0, 2)
        assert recorder.steps == ([0, 2] if rank == 0 else [])
        assert bool(recorder.latest()) == (rank == 0)
    torch.distributed.barrier()
    assert scales(wb.open_fits(folder / "copies.db")) == straight(0, 2)


def one_process_alone_ends_in_an_error(rank: int, folder: Path) -> None:
    """Here at its second record; the other one waits at the end of the check."""
    model = sharded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "PATIENCE", 5.0)
        with wb.Recorder(model, name="run", store=folder / "alone.db") as recorder:
            recorded(recorder, model, 0)
            if rank == 0:
                with pytest.raises(RuntimeError, match="`record` must be called in every process"):
                    recorded(recorder, model, 1)
            assert recorder.steps == [0]


CHECKS = (
    shards_are_recorded_by_all_and_written_by_the_first,
    copies_are_recorded_by_the_first,
    one_process_alone_ends_in_an_error,
)


def sharded() -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = Tiny()
    mesh = init_device_mesh("cpu", (2,))
    start = model.start
    fully_shard(model, mesh=mesh)
    model.start = [
        torch.distributed.tensor.distribute_tensor(
            weights, mesh, [torch.distributed.tensor.Shard(0)]
        )
        for weights in start
    ]
    return model


@pytest.fixture(scope="module")
def failures() -> dict[str, list[str]]:
    return failures_of({check.__name__: check for check in CHECKS})


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_in_every_process(failures: dict[str, list[str]], check: str) -> None:
    for rank, failure in enumerate(failures[check]):
        assert not failure, f"process {rank}: {failure}"
