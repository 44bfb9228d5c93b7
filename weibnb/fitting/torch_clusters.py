"""Errors that are clustered by rows and columns, as operations on tensors.

It computes what `weibnb.fitting.clusters` and `weibnb.fitting.rank_functions` do, for many
matrices at once, and waits for no device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import special

from weibnb.counting.transfers import to_device
from weibnb.fitting.rank_functions import BODY, CLASSES, EDGES, FUNCTIONS, PAIRS


class Classes(NamedTuple):
    """Classes of the rank of several matrices, and functions of it.

    Attributes
    ----------
    of_entry : Tensor of int64, shape (matrices, width)
        Class of each entry.
    masses : Tensor of float64, shape (matrices, classes)
        Weights in each class.
    means : Tensor of float64, shape (matrices, 2, classes)
        Influence on k and on ln λ in each class.
    functions : Tensor of float64, shape (matrices, 5, classes)
        The rank functions.
    """

    of_entry: torch.Tensor
    masses: torch.Tensor
    means: torch.Tensor
    functions: torch.Tensor


def classes_of(counts: torch.Tensor, v: torch.Tensor) -> Classes:
    """Sort entries into classes; `v` (2, matrices, width) is their influence on k and ln λ."""
    seen = counts.cumsum(1)
    edges = to_device(EDGES, counts.device) * seen[:, -1:]
    of_entry = torch.searchsorted(edges, seen - 0.5 * counts)
    nothing = counts.new_zeros(len(counts), CLASSES)
    masses = nothing.scatter_add(1, of_entry, counts)
    sums = [nothing.scatter_add(1, of_entry, counts * one) for one in v]
    means = torch.stack(sums, 1) / masses.clamp(min=1.0)[:, None]
    return Classes(of_entry, masses, means, _rank_functions(masses))


def _rank_functions(masses: torch.Tensor) -> torch.Tensor:
    """As `weibnb.fitting.rank_functions.rank_functions`."""
    n = masses.sum(1, keepdim=True).clamp(min=1.0)
    rank = ((masses.cumsum(1) - masses / 2.0) / n).clamp(1e-12, 1.0 - 1e-12)
    e = -(-rank).log1p()
    y = e.log()
    body = y.clamp(*BODY)
    functions = torch.stack([y, e, e * y, body, body**2], 1)
    return functions - (functions * masses[:, None]).sum(2, keepdim=True) / n[:, None]


def line_histograms(classes: torch.Tensor) -> torch.Tensor:
    """Count the weights of each class in each line.

    `classes` (matrices, lines, weights) are int64, `CLASSES` where a weight is in none; the result
    (matrices, lines, classes) is float64.
    """
    shape = (*classes.shape[:2], CLASSES + 1)
    counted = torch.zeros(shape, dtype=torch.int32, device=classes.device)
    one = torch.ones((), dtype=torch.int32, device=classes.device)
    return counted.scatter_add_(2, classes, one.expand_as(classes))[..., :CLASSES].double()


def beyond_independent(
    classes: Classes, of_rows: torch.Tensor, of_columns: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Covariance of influences and rank functions beyond that of independent weights.

    What neighbours add that are alike is not in it.

    Parameters
    ----------
    classes : Classes
        Of matrices of one `shape`.
    of_rows, of_columns : Tensor, shape (matrices, lines, classes)
        From `line_histograms`.

    Returns
    -------
    Tensor of float64, shape (matrices, 7, 7)
        NaN for matrices without weights.
    """
    f = torch.cat([classes.means, classes.functions], 1)
    n = classes.masses.sum(1)[:, None, None]
    products = -2.0 * (f * classes.masses[:, None]) @ f.mT
    for histogram, lines in ((of_rows, shape[0]), (of_columns, shape[1])):
        sums = histogram @ f.mT
        products = products + sums.mT @ sums * (lines / histogram.shape[1])
    fewest = min(of_rows.shape[1], of_columns.shape[1])
    return torch.as_tensor(products * widening(fewest, f.device)[-1] / n**2)


def with_neighbours(beyond: torch.Tensor, classes: Classes, alike: torch.Tensor) -> torch.Tensor:
    """Add what neighbours that are alike add, (matrices, 2, 2), and what follows from it.

    `beyond` is that of `beyond_independent`; the others follow as in `weibnb.fitting.clusters`.
    """
    f = torch.cat([classes.means, classes.functions], 1)
    n = classes.masses.sum(1)[:, None, None]
    estimated = (beyond + 2.0 * (f * classes.masses[:, None]) @ f.mT / n**2)[:, :, :2]
    slopes = torch.linalg.solve_ex(estimated[:, :2], estimated.mT)[0].mT
    more: torch.Tensor = slopes @ (alike / n**2) @ slopes.mT
    return beyond + more.where((alike != 0.0).flatten(1).any(1)[:, None, None], 0.0)


def widening(lines: int, device: torch.device) -> torch.Tensor:
    """As `weibnb.fitting.clusters.widening`, for every number of lines from 0 to this one."""
    degrees = np.maximum(np.arange(lines + 1) - 1, 1)
    return to_device((special.stdtrit(degrees, 0.975) / special.ndtri(0.975)) ** 2, device)


def clustered_part(classes: Classes, covariance: torch.Tensor) -> torch.Tensor:
    """Covariance of k and ln λ within rows and columns, (matrices, 2, 2), from a known one.

    As `weibnb.fitting.rank_functions.clustered_part`; `covariance` is (matrices, 15).
    """
    weighted = classes.functions * classes.masses[:, None]
    gram = weighted @ classes.functions.mT
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    least = (1e-12 * trace).where(trace > 0.0, 1.0)
    unit = torch.eye(FUNCTIONS, dtype=gram.dtype, device=gram.device)
    share = torch.linalg.solve_ex(gram + unit * least, weighted @ classes.means.mT)[0]
    kept = gram.new_zeros(len(gram), FUNCTIONS, FUNCTIONS)
    row, column = (to_device(one, gram.device) for one in PAIRS)
    kept[:, row, column] = covariance
    kept[:, column, row] = covariance
    result: torch.Tensor = share.mT @ kept @ share
    return result
