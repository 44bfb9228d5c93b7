import assert from "node:assert/strict";
import { test } from "node:test";
import { curvesOf, ordinateAt, percentBelow, toldAt, weightsOf } from "../src/crosshair.js";

const name = "q of layer 0:  k 1.2 ± 0.01   λ 0.02   r² 0.99   KS 0.01   n 16,384";
// an exact Weibull with k = 2 and λ = 1: y = 2 ln|w|
const points = [-2, -1, 0, 0.5].map((x) => ({ matrix: name, magnitude: Math.exp(x), y: 2 * x, percent: 1 }));
const texts = { cross_at: "|w| {magnitude}", cross: "{percent} % below · {beyond} of {n} beyond", cross_below: "below" };

test("curves are the points of a plot, ascending, by matrix", () => {
  const others = [{ matrix: name, kind: "line", magnitude: 1, y: 0 }, { low: 1, high: 2 }, { words: "x", at: 0 }];
  const curves = curvesOf([...points.slice().reverse(), ...others]);
  assert.deepEqual([...curves.keys()], [name]);
  assert.deepEqual(curves.get(name)?.map(({ x }) => Math.round(2 * x)), [-4, -2, 0, 1]);
});

test("the ordinate lies between the points, and nowhere beyond them", () => {
  const curve = curvesOf(points).get(name) ?? [];
  assert.ok(Math.abs(/** @type {number} */ (ordinateAt(curve, -0.3)) + 0.6) < 1e-12);
  assert.equal(ordinateAt(curve, -2), -4);
  assert.equal(ordinateAt(curve, -2.1), null);
  assert.equal(ordinateAt(curve, 0.6), Number.POSITIVE_INFINITY);
  assert.equal(ordinateAt([], 0), null);
});

test("the number of weights is in the name of a matrix", () => {
  assert.equal(weightsOf(name), 16384);
  assert.equal(weightsOf("q of layer 0:  k 1.2   λ 0.02"), null);
});

test("a share has the digits that tell it from all", () => {
  assert.deepEqual([0.5, 0.1, 0.011, 0.0012, 1e-6, 0, 1].map(percentBelow), ["50.0", "90.0", "98.9", "99.88", "99.99990", "100.0", "0.0"]);
});

test("what is told agrees with the Weibull itself", () => {
  const [at, told] = toldAt(curvesOf(points), 0, texts);
  assert.equal(at, "|w| 1.000");
  assert.equal(told, `63.2 % below · ${Math.round(16384 / Math.E).toLocaleString("en")} of 16,384 beyond`);
  assert.equal(toldAt(curvesOf(points), 1, texts)[1], "100.0 % below · 0 of 16,384 beyond");
  assert.equal(toldAt(curvesOf(points), -9, texts)[1], "below");
  const two = curvesOf([...points, ...points.map((one) => ({ ...one, matrix: name.replace("q", "k") }))]);
  assert.deepEqual(toldAt(two, -9, texts).slice(1), ["q of layer 0: below", "k of layer 0: below"]);
});
