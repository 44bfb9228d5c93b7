"""What quantising costs: a map of the predicted SQNR for each format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.layers import Colours, heat
from weibnb.charts.marks import notice
from weibnb.charts.sentences import listed, summary
from weibnb.charts.tables import layer_medians
from weibnb.diagnostics.quantised import Quantisation
from weibnb.messages import counted, printable, shortened

if TYPE_CHECKING:
    import pandas as pd

    from weibnb.charts.vega import Spec

_TITLE = "Predicted SQNR of each matrix, in dB from the median of its format"
_TIPS = ("sqnr=SQNR, dB", "value=from the median, dB", "bits=bits per weight")

# Half a bit more or less is the least that fills the colours.
_COLOURS = Colours(0.0, "the median", 3.0)


@as_chart
def quantisation(found: Quantisation) -> Spec:
    """Map what quantising costs each matrix: one small multiple for each format.

    Parameters
    ----------
    found : Quantisation
        From `weibnb.quantisation`, of one model and one step.

    Returns
    -------
    altair chart
        Layers and components; colours and numbers are the SQNR of a matrix less the median of all
        matrices in this format, which the title of the panel has: what is far below it wants more
        bits. The tooltip has the SQNR itself and the bits per weight. A hatched cell has no
        prediction, or loses nothing; its tooltip says which. Medians are drawn over experts.

    Raises
    ------
    TypeError, ValueError
        If `found` is something else, or of several models or steps.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(size=(64, 64))
    ...            for i in range(3)}
    >>> chart = quantisation(wb.quantisation(wb.scan({"tiny": weights}), formats=["int8", "nf4"]))
    """
    table = _table(_checked(found))
    names = [shortened(name, 40) for name in found.predicted["model"].values]
    about = f"{', '.join(names)} · {found.predicted.attrs['scales']}"
    notes = [about, "blue: below the median, wants more bits"]
    if not table["value"].notna().any():
        reasons = table["reason"].value_counts()
        number = counted(int(reasons.sum()), "cell")
        lines = [f"None of the {number} has a prediction:"]
        title = {"text": _TITLE, "subtitle": [about]}
        return notice(title, [*lines, *(f"{word}: {n:,}" for word, n in reasons.head(6).items())])
    table, note = layer_medians(table)
    title = {"text": _TITLE, "subtitle": [*notes, *([note] if note else [])]}
    told = f"{summary(table, 'value', _TITLE)} {listed(sorted(set(table['panel'])))}"
    drawn = heat(table, title, "dB", colours=_COLOURS, tips=_TIPS, digits=".1f")
    return drawn | {"description": told}


def _checked(found: Quantisation) -> Quantisation:
    """Raise for what does not come from `weibnb.quantisation`, or is of several checkpoints."""
    if not isinstance(found, Quantisation):
        raise TypeError(
            f"`found` must come from weibnb.quantisation, got {type(found).__name__}. "
            "Run charts.quantisation(wb.quantisation(fits))."
        )
    for dim in ("model", "step"):
        if found.predicted.sizes[dim] != 1:
            raise ValueError(
                f"`found` must be of one {dim}, got {found.predicted.sizes[dim]}. Select one: "
                f"weibnb.quantisation(fits.isel({dim}=[-1]))."
            )
    return found


def _table(found: Quantisation) -> pd.DataFrame:
    """List matrices and formats: ``value`` in dB from the median, with the panel of the format."""
    table = found.predicted[["sqnr", "bits", "status"]].to_dataframe().reset_index()
    table = table[table["status"] != "absent"].reset_index(drop=True)
    orders = {
        name: {label: i for i, label in enumerate(found.predicted[name].values.tolist())}
        for name in ("component", "format")
    }
    finite = table["sqnr"].where(np.isfinite(table["sqnr"]))
    medians = finite.groupby(table["format"]).median()
    panels = {
        name: f"{name}: median {value:.1f} dB" if np.isfinite(value) else f"{name}: none"
        for name, value in medians.items()
    }
    return table.assign(
        sqnr=finite,
        value=finite - table["format"].map(medians),
        reason=table["status"],
        component_order=table["component"].map(orders["component"]),
        place=table["format"].map(orders["format"]),
        panel=table["format"].map(panels),
        component=table["component"].map(printable),
        model=table["model"].map(printable),
    )
