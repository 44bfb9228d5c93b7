"""``weibnb check``: is a checkpoint healthy, as text or for a machine, with an exit status."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from weibnb.cli_arguments import as_source, describe_limits
from weibnb.cli_output import judged

if TYPE_CHECKING:
    from weibnb.cli_arguments import AddCommand

_STATUS = """\
exit status: 0 no finding at or above --fail-on; 1 there is one; 2 it could not be checked,
for the reason that is named; 130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP."""


def describe_check(add: AddCommand) -> None:
    """Add the command to the parser."""
    from weibnb.diagnostics.check_formats import FORMATS
    from weibnb.diagnostics.findings import SEVERITIES

    check = add(
        "check",
        help="tell whether a checkpoint is healthy",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "path",
        type=as_source,
        metavar="PATH_OR_FITS",
        help="what scan takes, or a file of fits (fits.nc) or a store (fits.db)",
    )
    check.add_argument(
        "--revision",
        action="append",
        metavar="NAME",
        help="branch, tag or commit of a repository on the Hub, as of scan",
    )
    check.add_argument(
        "--format", default="text", metavar="FORMAT", help=f"{', '.join(FORMATS)} (default: text)"
    )
    check.add_argument(
        "--fail-on",
        default="error",
        metavar="SEVERITY",
        help=f"{', '.join(SEVERITIES)}: from which on the exit status is 1 (default: error)",
    )
    for option, what in (("--select", "go by these alone"), ("--ignore", "leave these out")):
        check.add_argument(
            option, action="extend", type=_names, metavar="RULE,RULE", help=f"rules: {what}"
        )
    check.add_argument(
        "--baseline", type=as_source, metavar="FITS", help="fits from before: tell only what is new"
    )
    describe_limits(check)
    check.add_argument("--quiet", action="store_true", help="no progress bar")
    check.set_defaults(run=_check)


def _names(text: str) -> list[str]:
    """Take names apart."""
    return [name.strip() for name in text.split(",")]


def _check(options: argparse.Namespace) -> int:
    """Check, and print what was found; 2 where it could not be checked."""
    return judged(_judge, options)


def _judge(options: argparse.Namespace) -> tuple[str, int]:
    """Check, and give what is to be printed and the exit status."""
    from weibnb.diagnostics.check_formats import FORMATS, write_check
    from weibnb.diagnostics.findings import SEVERITIES
    from weibnb.messages import check_choice
    from weibnb.scanning.check import check

    check_choice("--format", options.format, FORMATS)
    check_choice("--fail-on", options.fail_on, SEVERITIES)
    found = check(
        options.path,
        revision=options.revision,
        select=options.select,
        ignore=options.ignore or (),
        baseline=options.baseline,
        base=options.base,
        names=options.names,
        max_tensors=options.max_tensors,
        max_header=options.max_header,
        progress=False if options.quiet else None,
    )
    return write_check(found, options.format), 1 if found.at_least(options.fail_on) else 0
