"""Scales that matrices of a layer share: the weights are read for their rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics.shared_units import PATHS, Heads, as_dataset, log_rms, units
from weibnb.fitting.status import COUNTED
from weibnb.io.rotary import Pairing, rotary_of
from weibnb.messages import check_choice
from weibnb.scanning.chosen import chosen_matrices

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from weibnb.scanning.chosen import Chosen

_PAIRINGS: tuple[Pairing, ...] = ("half", "interleaved", "none")
_SAME = ("model", "step", "layer", "expert")


def shared_units(
    source: Any,
    *,
    select: Mapping[str, Any] | None = None,
    head_dim: int | None = None,
    rotary: Pairing | None = None,
    shuffles: int = 200,
) -> xr.Dataset:
    """Correlate the scales of rows and columns along the paths of a model, unit by unit.

    Parameters
    ----------
    source : path, torch.nn.Module or Mapping
        Weights as `weibnb.scan` takes them; fused matrices are split.
    select : Mapping, optional
        Labels, one or several, of ``model``, ``layer``, ``component``, ``step``, ``expert`` and
        ``parameter``: only these matrices.
    head_dim : int, optional
        Rows of a head; by default as config.json says.
    rotary : {"half", "interleaved", "none"}, optional
        Which rows of a head a rotation of positions turns together: row i and i + half of them
        (Llama, NeoX), neighbours (GPT-J), or none. By default as config.json says.
    shuffles : int
        How often the units of a layer are shuffled for the null.

    Returns
    -------
    xarray.Dataset
        One entry of the dim ``pair`` for each path of each layer and expert, with the coordinates
        ``model``, ``step``, ``layer``, ``expert`` (-1: none), ``path``, ``first_component`` and
        ``second_component``:

        - ``r``: Pearson correlation of ln rms over ``units``; ``p_value``: share of shuffles, this
          order among them, with as large an r of either sign; ``null_sd``: their spread.
        - ``first``, ``second`` over the dim ``unit``: ln rms of the unit's line in both matrices
          (NaN: a line of zeros, or no such unit); ``gain`` and ``balance``: their sum and
          difference; ``gain_sd`` and ``balance_sd``: the spread of these.
        - ``note``: why there is no correlation.

    Raises
    ------
    CheckpointError
        If a checkpoint or a matrix cannot be read.
    TypeError, ValueError
        If an argument is not valid, or no two matrices of a path are there.

    Notes
    -----
    Paths are ``up-down`` and ``gate-down`` (rows of up or gate, columns of down: a hidden unit),
    ``value-output`` (rows of v, columns of o: a value channel) and ``query-key`` (rows of q and of
    k: the rows that are turned together, averaged). Scales can move along a path without a change
    of the function, except through a norm or a non-linearity: a scaled-up row that meets a
    scaled-down column shows as r < 0 and a small gain, units of unlike importance as r > 0 and a
    small balance. Query heads that share a key-value head are averaged (means of ln rms).

    The rms of m weights has a sampling error of 1/√(2m) in ln, which draws r towards 0.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scale = np.exp(rng.normal(0, 0.5, 96))
    >>> stem = "model.layers.0.mlp.{}.weight".format
    >>> weights = {stem("up_proj"): rng.normal(size=(96, 64)) * scale[:, None],
    ...            stem("down_proj"): rng.normal(size=(64, 96)) * scale}
    >>> found = shared_units(weights)
    >>> found.path.item(), found.units.item(), bool(found.r.item() > 0.9)
    ('up-down', 96, True)
    """
    _check(head_dim, rotary, shuffles)
    lines: dict[tuple[Any, ...], dict[str, tuple[Any, Chosen]]] = {}
    for one in chosen_matrices(source, None, select, parts=True):
        prefix, _, word = one.place["component"].rpartition(".")
        if one.status in COUNTED and any(word in (p.first, p.second) for p in PATHS.values()):
            key = *(one.place[name] for name in _SAME), prefix
            lines.setdefault(key, {})[word] = log_rms(one.weights()), one
    places, fields = [], []
    for key, there in lines.items():
        for name, path in PATHS.items():
            if path.first not in there or path.second not in there:
                continue
            (first, one), (second, other) = there[path.first], there[path.second]
            heads = _heads(one, head_dim, rotary)
            fields.append(units(name, first[0], second[path.second_lines == "cols"], heads))
            components = one.place["component"], other.place["component"]
            names = *_SAME, "path", "first_component", "second_component"
            places.append(dict(zip(names, (*key[:-1], name, *components), strict=True)))
    if not places:
        wanted = ", ".join(f"{path.first} and {path.second}" for path in PATHS.values())
        raise ValueError(f"`source` must hold both matrices of a path: {wanted}.")
    return as_dataset(places, fields, shuffles=shuffles)


def _check(head_dim: int | None, rotary: Pairing | None, shuffles: int) -> None:
    """Check the numbers and the word that were given."""
    for name, number in (("head_dim", head_dim), ("shuffles", shuffles)):
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"`{name}` must be an integer, got {number!r}.")
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}.")
    if rotary is not None:
        check_choice("rotary", rotary, _PAIRINGS)


def _heads(one: Chosen, head_dim: int | None, rotary: Pairing | None) -> Heads:
    """Tell how rows belong to heads: as given, else as config.json says."""
    found = rotary_of(one.config, one.place["component"])
    size = head_dim or found.size
    turned = found.turned if size == found.size else size
    return Heads(size, turned, rotary or found.pairing)
