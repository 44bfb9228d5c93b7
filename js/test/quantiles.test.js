import assert from "node:assert/strict";
import { test } from "node:test";
import { median, quantile } from "../src/fitting/quantiles.js";

test("a quantile lies between the two nearest values", () => {
  assert.deepEqual([0, 0.25, 0.5, 1].map((share) => quantile([1, 2, 4], share)), [1, 1.5, 2, 4]);
  assert.equal(quantile([3], 0.25), 3);
});

test("a median is of those that are known, in any order", () => {
  assert.equal(median([4, Number.NaN, 1, 2]), 2);
  assert.equal(median([4, 1]), 2.5);
  assert.ok(Number.isNaN(median([Number.NaN])));
});
