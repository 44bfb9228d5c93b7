"""``weibnb convert``: a checkpoint as one safetensors file, without running a pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weibnb.cli_arguments import as_path, describe_sizes
from weibnb.cli_output import say

if TYPE_CHECKING:
    import argparse

    from weibnb.cli_arguments import AddCommand


def describe_convert(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add("convert", help="write a checkpoint as safetensors; no pickle is executed")
    command.add_argument(
        "path", type=as_path, metavar="PATH", help="a checkpoint that scan takes, or a legacy .bin"
    )
    command.add_argument(
        "-o", "--output", type=as_path, required=True, metavar="FILE", help="model.safetensors"
    )
    command.add_argument(
        "--dequantise",
        action="store_true",
        help="write quantised weights (FP8, MXFP4, NVFP4) as the numbers that they stand for",
    )
    command.add_argument("--force", action="store_true", help="replace a file that is there")
    describe_sizes(command)
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    """Convert, and print what is to be known of it."""
    from weibnb.fits.files import refuse_inputs
    from weibnb.io.convert import convert
    from weibnb.io.limits import Limits

    refuse_inputs(options.output, [options.path])
    limits = Limits(max_tensors=options.max_tensors, max_header=options.max_header)
    notes = convert(
        options.path,
        options.output,
        dequantise=options.dequantise,
        force=options.force,
        limits=limits,
    )
    say("\n".join([*notes, f"Wrote {options.output}."]))
    return 0
