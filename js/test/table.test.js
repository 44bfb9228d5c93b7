import assert from "node:assert/strict";
import { test } from "node:test";

import { inOrder } from "../src/table.js";

test("a table begins with what tells rows apart, k with its error, and the status", () => {
  const names = ["model", "component", "layer", "step", "k", "k_se", "lam", "n", "status"];
  const order = (/** @type {Record<string, any[]>} */ values) =>
    inOrder(names.map((name) => ({ name, values: values[name] ?? ["one"] }))).map(({ name }) => name);
  const last = ["lam", "n"];
  assert.deepEqual(order({}), ["component", "layer", "k", "k_se", "status", "model", "step", ...last]);
  assert.deepEqual(order({ model: ["a", "b"] }), ["model", "component", "layer", "k", "k_se", "status", "step", ...last]);
  assert.deepEqual(order({ model: ["a", "a"], step: [0, 1] }), ["component", "layer", "step", "k", "k_se", "status", "model", ...last]);
});
