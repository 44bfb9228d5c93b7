import assert from "node:assert/strict";
import { test } from "node:test";
import { hiddenAxis } from "../src/sticky.js";
import { zoomed } from "../src/gestures.js";
import { foundIn, pin } from "../src/pane.js";
import { arranged, arrangement, fit, limits, sizesOf, slopeOf, untitled } from "../src/sizes.js";

/** @type {import("../src/types").Cell[]} */
const [A, B] = [
  ["m", 0, "q_proj", 0],
  ["m", 1, "q_proj", 0],
];

/**
 * A view whose chart takes axes of 70 px beside `bands` cells, and 40 px below.
 * @param {Record<string, number>} signals
 * @param {(now: Record<string, number>) => { width: number, height: number }} layOut
 */
function fakeView(signals, layOut) {
  const now = { ...signals };
  let [drawn, whole, runs] = [layOut(now), 0, 0];
  const view = {
    getState: () => ({ signals: { ...now, autosize: {}, unit: "x", height: now.height ?? 0 } }),
    signal: (/** @type {string} */ name, /** @type {number} */ value) => {
      now[name] = value;
    },
    resize: () => {
      whole += 1;
      return view;
    },
    runAsync: async () => {
      runs += 1;
      drawn = layOut(now);
    },
  };
  return {
    view: /** @type {import("vega-typings").View} */ (/** @type {unknown} */ (view)),
    now,
    measure: () => drawn,
    anew: () => [whole, runs],
  };
}

test("sizes are the steps of cells where there are any, else widths and heights", () => {
  const map = fakeView({ x_step: 44, width: 132, y_step: 24, height: 168 }, () => ({ width: 0, height: 0 }));
  assert.deepEqual(sizesOf(map.view), { across: { x_step: 44 }, down: { y_step: 24 }, factor: 1, tall: 1 });
  const plot = fakeView({ width: 520, concat_0_height: 330 }, () => ({ width: 0, height: 0 }));
  assert.deepEqual(sizesOf(plot.view), { across: { width: 520 }, down: { concat_0_height: 330 }, factor: 1, tall: 1 });
});

for (const [width, bands] of [[300, 3], [620, 12], [1450, 80]]) {
  test(`${bands} columns fill ${width} px, or as much of them as cells may`, async () => {
    const made = bands > 12 ? 8 : 44;
    const { view, now, measure, anew } = fakeView({ x_step: made, y_step: 24 }, (s) => ({
      width: s.x_step * bands + 70,
      height: s.y_step * 7 + 40,
    }));
    await fit(view, sizesOf(view), { width }, measure);
    const step = Math.min(Math.max((width - 70) / bands, made >= 40 ? 0.8 * made : 2), 96);
    assert.ok(Math.abs(now.x_step - step) < 0.5, `${now.x_step} for ${step}`);
    const [whole, runs] = anew();
    assert.equal(whole, runs, "laid out anew with every size");
    assert.ok(runs > 0 && runs < 5);
  });
}

test("a chart with a height takes it", async () => {
  const { view, measure } = fakeView({ width: 520, concat_0_height: 330, concat_1_height: 110 }, (s) => ({
    width: s.width + 60,
    height: s.concat_0_height + s.concat_1_height + 80,
  }));
  await fit(view, sizesOf(view), { width: 400, height: 480 }, measure);
  assert.ok(Math.abs(measure().width - 400) <= 3);
  assert.ok(Math.abs(measure().height - 480) <= 12, String(measure().height));
});

test("a chart whose legend is wider than its place keeps its size", async () => {
  const { view, now, measure } = fakeView({ width: 300 }, (s) => ({ width: Math.max(500, s.width + 60), height: 200 }));
  await fit(view, sizesOf(view), { width: 400 }, measure);
  assert.ok(now.width > 150, String(now.width));
});

test("a zoomed chart is wider than its place, with wider cells", async () => {
  const { view, now, measure } = fakeView({ x_step: 44, y_step: 24 }, (s) => ({ width: s.x_step * 3 + 70, height: 208 }));
  await fit(view, sizesOf(view), { width: 600, zoom: 4 }, measure);
  assert.ok(now.x_step > 350 && now.x_step <= 384, String(now.x_step));
  assert.deepEqual(limits({ width: 500 }, 1)[1], Number.POSITIVE_INFINITY);
  assert.equal(limits({ x_step: 40 }, 1)[0], 0.8); // its cells hold numbers
  assert.equal(limits({ x_step: 39 }, 1)[0], 2 / 39);
});

test("how wide a chart becomes is learnt from the last two sizes", () => {
  assert.equal(slopeOf([1, 100], [2, 150], 10), 50);
  assert.equal(slopeOf([1, 100], [2, 100], 10), 10, "a legend that is wider than the chart");
  assert.equal(slopeOf([1, 100], [1, 104], 10), 10, "only the height was changed");
});

test("a width that the height changes is mended", async () => {
  const { view, measure } = fakeView({ width: 520, height: 330 }, (s) => ({
    width: s.width + (s.height > 400 ? 95 : 60),
    height: s.height + 80,
  }));
  await fit(view, sizesOf(view), { width: 560, height: 520 }, measure);
  assert.ok(Math.abs(measure().width - 560) <= 3, String(measure().width));
});

test("the layers of the lowest axis are repeated where they are not seen, if they are level", () => {
  const label = (/** @type {number} */ bottom, height = 12) => ({ text: "3", left: 0, right: 9, top: bottom - height, bottom });
  const labels = [label(100), label(300), label(299)];
  assert.deepEqual(hiddenAxis(labels, 250), labels.slice(1));
  assert.deepEqual(hiddenAxis(labels, 300), []);
  assert.deepEqual(hiddenAxis([...labels, label(300, 40)], 250), []);
  assert.deepEqual(hiddenAxis([], 250), []);
});

test("small multiples stand beside each other as the place has room", () => {
  const spec = /** @type {any} */ ({ facet: { field: "panel" }, spec: { width: 200 }, columns: 4, config: { legend: { labelFontSize: 11 } } });
  const columns = (/** @type {number} */ width) => /** @type {any} */ (arranged(spec, width)).columns;
  assert.deepEqual([200, 319, 321, 449, 451, 581, 3000].map(columns), [1, 1, 2, 2, 3, 4, 4]);
  const { legend } = /** @type {any} */ (arranged(spec, 300)).config;
  assert.deepEqual(legend, { labelFontSize: 11, labelLimit: 200, orient: "bottom", columns: 2 });
  assert.equal(/** @type {any} */ (arranged(spec, 420)).config.legend.orient, undefined);
  assert.equal(/** @type {any} */ (arranged(spec, 420, true)).config.legend.orient, "bottom");
  assert.notEqual(arrangement(spec, 500), arrangement(spec, 500, true));
  assert.notEqual(arrangement(spec, 319), arrangement(spec, 321));
  assert.equal(arrangement(spec, 581), arrangement(spec, 700));
});

test("small multiples and what belongs below them stand in rows of as many as the place has room for", () => {
  const part = (/** @type {string} */ name, /** @type {number} */ height) => ({ data: { name }, facet: { field: "panel" }, spec: { width: 200, height }, columns: 3 });
  const last = { data: { name: "others" }, layer: [] };
  const rows = [5, 6, 7].map((place) => ({ place, panel: `matrix ${place}` }));
  const spec = /** @type {any} */ ({ vconcat: [part("some", 150), part("some", 50), last], datasets: { some: rows, others: [] } });
  /** Height of each part, and the matrices in it. @param {number} width */
  const drawn = (width) => {
    const { vconcat, datasets } = /** @type {any} */ (arranged(spec, width));
    assert.equal(Object.values(datasets).flat().length, 3);
    return vconcat.map((/** @type {any} */ one) => [one.spec?.height, datasets[one.data.name].map((/** @type {any} */ row) => row.place)]);
  };
  assert.deepEqual(drawn(451), [[150, [5, 6, 7]], [50, [5, 6, 7]], [undefined, []]]);
  assert.deepEqual(drawn(449), [[150, [5, 6]], [50, [5, 6]], [150, [7]], [50, [7]], [undefined, []]]);
  assert.deepEqual(drawn(250).map((/** @type {any} */ [, places]) => places), [[5], [5], [6], [6], [7], [7], []]);
  assert.notEqual(arrangement(spec, 449), arrangement(spec, 451));
});

test("rows of small multiples that Python sends are filled anew", () => {
  const part = (/** @type {string} */ name, /** @type {number} */ height) => ({ data: { name }, facet: { field: "panel" }, spec: { width: 200, height }, columns: 3 });
  const rows = [0, 1, 2, 3].map((place) => ({ place, panel: `matrix ${place}` }));
  const spec = /** @type {any} */ ({
    vconcat: [part("a", 150), part("a", 50), part("b", 150), part("b", 50)],
    datasets: { a: rows.slice(0, 3), b: rows.slice(3) },
  });
  const drawn = (/** @type {number} */ width) => {
    const { vconcat, datasets } = /** @type {any} */ (arranged(spec, width));
    return vconcat.map((/** @type {any} */ one) => [one.spec.height, datasets[one.data.name].map((/** @type {any} */ row) => row.place)]);
  };
  assert.deepEqual(drawn(449), [[150, [0, 1]], [50, [0, 1]], [150, [2, 3]], [50, [2, 3]]]);
  assert.deepEqual(drawn(800), [[150, [0, 1, 2]], [50, [0, 1, 2]], [150, [3]], [50, [3]]]);
});

test("a panel is as wide as what is written above it", () => {
  const spec = /** @type {any} */ ({ data: { name: "rows" }, facet: { field: "panel", header: { labelLimit: 260 } }, spec: { width: 200 }, columns: 4 });
  const columns = (/** @type {string} */ panel) => /** @type {any} */ (arranged({ ...spec, datasets: { rows: [{ panel }] } }, 700)).columns;
  assert.deepEqual(["short", `short\n${"x".repeat(30)}`, "x".repeat(40), "x".repeat(400)].map(columns), [4, 3, 2, 2]);
});

test("cells of small multiples keep their width, and the panels of an incomplete row have axes of their own", () => {
  const layer = [{ encoding: { x: { field: "band", title: "layer", scale: { domain: ["median"] } } } }];
  const rows = ["a", "b", "c", "d"].map((panel) => ({ panel }));
  const spec = /** @type {any} */ ({
    ...{ facet: { field: "panel" }, spec: { width: { step: 88 }, layer }, columns: 4 },
    ...{ data: { name: "rows0" }, datasets: { rows0: rows } },
  });
  const of = (/** @type {number} */ width) => {
    const { columns, resolve } = /** @type {any} */ (arranged(spec, width));
    return [columns, resolve.axis?.x];
  };
  assert.deepEqual([200, 240, 330, 420].map(of), [[1, undefined], [2, undefined], [3, "independent"], [4, undefined]]);
});

test("the title of y stands once beside several rows of panels, that of x below them as Python put it", () => {
  const axis = { grid: true, titleOpacity: { expr: "parent.data === 7 ? 1 : 0" } };
  const layer = [
    { encoding: { x: { field: "layer", title: "layer", axis: { titleOpacity: 0 } }, y: { field: "k", title: "shape", axis } } },
    { encoding: { y: { field: "k", axis: null } } },
  ];
  const panels = ["a", "b", "c", "d", "e"].map((panel) => ({ panel }));
  const spec = /** @type {any} */ ({
    ...{ facet: { field: "panel", title: "layer", header: { titleOrient: "bottom" } }, spec: { width: 200, layer }, columns: 5 },
    ...{ data: { name: "rows0" }, datasets: { rows0: panels } },
  });
  const of = (/** @type {number} */ width) => {
    const { columns, facet, spec: panel } = /** @type {any} */ (arranged(spec, width));
    const [{ encoding: { x, y } }, bare] = panel.layer;
    assert.deepEqual([facet.title, facet.header.titleOrient, x.axis.titleOpacity], ["layer", "bottom", 0]);
    assert.deepEqual([y.title, y.axis.grid, bare.encoding.y.axis], ["shape", true, null]);
    return [columns, y.axis.titleOpacity?.expr];
  };
  const beside = (/** @type {number} */ row) => `parent.data === ${row} ? 1 : 0`;
  assert.deepEqual([200, 340, 900].map(of), [[1, beside(2)], [2, beside(1)], [5, undefined]]);
});

test("legends beside a chart leave most of the width to it, and stand below where there is no room", () => {
  const squares = {
    ...{ symbolType: "square", values: [9, 8, 7, 6, 5, 4, 3, 2, 1], columns: 1 },
    labelExpr: "datum.index === 4 ? 'middle' : datum.index % 8 === 0 ? datum.label : ''",
  };
  const names = { labelLimit: 260 };
  const own = { orient: "bottom", labelLimit: 260 };
  const layer = [squares, names, own].map((legend) => ({ encoding: { color: { legend } } }));
  const spec = /** @type {any} */ ({ layer, datasets: { rows: [{ legend: names }] } });
  const of = (/** @type {number} */ width, crowded = false) => {
    const { layer: drawn, datasets } = /** @type {any} */ (arranged(spec, width, crowded));
    assert.equal(datasets, spec.datasets);
    return drawn.map((/** @type {any} */ one) => one.encoding.color.legend);
  };
  const [upright, beside, free] = of(500);
  assert.deepEqual([upright.values, beside.labelLimit, free], [squares.values, 150, own]);
  for (const [width, crowded] of /** @type {[number, boolean][]} */ ([[500, true], [400, false]])) {
    const [level, below, still] = of(width, crowded);
    assert.deepEqual([level.values, level.columns], [[1, 5, 9], 3]);
    assert.equal(level.labelExpr, squares.labelExpr.replaceAll("datum.index", "(4 * datum.index)"));
    assert.deepEqual([below.labelLimit, still], [width / 2 - 60, own]);
  }
});

test("short names below a chart stand in as many columns as there is room for", () => {
  const columns = (/** @type {number} */ width, /** @type {string[]} */ domain) =>
    /** @type {any} */ (arranged(/** @type {any} */ ({ encoding: { color: { legend: {}, scale: { domain } } } }), width)).encoding.color
      .legend.columns;
  assert.equal(columns(285, ["other", "value", "query"]), 3);
  assert.equal(columns(400, ["other", "value", "query"]), 4);
  assert.equal(columns(285, ["selection", "value", "transmission"]), undefined, "two, as of every legend there");
  assert.equal(columns(285, []), undefined);
});

test("titles are taken off a chart, wherever they stand", () => {
  const title = { text: "k", subtitle: ["a", "b"] };
  assert.deepEqual(untitled(/** @type {any} */ ({ mark: "bar", title })), { spec: { mark: "bar" }, title: "k", notes: ["a", "b"] });
  const { spec, title: text } = untitled(/** @type {any} */ ({ vconcat: [{ mark: "line", title }, { mark: "bar" }] }));
  assert.deepEqual([spec, text], [{ vconcat: [{ mark: "line" }, { mark: "bar" }] }, "k"]);
  assert.deepEqual(untitled(/** @type {any} */ ({ title: ["two", "lines"] })), { spec: {}, title: "two lines", notes: [] });
  assert.deepEqual(untitled(/** @type {any} */ ({ mark: "bar" })), { spec: { mark: "bar" }, title: "", notes: [] });
});

test("a pin keeps a matrix, takes another, and lets its own go", () => {
  assert.deepEqual(pin({}, "A", A), { A });
  assert.deepEqual(pin({ A }, "B", A), { A, B: A });
  assert.deepEqual(pin({ A }, "A", B), { A: B });
  assert.deepEqual(pin({ A, B }, "A", A), { B });
  assert.deepEqual(pin({ A }, "A", undefined), {});
});

test("the findings of the selected matrices", () => {
  const row = (/** @type {string} */ rule, /** @type {any[]} */ cells) => ({ severity: "error", rule, where: "", text: "", cells });
  const found = { badge: "", severity: "", headline: "", note: "", rows: [row("a", [A]), row("b", []), row("c", [B, A])] };
  assert.deepEqual(foundIn(found, [A]).map(({ rule }) => rule), ["a", "c"]);
  assert.deepEqual(foundIn(found, []), []);
});

test("the zoom stays between the whole chart and the closest look", () => {
  assert.equal(zoomed(1, 1.5), 1.5);
  assert.equal(zoomed(4, 0), 1);
  assert.equal(zoomed(1, 1 / 1.5), 1);
  assert.equal(zoomed(15, 1.5), 16);
});
