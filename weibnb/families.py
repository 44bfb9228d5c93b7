"""Which distribution |w| follows, and whether it is one population or two, from the counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import xarray as xr

from weibnb import _mixture as loops
from weibnb._distributions import WEIBULL, maximise
from weibnb._families import DIVERGENCE, KS, LIKELIHOOD, LOG_SCALE, LOG_SHAPE, rank_rows, starts
from weibnb.counting import count_magnitudes
from weibnb.dataset import validate
from weibnb.fit import MINIMUM_WEIGHTS
from weibnb.histogram import (
    INTERVAL_MASK,
    INTERVAL_WIDTH,
    Counts,
    label_values,
    usable_cores,
)
from weibnb.weibull import check_protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_Result = TypeVar("_Result")
Family = Literal[
    "weibull", "half_normal", "lognormal", "gamma", "generalised_gaussian", "student_t"
]
#: Families of |w| that are compared, in the order of the compiled codes.
FAMILIES: tuple[Family, ...] = get_args(Family)
_PARAMETERS = np.array([1 if name == "half_normal" else 2 for name in FAMILIES])
_RANKED = (
    "rank",
    "shape",
    "scale",
    "parameters",
    "delta_bic",
    "delta_aic",
    "log_likelihood",
    "divergence",
    "ks",
)
# A status with which a matrix has counts.
_FITTED = ("ok", "nonfinite", "scaled", "partial")
_MANTISSA_BITS = 10
# Below it a float64 is taken for zero: its neighbours' logarithms lose their precision.
_LEAST = 1e-290
# Windows of ln|w| in which a notch is sought, and the share of weights below all of them.
_WINDOW, _SKIP = 0.35, 0.002
# Standard errors that a notch must exceed: it is the deepest of some thousands that are tried.
_ERRORS = 5.0
#: Least depth of the notch, in nats, and least share of either population for a verdict of two.
LEAST_SEPARATION, LEAST_SHARE = 0.1, 0.02
_EM_ROUNDS, _EM_TOLERANCE = 200, 1e-9
# Counts loaded at once, and matrices that a thread takes at once.
_CHUNK_BYTES, _BATCH = 1 << 26, 64


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Counts of one matrix for the search for populations: bins, and some 200 groups."""

    edges: Array
    mass: Array
    floor: float
    bin_edges: Array
    bin_counts: Array

    @property
    def n(self) -> float:
        return float(self.mass.sum())

    @property
    def share(self) -> Array:
        share: Array = self.mass / self.n
        return share

    @property
    def centres(self) -> Array:
        return (self.edges[1:] + self.edges[:-1]) / 2


def _bins(labels: NDArray[Any], *, exact: bool) -> tuple[Array, Array, float]:
    """Lower and upper edge of occupied bins, and the magnitude below which all rounds to zero.

    A value stands for what rounds to it. Its format is read off the values themselves, so that
    upcast weights are treated as what they were: the fewest mantissa bits and the coarsest
    absolute grid (that of the subnormal numbers) which hold all of them.
    """
    value = label_values(labels)
    if not exact:
        return value, label_values(labels + INTERVAL_WIDTH), 0.0
    mantissa = labels.astype(np.int64) & ((1 << _MANTISSA_BITS) - 1)
    octave: Array = np.ldexp(1.0, (labels >> _MANTISSA_BITS).astype(np.int64) - 1023)
    every = int(np.bitwise_or.reduce(mantissa)) | 1 << _MANTISSA_BITS
    relative = (every & -every) / (1 << _MANTISSA_BITS)
    whole = mantissa | 1 << _MANTISSA_BITS
    quantum = float(((whole & -whole) * octave).min()) / (1 << _MANTISSA_BITS)
    above = np.maximum(octave * relative, quantum)
    below = np.maximum(np.where(mantissa == 0, octave / 2, octave) * relative, quantum)
    return value - below / 2, value + above / 2, quantum / 2


def _group(labels: NDArray[Any], counts: NDArray[Any], *, exact: bool) -> _Grouped | None:
    """Group the counts of one matrix; None if there are too few to fit."""
    occupied = (counts > 0) & (label_values(labels) > _LEAST)
    labels, weights = labels[occupied], counts[occupied].astype(np.float64)
    if not exact and (labels & ~INTERVAL_MASK).any():
        labels, place = np.unique(labels & INTERVAL_MASK, return_inverse=True)
        weights = np.bincount(place, weights).astype(np.float64)
    if weights.size < 3 or weights.sum() < MINIMUM_WEIGHTS:
        return None
    low, high, floor = _bins(labels, exact=exact)
    begin, end = (label_values(labels),) * 2 if exact else (low, high)
    middle = (end[:-1] + begin[1:]) / 2
    lowest = max(begin[0] - (middle[0] - end[0]), end[0] / 2)
    with np.errstate(divide="ignore"):
        edges, mass = loops.group(low, high, weights)
        bin_edges = np.log(np.concatenate([[lowest], middle, high[-1:]]))
        return _Grouped(edges, mass, float(np.log(floor)), bin_edges, weights)


@dataclass(frozen=True, slots=True)
class _Row:
    """One matrix (or pooled experts) of a Dataset: its place, and its counts or why it has none."""

    place: tuple[int, ...]
    status: str
    grouped: _Grouped | None


def _counts_of(fits: xr.Dataset) -> tuple[xr.DataArray, bool]:
    """Give the counts, and whether their experts are pooled in one cell."""
    if "counts" not in fits:
        raise ValueError(
            "`fits` must hold the magnitude counts; scan with keep_counts=True (the default)."
        )
    return fits["counts"], "expert" in fits["counts"].dims and "expert" not in fits["status"].dims


def _rows(fits: xr.Dataset) -> Iterator[list[_Row]]:
    """Yield the matrices of a Dataset, those of one model and layer at a time."""
    counts, pooled = _counts_of(fits)
    labels = fits["bin"].values.astype(np.int64)
    for part in np.ndindex(counts.shape[:2]):
        place = dict(zip(counts.dims, part, strict=False))
        rows, exact = counts.isel(place).values, fits["counts_exact"].isel(place).values
        status = fits["status"].isel(place).values
        if pooled:
            exact = (exact | (rows.sum(-1) == 0)).all(-1)
            rows = rows.sum(-2, dtype=np.uint64)
        block = []
        for cell in np.ndindex(status.shape):
            grouped = _group(labels, rows[cell], exact=bool(exact[cell]))
            word = str(status[cell])
            if grouped is None and word in _FITTED:
                word = "too_few"
            block.append(_Row(part + cell, word, grouped))
        yield block


def _map_rows(
    fits: xr.Dataset, job: Callable[[_Grouped], _Result], workers: int | None
) -> Iterator[tuple[_Row, _Result | None]]:
    """Run `job` over the matrices of a Dataset on several threads, in order."""
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for block in _rows(fits):
            yield from zip(
                block,
                pool.map(lambda row: None if row.grouped is None else job(row.grouped), block),
                strict=True,
            )


@dataclass(frozen=True, slots=True)
class _Populations:
    """Two-component mixture of one matrix and what speaks for it."""

    parts: Array
    delta_bic: float
    separation: float
    boundary: float
    verdict: str


def _two_populations(grouped: _Grouped) -> _Populations:
    """Fit the mixture, look for a notch, and judge."""
    n, edges, share = grouped.n, grouped.edges, grouped.share
    table = loops.windows(grouped.bin_edges, grouped.bin_counts, _WINDOW, _SKIP)
    depth, place = loops.notch(table, n, LEAST_SHARE, _ERRORS)
    v, u = starts(edges, share)[WEIBULL]
    *_, one, found = maximise(WEIBULL, v, u, edges, share, -np.inf)
    split = place if depth > 0 else float(np.interp(0.3, np.cumsum(share), edges[1:]))
    x = grouped.centres
    parts = loops.mixture(x, share, split, _EM_ROUNDS, _EM_TOLERANCE)
    two = loops.mixture_likelihood(parts, edges, share)
    delta_bic = 2 * n * (two - one) - 3 * float(np.log(n)) if found else np.nan
    apart = depth > LEAST_SEPARATION and parts[:, 0].min() >= LEAST_SHARE and not delta_bic <= 0
    return _Populations(
        parts=np.column_stack([parts[:, :2], np.exp(parts[:, 2])]),
        delta_bic=delta_bic,
        separation=max(depth, 0.0),
        boundary=float(np.exp(place)) if depth > 0 else np.nan,
        verdict="two populations" if apart else "one population",
    )


def rank_families(
    fits: Any,
    *,
    families: Sequence[Family] = FAMILIES,
    by: Literal["cell", "class"] = "cell",
    trim: tuple[float, float] | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Rank families of distributions of |w| by their likelihood on the same counts.

    Parameters
    ----------
    fits : xarray.Dataset, Counts or array_like
        Fits with counts, the counts of one matrix, or its weights.
    families : sequence of str
        Some of `FAMILIES`; by default all six.
    by : {"cell", "class"}
        One table for each matrix, or one for each weight class (of one model and step).
    trim : tuple of float, optional
        Probability interval whose weights count one by one; those outside are censored on either
        side. By default all weights.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    pandas.DataFrame
        A row for each matrix (or class) and family, best first. By cell: ``rank`` (1 has the
        lowest BIC), ``shape``, ``scale``, the number of ``parameters``, ``delta_bic`` and
        ``delta_aic`` (above the best), ``log_likelihood`` (of the groups, nats a weight),
        ``divergence`` (of the counts from the family, nats a weight: what a better family could
        gain at most) and ``ks`` (over the trim of the fits, 10-90 % for a single matrix); with
        the coordinates, ``status`` and ``n`` for a Dataset. By class: ``matrices`` that are
        compared, ``best`` (how many a family is best for), the sum of ``delta_bic``, by which
        ``rank`` goes, and the medians of ``divergence`` and ``ks``. A matrix that cannot be
        fitted has one row without a family, and NaN; absent cells have none.

    Raises
    ------
    TypeError
        If `fits` is none of these.
    ValueError
        If the Dataset holds no counts, or an argument is not valid.

    Notes
    -----
    ================================  ==================  ===========================
    family                            ``shape``           ``scale`` (units of |w|)
    ================================  ==================  ===========================
    Weibull, exp(-(x/λ)^k) survives   k                   λ
    half-normal                       none                σ
    lognormal                         s, SD of ln|w|      exp(μ), the median
    gamma                             a                   θ
    generalised Gaussian,             β: 2 is Gaussian,   α
    density ~ exp(-(x/α)^β)           1 is Laplace
    Student's t, folded               ν                   s
    ================================  ==================  ===========================

    These are the parameters of ``scipy.stats`` weibull_min, halfnorm, lognorm, gamma, gennorm
    and t, with ``loc=0``.

    *Bin masses.* A stored value stands for the interval that rounds to it, up to the midpoints to
    the next representable values; the format is read off the values, so that weights upcast from
    16 bits are treated as such. An interval bin stands for itself. Magnitudes that round to zero
    are not counted, so the likelihood is conditional on being above them (matters for F8).

    *Grouping.* Bins are merged to some 80-150 groups, the same for all families: 2.5 % of the
    weights, towards either end a quarter of those beyond; an eighth of an octave wide at most from
    the first decile up and one octave below it; the eight largest values singly. Less than 1 % of
    what the weights say of the parameters is lost. The likelihood ``Σ c_j ln(F(b_j) - F(a_j))`` of
    the groups is exact, from distribution functions below the median and survival functions above
    it, as logarithms (no floor: right at 40 σ and beyond). Its maximum is found by Newton's method
    on masses from quadrature, and by a slower search on the exact ones wherever the two differ by
    10^-6 nats a weight.

    BIC is ``p ln n - 2 ln L``. It takes the weights for independent draws. With millions of
    weights a delta of thousands is usual and says that families can be told apart, not that the
    best one is good: see ``divergence`` and ``ks``. Experts of one cell are pooled, which fattens
    the tail where their scales differ; scan with ``experts="each"`` to rank each.

    ν is sought up to 10,000, β up to 100. The six families take 0.2-0.5 ms a matrix and core, up
    to 2 ms where millions of weights reach over tens of octaves.

    References
    ----------
    "It Takes a Good Model to Train a Good Model: Generalized Gaussian Priors for Optimized LLMs",
    arXiv:2506.00486. G. Schwarz, "Estimating the dimension of a model", Annals of Statistics 6
    (1978), doi:10.1214/aos/1176344136.

    Examples
    --------
    >>> table = rank_families(np.random.default_rng(0).standard_t(4, 100_000))
    >>> table["family"].iloc[0], round(float(table["shape"].iloc[0]))
    ('student_t', 4)
    """
    chosen = _check_families(families)
    if by not in ("cell", "class"):
        raise ValueError(f"`by` must be 'cell' or 'class', got {by!r}.")
    limits, _ = check_protocol(trim, "maximum_likelihood")
    if not isinstance(fits, xr.Dataset):
        if by == "class":
            raise ValueError("`by` must be 'cell' for a single matrix, got 'class'.")
        counted = fits if isinstance(fits, Counts) else count_magnitudes(fits)
        ranker = _Ranker(counted.labels.astype(np.int64), chosen, limits, (0.1, 0.9))
        one = ranker.rank(counted.counts[None].astype(np.uint64), np.array([counted.exact]))
        return _table(*one, chosen, {}).dropna(subset=["family"])
    fits = validate(fits)
    found, n = _rank_dataset(fits, chosen, limits, workers)
    table = _table(found, n, chosen, _places(fits, n))
    table = table[table["status"] != "absent"].reset_index(drop=True)
    return table if by == "cell" else _by_class(table)


def _check_families(families: Sequence[Family]) -> tuple[Family, ...]:
    from difflib import get_close_matches

    names: Sequence[Any] = [families] if isinstance(families, str) else families
    chosen: tuple[Family, ...] = tuple(dict.fromkeys(names))
    if not chosen:
        raise ValueError("`families` must name at least one family, got none.")
    for name in chosen:
        if name not in FAMILIES:
            close = get_close_matches(str(name), FAMILIES, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            valid = ", ".join(map(repr, FAMILIES))
            raise ValueError(f"`families` must be some of {valid}, got {name!r}.{hint}")
    return chosen


def _of_one(weights: Any) -> _Grouped | None:
    counted = weights if isinstance(weights, Counts) else count_magnitudes(weights)
    return _group(counted.labels.astype(np.int64), counted.counts, exact=counted.exact)


@dataclass(frozen=True, slots=True)
class _Ranker:
    """What the compiled loops need beside the counts."""

    labels: NDArray[np.int64]
    families: Sequence[Family]
    trim: tuple[float, float]
    body: tuple[float, float]

    def rank(
        self,
        counts: NDArray[Any],
        exact: NDArray[np.bool_],
        run: Callable[..., Iterable[tuple[Array, Array]]] = map,
    ) -> tuple[Array, Array]:
        """Rank rows of counts; `run` maps a function over batches of them."""
        labels, value = self.labels, label_values(self.labels)
        mantissa = labels & ((1 << _MANTISSA_BITS) - 1)
        whole = mantissa | 1 << _MANTISSA_BITS
        octave = np.ldexp(1.0, (labels >> _MANTISSA_BITS) - 1023)
        unit = octave / (1 << _MANTISSA_BITS) * (whole & -whole)
        low, high = (label_values((labels & INTERVAL_MASK) + w) for w in (0, INTERVAL_WIDTH))
        grid = np.array([np.where(value > _LEAST, value, np.nan), octave, unit, low, high])
        codes = np.array([FAMILIES.index(name) for name in self.families])
        trim, body = np.array(self.trim), np.array(self.body)

        def job(part: slice) -> tuple[Array, Array]:
            rows = counts[part], exact[part]
            batch: tuple[Array, Array] = rank_rows(
                *rows, grid, mantissa, codes, trim, body, MINIMUM_WEIGHTS
            )
            return batch

        parts = [slice(at, at + _BATCH) for at in range(0, len(counts), _BATCH)]
        found, n = zip(*run(job, parts), strict=True)
        return np.concatenate(found), np.concatenate(n)


def _rank_dataset(
    fits: xr.Dataset,
    families: Sequence[Family],
    trim: tuple[float, float],
    workers: int | None,
) -> tuple[Array, Array]:
    """Rank every cell of the status: (cells, families, columns), and weights."""
    body = float(fits.attrs["trim_lower"]), float(fits.attrs["trim_upper"])
    found, n, (counts, pooled) = [], [], _counts_of(fits)
    ranker = _Ranker(fits["bin"].values.astype(np.int64), families, trim, body)
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for rows, exact in _chunks(counts, fits["counts_exact"], pooled=pooled):
            part, weights = ranker.rank(rows, exact, pool.map)
            found.append(part)
            n.append(weights)
    return np.concatenate(found), np.concatenate(n)


def _chunks(
    counts: xr.DataArray, counts_exact: xr.DataArray, *, pooled: bool
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield counts of some layers' matrices (experts pooled) as rows, and which are exact."""
    models, layers = counts.shape[:2]
    every = max(1, _CHUNK_BYTES * layers * models // max(counts.nbytes, 1))
    for model in range(models):
        for first in range(0, layers, every):
            place = dict(zip(counts.dims, (model, slice(first, first + every)), strict=False))
            rows, exact = counts.isel(place).values, counts_exact.isel(place).values
            if pooled:
                exact = (exact | (rows.sum(-1) == 0)).all(-1)
                rows = rows.sum(-2, dtype=np.uint64)
            yield np.ascontiguousarray(rows.reshape(-1, rows.shape[-1])), exact.ravel()


def _places(fits: xr.Dataset, n: Array) -> dict[str, NDArray[Any]]:
    """Coordinates, status and size of every cell."""
    status = fits["status"]
    index = dict(zip(status.dims, np.indices(status.shape).reshape(status.ndim, -1), strict=True))
    columns = {str(dim): fits[dim].values[at] for dim, at in index.items()}
    columns["weight_class"] = fits["weight_class"].values[index["component"]]
    words = status.values.ravel().astype(object)
    words[(n == 0) & np.isin(words, _FITTED)] = "too_few"
    columns |= {"status": words, "n": n.astype(np.int64)}
    return {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }


def _table(
    found: Array, n: Array, families: Sequence[Family], places: dict[str, NDArray[Any]]
) -> pd.DataFrame:
    """Lay the families of every matrix out, best first; one row where there are none."""
    import pandas as pd

    parameters = _PARAMETERS[[FAMILIES.index(name) for name in families]]
    with np.errstate(divide="ignore"):
        log_n = np.log(n)[:, None]
    loss = 2 * n[:, None] * found[..., DIVERGENCE]
    bic, aic = log_n * parameters + loss, 2 * parameters + loss
    order = np.argsort(bic, axis=1, kind="stable")
    length = np.where(n > 0, len(families), 1)
    row = np.repeat(np.arange(n.size), length)
    nth = np.arange(row.size) - np.repeat(np.cumsum(length) - length, length)
    at, fitted = (row, order[row, nth]), n[row] > 0
    shape = np.where(np.array(families) == "half_normal", np.nan, np.exp(found[..., LOG_SHAPE]))
    numbers = {
        "rank": np.where(np.isnan(bic[at]), np.nan, nth + 1),
        "shape": shape[at],
        "scale": np.exp(found[..., LOG_SCALE])[at],
        "parameters": np.where(fitted, parameters[at[1]], np.nan),
        "delta_bic": (bic - np.fmin.reduce(bic, axis=1)[:, None])[at],
        "delta_aic": (aic - np.fmin.reduce(aic, axis=1)[:, None])[at],
        "log_likelihood": found[..., LIKELIHOOD][at],
        "divergence": found[..., DIVERGENCE][at],
        "ks": found[..., KS][at],
    }
    names = np.where(fitted, np.array(families, object)[at[1]], None)
    columns = {name: values[row] for name, values in places.items()} | {"family": names} | numbers
    return pd.DataFrame(columns).astype({"rank": "Int64", "parameters": "Int64"})


def _by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Add up the tables of the matrices of a class for which every family converged."""
    keys = ["model", "step", "weight_class"]
    table = table.dropna(subset=["family"])
    cell = list(table.columns[: list(table.columns).index("status")])
    grouped = table["delta_bic"].notna().groupby([table[key] for key in cell])
    table = table[grouped.transform("all")].assign(first=lambda frame: frame["rank"] == 1)
    sums = table.groupby([*keys, "family"], as_index=False, sort=False).agg(
        matrices=("rank", "size"),
        best=("first", "sum"),
        delta_bic=("delta_bic", "sum"),
        divergence=("divergence", "median"),
        ks=("ks", "median"),
    )
    sums["delta_bic"] -= sums.groupby(keys)["delta_bic"].transform("min")
    rank = sums.groupby(keys)["delta_bic"].rank(method="first").astype("Int64")
    sums.insert(len(keys) + 1, "rank", rank)
    return sums.sort_values([*keys, "rank"], kind="stable", ignore_index=True)


def find_populations(fits: Any, *, workers: int | None = None) -> xr.Dataset:
    """Find matrices whose weights are two populations of unlike magnitude.

    Parameters
    ----------
    fits : xarray.Dataset, Counts or array_like
        Fits with counts, the counts of one matrix, or its weights.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        The dims of the fits, and ``population`` ("small", "large") for ``share``, ``k`` and
        ``lam`` of the two components. ``verdict`` is "two populations", "one population" or "not
        fitted" (``status`` tells why); ``separation`` is the depth of the notch between them in
        nats, less five standard errors, 0 where there is none; ``boundary`` is the magnitude of
        the notch; ``delta_bic`` is the BIC of one Weibull less that of the mixture.

    Raises
    ------
    TypeError
        If `fits` is none of these.
    ValueError
        If the Dataset holds no counts.

    Notes
    -----
    *What counts as two.* The density of ln|w| of a Gaussian, Laplace, uniform, Weibull, gamma,
    lognormal, generalised Gaussian or Student t is log-concave, whatever the parameters. So it is
    for rows of unlike scale, as long as the density of the scales' logarithm is log-concave too
    (a convolution keeps the property). Two populations far apart break it: the log density has a
    notch below the chord over its two shoulders. The depth of the deepest one, over windows of
    0.35 in ln|w|, less five standard errors, is the ``separation``. With over 0.1 nats, at least
    2 % of the weights on either side and in either component, and a mixture better by BIC, the
    verdict is two. A better curve alone is no reason: at millions of weights a mixture of two
    Weibulls fits a plain Gaussian better than one does, by a ``delta_bic`` of 10^5.

    *What cannot be told.* Two Gaussians of equal share show a notch from a σ ratio of about 3 on
    (0.03 nats; 0.26 at 5, 0.7 at 10, 1.3 at 20), and none at 2: their pool is one population by
    this criterion. A small share near zero needs more: 5 % is seen from a ratio of about 20 on
    with 1 M weights. The shares of Gaussian populations come out up to 0.06 too high for the
    small one at a ratio of 20, since a Gaussian is no Weibull. Integers restored with one scale a
    group (weights once quantised) are a comb of values and may pass for two populations.

    *Mixture.* EM on some 200 groups of neighbouring bins, first parted at the notch (or, without
    one, at the 30 % quantile), at most 200 rounds; where the verdict is one population the
    components describe the curve and mean nothing. Experts of one cell are pooled: experts of
    unlike scale may look like two populations; scan with ``experts="each"`` to tell.

    About 8 ms a matrix and core, whatever its size.

    References
    ----------
    A. Saumard and J. A. Wellner, "Log-concavity and strong log-concavity: a review", Statistics
    Surveys 8 (2014), doi:10.1214/14-SS107. T. Ding, arXiv:2605.18898 (the two populations of
    shallow feed-forward layers of large Qwen models).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.where(np.arange(512) < 256, 0.0004, 0.02)  # half of the rows nearly died
    >>> found = find_populations(rng.normal(size=(512, 512)) * sigma[:, None])
    >>> str(found.verdict.item()), found.share.values.round(1).tolist()
    ('two populations', [0.5, 0.5])
    """
    if not isinstance(fits, xr.Dataset):
        grouped = _of_one(fits)
        found = None if grouped is None else _two_populations(grouped)
        word = "too_few" if grouped is None else "ok"
        return _population_dataset((), {}, [((), word, found)], {})
    fits = validate(fits)
    cells = [
        (row.place, row.status, found) for row, found in _map_rows(fits, _two_populations, workers)
    ]
    status = fits["status"]
    return _population_dataset(status.shape, dict(status.coords), cells, fits.attrs, status.dims)


def _population_dataset(
    shape: tuple[int, ...],
    coords: dict[Any, Any],
    cells: list[tuple[tuple[int, ...], str, _Populations | None]],
    attributes: dict[Any, Any],
    dims: tuple[Any, ...] = (),
) -> xr.Dataset:
    """Lay the mixtures out on the dims of the fits."""
    numbers = {name: np.full(shape, np.nan) for name in ("delta_bic", "separation", "boundary")}
    words = {"verdict": np.full(shape, "not fitted", object), "status": np.full(shape, "", object)}
    parts = np.full((*shape, 2, 3), np.nan)
    for place, status, found in cells:
        words["status"][place] = status
        if found is not None:
            parts[place] = found.parts
            words["verdict"][place] = found.verdict
            for name, array in numbers.items():
                array[place] = getattr(found, name)
    described = {
        "share": ("Share of the weights in the component", "1"),
        "k": ("Weibull shape k of the component", "1"),
        "lam": ("Weibull scale λ of the component", "units of the weights"),
        "delta_bic": ("BIC of one Weibull less that of the mixture", "1"),
        "separation": ("Depth of the notch in ln|w| less five standard errors", "nats"),
        "boundary": ("Magnitude of the notch", "units of the weights"),
    }
    columns = {
        name: ((*dims, "population"), parts[..., i]) for i, name in enumerate(described) if i < 3
    }
    columns |= {name: (dims, array) for name, array in numbers.items()}
    texts = {name: (dims, array) for name, array in words.items()}
    population = {"population": ["small", "large"]}
    result = xr.Dataset(columns | texts, coords | population)
    for name, (long_name, units) in described.items():
        result[name].attrs = {"long_name": long_name, "units": units}
    kept = ("weibnb_version", "created")
    result.attrs = {name: attributes[name] for name in kept if name in attributes}
    result.attrs |= {
        "title": "Two-component Weibull mixtures of weight matrices",
        "least_separation": LEAST_SEPARATION,
        "least_share": LEAST_SHARE,
    }
    return result
