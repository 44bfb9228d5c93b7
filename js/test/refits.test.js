// Rows of densities, training runs and differences by another protocol, against Python's numbers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { onDensity } from "../src/densities.js";
import { onDifference, reachOf } from "../src/differences.js";
import { pathsOf } from "../src/training.js";

/** @param {unknown} found @param {number} expected */
const near = (found, expected) => assert.ok(Math.abs(Number(found) / expected - 1) < 1e-12, `${found} is not ${expected}`);

test("a density and its ratio to the Weibull are those of scipy", () => {
  const fit = { k: 1.2, lam: 0.02, r2: 0.99 };
  const row = { magnitude: 0.01, density: 0.3, ratio: 2, panel: "q of layer 0, k 1.019\nbest family: half-normal" };
  const [weibull, gaussian] = [0.3379929162611307, 0.30757204354967144];
  const lines = ["Weibull", "half-normal", "counted", "best family"].map((kind) => onDensity({ ...row, kind }, fit, 0.8425));
  assert.equal(lines[0].panel, "q of layer 0, k 1.200\nbest family: half-normal");
  near(lines[0].density, weibull);
  near(lines[0].ratio, 1);
  near(lines[1].density, gaussian);
  near(lines[1].ratio, gaussian / weibull);
  for (const stays of lines.slice(2)) {
    assert.equal(stays.density, 0.3);
    near(stays.ratio, 0.3 / weibull);
  }
  assert.equal(onDensity({ ...row, kind: "counted", density: 0 }, fit, 0.8425).ratio, null);
  const none = { k: Number.NaN, lam: Number.NaN, r2: Number.NaN };
  assert.deepEqual([onDensity({ ...row, kind: "Weibull" }, none, 0.8425)].map(({ density, ratio }) => [density, ratio]), [[null, null]]);
});

test("of the paths, two of a panel are told apart: whose k moved most, and surely", () => {
  const moves = [0.5, 0.3, 0.2, 0.6].map((move, layer) =>
    [10, 0, 5].map((step) => {
      const role = step === 10 ? "end" : "between";
      const row = { role, side: layer < 2 ? "left" : "right", model: "m", layer, component: "q", step, panel: "value", lam: layer + 1.1, told: "q of layer 2" };
      return { ...row, k: 1 - (move * step) / 10, k_se: layer === 3 ? 0.2 : 0.01 };
    }),
  );
  const made = pathsOf(moves.flat());
  assert.deepEqual(made.map(({ told }) => told), [...Array(6).fill(""), ...Array(3).fill("q of layer 0"), ...Array(3).fill("q of layer 1")]);
  assert.deepEqual(new Set(made.filter(({ side }) => side === "left").map(({ layer }) => layer)), new Set([0, 1]));
  const levels = made.filter(({ told, role }) => told && role === "end").map(({ layer, level }) => [layer, level]);
  assert.deepEqual(levels, [[0, "low"], [1, "high"]], "names of one panel keep apart");
  const rightOnly = pathsOf(moves.flat().map((row) => ({ ...row, side: "right" })));
  const named = rightOnly.filter(({ told, role }) => told && role === "end");
  assert.deepEqual(named.map(({ layer, side }) => [layer, side]), [[0, "left"], [1, "right"]], "a layer of names is not empty");
  const untold = moves.flat().map((row) => ({ ...row, told: "" }));
  assert.equal(pathsOf(untold), untold, "where Python told none apart, there are no names to draw");
});

test("a difference is that of both fits, of several layers the median", () => {
  /** @param {number} k */
  const fit = (k) => ({ k, lam: 2 * k, r2: 0.9 });
  const row = { first_k: 9, second_k: 9, value: 0, noise: 0.2, quiet: "yes", strong: "yes", k: 9, lam: 9 };
  const made = onDifference(row, [[fit(1), fit(1.5)]], 0.7);
  assert.deepEqual(made, { ...row, first_k: 1, second_k: 1.5, value: 0.5, quiet: "no", strong: "no", k: 1.5, lam: 3 });
  assert.equal(onDifference(row, [[fit(1), fit(1.5)]], 0.6).strong, "yes");
  assert.equal(reachOf({ a: -0.6, b: [0.6, 0.3, "0.9"], c: 0.8, d: 0 }), 0.6);
  const several = onDifference(row, [[fit(1), fit(1.5)], [fit(1), fit(1.1)], [fit(2), fit(1)]], 1);
  near(several.value, 1.1 - 1);
  assert.equal(several.quiet, "yes");
  assert.equal(onDifference({ delta_k: 1, value: 3 }, [[fit(1), fit(2)]], 1).value, 3, "a distance hangs on no protocol");
  assert.equal(onDifference(row, [[fit(1), fit(Number.NaN)]], 1).value, null);
});
