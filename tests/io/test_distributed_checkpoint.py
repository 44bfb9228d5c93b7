"""torch.distributed.checkpoint: every value as it was saved, and metadata that run nothing."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.distributed_checkpoint import _stand_ins
from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

Q = "model.layers.{}.self_attn.q_proj.weight"


def save(place: Path, state: dict[str, Any]) -> Path:
    from torch.distributed.checkpoint.state_dict_saver import save as save_state

    save_state(state, checkpoint_id=place, no_dist=True)
    return place


def numbers(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def refused(place: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(place)


@pytest.mark.parametrize("nested", [True, False])
def test_every_value(tmp_path: Path, nested: bool) -> None:
    types = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8]
    state = {Q.format(i): numbers(48, 32 + i).to(one) for i, one in enumerate(types)}
    state["turned"] = numbers(6, 5).t()
    whole = {"model": state, "optim": {"m": numbers(3)}, "step": 3} if nested else state
    save(tmp_path / "c", whole)
    with open_checkpoint(tmp_path / "c") as checkpoint:
        assert set(checkpoint.tensors) == set(state)
        for name, tensor in state.items():
            flat = tensor.contiguous().reshape(-1).view(torch.uint8)
            assert checkpoint.raw(name).tobytes() == flat.numpy().tobytes(), name
        if nested:
            assert checkpoint.notes == ("Left out beside `model`: optim, step.",)
    fits = wb.scan(tmp_path / "c", progress=False)
    known = wb.scan(state, progress=False)
    np.testing.assert_array_equal(fits["k"].values, known["k"].values)
    refused(tmp_path / "c" / "__0_0.distcp", "Pass the folder")


def metadata(place: Path) -> Any:
    with (place / ".metadata").open("rb") as file:
        return pickle.load(file)  # noqa: S301 - our own


def rewrite(place: Path, content: Any) -> None:
    (place / ".metadata").write_bytes(pickle.dumps(content))


def test_chunks_of_several_ranks_are_put_together(tmp_path: Path) -> None:
    """A tensor saved in two halves by hand, as ranks do."""
    whole = numbers(8, 6)
    save(tmp_path, {"w": whole[:4].clone(), "v": whole[4:].clone()})
    told = metadata(tmp_path)
    described, stored = told.state_dict_metadata, told.storage_data
    other = next(key for key in stored if key.fqn == "v")
    chunk = described.pop("v").chunks[0]
    moved = type(chunk)(offsets=torch.Size([4, 0]), sizes=chunk.sizes)
    described["w"].chunks.append(moved)
    described["w"].size = torch.Size([8, 6])
    stored[type(other)("w", torch.Size([4, 0]))] = stored.pop(other)
    rewrite(tmp_path, told)
    with open_checkpoint(tmp_path) as checkpoint:
        bits = checkpoint.raw("w")
    np.testing.assert_array_equal(bits.view("f4").reshape(8, 6), whole.numpy())
    described["w"].size = torch.Size([9, 6])
    rewrite(tmp_path, told)
    refused(tmp_path, "chunks do not make it up")


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs(tmp_path: Path, protocol: int) -> None:
    place, target = save(tmp_path / "c", {"w": numbers(4, 4)}), tmp_path / "ran"
    told = metadata(place)
    told.planner_data = Malice(target)
    content = pickle.dumps(told, protocol=protocol)
    (place / ".metadata").write_bytes(content)
    refused(place, "its pickle (names|uses)")
    assert not target.exists()
    pickle.loads(content)  # noqa: S301 - shows that the file would have done it
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "damaged"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031+1\x85R.", "builtins.eval"),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "torch.load"),
        (b"\x80\x04\x8c\x05torch\x8c\x07float32\x93)R.", "not what torch writes"),
        (b"\x80\x04\x8c\x05torch\x8c\x04Size\x93N}\x8c\x01xK\x01s\x86b.", "not what torch writes"),
        (b"\x80\x04}.", "not what torch writes"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        (b"(ios\nsystem\n.", "uses INST"),
    ],
)
def test_hostile_metadata(tmp_path: Path, content: bytes, match: str) -> None:
    place = save(tmp_path / "c", {"w": numbers(4, 4)})
    (place / ".metadata").write_bytes(content)
    refused(place, match)
    assert _stand_ins()["torch Size"]((1, 2)) == (1, 2)


def test_hostile_places(tmp_path: Path) -> None:
    place = save(tmp_path / "c", {"w": numbers(4, 4)})
    told = metadata(place)
    where = next(iter(told.storage_data.values()))
    for name, match in [
        ("../secret.distcp", "files beside them"),
        ("secret.txt", "files beside them"),
        ("no.distcp", "cannot be opened|no such|missing|does not exist"),
    ]:
        where.relative_path = name
        rewrite(place, told)
        refused(place, match)
    where.relative_path = "__0_0.distcp"
    for offset, length in [(10**9, 5), (0, 10**9), (3, 100)]:
        where.offset, where.length = offset, length
        rewrite(place, told)
        with open_checkpoint(place) as checkpoint, pytest.raises(CheckpointError):
            checkpoint.raw("w")
    (place / ".metadata").unlink()
    refused(place, "metadata")


def test_every_name_is_one_that_torch_has() -> None:
    import importlib

    for name in _stand_ins():
        module, word = name.split()
        if module != "pathlib._local":  # of newer Pythons
            assert hasattr(importlib.import_module(module), word)
