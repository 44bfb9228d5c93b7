import assert from "node:assert/strict";
import { test } from "node:test";
import { gaussianAnchor } from "../src/fitting/anchor.js";
import { binsOf, positionOf } from "../src/fitting/bins.js";
import { arraysOf, countsOf } from "../src/fitting/counts.js";
import { exponentialIntegral, prefixSum, squareSum } from "../src/fitting/ordinates.js";
import { fitWeibull, trimRanks } from "../src/fitting/weibull.js";

/** @param {number} found @param {number} expected @param {number} within */
const near = (found, expected, within) =>
  assert.ok(Math.abs(found - expected) <= within, `${found} is not ${expected} ± ${within}`);
/** @param {number} rank @param {number} n */
const y = (rank, n) => Math.log(-Math.log1p(-(rank - 0.5) / n));

test("E1 on both sides of where its series ends", () => {
  // scipy.special.exp1
  for (const [t, expected] of [
    [0.05, 2.467898488509974],
    [0.1, 1.8229239584193906],
    [1, 0.2193839343955205],
    [4, 0.0037793524098489063],
    [4.001, 0.0037747763607056],
    [10, 4.156968929685325e-6],
  ]) {
    near(exponentialIntegral(t), expected, 1e-14);
  }
});

test("sums of the ordinate are those over the ranks, one by one", () => {
  for (const n of [150, 4095, 4096, 20_000]) {
    for (const [first, last] of [
      [1, n],
      [1, 3],
      [Math.round(0.04 * n), Math.round(0.06 * n)],
      [Math.round(0.1 * n), Math.round(0.9 * n)],
      [Math.round(0.94 * n), n],
    ]) {
      let [one, two] = [0, 0];
      for (let rank = first; rank <= last; rank++) {
        one += y(rank, n);
        two += y(rank, n) ** 2;
      }
      near(prefixSum(last, n) - prefixSum(first - 1, n), one, 1e-11 * n);
      near(squareSum(first, last, n), two, 1e-10 * n);
    }
  }
});

test("the trim holds the ranks whose plotting position lies in it", () => {
  for (const n of [1, 7, 100, 1001]) {
    for (const [lower, upper] of [[0, 1], [0.1, 0.9], [0.5, 0.505], [0.005, 0.995]]) {
      const inside = Array.from({ length: n }, (_, i) => i + 1).filter((rank) => {
        const position = (rank - 0.5) / n;
        return lower <= position && position <= upper;
      });
      const [first, last] = trimRanks(n, [lower, upper]);
      assert.equal(Math.max(last - first + 1, 0), inside.length);
      if (inside.length) assert.deepEqual([first, last], [inside[0], inside.at(-1)]);
    }
  }
});

test("a bin lies at its value, or in the middle of its interval", () => {
  const label = (/** @type {number} */ octave, /** @type {number} */ place) => (octave + 1023) * 1024 + place;
  near(positionOf(label(0, 512), true), Math.log(1.5), 1e-15);
  near(positionOf(label(-3, 1020), false), Math.log((0.125 * (1 + 1022 / 1024))), 1e-15);
  near(positionOf(512, true), Math.log(512) - 1032 * Math.LN2, 1e-12);
});

test("a Gaussian gives its anchors", () => {
  const rank = gaussianAnchor([0.1, 0.9], "rank_regression");
  near(rank.k, 1.205434, 1e-6);
  near(rank.lam, 0.887487, 1e-6);
  near(rank.r2, 0.99774, 1e-6);
  near(gaussianAnchor([0.05, 0.95], "rank_regression").k, 1.190923, 1e-6);
  // weibnb.fitting.weibull.anchor
  for (const [trim, expected] of /** @type {[[number, number], number][]} */ ([
    [[0.1, 0.9], 1.2436937795],
    [[0, 1], 1.2627569592],
    [[0.3, 0.97], 1.3182075143],
  ])) {
    near(gaussianAnchor(trim, "maximum_likelihood").k, expected, 5e-4);
  }
  near(gaussianAnchor([0.3, 0.97], "rank_regression").k, 1.3097173427, 2e-6);
});

/** Counts of a Weibull's own quantiles. @param {number} k @param {number} n */
function ownCounts(k, n) {
  /** @type {Map<number, number>} */
  const found = new Map();
  for (let rank = 1; rank <= n; rank++) {
    const w = Math.exp(y(rank, n) / k);
    const octave = Math.floor(Math.log2(w));
    const label = (octave + 1023) * 1024 + Math.floor((w / 2 ** octave - 1) * 1024);
    found.set(label, (found.get(label) ?? 0) + 1);
  }
  const labels = [...found.keys()].sort((a, b) => a - b);
  return { labels, counts: labels.map((label) => found.get(label) ?? 0) };
}

test("a Weibull is found again by either estimator, at any trim", () => {
  for (const k of [0.4, 1, 3, 12]) {
    const { labels, counts } = ownCounts(k, 5000);
    const bins = binsOf(labels, counts, true);
    for (const estimator of /** @type {const} */ (["rank_regression", "maximum_likelihood"])) {
      for (const trim of /** @type {[number, number][]} */ ([[0.1, 0.9], [0, 1], [0.3, 0.4]])) {
        const fit = fitWeibull(bins, trim, estimator);
        near(fit.k / k, 1, 0.01);
        near(fit.lam, 1, 0.01);
        assert.ok(fit.r2 > 0.999);
      }
    }
  }
});

test("what cannot be fitted gives NaN", () => {
  const none = (/** @type {number[]} */ counts, /** @type {[number, number]} */ trim) =>
    Number.isNaN(fitWeibull(binsOf(counts.map((_, i) => 1_047_552 + 8 * i), counts, true), trim, "rank_regression").k);
  assert.ok(none([], [0.1, 0.9]));
  assert.ok(none([500], [0.1, 0.9]));
  assert.ok(none([50, 49], [0.1, 0.9]));
  assert.ok(!none([50, 50], [0.1, 0.9]));
  assert.ok(none([50, 50], [0.6, 0.9]), "one magnitude inside the trim");
});

test("arrays are read by planes of bytes, and experts of a cell are one", () => {
  const { wide, small } = arraysOf([["wide", "u8", 2], ["small", "u2", 2]], Uint8Array.from([
    1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8, 1, 0,
  ]));
  assert.deepEqual([...wide], [1, 2 + 2 ** 16]);
  assert.deepEqual([...small], [263, 8]);
});

test("cells are found by their labels", () => {
  const dims = { model: ["m"], layer: [0, 1], component: ["q", "k"], step: [5] };
  /** @type {[string, string, number][]} */
  const arrays = [["places", "u1", 1], ["exact", "u1", 1], ["sizes", "u1", 1], ["labels", "u4", 2], ["counts", "u1", 2],
    ["rows", "u1", 1], ["cols", "u1", 1], ["dtypes", "u1", 1]];
  const label = [0, 8, 252, 0, 15, 0, 0, 0]; // 1,047,552 and 8 more, by planes
  const counts = countsOf({ kind: "bins", dims, dtypes: ["BF16", "F32"], arrays }, Uint8Array.from([2, 1, 2, ...label, 90, 60, 10, 15, 1]));
  assert.ok(counts.has(["m", 1, "q", 5]));
  assert.ok(!counts.has(["m", 1, "k", 5]));
  assert.ok(!counts.has(["m", 7, "q", 5]));
  assert.equal(counts.fit(["m", 0, "q", 5], [0.1, 0.9], "rank_regression"), null);
  assert.equal(counts.about(["m", 1, "q", 5]), "10 × 15 F32");
  assert.equal(counts.about(["m", 1, "k", 5]), "");
  assert.equal(counts.alongSteps(["m", 1, "q", 5], [0.1, 0.9], "rank_regression").length, 1);
  assert.ok((counts.fit(["m", 1, "q", 5], [0.1, 0.9], "rank_regression")?.k ?? 0) > 1);
});
