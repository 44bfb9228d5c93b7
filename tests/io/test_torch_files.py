"""PyTorch files: every value as torch loads it, and no file that makes anything run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.io import torch_files
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.convert import convert
from weibnb.io.files import CheckpointError
from weibnb.io.limits import Limits
from weibnb.io.pickles import check_pickle

torch = pytest.importorskip("torch")

Q = "model.layers.{}.self_attn.q_proj.weight"
TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32),
    *(torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.float8_e8m0fnu, torch.complex64),
]


def numbers(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def octets(tensor: Any) -> bytes:
    """Bytes of a tensor in C order."""
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def same(path: Path, state: dict[str, Any]) -> None:
    """Hold every tensor of a file to what was saved."""
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.tensors) == set(state)
        assert not checkpoint.problems
        for name, tensor in state.items():
            assert checkpoint.tensors[name].shape == tuple(tensor.shape)
            assert checkpoint.raw(name).tobytes() == octets(tensor), name


def refused(path: Path, match: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path)
    return caught.value


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type(tmp_path: Path, dtype: Any) -> None:
    state = {"a": (numbers(6, 5) * 9).abs().to(dtype), "empty": torch.empty(0, 3, dtype=dtype)}
    torch.save(state, tmp_path / "m.pt")
    same(tmp_path / "m.pt", state)


def test_views_strides_and_shared_storages(tmp_path: Path) -> None:
    base = numbers(12, 10)
    state = {
        "whole": base,
        "rows": base[3:7],
        "columns": base[:, 2:5],
        "turned": base.t(),
        "every_other": base[::2, ::3],
        "permuted": base.view(3, 4, 10).permute(2, 0, 1),
        "number": base[2, 3],
        "one": base[4:5, :],
        "parameter": torch.nn.Parameter(base[:2]),
        "tied": base,
    }
    for name in ("m.bin", "m.pth", "m.ckpt"):
        torch.save(state, tmp_path / name)
        same(tmp_path / name, state)
    with open_checkpoint(tmp_path / "m.bin") as checkpoint:
        assert checkpoint.tied == {"tied": "whole"}


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {0: {"m": numbers(3)}}}},
        lambda s: {"model": {"module": s}, "lr": 1e-3},
        lambda s: {"model": s, "ema": {k: v + 1 for k, v in s.items()}},
        lambda s: {"my_net": s, "config": {"layers": 2}},
    ],
)
def test_nests_as_people_save_them(tmp_path: Path, nest: Any) -> None:
    state = {Q.format(i): numbers(8, 8 + i) for i in range(3)}
    torch.save(nest(state), tmp_path / "m.pt")
    same(tmp_path / "m.pt", state)


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": numbers(3, 3), "n": 5}, "epoch": 3}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.notes == (
            "Left out beside `state_dict`: epoch.",
            "Left out, no tensors: n.",
        )


def test_dicts_of_dicts_are_joined(tmp_path: Path) -> None:
    torch.save({"a": numbers(2, 2), "layers": {0: {"w": numbers(3)}}}, tmp_path / "m.pt")
    assert set(open_checkpoint(tmp_path / "m.pt").tensors) == {"a", "layers.0.w"}


def test_two_models_in_one_file_are_not_guessed(tmp_path: Path) -> None:
    torch.save({"left": {"w": numbers(3)}, "right": {"w": numbers(3)}}, tmp_path / "m.pt")
    assert set(open_checkpoint(tmp_path / "m.pt").tensors) == {"left.w", "right.w"}


@pytest.mark.parametrize("content", [3, [1, 2], {}, {"a": 1}, {"a": {"b": "text"}}])
def test_no_tensors(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "no tensors are in it|no mapping of names")


def test_a_folder_with_an_index_is_scanned_as_its_state_dict(tmp_path: Path) -> None:
    state = {Q.format(i): numbers(64, 64).bfloat16() for i in range(4)}
    files = {"pytorch_model-00001-of-00002.bin": [0, 1], "pytorch_model-00002-of-00002.bin": [2, 3]}
    weight_map: dict[str, str] = {}
    for name, layers in files.items():
        torch.save({Q.format(i): state[Q.format(i)] for i in layers}, tmp_path / name)
        weight_map |= {Q.format(i): name for i in layers}
    torch.save({"lr": torch.ones(3)}, tmp_path / "optimizer.pt")
    torch.save({"lr": torch.ones(3)}, tmp_path / "training_args.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    for written in (False, True):
        if written:
            index.write_text(json.dumps({"weight_map": weight_map}))
        fits, known = wb.scan(tmp_path, progress=False), wb.scan(state, progress=False)
        np.testing.assert_array_equal(fits["k"].values, known["k"].values)
        np.testing.assert_array_equal(fits["k_se"].values, known["k_se"].values)
        same(tmp_path, state)
    same(index, state)


def test_safetensors_come_first(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({"w": numbers(3, 3)}, tmp_path / "pytorch_model.bin")
    save_file({"v": numbers(4, 4)}, tmp_path / "model.safetensors")
    assert set(open_checkpoint(tmp_path).tensors) == {"v"}


def test_a_run_of_files(tmp_path: Path) -> None:
    for step in (10, 20):
        torch.save({Q.format(0): numbers(32, 32) * step}, tmp_path / f"step-{step}.pt")
    fits = wb.scan(tmp_path, progress=False)
    assert fits["step"].values.tolist() == [10, 20]
    assert np.isfinite(fits["k"].values).all()


class Malice:
    """Runs something when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def archive(path: Path, content: bytes, *, compressed: bool = False, **more: bytes) -> Path:
    """Write an archive as torch does, around a pickle."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("m/data.pkl", content)
        file.writestr("m/byteorder", more.pop("byteorder", b"little"))
        for name, data in more.items():
            file.writestr(f"m/{name.replace('_slash_', '/')}", data)
        file.writestr("m/version", b"3\n")
    return path


def os_system(target: Path) -> bytes:
    return (
        b"cos\nsystem\n(X"
        + struct.pack("<I", len(f"touch {target}"))
        + (f"touch {target}".encode() + b"tR.")
    )


def stack_global(target: Path) -> bytes:
    """Build the name of the function on the stack, as protocol 4 does."""
    command = f"touch {target}".encode()
    return b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command + b"\x85R."


def renamed(target: Path) -> bytes:
    """A name of Python 2 that newer ones map to another."""
    return b"\x80\x02c__builtin__\neval\nX\x03\x00\x00\x001+1\x85R."


def extension(target: Path) -> bytes:
    """A code of the registry of extensions."""
    return b"\x80\x02\x82\x01)R."


def instance(target: Path) -> bytes:
    """The old opcodes that look a class up and call it."""
    return b"(ios\nsystem\n."


def nested_name(target: Path) -> bytes:
    return b"\x80\x02ctorch\nserialization.os.system\n."


def huge_bytearray(target: Path) -> bytes:
    return b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x40\x85R."


ATTACKS = [os_system, stack_global, renamed, extension, instance, nested_name, huge_bytearray]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("packed", [True, False])
def test_nothing_runs(tmp_path: Path, attack: Any, packed: bool) -> None:
    target = tmp_path / "ran"
    content = attack(target)
    path = tmp_path / "m.bin"
    if packed:
        archive(path, content)
        refused(path, "its pickle (names|uses|is damaged)")
    else:
        path.write_bytes(b"\x80" + content[1:] if content[:1] == b"\x80" else content)
        refused(path, "legacy PyTorch file|no file that torch.save wrote")
    with pytest.raises(CheckpointError):
        convert(path, tmp_path / "out.safetensors")
    assert not target.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_no_pickle_of_any_protocol_runs(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "ran"
    content = pickle.dumps({"w": Malice(target)}, protocol=protocol)
    refused(archive(tmp_path / "m.pt", content), "its pickle (names|uses)")
    parts: list[Any] = [0x1950A86A20F9469CFC6C, 1001, {}]
    legacy = b"".join(pickle.dumps(one, 2) for one in parts)
    (tmp_path / "old.pt").write_bytes(legacy + content + pickle.dumps([], 2))
    with pytest.raises(CheckpointError, match=r"its pickle (names|uses)"):
        convert(tmp_path / "old.pt", tmp_path / "out.safetensors")
    assert not target.exists()
    pickle.loads(content)  # noqa: S301 - shows that the file would have done it
    assert target.exists()


def test_a_class_that_others_allowed_is_still_refused(tmp_path: Path) -> None:
    torch.save({"w": numbers(3, 3), "when": Path("x")}, tmp_path / "m.pt")
    with torch.serialization.safe_globals([type(Path("x"))]):
        refused(tmp_path / "m.pt", "its pickle (names|uses)")


def test_every_global_of_the_list_is_known_to_torch() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    from weibnb.io.pickles import GLOBALS

    known = set(_get_allowed_globals())
    assert {name.replace(" ", ".") for name in GLOBALS} <= known


def tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> bytes:
    """Write by hand the pickle of one float32 tensor."""

    class Storage:
        pass

    held = Storage()
    out = io.BytesIO()

    class Tensor:
        def __reduce__(self) -> Any:
            from collections import OrderedDict

            args: Any = (held, offset, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, args

    class Plain(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if obj is held else None

    Plain(out, protocol=2).dump({"w": Tensor(), "good": 1})
    return out.getvalue()


@pytest.mark.parametrize(
    ("numel", "size", "stride", "offset", "problem"),
    [
        (4, (2, 2), (2, 1), 0, ""),
        (4, (2, 2), (2, 1), 1, "not a record of the file"),  # torch made the storage longer
        (4, (2, 3), (2, 1), 0, "not a record of the file"),
        (4, (10**6, 10**6), (0, 0), 0, "takes 4,000,000,000,000 bytes, its storage holds 16"),
        (4, (2, 2), (10**9, 1), 0, "not a record of the file"),
        (10**12, (2, 2), (2, 1), 0, "not a record of the file"),
        (3, (1, 2), (2, 1), 0, "not a record of the file"),
    ],
)
def test_tensors_are_held_to_their_records(
    tmp_path: Path,
    numel: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    problem: str,
) -> None:
    content = tensor_pickle(numel, size, stride, offset)
    path = archive(tmp_path / "m.pt", content, data_slash_0=np.arange(4, dtype="f4").tobytes())
    checkpoint = open_checkpoint(path)
    if not problem:
        assert checkpoint.raw("w").view("f4").tolist() == [0, 1, 2, 3]
        return
    assert problem in dict(checkpoint.problems)["w"]
    with pytest.raises(CheckpointError, match=r"holds|record"):
        checkpoint.raw("w")


def test_bombs(tmp_path: Path) -> None:
    inner: dict[str, Any] = {"w": 1}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    refused(archive(tmp_path / "laughs.pt", pickle.dumps(inner, 2)), "at most|no tensors|Left")
    endless: dict[str, Any] = {}
    endless["a"] = endless
    refused(archive(tmp_path / "circle.pt", pickle.dumps(endless, 2)), "no tensors")
    big = b"\x80\x02X" + struct.pack("<I", 2**31) + b"short."
    refused(archive(tmp_path / "short.pt", big), "damaged")
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    refused(archive(tmp_path / "deep.pt", deep), "holds a list|does not load")
    path = archive(tmp_path / "zip.pt", pickle.dumps({"w": [0] * 100_000}, 2), compressed=True)
    refused(path, "compressed or encrypted")
    large = archive(tmp_path / "large.pt", pickle.dumps({str(i): i for i in range(100)}, 2))
    with pytest.raises(CheckpointError, match=r"its pickle takes .* at most 400"):
        open_checkpoint(large, max_header=100)


def test_other_archives(tmp_path: Path) -> None:
    program = archive(tmp_path / "s.pt", pickle.dumps({}, 2))
    with zipfile.ZipFile(program, "a") as file:
        file.writestr("m/constants.pkl", pickle.dumps((), 2))
    refused(program, "TorchScript")
    big = archive(tmp_path / "b.pt", pickle.dumps({}, 2), byteorder=b"big")
    refused(big, "other byte order")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    refused(tmp_path / "z.pt", "no archive that torch.save wrote")
    (tmp_path / "e.pt").write_bytes(b"")
    refused(tmp_path / "e.pt", "empty")
    (tmp_path / "t.pt").write_bytes(b"text, no weights")
    refused(tmp_path / "t.pt", "no file that torch.save wrote")
    (tmp_path / "l.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(tmp_path / "l.bin", "git lfs pull")


def test_truncated_anywhere(tmp_path: Path) -> None:
    torch.save({"w": numbers(64, 64)}, tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    for length in (3, 30, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        refused(tmp_path / "cut.pt", "directory|damaged|no file that torch.save wrote")


@pytest.mark.parametrize("found", ["2.9.1", "1.13.0+cu117", "2.6.0a0"])
def test_an_older_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    torch.save({"w": numbers(3, 3)}, tmp_path / "m.pt")
    monkeypatch.setattr(torch_files, "version", lambda _: found)
    error = refused(tmp_path / "m.pt", r"CVE-2026-24747.*pip install 'torch>=2.10'")
    assert isinstance(error, ImportError)


def test_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": numbers(3, 3)}, tmp_path / "m.pt")

    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(torch_files, "version", missing)
    error = refused(tmp_path / "m.pt", r"not installed.*pip install 'torch>=2.10'")
    assert isinstance(error, ImportError)


def test_convert_keeps_everything(tmp_path: Path) -> None:
    from safetensors import safe_open

    base = numbers(12, 10)
    state = {"emb": base, "head": base, "t": base.t(), "h": base.half(), "i": torch.arange(5)}
    for legacy in (False, True):
        source, target = tmp_path / f"{legacy}.bin", tmp_path / f"{legacy}.safetensors"
        torch.save(
            {"state_dict": state, "epoch": 1},
            source,
            _use_new_zipfile_serialization=not legacy,
        )
        if legacy:
            refused(source, r"legacy PyTorch file.*weibnb convert True\.bin -o")
        notes = convert(source, target)
        assert "head is emb: written once." in notes
        with safe_open(target, "pt") as file:
            assert file.metadata() == {"format": "pt", "head": "emb"}
            assert set(file.keys()) == set(state) - {"head"}
            for name in file.keys():  # noqa: SIM118
                found = file.get_tensor(name)
                assert found.dtype == state[name].dtype
                assert torch.equal(found, state[name])


def test_convert_replaces_nothing_unasked(tmp_path: Path) -> None:
    torch.save({"w": numbers(3, 3)}, tmp_path / "m.bin")
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="force=True"):
        convert(tmp_path / "m.bin", target)
    (tmp_path / "bad.bin").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError):
        convert(tmp_path / "bad.bin", target, force=True)
    assert target.read_bytes() == b"precious"
    convert(tmp_path / "m.bin", target, force=True)
    assert set(open_checkpoint(target).tensors) == {"w"}
    with pytest.raises(ValueError, match="safetensors"):
        convert(tmp_path / "m.bin", tmp_path / "m.txt")


def test_opcodes_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    check_pickle(tmp_path, pickle.dumps({"a": [1, 2.5, "text", None, True, (1, 2)]}, 2))
    for content in (b"\x80\x02c__builtin__\nint\n)\x81.", b"I1\n.", b"\x80\x04\x95" + b"\0" * 9):
        with pytest.raises(CheckpointError, match="its pickle"):
            check_pickle(tmp_path, content)


def test_limits_of_tensors(tmp_path: Path) -> None:
    torch.save({str(i): numbers(1) for i in range(30)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="at most 5 are taken"):
        torch_files.read_torch_file(tmp_path / "m.pt", Limits(max_tensors=5))
    torch_files.read_torch_file(tmp_path / "m.pt", Limits(max_tensors=31))
