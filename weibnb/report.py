"""What a colleague wants to read in two minutes, as text and as HTML; fits as CSV or Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from weibnb import report_tables
from weibnb.diagnostics.rules.material import pool_estimates
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare
from weibnb.fits.select import not_fitted
from weibnb.fits.tables import csv_text, shown_components, tidy
from weibnb.messages import grouped
from weibnb.pictures import pictures_of
from weibnb.report_page import FINDINGS, Summary
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import xarray as xr

    from weibnb.report_page import Section


def summary(fits: xr.Dataset, *, step: int | None = None, look: bool = False) -> Summary:
    """Say what a scan shows: tables by class and component, what stands out and why.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    step : int, optional
        Step to report of a run; by default the last.
    look : bool
        Open the checkpoints again to give the place of outlying weights.

    Returns
    -------
    Summary
        Prints as text, shows as HTML in a notebook; `write_report` writes it to a file.

    Raises
    ------
    CheckpointError
        If `look` is asked for and a checkpoint is not there any more.
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or has no such step.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(0, 0.02, (256, 256))
    ...            for i in range(4)}
    >>> weights["model.layers.2.mlp.up_proj.weight"] **= 3
    >>> text = summary(wb.scan({"tiny": weights}))
    >>> text.sections["Layers that stand out"][0]["layer"].tolist()
    [2]
    """
    fits = prepare(fits, "n", "n_matrices", "r2", "source", "problem", dims=DIMS)
    steps = fits["step"].values.tolist()
    if step is not None and step not in steps:
        raise ValueError(f"`step` must be one of {steps}, got {step!r}.")
    chosen = steps[-1] if step is None else step
    run, fits = fits, fits.sel(step=[chosen]) if len(steps) > 1 else fits
    reference = gaussian_anchor(fits)
    listed = not_fitted(fits)
    cells = tidy(fits)
    ends = " to ".join(grouped(end) for end in (steps[0], steps[-1]))
    among = f" of {len(steps):,}, from {ends}" if len(steps) > 1 else ""
    pooled = pool_estimates(fits)
    verdict, findings = report_tables.findings(fits, pooled)
    standing_out = report_tables.standouts(fits, cells, pooled)
    headline = (
        verdict,
        f"{', '.join(map(str, fits['model'].values))}; step {grouped(chosen)}{among}.",
        f"{report_tables.sizes(cells)}; {len(listed):,} tensors in no sound fit.",
        f"{report_tables.made_by(fits, reference)}.",
        *report_tables.missing_checkpoints(fits, chosen),
    )
    sections: dict[str, Section] = {
        FINDINGS: findings,
        "By class": (report_tables.classes(cells, reference.k), ""),
        "By component": (
            shown_components(fits).drop(columns="step"),
            "Medians over layers; k_se is the sampling error of one matrix.",
        ),
        "Layers that stand out": standing_out,
        "Outliers": report_tables.outliers(fits, look=True)
        if look
        else report_tables.if_available(lambda: report_tables.outliers(fits, look=False)),
        "Transmission band": report_tables.if_available(lambda: report_tables.band(fits)),
        "Training budget": report_tables.if_available(lambda: report_tables.budgets(fits)),
        "Nearest published models": report_tables.if_available(
            lambda: report_tables.nearest_models(fits)
        ),
        "Not fitted": report_tables.left_out(listed),
    }
    far = standing_out[0] if isinstance(standing_out[0], pd.DataFrame) else pd.DataFrame()
    return Summary(
        headline,
        sections,
        report_tables.maps_of_k(fits),
        reference.k,
        tuple(pictures_of(fits, run, far)),
        report_tables.maps_of_status(fits),
    )


def write_report(
    fits: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    step: int | None = None,
    look: bool = False,
) -> Path:
    """Write a report as HTML, or the tidy table as CSV or Parquet.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    path : path
        The file: ``.html``, ``.csv`` or ``.parquet``.
    step, look
        As in `summary`; the tables hold every step.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If Parquet is asked for and pyarrow is not installed.
    ValueError
        If the ending is another one.
    OSError
        If the file cannot be written; what was there before is untouched.

    Examples
    --------
    >>> import tempfile, numpy as np, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_report(fits, f"{directory}/report.html").name
    'report.html'
    """
    target = check_target(path, (".html", ".csv", ".parquet"), "report")
    ending = target.suffix.lower()
    if ending == ".html":
        return write_whole(target, summary(fits, step=step, look=look).to_html())
    if ending == ".csv":
        return write_whole(target, csv_text(tidy(fits)))
    try:
        return write_whole(target, tidy(fits).to_parquet(index=False, engine="pyarrow"))
    except ImportError as err:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install 'weibnb[parquet]'"
        ) from err
