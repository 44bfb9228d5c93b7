"""``weibnb quantisation``: what fewer bits would cost each matrix, and which format where."""

from __future__ import annotations

import argparse
from math import inf
from typing import TYPE_CHECKING

from weibnb.cli_arguments import as_source, between, check_step, describe_limits
from weibnb.cli_output import say, warnings_told
from weibnb.messages import did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.cli_arguments import AddCommand
    from weibnb.diagnostics.bit_budget import BitPlan
    from weibnb.diagnostics.quantisation import Block
    from weibnb.diagnostics.quantised import Quantisation


def describe_quantisation(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add("quantisation", help="predict what int8, int4, fp8, nf4 and mxfp4 would cost")
    command.add_argument(
        "path",
        type=as_source,
        metavar="PATH_OR_FITS",
        help="what scan takes, or a file of fits (fits.nc) or a store (fits.db)",
    )
    command.add_argument(
        "--formats",
        type=_formats,
        metavar="FORMAT,FORMAT",
        help="int8, int4, fp8_e4m3, nf4, mxfp4 (default: all)",
    )
    command.add_argument(
        "--block",
        type=_block,
        default="matrix",
        metavar="BLOCK",
        help="weights that share a scale: matrix, row, or a number such as 32 (default: matrix)",
    )
    command.add_argument(
        "--bits",
        type=between(0.0, inf),
        metavar="BITS",
        help="plan formats for so many bits per weight",
    )
    command.add_argument("--step", type=int, help="step of a run (default: the last)")
    describe_limits(command)
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(run=_quantisation)


def _quantisation(options: argparse.Namespace) -> int:
    """Predict, and print what was found."""
    with warnings_told():
        say(_predicted(options))
    return 0


def _predicted(options: argparse.Namespace) -> str:
    """Give what is to be printed: of each model the worst matrices, and the plan."""
    from weibnb.diagnostics.number_formats import NUMBER_FORMATS
    from weibnb.diagnostics.quantisation import quantisation

    fits = _fits(options)
    check_step(options.step, fits)
    fits = fits if options.step is None else fits.sel(step=[options.step])
    formats = options.formats or NUMBER_FORMATS
    parts = []
    for model in fits["model"].values.tolist():
        one = fits.sel(model=[model])
        there = (one["status"] != "absent").any([dim for dim in one["k"].dims if dim != "step"])
        last = int(there.values.nonzero()[0][-1]) if there.values.any() else 0
        found = quantisation(one.isel(step=[last]), formats=formats, block=options.block)
        parts.append(str(found))
        if options.bits is not None:
            parts.append(str(_plan(found, options.bits)))
    return "\n\n".join(parts)


def _fits(options: argparse.Namespace) -> xr.Dataset:
    """Open fits, or scan with the RMS of every row, which blocks need."""
    from weibnb.fits.files import open_fits
    from weibnb.fits.store_schema import STORE_SUFFIXES
    from weibnb.scanning.scan import scan

    if options.path.suffix.lower() in (".nc", *STORE_SUFFIXES):
        with open_fits(options.path) as fits:
            return fits.load()
    return scan(
        options.path,
        device="cpu",
        fields=options.block is not None,
        max_tensors=options.max_tensors,
        max_header=options.max_header,
        progress=False if options.quiet else None,
    )


def _plan(found: Quantisation, bits: float) -> BitPlan:
    """Choose formats, or raise wrong usage where they take more bits than there are."""
    from weibnb.diagnostics.bit_budget import TooFewBitsError

    try:
        return found.recommend(bits)
    except TooFewBitsError as err:
        raise argparse.ArgumentError(None, str(err).replace("`bits`", "--bits")) from err


def _formats(text: str) -> list[str]:
    """Take names of formats from the command line."""
    from weibnb.diagnostics.number_formats import NUMBER_FORMATS

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NUMBER_FORMATS:
            known = ", ".join(NUMBER_FORMATS)
            hint = did_you_mean(name, NUMBER_FORMATS)
            raise argparse.ArgumentTypeError(f"must be some of {known}, got {name!r}.{hint}")
    return names


def _block(text: str) -> Block:
    """Take a block from the command line."""
    if text == "matrix":
        return None
    if text == "row":
        return "row"
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be matrix, row or a number of weights, got {text!r}")
