import assert from "node:assert/strict";
import { test } from "node:test";

import { stepOf } from "../src/findings.js";

/** @param {...number} steps @returns {import("../src/types").Cell[]} */
const cells = (...steps) => steps.map((step) => ["m", 0, "q_proj", step]);

test("a finding is shown at the step that is on the screen, if it is there, else at its first", () => {
  assert.equal(stepOf(cells(10, 20), 20), 20);
  assert.equal(stepOf(cells(10, 20), 30), 10);
  assert.equal(stepOf(cells(0), 30), 0);
});
