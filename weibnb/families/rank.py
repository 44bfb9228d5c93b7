"""Which distribution |w| follows, and whether it is one population or two, from the counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import INTERVAL_MASK, label_values, upper_edge, value_parts
from weibnb.families.groups import _BATCH, _LEAST, _chunks, _counts_of, _places
from weibnb.families.likelihood import (
    DIVERGENCE,
    KS,
    LIKELIHOOD,
    LOG_SCALE,
    LOG_SHAPE,
    rank_rows,
)
from weibnb.fits.schema import prepare
from weibnb.fitting.status import MINIMUM_WEIGHTS
from weibnb.fitting.weibull import check_protocol
from weibnb.parallel import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


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
    fits = prepare(fits)
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
        value, interval = label_values(self.labels), self.labels & INTERVAL_MASK
        octave, mantissa, unit = value_parts(self.labels)
        low, high = label_values(interval), upper_edge(interval)
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
