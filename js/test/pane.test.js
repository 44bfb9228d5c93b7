import assert from "node:assert/strict";
import { test } from "node:test";
import { expected, numbersAt } from "../src/pane.js";

/** @typedef {import("../src/types").Cell} Cell */

const texts = { pane_name: "{component} {layer}", pane_place: "{model} {step}" };
/** @type {Cell[]} */
const [old, next] = [["a", 0, "q", 0], ["a", 1, "q", 0]].map((cell) => /** @type {any} */ (cell));
const row = { model: "a", layer: 1, component: "q", step: 0, band: "1", k: 1.25, k_se: 0.004, lam: 0.02, n: 4096 };
const matrices = { heads: [{ pin: "", name: "q 0", place: "a" }], rows: [["k", "1.2"], ["n", "9"], ["shape", "3 × 3"]], more: "" };
/** @param {Partial<import("../src/types").Words>} [other] @param {Cell[]} [chosen] @param {any[]} [rows] */
const shown = (other, chosen = [next], rows = [row]) =>
  expected(/** @type {any} */ ({ chosen: [old], matrices, ...other }), chosen, () => rows, texts, false);

test("a click puts the numbers of a matrix that the page knows in the place of those that are shown", () => {
  const found = shown();
  assert.deepEqual(found?.heads, [{ pin: "", name: "q 1", place: "a" }]);
  assert.deepEqual(found?.rows, [["k", "1.2500 ± 0.004"], ["n", "4,096"], ["shape", "…"]], "no number of the one before");
});

test("numbers stay where the page cannot put others for them", () => {
  assert.equal(shown({}, [old]), null, "the same matrix");
  assert.equal(shown({}, [old, next]), null, "several");
  assert.equal(shown({}, [next], [{ ...row, band: "0–2" }]), null, "a median over layers");
  assert.equal(shown({ matrices: null }), null);
  assert.equal(shown({ matrices: { ...matrices, heads: [{ ...matrices.heads[0], pin: "A" }] } }), null);
  assert.equal(shown({ matrices: { ...matrices, heads: [matrices.heads[0], matrices.heads[0]] } }), null);
});

test("numbers of a matrix are those of its row, never a median's", () => {
  /** @param {Cell} cell @param {any[]} [rows] @param {boolean} [dated] */
  const found = (cell, rows = [row], dated = false) => numbersAt(cell, rows, texts, dated);
  const own = found(next, [row], true);
  assert.deepEqual(own.heads, [{ pin: "", name: "q 1", place: "a 0" }]);
  assert.deepEqual(own.rows.slice(0, 1), [["k", "1.2500 ± 0.004"]]);
  assert.deepEqual(found(["a", 3, "q", 0]).rows, []);
  assert.deepEqual(found(next, [{ ...row, band: "0–2" }]).rows, [], "a median over layers");
  assert.equal(found(["a", 1, "q", 7000]).heads[0].place, "a 7,000");
  assert.equal(found(["a".repeat(300), 1, "q", 0]).heads[0].place, `${"a".repeat(59)}…`);
});
