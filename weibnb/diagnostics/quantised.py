"""What quantising is predicted to cost, as a result that people read and plan with."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weibnb.diagnostics.bit_budget import BitPlan, plan_bits
from weibnb.messages import counted, printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Matrices listed by the text and the HTML.
_LISTED = 10


@dataclass(frozen=True, slots=True, eq=False)
class Quantisation:
    """Predicted cost of quantising; prints as text and shows as HTML in a notebook.

    Attributes
    ----------
    predicted : xarray.Dataset
        On the dims of k and ``format``: ``sqnr`` (dB, infinite where nothing is lost), ``bits``
        (per weight, scales included), ``basis`` (what the number rests on, see `quantisation`)
        and ``status``; on the dims of k ``weights``.
    """

    predicted: xr.Dataset

    @property
    def table(self) -> pd.DataFrame:
        """One row for each matrix, the lowest SQNR of any format first.

        Labels, ``weights`` and the SQNR (dB) in a column for each format, then ``status``.
        """
        found = self.predicted
        keys = [str(dim) for dim in found["weights"].dims]
        table = found[["weights"]].to_dataframe(dim_order=keys)[["weights"]]
        formats = [str(name) for name in found["format"].values]
        for name in formats:
            chosen = found["sqnr"].sel(format=name).transpose(*keys)
            table[name] = chosen.values.ravel()
        words = found["status"].transpose(*keys, "format").values.reshape(-1, len(formats))
        table["status"] = [", ".join(dict.fromkeys(map(str, row))) for row in words]
        table = table[table["status"] != "absent"].reset_index()
        worst = table[formats].min(axis=1)
        return table.loc[worst.sort_values(kind="stable").index].reset_index(drop=True)

    def recommend(self, bits: float) -> BitPlan:
        """Choose a format for every matrix so that the model keeps to a budget.

        Parameters
        ----------
        bits : float
            Bits per weight, scales included, on average over all weights.

        Returns
        -------
        BitPlan
            The choice with the least noise, see `plan_bits`.

        Raises
        ------
        ValueError
            If the fits are of several models or steps, nothing was predicted, or the budget is
            below the cheapest formats.

        Examples
        --------
        >>> import numpy as np, weibnb as wb
        >>> rng = np.random.default_rng(0)
        >>> weights = {f"model.layers.{i}.mlp.{name}_proj.weight": rng.normal(size=(256, 256))
        ...            for i in range(2) for name in ("up", "down")}
        >>> weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 40.0
        >>> found = wb.quantisation(wb.scan({"tiny": weights}), formats=["int8", "int4"])
        >>> print(found.recommend(5.5))
        up_proj of layer 0 in int8, the rest in int4: 5.00 of 5.50 bits per weight, 16.3 dB overall.
        """
        return plan_bits(self.predicted, bits)

    @property
    def headline(self) -> str:
        """Say what was predicted, and the middle of it."""
        found = self.predicted
        number = int((found["status"] != "absent").any("format").sum())
        known = np.isfinite(found["sqnr"])
        middle = found["sqnr"].where(known).median([d for d in found["sqnr"].dims if d != "format"])
        parts = [
            f"{name} {value:.1f} dB" if np.isfinite(value) else f"{name} –"
            for name, value in zip(found["format"].values, middle.values, strict=True)
        ]
        return (
            f"Predicted SQNR of {counted(number, 'matrix', 'matrices')}, "
            f"{found.attrs['scales']}; medians: {', '.join(parts)}."
        )

    def __str__(self) -> str:
        return f"{self.headline}\n\n{self._worst().to_string(index=False, na_rep='–')}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self._worst().to_html(index=False, na_rep="–", border=0)
        return f"<p>{html.escape(self.headline)}</p>{table}"

    def _worst(self) -> pd.DataFrame:
        """Give the worst matrices as people see them, with names that are safe to print."""
        table = self.table.head(_LISTED).drop(columns="weights")
        for name in ("model", "component"):
            table[name] = table[name].map(printable)
        if self.predicted.sizes["step"] == 1:
            table = table.drop(columns="step")
        return table.round(1)
