import assert from "node:assert/strict";
import { test } from "node:test";

import { shownOf } from "../src/following.js";

const base = { followed: "run.db", problem: "" };

test("a store has a box, and what keeps it from being read", () => {
  const shown = shownOf({ ...base, problem: "away" });
  assert.deepEqual(shown, { box: true, bar: false, text: "", problem: "away" });
});

test("a scan has a bar while it goes on, and words", () => {
  const scan = { ...base, share: 0.5, text: "1 of 2 matrices", runs: true };
  const shown = { box: false, bar: true, text: "1 of 2 matrices", problem: "" };
  assert.deepEqual(shownOf(scan), shown);
});

test("a scan that was cancelled keeps its words, one that is done says nothing", () => {
  const shown = { box: false, bar: false, text: "1 of 2 · cancelled", problem: "" };
  assert.deepEqual(shownOf({ ...base, text: "1 of 2 · cancelled", runs: false }), shown);
  assert.deepEqual(shownOf({ ...base, text: "", runs: false }).text, "");
});
