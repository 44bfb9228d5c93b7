"""Is this checkpoint healthy: the rules of `weibnb.check`, and their verdict on fits."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from weibnb.diagnostics.findings import Check, Finding, NotLookedAt, ordered
from weibnb.diagnostics.rules import copies, layers, lines, models, values
from weibnb.diagnostics.rules.material import Material
from weibnb.fits.schema import DIMS, SAMPLING, partly_read, prepare
from weibnb.messages import counted, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import xarray as xr

    from weibnb.diagnostics.findings import Cell, Severity
    from weibnb.diagnostics.rules.material import Pooled, Reader

    Find: TypeAlias = Callable[[Material], Iterator[Finding | NotLookedAt]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by its name: how bad what it finds is, what it looks for, and how."""

    name: str
    severity: Severity
    about: str
    find: Find


_ALL = (
    Rule("unreadable", "error", "a tensor or a checkpoint could not be read", values.unreadable),
    Rule("nonfinite", "error", "NaN or infinite weights", values.nonfinite),
    Rule("all-zero", "error", "every weight is zero", values.all_zero),
    Rule("constant", "error", "all weights have one magnitude", values.constant),
    Rule("runaway", "error", "a few weights by far larger than all others", values.runaway),
    Rule("layer-gap", "error", "layers are not there", models.layer_gap),
    Rule("missing-tensors", "error", "a layer lacks a matrix", models.missing_tensors),
    Rule("shape-conflict", "error", "shapes contradict each other", models.shape_conflict),
    Rule("mixed-shards", "error", "files of different origin", models.shards_of_different_origin),
    Rule("same-matrix", "warning", "the same matrix twice", copies.same_matrix),
    Rule("dead-lines", "warning", "rows or columns of zeros", lines.dead_lines),
    Rule("nearly-dead-lines", "warning", "rows or columns near zero", lines.nearly_dead_lines),
    Rule("huge-lines", "warning", "rows or columns by far larger than others", lines.huge_lines),
    Rule("saturation", "warning", "weights at the format's largest", values.saturation),
    Rule("clipping", "warning", "weights cut off at one magnitude", values.clipping),
    Rule("underflow", "warning", "weights below the format's normal numbers", values.underflow),
    Rule("comb", "warning", "few distinct magnitudes", values.comb),
    Rule("untrained", "warning", "weights as they were drawn", layers.untrained),
    Rule("far-layer", "warning", "a layer far from its neighbours", layers.far_layer),
    Rule("sparse-layer", "warning", "zeros that other layers do not have", layers.sparse_layer),
    Rule("outliers", "note", "weights far beyond the body", layers.outliers),
    Rule("not-fitted", "note", "matrices without an estimate", models.not_fitted),
    Rule("mixed-formats", "note", "several storage formats", models.mixed_formats),
    Rule("adapters", "note", "adapters that are not merged", models.adapters),
)
# Rules on what a part of the rows does not tell of the others.
_OF_ALL_ROWS = (
    "nonfinite", "runaway", "same-matrix", "dead-lines", "nearly-dead-lines", "huge-lines",
    "saturation", "clipping", "untrained", "outliers",
)  # fmt: skip
#: The rules by name, worst first.
RULES = MappingProxyType({rule.name: rule for rule in _ALL})


def check_fits(
    fits: xr.Dataset,
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    baseline: xr.Dataset | None = None,
    reader: Reader | None = None,
    pooled: Pooled | None = None,
) -> Check:
    """Judge fits by the rules; `weibnb.check` is the door to it.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    select, ignore : iterable of str
        Names of `RULES` to go by alone, or to leave out.
    baseline : xarray.Dataset, optional
        Fits of the same model from before: what was there then is left out.
    reader : Reader, optional
        Who reads the weights again, where a rule needs them.
    pooled : Mapping, optional
        What `weibnb.diagnostics.rules.material.pool_estimates` says of `fits`, if it is known.

    Returns
    -------
    Check
        The findings, worst first.

    Raises
    ------
    TypeError, ValueError
        If `fits` or `baseline` is not a Dataset of fits of single matrices, a rule does not
        exist, or the baseline is of another model.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.zeros((20, 20))}})
    >>> [finding.rule for finding in check_fits(fits).findings]
    ['all-zero']
    """
    chosen = choose_rules(select, ignore)
    fits = _of_a_scan(fits)
    before: set[tuple[str, ...]] = set()
    if baseline is not None:
        baseline = _of_a_scan(baseline)
        _require_same_model(fits, baseline)
        before = {_key(one, baseline) for one in _run(Material(baseline), chosen)[0]}
    reader = None if bool(partly_read(fits).any()) else reader
    found, unseen = _run(Material(fits, reader, pooled), chosen)
    new = [one for one in found if not before or _key(one, fits) not in before]
    names = ", ".join(str(name) for name in fits["model"].values[:5])
    more = f" and {fits.sizes['model'] - 5:,} more" if fits.sizes["model"] > 5 else ""
    since = ", against the baseline" if baseline is not None else ""
    return Check(ordered(new, list(RULES)), tuple(unseen), f"{names}{more}{since}")


def _of_a_scan(fits: xr.Dataset) -> xr.Dataset:
    """Give fits all dims; ValueError for published medians, which are of no matrix."""
    fits = prepare(fits, dims=DIMS)
    for dim in ("layer", "step"):
        if fits[dim].dtype.kind not in "iu":
            label = str(fits[dim].values[0])
            raise ValueError(
                f"`fits` must number each {dim}, got {label!r}: published medians are of no "
                "matrix. Check fits from weibnb.scan."
            )
    return fits


def count_errors(fits: xr.Dataset) -> int:
    """Count the errors that fits alone tell of; counts are read for single experts alone."""
    errors = [rule for rule in _ALL if rule.severity == "error"]
    dense = not bool((fits["n_matrices"] > 1).any())
    fits = prepare(fits, light=dense, dims=DIMS, mixed_protocols=True)
    return len(_run(Material(fits), errors)[0])


def choose_rules(select: Iterable[str] | None, ignore: Iterable[str]) -> list[Rule]:
    """Give the rules that were asked for; ValueError for a name that there is not."""
    lists = {"select": None if select is None else _names(select), "ignore": _names(ignore)}
    for argument, names in lists.items():
        for name in names or ():
            if name not in RULES:
                raise unknown_name(argument, name, RULES)
    wanted, unwanted = lists["select"], lists["ignore"] or []
    return [
        rule
        for rule in _ALL
        if (wanted is None or rule.name in wanted) and rule.name not in unwanted
    ]


def _names(names: Iterable[str]) -> list[str]:
    """Take one name or several."""
    return [names] if isinstance(names, str) else list(names)


def _run(material: Material, rules: Iterable[Rule]) -> tuple[list[Finding], list[NotLookedAt]]:
    """Go by rules: what they found, and what they could not answer."""
    found: list[Finding] = []
    unseen: list[NotLookedAt] = []
    part = _read_in_part(material.fits)
    for rule in rules:
        if part and rule.name in _OF_ALL_ROWS:
            unseen.append(NotLookedAt(rule.name, part))
        for one in rule.find(material):
            if isinstance(one, Finding):
                found.append(one)
            elif one not in unseen:
                unseen.append(one)
    return found, unseen


def _read_in_part(fits: xr.Dataset) -> str:
    """Say how much of the matrices was read, if that is not all."""
    part = partly_read(fits)
    if not bool(part.any()):
        return ""
    matrices = counted(int(part.sum()), "matrix", "matrices")
    share = 100 * float(fits[SAMPLING[0]].where(part).mean())
    return f"{share:.2g} % of the rows of {matrices} were read; scan without sample or precision"


def _key(finding: Finding, fits: xr.Dataset) -> tuple[str, ...]:
    """Name a finding by rule and cells, without the label of a single model or step."""
    alone = fits.sizes["model"] == 1, fits.sizes["step"] == 1

    def place(cell: Cell) -> str:
        kept = ("" if alone[0] else cell.model, "" if alone[1] else cell.step, *cell[2:5])
        return repr(kept)

    return finding.rule, *map(place, finding.cells)


def _require_same_model(fits: xr.Dataset, baseline: xr.Dataset) -> None:
    """Raise ValueError unless most matrices of a baseline have a place and shape in the fits."""
    matrices, before = _shapes(fits), _shapes(baseline)
    if not before or len(matrices & before) < 0.5 * len(before):
        names = [", ".join(map(str, one["model"].values[:3])) for one in (fits, baseline)]
        raise ValueError(
            f"`baseline` must be of the same model: {len(matrices & before):,} of its "
            f"{len(before):,} matrices are in {names[0]!r} with the same shape, got {names[1]!r}. "
            "Scan an earlier checkpoint of it for a baseline."
        )


def _shapes(fits: xr.Dataset) -> set[tuple[int, str, int, int]]:
    """Give layer, component and shape of all matrices."""
    return {
        (int(m.cell.layer or 0), m.cell.component, m.rows, m.cols)
        for m in Material(fits.drop_vars("counts", errors="ignore")).matrices
    }
