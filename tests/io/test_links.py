"""Links, as huggingface_hub lays them, and those that must not be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.io.handmade import index, one, refused, write
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.hyperparameters import read_hyperparameters

if TYPE_CHECKING:
    from pathlib import Path

SHA256, SHA1 = "0f" * 32, "0f" * 20


def in_cache(cache: Path, name: str, tensor: str = "w") -> Path:
    """Write a file into the blobs of a cache, by the name of its digest."""
    blobs = cache / "models--org--name" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    return one(blobs / name, tensor)


def local_folder(folder: Path, cache: Path, *, relative: bool) -> Path:
    """Lay out a folder as ``snapshot_download(local_dir=...)`` of 0.13 to 0.22 did.

    Files of 5 MB and more are links to the blobs of the cache, by a relative path where there is
    one (0.13.0: absolute); smaller ones are copies.
    """
    folder.mkdir()
    for number, name in enumerate((SHA256, SHA1)):
        blob = in_cache(cache, name, f"t{number}")
        target = blob.relative_to(folder.parent) if relative else blob
        link = folder / f"model-{number}.safetensors"
        link.symlink_to(f"../{target}" if relative else target)
    index(folder, {f"t{i}": f"model-{i}.safetensors" for i in range(2)})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.mark.parametrize("relative", [True, False])
def test_a_local_folder_of_older_versions(tmp_path: Path, relative: bool) -> None:
    folder = local_folder(tmp_path / "model", tmp_path / "home" / "hub", relative=relative)
    with open_checkpoint(folder) as checkpoint:
        assert list(checkpoint.tensors) == ["t0", "t1"]
        assert checkpoint.raw("t0").tolist() == [7, 7]
        assert checkpoint.config == {"model_type": "llama"}


def test_a_local_folder_of_newer_versions(tmp_path: Path) -> None:
    """Since 0.23 the files themselves lie there, with what is known of them in ``.cache``."""
    one(tmp_path / "model.safetensors")
    (tmp_path / ".cache" / "huggingface" / "download").mkdir(parents=True)
    one(tmp_path / ".cache" / "huggingface" / "download" / "model.safetensors")
    assert list(open_checkpoint(tmp_path).tensors) == ["w"]


def test_a_cache_whose_models_share_their_blobs(tmp_path: Path) -> None:
    """Since 2.4 the blob of a model may be a link to ``blobs/xx/xx...`` of the whole cache."""
    store = tmp_path / "blobs" / SHA256[:2]
    store.mkdir(parents=True)
    one(store / SHA256)
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / ("ab" * 32)).symlink_to(f"../../blobs/{SHA256[:2]}/{SHA256}")
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{'ab' * 32}")
    assert list(open_checkpoint(snapshot).tensors) == ["w"]


@pytest.mark.parametrize(
    "place",
    ["models--org--name/blobs/model.safetensors", f"models--org--name/blobs/{SHA256[:-1]}",
     f"models--org--name/blobs/{SHA256.upper()}", f"models--org--name/{SHA256}",
     f"models--org--name/snapshots/{SHA256}", f"name/blobs/{SHA256}", f"blobs/ff/{SHA256}",
     f"{SHA256}", f"0f/{SHA256}"],
)  # fmt: skip
def test_whatever_is_not_named_by_a_digest_in_a_cache_is_not_followed(
    tmp_path: Path, place: str
) -> None:
    target = tmp_path / "elsewhere" / place
    target.parent.mkdir(parents=True)
    one(target)
    folder = tmp_path / "model"
    folder.mkdir()
    link = folder / "model.safetensors"
    link.symlink_to(target)
    refused(folder, "a link must stay in its directory", names=str(link))


def test_a_blob_that_leads_on_is_judged_by_where_it_ends(tmp_path: Path) -> None:
    secret = one(tmp_path / "secret.safetensors")
    blob = in_cache(tmp_path / "hub", SHA256)
    blob.unlink()
    blob.symlink_to(secret)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(blob)
    refused(folder, "a link must stay in its directory", names="model.safetensors")


def test_logs_beside_weights_are_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"learning_rate": 0.5}')
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "model.safetensors", {})
    (folder / "trainer_state.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ValueError, match="a link must stay in its directory"):
        read_hyperparameters(folder)
