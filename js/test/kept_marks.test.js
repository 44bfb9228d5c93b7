import assert from "node:assert/strict";
import { test } from "node:test";
import { keepMarks } from "../src/kept_marks.js";

test("marks of single rows have a key, those of sums and lines have none", () => {
  const spec = {
    data: [
      { name: "rows0", values: [] },
      { name: "valid", source: "rows0", transform: [{ type: "filter" }, { type: "formula" }] },
      { name: "sums", source: "rows0", transform: [{ type: "aggregate" }] },
      { name: "of sums", source: "sums", transform: [{ type: "filter" }] },
      { name: "other", values: [] },
    ],
    marks: [
      { name: "map", type: "rect", from: { data: "valid" } },
      { name: "numbers", type: "text", from: { data: "rows0" } },
      { name: "bars", type: "rect", from: { data: "sums" } },
      { name: "some bars", type: "rect", from: { data: "of sums" } },
      { name: "elsewhere", type: "rect", from: { data: "other" } },
      { name: "alone", type: "rect" },
      {
        ...{ name: "panels", type: "group", from: { facet: { name: "panel", data: "valid" } } },
        marks: [
          { name: "points", type: "symbol", from: { data: "panel" } },
          { name: "line", type: "line", from: { data: "panel" } },
        ],
      },
      {
        ...{ name: "panels of sums", type: "group", from: { facet: { name: "some", data: "sums" } } },
        data: [{ name: "within", source: "some" }],
        marks: [{ name: "points of sums", type: "symbol", from: { data: "within" } }],
      },
    ],
  };
  /** @type {string[]} */
  const keyed = [];
  const look = (/** @type {any} */ { key, name, marks }) => {
    if (key) keyed.push(name);
    marks?.forEach(look);
  };
  look(keepMarks(spec, ["rows0"]));
  assert.deepEqual(keyed, ["map", "numbers", "points"]);
});
