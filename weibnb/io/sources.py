"""What a source of `scan` means: which checkpoints, and the model and step of each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.adapters import Adapter, is_adapter
from weibnb.io.files import CheckpointError, list_directory, why
from weibnb.io.folders import expand, holds_checkpoint, models_in, names_of
from weibnb.io.kinds import ENDINGS, is_weights
from weibnb.io.links import contained
from weibnb.io.names import Names
from weibnb.io.remote import Remote, as_remote
from weibnb.io.steps import step_of
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Planned:
    """One checkpoint to scan, of a model at a step."""

    model: str
    step: int
    checkpoint: Any  # what `weibnb.open_checkpoint` takes, or why it cannot be found
    note: str = ""  # what was left out beside it
    names: Names = field(default_factory=Names)
    dequantise: bool = False  # whether quantised weights are restored


def resolve_sources(
    source: Any, *, base: Any = None, names: Names | None = None, dequantise: bool = False
) -> Iterator[Planned]:
    """Yield every checkpoint that a source of `scan` means, models as given, steps ascending.

    Adapters among them are put on a `base`; what no family names, `names` may; quantised weights
    are restored where `dequantise` asks for it.
    """
    found = 0
    for planned in _resolve(source):
        checkpoint = planned.checkpoint
        if base is not None and isinstance(checkpoint, (str, os.PathLike)):
            path = Path(checkpoint)
            if is_adapter(path):
                checkpoint, found = Adapter(path, base), found + 1
        given = names or planned.names
        yield replace(planned, checkpoint=checkpoint, names=given, dequantise=dequantise)
    if base is not None and not found:
        raise ValueError(
            "`base` must come with an adapter, a directory with adapter_config.json; `source` "
            "holds none."
        )


def on_base(source: Any, base: Any) -> dict[str, dict[int, Any]]:
    """Give the checkpoints of a source by model and step, adapters on their base."""
    found: dict[str, dict[int, Any]] = {}
    for planned in resolve_sources(source, base=base):
        found.setdefault(planned.model, {})[planned.step] = planned.checkpoint
    return found


def _resolve(source: Any) -> Iterator[Planned]:
    if isinstance(source, (list, tuple)):
        yield from _resolve_several(source)
        return
    if not isinstance(source, Mapping):
        yield from _resolve_several([source])
        return
    if not source:
        raise ValueError("`source` must name at least one checkpoint, got an empty mapping.")
    if _is_state_dict(source):
        yield Planned("model", 0, source)
        return
    for model, entry in source.items():
        if not isinstance(model, str):
            raise TypeError(
                f"`source` must map model names to checkpoints, got the key {model!r}. "
                "A run is {'name': {step: checkpoint}}."
            )
        if isinstance(entry, Mapping) and not _is_state_dict(entry):
            yield from _resolve_run(model, entry)
        else:
            try:
                yield from _resolve_one(model, entry)
            except CheckpointError as err:
                yield Planned(model, 0, err)


@dataclass(slots=True)
class _Group:
    """What one element of a list means, and what it may be called, the shortest name first."""

    names: list[str]
    plans: list[Planned]
    steps: set[int | None]  # None where its name tells of no step
    given: str

    @property
    def name(self) -> str:
        """The name that it has as long as no other has it."""
        return self.names[0]

    def clashes(self, other: _Group) -> bool:
        """Whether both cannot be one model: they have a step in common, or one has none."""
        apart = not self.steps & other.steps and None not in self.steps | other.steps
        return self.name == other.name and not apart


def _resolve_several(sources: Sequence[Any]) -> Iterator[Planned]:
    """Resolve elements of a list; names that several would have are lengthened."""
    if not sources:
        raise ValueError("`source` must name at least one checkpoint, got an empty list.")
    groups = [group for one in sources for group in _groups(one)]
    while clashing := {a.name for a in groups for b in groups if a is not b and a.clashes(b)}:
        for group in groups:
            if group.name in clashing:
                if len(group.names) == 1:
                    raise ValueError(
                        f"`source` must hold each checkpoint once, got {group.given} twice. Give "
                        "them names: weibnb.scan({'one': ..., 'two': ...})."
                    )
                del group.names[0]
    steps: dict[str, list[Planned]] = {}
    for group in groups:
        steps.setdefault(group.name, []).extend(group.plans)
    for name, plans in steps.items():
        yield from (replace(plan, model=name) for plan in sorted(plans, key=lambda one: one.step))


def _groups(source: Any) -> Iterator[_Group]:
    """Give what an element of a list means: one model, or those in a folder or of a pattern."""
    if isinstance(source, Mapping):
        by_model: dict[str, list[Planned]] = {}
        for plan in _resolve(source):
            by_model.setdefault(plan.model, []).append(plan)
        for model, plans in by_model.items():
            yield _Group([model], plans, {plan.step for plan in plans}, repr(model))
        return
    if (remote := as_remote(source)) is not None:
        yield _remote_group(remote)
        return
    at = source.path if isinstance(source, Adapter) else source
    if not isinstance(at, (str, os.PathLike)) or at == "":
        name = type(source).__name__
        yield _Group([name], list(_resolve_one(name, source)), {0}, f"the {name}")
        return
    yield from _local_groups(source, at)


def _local_groups(source: Any, at: str | os.PathLike[str]) -> Iterator[_Group]:
    """Give what a path or a pattern of this machine means."""
    paths = expand(at)
    folders = [models_in(path) if path is source or len(paths) == 1 else None for path in paths]
    for path, inside in zip(paths, folders, strict=True):
        if isinstance(source, Adapter):
            yield _group(path, source)
        elif inside is None:
            yield _group(path, path)
        else:
            found, note = inside
            for i, one in enumerate(found):
                group = _group(one.path, one.refused or one.path)
                if note and i == 0:
                    group.plans[0] = replace(group.plans[0], note=note)
                yield group


def _group(path: Path, source: Any) -> _Group:
    """Resolve one path, and find names for it."""
    names, step = names_of(path)
    if isinstance(source, CheckpointError):
        plans = [Planned(names[0], step or 0, source)]
    else:
        plans = list(_resolve_one(names[0], source, step))
    is_run = len(plans) > 1 or (step is None and plans[0].checkpoint != source)
    return _Group(names, plans, {p.step for p in plans} if is_run else {step}, str(path))


def _remote_group(remote: Remote) -> _Group:
    """Find names for a checkpoint on another machine."""
    names, step = remote.named()
    return _Group(names, [Planned(names[0], step or 0, remote)], {step}, remote.name)


def _resolve_run(model: str, steps: Mapping[Any, Any], note: str = "") -> Iterator[Planned]:
    seen: dict[int, Any] = {}
    for step, checkpoint in steps.items():
        if isinstance(step, (bool, np.bool_)) or not isinstance(step, (int, np.integer)):
            raise TypeError(f"A step must be an integer, got {step!r} for model {model!r}.")
        if step < 0:
            raise ValueError(f"A step must be at least 0, got {step} for model {model!r}.")
        if step >= 2**63:
            raise ValueError(f"A step must be less than 2^63, got {step} for model {model!r}.")
        seen[int(step)] = checkpoint
    if not seen:
        raise ValueError(f"Model {model!r} must have at least one step, got none.")
    for step in sorted(seen):
        yield Planned(model, step, seen[step], note if step == max(seen) else "")


def _resolve_one(model: str, source: Any, step: int | None = None) -> Iterator[Planned]:
    if isinstance(source, Adapter):
        at = Path(source.path).name if step is None else ""
        yield Planned(model, step_of(at) or step or 0, source)
        return
    if (remote := as_remote(source)) is not None:
        yield Planned(model, step or remote.named()[1] or 0, remote)
        return
    if not isinstance(source, (str, os.PathLike)):
        yield Planned(model, 0, source)
        return
    if source == "":
        raise CheckpointError("", "the path is empty", "Pass `.` for the current directory.")
    path = Path(source)
    try:
        steps = find_steps(path) if path.is_dir() else {}
        note = _beside(path, steps) if steps else ""
    except (OSError, RuntimeError) as err:  # too long, not to be searched, links in a circle
        raise CheckpointError(path, f"the path cannot be used: {why(err)}") from err
    if steps:
        yield from _resolve_run(model, steps, note)
    else:
        yield Planned(model, (step_of(path.name) if step is None else step) or 0, path)


def _beside(path: Path, steps: Mapping[int, Path | CheckpointError]) -> str:
    """Say which checkpoints in a run's directory are no steps."""
    taken = {os.path.realpath(step) for step in steps.values() if isinstance(step, Path)}
    others = [path / name for name in list_directory(path) if step_of(name) is None]
    others = [other for other in others if os.path.realpath(other) not in taken]
    names = [
        shortened(other.name)
        for other in others
        if is_weights(other.name) or (_is_directory(other) and holds_checkpoint(other))
    ]
    listed = ", ".join(sorted(names)[:8]) + (", ..." if len(names) > 8 else "")
    if len(names) > 1:
        return f"{listed} beside the steps are no steps and were left out"
    return f"{listed} beside the steps is no step and was left out" if names else ""


def _is_state_dict(source: Mapping[Any, Any]) -> bool:
    return bool(source) and all(
        isinstance(name, str) and hasattr(value, "dtype") and hasattr(value, "shape")
        for name, value in source.items()
    )


def find_steps(directory: str | os.PathLike[str]) -> dict[int, Path | CheckpointError]:
    """Find the checkpoints of a training run by their names, in the order of steps.

    There is one directory or file of tensors per step, named like ``step1000``, ``step_1000``,
    ``global_step1000``, ``checkpoint-1000``, ``ckpt-5`` or ``iter_0001000``. A link
    out of the directory is an error in its place.
    """
    found: dict[int, str] = {}
    place = Path(directory)
    for name in list_directory(place):
        step = step_of(name)
        if step is None or not (name.endswith(ENDINGS) or _is_directory(place / name)):
            continue
        if step in found:
            names = f"`{found[step]}` and `{name}`"
            raise CheckpointError(directory, f"step {step} is there twice: {names}", "Remove one.")
        found[step] = name
    return {step: _step_path(place, found[step]) for step in sorted(found)}


def _is_directory(path: Path) -> bool:
    """Whether this is a directory, or nobody can tell: then opening it says why."""
    try:
        return path.is_dir()
    except OSError:
        return True


def _step_path(directory: Path, name: str) -> Path | CheckpointError:
    """Give the path of a step, or the error that it is a link to another place."""
    try:
        return contained(directory, name, "If you trust it, pass {'name': {step: path}}.")
    except CheckpointError as err:
        return err


def demo_checkpoints() -> Path:
    """Return the directory of the packaged training run: five checkpoints of a small decoder.

    Three layers of width 128 that learned the source of the Python standard library, with
    rotary attention and a gated feed-forward, in bfloat16: ``step0``, ``step100``, ``step500``,
    ``step2000`` and ``step7000``.

    Returns
    -------
    pathlib.Path
        What `scan`, `check`, `decompose` and `explore` take; one checkpoint is
        ``demo_checkpoints() / "step7000"``.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan(wb.demo_checkpoints(), progress=False)
    >>> fits.k.sel(model="demo", layer=0, component="o_proj").round(3).values.tolist()
    [1.214, 1.207, 1.177, 1.111, 1.007]
    """
    return Path(__file__).parents[1] / "data" / "demo"
