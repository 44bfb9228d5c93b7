"""Which tensors of a checkpoint are weight matrices, and what is to be known of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from weibnb.counting.formats import FORMATS
from weibnb.fits.build import Matrix
from weibnb.fits.schema import NO_EXPERT
from weibnb.fitting.status import COUNTED, MINIMUM_WEIGHTS
from weibnb.io.fused import is_fused, is_transposed, layout_of
from weibnb.io.gguf_files import is_quantised
from weibnb.io.names import Names
from weibnb.io.naming import Role, Skip, identify, tower
from weibnb.messages import shortened
from weibnb.scanning.structure import SecondLook

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import torch

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.pieces import PendingPieces
    from weibnb.fits.layout import Source
    from weibnb.fitting.status import Status
    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.fused import Part
    from weibnb.io.safetensors import TensorInfo
    from weibnb.scanning.structure import PendingWithSums, Structure

Fused: TypeAlias = Literal["keep", "split", "both"]
FUSED: tuple[Fused, ...] = ("keep", "split", "both")
#: Longest side of a matrix: what its columns of the Dataset hold.
LARGEST_SIDE = 2**31 - 1
_INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F4", "BOOL"}


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """A tensor that holds a weight matrix, or those of several experts, or a part of them.

    Attributes
    ----------
    info : TensorInfo
        Its name, format and shape as stored.
    role : Role
        What its name says.
    status : Status
        A word of `COUNTED`, or why it is not counted.
    part : Part or None
        Which of the matrices that are fused in it; the role is then that of the part.
    """

    info: TensorInfo
    role: Role
    status: Status
    part: Part | None = None

    @property
    def experts(self) -> range:
        """Numbers of the experts in it; `NO_EXPERT` alone for a matrix that is not one.

        A stack that is not counted is one entry, whatever number of experts its shape promises.
        """
        if self.role.stacked:
            counted = self.status in COUNTED
            return range(self.info.shape[0]) if counted else range(NO_EXPERT, NO_EXPERT + 1)
        number = NO_EXPERT if self.role.expert is None else self.role.expert
        return range(number, number + 1)

    @property
    def features(self) -> tuple[int, int]:
        """Output and input features of each matrix."""
        rows, cols = self.stored_shape
        return (cols, rows) if self.role.transposed else (rows, cols)

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of each matrix in the order of storage."""
        rows, cols = self.info.shape[-2:]
        if self.part is None:
            return rows, cols
        features = self.part.features
        return (rows, features) if self.part.transposed else (features, cols)

    @property
    def nbytes(self) -> int:
        """Bytes of each matrix."""
        nbytes = self.info.nbytes // max(len(self.experts), 1)
        if self.part is None:
            return nbytes
        return nbytes * self.part.features // (self.part.groups * self.part.width)

    def stored_rows(self, first: int, stop: int) -> tuple[int, int]:
        """Give the rows of the tensor's matrix, as stored, that hold these of the part."""
        if self.part is None or self.part.transposed or first == stop:
            return first, stop
        return self.part.stored(first), self.part.stored(stop - 1) + 1

    def rows_of_part(self, rows: Any, first: int, stop: int) -> Any:
        """Take rows of this part from the stored rows that hold them."""
        if self.part is None:
            return rows
        if self.part.transposed:
            return self.part.of(rows).reshape(len(rows), -1)
        lowest = self.part.stored(first)
        return rows[[self.part.stored(row) - lowest for row in range(first, stop)]]

    def matrix(
        self,
        source: Source,
        expert: int,
        status: Status = "pending",
        counts: Counts | None = None,
        **found: Any,
    ) -> Matrix:
        """Describe the matrix of one expert, not counted yet or with what was found of it."""
        rows, cols = self.features
        return Matrix(
            model=source.model,
            layer=self.role.layer,
            component=self.role.component,
            step=source.step,
            expert=expert,
            parameter=self.info.name,
            dtype=self.info.dtype,
            rows=rows,
            cols=cols,
            status=status if self.status in COUNTED else self.status,
            counts=counts,
            **found,
        )

    def second_look(
        self,
        bits: Bits | torch.Tensor | None,
        structure: Structure,
        pieces: PendingPieces | None = None,
        *,
        sums: PendingWithSums | None = None,
    ) -> SecondLook:
        """Prepare to look at a matrix again, whose bits are given if they stay what they are."""
        dtype, transposed = self.info.dtype, self.role.transposed
        return SecondLook(bits, dtype, self.stored_shape, transposed, structure, pieces, sums)

    def one_expert(self, weights: Any, expert: int) -> Any:
        """Take the matrix of one expert from the tensor, or from its bits in one dimension.

        Bits of a part are in one dimension where they follow each other, else in three.
        """
        shape = self.info.shape[-2:]
        if self.role.stacked:
            size = shape[0] * shape[1]
            several = weights.ndim > 1
            weights = weights[expert] if several else weights[expert * size : (expert + 1) * size]
        return self.of_matrix(weights)

    def of_matrix(self, weights: Any) -> Any:
        """Take this part of a matrix, or all of it."""
        if self.part is None:
            return weights
        part = self.part.of(weights.reshape(self.info.shape[-2:]))
        adjacent = self.part.groups == 1 and not self.part.transposed
        return part.reshape(-1) if adjacent and weights.ndim == 1 else part


def choose_tensors(
    checkpoint: Checkpoint, fused: Fused = "keep", names: Names | None = None
) -> tuple[list[WeightTensor], list[dict[str, Any]]]:
    """Part the tensors of a checkpoint into weight matrices, and the rest with its reason.

    A cell holds one matrix, one stack of experts, or experts of different numbers; the first
    tensor to take a place keeps it, and a part of a fused matrix takes no tensor's place: what a
    cell holds does not depend on `fused`.
    """
    unreadable = dict(checkpoint.problems)
    roles = _roles(checkpoint, names or Names())
    chosen: list[WeightTensor] = []
    left: list[dict[str, Any]] = []
    taken: dict[tuple[int, str], dict[int | None, str]] = {}
    for name, info in checkpoint.tensors.items():
        role = roles[name]
        if isinstance(role, Role) and (problem := _shape_problem(info, role)):
            reason = problem
        elif isinstance(role, Role):
            there = taken.setdefault((role.layer, role.component), {})
            new_expert = role.expert is not None and role.expert not in there and None not in there
            if not there or new_expert:
                there[role.expert] = name
                status = _initial_status(info, checkpoint)
                if status in COUNTED and name in unreadable:
                    status = "unreadable"
                transposed = is_transposed(role, info.shape, checkpoint.config)
                if transposed != role.transposed:
                    role = replace(role, transposed=transposed)
                chosen.append(WeightTensor(info, role, status))
                continue
            reason = f"its cell is taken by {shortened(next(iter(there.values())), 200)}"
        else:
            reason = "quantized" if role.reason == "packed" else role.reason
        left.append(
            {"tensor": name, "shape": list(info.shape), "dtype": info.dtype, "reason": reason}
        )
    if fused == "keep":
        return chosen, left
    chosen, notes = _with_parts(chosen, checkpoint, whole=fused == "both")
    return chosen, left + notes


def _roles(checkpoint: Checkpoint, names: Names) -> dict[str, Role | Skip]:
    """Tell what each tensor is; a component of the user's own keeps its prefix."""
    tensors = checkpoint.tensors
    placed = {
        name: names.identify(name, info.shape)
        for name, info in tensors.items()
        if names.places(name, info.shape)
    }
    known = {name: identify(name, i.shape) for name, i in tensors.items() if name not in placed}
    known = _one_tower_needs_no_prefix(_gates_told_by_shape(known, tensors))
    found = known | placed
    _check_places(found, placed)
    return {name: found[name] for name in tensors}


def _check_places(roles: Mapping[str, Role | Skip], placed: Container[str]) -> None:
    """Raise if a pattern of the user puts a tensor where another is."""
    there: dict[tuple[int, str, int | None], str] = {}
    for name, role in roles.items():
        if isinstance(role, Role):
            first = there.setdefault((role.layer, role.component, role.expert), name)
            if first != name and (name in placed or first in placed):
                raise ValueError(
                    f"`names` must give each matrix a place of its own, but "
                    f"`{shortened(first, 200)}` and `{shortened(name, 200)}` would both be layer "
                    f"{role.layer} of {role.component!r}. Give them different components, or "
                    r"find the layer with `re:...(?P<layer>\d+)...`."
                )


def _with_parts(
    tensors: list[WeightTensor], checkpoint: Checkpoint, *, whole: bool
) -> tuple[list[WeightTensor], list[dict[str, Any]]]:
    """Put parts in the place of fused matrices, or beside the `whole`; note what stays whole."""
    taken = {(tensor.role.layer, tensor.role.component) for tensor in tensors}
    found: list[WeightTensor] = []
    kept: Counter[tuple[str, str]] = Counter()
    for tensor in tensors:
        parts = _parts(tensor, checkpoint, taken) if is_fused(tensor.role.component) else []
        if isinstance(parts, str):
            kept[tensor.role.component, parts] += 1
            parts = []
        found += [tensor, *parts] if whole or not parts else parts
    notes = [
        f"{component} is kept as one matrix in {number:,} tensor{'s'[: number > 1]}: {reason}"
        for (component, reason), number in kept.items()
    ]
    return found, [note(text) for text in notes]


def _parts(
    tensor: WeightTensor, checkpoint: Checkpoint, taken: set[tuple[int, str]]
) -> list[WeightTensor] | str:
    """Give the parts of a fused tensor, or why it stays whole."""
    info, role = tensor.info, tensor.role
    if tensor.status not in COUNTED:
        return f"its status is {tensor.status}"
    layout = layout_of(info.name, role, info.shape, checkpoint.config)
    if isinstance(layout, str):
        return layout
    if hasattr(checkpoint.tensor(info.name), "device_mesh"):
        return "it is spread over processes"
    parts = [
        replace(
            tensor,
            role=replace(role, component=part.component, transposed=part.transposed),
            part=part,
        )
        for part in layout
    ]
    for part in parts:
        if (role.layer, part.role.component) in taken:
            return f"the layer has a {part.role.component} of its own"
        if min(part.features) < 2 or part.features[0] * part.features[1] < MINIMUM_WEIGHTS:
            return f"its {part.role.component} would be {part.features[0]} x {part.features[1]}"
    return parts


def note(text: str) -> dict[str, Any]:
    """Say something of a checkpoint where its tensors that are not fitted are listed."""
    return {"tensor": "", "shape": [], "dtype": "", "reason": text}


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


def _gates_told_by_shape(
    roles: dict[str, Role | Skip], tensors: Mapping[str, TensorInfo]
) -> dict[str, Role | Skip]:
    """Call an ``up_proj`` with twice the outputs that ``down_proj`` takes a ``gate_up_proj``.

    Megatron-Core's ``linear_fc1``, GGUF's ``ffn_up`` of Phi 3 and diffusers' ``ff.net.0.proj`` may
    hold the gate as well, and their names do not tell. All layers must agree.
    """
    features: dict[str, dict[tuple[int, int | None], tuple[int, ...]]] = {}
    for name, role in roles.items():
        if isinstance(role, Role):
            stored = tensors[name].shape[-2:]
            of_component = features.setdefault(role.component, {})
            of_component[role.layer, role.expert] = stored[::-1] if role.transposed else stored
    gated = {component for component in features if _has_a_gate(component, features)}
    return {
        name: replace(role, component=f"{role.component.removesuffix('up_proj')}gate_up_proj")
        if isinstance(role, Role) and role.component in gated
        else role
        for name, role in roles.items()
    }


def _has_a_gate(
    component: str, features: Mapping[str, Mapping[tuple[int, int | None], tuple[int, ...]]]
) -> bool:
    """Whether an ``up_proj`` holds a gate as well, by its (outputs, inputs) in all layers."""
    prefix, dot, word = component.rpartition(".")
    downs = features.get(f"{prefix}{dot}down_proj", {})
    if word != "up_proj" or f"{prefix}{dot}gate_proj" in features:
        return False
    ups = features[component]
    return ups.keys() == downs.keys() and all(ups[at][0] == 2 * downs[at][1] for at in ups)


def _shape_problem(info: TensorInfo, role: Role) -> str:
    """Say why matrices of this shape have no place in a Dataset; nothing if they do."""
    rows, cols = info.shape[-2:]
    if max(rows, cols) > LARGEST_SIDE:
        return f"a side of its matrix is longer than {LARGEST_SIDE:,}"
    if role.stacked and rows * cols < MINIMUM_WEIGHTS:
        return f"its experts have {rows * cols} weights each, at least {MINIMUM_WEIGHTS} are fitted"
    return ""


def _initial_status(info: TensorInfo, checkpoint: Checkpoint) -> Status:
    """Tell from its format whether a tensor can be counted."""
    if info.dtype in FORMATS:
        stem = info.name.removesuffix(".weight")
        scales = (f"{info.name}_scale_inv", f"{info.name}_scale", f"{stem}.scale")
        return "scaled" if any(name in checkpoint.tensors for name in scales) else "ok"
    packed = info.dtype in _INTEGERS or is_quantised(info.dtype)
    return "quantized" if packed else "unsupported_dtype"
