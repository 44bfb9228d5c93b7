import assert from "node:assert/strict";
import { test } from "node:test";

import { format, keptRows, passes, separated, sortRows, unpack } from "../src/rows.js";
import { barOf } from "../src/table.js";

const NAMES = unpack({ name: "component", values: ["q_proj", "k_proj", "=1+1"], codes: [0, 1, 0, 2] }, "component");
const K = unpack({ name: "k", values: [1.2054, null, 1.1, 1.3] }, "k");
const LAYERS = unpack({ name: "layer", values: [10, 1, 2, 11] }, "layer");
const ALL = [0, 1, 2, 3];

test("a column is its values, or different values and the number of each row's", () => {
  assert.deepEqual(ALL.map(NAMES.at), ["q_proj", "k_proj", "q_proj", "=1+1"]);
  assert.deepEqual(ALL.map(K.show), ["1.2054", "–", "1.1000", "1.3000"]);
  assert.equal(NAMES.numeric, false);
  assert.equal(K.numeric, true);
  assert.equal(unpack({ name: "k", values: [null] }, "k").numeric, true);
});

test("numbers as they are shown", () => {
  assert.equal(format("k", 1.20543), "1.2054");
  assert.equal(format("lam", 0.0123456), "0.01235");
  assert.equal(format("n", 16777216), "16,777,216");
  assert.equal(format("layer", 3), "3");
  assert.equal(format("step", "last"), "last");
  assert.equal(format("k", null), "–");
});

test("what has no value is last in either order, and equal rows stay as they were", () => {
  assert.deepEqual(sortRows(ALL, K, 1), [2, 0, 3, 1]);
  assert.deepEqual(sortRows(ALL, K, -1), [3, 0, 2, 1]);
  assert.deepEqual(sortRows([2, 0], NAMES, 1), [2, 0]);
  assert.deepEqual(sortRows(ALL, LAYERS, 1), [1, 2, 0, 3], "numbers, not their digits");
  assert.deepEqual(ALL, [0, 1, 2, 3], "the rows themselves stay in order");
});

test("2,002 rows by k begin with the smallest, wherever it stood", () => {
  const values = Array.from({ length: 2002 }, (_, i) => 1.1711 + ((i * 769 + 1500) % 2002) / 1000);
  const column = unpack({ name: "k", values }, "k");
  const rows = sortRows(values.map((_, i) => i), column, 1);
  assert.equal(column.at(rows[0]), Math.min(...values));
  assert.equal(column.at(rows[2001]), Math.max(...values));
  assert.equal(new Set(rows).size, 2002);
});

test("words and numbers in one column have an order", () => {
  const mixed = unpack({ name: "step", values: ["last", 3, "first", 1] }, "step");
  assert.deepEqual(sortRows(ALL, mixed, 1), [3, 1, 2, 0]);
});

test("filters of numbers: a comparison, a range, a whole number, or what is shown", () => {
  const kept = (/** @type {string} */ text, column = K) => ALL.filter(passes(text, column));
  assert.deepEqual(kept("<1.2054"), [2]);
  assert.deepEqual(kept("<= 1.2054"), [0, 2]);
  assert.deepEqual(kept(">1.2054"), [3]);
  assert.deepEqual(kept(">=1.2054"), [0, 3]);
  assert.deepEqual(kept("= 1.1"), [2]);
  assert.deepEqual(kept("1.1..1.2054"), [0, 2]);
  assert.deepEqual(kept("1.1e0 .. 1.2"), [2]);
  assert.deepEqual(kept("1.20"), [0]);
  assert.deepEqual(kept("–"), [1]);
  assert.deepEqual(kept("1", LAYERS), [1], "layer 1 is not layer 10");
  assert.deepEqual(kept("nonsense"), []);
});

test("filters of names find a part, in capitals or not, and all filters hold at once", () => {
  assert.deepEqual(ALL.filter(passes("Q_", NAMES)), [0, 2]);
  assert.deepEqual(keptRows(4, [NAMES, K], { component: "proj", k: "> 1.15" }), [0]);
  assert.deepEqual(keptRows(4, [NAMES, K], { component: "  ", gone: "x" }), ALL);
});

test("copied rows have a head, full numbers, and no formulas", () => {
  assert.equal(
    separated([3, 1], [NAMES, K]),
    ["component\tk", "'=1+1\t1.3", "k_proj\t"].join("\n"),
  );
  const broken = unpack({ name: "model", values: ["a\tb\nc"] }, "model");
  assert.equal(separated([0], [broken]), "model\na b c");
});

test("a bar goes from the middle to its end and not beyond", () => {
  assert.deepEqual(barOf(0, 9), { from: 50, to: 50, shade: 4 });
  assert.deepEqual(barOf(-0.5, 9), { from: 25, to: 50, shade: 2 });
  assert.deepEqual(barOf(7, 9), { from: 50, to: 100, shade: 8 });
  assert.deepEqual(barOf(-7, 9), { from: 0, to: 50, shade: 0 });
});
