"""What is fuzzed: how a case is drawn, and how it is read."""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from tests.fuzz import corpus, formats
from tests.fuzz.harness import Target
from tests.fuzz.mutations import change_bytes, change_header, change_json
from tests.fuzz.referee import disagreement
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.hyperparameters import read_hyperparameters
from weibnb.io.sources import Planned
from weibnb.scanning.listing import list_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from tests.fuzz.corpus import Files


class Wrong(Exception):  # noqa: N818 - a finding, not an error
    """A case that was read otherwise than it is."""


def _draw_header(chance: Random) -> Files:
    files = chance.choice(_seeds(chance.choice(("headers", "hostile"))))
    return {corpus.FILE: change_header(chance, files[corpus.FILE])}


def read_header(directory: Path) -> bool:
    """Open a file, read every tensor, and ask the official parser."""
    path = directory / corpus.FILE
    ours, cause = None, ""
    try:
        with open_checkpoint(path) as checkpoint:
            broken = dict(checkpoint.problems)
            ours = {
                name: (t.dtype, t.shape, None if name in broken else checkpoint.raw(name).tobytes())
                for name, t in checkpoint.tensors.items()
            }
        list(list_checkpoints([Planned("model", 0, path)]))
    except CheckpointError as err:
        cause = str(err)
    if problem := disagreement(path.read_bytes(), ours, cause):
        raise Wrong(problem)
    return ours is not None


def _draw_index(chance: Random) -> Files:
    files = corpus.sharded()
    return files | {corpus.INDEX: change_json(chance, files[corpus.INDEX])}


def read_index(directory: Path) -> bool:
    try:
        with open_checkpoint(directory) as checkpoint:
            for name in checkpoint.tensors:
                checkpoint.raw(name)
    except CheckpointError:
        return False
    return True


def _draw_checkpoint(chance: Random) -> Files:
    files = corpus.good()
    return files | {corpus.FILE: change_header(chance, files[corpus.FILE])}


def _read_scan(directory: Path) -> bool:
    """Scan a checkpoint beside a good one, which must be fitted whatever the other is."""
    import weibnb as wb

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is left out", UserWarning)
        fits = wb.scan({"bad": directory, "good": _good_state()}, progress=False)
    if "ok" not in fits["status"].sel(model="good").values:
        raise Wrong("the good checkpoint was not fitted")
    return not str(fits["problem"].sel(model="bad").values.ravel()[0])


@cache
def _good_state() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return {corpus.Q.format(0): np.random.default_rng(1).normal(0, 1, (16, 16))}


def _draw_config(chance: Random) -> Files:
    files = corpus.good()
    return files | {
        name: change_json(chance, files[name]) for name in ("config.json", "trainer_state.json")
    }


def _read_config(directory: Path) -> bool:
    """Scan a checkpoint whose configuration or log is damaged, and look for hyperparameters."""
    if not _read_scan(directory):
        raise Wrong("the weights were refused")
    try:
        return bool(read_hyperparameters(directory))
    except ValueError as err:
        if type(err) is not CheckpointError and "must be given" not in str(err):
            raise
        return False


def _whole_fits(name: str) -> Files:
    return _seeds(name)[0]


def _draw_fits(name: str, chance: Random) -> Files:
    return {name: change_bytes(chance, chance.choice(_seeds(name))[name])}


def _read_fits(name: str, directory: Path) -> bool:
    """Open a file or a store of fits, and read all that it holds."""
    import weibnb as wb

    try:
        with wb.open_fits(directory / name) as fits:
            fits.load()
            wb.not_fitted(fits)
            wb.tidy(fits)
    except wb.FitsError:
        return False
    return True


@cache
def _seeds(kind: str) -> tuple[Files, ...]:
    makers = {
        "headers": corpus.headers,
        "hostile": corpus.hostile_headers,
    }
    return tuple(makers[kind]() if kind in makers else corpus.fits_files(kind))


def _read_checkpoint(directory: Path) -> bool:
    """Read the file as it is, then scan it."""
    as_it_is = read_header(directory)
    if _read_scan(directory) and not as_it_is:
        raise Wrong("a scan took what cannot be opened")
    return as_it_is


def _other(
    undamaged: Callable[[], Files],
    draw: Callable[[Random], Files],
    again: Callable[[Path], formats.Found],
) -> Target:
    """Make a target of another format."""
    return Target(undamaged, draw, partial(formats.read_and_compare, again=again))


TARGETS: dict[str, Target] = {
    "header": Target(lambda: corpus.headers()[0], _draw_header, read_header),
    "index": Target(corpus.sharded, _draw_index, read_index),
    "scan": Target(corpus.good, _draw_checkpoint, _read_checkpoint),
    "config": Target(corpus.good, _draw_config, _read_config),
} | {
    kind: Target(partial(_whole_fits, name), partial(_draw_fits, name), partial(_read_fits, name))
    for kind, name in (("fits", corpus.FITS), ("store", corpus.STORE))
}
#: Of other formats.
OTHERS: dict[str, Target] = {
    "torch": _other(formats.torch_file, formats.draw_torch, formats.torch_again),
    "distributed": _other(formats.distributed, formats.draw_distributed, formats.nothing_again),
    "gguf": _other(formats.gguf_file, formats.draw_gguf, formats.gguf_again),
    "numpy": _other(formats.numpy_file, formats.draw_numpy, formats.numpy_again),
}


def _draw_any(chance: Random) -> Files:
    return OTHERS[chance.choice(sorted(OTHERS))].draw(chance)


def _read_any(directory: Path) -> bool:
    """Read files of another format, whichever they are."""
    kinds = {".gguf": "gguf", ".npz": "numpy", ".distcp": "distributed"}
    endings = {path.suffix for path in directory.iterdir()} & kinds.keys()
    return OTHERS[kinds[endings.pop()] if endings else "torch"].read(directory)


#: Some of each of them, for one process to read.
FORMATS: dict[str, Target] = {"formats": Target(formats.torch_file, _draw_any, _read_any)}
