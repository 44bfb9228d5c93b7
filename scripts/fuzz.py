"""Fuzz what reads files from strangers, and print the table of SECURITY.md.

    python scripts/fuzz.py                         100,000 cases
    python scripts/fuzz.py --cases 2000 --seed 7   other ones, fewer
    python scripts/fuzz.py --target fits --first 123 --cases 1 --keep DIR
                                                   one case again, and its files

Every case must be read right or refused within a second and 200 MB; the safetensors parser is the
referee of headers. Ends with 1 if something else happened.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fuzz.corpus import HOSTILE, LARGE
from tests.fuzz.harness import Bounds, Outcome, draw, run, write_files
from tests.fuzz.targets import OTHERS
from tests.fuzz.targets import TARGETS as OF_OURS

TARGETS = OF_OURS | OTHERS

#: Share of the cases of each target: the quick ones have the most.
SHARES = {
    "header": 62, "index": 20, "scan": 8, "config": 4, "fits": 2, "store": 4, "torch": 4,
    "distributed": 4, "gguf": 8, "numpy": 8,
}  # fmt: skip


def main() -> int:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description="Fuzz what reads files from strangers.")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--target", choices=list(TARGETS), help="one alone; by default all")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the first case there")
    options = parser.parse_args()
    if options.keep is not None:
        target = TARGETS[options.target]
        write_files(draw(target, options.target, options.seed, options.first), options.keep)
    names = [options.target] if options.target else list(TARGETS)
    if not options.target:
        large()
    whole = sum(SHARES[name] for name in names)
    started = time.perf_counter()
    outcomes = []
    for name in names:
        cases = options.cases * SHARES[name] // whole
        outcomes.append(
            run(name, seed=options.seed, first=options.first, cases=cases, bounds=Bounds())
        )
        for finding in outcomes[-1].findings:
            print(f"{name}, seed {options.seed}, {finding}", flush=True)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        print(row(outcomes[-1]), flush=True)
    print(table(outcomes))
    print(f"\n{time.perf_counter() - started:.0f} s")
    return int(any(outcome.findings for outcome in outcomes))


def large() -> None:
    """Open the large files of the corpus, and tell what they took."""
    import weibnb as wb

    with tempfile.TemporaryDirectory() as folder:
        for name, case in (HOSTILE | LARGE).items():
            write_files(case.make(), Path(folder) / "case")
            started = time.process_time()
            try:
                wb.scan(Path(folder) / "case", progress=False)
                told = "read"
            except wb.CheckpointError as err:
                told = str(err)[-120:]
            print(f"{name}: {time.process_time() - started:.2f} s: {told}", flush=True)


def row(outcome: Outcome) -> str:
    """Write one line of the table."""
    o = outcome
    return (
        f"| {o.target} | {o.cases:,} | {o.read:,} | {o.refused:,} | {o.slowest:.2f} s | "
        f"{o.memory:.0f} MB | {len(o.findings)} |"
    )


def table(outcomes: list[Outcome]) -> str:
    """Write what became of the cases as a table of Markdown."""
    lines = [
        "| target | cases | read | refused | slowest | memory | findings |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += map(row, outcomes)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
