"""The same matrix twice: equal counts, and equal bits where somebody can read them."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING, Any

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.messages import grouped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weibnb.diagnostics.rules.material import Material

    Found = Iterator[Finding | NotLookedAt]
    Checkpoint = tuple[str, int]
    # What equal matrices have in common: the digest of their counts, and their sides.
    _Content = tuple[bytes, int, int]

#: Chance, of all pairs looked at together, that two matrices have equal counts by accident.
ACCIDENT = 1e-6
#: Most matrices that are read again to see whether their bits are equal.
READ_AGAIN = 64


def same_matrix(material: Material) -> Found:
    """Matrices with equal counts: in a checkpoint, or in two checkpoints."""
    if "counts" not in material.fits:
        yield NotLookedAt("same-matrix", "the fits hold no counts; scan with keep_counts=True")
        return
    by_content = _by_content(material)
    groups = [cells for cells in by_content.values() if len(cells) > 1]
    digests = _digests(material, groups)
    if groups and not digests:
        yield NotLookedAt("same-matrix", "whether equal counts are equal bits needs the weights")
    whole = _whole(by_content)
    yield from _whole_checkpoints(whole, material.starts, _fingerprints(material))
    for cells in groups:
        for several in _by_checkpoint(cells).values():
            if len(several) > 1:
                yield _within(several, digests)
    yield from _between(groups, whole, material.starts)


def _by_checkpoint(cells: list[Cell]) -> dict[Checkpoint, list[Cell]]:
    """Sort matrices by the checkpoint that they are in."""
    places: dict[Checkpoint, list[Cell]] = defaultdict(list)
    for cell in cells:
        places[_checkpoint(cell)].append(cell)
    return places


def _between(
    groups: list[list[Cell]], whole: Mapping[Checkpoint, frozenset[Any]], starts: set[Checkpoint]
) -> Iterator[Finding]:
    """Tell of matrices that another checkpoint has in the same place, unless it has them all."""
    found: dict[tuple[Checkpoint, Checkpoint], list[Cell]] = defaultdict(list)
    for cells in groups:
        places = _by_checkpoint(cells)
        first = next(iter(places))
        there = {cell[2:5] for cell in places[first]}
        for second in list(places)[1:]:
            same_seed = {first, second} <= starts
            same_file = first in whole and whole[first] == whole.get(second)
            if not same_seed and not same_file:
                found[first, second] += [cell for cell in places[second] if cell[2:5] in there]
    for (first, _), cells in found.items():
        if cells:
            yield _unchanged(first, cells)


def _by_content(material: Material) -> dict[_Content, list[Cell]]:
    """Group the matrices whose counts cannot be equal by accident."""
    pairs = max(math.comb(len(material.matrices), 2), 1)
    found: dict[_Content, list[Cell]] = defaultdict(list)
    for matrix in material.matrices:
        facts = matrix.facts
        if facts is not None and facts.ln_chance < math.log(ACCIDENT / pairs):
            sides = min(matrix.rows, matrix.cols), max(matrix.rows, matrix.cols)
            found[facts.digest, *sides].append(matrix.cell)
    return found


def _checkpoint(cell: Cell) -> Checkpoint:
    return cell.model, int(cell.step or 0)


def _digests(material: Material, groups: list[list[Cell]]) -> Mapping[Cell, str]:
    """Read some of the candidates again, if there is anybody to."""
    if material.reader is None or not groups:
        return {}
    wanted = [cell for cells in groups for cell in cells][:READ_AGAIN]
    return material.reader.digests(wanted)


def _whole(by_content: Mapping[_Content, list[Cell]]) -> dict[Checkpoint, frozenset[Any]]:
    """Describe every checkpoint by all its matrices, and keep those that another equals."""
    content: dict[Checkpoint, set[Any]] = defaultdict(set)
    for key, cells in by_content.items():
        for cell in cells:
            content[_checkpoint(cell)].add((cell[2:5], key))
    frozen = {place: frozenset(matrices) for place, matrices in content.items()}
    number: dict[frozenset[Any], int] = defaultdict(int)
    for matrices in frozen.values():
        number[matrices] += 1
    return {place: matrices for place, matrices in frozen.items() if number[matrices] > 1}


def _fingerprints(material: Material) -> dict[Checkpoint, str]:
    """Give the fingerprints of files; of what was never one it says nothing of the weights."""
    fits = material.fits
    if "fingerprint" not in fits or "source" not in fits:
        return {}
    prints, sources = fits["fingerprint"], fits["source"]
    found: dict[Checkpoint, str] = {}
    for model, step in product(fits["model"].values.tolist(), fits["step"].values.tolist()):
        at = {d: v for d, v in (("model", model), ("step", step)) if d in prints.dims}
        text = str(prints.sel(at).item())
        if text and set(str(sources.sel(at).item())) & set("/\\."):
            found[model, int(step)] = text
    return found


def _whole_checkpoints(
    whole: Mapping[Checkpoint, frozenset[Any]],
    starts: set[Checkpoint],
    fingerprints: Mapping[Checkpoint, str],
) -> Iterator[Finding]:
    """Tell of checkpoints all of whose matrices are equal, but for starts from one seed."""
    groups: dict[frozenset[Any], list[Checkpoint]] = defaultdict(list)
    for place, matrices in whole.items():
        groups[matrices].append(place)
    for matrices, places in groups.items():
        if starts.issuperset(places):
            continue
        cells = tuple(Cell(model, step) for model, step in places)
        models = {model for model, _ in places}
        names = [
            ("" if len(models) == 1 else f"{model} ") + f"step {grouped(step)}"
            for model, step in places
        ]
        told = f"hold the same {len(matrices):,} matrices"
        if len({fingerprints.get(place, str(place)) for place in places}) == 1:
            told = "are the same file"
        text = f"{' and '.join(names)} {told}."
        step = "Look where they were written: one was saved twice, or copied over the other."
        yield Finding("same-matrix", "warning", cells, len(places), 1, text, step)


def _within(cells: list[Cell], digests: Mapping[Cell, str]) -> Finding:
    """Tell of equal matrices in one checkpoint."""
    first, second = cells[:2]
    read = [digests[cell] for cell in cells[:2] if cell in digests]
    how = "the same weights, bit by bit"
    if len(read) < 2:
        how = "the same magnitudes, each as often"
    elif read[0] != read[1]:
        how = "the same magnitudes, in another order or with other signs"
    also = f" and {len(cells) - 2:,} more" if len(cells) > 2 else ""
    text = f"it is {_short(second, first)}{also}: {how}."
    step = "Unless layers share their weights, load and convert the model again."
    return Finding("same-matrix", "warning", tuple(cells), len(cells), 1, text, step)


def _short(cell: Cell, other: Cell) -> str:
    """Name a matrix by what it does not share with another of its checkpoint."""
    parts = [f"layer {cell.layer}"] if cell.layer != other.layer else []
    parts += [cell.component] if cell.component != other.component else []
    parts += [f"expert {cell.expert}"] if cell.expert != other.expert else []
    return ", ".join(parts)


def _unchanged(first: Checkpoint, cells: list[Cell]) -> Finding:
    """Tell of matrices that another checkpoint has as well."""
    same_model = first[0] == cells[0].model
    where = f"step {grouped(first[1])}" if same_model else f"{first[0]}, step {grouped(first[1])}"
    number = f"{len(cells):,} matrices are" if len(cells) > 1 else "it is"
    text = f"{number} the same as in {where}."
    step = "If they were not frozen, see whether the optimiser held them."
    return Finding("same-matrix", "warning", tuple(cells), len(cells), 0, text, step)
