"""Draw the gallery from the packaged demo: docs/gallery.md and a picture of each chart.

Needs Pillow; run ``python scripts/gallery.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import weibnb as wb
from weibnb import charts

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.altair import Chart

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"
HEAD = """# Gallery

Every chart is a function of the fits: it returns an [Altair](https://altair-viz.github.io) chart,
needs no network, and stands on white, so that it can be read on light and dark pages; the explorer
and the pages it saves repaint it on dark ones. The pictures come from the packaged
demo, a small decoder at steps 0, 100, 500, 2000 and 7000: `python scripts/gallery.py`. In a
notebook each mark has a tooltip with the numbers of its matrix; `charts.table(chart)` gives all of
them as a DataFrame, for who does not see the chart or wants to go on with its numbers.

```python
import weibnb as wb
from weibnb import charts

fits = wb.scan(wb.demo_checkpoints())
```
"""
#: Name of the picture, the call, and what it shows.
ENTRIES: dict[str, tuple[str, str]] = {
    "weibull_plot": (
        'charts.weibull_plot(fits.sel(component="o_proj", layer=0, step=[0, 7000]))',
        "One matrix on Weibull paper before and after training, with the residuals below.",
    ),
    "weibull_multiples": (
        (
            'some = fits.sel(component=["q_proj", "v_proj", "o_proj", "up_proj"], layer=[0, 1])\n'
            'charts.weibull_plot(some.sel(step=[7000]), arrangement="multiples")'
        ),
        "One panel per matrix, with the line of the first one in all of them.",
    ),
    "weibull_difference": (
        (
            'some = fits.sel(component=["q_proj", "v_proj", "o_proj", "up_proj"], layer=[0])\n'
            'charts.weibull_plot(some.sel(step=[7000]), arrangement="difference")'
        ),
        "How far each matrix lies above the line of the first one, quantile by quantile.",
    ),
    "estimators": (
        (
            'one = fits.sel(component="o_proj", layer=0, step=7000)\n'
            'charts.weibull_plot(one, estimators=["maximum_likelihood"])'
        ),
        "The lines of both estimators: rank regression solid, maximum likelihood broken.",
    ),
    "density": (
        'charts.density(fits.sel(component=["q_proj", "o_proj", "up_proj"], layer=0, step=7000))',
        (
            "Magnitudes as counted, with the fitted Weibull, a half-normal and the best family; "
            "below, their ratio to the Weibull."
        ),
    ),
    "change_map": (
        (
            'steps = [f"weibnb/data/demo/step{step}" for step in (500, 7000)]\n'
            "charts.change_map(wb.diff(*steps))"
        ),
        "What changed between two checkpoints, and the Weibull plot of the largest change.",
    ),
    "layer_map": (
        "charts.layer_map(fits.isel(step=[0, -1]))",
        "k of every matrix; the colours diverge from an untrained Gaussian, and noise stays pale.",
    ),
    "layer_map_finding": (
        "charts.layer_map(fits.isel(step=-1))",
        "Of one model at one step the title says where k is surely and far below a Gaussian's.",
    ),
    "layer_map_outlier": (
        'charts.layer_map(fits.isel(step=-1), value="outlier")',
        "The same for the largest weight over a Gaussian's expected maximum.",
    ),
    "difference": (
        'charts.difference(fits, {"step": 0}, {"step": 7000})',
        "What training changed, cell by cell; a dot is below two standard errors.",
    ),
    "class_bands": (
        "charts.class_bands(fits)",
        "Every matrix by component, with a published band and the published entries.",
    ),
    "trajectories": (
        "charts.trajectories(fits)",
        "k during training, one line per layer.",
    ),
    "trajectories_lam": (
        'charts.trajectories(fits, value="lam", by="weight_class")',
        "λ during training, by class.",
    ),
    "phase_portrait": (
        "charts.phase_portrait(fits)",
        "Paths in the plane of λ and k, in the colour of the class; what surely moved is strong.",
    ),
    "cohort": (
        "charts.cohort(fits)",
        "Medians over layers among the 12 published entries.",
    ),
    "depth_profile": (
        "charts.depth_profile(fits)",
        "k by layer, with standard errors.",
    ),
    "body_tail": (
        "charts.body_tail_chart(fits)",
        "k of the central 80 %, 90 % and all weights, beside a Gaussian's.",
    ),
    "decomposition": (
        (
            'pair = fits.sel(layer=[0], component=["v_proj", "o_proj"], step=[7000])\n'
            "charts.decomposition(wb.decompose(wb.demo_checkpoints(), fits=pair))"
        ),
        "Why k is low: what unequal rows and columns take from it, and the core.",
    ),
    "matrix": (
        (
            'one = fits.sel(layer=[0], component=["o_proj"], step=[7000])\n'
            "charts.matrix(wb.look_inside(wb.demo_checkpoints(), fits=one))"
        ),
        "Inside a matrix: where its weights are large, its rows and columns, its outliers.",
    ),
    "quantisation": (
        "charts.quantisation(wb.quantisation(fits.sel(step=[7000])))",
        "What fewer bits would cost each matrix, against the median of the format.",
    ),
    "force_shares": (
        'charts.force_shares(wb.forces("weibnb/data/demo"))',
        "What made the weights grow and shrink: the forces of AdamW, here from five checkpoints.",
    ),
    "outlier_strip": (
        "charts.outlier_strip(fits)",
        "The largest weight of every matrix over a Gaussian's expected maximum.",
    ),
}


def drawn(call: str, fits: xr.Dataset) -> Chart:
    """Run a call of the page, so that a picture shows what stands above it."""
    *before, last = call.splitlines()
    names = {"charts": charts, "fits": fits, "wb": wb}
    exec("\n".join(before), names)  # noqa: S102  (the calls of ENTRIES)
    chart: Chart = eval(last, names)  # noqa: S307
    return chart


def main() -> None:
    """Write the pictures and the page."""
    fits = wb.scan({"demo": ROOT / "weibnb" / "data" / "demo"})
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = [HEAD]
    for name, (call, text) in ENTRIES.items():
        picture = PICTURES / f"{name}.png"
        drawn(call, fits).save(str(picture), scale_factor=1.2)
        with Image.open(picture) as image:
            image.save(picture, optimize=True)
        page.append(f"## {name}\n\n{text}\n\n```python\n{call}\n```\n")
        page.append(f"![{text}](images/gallery/{name}.png)\n")
    PAGE.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
