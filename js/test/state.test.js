import assert from "node:assert/strict";
import { test } from "node:test";
import { cellOf, select } from "../src/cells.js";
import { fill } from "../src/dom.js";
import { clampLayers, keep } from "../src/filters.js";
import { nextTab } from "../src/header.js";
import { pairsOf } from "../src/options.js";
import { pushTrim, trimText } from "../src/protocol.js";
import { paint } from "../src/theme.js";

const FACET = { name: "model", title: "", labels: ["a", "b"], values: ["a", "b"], more: false };
/** @type {import("../src/types").Cell[]} */
const [A, B, C] = [
  ["m", 0, "q_proj", 0],
  ["m", 1, "q_proj", 0],
  ["m", 2, "q_proj", 0],
];

test("a row is a matrix if it has all four labels", () => {
  const row = { model: "m", layer: 0, component: "q_proj", step: 0 };
  assert.deepEqual(cellOf({ ...row, k: 1.2 }), A);
  assert.equal(cellOf({ ...row, step: undefined }), null);
  assert.equal(cellOf(null), null);
});

test("shift adds to the selection and takes away, but never the last", () => {
  assert.deepEqual(select([A, B], [C], false), [C]);
  assert.deepEqual(select([A], [B], true), [A, B]);
  assert.deepEqual(select([A, B], [A], true), [B]);
  assert.deepEqual(select([A], [A], true), [A]);
  assert.deepEqual(select([A, B], [B, C], true), [A, B, C]);
  const many = Array.from({ length: 500 }, (_, i) => /** @type {typeof A} */ (["m", i, "q", 0]));
  assert.equal(select([], many, false).length, 400);
});

test("a facet that keeps everything is no filter", () => {
  assert.deepEqual(keep({ status: ["ok"] }, FACET, [true, false]), {
    status: ["ok"],
    model: ["a"],
  });
  assert.deepEqual(keep({ model: ["a"] }, FACET, [true, true]), {});
  assert.deepEqual(keep({}, FACET, [false, false]), { model: [] });
});

test("layers stay whole, within the ends and in order", () => {
  assert.deepEqual(clampLayers([-3, 99], 0, [0, 11]), [0, 11]);
  assert.deepEqual(clampLayers([5.4, 7], 0, [0, 11]), [5, 7]);
  assert.deepEqual(clampLayers([8, 3], 0, [0, 11]), [8, 8]);
  assert.deepEqual(clampLayers([8, 3], 1, [0, 11]), [3, 3]);
});

test("one end of the trim pushes the other", () => {
  const near = (/** @type {number[]} */ trim) => trim.map((end) => Number(end.toFixed(6)));
  assert.deepEqual(pushTrim([0.1, 0.9], 0), [0.1, 0.9]);
  assert.deepEqual(near(pushTrim([0.6, 0.5], 0)), [0.6, 0.65]);
  assert.deepEqual(near(pushTrim([1, 0.9], 0)), [0.95, 1]);
  assert.deepEqual(near(pushTrim([0.6, 0.5], 1)), [0.45, 0.5]);
  assert.deepEqual(near(pushTrim([0.1, 0], 1)), [0, 0.05]);
  assert.equal(trimText([0.1, 0.925]), "10–92.5 %");
});

test("arrow keys go round the tabs", () => {
  const names = ["overview", "classes", "table"];
  assert.equal(nextTab(names, "table", "ArrowRight"), "overview");
  assert.equal(nextTab(names, "overview", "ArrowLeft"), "table");
  assert.equal(nextTab(names, "overview", "Tab"), null);
});

test("every model at each of its steps", () => {
  const text = "{model}, step {step}";
  /** @type {import("../src/types").Checkpoints} */
  const run = { steps: [0, 10], models: [["a", "A", null], ["b", "B", [10]]] };
  assert.deepEqual(pairsOf(run, text), [
    ['["a",0]', "A, step 0"],
    ['["a",10]', "A, step 10"],
    ['["b",10]', "B, step 10"],
  ]);
  /** @type {import("../src/types").Checkpoints} */
  const one = { steps: [0], models: [["a", "A", null]] };
  assert.deepEqual(pairsOf(one, text), [['["a",0]', "A"]]);
  /** @type {import("../src/types").Checkpoints} */
  const published = { steps: [], models: [["a", "A", ["last"]]] };
  assert.deepEqual(pairsOf(published, text), [['["a","last"]', "A"]]);
});

test("text is filled in as text", () => {
  assert.equal(fill("all: {title}", { title: "$& {title} <b>" }), "all: $& {title} <b>");
  assert.equal(fill("{unknown}", {}), "{unknown}");
});

test("a chart is painted in other colours, its data is not", () => {
  const spec = {
    config: { background: "white", title: { color: "#111" } },
    layer: [{ mark: { color: "#111", size: 3 }, encoding: { x: null, y: ["#222", true] } }],
    datasets: { rows: [{ word: "#111" }] },
  };
  const dark = paint(spec, { "#111": "#eee", "#222": "#ddd" });
  assert.equal(dark.config.background, "transparent");
  assert.equal(dark.config.title.color, "#eee");
  assert.deepEqual(dark.layer[0].mark, { color: "#eee", size: 3 });
  assert.deepEqual(dark.layer[0].encoding, { x: null, y: ["#ddd", true] });
  assert.equal(dark.datasets, spec.datasets);
  assert.equal(spec.config.title.color, "#111");
});
