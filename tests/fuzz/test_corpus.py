"""Every file of the corpus: what becomes of it, and of the good checkpoint beside it."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.fuzz.corpus import FILE, HOSTILE, LARGE, Q, good, headers, sharded
from tests.fuzz.harness import write_files
from tests.fuzz.referee import disagreement, official
from tests.fuzz.targets import read_header
from weibnb.io.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {Q.format(0): np.random.default_rng(0).normal(0, 1, (32, 32))}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_or_left_out_and_the_others_scanned(
    tmp_path: Path, name: str
) -> None:
    case = HOSTILE[name]
    write_files(case.make(), tmp_path / "case")
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is left out", UserWarning)
            fits = wb.scan({"bad": tmp_path / "case", "good": GOOD})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert "ok" in fits["status"].sel(model="good").values
    told = [*wb.not_fitted(fits)["reason"], *fits["status"].sel(model="bad").values.ravel()]
    assert not case.words or any(case.words in str(text) for text in told)
    assert all(len(str(text)) < 3000 for text in told)


def test_the_official_parser_agrees_on_the_corpus(tmp_path: Path) -> None:
    cases = [case.make() for case in HOSTILE.values()] + headers()
    for files in cases:
        if set(files) == {FILE}:
            write_files(files, tmp_path / "case")
            read_header(tmp_path / "case")


def test_undamaged_files_are_read_as_the_official_parser_reads_them(tmp_path: Path) -> None:
    for files in (good(), sharded(), *headers()):
        write_files(files, tmp_path / "case")
        with open_checkpoint(tmp_path / "case") as checkpoint:
            theirs: dict[str, Any] = {}
            for name, content in files.items():
                if name.endswith(".safetensors"):
                    theirs |= official(content)[0]
            assert checkpoint.tensors.keys() == theirs.keys()
            assert not checkpoint.problems


def test_the_referee_sees_a_difference() -> None:
    content = headers()[0][FILE]
    data = official(content)[0]["w"]["data"]
    right = {"w": ("U8", [3], bytes(data))}
    assert disagreement(content, right, "") == ""
    assert "other values" in disagreement(content, {"w": ("U8", [3], b"abc")}, "")
    assert "other values" in disagreement(content, {"w": ("I8", [3], bytes(data))}, "")
    assert "other names" in disagreement(content, {}, "")
    assert "only weibnb refuses" in disagreement(content, None, "it is broken")
    assert "only weibnb reads" in disagreement(content[:-1], right, "")


@pytest.mark.parametrize("name", LARGE)
def test_large_files_end_at_the_limit_that_the_message_names(tmp_path: Path, name: str) -> None:
    write_files(LARGE[name].make(), tmp_path / "case")
    with pytest.raises(wb.CheckpointError, match=LARGE[name].words):
        wb.scan(tmp_path / "case")
