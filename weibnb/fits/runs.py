"""Names of the courses that a training left behind, as models of their own."""

from __future__ import annotations


def branch_name(model: str, taken: set[str]) -> str:
    """Name the next branch of a run.

    Examples
    --------
    >>> branch_name("run", {"run", "run~1"})
    'run~2'
    """
    number = 1
    while f"{model}~{number}" in taken:
        number += 1
    return f"{model}~{number}"


def is_of_run(name: str, run: str) -> bool:
    """Whether this is the name of a run, or of a branch of it.

    Examples
    --------
    >>> is_of_run("run", "run"), is_of_run("run~2", "run"), is_of_run("run~a", "run")
    (True, True, False)
    """
    root, _, number = name.rpartition("~")
    return name == run or (root == run and number.isascii() and number.isdigit())
