import assert from "node:assert/strict";
import { test } from "node:test";
import { part } from "../src/alive.js";
import { cellsOf, redrawn, relabelled, shifted } from "../src/redrawn.js";

const rows = [{ model: "m", layer: 0, component: "q", step: 1, k: 1.2 }];
/** @param {number} middle @param {string} text */
const spec = (middle, text) => ({
  title: { text, subtitle: [`by ${text}`] },
  layer: [
    { mark: "rect", encoding: { color: { scale: { domain: [middle - 1, middle, middle + 1] } } } },
    { mark: "text", encoding: { color: { scale: { domain: [middle - 1, middle, middle + 1] } } } },
  ],
  legend: { values: [middle], labelExpr: `abs(datum.value - ${middle}) < 0.02 ? 'a 1.5' : scale2(1)` },
  datasets: { rows0: rows },
});

test("what changes with the numbers alone has one structure", () => {
  const [a, b] = [part(spec(1.25, "one")), part(spec(1.5, "two"))];
  assert.equal(a.structure, b.structure);
  assert.notDeepEqual(a.values, b.values);
  assert.notEqual(a.structure, part({ ...spec(1.25, "one"), width: 3 }).structure);
  assert.notEqual(a.structure, part({ ...spec(1.25, "one"), datasets: { other: rows } }).structure);
});

test("what is equal has one name, and quoted numbers stay", () => {
  const parted = part(spec(1.25, "one"));
  const [first, second] = /** @type {any} */ (parted.spec).layer;
  assert.deepEqual(first.encoding, second.encoding);
  const { labelExpr } = /** @type {any} */ (parted.spec).legend;
  assert.ok(labelExpr.includes("'a 1.5' : scale2(1)"));
  assert.ok(!labelExpr.includes("0.02"));
  const held = /** @type {any} */ (parted.spec).params.map((/** @type {{ name: string }} */ one) => one.name);
  assert.deepEqual(held, Object.keys(parted.values));
});

test("a row of several layers stands for all of them", () => {
  const row = { model: "m", layer: 4, component: "q", step: 1, band: "3–5" };
  assert.deepEqual(cellsOf(row, [2, 3, 5, 6]).map((cell) => cell[1]), [3, 5]);
  assert.deepEqual(cellsOf({ ...row, band: "4" }, [2, 3, 4]).map((cell) => cell[1]), [4]);
  assert.deepEqual(cellsOf({ low: 1, high: 2 }, [1]), []);
});

test("numbers around the anchor go with it, others stay", () => {
  const values = { a: 1.0, b: 1.2, c: 1.4, d: 0.002, e: [1.0, 1.2, 1.4], f: "text", g: 1.1 };
  const moved = shifted(values, 1.2, 1.25);
  assert.deepEqual([moved.d, moved.f, moved.g], [0.002, "text", 1.1]);
  for (const [found, expected] of [[moved.a, 1.05], [moved.b, 1.25], [moved.c, 1.45]]) {
    assert.ok(Math.abs(/** @type {number} */ (found) - /** @type {number} */ (expected)) < 1e-12);
  }
});

test("names of matrices have the numbers of the page, and none that it does not make", () => {
  const text = "q of layer 3:  k 1.2053 ± 0.0012   λ 0.02   r² 0.9977   KS 0.012   n 4,096";
  const expected = "q of layer 3:  k 1.1000 λ 0.03   r² 0.9900   n 4,096";
  assert.equal(relabelled(text, 1.1, 0.03, 0.99).replace(/ +/g, " "), expected.replace(/ +/g, " "));
  assert.equal(relabelled("q: not fitted (absent)", 1, 1, 1), "q: not fitted (absent)");
});

test("a chart is drawn by another protocol", () => {
  const cell = { model: "m", layer: 0, component: "q", step: 1 };
  const before = /** @type {const} */ ({ trim: [0.1, 0.9], estimator: "rank_regression", value: "k" });
  /** @type {import("../src/types").Asked} */
  const asked = { ...before, trim: [0.05, 0.95] };
  const fit = { k: 2, lam: 0.5, r2: 0.9 };
  const data = {
    map: [{ ...cell, k: 1, lam: 1, r2: 1, value: 1, k_se: 0.1, low: 0.9, high: 1.1 }],
    gone: [{ ...cell, layer: 9, k: 1, value: null }],
    expert: [{ ...cell, expert: 3, k: 1, lam: 1 }],
    trim: [{ low: -2, high: 0.8 }],
    rule: [{ at: 1.205434, words: "an untrained Gaussian matrix" }, { at: 0, words: "63.2 %: λ" }],
    paper: [
      { matrix: "q: k 1.0", magnitude: 0.5, y: 0.1, residual: 9 },
      { ...cell, matrix: "q: k 1.0", kind: "line", magnitude: 1, y: 0, low: -1, high: 1 },
      { ...cell, matrix: "q: k 1.0", kind: "scale", magnitude: 1, y: 0 },
    ],
  };
  const counts = {
    layers: [0, 9],
    has: (/** @type {unknown[]} */ [, layer]) => layer === 0,
    fit: () => fit,
  };
  const sent = { structure: "", spec: {}, values: { name: "q: k 1.0" }, data, description: "" };
  const next = redrawn(/** @type {any} */ (sent), asked, /** @type {any} */ (before), counts);
  assert.deepEqual(next.data.map[0], { ...data.map[0], k: 2, lam: 0.5, r2: 0.9, value: 2, low: 1.9, high: 2.1 });
  assert.equal(next.data.gone[0], data.gone[0]);
  assert.equal(next.data.expert[0], data.expert[0], "the median of a cell is no k of its experts");
  assert.ok(Math.abs(Number(next.data.trim[0].low) - Math.log(-Math.log(0.95))) < 1e-12);
  assert.ok(Math.abs(Number(next.data.rule[0].at) - 1.190923) < 1e-6);
  assert.equal(next.data.rule[1], data.rule[1]);
  const [point, line, scale] = next.data.paper;
  assert.equal(point.residual, 0.1);
  assert.equal(line.y, 2 * Math.log(2));
  assert.equal(line.high, 2 * Math.log(2) + 1);
  assert.equal(scale.magnitude, 0.5);
  assert.equal(next.values.name, "q: k 2.0000");
});
