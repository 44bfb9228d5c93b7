"""Bad input: a clear error or a status, nothing lost, never a crash."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

import weibnb as wb
from tests.io.handmade import entry, index, pack
from weibnb import CheckpointError
from weibnb.cli_show import left_out
from weibnb.io.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

Q = "model.layers.{}.self_attn.q_proj.weight"


def normal(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype("f2")


def good(seed: int = 0) -> Weights:
    return {Q.format(0): normal(24, 24, seed=seed)}


def whole() -> bytes:
    return save(good())


def refused(source: Any, *words: str) -> str:
    """Scan what must be refused; the message names the place and every word."""
    with pytest.raises(CheckpointError) as caught:
        wb.scan(source)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 1000
    assert caught.value.path
    return message


# --- files that are not what they should be

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "too short": b"\x08\0\0",
    "truncated header": whole()[:40],
    "truncated data": whole()[:-100],
    "trailing bytes": whole() + b"\0" * 8,
    "2^60 bytes": struct.pack("<Q", 2**60) + b"{}",
    "not JSON": pack(b'{"a": nonsense}'),
    "not text": pack(b"{\xff\xfe}"),
    "a list": pack(b"[]"),
    "nested": pack(b'{"a":' * 30_000 + b"1" + b"}" * 30_000),
    "longer than the file": pack({"a": entry("F16", [2, 2**40], 0, 2**42)}, b"\0" * 8),
    "shape and offsets differ": pack({"a": entry("F16", [2, 2], 0, 6)}, b"\0" * 6),
    "overlap": pack({"a": entry("F16", [2], 0, 4), "b": entry("F16", [2], 2, 6)}, b"\0" * 6),
    "hole": pack({"a": entry("F16", [2], 0, 4), "b": entry("F16", [2], 6, 10)}, b"\0" * 10),
    "negative": pack({"a": entry("F16", [-2, 2], 0, 4)}, b"\0" * 4),
    "backwards": pack({"a": entry("F16", [2], 4, 0)}, b"\0" * 4),
    "overflow": pack({"a": entry("F16", [2**62, 2**62], 0, 0)}),
    "twice": pack(
        b'{"a":%b,"a":%b}' % ((json.dumps(entry("F16", [2], 0, 4)).encode(),) * 2), b"\0" * 4
    ),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("beside_another", [False, True])
def test_broken_file(tmp_path: Path, content: bytes, beside_another: bool) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    if not beside_another:
        refused(path, "broken.safetensors")
        return
    with pytest.warns(UserWarning, match="broken.safetensors"):
        fits = wb.scan({"good": good(), "bad": path})
    assert fits["k"].sel(model="good").item() == wb.fit_weibull(good()[Q.format(0)]).k
    assert "broken.safetensors" in fits["problem"].sel(model="bad").item()


def test_missing_path(tmp_path: Path) -> None:
    message = refused(tmp_path / "nowhere", "nowhere", "no such file or directory")
    assert "Hugging Face" in message


def test_empty_directory(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), "no .safetensors file")


def test_index_names_a_missing_shard(tmp_path: Path) -> None:
    save_file(good(), tmp_path / "one.safetensors")
    index(tmp_path, {Q.format(0): "one.safetensors", Q.format(1): "two.safetensors"})
    refused(tmp_path, "two.safetensors", "missing")


def test_index_names_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    save_file(good(), tmp_path / "one.safetensors")
    index(tmp_path, {Q.format(0): "one.safetensors", Q.format(1): "one.safetensors"})
    refused(tmp_path, "one.safetensors", Q.format(1))


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_index_leads_outside(tmp_path: Path, kind: str) -> None:
    outside, inside = tmp_path / "secret.safetensors", tmp_path / "model"
    save_file(good(), outside)
    inside.mkdir()
    name = {"parent": "../secret.safetensors", "absolute": str(outside)}.get(kind, "l.safetensors")
    if kind == "link":
        (inside / name).symlink_to(outside)
    index(inside, {Q.format(0): name})
    refused(inside, *(["secret.safetensors"] if kind == "link" else ["plain files beside it"]))


def test_two_shards_hold_one_tensor(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file(good(), tmp_path / f"{name}.safetensors")
    refused(tmp_path, "a.safetensors", "b.safetensors", Q.format(0))


class Trap:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.safetensors"]
)
@pytest.mark.parametrize("folder", [False, True])
def test_pickles_are_never_run(tmp_path: Path, name: str, folder: bool) -> None:
    sprung = tmp_path / "sprung"
    place = tmp_path / "model"
    place.mkdir()
    (place / name).write_bytes(pickle.dumps(Trap(sprung)))
    refused(place if folder else place / name, name, "pickle")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "config", [b"not JSON", b"[]", b"\xff", b'{"tie_word_embeddings": {}}', b'{"n_layer": 1e999}']
)
def test_broken_config_does_not_stop_a_scan(tmp_path: Path, config: bytes) -> None:
    save_file(good(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(config)
    fits = wb.scan(tmp_path)
    assert fits["status"].item() == "ok"
    if not config.startswith(b"{"):
        assert any("configuration" in reason for reason in wb.not_fitted(fits)["reason"])


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_path_that_is_not_unicode_can_be_saved(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"bad\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system wants Unicode names")
    (folder / "model.safetensors").write_bytes(whole())
    fits = wb.scan(folder)
    with wb.open_fits(wb.save_fits(fits, tmp_path / "fits.nc")) as again:
        assert again["k"].item() == fits["k"].item()


# --- matrices that cannot be fitted


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (np.zeros((30, 30), "f2"), "all_zero"),
        (np.full((30, 30), -0.25, "f2"), "constant"),
        (np.full((30, 30), np.nan, "f2"), "no_finite"),
        (np.full((30, 30), np.inf, "f4"), "no_finite"),
        (normal(9, 11), "too_few"),
        (np.where(np.eye(60) > 0, normal(60, 60), 0).astype("f2"), "too_few"),
        (np.where(np.eye(30) > 0, np.nan, normal(30, 30)).astype("f2"), "nonfinite"),
        (np.where(np.eye(30) > 0, -np.inf, normal(30, 30)).astype("f8"), "nonfinite"),
        (np.sign(normal(30, 30)) + (np.eye(30) > 0), "degenerate"),
    ],
)
def test_strange_matrices_have_a_status(matrix: NDArray[Any], word: str) -> None:
    fits = wb.scan({"tiny": {Q.format(0): matrix, Q.format(1): normal(24, 24)}})
    assert fits["status"].values.ravel().tolist() == [word, "ok"]
    assert np.isnan(fits["k"].sel(layer=0).item()) == (word != "nonfinite")
    assert fits["k"].sel(layer=1).item() == wb.fit_weibull(normal(24, 24)).k
    assert fits["n"].sel(layer=0).item() == np.count_nonzero(matrix[np.isfinite(matrix)])
    listed = wb.not_fitted(fits)
    assert listed[["tensor", "reason"]].values.tolist() == [[Q.format(0), word]]


@pytest.mark.parametrize("shape", [(24,), (2, 3, 4, 5), (0, 24), ()])
def test_what_is_no_matrix_is_listed(shape: tuple[int, ...]) -> None:
    fits = wb.scan({"tiny": {Q.format(0): np.ones(shape, "f2"), Q.format(1): normal(24, 24)}})
    assert fits["layer"].values.tolist() == [1]
    listed = wb.not_fitted(fits)
    assert listed[["tensor", "shape"]].values.tolist() == [[Q.format(0), shape]]
    assert listed["reason"].item() == "not_a_matrix"


@pytest.mark.parametrize("word", ["all_zero", "constant", "too_few", "quantized", "no_finite"])
def test_nothing_but_strange_matrices(word: str) -> None:
    matrix: NDArray[Any] = {
        "all_zero": np.zeros((30, 30), "f2"),
        "constant": np.ones((30, 30), "f2"),
        "too_few": normal(5, 5),
        "quantized": np.ones((30, 30), "i1"),
        "no_finite": np.full((30, 30), np.nan, "f2"),
    }[word]
    fits = wb.scan({"tiny": {Q.format(0): matrix}})
    assert fits["status"].item() == word
    assert fits["rows"].item() == matrix.shape[0]
    again = wb.refit(fits, trim=(0.2, 0.8))
    assert again["status"].item() == word
    assert wb.not_fitted(fits)["reason"].tolist() == [word]


def test_no_recognised_matrix_names_examples() -> None:
    weights = {"model.embed_tokens.weight": normal(60, 20), "strange.thing": normal(20, 20)}
    message = refused(weights, "model.embed_tokens.weight", "embedding", "strange.thing")
    assert "no tensor in it is a weight matrix" in message


def test_a_name_of_two_lines_stays_on_one() -> None:
    assert "\n" not in refused({"strange\nthing": normal(20, 20)}, r"strange\nthing")


def test_a_tensor_without_a_name_is_told() -> None:
    message = refused({"": normal(20, 20)}, "It holds a tensor without a name (unrecognised).")
    assert "names=" not in message
    fits = wb.scan({"tiny": {"": normal(20, 20), Q.format(0): normal(24, 24)}})
    assert wb.not_fitted(fits)[["tensor", "reason"]].values.tolist() == [["", "unrecognised"]]
    assert "Not fitted: 1 unrecognised." in left_out(fits)
    assert "--names" not in left_out(fits)


def test_empty_state_dicts_and_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty mapping"):
        wb.scan({})
    save_file({}, tmp_path / "none.safetensors")
    refused(tmp_path / "none.safetensors", "none.safetensors", "no tensors")


# --- several checkpoints


def test_one_bad_model_does_not_lose_the_others(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="gone, step 0 is left out: .*no such file") as caught:
        fits = wb.scan({"one": good(), "gone": tmp_path / "gone", "two": good(1)})
    assert [warning.filename for warning in caught] == [__file__]
    assert fits["model"].values.tolist() == ["one", "gone", "two"]
    assert fits["k"].sel(model="two").item() == wb.fit_weibull(good(1)[Q.format(0)]).k
    assert (fits["status"].sel(model="gone") == "absent").all()
    problem = fits["problem"].squeeze("step")
    assert "no such file" in problem.sel(model="gone").item()
    assert problem.sel(model=["one", "two"]).values.tolist() == ["", ""]
    assert fits["source"].sel(model="gone").item() == str(tmp_path / "gone")
    listed = wb.not_fitted(fits)
    assert listed["model"].tolist() == ["gone"]
    assert "no such file" in listed["reason"].item()


def test_one_bad_step_does_not_lose_the_others(tmp_path: Path) -> None:
    for step in (0, 20):
        (tmp_path / f"step{step}").mkdir()
        save_file(good(step), tmp_path / f"step{step}" / "model.safetensors")
    (tmp_path / "step10").mkdir()
    with pytest.warns(UserWarning, match="step 10 is left out"):
        fits = wb.scan(tmp_path)
    assert fits["step"].values.tolist() == [0, 10, 20]
    assert fits["status"].values.ravel().tolist() == ["ok", "absent", "ok"]
    assert wb.not_fitted(fits)["step"].tolist() == [10]


def test_all_bad(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out"), pytest.raises(CheckpointError, match="first"):
        wb.scan({"a": tmp_path / "first", "b": tmp_path / "second"})


def test_model_without_a_known_matrix_beside_another() -> None:
    fits = wb.scan({"one": good(), "two": {"strange.thing": normal(20, 20)}})
    assert fits["model"].values.tolist() == ["one", "two"]
    assert wb.not_fitted(fits)["reason"].tolist() == ["unrecognised"]


def test_unlistable_run_does_not_lose_the_other_model(tmp_path: Path) -> None:
    (tmp_path / "step10").mkdir()
    (tmp_path / "step-10").mkdir()
    with pytest.warns(UserWarning, match="step 10 is there twice"):
        fits = wb.scan({"one": good(), "twice": tmp_path})
    assert fits["k"].sel(model="one").item() == wb.fit_weibull(good()[Q.format(0)]).k
    assert "twice" in fits["problem"].sel(model="twice").values.ravel()[0]


def test_file_that_changes_during_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_file(good() | {Q.format(1): normal(20, 20)}, path)
    given = Checkpoint.raw

    def change(self: Checkpoint, name: str) -> Any:
        if name == Q.format(1):
            os.utime(path, ns=(1, 1))
        return given(self, name)

    monkeypatch.setattr(Checkpoint, "raw", change)
    with pytest.warns(UserWarning, match="the file changed") as caught:
        fits = wb.scan(path)
    assert fits["status"].values.ravel().tolist() == ["unreadable", "unreadable"]
    texts = sorted(str(warning.message).split(": ")[1] for warning in caught)
    assert [text[:40] for text in texts] == [
        "the file changed after it was opened. Op",
        "the file changed while it was read. Scan",
    ]
    assert {warning.filename for warning in caught} == {__file__}


def test_file_that_changes_before_its_fingerprint_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(good(), tmp_path / "model.safetensors")

    def changed(self: Checkpoint) -> str:
        if self.source == "dict":
            return "0"
        raise CheckpointError(self.source, "the file changed after it was opened")

    monkeypatch.setattr(Checkpoint, "fingerprint", property(changed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fits = wb.scan({"one": good(), "two": tmp_path})
    assert fits["status"].sel(model="one").item() == "ok"
    assert "changed" in " ".join(wb.not_fitted(fits)["reason"])


# --- arguments


@pytest.mark.parametrize("trim", [(0.9, 0.1), (-0.1, 0.9), (0.1, 1.1), (0.5, 0.5), (np.nan, 0.9)])
def test_trim_out_of_range(trim: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"`trim` must satisfy 0 <= lower < upper <= 1, got \("):
        wb.scan(good(), trim=trim)


@pytest.mark.parametrize("trim", ["ab", (0.1,), 0.5, (0.1, 0.5, 0.9), (None, 1)])
def test_trim_that_is_no_pair(trim: Any) -> None:
    with pytest.raises(TypeError, match="`trim` must be a pair of numbers"):
        wb.scan(good(), trim=trim)


def test_unknown_words() -> None:
    with pytest.raises(ValueError, match="Did you mean 'maximum_likelihood'"):
        wb.scan(good(), estimator="maximum_likelyhood")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`experts` must be one of 'median', 'each', got 'all'"):
        wb.scan(good(), experts="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`device` must be .*got 'gpu'"):
        wb.scan(good(), device="gpu")


@pytest.mark.parametrize("workers", [0, -1])
def test_number_of_workers(workers: int) -> None:
    with pytest.raises(ValueError, match=f"`workers` must be .*{workers}"):
        wb.scan(good(), workers=workers)


def test_step_given_twice(tmp_path: Path) -> None:
    for name in ("step10", "step-10"):
        (tmp_path / name).mkdir()
        save_file(good(), tmp_path / name / "model.safetensors")
    refused(tmp_path, "step 10 is there twice", "`step10`", "`step-10`")


@pytest.mark.parametrize("step", [1.0, True, "10", None, np.True_])
def test_step_that_is_no_integer(step: Any) -> None:
    with pytest.raises(TypeError, match=r"A step must be an integer, got .* for model 'run'"):
        wb.scan({"run": {step: good()}})


def test_steps_out_of_range() -> None:
    with pytest.raises(ValueError, match="A step must be at least 0, got -1 for model 'run'"):
        wb.scan({"run": {0: good(), -1: good()}})
    with pytest.raises(ValueError, match=f"{10**30}"):
        wb.scan({"run": {10**30: good()}})


@pytest.mark.parametrize("source", [{"run": {}}, {"a": good(), "run": {}}])
def test_run_without_steps(source: Any) -> None:
    with pytest.raises(ValueError, match="'run' must have at least one step"):
        wb.scan(source)


@pytest.mark.parametrize("name", [1, None, ("a",), b"a"])
def test_model_names_that_are_not_text(name: Any) -> None:
    with pytest.raises(TypeError, match="`source` must map model names to checkpoints"):
        wb.scan({name: good()})


@pytest.mark.parametrize("source", [None, 3, {"a", "b"}, np.ones((4, 4)), object()])
def test_sources_of_another_type(source: Any) -> None:
    with pytest.raises(TypeError, match=r"`source` must be .*got"):
        wb.scan(source)
