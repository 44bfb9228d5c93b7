"""What can be said of a fit in one word: the words, what they mean, and which follows which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Status = Literal[
    "ok",
    "scaled",
    "partial",
    "nonfinite",
    "constant",
    "too_few",
    "degenerate",
    "no_convergence",
    "subnormal",
    "all_zero",
    "no_finite",
    "empty",
    "quantized",
    "unsupported_dtype",
    "unreadable",
    "pending",
    "not_given",
    "absent",
]

#: Fewest non-zero finite weights that are fitted.
MINIMUM_WEIGHTS = 100

#: What each word means.
MEANINGS: dict[Status, str] = {
    "ok": "fitted",
    "scaled": (
        "fitted as stored; a scale tensor beside the weights was not applied "
        "(dequantise=True applies it)"
    ),
    "partial": "the median over those experts of the cell that could be fitted",
    "nonfinite": "fitted without the NaN or infinite weights that the matrix holds",
    "constant": "not fitted: all non-zero weights have one magnitude",
    "too_few": f"not fitted: fewer than {MINIMUM_WEIGHTS} non-zero finite weights",
    "degenerate": "not fitted: only one magnitude lies inside the trim",
    "no_convergence": "not fitted: the likelihood has no maximum that Newton's method reaches",
    "subnormal": (
        "not fitted: the weights are so small that steps of their format are coarse "
        "(float32 near 1e-39, float64 near 1e-309)"
    ),
    "all_zero": "not fitted: every weight is zero",
    "no_finite": "not fitted: no weight is finite",
    "empty": "not fitted: the tensor has no elements",
    "quantized": (
        "not counted: integers or packed values, whose magnitudes are not the weights'; "
        "`weibnb.not_fitted` says what to do"
    ),
    "unsupported_dtype": "not counted: a storage format that weibnb does not count",
    "unreadable": "not counted: the tensor could not be read; `weibnb.not_fitted` has the cause",
    "pending": (
        "the scan stopped before this matrix was counted or fitted: scan again with the same "
        "store, or refit if it has counts"
    ),
    "not_given": "the table that the fits were read from has no k for it",
    "absent": "no such matrix in this model and step",
}
#: Words of cells that have estimates.
FITTED: tuple[Status, ...] = ("ok", "nonfinite", "scaled", "partial")
#: Words of tensors that are to be counted.
COUNTED: tuple[Status, ...] = ("ok", "scaled")
#: Words that no fit changes, by whatever protocol.
LASTING: tuple[Status, ...] = (
    "absent", "quantized", "unsupported_dtype", "unreadable", "empty", "no_finite", "all_zero",
)  # fmt: skip
#: Words of the compiled fit, in the order of its codes.
FIT_WORDS = np.array(
    ["ok", "all_zero", "constant", "too_few", "degenerate", "no_convergence", "subnormal"], object
)


def status_after_fit(
    before: ArrayLike,
    fit: ArrayLike,
    *,
    zeros: ArrayLike,
    nonfinite: ArrayLike,
    scaled: ArrayLike = False,
) -> NDArray[np.object_]:
    """Give the status of matrices from what was known before and the outcome of the fit.

    Parameters
    ----------
    before : array_like of str
        Status before the fit: ``"ok"`` for a matrix that was counted, or that of an earlier fit.
    fit : array_like of str
        One of `FIT_WORDS` for each matrix.
    zeros, nonfinite : array_like of int
        Weights that are exactly zero; weights that are NaN or infinite.
    scaled : array_like of bool
        Whether a scale tensor lies beside the weights.

    Returns
    -------
    ndarray of object
        Words of `Status`.

    Examples
    --------
    >>> status_after_fit("ok", ["ok", "ok", "all_zero", "all_zero"],
    ...                  zeros=[0, 0, 9, 0], nonfinite=[0, 3, 0, 3]).tolist()
    ['ok', 'nonfinite', 'all_zero', 'no_finite']
    """
    words, old, zero, bad, scale = np.broadcast_arrays(
        np.asarray(fit, object), np.asarray(before, object), zeros, nonfinite, scaled
    )
    words = np.array(words, object, ndmin=1)
    old, bad = old.reshape(words.shape), bad.reshape(words.shape)
    zero, scale = zero.reshape(words.shape), scale.reshape(words.shape)
    fitted = words == "ok"
    words[fitted & scale.astype(bool)] = "scaled"
    words[fitted & (bad > 0)] = "nonfinite"
    words[fitted & (old == "partial")] = "partial"
    nothing = (words == "all_zero") & (zero == 0)
    words[nothing & (bad == 0) & (old == "pending")] = "pending"
    nothing &= words != "pending"
    words[nothing] = np.where(bad[nothing] > 0, "no_finite", "empty")
    lasting = np.isin(old.astype(str), LASTING)
    words[lasting] = old[lasting]
    return words
