"""Counts that devices make, of tensors where they are and of arrays that are fed to them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.counting.interpreter import KERNEL, use_interpreter
from tests.counting.samples import (
    all_nan,
    any_pattern,
    lognormal,
    not_finite,
    reference,
    stored,
    subnormals,
)
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb import counting
from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, as_bits
from weibnb.counting.limits import Limits
from weibnb.counting.lines import FEWEST, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from tests.counting.on_devices import CPU, F32, SMALL_BUFFERS, counted, submit, to_numpy
from weibnb import count_magnitudes
from weibnb.counting.bincount import count_by_bincount
from weibnb.counting.device import DeviceCounter, choose_kernel
from weibnb.counting.dispatch import Counting

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "flat": lambda flat: flat,
    "shifted by one": lambda flat: flat[1:],
    "transposed": lambda flat: flat.view(20, 25).t(),
    "three dimensions": lambda flat: flat.view(5, 10, 10),
    "permuted": lambda flat: flat.view(5, 10, 10).permute(2, 0, 1),
    "row of a matrix": lambda flat: flat.view(20, 25)[3],
    "column of a matrix": lambda flat: flat.view(20, 25)[:, 3],
    "every second": lambda flat: flat[::2],
    "every second row": lambda flat: flat.view(5, 10, 10)[::2],
    "inner view": lambda flat: flat.view(5, 10, 10)[1:4, 2:9, 3:],
    "expanded": lambda flat: flat[:100, None].expand(100, 3),
    "expanded in front": lambda flat: flat.expand(2, 500),
    "one weight, expanded": lambda flat: flat[7].expand(15, 20),
    "overlapping": lambda flat: flat.as_strided((15, 20), (2, 1)),
    "lengths of one": lambda flat: flat.view(500, 1).t()[None, :, :, None],
    "no dimensions": lambda flat: flat[7],
    "no columns": lambda flat: flat.view(20, 25)[:, 3:3],
    "no rows of many": lambda flat: flat.view(20, 25)[:0].t(),
}


@pytest.mark.parametrize("part", [100, 1 << 22])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(layout: str, part: int) -> None:
    tensors = [
        LAYOUTS[layout](to_torch(oracle.matrix("gaussian", dtype, 492)))
        for dtype in ("float8_e5m2", "bfloat16", "float32")
    ]
    for counts, tensor in zip(counted(*tensors, limits=Limits(packed=part)), tensors, strict=True):
        same(counts, reference(to_numpy(tensor)))


@pytest.mark.triton
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter_to_the_kernel(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    use_interpreter(monkeypatch)
    tensor = LAYOUTS[layout](to_torch(oracle.matrix("gaussian", "bfloat16", 492)))
    same(counted(tensor)[0], reference(to_numpy(tensor)))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_every_format_is_counted_as_tensor_and_as_array(kernel: str, dtype: str) -> None:
    arrays = [make(dtype) for make in (any_pattern, lognormal, not_finite, all_nan, subnormals)]
    arrays += [stored(np.empty(0), dtype), stored(np.zeros(3), dtype)]
    tensors = [to_torch(array) for array in arrays]
    for counts, array in zip(counted(*tensors, *arrays), arrays + arrays, strict=True):
        same(counts, reference(array))


def test_tensors_are_counted_in_place_and_left_alone() -> None:
    weights = to_torch(oracle.matrix("gaussian", "bfloat16", 992)).view(20, 50).t()
    before = weights.clone()
    with DeviceCounter([CPU]) as counter:
        pending = counter.submit(weights)
        ((queued, _),) = next(iter(counter._queue.values()))
        assert (queued.data_ptr(), queued.numel()) == (weights.data_ptr(), weights.numel())
        pending.result()
    assert torch.equal(weights.view(torch.int16), before.view(torch.int16))


def test_parts_of_a_tensor_with_gaps_are_bounded() -> None:
    sizes: list[int] = []

    def note(items: Any, *rest: Any) -> None:
        sizes.extend(words.numel() for words, _ in items)
        count_by_bincount(items, *rest)

    weights = to_torch(oracle.matrix("gaussian", "bfloat16", 5_992)).view(3, 2, 1000)[:, :, ::2]
    found = counted(weights, limits=Limits(packed=100), choose=lambda *_: note)
    same(found[0], reference(to_numpy(weights)))
    assert sum(sizes) == 3_000
    assert max(sizes) <= 100


def test_a_tensor_may_change_once_it_was_launched(kernel: str) -> None:
    dense = to_torch(oracle.matrix("gaussian", "float16", 492))
    gaps = torch.stack([dense, dense], 1)[:, 0]
    expected = reference(to_numpy(dense))
    with DeviceCounter([CPU]) as counter:
        pending = [counter.submit(dense), counter.submit(gaps)]
        counter.launch()
        dense.zero_()
        gaps.zero_()
        for one in pending:
            same(one.result(), expected)


def test_parameters_and_inference_tensors(kernel: str) -> None:
    layer = torch.nn.Linear(30, 40, dtype=torch.bfloat16)
    with torch.inference_mode():
        made = layer.weight.t()[:, ::2] * 2
        inside = counted(layer.weight, layer.weight.t()[::2], made)
    outside = counted(layer.weight, layer.weight.t()[::2], made)
    for tensor, left, right in zip(
        (layer.weight, layer.weight.t()[::2], made), inside, outside, strict=True
    ):
        same(left, reference(to_numpy(tensor)))
        same(right, left)
    assert layer.weight.requires_grad
    assert layer.weight.grad is None


def test_results_may_be_asked_for_in_inference_mode_and_out_of_it() -> None:
    arrays = [oracle.matrix("gaussian", "float16", 4_992, seed) for seed in range(4)]
    with DeviceCounter([CPU], limits=SMALL_BUFFERS) as counter:
        with torch.inference_mode():
            first = submit(counter, arrays[0])
            same(first.result(), reference(arrays[0]))
            second = submit(counter, arrays[1])
        third = submit(counter, arrays[2])
        same(second.result(), reference(arrays[1]))
        with torch.inference_mode():
            same(third.result(), reference(arrays[2]))


def test_many_small_matrices_are_one_launch() -> None:
    launches: list[int] = []

    def note(items: Any, *rest: Any) -> None:
        launches.append(len(items))
        count_by_bincount(items, *rest)

    arrays = [oracle.matrix("gaussian", "bfloat16", 50, seed) for seed in range(40)]
    for matrices in (arrays, [to_torch(array) for array in arrays]):
        launches.clear()
        found = counted(*matrices, choose=lambda *_: note)
        for counts, array in zip(found, arrays, strict=True):
            same(counts, reference(array))
        assert launches == [40]


def test_nothing_is_counted_before_the_launch() -> None:
    launches: list[int] = []

    def note(items: Any, *_: Any) -> None:
        launches.append(len(items))

    with DeviceCounter([CPU], choose=lambda *_: note) as counter:
        counter.submit(torch.ones(5))
        assert launches == []
        counter.launch()
        counter.launch()
        assert launches == [1]


def test_results_in_any_order_and_twice() -> None:
    dtypes = ["float32", "bfloat16", "float8_e5m2"] * 3
    arrays = [oracle.matrix("gaussian", dtype, 3_000, i) for i, dtype in enumerate(dtypes)]
    with DeviceCounter([CPU], limits=SMALL_BUFFERS) as counter:
        pending = [submit(counter, a if i % 2 else to_torch(a)) for i, a in enumerate(arrays)]
        for i in (4, 0, 8, 4, 1, 7, 3, 2, 6, 5, 0):
            same(pending[i].result(), reference(arrays[i]))
        late = submit(counter, arrays[0])
        same(pending[0].result(), reference(arrays[0]))
        same(late.result(), reference(arrays[0]))


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(sorted(oracle.DTYPES)))
def test_pieces_in_any_interleaving_add_up(data: st.DataObject, dtype: str) -> None:
    first, second = (oracle.matrix("gaussian", dtype, 2_000, seed) for seed in (1, 2))
    cuts = st.lists(st.integers(0, first.size), max_size=6).map(sorted)
    pieces = [
        (number, part, data.draw(st.booleans()))
        for number, whole in enumerate((first, second))
        for part in np.split(whole, data.draw(cuts))
    ]
    limits = Limits(
        buffer=512 * data.draw(st.integers(1, 9)),
        copied=data.draw(st.integers(1, 5_000)),
        table=data.draw(st.sampled_from([1, 1 << 20])),
        tables=data.draw(st.integers(1, 3)),
    )
    with DeviceCounter([CPU], limits=limits) as counter:
        pending = [
            (number, submit(counter, part.copy() if fed else to_torch(part.copy())))
            for number, part, fed in data.draw(st.permutations(pieces))
        ]
        total = [Counts(), Counts()]
        for number, one in data.draw(st.permutations(pending)):
            total[number] += one.result()
    same(total[0], reference(first))
    same(total[1], reference(second))


def test_closing_twice_and_without_work_is_fine() -> None:
    DeviceCounter([]).close()
    with DeviceCounter([CPU]) as counter:
        counter.launch()
        counter.fetch()
        counter.submit_bits(np.zeros(5, np.uint16), "F16")
        counter.submit(torch.ones(3))
        counter.close()
        counter.close()
    assert not counter._tables


@pytest.mark.triton
def test_old_triton_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = use_interpreter(monkeypatch)
    monkeypatch.setattr(module, "VERSION", (3, 1))
    with pytest.warns(UserWarning, match=r"^Triton .* is too old; 3\.2 .*bincount"):
        assert choose_kernel(CPU, F32) is count_by_bincount
    for newer in ((3, 2), (3, 10), (4, 0)):
        monkeypatch.setattr(module, "VERSION", newer)
        assert choose_kernel(CPU, F32) is module.launch


@pytest.mark.triton
@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_triton_that_cannot_compile_is_not_used(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: Any) -> None:
        raise error("no C compiler")

    monkeypatch.setattr(use_interpreter(monkeypatch), "launch", fail)
    with pytest.warns(UserWarning, match=r"cannot count F32 on cpu \(no C compiler\); torch.binc"):
        assert choose_kernel(CPU, F32) is count_by_bincount
    with pytest.warns(UserWarning, match=r"cannot count F32 on cpu"):
        same(counted(torch.ones(3))[0], reference(np.ones(3, np.float32)))


def test_missing_triton_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setitem(sys.modules, KERNEL, None)
    monkeypatch.delitem(vars(counting), "triton_kernel", raising=False)
    assert choose_kernel(CPU, F32) is count_by_bincount


def test_the_kernel_is_chosen_once_per_format() -> None:
    chosen: list[Any] = []

    def choose(*about: Any) -> Any:
        chosen.append(about)
        return count_by_bincount

    counted(torch.ones(3), np.ones(3, np.float16), torch.ones(3)[::2], choose=choose)
    assert sorted(form.name for _, form in chosen) == ["F16", "F32"]


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


COUNTED_ON_CUDA: dict[str, Callable[[str], NDArray[Any]]] = {
    "gaussian": lambda dtype: oracle.matrix("gaussian", dtype, 1_000_003),
    "lognormal": lognormal,
    "any pattern": any_pattern,
    "constant": lambda dtype: stored(np.full(300_000, 1 / 3), dtype),
    "zero": lambda dtype: stored(np.resize([0.0, -0.0], 300_001), dtype),
    "not finite": not_finite,
    "all nan": all_nan,
    "subnormal": subnormals,
    "empty": lambda dtype: stored(np.empty(0), dtype),
    "one": lambda dtype: stored(np.array([2.5]), dtype),
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The first CUDA device, with none of the memory that earlier tests left in torch's cache."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    yield torch.device("cuda", 0)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


@pytest.mark.cuda
@NEEDS_CUDA
@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("case", COUNTED_ON_CUDA)
def test_cuda_counts_what_a_full_sort_finds(gpu: Any, case: str, dtype: str) -> None:
    array = COUNTED_ON_CUDA[case](dtype)
    tensor = to_torch(array).to(gpu)
    for counts in counted(tensor, array, devices=[gpu]):
        same(counts, reference(array))


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_counts_with_the_kernel_where_triton_is_there(gpu: Any) -> None:
    pytest.importorskip("triton")
    assert all(choose_kernel(gpu, form) is not count_by_bincount for form in FORMATS.values())


@pytest.mark.cuda
@NEEDS_CUDA
@pytest.mark.parametrize("part", [64, 1 << 22])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter_on_cuda(gpu: Any, layout: str, part: int) -> None:
    for dtype in oracle.DTYPES:
        tensor = LAYOUTS[layout](to_torch(oracle.matrix("gaussian", dtype, 492)).to(gpu))
        found = counted(tensor, devices=[gpu], limits=Limits(packed=part))
        same(found[0], reference(to_numpy(tensor)))


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_counts_arrays_larger_than_its_buffers(gpu: Any) -> None:
    names = [*oracle.DTYPES] * 3
    arrays = [oracle.matrix("gaussian", dtype, 99_999, i) for i, dtype in enumerate(names)]
    matrices = [to_torch(a).to(gpu) if i % 3 == 2 else a for i, a in enumerate(arrays)]
    limits = Limits(buffer=1 << 16, copied=10_000)
    found = counted(*matrices, devices=[gpu], limits=limits)
    for counts, array in zip(found, arrays, strict=True):
        same(counts, reference(array))


@pytest.mark.cuda
@NEEDS_CUDA
def test_all_cuda_devices_share_one_array() -> None:
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    array = oracle.matrix("gaussian", "float32", 5_000_001)
    expected = reference(array)
    with Counting(devices, limits=Limits(buffer=1 << 20)) as counting:
        same(counting.submit(array).result(), expected)
    for device in devices:
        same(count_magnitudes(to_torch(array).to(device), device=devices), expected)


@pytest.mark.cuda
@NEEDS_CUDA
def test_more_weights_on_cuda_than_32_bits_count(gpu: Any) -> None:
    n = (1 << 31) + 256
    if torch.cuda.mem_get_info(gpu)[0] < 2 * n + (1 << 30):
        pytest.skip("the CUDA device has less than 5.3 GB free")
    once = reference(any_pattern("float8_e4m3fn"))
    patterns = torch.arange(256, device=gpu).to(torch.uint8).repeat(n // 256)
    counts = counted(patterns.view(torch.float8_e4m3fn), devices=[gpu])[0]
    np.testing.assert_array_equal(counts.labels, once.labels)
    np.testing.assert_array_equal(counts.counts, once.counts * (n // 256))
    assert (counts.zeros, counts.nans) == (2 * (n // 256), 2 * (n // 256))
    patterns.fill_(0x38)
    counts = counted(patterns.view(torch.float8_e4m3fn)[5:], devices=[gpu])[0]
    assert (counts.values.tolist(), counts.counts.tolist()) == ([1.0], [n - 5])


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_is_not_waited_for_before_a_result_is_asked_for(gpu: Any) -> None:
    pytest.importorskip("triton")
    array = oracle.matrix("gaussian", "bfloat16", 9_992)
    tensor = to_torch(array).to(gpu).view(100, 100)
    views = [tensor, tensor.t(), tensor[:, ::2]]
    expected = [reference(to_numpy(view)) for view in views]
    with DeviceCounter([gpu]) as counter:
        submit(counter, tensor).result()  # compiles, and allocates the table
        try:
            torch.cuda.set_sync_debug_mode("error")
            pending = [submit(counter, view) for view in views]
            counter.launch()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for one, counts in zip(pending, expected, strict=True):
            same(one.result(), counts)


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_counts_in_the_order_of_the_current_stream(gpu: Any) -> None:
    new = oracle.matrix("gaussian", "bfloat16", 499_992)
    source, weights = to_torch(new).to(gpu), torch.zeros(500_000, dtype=torch.bfloat16, device=gpu)
    side = torch.cuda.Stream(gpu)
    with DeviceCounter([gpu]) as counter:
        first = submit(counter, weights).result()
        side.wait_stream(torch.cuda.current_stream(gpu))
        with torch.cuda.stream(side):
            torch.cuda._sleep(100_000_000)  # cycles that the stream is busy for
            weights.copy_(source)
            pending = [submit(counter, weights), submit(counter, weights[::2])]
            counter.launch()
            weights.fill_(3)
        assert first.zeros == 500_000
        same(pending[0].result(), reference(new))
        same(pending[1].result(), reference(new[::2]))


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_counts_in_inference_mode(gpu: Any) -> None:
    array = oracle.matrix("gaussian", "bfloat16", 9_992)
    with torch.inference_mode():
        weights = to_torch(array).to(gpu).view(100, 100)
        for counts in counted(weights, weights.t(), array, devices=[gpu]):
            same(counts, reference(array))


@pytest.mark.cuda
@NEEDS_CUDA
def test_cuda_that_runs_out_of_memory_takes_less(gpu: Any) -> None:
    array = oracle.matrix("gaussian", "bfloat16", 9_992)
    tensor = to_torch(array).to(gpu)
    choose_kernel(gpu, FORMATS["BF16"])
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved(gpu) + (80 << 20)) / total, gpu
        )
        with pytest.warns(UserWarning, match=r"There is too little memory for [\d,]+ bytes"):
            left, right = counted(tensor, array, devices=[gpu])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    same(left, reference(array))
    same(right, reference(array))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "float8_e5m2"])
@pytest.mark.parametrize("shape", [(40, 70), (8, 9), (70, 5)])
def test_some_rows_and_columns_of_a_matrix_are_looked_at(shape: Any, dtype: str) -> None:
    weights = oracle.matrix("gaussian", dtype, 3000)[: shape[0] * shape[1]].reshape(shape)
    expected = lines_of(*as_bits(weights), shape) if min(shape) >= FEWEST else None
    tensor = to_torch(weights.copy())
    with DeviceCounter([CPU]) as counter:
        given = [counter.submit(tensor, shape), counter.submit(tensor.t().contiguous().t(), shape)]
        others = [counter.submit(tensor), counter.submit(tensor[1:], shape)]
        counter.launch()
        tensor.zero_()
        for lines in (pending.lines for pending in given):
            if expected is None or lines is None:
                assert lines is expected
                continue
            assert lines.dtype == expected.dtype
            np.testing.assert_array_equal(lines.rows, expected.rows)
            np.testing.assert_array_equal(lines.columns, expected.columns)
        assert [pending.lines for pending in others] == [None, None]
