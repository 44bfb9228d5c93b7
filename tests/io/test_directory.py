"""Directories: shards, indexes, links, configurations, pickles."""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.io.handmade import entry, index, one, refused, write
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_shards_with_index(tmp_path: Path) -> None:
    one(tmp_path / "m-2.safetensors", "b", 2)
    one(tmp_path / "m-1.safetensors", "a", 1)
    write(
        tmp_path / "m-3.safetensors",
        {"c": entry("U8", [1], 0, 1), "unlisted": entry("U8", [1], 1, 2)},
        b"xy",
    )
    path = index(tmp_path, {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-3.safetensors"})
    for source in (tmp_path, path, str(tmp_path)):
        with open_checkpoint(source) as checkpoint:
            assert list(checkpoint.tensors) == ["a", "b", "c", "unlisted"]
            assert [int(checkpoint.raw(n)[0]) for n in checkpoint.tensors] == [1, 2, 120, 121]
            assert checkpoint.notes == ()


def test_shards_without_index(tmp_path: Path) -> None:
    one(tmp_path / "m-2.safetensors", "b")
    one(tmp_path / "m-1.safetensors", "a")
    (tmp_path / "._m-1.safetensors").write_bytes(b"AppleDouble")
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == ["a", "b"]


@pytest.mark.parametrize(
    ("numbers", "told"),
    [((1, 2, 3), False), ((0, 1, 2), False), ((1, 3), True), ((2,), True)],
)
def test_numbered_files_that_are_missing_are_told(
    tmp_path: Path, numbers: tuple[int, ...], told: bool
) -> None:
    for number in numbers:
        one(tmp_path / f"model-{number:05}-of-00003.safetensors", str(number))
    with open_checkpoint(tmp_path) as checkpoint:
        assert len(checkpoint.notes) == told
        for note in checkpoint.notes:
            files = "`model-…-of-00003.safetensors`"
            assert note.startswith(f"Of 3 files {files} only {len(numbers)} ")
    with open_checkpoint(tmp_path / f"model-{numbers[0]:05}-of-00003.safetensors") as checkpoint:
        assert checkpoint.notes == ()


def test_consolidated_copy_is_left_out(tmp_path: Path) -> None:
    one(tmp_path / "model-1.safetensors", "a")
    one(tmp_path / "consolidated.safetensors", "other")
    for _ in range(2):
        with open_checkpoint(tmp_path) as checkpoint:
            assert list(checkpoint.tensors) == ["a"]
            assert len(checkpoint.notes) == 1
            assert "`consolidated.safetensors`" in checkpoint.notes[0]
        index(tmp_path, {"a": "model-1.safetensors"})


def test_several_indexes(tmp_path: Path) -> None:
    for variant in ("", ".fp16"):
        one(tmp_path / f"d{variant}-1.safetensors", "a", len(variant))
        index(tmp_path, {"a": f"d{variant}-1.safetensors"}, f"d{variant}.safetensors.index.json")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.raw("a")[0] == 0
        assert "`d.fp16.safetensors.index.json`" in checkpoint.notes[0]
    with open_checkpoint(tmp_path / "d.fp16.safetensors.index.json") as checkpoint:
        assert checkpoint.raw("a")[0] == 5


def test_tensor_in_two_files(tmp_path: Path) -> None:
    one(tmp_path / "a.safetensors")
    one(tmp_path / "b.safetensors")
    error = refused(tmp_path, "two files hold this tensor: `a.safetensors` and `b.safetensors`")
    assert error.tensor == "w"


def test_index_and_shard_disagree(tmp_path: Path) -> None:
    one(tmp_path / "a.safetensors", "w")
    path = index(tmp_path, {"w": "a.safetensors", "v": "a.safetensors"})
    refused(tmp_path, "tensor `v`: `model.safetensors.index.json` places it in `a.safetensors`")
    index(tmp_path, {"w": "b.safetensors"})
    refused(tmp_path, "names `b.safetensors`, which is missing", names=str(path))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"{", "not a valid JSON object"),
        (b"[1]", "it holds a list"),
        (b"\xff\xfe", "not a valid JSON object"),
        (b"[" * 200_000, "nested too deeply"),
        (b"{}", "no `weight_map`"),
        (b'{"weight_map": []}', "no `weight_map`"),
        (b'{"weight_map": {}}', "no `weight_map`"),
        (b'{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}', "'w' appears twice"),
        (b'{"weight_map": {"w": 3}}', "plain files beside it, got 3"),
        (b'{"weight_map": {"w": ""}}', "plain files"),
    ],
)
def test_bad_index(tmp_path: Path, content: bytes, cause: str) -> None:
    one(tmp_path / "a.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(content)
    refused(tmp_path, cause, names=str(path))


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..", ".",
             "sub/../x.safetensors", "..\\x.safetensors", "C:x.safetensors", "x\0.safetensors"],
)  # fmt: skip
def test_index_must_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    for place in (tmp_path, model, model / "sub"):
        one(place / "x.safetensors")
    path = index(model, {"w": name})
    assert refused(model, "plain files beside it", names=str(path)).tensor == "w"


def hub_cache(root: Path) -> Path:
    """Lay out two shards, an index and a configuration as huggingface_hub does."""
    repository = root / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for i in (1, 2):
        one(snapshot / f"model-{i}.safetensors", f"t{i}", i)
    index(snapshot, {f"t{i}": f"model-{i}.safetensors" for i in (1, 2)})
    (snapshot / "config.json").write_text('{"model_type": "llama"}')
    for number, path in enumerate(sorted(snapshot.iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        path.rename(blob)
        path.symlink_to(f"../../blobs/{blob.name}")
    return snapshot


def test_hub_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    with open_checkpoint(snapshot) as checkpoint:
        assert {n: int(checkpoint.raw(n)[0]) for n in checkpoint.tensors} == {"t1": 1, "t2": 2}
        assert checkpoint.config == {"model_type": "llama"}
    (tmp_path / "alias").symlink_to(snapshot)
    assert list(open_checkpoint(tmp_path / "alias").tensors) == ["t1", "t2"]
    assert list(open_checkpoint(snapshot / "model-1.safetensors").tensors) == ["t1"]


@pytest.mark.parametrize("with_index", [False, True])
def test_link_out_of_the_directory(tmp_path: Path, with_index: bool) -> None:
    model = tmp_path / "model"
    model.mkdir()
    secret = one(tmp_path / "secret.safetensors")
    link = model / "a.safetensors"
    link.symlink_to(secret)
    if with_index:
        index(model, {"w": "a.safetensors"})
    refused(model, "a link must stay in its directory", names=str(link))
    assert list(open_checkpoint(link).tensors) == ["w"]  # the user named it


def test_link_out_of_a_hub_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    secret = one(tmp_path / "models--org--name" / "secret.safetensors", "t1")
    link = snapshot / "model-1.safetensors"
    link.unlink()
    link.symlink_to(secret)
    refused(snapshot, "models--\\*/blobs", names=str(link))


def test_link_within_the_directory(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    one(tmp_path / "store" / "x")
    (tmp_path / "a.safetensors").symlink_to("store/x")
    assert list(open_checkpoint(tmp_path).tensors) == ["w"]


def test_links_to_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "a.safetensors"
    link.symlink_to("missing")
    refused(tmp_path, "cannot be opened: .*No such file", names=str(link))
    link.unlink()
    link.symlink_to("a.safetensors")
    refused(tmp_path, "a.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "not a valid JSON"), (b"[]", "it holds a list"), (b"\xff", "not a valid JSON"),
     (b" " * 10_000_001, "at most 10,000,000 are read")],
)  # fmt: skip
def test_bad_config_is_a_note(tmp_path: Path, content: bytes, reason: str) -> None:
    one(tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_bytes(content)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config == {}
        assert list(checkpoint.tensors) == ["w"]
        (note,) = checkpoint.notes
    assert reason in note
    assert "config.json" in note


def test_config_beside_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "x": NaN}')
    config = open_checkpoint(one(tmp_path / "a.safetensors")).config
    assert config["model_type"] == "gpt2"


def test_config_link_out_of_the_directory(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    one(model / "a.safetensors")
    (tmp_path / "secret.json").write_text('{"key": 1}')
    (model / "config.json").symlink_to(tmp_path / "secret.json")
    checkpoint = open_checkpoint(model)
    assert checkpoint.config == {}
    assert "a link must stay" in checkpoint.notes[0]


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "no", "no such file or directory.*Hugging Face")
    one(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors" / "b", "no such file or directory")
    with pytest.raises(CheckpointError, match="cannot be used"):
        open_checkpoint("a\0b")


def test_directories_without_safetensors(tmp_path: Path) -> None:
    refused(tmp_path, "no .safetensors file. Pass the folder")
    (tmp_path / "step-20").mkdir()
    (tmp_path / "step-3").mkdir()
    refused(tmp_path, "Pass one step, such as `step-3`")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    refused(tmp_path, "truncated", names="x.gguf")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt"])
def test_directory_of_pickles(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    refused(tmp_path, "no file that torch.save wrote", names=name)
    refused(tmp_path / name, "no file that torch.save wrote")


def test_directory_of_other_pickles(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"anything")
    refused(tmp_path, "this is a pickle.*other pickles can run code", names="model.pkl")


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "a.pt"])
def test_pickles_are_never_run(tmp_path: Path, name: str, protocol: int) -> None:
    target = tmp_path / "ran"
    evil = pickle.dumps(Malice(target), protocol=protocol)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).write_bytes(evil)
    (folder / "config.json").write_bytes(evil)
    refused(folder, name)
    refused(folder / name, name)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    refused(folder / name, "this is a pickle|its pickle (names|uses)")
    assert not target.exists()
    pickle.loads(evil)  # noqa: S301 - shows that the file would have done it
    assert target.exists()
