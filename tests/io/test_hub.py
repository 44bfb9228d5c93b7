"""The Hub, streamed: the real client of huggingface_hub against a server of our own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.hub_server import TOKEN, Content
from tests.io.handmade import entry, pack
from tests.io.hub import UP, Q, hub, saved, sharded, weights
from weibnb.io import ranges
from weibnb.io.files import CheckpointError, UnreadableWarning
from weibnb.io.hub_places import Place
from weibnb.io.ranges import asked_to_wait

if TYPE_CHECKING:
    from tests.hub_server import FakeHub

__all__ = ["hub"]
HOST = "127.0.0.1"


def scan(source: Any, **options: Any) -> xr.Dataset:
    return wb.scan(source, progress=False, **options)


def assert_same_fits(found: xr.Dataset, expected: xr.Dataset) -> None:
    about = ("source", "fingerprint", "not_fitted", "counts", "problem")
    assert dict(found.sizes) == dict(expected.sizes)
    for name in set(expected.data_vars) - set(about):
        xr.testing.assert_equal(found[name], expected[name])
    assert found["counts"].values.tolist() == expected["counts"].values.tolist()


def test_one_file_is_scanned_as_on_disk_by_two_requests_for_its_header(hub: FakeHub) -> None:
    state = weights()
    commit = hub.add("org/tiny", {"model.safetensors": saved(state), "config.json": b'{"x": 2}'})
    fits = scan("hf://org/tiny")
    assert_same_fits(fits, scan({"org/tiny": state}))
    assert fits["source"].values.item() == f"hf://org/tiny@{commit}"
    ranges_read = [one.headers["range"] for one in hub.requests if one.host == "files"]
    assert ranges_read[0] == "bytes=0-99999"
    assert hub.count("HEAD", start="/org/tiny/resolve") == 2  # model and configuration
    assert not any("authorization" in one.headers for one in hub.requests)


def test_shards_and_an_index_are_read_as_on_disk(hub: FakeHub, tmp_path: Path) -> None:
    state = weights(layers=12)
    files = sharded(state, 5)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    hub.add("org/many", files)
    assert_same_fits(scan({"m": "hf://org/many"}), scan({"m": tmp_path}))


def test_an_id_is_one_on_the_hub_unless_a_folder_has_its_name(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", {"model.safetensors": saved(weights())})
    monkeypatch.chdir(tmp_path)
    assert scan("org/tiny")["model"].values.tolist() == ["org/tiny"]
    asked = len(hub.requests)
    (tmp_path / "org").mkdir()
    with pytest.raises(CheckpointError, match="no such file or directory"):
        scan("org/tiny")
    (tmp_path / "org" / "tiny").mkdir()
    (tmp_path / "org" / "tiny" / "model.safetensors").write_bytes(saved(weights(1)))
    assert scan("org/tiny")["model"].values.tolist() == ["tiny"]
    assert len(hub.requests) == asked
    with pytest.raises(ValueError, match=r"a path of this machine. For .*'hf://org/tiny'"):
        scan("org/tiny", revision="main")


def test_revisions_are_steps_of_one_model(hub: FakeHub) -> None:
    states = {step: weights(step) for step in (0, 512, 1000)}
    for step, state in states.items():
        hub.add("org/run", {"model.safetensors": saved(state)}, f"step{step}")
    fits = scan("org/run", revision=["step1000", "step0"])
    assert fits["step"].values.tolist() == [0, 1000]
    assert_same_fits(fits, scan({"org/run": {step: states[step] for step in (0, 1000)}}))
    assert scan("org/run", revision="step*")["step"].values.tolist() == [0, 512, 1000]
    assert scan("hf://org/run@step512")["step"].values.tolist() == [512]


def test_revisions_without_a_step_are_models_of_their_own(hub: FakeHub) -> None:
    for name in ("main", "v1.0", "feature/x"):
        hub.add("org/run", {"model.safetensors": saved(weights(len(name)))}, name)
    fits = scan("org/run", revision=["main", "v1.0", "feature/x"])
    assert fits["model"].values.tolist() == ["org/run@main", "org/run@v1.0", "org/run@feature/x"]


def test_the_same_file_is_read_once_for_all_its_revisions(hub: FakeHub) -> None:
    early, late = weights(0), weights(1)
    for step, state in ((0, late), (1000, early), (143000, late)):
        hub.add("org/run", {"model.safetensors": saved(state)}, f"step{step}")
    fits = scan("org/run", revision="step*")
    by_hand = scan({"org/run": {0: late, 1000: early, 143000: late}})
    assert_same_fits(fits, by_hand)
    whole = [one for one in hub.requests if one.host == "files" and one.sent > 100_000 / 2]
    read = sum(one.sent for one in whole if not one.headers["range"].startswith("bytes=0-"))
    matrices = sum(array.nbytes for name, array in early.items() if name.endswith("proj.weight"))
    assert read <= 1.02 * 2 * matrices


def test_a_shard_that_two_revisions_share_is_read_once(hub: FakeHub, tmp_path: Path) -> None:
    state = weights(layers=4)
    files = sharded(state, 2)
    other = weights(7, layers=4)
    names = sorted(state)[1::2]
    changed = dict(files)
    changed["model-00002-of-00002.safetensors"] = saved({name: other[name] for name in names})
    hub.add("org/run", files, "step0")
    hub.add("org/run", changed, "step1")
    store = tmp_path / "fits.db"
    fits = scan("org/run", revision=["step0", "step1"], store=store)
    later = {name: other[name] if name in names else state[name] for name in state}
    assert_same_fits(fits, scan({"org/run": {0: state, 1: later}}))
    before = len(hub.requests)
    assert_same_fits(scan("org/run", revision=["step0", "step1"], store=store), fits)
    assert all(
        one.headers["range"].startswith("bytes=0-")
        for one in hub.requests[before:]
        if one.host == "files"
    )


def test_what_is_fetched_is_little_more_than_the_matrices(hub: FakeHub) -> None:
    state = weights(layers=3, side=512)
    state["model.embed_tokens.weight"] = np.zeros((8000, 512), "f4")
    hub.add("org/run", {"model.safetensors": saved(state)})
    scan("hf://org/run")
    matrices = sum(array.nbytes for name, array in state.items() if name.endswith("proj.weight"))
    assert hub.bytes_sent <= 1.02 * matrices + 100_000


def test_large_matrices_come_in_rows_and_are_counted_as_whole_ones(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weibnb.scanning import streaming

    monkeypatch.setattr(streaming, "PIECE", 5000)
    state = weights(layers=2, side=96)
    state[Q.format(0)][3] = 0  # a dead row
    state[Q.format(0)][:, 5] = 0
    state[UP.format(1)][:, 7] = -0.0
    state[UP.format(0)][200:230] = 0
    state[UP.format(0)][360:, 9] = 0  # a column that is zero in the last rows alone
    state["model.layers.0.mlp.experts.down_proj"] = np.stack([state[Q.format(1)]] * 3)
    hub.add("org/run", {"model.safetensors": saved(state)})
    expected = scan({"org/run": state}, experts="each")
    assert expected["dead_cols"].max() == 1
    assert_same_fits(scan("org/run", experts="each"), expected)


@pytest.mark.parametrize("options", [{"fused": "split"}, {"fused": "both"}, {"fields": True}])
def test_parts_and_fields_are_those_of_the_file(
    hub: FakeHub, tmp_path: Path, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    state = {name: rng.normal(0, 0.02, (192, 64)).astype("f4")}
    config = {"model_type": "gpt_neox", "num_attention_heads": 4, "hidden_size": 64}
    files = {"model.safetensors": saved(state), "config.json": json.dumps(config).encode()}
    hub.add("org/neox", files)
    found = scan("org/neox", **options)
    assert (found["status"] == "ok").any()
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    assert_same_fits(found, scan({"org/neox": tmp_path}, **options))


def test_four_ranges_are_under_way_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from weibnb.io import ahead

    monkeypatch.setattr(ahead, "REQUEST", 10_000)
    hub.faults.rate = 2e6
    hub.add("org/run", {"model.safetensors": saved(weights(layers=8, side=64))})
    scan("org/run")
    assert hub.most_in_flight == 4


def test_matrices_that_come_in_pieces_are_finished_on_the_way(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weibnb.io import ahead
    from weibnb.scanning import streaming

    monkeypatch.setattr(ahead, "REQUEST", 1_000)
    monkeypatch.setattr(streaming, "PIECE", 2_000)
    content = saved(weights(layers=30, side=64))
    hub.add("org/run", {"model.safetensors": content})
    seen: list[int] = []
    wb.scan("org/run", progress=lambda _: seen.append(hub.bytes_sent))
    assert seen[0] < len(content) / 2
    assert seen == sorted(seen)


def test_a_long_header_takes_one_request_more(hub: FakeHub) -> None:
    state = weights() | {f"x.{'y' * 200}.{i}": np.zeros(1, "f4") for i in range(600)}
    data = saved(state)
    assert int.from_bytes(data[:8], "little") > 100_000
    hub.add("org/run", {"model.safetensors": data})
    with wb.open_checkpoint("hf://org/run") as opened:
        assert set(opened.tensors) == set(state)
    assert hub.count("GET", "files") == 2


def test_a_long_header_of_a_large_file_takes_no_more(hub: FakeHub, tmp_path: Path) -> None:
    path, side = tmp_path / "large.safetensors", 160
    about = {f"x.{'y' * 100}.{i}": entry("F32", [side, side], 0, 0) for i in range(2000)}
    for i, one in enumerate(about.values()):
        one["data_offsets"] = [4 * side**2 * i, 4 * side**2 * (i + 1)]
    head = pack(about)
    assert 300_000 < len(head) < 4 * side**2 * len(about) / 400
    with path.open("wb") as file:  # its weights are a hole
        file.write(head)
        file.truncate(len(head) + 4 * side**2 * len(about))
    hub.static["/model.safetensors"] = Content(path)
    with wb.open_checkpoint(f"{hub.files}/model.safetensors") as opened:
        assert len(opened.tensors) == len(about)
    assert hub.count("GET", "files") == 1
    assert hub.bytes_sent < 4_100_000


def test_bits_of_one_tensor_and_of_what_lies_in_a_folder(hub: FakeHub) -> None:
    state = weights()
    hub.add("org/run", {"deep/er/model.safetensors": saved(state), "README.md": b"x"})
    for url in ("hf://org/run/deep/er", "hf://org/run@main/deep/er/model.safetensors"):
        with wb.open_checkpoint(url) as opened:
            assert opened.raw(Q.format(1)).tobytes() == state[Q.format(1)].tobytes()
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        wb.open_checkpoint("hf://org/run")
    with pytest.raises(CheckpointError, match="no such folder or file"):
        wb.open_checkpoint("hf://org/run/deeper")


def test_check_tells_of_the_same_file_on_the_hub_and_on_disk(hub: FakeHub, tmp_path: Path) -> None:
    early, late = weights(0), weights(1)
    for step, state in ((7, late), (1000, early), (143000, late)):
        hub.add("org/run", {"model.safetensors": saved(state)}, f"step{step}")
        folder = tmp_path / "run" / f"step{step}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(saved(state))
    for found in (
        wb.check("org/run", revision="step*", progress=False),
        wb.check(tmp_path / "run", progress=False),
        wb.check({"run": {7: late, 143000: late}}, progress=False),
    ):
        told = [one.text for one in found.findings if one.rule == "same-matrix"]
        live = "4 matrices" in str(told)
        what = "hold the same 4 matrices" if live else "are the same file"
        assert told == [f"step 7 and step 143,000 {what}."]
    fits = scan("org/run", revision="step7")
    with pytest.raises(ValueError, match="`revision` must come with a checkpoint"):
        wb.check(fits, revision="main")


def test_weights_of_fits_are_read_again_at_the_same_commit(hub: FakeHub) -> None:
    state = weights()
    state[Q.format(1)][3, 4] = 7.0
    hub.add("org/run", {"model.safetensors": saved(state)})
    fits = scan("org/run")
    hub.add("org/run", {"model.safetensors": saved(weights(1))})
    found = wb.find_outliers(fits)
    assert found.iloc[0][["row", "col", "value"]].tolist() == [3, 4, 7.0]


# --- What goes wrong on the way ------------------------------------------------------------------


def test_a_connection_that_breaks_is_taken_up_at_its_byte(hub: FakeHub) -> None:
    state = weights(layers=4, side=256)
    hub.add("org/run", {"model.safetensors": saved(state)})
    with wb.open_checkpoint("hf://org/run") as opened:
        hub.faults.drop_after, hub.faults.drops = 70_000, 3
        name = UP.format(2)
        assert opened.raw(name).tobytes() == state[name].tobytes()
    first, *_, last = [one.headers["range"] for one in hub.requests[-4:]]
    begin, end = (int(number) for number in first.removeprefix("bytes=").split("-"))
    assert last == f"bytes={begin + 3 * 70_000}-{end}"
    assert hub.requests[-1].headers["if-match"].startswith('"file-')


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_link_that_expires_is_asked_for_anew(hub: FakeHub, status: int) -> None:
    state = weights(layers=6)
    hub.add("org/run", {"model.safetensors": saved(state)})
    hub.faults.expire_after, hub.faults.expired_status = 1, status
    assert_same_fits(scan("org/run"), scan({"org/run": state}))
    assert hub.count("HEAD", start="/org/run/resolve") > 1


def test_a_link_that_never_works_is_not_asked_for_for_ever(hub: FakeHub) -> None:
    hub.add("org/run", {"model.safetensors": saved(weights())})
    hub.faults.expire_after = 0
    with pytest.raises(CheckpointError, match=r"refuses the file \(403\), 6 times in a row"):
        scan("org/run")
    assert len(hub.requests) < 20


@pytest.mark.parametrize(
    "headers", [{"RateLimit": '"resolvers";r=0;t=0'}, {"Retry-After": "0"}, {}]
)
def test_a_server_that_is_busy_is_waited_for(hub: FakeHub, headers: dict[str, str]) -> None:
    state = weights()
    hub.add("org/run", {"model.safetensors": saved(state)})
    hub.faults.busy, hub.faults.busy_api = [headers] * 3, [headers] * 2
    assert_same_fits(scan("org/run"), scan({"org/run": state}))
    assert hub.faults.busy == hub.faults.busy_api == []


class Waits:
    """An event that nobody sets, and that writes down how long it was waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


def test_the_wait_is_what_the_server_asks_for(hub: FakeHub) -> None:
    hub.add("org/run", {"model.safetensors": saved(weights())})
    file = wb.open_checkpoint("hf://org/run")._shards[0].remote
    assert file is not None
    hub.faults.busy = [{"RateLimit": '"resolvers";r=0;t=55'}, {"Retry-After": "7"}, {}, {}]
    waits: Any = Waits()
    assert len(file.read(0, 100, waits)) == 100
    assert waits.seconds == [55, 7, 0.004, 0.008]
    hub.faults.busy = [{"Retry-After": "100000"}]
    with pytest.raises(CheckpointError, match="asks to wait 100,000 s"):
        file.read(0, 100, waits)


def test_a_date_to_wait_for_is_understood_and_nonsense_is_not() -> None:
    assert asked_to_wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert asked_to_wait({"retry-after": "soon"}) is None
    assert asked_to_wait({"ratelimit": '"api";r=3;t=55'}) is None
    assert asked_to_wait({}) is None


LIES = [
    ({"whole_for_range": True}, "the whole file where a part"),
    ({"lie_range": "bytes 5-9/100"}, "were asked for, the server says"),
    ({"shift_range": 1}, "were asked for, the server says"),
    ({"shift_range": -1}, "were asked for, the server says"),
    ({"lie_range": "nonsense"}, "were asked for, the server says"),
    ({"short_by": 1000}, "the server ends before the range does, 6 times"),
    ({"drop_after": 100, "drops": 10**6}, "6 times in a row"),
    ({"compressed": True}, "sends it compressed"),
    ({"redirect_file": "/again"}, "redirects without an end, 6 times"),
    ({"redirect_file": "ftp://127.0.0.1/x"}, "redirects to an unsafe link"),
]


@pytest.mark.parametrize(("faults", "told"), LIES)
def test_lies_are_told_with_the_name_of_the_file(
    hub: FakeHub, faults: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "SOMETHING", 1 << 30)
    commit = hub.add("org/run", {"model.safetensors": saved(weights(side=256))})
    with wb.open_checkpoint("hf://org/run") as opened:
        for name, value in faults.items():
            setattr(hub.faults, name, value)
        with pytest.raises(CheckpointError, match=told) as caught:
            opened.raw(UP.format(0))
    assert caught.value.path == f"hf://org/run@{commit}/model.safetensors"
    assert len(hub.requests) < 60


def test_a_file_that_shrinks_or_changes_is_no_longer_read(hub: FakeHub) -> None:
    hub.add("org/run", {"model.safetensors": saved(weights(side=256))})
    opened = wb.open_checkpoint("hf://org/run")
    content = hub.repositories["org/run"]["main"]["model.safetensors"]
    content.size = 1000
    with pytest.raises(CheckpointError, match="became shorter than the"):
        opened.raw(UP.format(1))
    content.size = len(content.data) - 10  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="bytes now, it had"):
        opened.raw(Q.format(0))
    content.size = len(content.data)  # type: ignore[arg-type]
    hub.faults.lie_tag = ['"another"']
    with pytest.raises(CheckpointError, match="changed while it was read"):
        opened.raw(Q.format(0))
    hub.faults.lie_tag, hub.faults.ignore_if_match = ['"another"'], True
    with pytest.raises(CheckpointError, match="changed while it was read"):
        opened.raw(Q.format(0))
    hub.faults.lie_tag, hub.faults.expire_after = [], 0
    content.sha256 = "f" * 64
    with pytest.raises(CheckpointError, match=r"changed while it was read|refuses the file"):
        opened.raw(Q.format(0))


def test_a_revision_that_moves_is_an_error(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from weibnb.scanning import listing
    from weibnb.scanning import scan as scanning

    state = weights()
    commit = hub.add("org/run", {"model.safetensors": saved(state)}, "step5")
    other = hub.add("org/run", {"model.safetensors": saved(weights(1))}, "step6")
    listed = listing.list_checkpoints

    def move_then(*args: Any, **options: Any) -> Any:
        yield from listed(*args, **options)
        hub.move("org/run", "step5")

    monkeypatch.setattr(scanning, "list_checkpoints", move_then)
    with pytest.raises(CheckpointError, match=r"moved from .* while it was read") as caught:
        scan("org/run", revision="step5")
    assert f"hf://org/run@{commit}" in str(caught.value)
    hub.commits["org/run", "step5"] = commit
    with pytest.warns(UnreadableWarning, match="moved from"):
        assert scan("org/run", revision=["step5", "step6"])["step"].values.tolist() == [5, 6]
    assert other != commit
    hub.commits["org/run", "step5"] = commit
    assert_same_fits(scan(f"hf://org/run@{commit}"), scan({"org/run": state}))


def test_of_several_the_others_are_kept_and_of_one_it_is_an_error(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weibnb.io import ahead

    monkeypatch.setattr(ahead, "REQUEST", 10_000)
    good, bad = weights(0, layers=8), weights(1, layers=8)
    hub.add("org/run", {"model.safetensors": saved(good)}, "step1")
    hub.add("org/run", {"model.safetensors": saved(bad)}, "step2")
    content = hub.repositories["org/run"]["step2"]["model.safetensors"]
    store = tmp_path / "fits.db"

    def cut(size: int) -> None:
        content.data, content.size = content.data[:size], content.size  # type: ignore[index]

    whole = content.data
    wb.scan("org/run", revision="step1", progress=False)
    cut(200_000)
    with pytest.warns(UnreadableWarning, match=r"ends before|connection broke"):
        fits = scan("org/run", revision=["step1", "step2"], store=store)
    assert (fits["status"].sel(step=1) == "ok").all()
    assert "unreadable" in fits["status"].sel(step=2).values
    with pytest.raises(CheckpointError, match=r"ends before|connection broke"):
        scan("org/run", revision="step2")
    content.data = whole
    fits = scan("org/run", revision=["step1", "step2"], store=store)
    assert_same_fits(fits, scan({"org/run": {1: good, 2: bad}}))


# --- Names, tokens, the cache --------------------------------------------------------------------


def test_unknown_ids_and_revisions_name_the_closest(hub: FakeHub) -> None:
    hub.add("org/pythia-70m", {"model.safetensors": saved(weights())}, "step1000")
    hub.add("org/pythia-70m", {"model.safetensors": saved(weights())})
    with pytest.raises(CheckpointError, match=r"no model of this id.*'org/pythia-70m'\?"):
        scan("org/pythia-70")
    with pytest.raises(CheckpointError, match=r"no revision 'step100'.*'step1000'\?"):
        scan("org/pythia-70m", revision="step100")
    with pytest.raises(CheckpointError, match="no revision fits 'v"):
        scan("org/pythia-70m", revision="v*")
    for wrong in (3, ["step0", 3]):
        with pytest.raises(TypeError, match="`revision` must be a name"):
            scan("org/pythia-70m", revision=wrong)
    for source in ("hf://org", "hf://org/a/../b", "hf://datasets/org/name"):
        with pytest.raises(CheckpointError, match=r"names no model|no model of this id"):
            scan(source)
    with pytest.raises(CheckpointError, match="not read from ftp://"):
        scan("ftp://host/model.safetensors")


def everything_of(err: BaseException) -> str:
    """Write all that an error tells and refers to."""
    told = ["".join(traceback.format_exception(err)), repr(err), repr(vars(err))]
    seen: list[object] = [err]
    while err.__cause__ or err.__context__:
        err = err.__cause__ or err.__context__  # type: ignore[assignment]
        seen.append(err)
        request = getattr(err, "request", None)
        told += [repr(vars(err)), repr(dict(getattr(request, "headers", {})))]
    return "".join(told)


def test_the_token_goes_to_the_hub_alone_and_into_no_message(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.private.add("org/mine")
    hub.add("org/mine", {"model.safetensors": saved(weights()), "config.json": b"{}"})
    hub.faults.expire_after = 2
    fits = scan("org/mine")
    sent = {one.host: one.headers.get("authorization") for one in hub.requests}
    assert sent == {"hub": f"Bearer {TOKEN}", "files": None}
    opened = wb.open_checkpoint("hf://org/mine")
    shard = opened._shards[0]
    assert shard.remote is not None
    told = [repr(fits), str(fits.attrs), repr(opened), repr(vars(shard.remote)), opened.identity]
    told += [repr(vars(shard.remote._ranges)), caplog.text]  # type: ignore[attr-defined]
    for faults in ({"expire_after": 0}, {"location": "http://127.0.0.1:9/x"}):
        for name, value in faults.items():
            setattr(hub.faults, name, value)
        with pytest.raises(CheckpointError) as caught:
            wb.open_checkpoint("hf://org/mine").raw(Q.format(0))
        told.append(everything_of(caught.value))
    for repository in ("org/none", "org/gated"):
        hub.gated.add("org/gated")
        with pytest.raises(CheckpointError) as caught:
            scan(repository)
        told.append(everything_of(caught.value))
    assert TOKEN not in "".join(told)
    assert "signature" not in "".join(told[-4:])


@pytest.mark.parametrize("kind", ["gated", "private"])
def test_a_repository_that_is_not_for_all_says_how_to_log_in(
    hub: FakeHub, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    getattr(hub, kind).add("org/mine")
    state = weights()
    hub.add("org/mine", {"model.safetensors": saved(state)})
    with pytest.raises(CheckpointError, match="hf auth login"):
        scan("org/mine")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert_same_fits(scan("org/mine"), scan({"org/mine": state}))


def put_in_cache(hub: FakeHub, repository: str, revision: str, commit: str) -> Path:
    """Download a repository with huggingface_hub."""
    from huggingface_hub import snapshot_download

    path = snapshot_download(repository, revision=revision, endpoint=hub.endpoint)
    assert Path(path).name == commit
    return Path(path)


def test_what_the_cache_holds_is_read_there(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    state = weights(layers=3)
    commit = hub.add("org/run", sharded(state), "step7")
    away = scan("org/run", revision="step7")
    put_in_cache(hub, "org/run", "step7", commit)
    before = len(hub.requests)
    fits = scan("org/run", revision="step7")
    assert all(one.path.startswith("/api") for one in hub.requests[before:])
    assert_same_fits(fits, away)
    xr.testing.assert_equal(fits["fingerprint"], away["fingerprint"])
    before = len(hub.requests)
    assert scan(f"hf://org/run@{commit}")["k"].size == fits["k"].size
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_same_fits(scan("org/run", revision="step7"), away)
    assert len(hub.requests) == before
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set.*holds step7"):
        scan("org/run", revision="step8")
    with pytest.raises(CheckpointError, match="holds nothing of org/other"):
        scan("org/other")


def test_a_part_of_a_cached_checkpoint_is_completed_from_the_hub(hub: FakeHub) -> None:
    from huggingface_hub import hf_hub_download

    state = weights(layers=3)
    commit = hub.add("org/run", sharded(state), "step7")
    name = "model-00001-of-00002.safetensors"
    hf_hub_download("org/run", name, revision="step7", endpoint=hub.endpoint)
    before = len(hub.requests)
    assert_same_fits(scan(f"hf://org/run@{commit}"), scan({"org/run": state}))
    paths = [one.path for one in hub.requests[before:] if "/resolve/" in one.path]
    assert paths
    assert not any(name in path for path in paths)


def test_without_a_network_it_says_what_the_cache_holds(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = hub.add("org/run", {"model.safetensors": saved(weights())})
    put_in_cache(hub, "org/run", "main", commit)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://{HOST}:9")
    with pytest.raises(CheckpointError, match=r"cannot be reached .*holds main; HF_HUB_OFFLINE"):
        scan("org/run")


# --- Text from far away is hostile ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "..", "C:x", "\x1b[2J"]
)
def test_an_index_names_plain_files_of_its_folder(hub: FakeHub, name: str) -> None:
    state = weights()
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, name)}
    files = {"model.safetensors": saved(state), "x.safetensors": b""}
    hub.add("org/run", files | {"model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(CheckpointError) as caught:
        scan("org/run")
    assert "\x1b" not in str(caught.value)
    assert not any("passwd" in one.path or ".." in one.path for one in hub.requests)


def test_headers_and_indexes_have_limits(hub: FakeHub) -> None:
    huge = (10**9).to_bytes(8, "little") + b'{"' + b" " * 1000
    hub.add("org/huge", {"model.safetensors": huge})
    with pytest.raises(CheckpointError, match="the header takes"):
        scan("org/huge")
    data = saved(weights())
    hub.add("org/run", {"model.safetensors": data, "config.json": b"not json"})
    with pytest.raises(CheckpointError, match="max_header"):
        scan("org/run", max_header=100)
    assert "configuration was not read" in str(wb.not_fitted(scan("org/run"))["reason"].tolist())
    hub.add("org/pickle", {"pytorch_model.bin": b"\x80\x02"})
    with pytest.raises(CheckpointError, match="pickle"):
        scan("org/pickle")


def test_places_are_read_and_written_alike() -> None:
    for url in ("hf://a/b", "hf://a/b@c", "hf://a/b@feature%2Fx/y", "hf://a/b@refs%2Fpr%2F1"):
        assert Place.of(url).url == url
    assert Place.of("hf://a/b@refs/pr/12/x.safetensors") == Place(
        "a/b", "refs/pr/12", "x.safetensors"
    )
    assert Place.of("hf://models/a/b") == Place("a/b")


def test_the_shell_reads_revisions(hub: FakeHub, tmp_path: Path) -> None:
    for step in (0, 1000):
        hub.add("org/run", {"model.safetensors": saved(weights(step))}, f"step{step}")
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(wb.__file__).parents[1]),
    }
    command = ["scan", "hf://org/run", "--quiet", "--revision", "step0", "--revision", "step1000"]
    code = f"import sys; from weibnb.cli import main; sys.exit(main({command!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 matrices" in done.stdout


def test_the_bar_tells_files_and_bytes(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/run", sharded(weights(layers=3), 2), "step5")
    wb.scan("org/run", revision="step5", progress=True)
    assert "org/run step 5 (2 files):   0%" in capsys.readouterr().err.split("\r")[1]
