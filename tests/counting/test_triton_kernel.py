"""The GPU's counting loop, interpreted on the CPU, against a full sort; and what it compiles to."""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from tests.counting.interpreter import NO_TRITON, use_interpreter
from tests.counting.samples import (
    SIGNED,
    UNSIGNED,
    all_nan,
    any_pattern,
    lognormal,
    not_finite,
    of_patterns,
    reference,
    stored,
    subnormals,
)
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb.counting.counts import Counts, from_counters
from weibnb.counting.formats import FORMATS, NAMES, Format

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.triton


@pytest.fixture(params=[True, False], ids=["shared memory", "global memory"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kernel as Triton from 3.8 on runs it, and as it was before."""
    module = use_interpreter(monkeypatch)
    monkeypatch.setattr(module, "IN_SHARED_MEMORY", request.param)
    return module


def count(kernel: Any, *arrays: NDArray[Any], tensors: Any = None, **sizes: int) -> list[Counts]:
    """Count arrays of one format in one launch; `tensors` may hold them elsewhere in memory."""
    form = FORMATS[NAMES[arrays[0].dtype.name]]
    word = getattr(torch, SIGNED[form.bits.itemsize].__name__)
    words = [tensor.view(word) for tensor in tensors or map(to_torch, arrays)]
    table = torch.zeros(len(words), form.bins + 5, dtype=torch.int64)
    items = list(zip(words, range(len(words)), strict=True))
    kernel.launch(items, table, form, form.bins + 4, **sizes)
    return [counts_of(row, form) for row in table.numpy()]


def counts_of(row: NDArray[np.int64], form: Format) -> Counts:
    occupied = np.flatnonzero(row[: form.bins])
    zeros, infinities, nans, inexact, largest = map(int, row[form.bins :])
    apart = (zeros, nans, infinities)
    return from_counters(form, occupied, row[occupied], apart, inexact=inexact > 0, largest=largest)


def half_zero(dtype: str) -> NDArray[Any]:
    weights = oracle.sample("gaussian", 5_000, 8)
    weights[::2] = 0
    weights[::4] *= -1
    return stored(weights, dtype)


def rising(dtype: str) -> NDArray[Any]:
    """First the least that a window may be chosen from, then all that lies far above."""
    least = float(oracle.magnitudes(subnormals(dtype))[0])
    return stored(np.r_[np.full(1024, least), 2.0 ** np.linspace(np.log2(least), 7, 3_000)], dtype)


CASES: dict[str, Callable[[str], NDArray[Any]]] = {
    "gaussian": lambda dtype: oracle.matrix("gaussian", dtype, 20_001),
    "lognormal": lognormal,
    "any pattern": any_pattern,
    "constant": lambda dtype: stored(np.full(20_000, -0.375), dtype),
    "constant inexact": lambda dtype: stored(np.full(20_000, 1 / 3), dtype),
    "zero": lambda dtype: stored(np.resize([0.0, -0.0], 1_001), dtype),
    "half zero": half_zero,
    "not finite": not_finite,
    "all nan": all_nan,
    "subnormal": subnormals,
    "empty": lambda dtype: stored(np.empty(0), dtype),
    "one": lambda dtype: stored(np.array([2.5]), dtype),
    "rising": rising,
    "falling": lambda dtype: np.ascontiguousarray(rising(dtype)[::-1]),
    "zeros first": lambda dtype: np.r_[stored(np.zeros(1024), dtype), lognormal(dtype)],
    "nan first": lambda dtype: np.r_[all_nan(dtype), all_nan(dtype), lognormal(dtype)],
    "upcast": lambda dtype: stored(any_pattern("bfloat16")[1:0x7F80:3], dtype),
}


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_kernel_counts_what_a_full_sort_finds(kernel: Any, case: str, dtype: str) -> None:
    weights = CASES[case](dtype)
    same(count(kernel, weights)[0], reference(weights))


@pytest.mark.parametrize("dtype", ["float8_e5m2", "bfloat16", "float64"])
@pytest.mark.parametrize("first", [0, 1])
def test_no_weight_is_lost_at_the_edges_of_pieces_tiles_and_looks(
    kernel: Any, first: int, dtype: str
) -> None:
    drawn = lognormal(dtype)
    sizes = [0, 1, *(edge + step for edge in (16, 32, 64, 96, 192) for step in (-1, 0, 1))]
    arrays = [drawn[at : at + size] for at, size in enumerate(sizes)]
    padded = [to_torch(np.r_[drawn[:first], array])[first:] for array in arrays]
    assert all(tensor.data_ptr() % 16 == 0 for tensor in padded if tensor.numel()) != bool(first)
    found = count(kernel, *arrays, tensors=padded, piece=96, tile=64, lanes=16)
    for counts, array in zip(found, arrays, strict=True):
        same(counts, reference(array))


@pytest.mark.parametrize("step", [-1, 0, 1])
def test_no_weight_is_lost_at_the_end_of_a_piece_of_real_size(kernel: Any, step: int) -> None:
    weights = np.resize(oracle.matrix("gaussian", "bfloat16", 5_000), kernel.PIECE + step)
    same(count(kernel, weights)[0], reference(weights))


def test_a_weight_just_outside_of_the_window_is_counted(kernel: Any) -> None:
    octave, window = kernel._WINDOWS["F32"]
    top = int(np.float32(1).view(np.uint32) >> 13)
    low = top + 2 * octave - window
    places = [low - 1, low, low + window - 1, low + window]
    weights = of_patterns([top << 13] * 1024 + [place << 13 for place in places], "float32")
    counts = count(kernel, weights)[0]
    same(counts, reference(weights))
    assert (counts.exact, counts.counts.tolist()) == (True, [1, 1, 1024, 1, 1])


@pytest.mark.parametrize(("dtype", "bit"), [("float32", 0), ("float32", 12), ("float64", 41)])
@pytest.mark.parametrize("at", [0, 5_000, 10_000])
def test_one_mantissa_bit_too_many_makes_intervals(
    kernel: Any, at: int, dtype: str, bit: int
) -> None:
    weights = np.full(10_001, 1.5, dtype)
    assert count(kernel, weights)[0].exact
    weights.view(UNSIGNED[weights.itemsize])[at] |= UNSIGNED[weights.itemsize](1 << bit)
    counts = count(kernel, weights)[0]
    assert not counts.exact
    assert counts.largest == float(weights[at]) > 1.5
    same(counts, reference(weights))


def test_rows_of_one_launch_keep_apart_and_add_up(kernel: Any) -> None:
    form = FORMATS["BF16"]
    left, right = (oracle.matrix("gaussian", "bfloat16", 500, seed) for seed in (1, 2))
    table = torch.zeros(3, form.bins + 5, dtype=torch.int64)
    words = [to_torch(weights).view(torch.int16) for weights in (left, right)]
    items = [(words[0], 2), (words[1], 0), (words[0][1:], 2)]
    kernel.launch(items, table, form, form.bins + 4)
    same(counts_of(table[0].numpy(), form), reference(right))
    assert not table[1].any()
    same(counts_of(table[2].numpy(), form), reference(np.r_[left, left[1:]]))


def test_the_largest_goes_to_its_slot(kernel: Any) -> None:
    form = FORMATS["F32"]
    table = torch.zeros(1, form.bins + 7, dtype=torch.int64)
    words = torch.tensor([0.1, -0.7, float("nan"), float("inf")]).view(torch.int32)
    kernel.launch([(words, 0)], table, form, form.bins + 5)
    slots = table[0, form.bins + 4 :].to(torch.int32).view(torch.float32)
    assert slots.tolist() == [0, np.float32(0.7), 0]


class Recorder:
    """Stands for the kernel and keeps the constants of each launch."""

    def __init__(self) -> None:
        self.constants: list[dict[str, Any]] = []

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda *_, **constants: self.constants.append(constants)


def test_only_words_aligned_to_a_vector_are_read_by_vectors(
    kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, form = Recorder(), FORMATS["BF16"]
    monkeypatch.setattr(kernel, "count_pieces", recorder)
    table = torch.zeros(1, form.bins + 5, dtype=torch.int64)
    words = torch.zeros(99, dtype=torch.int16)
    assert words.data_ptr() % 16 == 0
    for first, vectors in {0: [16], 1: [1], 2: [1], 4: [1], 8: [16]}.items():
        recorder.constants.clear()
        kernel.launch([(words[first:], 0)], table, form, form.bins + 4)
        assert [constants["VECTOR"] for constants in recorder.constants] == vectors


@lru_cache(maxsize=16)
def compiled(name: str, cache: Path, capability: int = 90, *, shared: bool = True) -> Any:
    """Compile the aligned kernel of a format for a GPU, an H100 by default, as `launch` would."""
    pytest.importorskip("triton", reason=NO_TRITON)
    from triton import compiler
    from triton.backends.compiler import GPUTarget

    from weibnb.counting import triton_kernel

    form, recorder = FORMATS[name], Recorder()
    words = torch.zeros(64, dtype=getattr(torch, SIGNED[form.bits.itemsize].__name__))
    table = torch.zeros(1, form.bins + 5, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_kernel, "count_pieces", recorder)
        patch.setattr(triton_kernel, "IN_SHARED_MEMORY", shared)
        triton_kernel.launch([(words, 0)], table, form, form.bins + 4)
    constants = recorder.constants[0]
    options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    function = triton_kernel.count_pieces
    types = ["*i64", "*i64", "*i32", "i32", "i32", *["constexpr"] * len(constants)]
    source = compiler.ASTSource(
        fn=function,
        signature=dict(zip(function.arg_names, types, strict=True)),
        constexprs=constants,
        attrs={(at,): [["tt.divisibility", 16]] for at in (0, 1, 2)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(cache))
        return compiler.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("triton")


@pytest.mark.parametrize("name", FORMATS)
def test_kernel_reads_by_vectors_and_counts_in_shared_memory(name: str, cache: Path) -> None:
    binary = compiled(name, cache)
    ptx = binary.asm["ptx"]
    wide = r"ld\.global\.v2\.b64" if name == "F64" else r"ld\.global\.v4\.b32"
    assert re.search(wide, ptx)
    assert re.search(r"atom\.[\w.]*shared[\w.]*\.add", ptx)
    assert not re.search(r"vote|match\.|ballot", ptx)
    assert binary.metadata.shared == 4 * (
        1 << {"BF16": 12}.get(name, 14 if name[1:3] != "8_" else 6)
    )


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("name", ["BF16", "F32"])
def test_kernel_counts_by_atomics_where_histograms_are_ballots(
    name: str, capability: int, cache: Path
) -> None:
    ptx = compiled(name, cache, capability, shared=False).asm["ptx"]
    assert re.search(r"ld\.global\.v[24]\.b(32|64)", ptx)
    assert re.search(r"(atom|red)\.[\w.]*global[\w.]*\.add\.[us]32", ptx)
    assert re.search(r"atom\.[\w.]*global[\w.]*\.exch\.b32", ptx)
    assert not re.search(r"vote|match\.|ballot|atom\.[\w.]*shared", ptx)


def test_an_old_triton_is_named(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "VERSION", (3, 1))
    assert "3.2 (torch 2.6) or newer counts" in kernel.problem(torch.device("cpu"), FORMATS["F32"])
    monkeypatch.setattr(kernel, "VERSION", (3, 2))
    assert not kernel.problem(torch.device("cpu"), FORMATS["F32"])


def test_many_pieces_share_counters_in_turn(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "AT_ONCE", 2)
    arrays = [lognormal("bfloat16")[:size] for size in (500, 96, 0, 301)]
    for counts, array in zip(count(kernel, *arrays, piece=96, tile=64), arrays, strict=True):
        same(counts, reference(array))


@pytest.mark.parametrize(("name", "shared"), [*((n, True) for n in FORMATS), ("BF16", False)])
def test_kernel_keeps_its_values_in_registers(name: str, cache: Path, *, shared: bool) -> None:
    binary = compiled(name, cache, shared=shared)
    import triton.backends.nvidia

    tool = Path(next(iter(triton.backends.nvidia.__path__))) / "bin" / "cuobjdump"
    if not tool.exists():
        pytest.skip("Triton came without cuobjdump")
    path = cache / f"{name}.cubin"
    path.write_bytes(binary.asm["cubin"])
    told = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    assert re.search(r"STACK:0 .*LOCAL:0 ", told.stdout)
