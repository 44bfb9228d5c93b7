"""``weibnb scan``: fits of checkpoints, shown and written, also of a scan that was stopped."""

from __future__ import annotations

import sys
import time
from math import inf
from typing import TYPE_CHECKING

from weibnb.cli_arguments import Interval, as_path, as_source, between, describe_limits
from weibnb.cli_output import Stopped, say, warnings_told
from weibnb.cli_show import left_out, table_text, verdict
from weibnb.interrupts import held

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from weibnb.cli_arguments import AddCommand
    from weibnb.scanning.scan import ScanInterrupted


def describe_scan(add: AddCommand) -> None:
    """Add the command to the parser."""
    scan = add("scan", help="fit every weight matrix of checkpoints")
    scan.add_argument(
        "paths",
        nargs="+",
        type=as_source,
        metavar="PATH",
        help="safetensors file, directory of them, of step directories, of models, or a pattern; "
        "a model id of the Hugging Face Hub; or a URL: hf://org/name@revision, https://, s3://",
    )
    scan.add_argument(
        "--revision",
        action="append",
        metavar="NAME",
        help="branch, tag or commit of a repository on the Hub, 'step*' for all that fit; may be "
        "repeated",
    )
    scan.add_argument(
        "-o",
        "--output",
        type=as_path,
        metavar="FITS",
        help="where the fits go: fits.nc (netCDF, written at the end) or fits.db (a store, written "
        "while it scans: a scan that was stopped goes on from there, unchanged files are not read "
        "again)",
    )
    scan.add_argument(
        "--rescan", action="store_true", help="scan anew what is in the store (-o fits.db)"
    )
    scan.add_argument(
        "--trim",
        nargs=2,
        type=between(0.0, 1.0, ends=True),
        action=Interval,
        metavar=("LOWER", "UPPER"),
        help="probability interval that is fitted (default: 0.1 0.9; likelihood: 0 1)",
    )
    scan.add_argument(
        "--estimator",
        choices=["rank_regression", "maximum_likelihood"],
        default="rank_regression",
        help="default: rank_regression",
    )
    scan.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps, or several: cuda:0,cuda:1 (default: auto)",
    )
    scan.add_argument(
        "--backend",
        choices=["auto", "numba", "torch"],
        default="auto",
        help="what fits: torch on a CUDA device, else compiled code (auto), or one of them",
    )
    scan.add_argument("--experts", choices=["median", "each"], default="median")
    scan.add_argument(
        "--fused",
        choices=["keep", "split", "both"],
        default="keep",
        help="fit qkv and gate_up as they are stored, their parts, or both (default: keep)",
    )
    scan.add_argument(
        "--dequantise",
        action="store_true",
        help="fit quantised weights (FP8, MXFP4, NVFP4) as the numbers that they stand for",
    )
    _describe_structure(scan)
    _describe_sampling(scan)
    describe_limits(scan)
    scan.add_argument(
        "--force", action="store_true", help="replace an output that is no file of fits"
    )
    scan.add_argument("--quiet", action="store_true", help="no progress bar")
    scan.set_defaults(run=_scan)


def _describe_structure(scan: argparse.ArgumentParser) -> None:
    """Add how rows and columns are looked at."""
    scan.add_argument(
        "--fields",
        action="store_true",
        help="look at every row and column, and keep the RMS of each (reads each matrix twice)",
    )
    scan.add_argument(
        "--no-structure",
        dest="structure",
        action="store_false",
        help="look at no rows and columns: errors as if weights were independent",
    )


def _describe_sampling(scan: argparse.ArgumentParser) -> None:
    """Add how much of each matrix is read."""
    scan.add_argument(
        "--precision",
        type=between(0.0, inf),
        metavar="ERROR",
        help="read only so many rows of each matrix that k has this standard error against the "
        "whole matrix, such as 0.002",
    )
    scan.add_argument(
        "--sample",
        type=between(0.0, 1.0),
        metavar="SHARE",
        help="read only this share of the rows of each matrix, such as 0.01; with --precision, "
        "at most",
    )


def _scan(options: argparse.Namespace) -> int:
    from weibnb.fits.files import check_fits_target, refuse_inputs, save_fits
    from weibnb.fits.store_schema import STORE_SUFFIXES
    from weibnb.scanning.scan import ScanInterrupted, scan

    unreadable: list[str]
    output: Path | None = options.output
    store = output if output is not None and output.suffix.lower() in STORE_SUFFIXES else None
    if output is not None:
        target = store or check_fits_target(output, force=options.force)
        refuse_inputs(target, options.paths)
    started = time.perf_counter()
    try:
        with warnings_told() as unreadable:
            fits = scan(
                options.paths,
                revision=options.revision,
                base=options.base,
                names=options.names,
                trim=options.trim,
                estimator=options.estimator,
                device=options.device.split(","),
                backend=options.backend,
                experts=options.experts,
                fused=options.fused,
                dequantise=options.dequantise,
                store=store,
                rescan=options.rescan,
                max_tensors=options.max_tensors,
                max_header=options.max_header,
                structure=options.structure,
                sample=options.sample,
                precision=options.precision,
                fields=options.fields,
                progress=False if options.quiet else None,
            )
    except ScanInterrupted as stop:
        with held():
            raise Stopped(_keep(stop, output, force=options.force)) from stop
    elapsed = time.perf_counter() - started
    done = int(fits["n_matrices"].where(fits["status"] != "pending", 0).sum())
    try:
        with held():  # what was counted is kept, whenever Ctrl-C comes
            if output is None:
                say(table_text(fits))
            elif store is None:
                save_fits(fits, output, force=options.force)
        if output is not None:
            say(table_text(fits))
        say(f"\n{done:,} matrices in {elapsed:.2f} s.{left_out(fits)}")
        one = output or (options.paths[0] if len(options.paths) == 1 else "PATH")
        say(verdict(fits, str(one)))
        if output is not None:
            say(f"Wrote {output}. See it again with: weibnb show {output}")
        sys.stdout.flush()
    except KeyboardInterrupt as err:
        where = f"kept in {output}" if output else "shown above, not saved"
        raise Stopped(f"the {done:,} matrices are {where}") from err
    return 1 if unreadable else 0


def _keep(stop: ScanInterrupted, output: Path | None, *, force: bool) -> str:
    """Write, or show, what a scan did until it was stopped; say where it is."""
    from weibnb.fits.files import save_fits
    from weibnb.fits.store_schema import STORE_SUFFIXES

    so_far = f"the {stop.matrices:,} matrices so far are"
    if output is not None and output.suffix.lower() in STORE_SUFFIXES:
        return f"{so_far} kept in {output}; the same command goes on from there"
    if stop.fits is None:
        return "nothing was written"
    if output is not None:
        save_fits(stop.fits, output, force=force)
        return f"{so_far} kept in {output}"
    say(table_text(stop.fits))
    sys.stdout.flush()
    return f"{so_far} shown above, not saved"
