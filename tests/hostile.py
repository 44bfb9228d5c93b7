"""Two models with everything that goes wrong in them, and names that attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    State = dict[str, NDArray[Any]]

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'
#: Names that attack a page, a terminal, a line, an XML or a command of a workflow.
NAMES = (
    SCRIPT, IMAGE, "\x1b[2J\x07", "a\r\nb::error::c", "%0A::error::x", "a,b:c", "]]>&amp;<!--",
    "\ud800", "\u202eabc", "\x00", "\ufffe", "../../etc", "",
)  # fmt: skip
Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
EXPERT = "model.layers.{}.mlp.experts.{}.down_proj.weight"


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype("f4")


def mixture(seed: int) -> State:
    state = {Q.format(i): normal(40, 40, seed=seed + i) for i in range(4)}
    state |= {UP.format(i): normal(64, 40, seed=seed + 10 + i) for i in range(4)}
    for i in range(4):
        state |= {EXPERT.format(i, e): normal(40, 30, seed=seed + 20 + 3 * i + e) for e in range(3)}
    return state


def hostile() -> dict[str, dict[int, State]]:
    """Two models, one with two steps: experts, quantised, NaN, zeros, and names that attack."""
    late = mixture(0)
    late[UP.format(0)][0, 0] = np.nan
    late[UP.format(1)][:] = 0
    late[Q.format(2)] = np.ones((40, 40), "i1")
    late |= {IMAGE: normal(30, 30), f"model.{SCRIPT}.weight": normal(30, 30)}
    late["model.norm.weight"] = normal(30)
    return {SCRIPT: {0: mixture(100), 10: late}, IMAGE: {10: mixture(200)}}
