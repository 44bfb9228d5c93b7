"""Training steps in the names of checkpoints."""

from __future__ import annotations

import re

from weibnb.io.kinds import without_ending

_STEP = re.compile(
    r"(?:.*[-_.])?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?([0-9]+)(?:-(?:tokens\w+|unsharded))?",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"(?:global[-_]?)?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?[0-9]+", re.IGNORECASE
)
_MOST_DIGITS = 100  # leading zeros among them


def step_of(name: str) -> int | None:
    """Read the training step from the name of a checkpoint: 1000 from `pythia-step1000`."""
    match = _STEP.fullmatch(without_ending(name))
    step = int(match[1]) if match and len(match[1]) < _MOST_DIGITS else None
    return step if step is not None and step < 2**63 else None


def is_step_alone(name: str) -> bool:
    """Whether a name is a step and tells nothing of the model: `checkpoint-1000`."""
    plain = without_ending(name)
    return step_of(plain) is not None and _ALONE.fullmatch(plain) is not None
