"""Names from a file are text in the HTML that altair makes of a chart."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb

if TYPE_CHECKING:
    from pathlib import Path

NAME = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"
PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")
CHARTS = (
    "body_tail_chart", "change_map", "class_bands", "depth_profile", "layer_map", "outlier_strip",
    "phase_portrait", "trajectories", "weibull_plot",
)  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and what its scripts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.comments = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_comment(self, data: str) -> None:
        self.comments += 1


@pytest.mark.parametrize("name", CHARTS)
def test_a_name_of_a_file_ends_no_script(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fits = {
        model: wb.scan(
            {
                model: {
                    step: {
                        f"{tower}.layers.{layer}.{part}.weight": rng.normal(size=(32, 32))
                        for layer in range(3)
                        for part in PARTS
                    }
                    for step in (0, 1)
                }
            },
            progress=False,
        )
        for model, tower in ((NAME, NAME), ("model", "tower"))
    }
    pages = []
    for one in fits.values():
        shown = one if name in ("trajectories", "phase_portrait") else one.isel(step=0)
        chart = getattr(wb.charts, name)(shown)
        chart.save(tmp_path / "chart.html")
        shows = (
            (tmp_path / "chart.html").read_text(encoding="utf-8"),
            chart.to_html(),
            chart._repr_mimebundle_()["text/html"],  # what a notebook shows
        )
        pages.append([Tags(page) for page in shows])
    for evil, plain in zip(*pages, strict=True):
        assert evil.seen == plain.seen
        assert evil.comments == plain.comments == 0


def test_a_name_is_read_as_it_was() -> None:
    weights = {f"model.layers.{i}.mlp.up_proj.weight": np.eye(30) + i for i in range(2)}
    for name in ("a<b", "<p>", "x < y"):
        text = wb.charts.layer_map(wb.scan({name: weights}, progress=False)).to_json()
        assert name in re.sub(r"\\u003c", "<", text)
