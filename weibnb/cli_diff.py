"""``weibnb diff``: what changed between two checkpoints, as text, a table or fits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from weibnb.cli_arguments import as_source, describe_limits
from weibnb.cli_output import judged

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.cli_arguments import AddCommand

_STATUS = """\
exit status, as that of diff: 0 nothing changed; 1 something did; 2 they could not be compared, for
the reason that is named; 130, 143 and 129 after Ctrl-C, SIGTERM and SIGHUP."""


def describe_diff(add: AddCommand) -> None:
    """Add the command to the parser."""
    diff = add(
        "diff",
        help="tell what changed between two checkpoints",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = "a checkpoint: its weights are read; or a file of fits (fits.nc) or a store (fits.db)"
    diff.add_argument("before", type=as_source, metavar="BEFORE", help=what)
    diff.add_argument("after", type=as_source, metavar="AFTER", help="the same of what it became")
    diff.add_argument(
        "-o",
        "--output",
        type=as_source,
        metavar="FILE",
        help="the whole table as .csv, .json or .html; or .nc for the fits of the change",
    )
    describe_limits(diff)
    diff.add_argument("--quiet", action="store_true", help="no progress bar")
    diff.set_defaults(run=_diff)


def _diff(options: argparse.Namespace) -> int:
    """Compare, and print what changed; 2 where that could not be done."""
    return judged(_compare, options)


def _compare(options: argparse.Namespace) -> tuple[str, int]:
    """Compare, write, and give what is to be printed and the exit status."""
    from weibnb.diagnostics.changes import check_changes_target
    from weibnb.fits.files import refuse_inputs
    from weibnb.scanning.diff import diff

    output: Path | None = options.output
    if output is not None:
        check_changes_target(output)
        refuse_inputs(output, [options.before, options.after])
    found = diff(
        options.before,
        options.after,
        max_tensors=options.max_tensors,
        max_header=options.max_header,
        progress=False if options.quiet else None,
    )
    text = str(found)
    if output is not None:
        text += f"\nWrote {found.save(output)}."
    return text, 0 if found.same else 1
