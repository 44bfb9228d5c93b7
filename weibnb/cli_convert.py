"""``weibnb convert``: a checkpoint as one safetensors file, without running a pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    AddCommand = Callable[..., argparse.ArgumentParser]


def describe_convert(
    add: AddCommand, path: Callable[[str], object], limits: Callable[..., None]
) -> argparse.ArgumentParser:
    """Add the command to the parser; `path` reads a path, `limits` adds what may be read."""
    command = add("convert", help="write a checkpoint as safetensors; no pickle is executed")
    command.add_argument(
        "path", type=path, metavar="PATH", help="a checkpoint that scan takes, or a legacy .bin"
    )
    command.add_argument(
        "-o", "--output", type=path, required=True, metavar="FILE", help="model.safetensors"
    )
    command.add_argument(
        "--dequantise",
        action="store_true",
        help="write quantised weights (FP8, MXFP4, NVFP4) as the numbers that they stand for",
    )
    command.add_argument("--force", action="store_true", help="replace a file that is there")
    limits(command)
    return command


def run_convert(options: argparse.Namespace) -> str:
    """Convert, and give what is to be printed."""
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
    return "\n".join([*notes, f"Wrote {options.output}."])
