"""Which distribution |w| follows: six families ranked by their likelihood on the same counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from scipy import special

from weibnb.compiled import compiled
from weibnb.families.distributions import (
    FAMILIES,
    PARAMETERS,
    Family,
    log_survival,
    starts,
    tails_at,
)
from weibnb.families.likelihood import fit_family, shape_error
from weibnb.families.samples import merge, occupied_bins, on_rows, status_of, weights_of
from weibnb.fits.schema import DIMS, prepare, protocol_of
from weibnb.fitting.weibull import DEFAULT_TRIM, Trim, check_protocol
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Columns of the result of `_rank_rows`; WEIGHTS is 0 where they are too few.
LOG_SHAPE, LOG_SCALE, LIKELIHOOD, DIVERGENCE, KS, SHAPE_ERROR, WEIGHTS = range(7)
# Families that hold the half-normal: inside their shapes (β = 2), or at their end (ν = ∞).
_HOLD_A_GAUSSIAN: dict[Family, float] = {"generalised_gaussian": 1.0, "student_t": 0.5}


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
        lowest BIC), ``shape``, its standard error ``shape_se``, ``scale``, the number of
        ``parameters``, ``delta_bic`` and ``delta_aic`` (above the best), ``log_likelihood`` (of the
        groups, nats per weight), ``divergence`` (of the counts from the family, nats per weight:
        what a better family could gain at most), ``ks`` (at the edges of the groups over the trim
        of the fits, 10-90 % for a single matrix), and for the two families that hold a Gaussian
        ``likelihood_ratio`` (twice the log-likelihood gained over ``half_normal``, if that is among
        `families`) and ``gaussian_p``, the probability of as large a one for a Gaussian; with
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
    on masses from quadrature, and on the exact ones wherever the two differ by 10^-6 nats per
    weight.

    BIC is ``p ln n - 2 ln L``. It takes the weights for independent draws. With millions of
    weights a delta of thousands is usual and says that families can be told apart, not that the
    best one is good: see ``divergence`` and ``ks``. Experts of one cell are pooled, which fattens
    the tail where their scales differ; scan with ``experts="each"`` to rank each.

    *Errors.* ``shape_se`` is the sandwich estimate: it does not need the family to be the true one,
    but independent weights; NaN for a shape on its bound. It is too small where the score has no
    finite variance, as for a Weibull fitted to t(2).

    *Is it a Gaussian?* β = 2 lies inside the generalised Gaussian's shapes: the likelihood ratio of
    a Gaussian is chi-square with one degree of freedom. ν = ∞ is the end of Student's: half of all
    Gaussians have no finite ν, and the ratio is an equal mixture of 0 and that chi-square (Self
    and Liang). Dependent weights make both too large.

    ν is sought up to 10,000, β up to 100. The six families take 0.2-0.5 ms per matrix and core, up
    to 2 ms where millions of weights reach over tens of octaves.

    References
    ----------
    "It Takes a Good Model to Train a Good Model: Generalized Gaussian Priors for Optimized LLMs",
    arXiv:2506.00486. G. Schwarz, "Estimating the dimension of a model", Annals of Statistics 6
    (1978), doi:10.1214/aos/1176344136. S. G. Self and K.-Y. Liang, Journal of the American
    Statistical Association 82 (1987), doi:10.1080/01621459.1987.10478472 (tests on a boundary). H.
    White, Econometrica 50 (1982), doi:10.2307/1912526 (the sandwich).

    Examples
    --------
    >>> table = rank_families(np.random.default_rng(0).standard_t(4, 100_000))
    >>> table["family"].iloc[0], round(float(table["shape"].iloc[0]))
    ('student_t', 4)
    """
    chosen = _check_families(families)
    check_choice("by", by, ("cell", "class"))
    limits, _ = check_protocol(trim, "maximum_likelihood")
    if not isinstance(fits, xr.Dataset):
        if by == "class":
            raise ValueError("`by` must be 'cell' for a single matrix, got 'class'.")
        found = _rank(fits, chosen, limits, DEFAULT_TRIM["rank_regression"], None)
        return _table(found, chosen, {})
    fits = prepare(fits, "counts", dims=DIMS)
    found = _rank(fits, chosen, limits, protocol_of(fits)[1], workers)
    table = _table(found, chosen, _cells(fits, found[:, 0, WEIGHTS]))
    table = table[table["status"] != "absent"].reset_index(drop=True)
    return table if by == "cell" else _by_class(table)


def _check_families(families: Sequence[Family]) -> tuple[Family, ...]:
    """Return the families, each once."""
    names: Sequence[Any] = [families] if isinstance(families, str) else families
    chosen: tuple[Family, ...] = tuple(dict.fromkeys(names))
    if not chosen:
        raise ValueError("`families` must name at least one family, got none.")
    for name in chosen:
        check_choice("families", name, FAMILIES)
    return chosen


def _rank(
    fits: Any, families: Sequence[Family], trim: Trim, body: Trim, workers: int | None
) -> Array:
    """Fit families to every cell: (cells, families, columns)."""
    codes = np.array([FAMILIES.index(name) for name in families])

    def loop(rows: Any, grid: Any) -> Array:
        found: Array = _rank_rows(rows, grid, codes, trim, body)
        return found

    return on_rows(loop, fits, workers)


@compiled
def _rank_rows(rows: Any, grid: Any, families: Any, trim: Any, body: Any) -> Any:
    """Fit families to every row of counts: (rows, families, columns)."""
    out = np.full((rows.exact.size, families.size, 7), np.nan)
    work = np.empty((4, rows.widest))
    for row in range(rows.exact.size):
        found, floor = occupied_bins(rows, row, grid, work)
        bins = work[:, :found]
        out[row, :, WEIGHTS] = weights_of(bins)
        if out[row, 0, WEIGHTS] > 0.0:
            edges, mass = merge(bins)
            _rank_groups(edges, mass, floor, families, trim, body, out[row])
    return out


@compiled
def _rank_groups(
    edges: Any, mass: Any, floor: float, families: Any, trim: Any, body: Any, out: Any
) -> None:
    """Fit families to the groups of one matrix; NaN stays where one fails."""
    n = mass.sum()
    inner, share = _censor(edges, mass / n, trim)
    below = -np.inf if inner[0] == -np.inf else floor
    trimmed = inner.size != edges.size or not math.isfinite(inner[0] + inner[-1])
    first, entropy = starts(edges, mass / n), 0.0
    for j in range(share.size):
        if share[j] > 0.0:
            entropy += share[j] * math.log(share[j])
    for i in range(families.size):
        v, u = first[families[i]]
        v, u, level, found, tails = fit_family(families[i], v, u, inner, share, below, n)
        if not found:
            continue
        if trimmed:
            tails = tails_at(families[i], v, u, edges)
        bottom = log_survival(families[i], v, u, below)
        out[i, LOG_SHAPE], out[i, LOG_SCALE], out[i, LIKELIHOOD] = v, u, level
        out[i, DIVERGENCE] = max(entropy - level, 0.0)
        out[i, KS] = _distance(mass / n, tails[1], bottom, body)
        out[i, SHAPE_ERROR] = shape_error(families[i], v, u, inner, share, below, n)


@compiled
def _censor(edges: Any, share: Any, trim: Any) -> tuple[Any, Any]:
    """Put everything outside a probability interval in one open group on either side."""
    if trim[0] <= 0.0 and trim[1] >= 1.0:
        return edges, share
    first, last = 0, share.size
    below, left, right = 0.0, 0.0, 0.0
    for j in range(share.size):
        seen = below + share[j]
        if seen <= trim[0]:
            first, left = j + 1, seen
        if below >= trim[1]:
            last = min(last, j)
            right += share[j]
        below = seen
    size = last - first
    out, part = np.empty(size + 3), np.empty(size + 2)
    out[0], part[0] = -np.inf, left
    out[1 : size + 2], part[1 : size + 1] = edges[first : last + 1], share[first:last]
    out[size + 2], part[size + 1] = np.inf, right
    begin, end = (0 if left > 0.0 else 1), (size + 2 if right > 0.0 else size + 1)
    return out[begin : end + 1], part[begin:end]


@compiled
def _distance(share: Any, q: Any, bottom: float, body: Any) -> float:
    """Largest |F_empirical - F| at the groups' edges inside a probability interval."""
    below, largest = 0.0, 0.0
    for j in range(share.size - 1):
        below += share[j]
        if body[0] <= below <= body[1]:
            largest = max(largest, abs(1.0 - math.exp(q[j + 1] - bottom) - below))
    return largest


def _cells(fits: xr.Dataset, n: Array) -> dict[str, NDArray[Any]]:
    """Coordinates, status and weights of every cell."""
    status = fits["status"]
    index = dict(zip(status.dims, np.indices(status.shape).reshape(status.ndim, -1), strict=True))
    columns = {str(dim): fits[dim].values[at] for dim, at in index.items()}
    columns["weight_class"] = fits["weight_class"].values[index["component"]]
    columns |= {"status": status_of(status, n.reshape(status.shape)).ravel()}
    return {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in (columns | {"n": n.astype(np.int64)}).items()
    }


def _table(
    found: Array, families: Sequence[Family], cells: dict[str, NDArray[Any]]
) -> pd.DataFrame:
    """Lay the families of every cell out, best first; one row where there are none."""
    import pandas as pd

    n = found[:, 0, WEIGHTS]
    parameters = PARAMETERS[[FAMILIES.index(name) for name in families]]
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
    ratio, chance = _against_a_gaussian(found, families)
    numbers = {
        "rank": np.where(np.isnan(bic[at]), np.nan, nth + 1),
        "shape": shape[at],
        "shape_se": found[..., SHAPE_ERROR][at],
        "scale": np.exp(found[..., LOG_SCALE])[at],
        "parameters": np.where(fitted, parameters[at[1]], np.nan),
        "delta_bic": (bic - np.fmin.reduce(bic, axis=1)[:, None])[at],
        "delta_aic": (aic - np.fmin.reduce(aic, axis=1)[:, None])[at],
        "log_likelihood": found[..., LIKELIHOOD][at],
        "divergence": found[..., DIVERGENCE][at],
        "ks": found[..., KS][at],
        "likelihood_ratio": ratio[at],
        "gaussian_p": chance[at],
    }
    names = np.where(fitted, np.array(families, object)[at[1]], None)
    columns = {name: values[row] for name, values in cells.items()} | {"family": names} | numbers
    return pd.DataFrame(columns).astype({"rank": "Int64", "parameters": "Int64"})


def _against_a_gaussian(found: Array, families: Sequence[Family]) -> tuple[Array, Array]:
    """Likelihood ratio of each family over the half-normal, and its probability for a Gaussian."""
    ratio = np.full(found.shape[:2], np.nan)
    share = np.array([_HOLD_A_GAUSSIAN.get(name, np.nan) for name in families])
    if "half_normal" in families:
        level = found[..., LIKELIHOOD]
        gained = level - level[:, [families.index("half_normal")]]
        ratio = np.maximum(2 * found[:, :1, WEIGHTS] * gained, 0.0)
        ratio = np.where(np.isnan(share), np.nan, ratio)
    return ratio, np.where(ratio > 0, share * special.chdtrc(1, ratio), ratio + 1)


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
