"""Files drawn by Hypothesis are read as the official parser reads them, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings

from tests.fuzz.corpus import FILE, INDEX, good, sharded
from tests.fuzz.harness import write_files
from tests.fuzz.strategies import configurations, indexes, safetensors_files
from tests.fuzz.targets import read_header, read_index
from weibnb.fits.schema import model_attributes
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.hyperparameters import read_hyperparameters

if TYPE_CHECKING:
    from pathlib import Path

many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(safetensors_files())
def test_headers(tmp_path: Path, content: bytes) -> None:
    write_files({FILE: content}, tmp_path / "case")
    read_header(tmp_path / "case")


@many
@given(indexes())
def test_indexes(tmp_path: Path, content: bytes) -> None:
    write_files(sharded() | {INDEX: content}, tmp_path / "case")
    read_index(tmp_path / "case")


@many
@given(configurations())
def test_configurations(tmp_path: Path, content: bytes) -> None:
    files = good() | {"config.json": content, "trainer_state.json": content}
    write_files(files, tmp_path / "case")
    config = open_checkpoint(tmp_path / "case").config
    attributes = model_attributes(config)
    assert all(isinstance(value, (str, float)) for value in attributes.values())
    try:
        found = read_hyperparameters(tmp_path / "case")
    except CheckpointError:
        return
    except ValueError as err:
        assert "must be given" in str(err)  # noqa: PT017 - both outcomes are fine
        return
    assert all(isinstance(number, float) and number >= 0 for number in found.values())
