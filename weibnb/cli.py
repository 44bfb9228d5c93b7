"""The command line: ``weibnb scan``, ``check``, ``diff``, ``show`` and what else there is."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TextIO

from weibnb.interrupts import held, signals_as_interrupts
from weibnb.io.files import UnreadableWarning
from weibnb.messages import counted, printable_lines
from weibnb.writing import remove_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray as xr

    from weibnb.scanning.scan import ScanInterrupted

    AddCommand = Callable[..., argparse.ArgumentParser]

_STATUS = """\
exit status: 0 all done; 1 something could not be done and is named; 2 wrong usage;
of `check` 1 is a finding, of `diff` a change, and 2 what could not be checked or compared;
130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP, with what was done until then.
A second Ctrl-C ends at once."""


def _say(text: str) -> None:
    """Print; names from a file cannot steer the terminal."""
    print(printable_lines(text))


def _tell(text: str) -> None:
    """Print to stderr, if anyone is there to read it."""
    try:
        print(f"weibnb: {printable_lines(text)}", file=sys.stderr, flush=True)
    except OSError:
        _to_nowhere(sys.stderr)


class _Stopped(KeyboardInterrupt):
    """A command was interrupted; the text says what is left of its work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; ``sys.argv`` by default, without the program's name.

    Returns the exit status: 0, 1 where something could not be done, 2 for wrong usage, 128 and
    the signal's number after one.
    """
    with signals_as_interrupts(remove_unfinished) as stop:
        try:
            _open_closed_streams()
            return _run(arguments)
        except KeyboardInterrupt as err:
            left = f"; {err}" if isinstance(err, _Stopped) else ""
            _tell(f"{stop.text}{left}")
            return stop.status


def _run(arguments: Sequence[str] | None) -> int:
    """Run a command, and say what it could not do."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        _to_nowhere(sys.stdout)
        return 1
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as err:
        _tell(str(err))
        return 1
    return status


def _open_closed_streams() -> None:
    """Open what the shell closed to nowhere, lest a file take its number; spell what can be."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, io.TextIOWrapper(io.FileIO(nowhere, "w"), encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # λ and Δ on a terminal that lacks them


def _to_nowhere(stream: TextIO) -> None:
    """Let nothing more come to a stream that does not take it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    from weibnb.fits.schema import package_version

    parser = argparse.ArgumentParser(
        prog="weibnb",
        description="A microscope for trained weights: Weibull fits of |w|.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"weibnb {package_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for describe in (
        _describe_scan,
        _describe_check,
        _describe_diff,
        _describe_quantisation,
        _describe_watch,
        _describe_convert,
        _describe_show,
        _describe_report,
        _describe_demo,
        _describe_explore,
        _describe_lab,
        _describe_doctor,
    ):
        describe(commands.add_parser)
    return parser


def _describe_scan(add: AddCommand) -> None:
    scan = add("scan", help="fit every weight matrix of checkpoints")
    scan.add_argument(
        "paths",
        nargs="+",
        type=_source,
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
        type=_path,
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
        type=float,
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
    _describe_limits(scan)
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
        type=float,
        metavar="ERROR",
        help="read only so many rows of each matrix that k has this standard error against the "
        "whole matrix, such as 0.002",
    )
    scan.add_argument(
        "--sample",
        type=float,
        metavar="SHARE",
        help="read only this share of the rows of each matrix, such as 0.01; with --precision, "
        "at most",
    )


def _describe_limits(scan: argparse.ArgumentParser) -> None:
    """Add what tells of a checkpoint beyond its path: base, names, and what it may ask for."""
    scan.add_argument(
        "--base", type=_source, metavar="DIR", help="the model that adapters were trained on"
    )
    scan.add_argument(
        "--names",
        action=_AddName,
        metavar="PATTERN=COMPONENT",
        help="what matrices of unknown names are: 'net.*.weight=linear'; may be repeated",
    )
    _describe_sizes(scan)


def _describe_sizes(command: argparse.ArgumentParser) -> None:
    """Add what the headers of a checkpoint may hold."""
    from weibnb.io.limits import MAX_HEADER, MAX_TENSORS

    for name, metavar, number, what in (
        ("--max-tensors", "N", MAX_TENSORS, "most tensors of a checkpoint"),
        ("--max-header", "BYTES", MAX_HEADER, "most bytes of a header"),
    ):
        described = f"{what} (default: {number:,})"
        command.add_argument(name, type=int, metavar=metavar, default=number, help=described)


class _AddName(argparse.Action):
    """Gathers patterns and their components."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take one more; the pattern may hold =, the component does not."""
        pattern, equals, component = str(values).rpartition("=")
        names = dict(getattr(namespace, self.dest) or {})
        if not equals or pattern in names:
            problem = "was given before" if equals else f"is no PATTERN=COMPONENT: {component!r}"
            parser.error(f"{option_string} {pattern!r} {problem}")
        setattr(namespace, self.dest, {**names, pattern: component})


def _path(text: str) -> Path:
    """Take a path from the command line; an empty one, of a variable without value, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("a path is empty; pass . for the current directory")
    return Path(text)


def _source(text: str) -> Path | str:
    """Take a path, or a URL, which is none."""
    return text if "://" in text else _path(text)


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
        with _warnings_told() as unreadable:
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
            raise _Stopped(_keep(stop, output, force=options.force)) from stop
    elapsed = time.perf_counter() - started
    done = int(fits["n_matrices"].where(fits["status"] != "pending", 0).sum())
    try:
        with held():  # what was counted is kept, whenever Ctrl-C comes
            if output is not None and store is None:
                save_fits(fits, output, force=options.force)
            _say(table_text(fits))
            _say(f"\n{done:,} matrices in {elapsed:.2f} s.{_left_out(fits)}")
            one = output or (options.paths[0] if len(options.paths) == 1 else "PATH")
            _say(_verdict(fits, str(one)))
            if output is not None:
                _say(f"Wrote {output}. See it again with: weibnb show {output}")
            sys.stdout.flush()
    except KeyboardInterrupt as err:
        where = f"kept in {output}" if output else "shown above, not saved"
        raise _Stopped(f"the {done:,} matrices are {where}") from err
    return 1 if unreadable else 0


def _verdict(fits: xr.Dataset, where: str) -> str:
    """Say how many errors there are, and who tells more."""
    from weibnb.diagnostics.check import count_errors

    number = count_errors(fits)
    return f"{counted(number, 'error')}. Which, and what else: weibnb check {quote(where)}"


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
    _say(table_text(stop.fits))
    sys.stdout.flush()
    return f"{so_far} shown above, not saved"


@contextmanager
def _warnings_told() -> Iterator[list[str]]:
    """Tell warnings as all else is told; give those on what could not be read."""
    unreadable: list[str] = []
    with warnings.catch_warnings(record=True) as raised:
        try:
            yield unreadable
        finally:
            for warning in raised:
                text = str(warning.message)
                unreadable += [text] * issubclass(warning.category, UnreadableWarning)
                _tell(text)


def _left_out(fits: xr.Dataset) -> str:
    """Count the tensors that are not fitted by their reason; name the checkpoints left out."""
    from weibnb.fits.select import not_fitted
    from weibnb.io.names import names_for_shell

    listed = not_fitted(fits)
    tensors = listed[listed["tensor"] != ""]
    reasons = tensors["reason"].value_counts()
    text = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    lines = [f" Not fitted: {text}."] if text else []
    if options := names_for_shell(tensors[["tensor", "shape", "reason"]].values.tolist()):
        lines.append(f"To place the unrecognised: weibnb scan {options} PATH")
    lines += [
        f"{row.model}, step {row.step}: {row.reason}"
        for row in listed[listed["tensor"] == ""].itertuples()
    ]
    return "\n".join(lines)


def _describe_check(add: AddCommand) -> None:
    from weibnb.cli_check import describe_check

    check = describe_check(add, _source, _describe_limits)
    check.formatter_class = argparse.RawDescriptionHelpFormatter
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from weibnb.cli_check import run_check

    return _judged(run_check, options)


def _describe_diff(add: AddCommand) -> None:
    from weibnb.cli_diff import describe_diff

    diff = describe_diff(add, _source, _describe_limits)
    diff.formatter_class = argparse.RawDescriptionHelpFormatter
    diff.set_defaults(run=_diff)


def _diff(options: argparse.Namespace) -> int:
    from weibnb.cli_diff import run_diff

    return _judged(run_diff, options)


def _judged(
    run: Callable[[argparse.Namespace], tuple[str, int]], options: argparse.Namespace
) -> int:
    """Print what a command found; 2 where it could not look."""
    try:
        with _warnings_told():
            text, status = run(options)
    except (ValueError, OSError, ImportError, RuntimeError) as err:
        _tell(str(err))
        return 2
    _say(text)
    return status


def _describe_quantisation(add: AddCommand) -> None:
    from weibnb.cli_quantisation import describe_quantisation

    describe_quantisation(add, _source, _describe_limits).set_defaults(run=_quantisation)


def _quantisation(options: argparse.Namespace) -> int:
    from weibnb.cli_quantisation import run_quantisation

    with _warnings_told():
        _say(run_quantisation(options))
    return 0


def _describe_watch(add: AddCommand) -> None:
    from weibnb.cli_watch import describe_watch

    watch = describe_watch(add, _path)
    watch.formatter_class = argparse.RawDescriptionHelpFormatter
    watch.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    from weibnb.cli_watch import run_watch

    return run_watch(options, _say, _tell)


def _describe_convert(add: AddCommand) -> None:
    from weibnb.cli_convert import describe_convert

    describe_convert(add, _path, _describe_sizes).set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from weibnb.cli_convert import run_convert

    _say(run_convert(options))
    return 0


def _describe_show(add: AddCommand) -> None:
    show = add("show", help="print the table of a file of fits")
    show.add_argument("file", type=Path, metavar="FITS", help="a file that scan wrote")
    show.add_argument("--all", action="store_true", help="one row per matrix")
    show.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    from weibnb.fits.files import open_fits

    with open_fits(options.file) as fits:
        _say(table_text(fits, each=options.all))
        _say(_left_out(fits).strip())
        _say(_verdict(fits, str(options.file)))
    return 0


def _describe_report(add: AddCommand) -> None:
    report = add("report", help="write what a colleague reads in two minutes")
    report.add_argument("file", type=Path, metavar="FITS", help="a file that scan wrote")
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        help=".html, or .csv and .parquet for the table of all matrices (default: report.html)",
    )
    report.add_argument("--step", type=int, help="step of a run (default: the last)")
    report.add_argument(
        "--look", action="store_true", help="open the checkpoints again to place outlying weights"
    )
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from weibnb.fits.files import open_fits
    from weibnb.report import write_report

    with open_fits(options.file) as fits:
        write_report(fits, options.output, step=options.step, look=options.look)
    _say(f"Wrote {options.output}.")
    return 0


def _describe_demo(add: AddCommand) -> None:
    demo = add("demo", help="scan the packaged training run")
    demo.add_argument("-o", "--output", type=Path, default=Path("weibnb-demo.nc"))
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from weibnb.fits.files import check_fits_target, save_fits
    from weibnb.io.sources import demo_checkpoints
    from weibnb.scanning.scan import scan

    check_fits_target(options.output)
    _say("A small decoder trained on the Python standard library's source, step by step.\n")
    fits = scan(demo_checkpoints())
    _say(table_text(fits))
    save_fits(fits, options.output)
    _say(
        f"\nWrote {options.output}. Next:\n"
        f"  weibnb show {options.output} --all      every matrix\n"
        f"  weibnb report {options.output}          what stands out, as one HTML page\n"
        "  weibnb scan PATH -o fits.nc         a checkpoint of yours\n"
        f"  python -c \"import weibnb as wb; print(wb.open_fits('{options.output}'))\""
    )
    return 0


def _describe_explore(add: AddCommand) -> None:
    from weibnb.cli_explore import describe_explore, run_explore

    describe_explore(add, _source).set_defaults(run=run_explore)


def _describe_lab(add: AddCommand) -> None:
    lab = add("lab", help="copy the tutorials and open them in JupyterLab")
    lab.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path("weibnb-tutorials"),
        metavar="DIR",
        help="where to; files that differ are kept (default: weibnb-tutorials)",
    )
    lab.add_argument("--no-browser", action="store_true", help="print the address instead")
    lab.set_defaults(run=_lab)


def _lab(options: argparse.Namespace) -> int:
    if find_spec("jupyterlab") is None:
        raise ImportError("JupyterLab is not installed: pip install 'weibnb[lab]'")
    first, kept = copy_tutorials(options.directory)
    for name in kept:
        _say(f"{name} kept: it differs from the packaged one")
    address = f"--LabApp.default_url=/lab/tree/{first.name}"
    command = [sys.executable, "-m", "jupyterlab", str(first), address]
    if options.no_browser:
        command.append("--no-browser")
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (no shell is wanted)


def _describe_doctor(add: AddCommand) -> None:
    doctor = add("doctor", help="say what counts and fits on this machine, and why")
    doctor.set_defaults(run=_doctor)


def _doctor(_: argparse.Namespace) -> int:
    from weibnb.doctor import examine

    for name, text in examine().items():
        _say(f"{name:<11}{text}")
    return 0


def copy_tutorials(directory: Path) -> tuple[Path, list[str]]:
    """Copy the tutorials into a directory; a file that is there already is never written to.

    Returns the copy to begin with, and the names of the files that were there with other content.
    """
    package = Path(__file__).parent
    places = (package / "data" / "notebooks", package.parent / "notebooks")  # wheel, clone
    found = (sorted(place.glob("*.ipynb")) for place in places)
    notebooks = next(filter(None, found), [])
    if not notebooks:
        raise FileNotFoundError(f"no tutorials in {places[0]}: install weibnb again")
    directory.mkdir(parents=True, exist_ok=True)
    kept = []
    for notebook in notebooks:
        target, content = directory / notebook.name, notebook.read_bytes()
        try:
            with target.open("xb") as file:
                file.write(content)
        except FileExistsError:
            if not target.is_file() or target.read_bytes() != content:
                kept.append(notebook.name)
    return directory / notebooks[0].name, kept


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


if __name__ == "__main__":
    sys.exit(main())
