"""URLs and object stores, through obstore: a server of our own, and a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import obstore
import pytest
from obstore.store import MemoryStore

import weibnb as wb
from tests.hub_server import Content, FakeHub
from tests.io.hub import UP, Q, hub, saved, sharded, weights
from tests.io.test_hub import assert_same_fits, everything_of, scan
from tests.io.test_restored import write
from weibnb.io import objects
from weibnb.io.files import CheckpointError
from weibnb.io.objects import ObjectFolder
from weibnb.io.remote import Remote

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["hub"]


def put(hub: FakeHub, files: dict[str, bytes], folder: str = "/runs/big") -> str:
    for name, data in files.items():
        hub.static[f"{folder}/{name}"] = Content(data)
    return hub.files + folder


def test_a_link_to_a_file_is_scanned(hub: FakeHub) -> None:
    state = weights()
    base = put(hub, {"model.safetensors": saved(state), "config.json": b'{"a": 1}'})
    fits = scan(f"{base}/model.safetensors")
    assert_same_fits(fits, scan({"big": state}))
    assert fits["source"].values.item() == f"{base}/model.safetensors"
    made = [one for one in hub.requests if one.path.endswith("model.safetensors")]
    assert [one.method for one in made[:2]] == ["HEAD", "GET"]
    assert all("if-match" in one.headers for one in made[1:])


def test_a_link_to_an_index_reads_the_files_beside_it(hub: FakeHub) -> None:
    state = weights(layers=5)
    base = put(hub, sharded(state, 3), "/runs/big/step500")
    fits = scan(f"{base}/model.safetensors.index.json")
    assert_same_fits(fits, scan({"big": {500: state}}))
    del hub.static["/runs/big/step500/model-00002-of-00003.safetensors"]
    with pytest.raises(CheckpointError, match="which is missing"):
        scan(f"{base}/model.safetensors.index.json")


def test_weights_that_are_restored_are_those_of_the_file(hub: FakeHub, tmp_path: Path) -> None:
    rng, stem = np.random.default_rng(0), "model.layers.{}.mlp.up_proj.weight"
    stored: dict[str, Any] = {Q.format(0): rng.normal(size=(32, 32)).astype("f4")}
    for layer in range(3):
        codes = rng.integers(0, 0x70, (128, 64), "u1").tobytes()
        stored[stem.format(layer)] = ("F8_E4M3", (128, 64), codes)
        stored[f"{stem.format(layer)}_scale_inv"] = rng.uniform(0.1, 2, (4, 2)).astype("f4")
    write(tmp_path / "model.safetensors", stored)
    base = put(hub, {"model.safetensors": (tmp_path / "model.safetensors").read_bytes()})
    for restored in (True, False):
        found = scan(f"{base}/model.safetensors", dequantise=restored)
        expected = scan({"big": tmp_path}, dequantise=restored)
        assert_same_fits(found, expected)
        assert ("scaled" in found["status"]) is not restored


def test_a_folder_of_a_store_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    store, state = MemoryStore(), weights(layers=3)
    for name, data in sharded(state, 2).items():
        obstore.put(store, name, data)
    obstore.put(store, "more/deeper.safetensors", b"x")
    asked: list[tuple[str, Any]] = []

    def from_url(url: str, **options: Any) -> MemoryStore:
        asked.append((url, options))
        return store

    monkeypatch.setattr(objects, "_from_url", lambda: from_url)
    fits = scan("s3://bucket/runs/step7")
    assert_same_fits(fits, scan({"runs": {7: state}}))
    with wb.open_checkpoint("gs://bucket/runs/model-00001-of-00002.safetensors") as opened:
        assert len(opened.tensors) == len(state) // 2 + len(state) % 2
    assert asked == [("s3://bucket/runs/step7", {}), ("gs://bucket/runs", {})]


def test_long_ranges_are_several_requests(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_AT_ONCE", 1000)
    state = weights()
    base = put(hub, {"model.safetensors": saved(state)})
    with wb.open_checkpoint(f"{base}/model.safetensors") as opened:
        assert opened.raw(Q.format(1)).tobytes() == state[Q.format(1)].tobytes()


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"whole_for_range": True}, "the whole file where a part"),
        ({"lie_range": "bytes 0-9/100"}, "cannot be read"),
        ({"short_by": 7}, "bytes came|cannot be read"),
    ],
)
def test_lies_of_a_server_are_told(hub: FakeHub, faults: dict[str, Any], told: str) -> None:
    base = put(hub, {"model.safetensors": saved(weights())})
    with wb.open_checkpoint(f"{base}/model.safetensors") as opened:
        for name, value in faults.items():
            setattr(hub.faults, name, value)
        with pytest.raises(CheckpointError, match=told) as caught:
            opened.raw(UP.format(0))
    assert caught.value.path == f"{base}/model.safetensors"


def test_a_connection_that_breaks_is_taken_up(hub: FakeHub) -> None:
    state = weights(side=256)
    base = put(hub, {"model.safetensors": saved(state)})
    with wb.open_checkpoint(f"{base}/model.safetensors") as opened:
        hub.faults.drop_after, hub.faults.drops = 50_000, 1
        assert opened.raw(UP.format(0)).tobytes() == state[UP.format(0)].tobytes()
    assert hub.faults.drops == 0


def test_a_file_that_changes_is_no_longer_read(hub: FakeHub) -> None:
    base = put(hub, {"model.safetensors": saved(weights())})
    opened = wb.open_checkpoint(f"{base}/model.safetensors")
    put(hub, {"model.safetensors": saved(weights(1))})
    with pytest.raises(CheckpointError, match="changed while it was read"):
        opened.raw(Q.format(0))


def test_links_that_are_none_and_secrets_in_them(hub: FakeHub) -> None:
    base = put(hub, {"model.safetensors": saved(weights())})
    with pytest.raises(CheckpointError, match="no such file"):
        scan(f"{base}/none.safetensors")
    with pytest.raises(CheckpointError, match=r"a link must end in \.safetensors"):
        scan(f"{base}/model.bin.txt")
    secret = base.replace("://", "://user:s3cret@")
    for url, told in (
        (f"{secret}/none.safetensors", "no such file"),
        (f"{secret}/model.safetensors?signature=s3cret", "a query"),
    ):
        with pytest.raises(CheckpointError, match=told) as caught:
            scan(url)
        assert "s3cret" not in everything_of(caught.value)
    fits = scan(f"{secret}/model.safetensors")
    assert "s3cret" not in fits["source"].values.item() + repr(Remote(secret))


def test_without_obstore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[remote\]'"):
        ObjectFolder.at("s3://bucket/x")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[hub\]'"):
        scan("hf://org/name")
