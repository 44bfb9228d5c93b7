"""``weibnb show``: fits as a table of text, what is not in it, and the verdict."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from weibnb.cli_output import say
from weibnb.messages import counted

if TYPE_CHECKING:
    import argparse

    import xarray as xr

    from weibnb.cli_arguments import AddCommand


def describe_show(add: AddCommand) -> None:
    """Add the command to the parser."""
    show = add("show", help="print the table of a file of fits")
    show.add_argument("file", type=Path, metavar="FITS", help="a file that scan wrote")
    show.add_argument("--all", action="store_true", help="one row per matrix")
    show.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    from weibnb.fits.files import open_fits

    with open_fits(options.file) as fits:
        say(table_text(fits, each=options.all))
        say(left_out(fits).strip())
        say(verdict(fits, str(options.file)))
    return 0


def table_text(fits: xr.Dataset, *, each: bool = False) -> str:
    """Write fits as text: a table by component, or of each cell, and what the numbers are."""
    import numpy as np

    from weibnb.fits.schema import gaussian_anchor, protocol_of
    from weibnb.fits.tables import NUMBER_FORMATS, shown_components
    from weibnb.fitting.weibull import protocol_text

    estimator, trim = protocol_of(fits)
    reference = gaussian_anchor(fits)
    if each:
        columns = ["k", "k_se", "lam", "r2", "n", "status"]
        table = fits[columns].to_dataframe()[columns].reset_index()
        table = table[table["status"] != "absent"].sort_values(["model", "step"], kind="stable")
    else:
        table = shown_components(fits)
        table["Δk %"] = 100 * (table["k"] / reference.k - 1)
    if fits.sizes["step"] == 1:
        table = table.drop(columns="step")
    formats = NUMBER_FORMATS | {"lam": "{:.5g}"}
    table["k"] = ["no fit" if np.isnan(k) else formats["k"].format(k) for k in table["k"]]
    del formats["k"]
    text = table.to_string(
        index=False, na_rep="–", formatters={name: form.format for name, form in formats.items()}
    )
    return (
        f"{text}\n\n"
        f"k, λ: Weibull shape and scale of |w| ({protocol_text(trim, estimator)}); "
        "medians over layers, k_se: sampling error of one matrix.\n"
        f"An untrained Gaussian matrix gives k = {reference.k:.4f}, λ = "
        f"{reference.lam_over_rms:.4f} σ, r2 = {reference.r2:.4f}."
    )


def left_out(fits: xr.Dataset) -> str:
    """Count the tensors that are not fitted by their reason; name the checkpoints left out."""
    from weibnb.fits.select import not_fitted
    from weibnb.io.names import names_for_shell

    listed = not_fitted(fits)
    tensors = listed[listed["dtype"] != ""]
    reasons = tensors["reason"].value_counts()
    text = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    lines = [f" Not fitted: {text}."] if text else []
    if options := names_for_shell(tensors[["tensor", "shape", "reason"]].values.tolist()):
        lines.append(f"To place the unrecognised: weibnb scan {options} PATH")
    lines += [
        f"{row.model}, step {row.step}: {row.reason}"
        for row in listed[listed["dtype"] == ""].itertuples()
    ]
    return "\n".join(lines)


def verdict(fits: xr.Dataset, where: str) -> str:
    """Say how many errors there are, and who tells more."""
    from weibnb.diagnostics.check import count_errors

    number = count_errors(fits)
    return f"{counted(number, 'error')}. Which, and what else: weibnb check {quote(where)}"
