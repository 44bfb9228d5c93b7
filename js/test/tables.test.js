import assert from "node:assert/strict";
import { test } from "node:test";
import { rowsOf, withRows } from "../src/tables.js";

test("columns become rows, and a value that stands once is in all of them", () => {
  const table = { rows: 2, columns: { model: ["a"], layer: [0, 1], k: [1.2, null] } };
  const rows = [
    { model: "a", layer: 0, k: 1.2 },
    { model: "a", layer: 1, k: null },
  ];
  assert.deepEqual(rowsOf(table), rows);
  assert.deepEqual(rowsOf({ rows: 1, columns: { at: [1.2054] } }), [{ at: 1.2054 }]);
  assert.deepEqual(rowsOf({ rows: 2, columns: { k: [1.2, null], value: "k" } }), [
    { k: 1.2, value: 1.2 },
    { k: null, value: null },
  ]);
  assert.deepEqual(rowsOf({ rows: 0, columns: {} }), []);
  const spec = /** @type {any} */ ({ mark: "rect", datasets: { rows0: table, rows1: rows } });
  assert.deepEqual(withRows({ spec, label: "a map" }), {
    spec: { mark: "rect", datasets: { rows0: rows, rows1: rows } },
    label: "a map",
  });
});

test("what is no chart stays as it is", () => {
  const why = { problem: "no counts", label: "a map" };
  assert.equal(withRows(why), why);
});
