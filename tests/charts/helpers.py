"""What a chart shows, read from its specification or its picture, and small fits to draw."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import vl_convert

import weibnb as wb
from weibnb import charts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

Rows = list[dict[str, Any]]
DIMS = ("model", "layer", "component", "step")
#: Numbers of a chart's rows have 7 significant digits.
ROUNDED = 5.1e-7
#: A name that breaks out of HTML, of a Vega expression, of a line and of the reading direction.
HOSTILE = "</script><img src=x onerror=alert(1)>'];alert(datum['k\"]\n\t\x1b[31m\u202e${1}"


# ------------------------------------------------------------------------------ reading a chart
@dataclass(frozen=True)
class Mark:
    """One mark of a chart: its look, its encoding, and the rows that it draws."""

    look: dict[str, Any]
    encoding: dict[str, Any]
    rows: Rows

    @property
    def kind(self) -> str:
        return str(self.look["type"])

    def field(self, channel: str) -> str:
        """Column that a channel draws."""
        return str(self.encoding[channel]["field"])

    def values(self, channel: str) -> list[Any]:
        """What a channel draws of each row."""
        return [row[self.field(channel)] for row in self.rows]

    def scale(self, channel: str) -> dict[str, Any]:
        """Scale of a channel, empty where Vega-Lite chooses it."""
        return dict(self.encoding[channel].get("scale") or {})

    def tips(self) -> dict[str, str]:
        """Columns of the tooltip, by the words before them."""
        return {tip.get("title", tip["field"]): tip["field"] for tip in self.encoding["tooltip"]}


def specification(chart: Any) -> dict[str, Any]:
    """The chart as Vega-Lite, not held against its schema, which takes most of the time."""
    return dict(chart.to_dict(validate=False))


def marks(chart: Any) -> list[Mark]:
    """Every mark of a chart, in the order of drawing."""
    spec = specification(chart)
    return list(_marks(spec, spec["datasets"], None))


def _marks(node: dict[str, Any], datasets: dict[str, Rows], data: Rows | None) -> Iterator[Mark]:
    if "data" in node:
        data = datasets[node["data"]["name"]]
    for child in [
        *(part for key in ("vconcat", "hconcat", "layer") for part in node.get(key, [])),
        node.get("spec"),
    ]:
        if child:
            yield from _marks(child, datasets, data)
    if "mark" in node:
        look = node["mark"] if isinstance(node["mark"], dict) else {"type": node["mark"]}
        rows = data or []
        for transform in node.get("transform", []):
            rows = [row for row in rows if _passes(row, transform["filter"])]
        yield Mark(look, node["encoding"], rows)


def _passes(row: dict[str, Any], test: dict[str, Any]) -> bool:
    if "and" in test:
        return all(_passes(row, part) for part in test["and"])
    if "not" in test:
        return not _passes(row, test["not"])
    value = row[test["field"]]
    if "equal" in test:
        return bool(value == test["equal"])
    if "oneOf" in test:
        return value in test["oneOf"]
    if "range" in test:
        return value is None or test["range"][0] <= value <= test["range"][1]
    return (value is not None) is bool(test["valid"])


def mark(chart: Any, kind: str, **look: Any) -> Mark:
    """The only mark of this type with this look; a look of None: without it."""
    found = [
        part
        for part in marks(chart)
        if part.kind == kind and all(part.look.get(name) == want for name, want in look.items())
    ]
    assert len(found) == 1, f"{len(found)} marks {kind!r}"
    return found[0]


def anchors(chart: Any) -> list[float]:
    """Values at which a dashed rule is drawn."""
    rules = [part for part in marks(chart) if part.kind == "rule" and "strokeDash" in part.look]
    return [row["at"] for part in rules for row in part.rows]


def title(chart: Any) -> str:
    return str(_title(chart)["text"])


def subtitle(chart: Any) -> str:
    """Lines below the title, joined by line breaks."""
    return "\n".join(_title(chart)["subtitle"])


def _title(chart: Any) -> dict[str, Any]:
    spec = specification(chart)
    return dict(spec["title"] if "title" in spec else spec["vconcat"][0]["title"])


def words(chart: Any) -> str:
    """Text of a chart that has nothing to draw."""
    return "\n".join(mark(chart, "text").values("text"))


def panels(chart: Any) -> list[str]:
    """Headers of the small multiples in their order; none where there is one panel."""
    spec = specification(chart)
    found: dict[str, Any] = {}
    descending = False
    for part in [spec, *spec.get("vconcat", [])]:
        if "facet" not in part or (part["facet"].get("header", {}).get("labelExpr") == "''"):
            continue
        facet = part["facet"]
        sides = [facet["row"], facet["column"]] if "row" in facet else [facet]
        for row in spec["datasets"][part.get("data", spec.get("data"))["name"]]:
            place = [row[side["sort"]["field"]] for side in sides]
            label = "\n".join(row[side["field"]] for side in sides)
            found[label] = min(found.get(label, place), place)
        for side in sides:
            assert side["sort"]["op"] == "min"
            descending = side["sort"].get("order") == "descending"
    return sorted(found, key=lambda label: found[label], reverse=descending)


def place_of(row: dict[str, Any], *more: str) -> dict[str, Any]:
    """Labels of the cell that a row describes."""
    return {dim: row[dim] for dim in (*DIMS, *more)}


def cell_of(fits: xr.Dataset, row: dict[str, Any], *more: str) -> xr.Dataset:
    """The one cell of `fits` that a row describes."""
    found = fits.sel(place_of(row, *more))
    assert found["k"].ndim == 0
    return found


def close(value: float, expected: float) -> bool:
    """Whether a number of a chart is the expected one to 7 digits."""
    return bool(np.isclose(value, expected, rtol=ROUNDED, atol=1e-300))


# ---------------------------------------------------------------------------- reading a picture
@cache
def _svg_of(text: str) -> str:
    return str(vl_convert.vegalite_to_svg(text))


def svg(chart: Any) -> str:
    """The chart as a picture."""
    return _svg_of(json.dumps(specification(chart)))


def spoken(chart: Any) -> list[str]:
    """What a screen reader says of every axis, legend, title and datum."""
    return [unescape(text) for text in re.findall(r'aria-label="([^"]*)"', svg(chart))]


def axes(chart: Any, side: str) -> set[str]:
    """What a screen reader says of the axes ``"X"`` or ``"Y"``."""
    return {text for text in spoken(chart) if text.startswith(f"{side}-axis")}


def legends(chart: Any) -> list[str]:
    """What a screen reader says of the legends."""
    return [text for text in spoken(chart) if " legend " in text]


def outside(chart: Any, margin: float = 1.0) -> list[tuple[float, float]]:
    """Positions of symbols and of the points of lines that lie outside of their panel."""
    root = ET.fromstring(svg(chart))  # noqa: S314  (written by vl_convert)
    return [at for group in root.iter() for at in _outside(group, margin)]


_NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"


def _outside(group: ET.Element, margin: float) -> Iterator[tuple[float, float]]:
    box = None
    for child in group:
        if child.get("class") == "background":
            found = re.match(rf"M[\d.]+,[\d.]+h{_NUMBER}v{_NUMBER}h", child.get("d", ""))
            box = (float(found[1]), float(found[2])) if found else None
    if box is None or 0 in box:
        return
    for part in group.findall("./{*}g/{*}g"):
        name = part.get("class", "")
        if not name.startswith(("mark-symbol role-mark", "mark-line role-mark")):
            continue
        pattern = (
            rf"translate\({_NUMBER},{_NUMBER}\)" if "symbol" in name else rf"{_NUMBER},{_NUMBER}"
        )
        for shape in part.iter():
            text = shape.get("transform" if "symbol" in name else "d", "")
            for x, y in re.findall(pattern, text):
                inside = -margin <= float(x) <= box[0] + margin
                if not (inside and -margin <= float(y) <= box[1] + margin):
                    yield float(x), float(y)


# ------------------------------------------------------------------------------- fits to draw
_BLOCKS = dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), "self_attn")
_BLOCKS |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp")

Weights = dict[str, "NDArray[np.float16]"]


def tensor(component: str, layer: int) -> str:
    """Name of a weight matrix in a Llama-style checkpoint."""
    return f"model.layers.{layer}.{_BLOCKS[component]}.{component}.weight"


def draw(shape: float, *, seed: int, scale: float = 0.02, side: int = 48) -> NDArray[np.float16]:
    """Weights of both signs whose magnitudes are Weibull, in a format that counts lose nothing."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (side, side))
    return (signs * scale * rng.weibull(shape, (side, side))).astype(np.float16)


def checkpoint(layers: Sequence[int], components: Sequence[str], seed: int = 0) -> Weights:
    """Matrices of different shape and scale, by tensor name."""
    return {
        tensor(component, layer): draw(
            1.1 + 0.05 * j + 0.02 * layer, seed=1000 * seed + 50 * layer + j, scale=0.01 * (j + 1)
        )
        for layer in layers
        for j, component in enumerate(components)
    }


RUN_STEPS = (0, 10, 300, 2000)
RUN_COMPONENTS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


@cache
def run_weights() -> dict[int, Weights]:
    """Weights of a small training run, by step."""
    return {step: checkpoint(range(3), RUN_COMPONENTS, i) for i, step in enumerate(RUN_STEPS)}


@cache
def run() -> xr.Dataset:
    """Fits of `run_weights`: one model, 3 layers, 5 components, 4 steps."""
    return wb.scan({"run": run_weights()})


@cache
def pair() -> xr.Dataset:
    """Fits of a model of 4 layers, and of one of 2 layers that has no gate_proj."""
    return wb.scan(
        {
            "deep": checkpoint(range(4), ("q_proj", "up_proj", "gate_proj", "down_proj"), 11),
            "flat": checkpoint(range(2), ("q_proj", "up_proj", "down_proj"), 12),
        }
    )


@cache
def demo() -> xr.Dataset:
    """Fits of the packaged training run."""
    return wb.scan({"demo": Path(wb.__file__).parent / "data" / "demo"})


@cache
def holes() -> xr.Dataset:
    """Fits of matrices that are whole, constant, all zero, too small, or not finite."""
    whole = checkpoint(range(3), ("up_proj", "down_proj"), 21)
    broken = whole[tensor("down_proj", 1)].copy()
    broken[0, 0] = np.nan
    return wb.scan(
        {
            "holes": whole
            | {
                tensor("up_proj", 1): np.full((48, 48), 0.5, np.float16),
                tensor("up_proj", 2): np.zeros((48, 48), np.float16),
                tensor("down_proj", 1): broken,
                tensor("down_proj", 2): np.arange(1, 13).reshape(3, 4).astype(np.float16),
            }
        }
    )


EXPERTS = 3


@cache
def expert_weights() -> Weights:
    """Weights of a mixture of 3 experts in 2 layers."""
    return {
        f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight": draw(
            1.0 + 0.1 * expert, seed=9 * layer + 3 * expert + j, scale=0.01 * (expert + 1)
        )
        for layer in range(2)
        for expert in range(EXPERTS)
        for j, name in enumerate(("w1", "w2", "w3"))
    }


@cache
def each_expert() -> xr.Dataset:
    """Fits of every expert on its own."""
    return wb.scan({"moe": expert_weights()}, experts="each")


def scaled(weights: Mapping[str, NDArray[np.float16]], factor: float) -> Weights:
    """Weights times a power of two, which no format rounds."""
    return {name: (values * np.float16(factor)) for name, values in weights.items()}


def tall(layers: int, steps: int = 1, models: int = 1) -> xr.Dataset:
    """Fits of many layers, steps and models, all k different: the run's own, repeated."""
    light = run().isel(step=[-1]).drop_vars("counts")
    many = light.isel(
        model=np.zeros(models, int), layer=np.zeros(layers, int), step=np.zeros(steps, int)
    ).assign_coords(
        model=[f"m{i}" for i in range(models)], layer=np.arange(layers), step=np.arange(steps)
    )
    k = np.linspace(1.0, 1.4, many["k"].size).reshape(many["k"].shape)
    return many.assign(k=many["k"].copy(data=np.random.default_rng(5).permuted(k, axis=1)))


# -------------------------------------------------------------------------------- every chart
Chart = Any
#: Every kind of chart, drawn of any fits that hold counts and at least one layer.
KINDS: dict[str, Callable[[xr.Dataset], Chart]] = {
    "weibull_plot": lambda fits: charts.weibull_plot(first_cells(fits)),
    "density": lambda fits: charts.density(first_cells(fits), rival=False),
    "layer_map": charts.layer_map,
    "difference": lambda fits: charts.difference(fits, first_of(fits), last_of(fits)),
    "class_bands": charts.class_bands,
    "trajectories": charts.trajectories,
    "phase_portrait": charts.phase_portrait,
    "depth_profile": charts.depth_profile,
    "cohort": charts.cohort,
    "body_tail_chart": charts.body_tail_chart,
    "outlier_strip": charts.outlier_strip,
}
#: Those that need no counts.
LIGHT = [name for name in KINDS if name not in ("weibull_plot", "density", "body_tail_chart")]


def _corner(fits: xr.Dataset, at: int) -> dict[str, Any]:
    return {dim: np.atleast_1d(fits[dim].values)[at].item() for dim in ("model", "step")}


def first_of(fits: xr.Dataset) -> dict[str, Any]:
    """Labels of the first model and step."""
    return _corner(fits, 0)


def last_of(fits: xr.Dataset) -> dict[str, Any]:
    """Labels of the last model and step."""
    return _corner(fits, -1)


def first_cells(fits: xr.Dataset) -> xr.Dataset:
    """Two components of one layer, as many matrices as a Weibull plot holds at any rate."""
    sizes = {"model": 1, "layer": 1, "component": 2, "step": 1}
    return fits.isel({dim: slice(0, n) for dim, n in sizes.items() if dim in fits["k"].dims})


@cache
def usual(kind: str, source: str) -> Chart:
    """A kind of chart of ``"run"``, ``"pair"``, ``"holes"`` or ``"each_expert"``, drawn once."""
    fits = {"run": run, "pair": pair, "holes": holes, "each_expert": each_expert}[source]()
    return KINDS[kind](fits)
