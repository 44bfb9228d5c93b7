"""Why k of some matrices is low: the weights are read again, and taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weibnb.diagnostics.decompose import as_dataset, nothing, take_apart
from weibnb.fits.schema import prepare, protocol_of
from weibnb.fitting.status import COUNTED, FITTED
from weibnb.fitting.weibull import check_protocol
from weibnb.messages import printable
from weibnb.parallel import check_workers
from weibnb.scanning.chosen import chosen_matrices

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr


def decompose(
    source: Any,
    *,
    fits: xr.Dataset | None = None,
    select: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    dequantise: bool = False,
    workers: int | None = None,
) -> xr.Dataset:
    """Say why k is low: how much of it is unequal rows, unequal columns, and what is left.

    Parameters
    ----------
    source : path, torch.nn.Module, Mapping, or matrix
        Weights as `weibnb.scan` takes them, or one array or tensor of two dimensions, whose rows
        are output features.
    fits : xarray.Dataset, optional
        Only matrices that these fits hold are taken apart, by their trim and estimator. By
        default all, by rank regression at trim 10-90 %.
    select : Mapping, optional
        Labels of the matrices that are wanted, one or several for each of ``model``, ``layer``,
        ``component``, ``step``, ``expert`` and ``parameter``. A fused matrix is taken whole unless
        its part is named here or in `fits`.
    names : Mapping of str to str, optional
        Components of matrices that no family of models names, as in `weibnb.scan`. By default
        those that `fits` were scanned with.
    dequantise : bool
        Restore quantised weights as they are read, as in `weibnb.scan`.
    workers : int, optional
        Threads; two are used.

    Returns
    -------
    xarray.Dataset
        One entry of the dim ``matrix`` for each, with the names of `select` as coordinates:

        - ``sentence``: the cause in words.
        - ``k_raw``, ``k_rows``, ``k_cols``, ``k_core``: k as it is, with rows divided by their
          root mean squares, with columns, and with both; beside each ``k_se_…`` (clustered by
          rows and columns as in a scan, scales taken as known), ``lam_…`` and ``r2_…``.
        - ``below``: how far k lies below the ``anchor``, which is ``from_rows`` + ``from_cols`` +
          ``from_dividing`` + ``from_core``.
        - ``k_shuffled``: the control, k of the shuffled weights treated in the same way, and
          ``anchor_core`` and ``anchor_r2_core``, those of a Gaussian of this size.
        - ``h_row``, ``h_col``: standard deviation of the scales' logarithms.
        - ``share_rows``, ``share_cols``, ``share_core``: their shares of var ln|w|; sum 1.
        - ``bridge``, ``alpha``, ``alpha_gaussian``: see Notes.
        - ``populations``, ``core_populations``: the verdicts of `weibnb.find_populations`.
        - ``converged``, ``imbalance``, ``rounds``: how well rows and columns were made equal.
        - ``rows``, ``cols``, ``dead_rows``, ``dead_cols``, ``nonfinite``, ``status``, and
          ``status_core``, why the core has no k.

    Raises
    ------
    CheckpointError
        If a checkpoint or a matrix cannot be read.
    TypeError, ValueError
        If an argument is not valid, or no matrix is chosen: the closest labels are named.

    Notes
    -----
    *Core.* Rows and columns are divided in turn until the root mean squares of all are equal to
    1e-6: W = diag(a) Z diag(b). Lines of zeros, and weights that are not finite, are left out and
    counted. Zeros can make it impossible; then ``converged`` is False and nothing is said of the
    core. At least 8 rows and 8 columns are needed.

    *Parts.* ``from_rows`` is the mean of what dividing the rows adds to k before and after the
    columns, less the same of shuffled weights; ``from_dividing`` is what shuffled weights gain by
    both, some 0.54/rows + 0.54/columns for a Gaussian. Single huge weights spoil a root mean
    square, so that dividing lowers k: ``from_dividing`` shows that too.

    *Bridge.* var ln|w| of a Weibull is π²/(6k²), and scales of spread H add H². So
    k_raw^-2 - k_core^-2 is about α H² with H² = h_row² + h_col²; α is 6/π² = 0.61 where the trim
    cuts nothing from the law, and ``alpha_gaussian`` for a Gaussian with lognormal scales (0.62 at
    H = 0.2, 0.68 at 0.5). ``alpha`` is NaN below H = 0.08.

    *Shares* are covariances of ln a, ln b and ln|z| with ln|w|, over var ln|w|.

    A 4096 x 4096 matrix takes 0.7 s of processor time, on two threads that work on it and on the
    control, and some five times its float32 size in memory. Zeros that forbid a core cost 200
    rounds of some 0.02 s.

    References
    ----------
    R. Sinkhorn and P. Knopp, Pacific Journal of Mathematics 21 (1967) 343-348 (equal rows and
    columns). L. S. Shapley, "A value for n-person games" (1953) (the mean of both orders).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.normal(size=(512, 512)) * np.exp(rng.normal(0, 0.5, (512, 1)))
    >>> found = decompose(weights)
    >>> found.sentence.item()
    '0.11 of the 0.12 below the anchor is unequal rows; the core is Gaussian.'
    >>> found[["k_raw", "k_rows", "k_cols", "k_core"]].to_array().values.ravel().round(2).tolist()
    [1.09, 1.21, 1.09, 1.21]
    """
    check_workers(workers)
    trim, estimator = check_protocol(None, "rank_regression")
    if fits is not None:
        estimator, trim = protocol_of(prepare(fits, light=True))
    protocol = estimator, trim
    found, places = [], []
    for one in chosen_matrices(source, fits, select, names=names, dequantise=dequantise):
        if one.status in COUNTED:
            parts = take_apart(one.weights(), protocol, workers=workers)
            if one.status == "scaled" and parts["status"] in FITTED:
                parts["status"] = "scaled"
        else:
            parts = nothing(one.status, one.shape, protocol)
        found.append(parts)
        places.append(one.place | {"parameter": printable(one.place["parameter"])})
    return as_dataset(found, places, protocol)
