"""The command line: ``weibnb scan``, ``check``, ``diff``, ``show`` and what else there is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.cli_arguments import check_step
from weibnb.cli_check import describe_check
from weibnb.cli_convert import describe_convert
from weibnb.cli_diff import describe_diff
from weibnb.cli_explore import describe_explore
from weibnb.cli_lab import describe_lab
from weibnb.cli_output import Stopped, open_closed_streams, say, tell, to_nowhere
from weibnb.cli_quantisation import describe_quantisation
from weibnb.cli_scan import describe_scan
from weibnb.cli_show import describe_show, table_text
from weibnb.cli_watch import describe_watch
from weibnb.interrupts import signals_as_interrupts
from weibnb.writing import EndingError, remove_unfinished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.cli_arguments import AddCommand

_STATUS = """\
exit status: 0 all done; 1 something could not be done and is named; 2 wrong usage;
of `check` 1 is a finding, of `diff` a change, and 2 what could not be checked or compared;
130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP, with what was done until then.
A second Ctrl-C ends at once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; ``sys.argv`` by default, without the program's name.

    Returns the exit status: 0, 1 where something could not be done, 2 for wrong usage, 128 and
    the signal's number after one.
    """
    with signals_as_interrupts(remove_unfinished) as stop:
        try:
            open_closed_streams()
            return _run(arguments)
        except KeyboardInterrupt as err:
            left = f"; {err}" if isinstance(err, Stopped) else ""
            tell(f"{stop.text}{left}")
            return stop.status


def _run(arguments: Sequence[str] | None) -> int:
    """Run a command, and say what it could not do."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except (argparse.ArgumentError, EndingError) as err:  # what no parser sees to be wrong
        tell(str(err))
        return 2
    except BrokenPipeError:  # the reader has seen enough
        to_nowhere(sys.stdout)
        return 1
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as err:
        tell(str(err))
        return 1
    return status


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
        describe_scan,
        describe_check,
        describe_diff,
        describe_quantisation,
        describe_watch,
        describe_convert,
        describe_show,
        _describe_report,
        _describe_demo,
        describe_explore,
        describe_lab,
        _describe_doctor,
    ):
        describe(commands.add_parser)
    return parser


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
        check_step(options.step, fits)
        write_report(fits, options.output, step=options.step, look=options.look)
    say(f"Wrote {options.output}.")
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
    say("A small decoder trained on the Python standard library's source, step by step.\n")
    fits = scan(demo_checkpoints())
    say(table_text(fits))
    save_fits(fits, options.output)
    say(
        f"\nWrote {options.output}. Next:\n"
        f"  weibnb show {options.output} --all      every matrix\n"
        f"  weibnb report {options.output}          what stands out, as one HTML page\n"
        "  weibnb scan PATH -o fits.nc         a checkpoint of yours\n"
        f"  python -c \"import weibnb as wb; print(wb.open_fits('{options.output}'))\""
    )
    return 0


def _describe_doctor(add: AddCommand) -> None:
    doctor = add("doctor", help="say what counts and fits on this machine, and why")
    doctor.set_defaults(run=_doctor)


def _doctor(_: argparse.Namespace) -> int:
    from weibnb.doctor import examine

    for name, text in examine().items():
        say(f"{name:<11}{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
