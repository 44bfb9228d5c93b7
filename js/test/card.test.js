import assert from "node:assert/strict";
import { test } from "node:test";
import { alongLayers, foundAt, numbersOf, pathOf, rankOf } from "../src/card.js";

/** @param {number} layer @param {number | null} k @param {object} [more] */
const row = (layer, k, more = {}) => ({ model: "m", layer, component: "q", step: 5, k, ...more });
const rows = [
  row(2, 1.3),
  row(0, 1.1),
  row(1, 1.2),
  row(1, 1.2),
  row(3, null),
  row(0, 0.9, { component: "k" }),
  row(4, 0.9, { model: "other" }),
  { at: 1.2 },
];

test("a matrix has its rank among those of its component, each counted once", () => {
  assert.deepEqual(rankOf(rows[1], rows), { rank: 1, number: 3 });
  assert.deepEqual(rankOf(rows[2], rows), { rank: 2, number: 3 });
  assert.deepEqual(rankOf(rows[0], rows), { rank: 3, number: 3 });
});

test("k along the layers is in their order", () => {
  assert.deepEqual(alongLayers(rows[0], rows), [[0, 1.1], [1, 1.2], [2, 1.3]]);
});

test("a curve fills its place, and its dot lies on it", () => {
  const { path, dot } = pathOf([[0, 1], [10, 3], [20, 2]], 10);
  assert.equal(path, "M4.0,32.0 L90.0,4.0 L176.0,18.0");
  assert.deepEqual(dot, [90, 4]);
  assert.equal(pathOf([[0, 1], [1, 1]], 7).dot, null);
  assert.ok(!pathOf([[0, 1], [1, 1]], 0).path.includes("NaN"));
});

test("numbers have their error, and none is made up", () => {
  const all = { k: 1.23456, k_se: 0.00123, lam: 0.0123456, r2: 0.99, n: 4096 };
  assert.deepEqual(numbersOf(all), [
    ["k", "1.2346 ± 0.0012"],
    ["λ", "0.01235"],
    ["r²", "0.9900"],
    ["n", "4,096"],
  ]);
  assert.deepEqual(numbersOf({ k: 1, k_se: null }), [["k", "1.0000"]]);
  assert.deepEqual(numbersOf({ k: null }), []);
});

test("what was found of a matrix is told at it alone", () => {
  const found = [
    { text: "one", cells: [["m", 0, "q", 5], ["m", 1, "q", 5]] },
    { text: "other", cells: [["m", 2, "q", 5]] },
  ];
  const text = JSON.stringify({ rows: found });
  assert.deepEqual(foundAt(["m", 1, "q", 5], text), ["one"]);
  assert.deepEqual(foundAt(["m", 9, "q", 5], text), []);
  assert.deepEqual(foundAt(["m", 1, "q", 5], ""), []);
});
