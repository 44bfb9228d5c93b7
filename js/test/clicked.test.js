import assert from "node:assert/strict";
import { test } from "node:test";
import { buildClicked } from "../src/clicked.js";

/** @typedef {import("../src/types").Cell} Cell */

/** @type {(layer: number) => Cell} */
const at = (layer) => ["m", layer, "q", 0];
const shown = { model: "m", layer: 0, component: "q", step: 0, matrix: "q of layer 0:  k 1.0" };
const data = {
  points: [{ matrix: shown.matrix, magnitude: 1, y: 0, percent: 50, residual: 0 }],
  lines: [{ ...shown, kind: "line", magnitude: 1, y: 0, low: 0, high: 0 }],
};
const sent = /** @type {any} */ ({ structure: "", spec: {}, values: {}, data, description: "" });
const before = /** @type {any} */ ({ trim: [0.1, 0.9], estimator: "rank_regression", value: "k" });

/** What a click changes in the plot. @param {Cell[]} selected @param {string} [panel] @param {boolean} [exact] */
function changed(selected, panel = "overview", exact = true) {
  /** @type {any[]} */
  const found = [];
  const curve = { magnitude: [0.5, 1, 2], share: [0.2, 0.5, 0.8], n: 3 };
  const fit = { k: 2, lam: 1.5, r2: 0.9 };
  const counts = /** @type {any} */ ({
    ...{ exact, layers: [0, 1], fit: () => fit, has: () => true },
    curve: (/** @type {Cell} */ [, layer]) => (Number(layer) < 2 ? curve : null),
  });
  const model = /** @type {any} */ ({ get: () => panel });
  const detail = { vary: async (/** @type {any} */ change) => void found.push(change(sent)) };
  const varied = new Set();
  buildClicked(model, () => counts, () => before, () => ({ detail }), varied).look({ selected });
  assert.equal(varied.has("detail"), found.some((next) => next !== sent));
  return found;
}

test("a click shows the plot of its matrix, fitted on the page", () => {
  const [next] = changed([at(1)]);
  assert.deepEqual(next.data.points.map((/** @type {any} */ row) => row.magnitude), [0.5, 1, 2]);
  assert.equal(next.data.points[0].layer, 1);
  assert.match(next.data.lines[0].matrix, /^q of layer 1: +k 2\.0000/);
});

test("the plot stays where it is that of the matrix, and where the page cannot draw it", () => {
  assert.deepEqual(changed([at(0)]), [sent]);
  for (const found of [changed([at(0), at(1)]), changed([]), changed([at(2)]), changed([at(1)], "inside"), changed([at(1)], "overview", false)]) {
    assert.deepEqual(found, []);
  }
});
