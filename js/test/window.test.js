import assert from "node:assert/strict";
import { test } from "node:test";

import { closer, spanOf } from "../src/window.js";

const PLACE = { row: 40, row_stop: 50, col: 0, col_stop: 10 };

test("a click shows a quarter of each side around its place, within what is shown", () => {
  assert.deepEqual(closer(PLACE, [0, 100, 0, 200]), [33, 58, 0, 50]);
  assert.deepEqual(closer({ ...PLACE, row: 90, row_stop: 100 }, [60, 100, 0, 40]), [90, 100, 0, 10]);
  assert.deepEqual(closer(PLACE, [45, 46, 3, 5]), [45, 46, 4, 5], "one weight is the end");
  assert.equal(closer({ row: 3 }, [0, 9, 0, 9]), null);
  assert.equal(closer(undefined, [0, 9, 0, 9]), null);
});

test("what is shown is from the first place to the last", () => {
  assert.deepEqual(spanOf([PLACE, { row: 50, row_stop: 61, col: 10, col_stop: 12 }]), [40, 61, 0, 12]);
});
