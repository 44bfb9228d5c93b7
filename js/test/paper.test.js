import assert from "node:assert/strict";
import { test } from "node:test";
import { plotOf, pointsOf } from "../src/paper.js";

const share = Array.from({ length: 1000 }, (_, i) => (i + 0.5) / 1000);
const curve = { magnitude: share.map((at) => -Math.log1p(-at)), share, n: 1000 };
const counts = /** @type {any} */ ({
  fit: () => ({ k: 1, lam: 1, r2: 1 }),
  curve: (/** @type {unknown[]} */ [, layer]) => (layer === 7 ? null : curve),
});
const asked = /** @type {import("../src/types").Asked} */ ({ trim: [0.1, 0.9], estimator: "rank_regression", value: "k" });
const label = "q of layer 0: k 2";
const own = { model: "m", layer: 0, component: "q", step: 1, matrix: label };
const sent = /** @type {any} */ ({
  structure: "",
  data: {
    points: [{ matrix: label, magnitude: 9, percent: 50, y: 0, residual: 0, detached: "yes" }],
    lines: [
      { ...own, kind: "line", magnitude: 1, y: 0, low: -1, high: 1 },
      { ...own, kind: "line", magnitude: 2, y: 1, low: 0, high: 2 },
      { ...own, kind: "scale", magnitude: 1, y: 0 },
    ],
    trim: [{ low: -2, high: 1 }],
  },
  values: { a: label, b: "other" },
});

test("points lie on the curve, at most 100 and evenly in the ordinate, ends included", () => {
  const points = pointsOf(curve);
  assert.ok(points.length <= 100 && points.length > 50);
  for (const { magnitude, percent, y } of points) {
    assert.ok(Math.abs(Math.log(magnitude) - y) < 1e-9);
    assert.ok(Math.abs(100 * (1 - Math.exp(-magnitude)) - percent) < 1e-9);
  }
  assert.equal(points.at(-1)?.magnitude, curve.magnitude.at(-1));
  assert.deepEqual(pointsOf({ magnitude: [1], share: [0.5] }).length, 1);
  assert.deepEqual(pointsOf({ magnitude: [], share: [] }), []);
});

test("the plot of one matrix becomes that of another", () => {
  const next = plotOf(sent, ["m", 3, "k", 1], counts, asked);
  assert.ok(next.data.points.length > 50);
  assert.ok(String(next.values.a).startsWith("k of layer 3:  k 1.0000   λ 1   r² 1.0000   n 1,000"));
  assert.equal(next.values.b, "other");
  assert.equal(next.data.trim, sent.data.trim);
  const [first, last, scale] = next.data.lines;
  assert.ok(Math.abs(Number(first.magnitude) - 1e-4) < 1e-6);
  assert.ok(Math.abs(Number(last.magnitude) + Math.log(1e-6)) < 1e-6);
  assert.deepEqual([scale.layer, scale.component, scale.matrix], [3, "k", next.values.a]);
  assert.equal(new Set(Object.values(next.data).flat().map((row) => row.matrix)).size, 2);
});

test("what cannot be drawn from the counts stays", () => {
  assert.equal(plotOf(sent, ["m", 0, "q", 1], counts, asked), sent, "the same matrix");
  assert.equal(plotOf(sent, ["m", 7, "q", 1], counts, asked), sent, "no bins");
  const two = { ...sent, data: { ...sent.data, more: [{ ...own, layer: 1, matrix: "other" }] } };
  assert.equal(plotOf(two, ["m", 3, "k", 1], counts, asked), two, "several matrices");
});
