import assert from "node:assert/strict";
import { test } from "node:test";

import { foundOf, stepOf, widened, worst } from "../src/findings.js";

/** @param {...number} steps @returns {import("../src/types").Cell[]} */
const cells = (...steps) => steps.map((step) => ["m", 0, "q_proj", step]);

test("a finding is shown at the step that is on the screen, if it is there, else at its first", () => {
  assert.equal(stepOf(cells(10, 20), 20), 20);
  assert.equal(stepOf(cells(10, 20), 30), 10);
  assert.equal(stepOf(cells(0), 30), 0);
});

test("filters let the matrices of a finding pass, and keep what does not hide them", () => {
  const facet = (/** @type {string} */ name, /** @type {string[]} */ ...labels) => ({
    name, title: "", labels, values: labels.map((label) => label.replace("!", "\x1b")), more: false,
  });
  const facets = [facet("model", "a", "b!"), facet("component", "q_proj", "up_proj")];
  /** @type {import("../src/types").Cell[]} */
  const where = [["b!", 3, "up_proj", 0], ["b!", 4, "up_proj", 0]];
  assert.deepEqual(widened({ model: ["a"], status: ["ok"] }, where, facets), {
    model: ["a", "b\x1b"],
  });
  assert.deepEqual(widened({ component: ["q_proj"] }, where, facets), {
    component: ["q_proj", "up_proj"],
  });
  assert.deepEqual(widened({}, where, facets), {});
});

test("what was found of a matrix is every finding that it is in, worst first", () => {
  const finding = (/** @type {string} */ rule, /** @type {number[]} */ ...steps) => ({
    severity: "error", rule, where: "", text: "", cells: cells(...steps),
  });
  const rows = [finding("a", 10), finding("b", 20, 10), finding("c"), finding("d", 20)];
  const rules = (/** @type {import("../src/types").Cell[]} */ chosen) =>
    foundOf(rows, chosen).map(({ rule }) => rule);
  assert.deepEqual(rules(cells(10)), ["a", "b"]);
  assert.deepEqual(rules(cells(20, 10)), ["b", "d"], "of the first that is selected");
  assert.deepEqual(rules(cells(30)), []);
  assert.deepEqual(rules([]), []);
});

test("the line names the worst three, and no rule that could not be tried", () => {
  const rows = ["error", "error", "warning", "note", "not looked at"].map((severity, i) => ({
    severity, rule: `rule ${i}`, where: "", text: "", cells: [],
  }));
  assert.deepEqual(worst(rows).map(({ rule }) => rule), ["rule 0", "rule 1", "rule 2"]);
  assert.deepEqual(worst(rows.slice(3)).map(({ rule }) => rule), ["rule 3"]);
  assert.deepEqual(worst([]), []);
});
