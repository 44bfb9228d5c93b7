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


def is_branch(name: str, of: str) -> bool:
    """Whether this is the name of a branch of a run.

    Examples
    --------
    >>> is_branch("run~2", of="run"), is_branch("run", of="run"), is_branch("run~a", of="run")
    (True, False, False)
    """
    root, _, number = name.rpartition("~")
    return root == of and number.isascii() and number.isdigit()
