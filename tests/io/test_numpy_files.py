"""NumPy files: every value as numpy loads it, and no file that is evaluated or inflated."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import weibnb as wb
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.convert import convert
from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Q = "model.layers.{}.self_attn.q_proj.weight"
TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def numbers(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(0, 0.02, shape).astype("f4")


def same(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Hold every array of a file to what was saved."""
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.tensors) == set(arrays)
        assert not checkpoint.problems
        for name, one in arrays.items():
            assert checkpoint.tensors[name].shape == one.shape
            assert checkpoint.raw(name).tobytes() == one.tobytes(), name


def refused(path: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path)
    return caught.value


def array(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """Write an array by hand."""
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def archive(path: Path, members: Mapping[str, bytes], **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


GOOD = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", bytes(24))


def test_every_value(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {one: numbers(6, 5).astype(one) for one in TYPES}
    arrays |= {
        "turned": np.asfortranarray(numbers(7, 4)),
        "deep": np.asfortranarray(numbers(3, 4, 5)),
        "strided": numbers(8, 9)[::2, ::3],
        "scalar": np.float32(3),
        "empty": numbers(0, 4),
        "line": numbers(9),
        "é.weight": numbers(2, 2),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    same(tmp_path / "m.npz", arrays)
    np.save(tmp_path / "one.npy", arrays["turned"])
    same(tmp_path / "one.npy", {"one": arrays["turned"]})


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    one=arrays_of.arrays(st.sampled_from(TYPES), arrays_of.array_shapes(min_dims=0, max_dims=4)),
    turned=st.booleans(),
)
def test_any_array(tmp_path: Path, one: NDArray[Any], turned: bool) -> None:
    np.save(tmp_path / "w.npy", np.array(one, order="F" if turned else "C"))
    same(tmp_path / "w.npy", {"w": one})


def test_a_model_is_scanned_like_any_other(tmp_path: Path) -> None:
    state: dict[str, Any] = {Q.format(i): numbers(64, 48 + i) for i in range(2)}
    folder = tmp_path / "mine"
    folder.mkdir()
    np.savez(folder / "weights.npz", **state)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    np.save(folder / "losses.npy", numbers(100))
    known = wb.scan({"m": state}, progress=False)
    for source in (folder, folder / "weights.npz", folder / "*.npz"):
        fits = wb.scan(source, progress=False)
        assert fits["model"].item() == "mine"
        np.testing.assert_array_equal(fits["k"].values, known["k"].values)
        np.testing.assert_array_equal(fits["k_se"].values, known["k_se"].values)
    convert(folder, tmp_path / "m.safetensors")
    same(tmp_path / "m.safetensors", state)


def test_what_else_lies_in_a_folder_comes_first(tmp_path: Path) -> None:
    np.save(tmp_path / "losses.npy", numbers(100))
    refused(tmp_path, "has no .safetensors file")
    np.savez(tmp_path / "evaluations.npz", a=numbers(3))
    convert(_saved(tmp_path / "w.npz", w=numbers(4, 4)), tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert set(checkpoint.tensors) == {"w"}


def _saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_what_is_not_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "big": numbers(4, 4).astype(">f4"),
        "brain": numbers(4, 4).astype(ml_dtypes.bfloat16),
        "text": np.array(["a", "bc"]),
        "pairs": np.zeros(3, [("a", "f4"), ("b", "i4")]),
        "good": numbers(4, 4),
    }
    path = _saved(tmp_path / "m.npz", **arrays)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("readme.txt", "hello")
    with open_checkpoint(path) as checkpoint:
        told = dict(checkpoint.problems)
        assert checkpoint.raw("good").tobytes() == arrays["good"].tobytes()
        assert checkpoint.notes == ("Left out, no arrays: readme.txt.",)
        with pytest.raises(CheckpointError, match="big-endian"):
            checkpoint.raw("big")
    assert set(told) == {"big", "brain", "text", "pairs"}
    assert "big-endian" in told["big"]
    assert "bfloat16" in told["brain"]
    assert "`<U2` is not known" in told["text"] or "<U2 is not known" in told["text"]


class Planted:
    """Writes a file where it is unpickled."""

    def __init__(self, at: Path) -> None:
        self.at = at

    def __reduce__(self) -> Any:
        return Path.touch, (self.at,)


@pytest.mark.parametrize("kind", ["npz", "npy", "structured"])
def test_objects_are_refused_by_name_and_never_made(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "sprung"
    objects: Any = np.array([Planted(trap)], object)
    if kind == "structured":
        objects = np.array([(1.0, Planted(trap))], [("a", "f4"), ("b", "O")])
    path = tmp_path / ("w.npy" if kind == "npy" else "m.npz")
    if kind == "npy":
        np.save(path, objects)
    else:
        np.savez(path, a=numbers(3, 3), w=objects)
    err = refused(path, "array of objects, a pickle, which is refused")
    assert err.tensor == "w"
    assert not trap.exists()
    loaded = np.load(path, allow_pickle=True)  # it does spring where it is loaded
    if kind != "npy":
        loaded["w"]
        loaded.close()
    assert trap.exists()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3.0), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
        "{'descr': '<f4\\x00', 'fortran_order': False, 'shape': (2, 3), }",
        "[" * 9000,
    ],
)
def test_a_header_that_numpy_does_not_write(tmp_path: Path, header: str) -> None:
    (tmp_path / "w.npy").write_bytes(array(header, bytes(24)))
    assert refused(tmp_path / "w.npy", "its header is none that NumPy writes").tensor == "w"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(2, 4)", "takes 32 bytes, the file has 24"),
        ("(2, 2)", "takes 16 bytes, the file has 24"),
        (f"({2**40}, {2**40})", "overflows"),
        (f"(0, {2**80})", "overflows"),
        (f"({'9' * 5000},)", "overflows"),
        (f"({'1, ' * 65})", "overflows"),
    ],
)
def test_a_shape_that_is_not_there(tmp_path: Path, shape: str, words: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    (tmp_path / "w.npy").write_bytes(array(header, bytes(24)))
    refused(tmp_path / "w.npy", words)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_every_version_and_of_other_writers(tmp_path: Path, version: int) -> None:
    """As cnpy and Python 2 write them."""
    data = numbers(2, 3)
    for header in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",
    ):
        (tmp_path / "w.npy").write_bytes(array(header, data.tobytes(), version))
        same(tmp_path / "w.npy", {"w": data})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"hello", "no file that NumPy wrote"),
        (GOOD[:8], "no array that NumPy wrote"),
        (GOOD[:40], "its header would take"),
        (GOOD[:-1], "takes 24 bytes, the file has 23"),
        (GOOD + GOOD, "takes 24 bytes"),
        (GOOD.replace(b"NUMPY\x01", b"NUMPY\x09"), "no array that NumPy wrote"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "would take 2,147,483,648"),
        (pickle.dumps([1, 2]), "no file that NumPy wrote"),
        (b"PK\x03\x04", "no directory"),
    ],
)
def test_a_damaged_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "w.npy").write_bytes(content)
    refused(tmp_path / "w.npy", words)


def test_what_is_compressed_is_not_inflated(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", w=numbers(4, 4))
    refused(tmp_path / "a.npz", r"compressed or encrypted\. Write it anew: numpy\.savez")
    bomb = archive(
        tmp_path / "b.npz", {"w.npy": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 100_000
    assert refused(bomb, "compressed").tensor == "w.npy"


def _directory_changed(path: Path, at: int, new: bytes) -> None:
    """Change what the directory says of the last member, at a place of its entry."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + at : entry + at + len(new)] = new
    path.write_bytes(content)


def test_members_that_overlap(tmp_path: Path) -> None:
    """Two names of one record, as in a bomb whose files share their bytes, and one within."""
    for start in (0, 40):
        inner = io.BytesIO()
        archive(inner, {"b.npy": GOOD})  # type: ignore[arg-type]  # it writes to it
        outer = GOOD if start == 0 else GOOD[:40] + inner.getvalue()
        path = archive(tmp_path / f"{start}.npz", {"a.npy": outer, "b.npy": GOOD})
        where = 0 if start == 0 else path.read_bytes().index(b"PK\x03\x04", 4)
        _directory_changed(path, 42, struct.pack("<I", where))
        refused(path, "overlaps another array|damaged")


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (42, struct.pack("<I", 10**9), "damaged|not where it says|overlaps"),
        (20, struct.pack("<II", 10**9, 10**9), "ends behind the file"),
        (24, struct.pack("<I", 10**9), "two sizes"),
        (8, struct.pack("<H", 1), "encrypted"),
        (10, struct.pack("<H", 99), "compressed"),
    ],
)
def test_a_directory_that_lies(tmp_path: Path, at: int, new: bytes, words: str) -> None:
    path = archive(tmp_path / "m.npz", {"a.npy": GOOD, "b.npy": GOOD})
    _directory_changed(path, at, new)
    refused(path, words)


def test_a_record_without_a_name_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz", {"a.npy": GOOD, "b.npy": GOOD})
    _directory_changed(path, 46, b"\0")
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.tensors) == {"a"}
        assert checkpoint.notes == ("Left out, no arrays: a record without a name.",)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_and_too_many(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
        file.writestr("a.npy", GOOD)
        file.writestr("a.npy", GOOD)
    refused(tmp_path / "m.npz", "two arrays have one name")
    many = archive(tmp_path / "n.npz", {f"{i}.npy": GOOD for i in range(20)})
    with pytest.raises(CheckpointError, match="20 arrays, at most 10"):
        open_checkpoint(many, max_tensors=10)
    with pytest.raises(CheckpointError, match="its directory takes"):
        open_checkpoint(many, max_header=10)


def test_a_file_that_changed_since_it_was_listed(tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.npz", w=numbers(4, 4))
    with open_checkpoint(path) as checkpoint:
        _saved(path, w=numbers(5, 5))
        with pytest.raises(CheckpointError, match="changed"):
            checkpoint.raw("w")
