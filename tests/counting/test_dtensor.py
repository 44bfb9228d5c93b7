"""DTensors: every process counts its shard, and all of them get the counts of the whole."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from tests.counting.samples import reference
from tests.oracle import same_counts as same
from tests.oracle import to_torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")
if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("torch was built without gloo", allow_module_level=True)

from torch.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
)

from tests.processes import failures_of
from weibnb import count_magnitudes, scan
from weibnb.counting.device import DeviceCounter
from weibnb.counting.limits import Limits

CPU = torch.device("cpu")
DTYPES = ("bfloat16", "float32")


def whole(rows: int, cols: int, dtype: str, seed: int = 0) -> NDArray[Any]:
    return oracle.matrix("gaussian", dtype, rows * cols - 8, seed).reshape(rows, cols)


def counts_are_of_the_whole(array: NDArray[Any], mesh: Any, *placements: Any) -> None:
    spread = distribute_tensor(to_torch(array), mesh, placements)
    same(count_magnitudes(spread, device="cpu"), reference(array))


def uneven_rows(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(7, 50, dtype), mesh, Shard(0))


def processes_without_rows(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(1, 50, dtype), mesh, Shard(0))


def columns(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(20, 31, dtype), mesh, Shard(1))


def replicas(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(20, 31, dtype), mesh, Replicate())


def transposed_and_strided_shards(mesh: Any) -> None:
    array = whole(20, 31, "float32")
    spread = distribute_tensor(to_torch(array), mesh, [Shard(0)])
    same(count_magnitudes(spread.t(), device="cpu"), reference(array))
    same(count_magnitudes(spread[:, ::3], device="cpu"), reference(array[:, ::3]))


def largest_and_inexact_of_one_process(mesh: Any) -> None:
    for row in (0, -1):
        array = np.full((8, 30), 1.5, np.float32)
        counts_are_of_the_whole(array, mesh, Shard(0))
        array[row, 7] = 7.7
        counts_are_of_the_whole(array, mesh, Shard(0))


def partial_sums_are_refused(mesh: Any) -> None:
    spread = DTensor.from_local(torch.ones(3, 4), mesh, [Partial()])
    with pytest.raises(ValueError, match=r"must not be a DTensor of partial sums.*Redistribute"):
        count_magnitudes(spread, device="cpu")


def one_sum_over_processes_for_each_table(mesh: Any) -> None:
    arrays = [whole(7, 50, dtype, seed) for seed in range(5) for dtype in DTYPES]
    reduced: list[Any] = []
    all_reduce = torch.distributed.all_reduce

    def note(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        reduced.append(len(tensor))
        return all_reduce(tensor, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, DeviceCounter([CPU]) as counter:
        patch.setattr(torch.distributed, "all_reduce", note)
        spread = [distribute_tensor(to_torch(array), mesh, [Shard(0)]) for array in arrays]
        alone = [distribute_tensor(to_torch(array), mesh, [Replicate()]) for array in arrays]
        pending = [counter.submit(tensor) for tensor in spread + alone]
        assert reduced == []
        for one, array in zip(pending, arrays + arrays, strict=True):
            same(one.result(), reference(array))
    assert reduced == [5, 5]


def more_matrices_than_rows(mesh: Any) -> None:
    arrays = [whole(7, 50, DTYPES[seed % 3 == 1], seed) for seed in range(12)]
    limits = Limits(table=2 * 8 * ((1 << 15) + 8), tables=2)
    with DeviceCounter([CPU], limits=limits) as counter:
        spread = [distribute_tensor(to_torch(array), mesh, [Shard(0)]) for array in arrays]
        pending = [counter.submit(tensor) for tensor in spread]
        for one, array in zip(pending, arrays, strict=True):
            same(one.result(), reference(array))


def state_dict() -> dict[str, Any]:
    names = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
    arrays = {
        f"model.layers.{layer}.{name}.weight": whole(33, 40, DTYPES[layer], 3 * layer + i)
        for layer in range(2)
        for i, name in enumerate(names)
    }
    return {name: to_torch(array) for name, array in arrays.items()}


def fits_are_the_same(left: Any, right: Any) -> None:
    left, right = (scan({"m": source}, device="cpu", progress=False) for source in (left, right))
    assert left.k.notnull().any()
    for name in ("k", "lam", "n", "zero_fraction", "nonfinite", "max_abs", "status", "counts"):
        assert left[name].equals(right[name]), name


def scan_of_a_state_dict(mesh: Any) -> None:
    full = state_dict()
    for placement in (Shard(0), Shard(1), Replicate()):
        spread = {name: distribute_tensor(w, mesh, [placement]) for name, w in full.items()}
        fits_are_the_same(spread, full)


def stacks_of_experts_are_left_out_and_named(mesh: Any) -> None:
    stack = to_torch(whole(4 * 16, 2 * 24, "bfloat16").reshape(4, 16, 48))
    spread = distribute_tensor(stack, mesh, [Shard(0)])
    source = {"model.layers.0.mlp.experts.gate_up_proj": spread, **state_dict()}
    with pytest.warns(UserWarning, match=r"gate_up_proj`: a stack of experts that is spread over"):
        fits = scan({"m": source}, device="cpu", progress=False)
    assert (fits.status == "unreadable").any()
    assert fits.k.notnull().any()


def module() -> Any:
    """Attention of two layers, with the names of a Llama."""
    torch.manual_seed(0)
    outer, inner = torch.nn.Module(), torch.nn.Module()
    outer.model, inner.layers = inner, torch.nn.ModuleList()
    for _ in range(2):
        layer, attention = torch.nn.Module(), torch.nn.Module()
        layer.self_attn = attention
        attention.q_proj, attention.k_proj = torch.nn.Linear(40, 33), torch.nn.Linear(40, 17)
        inner.layers.append(layer)
    return outer


def fully_sharded_module(mesh: Any) -> None:
    from torch.distributed.fsdp import fully_shard

    full, sharded = module(), module()
    for layer in sharded.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    assert all(isinstance(weights, DTensor) for weights in sharded.parameters())
    fits_are_the_same(sharded, full)


def replicas_of_shards(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(7, 50, dtype), mesh, Replicate(), Shard(0))
        counts_are_of_the_whole(whole(7, 50, dtype), mesh, Shard(1), Replicate())


def shards_of_shards(mesh: Any) -> None:
    for dtype in DTYPES:
        counts_are_of_the_whole(whole(7, 51, dtype), mesh, Shard(0), Shard(1))
        counts_are_of_the_whole(whole(7, 51, dtype), mesh, Shard(0), Shard(0))
        counts_are_of_the_whole(whole(1, 51, dtype), mesh, Shard(0), Shard(1))


def one_process_holds_the_largest(mesh: Any) -> None:
    for at in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        array = np.full((8, 30), 1.5, np.float32)
        array[at] = 7.7
        counts_are_of_the_whole(array, mesh, Shard(0), Shard(1))
        counts_are_of_the_whole(array, mesh, Replicate(), Shard(1))


def some_of_the_processes(mesh: Any) -> None:
    counts_are_of_the_whole(whole(7, 51, "float32"), mesh["rows"], Shard(0))


def scan_of_a_state_dict_on_a_grid(mesh: Any) -> None:
    full = state_dict()
    spread = {
        name: distribute_tensor(w, mesh, [Shard(0), Shard(1) if i % 2 else Replicate()])
        for i, (name, w) in enumerate(full.items())
    }
    fits_are_the_same(spread, full)


# What is looked at in two processes in a row, and in four that are a grid.
CHECKS: dict[tuple[int, ...], list[Callable[[Any], None]]] = {
    (2,): [
        uneven_rows,
        processes_without_rows,
        columns,
        replicas,
        transposed_and_strided_shards,
        largest_and_inexact_of_one_process,
        partial_sums_are_refused,
        one_sum_over_processes_for_each_table,
        more_matrices_than_rows,
        scan_of_a_state_dict,
        stacks_of_experts_are_left_out_and_named,
        fully_sharded_module,
    ],
    (2, 2): [
        replicas_of_shards,
        shards_of_shards,
        one_process_holds_the_largest,
        some_of_the_processes,
        scan_of_a_state_dict_on_a_grid,
    ],
}


def on_a_mesh(
    shape: tuple[int, ...], check: Callable[[Any], None], _rank: int, _folder: Path
) -> None:
    """Make a check in one of several processes that are a row or a grid."""
    from torch.distributed.device_mesh import init_device_mesh

    check(init_device_mesh("cpu", shape, mesh_dim_names=("rows", "columns")[: len(shape)]))


@lru_cache
def failures(shape: tuple[int, ...]) -> dict[str, list[str]]:
    """Make the checks of a mesh in its processes, once."""
    checks = {check.__name__: partial(on_a_mesh, shape, check) for check in CHECKS[shape]}
    return failures_of(checks, number=int(np.prod(shape)))


@pytest.mark.parametrize(
    ("shape", "check"),
    [
        pytest.param(shape, check.__name__, marks=[pytest.mark.slow] * (len(shape) > 1))
        for shape, checks in CHECKS.items()
        for check in checks
    ],
)
def test_in_every_process(shape: tuple[int, ...], check: str) -> None:
    for rank, failure in enumerate(failures(shape)[check]):
        assert not failure, f"process {rank}: {failure}"
