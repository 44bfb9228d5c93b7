"""Checkpoints -> a Dataset of fits: the one place that joins reading, counting and fitting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weibnb.counting.formats import FORMATS
from weibnb.fits.build import Matrix, Source
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.naming import Role, Skip, identify, tower
from weibnb.io.safetensors import CheckpointError

if TYPE_CHECKING:
    from weibnb.counting.dispatch import Pending
    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.safetensors import TensorInfo
    from weibnb.io.sources import Planned


@dataclass(slots=True)
class Job:
    """One matrix that is being counted, or cannot be.

    Attributes
    ----------
    matrix : Matrix
        What is known of it without its weights.
    pending : Pending or None
        Its counts, when they are there.
    nbytes : int
        Size of its weights, until the progress bar has them.
    """

    matrix: Matrix
    pending: Pending | None
    nbytes: int

    def finish(self) -> Matrix:
        """Wait for the counts.

        Returns
        -------
        Matrix
            With the counts, if it has any.
        """
        if self.pending is None:
            return self.matrix
        counted = self.pending.result()
        return replace(
            self.matrix,
            labels=counted.labels,
            counts=counted.counts,
            exact=counted.exact,
            zeros=counted.zeros,
            nonfinite=counted.nans + counted.infinities,
            largest=counted.largest,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint whose headers were read: its weight matrices, and what is known of it.

    Attributes
    ----------
    source : Source
        What is known of it.
    opened : Checkpoint
        To read its values.
    chosen : list of (TensorInfo, Role, str)
        Its weight matrices, what each is, and its status before it is counted.
    """

    source: Source
    opened: Checkpoint
    chosen: list[tuple[TensorInfo, Role, str]]


def list_matrices(planned: Planned) -> Listed:
    """Tell the weight matrices of a checkpoint from the rest, without reading their values.

    Parameters
    ----------
    planned : Planned
        The checkpoint.

    Returns
    -------
    Listed
        Its weight matrices, and what is known of it.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    if isinstance(planned.checkpoint, CheckpointError):
        raise planned.checkpoint
    opened = open_checkpoint(planned.checkpoint)
    chosen, left = _choose(opened)
    for note in (*opened.notes, planned.note):
        if note:
            left.append({"tensor": "", "shape": [], "dtype": "", "reason": note})
    about = (opened.source, opened.fingerprint, opened.config, "", left)
    return Listed(Source(planned.model, planned.step, *about), opened, chosen)


def _check_on_one_device(stack: Any, source: str, name: str) -> None:
    if hasattr(stack, "device_mesh"):
        cause = "a stack of experts that is spread over processes is not counted"
        raise CheckpointError(source, cause, "Scan a checkpoint of it.", name)


def _choose(
    opened: Checkpoint,
) -> tuple[list[tuple[TensorInfo, Role, str]], list[dict[str, Any]]]:
    """Split a checkpoint into weight matrices with their status, and the rest with its reason."""
    problems = dict(opened.problems)
    roles = _one_tower_needs_no_prefix(
        {name: identify(name, info.shape) for name, info in opened.tensors.items()}
    )
    chosen: list[tuple[TensorInfo, Role, str]] = []
    seen: dict[tuple[int, str], set[int | None]] = {}
    left: list[dict[str, Any]] = []
    taken: dict[tuple[int, str], tuple[str, int | None]] = {}
    for name, info in opened.tensors.items():
        role = roles[name]
        if isinstance(role, Role):
            # a cell is one matrix, one stack, or experts of different numbers
            cell, expert = (role.layer, role.component), role.expert
            first, number = taken.get(cell, (name, expert))
            if cell not in taken or (None not in (expert, number) and expert not in seen[cell]):
                taken.setdefault(cell, (name, expert))
                seen.setdefault(cell, set()).add(expert)
                unreadable = name in problems
                status = "unreadable" if unreadable else _initial_status(info, opened)
                chosen.append((info, role, status))
                continue
            reason = f"its cell is taken by {first}"
        else:
            reason = "quantized" if role.reason == "packed" else role.reason
        left.append(
            {"tensor": name, "shape": list(info.shape), "dtype": info.dtype, "reason": reason}
        )
    return chosen, left


def _one_tower_needs_no_prefix(roles: dict[str, Role | Skip]) -> dict[str, Role | Skip]:
    """Drop the tower from the components of a model that has only one (OPT's ``decoder``)."""
    towers = {tower(role.component) for role in roles.values() if isinstance(role, Role)}
    if len(towers) != 1 or towers == {""}:
        return roles
    prefix = f"{towers.pop()}."
    return {
        name: replace(role, component=role.component.removeprefix(prefix))
        if isinstance(role, Role)
        else role
        for name, role in roles.items()
    }


def _initial_status(info: TensorInfo, opened: Checkpoint) -> str:
    if info.dtype in FORMATS:
        stem = info.name.removesuffix(".weight")
        scales = (f"{info.name}_scale_inv", f"{info.name}_scale", f"{stem}.scale")
        return "scaled" if any(name in opened.tensors for name in scales) else "ok"
    integers = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F4", "BOOL"}
    return "quantized" if info.dtype in integers else "unsupported_dtype"
