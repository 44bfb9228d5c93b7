"""Rules on what belongs together: layers, shapes, files, formats, adapters, pieces left out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.diagnostics.rules import others
from weibnb.diagnostics.rules.configuration import contradictions
from weibnb.diagnostics.rules.material import layer_in
from weibnb.messages import counted, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.diagnostics.rules.material import Material, Matrix

    Found = Iterator[Finding | NotLookedAt]
    Checkpoint = tuple[str, int]
    #: Matrices of a layer by their component without prefix.
    Layer = dict[str, Matrix]

#: Status words of matrices that are neither fitted nor reported by another rule.
NOT_FITTED = (
    "too_few", "degenerate", "no_convergence", "subnormal", "no_finite", "empty", "quantized",
    "unsupported_dtype", "pending",
)  # fmt: skip
#: Share of the layers that must agree on the width of the residual stream, to call others odd.
AGREEING = 0.9
_WITHIN_A_LAYER = ("cross", "shared_expert")
# Matrices that cannot do without each other: where one is, and the other is in other layers.
_PARTNERS = (
    ("q_proj", "o_proj"), ("qkv_proj", "o_proj"), ("up_proj", "down_proj"),
    ("gate_proj", "up_proj"), ("gate_up_proj", "down_proj"),
)  # fmt: skip
# Matrices of a layer, and how many times as many weights the first has; 0: as many input features.
_JOINED = (
    ("k_proj", "v_proj", 0), ("q_proj", "k_proj", 0), ("gate_proj", "up_proj", 1),
    ("up_proj", "down_proj", 1), ("gate_proj", "down_proj", 1), ("gate_up_proj", "down_proj", 2),
)  # fmt: skip
# What takes the residual stream, or adds to it, and so has its width.
_INPUTS = ("qkv_proj", "q_proj", "gate_up_proj", "gate_proj", "up_proj")
_OUTPUTS = ("o_proj", "down_proj")
_NUMBERED = re.compile(r"(.*)-0*([0-9]{1,6})-of-0*([0-9]{1,6})(\.\w+)")
_DOWNLOAD = "Download or copy the checkpoint again, and see that its index is its own."


def layer_gap(material: Material) -> Found:
    """Layers that are not there, though those after them are or config.json counts them."""
    promised = dict(zip(material.models, _coordinate(material, "n_layers"), strict=True))
    foreign = _of_no_family(material)
    for place in material.by_checkpoint:
        strangers = _strangers(material, place)
        mentioned = {layer_in(entry["tensor"]) for entry in strangers}
        # where the layers of two stacks have the same numbers, config.json may count both
        stacked = any("taken by" in entry["reason"] for entry in strangers)
        for tower, layers in _towers(material, place).items():
            numbered = [
                number
                for number, layer in layers.items()
                if any(matrix.cell.component not in foreign for matrix in layer.values())
            ]  # those of names that no family has need not follow each other
            if not numbered:
                continue
            last = max(numbered)
            if tower == "" and not stacked and promised[place[0]] < 1e6:
                last = max(last, int(promised[place[0]]) - 1)
            first = last if len(numbered) == 1 and last == numbered[0] else 0
            missing = [n for n in _below(last, first) if n not in layers and n not in mentioned]
            if missing:
                cells = tuple(Cell(*place, number, tower) for number in missing)
                text = f"{_ranges(missing)} {'is' if len(missing) == 1 else 'are'} not there."
                yield Finding("layer-gap", "error", cells, len(missing), 0, text, _DOWNLOAD)


def _of_no_family(material: Material) -> set[str]:
    """Give the components that no family of models has: routers, and names of the user's own."""
    if "weight_class" not in material.fits.coords:
        return set()
    classes = material.fits["weight_class"]
    return {str(name) for name in classes["component"].values[classes.values == "other"]}


def _below(last: int, first: int) -> range:
    """Count the layers that may be missing; none where the numbers are no model's."""
    return range(first, last + 1 if last < 100_000 else first)


def missing_tensors(material: Material) -> Found:
    """Matrices that a layer lacks beside their partner, which other layers have with it."""
    for place in material.by_checkpoint:
        strangers = {layer_in(entry["tensor"]) for entry in _strangers(material, place)}
        for tower, layers in _towers(material, place).items():
            # the last layer of a diffusion transformer only reads the text's stream
            reads_only = max(layers) if tower == "context" else None
            for one, other in (*_PARTNERS, *(pair[::-1] for pair in _PARTNERS)):
                both = [n for n, layer in layers.items() if one in layer and other in layer]
                alone = [
                    n
                    for n, layer in layers.items()
                    if one in layer
                    and n not in strangers
                    and n != reads_only
                    and not _has_instead(layer, other)
                ]
                if both and alone:
                    name = f"{tower}.{other}" if tower else other
                    cells = tuple(Cell(*place, number, name) for number in alone)
                    text = f"{name} is missing, which other layers have beside {one}."
                    value = len(alone)
                    yield Finding("missing-tensors", "error", cells, value, 0, text, _DOWNLOAD)
    yield from others.missing(material)


def _has_instead(layer: Layer, component: str) -> bool:
    """Whether a layer has a component, or one that holds or replaces it."""
    instead = {
        "q_proj": ("qkv_proj", "q_b_proj", "q_a_proj"),
        "qkv_proj": ("q_proj", "k_proj", "kv_proj"),
        "up_proj": ("gate_up_proj",),
        "gate_proj": ("gate_up_proj",),
        "gate_up_proj": ("gate_proj", "up_proj"),
    }
    return component in layer or any(name in layer for name in instead.get(component, ()))


def _strangers(material: Material, place: Checkpoint) -> list[dict[str, Any]]:
    """Give the tensors of a checkpoint that may do a matrix's work, but are not recognised."""
    words = ("unrecognised", "quantized", "not_a_matrix", "convolution")
    entries = material.left_out.get(place, [])
    there = [entry for entry in entries if 0 not in entry["shape"]]
    return [e for e in there if e["reason"] in words or "taken by" in e["reason"]]


def shape_conflict(material: Material) -> Found:
    """Matrices of a layer, layers of a tower, or a configuration whose widths cannot be joined."""
    step = "See that all files and config.json are of one model."
    for place in material.by_checkpoint:
        for tower, layers in _towers(material, place).items():
            for pair, text in _conflicts(layers):
                cells = tuple(matrix.cell for matrix in pair)
                yield Finding("shape-conflict", "error", cells, 1, 0, text, step)
            for matrix, width, usual, verb in _odd_widths(layers):
                text = f"it {verb}s {width:,} features, the other layers {verb} {usual:,}."
                yield Finding("shape-conflict", "error", (matrix.cell,), width, usual, text, step)
            if tower == "":
                strange = {layer_in(entry["tensor"]) for entry in _strangers(material, place)}
                yield from contradictions(material, place, layers, strange)


def _conflicts(layers: dict[int, Layer]) -> Iterator[tuple[tuple[Matrix, Matrix], str]]:
    """Compare matrices of a layer that work together; what most layers do is no contradiction."""
    for one, other, times in _JOINED:
        pairs = [
            (layer[one], layer[other])
            for layer in layers.values()
            if one in layer and other in layer and min(layer[one].rows, layer[other].rows) > 0
        ]
        odd = [pair for pair in pairs if not _can_be_joined(*pair, times)]
        if 2 * len(odd) <= len(pairs):
            for a, b in odd:
                shapes = f"{a.rows:,} × {a.cols:,} beside {other} of {b.rows:,} × {b.cols:,}"
                yield (a, b), f"{one} of {shapes} cannot be joined."


def _can_be_joined(a: Matrix, b: Matrix, times: int) -> bool:
    """Whether two matrices have a width in common, and as many weights as they should."""
    if times == 0:
        return a.cols == b.cols
    one, other = {a.rows, a.cols}, {b.rows, b.cols}  # whichever way round experts are stored
    return a.rows * a.cols == times * b.rows * b.cols and bool(one & other)


def _odd_widths(layers: dict[int, Layer]) -> Iterator[tuple[Matrix, int, int, str]]:
    """Give matrices whose side along the residual stream is not that of nearly all others."""
    for names, side, verb in ((_INPUTS, "cols", "take"), (_OUTPUTS, "rows", "give")):
        for name in names:
            widths = [
                (layer[name], int(getattr(layer[name], side)))
                for layer in layers.values()
                if name in layer
            ]
            ((usual, number), *others) = Counter(w for _, w in widths).most_common() or [(0, 0)]
            if others and number >= max(AGREEING * len(widths), 2):
                yield from ((m, width, usual, verb) for m, width in widths if width != usual)


def shards_of_different_origin(material: Material) -> Found:
    """Files of one checkpoint that count themselves, or describe themselves, differently."""
    if material.reader is None:
        yield NotLookedAt("mixed-shards", "needs the files; check the checkpoint itself")
        return
    sources = material.about("source")
    for place, files in material.files.items():
        chosen = len(files) == 1 and sources.get(place, "").endswith(files[0][0])
        numbered = [_NUMBERED.fullmatch(name) for name, _ in files]
        counts = {(match[1], int(match[3])) for match in numbered if match}
        problem = ""
        if len(counts) > 1 or (counts and not all(numbered)):
            names = ", ".join(shortened(name) for name, _ in files[:4])
            problem = f"its files count themselves differently: {names}."
        elif len(counts) == 1 and not chosen and next(iter(counts))[1] != len(files):
            problem = f"it has {counted(len(files), 'file')} of {next(iter(counts))[1]:,}."
        described = {(about.get("format"), *sorted(about)) for _, about in files}
        if not problem and len(described) > 1:
            problem = "its files have different metadata in their headers, as of different writers."
        if chosen and counts and next(iter(counts))[1] > 1:
            number = next(iter(counts))[1]
            yield NotLookedAt("mixed-shards", f"one file of {number:,}; check the directory")
        if problem:
            cells = (Cell(*place),)
            yield Finding("mixed-shards", "error", cells, len(files), 1, problem, _DOWNLOAD)


def mixed_formats(material: Material) -> Found:
    """Checkpoints whose matrices are stored in several formats."""
    for place in material.by_checkpoint:
        formats: dict[str, list[Cell]] = defaultdict(list)
        for matrix in material.by_checkpoint[place]:
            if matrix.dtype:
                formats[matrix.dtype].append(matrix.cell)
        if len(formats) > 1:
            parts = sorted(formats.items(), key=lambda item: -len(item[1]))
            text = (
                ", ".join(
                    f"{counted(len(cells), 'matrix', 'matrices')} in {name}"
                    for name, cells in parts
                )
                + "."
            )
            cells = tuple(cell for _, rest in parts[1:] for cell in rest)
            step = "Rounding differs between them: compare layers of one format."
            yield Finding("mixed-formats", "note", cells, len(formats), 1, text, step)


def adapters(material: Material) -> Found:
    """Checkpoints with low-rank factors, or another adapter, beside the base weights."""
    step = "Merge them first: model.merge_and_unload()."
    for place, entries in material.left_out.items():
        found = [entry["tensor"] for entry in entries if entry["reason"] == "lora"]
        noted = any(not e["tensor"] and "merge_and_unload" in e["reason"] for e in entries)
        if noted and not found:
            text = "an adapter is not merged: the fits are of the base weights."
            yield Finding("adapters", "note", (Cell(*place),), 1, 0, text, step)
        if found:
            cells = tuple(Cell(*place, layer_in(name), tensor=name) for name in found)
            tensors = counted(len(found), "adapter tensor")
            text = f"{tensors} not merged: the fits are of the base weights."
            yield Finding("adapters", "note", cells, len(found), 0, text, step)


def not_fitted(material: Material) -> Found:
    """Matrices without an estimate that no other rule tells of, and tensors that nobody knows."""
    step = (
        "weibnb.not_fitted(fits) lists all tensors with their reasons; those that no family knows "
        "are placed by weibnb.scan(..., names={pattern: component})."
    )
    for matrix in material.matrices:
        if matrix.status in NOT_FITTED:
            text = f"not fitted: {matrix.status}."
            yield Finding("not-fitted", "note", (matrix.cell,), 1, 0, text, step)
    for place, entries in material.left_out.items():
        found = [e["tensor"] for e in entries if e["reason"] in ("unrecognised", "quantized")]
        if found:
            cells = tuple(Cell(*place, layer_in(name), tensor=name) for name in found)
            text = f"{counted(len(found), 'tensor')} not fitted that may hold matrices."
            yield Finding("not-fitted", "note", cells, len(found), 0, text, step)


def _towers(material: Material, place: Checkpoint) -> dict[str, dict[int, Layer]]:
    """Sort the matrices of a checkpoint by tower and layer; of experts the first stands for all."""
    towers: dict[str, dict[int, Layer]] = defaultdict(lambda: defaultdict(dict))
    for matrix in material.by_checkpoint[place]:
        words = matrix.cell.component.split(".")
        tower = ".".join(word for word in words[:-1] if word not in _WITHIN_A_LAYER)
        within = ".".join([*(word for word in words[:-1] if word in _WITHIN_A_LAYER), words[-1]])
        towers[tower][int(matrix.cell.layer or 0)].setdefault(within, matrix)
    return towers


def _coordinate(material: Material, name: str) -> list[float]:
    """Give a number of every model from its config.json."""
    if name not in material.fits.coords:
        return [float("nan")] * len(material.models)
    values = material.fits[name].values.reshape(-1).tolist()
    return [float(value) for value in values]


def _ranges(numbers: list[int]) -> str:
    """Write numbers as ranges.

    Examples
    --------
    >>> _ranges([1, 4, 5, 6])
    'layer 1, 4-6'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    shown = [f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts[:8]]
    return f"layer {', '.join(shown)}" + (", ..." if len(parts) > 8 else "")
