import assert from "node:assert/strict";
import { test } from "node:test";
import { pickedMarks } from "../src/chart.js";
import { span } from "../src/gestures.js";
import { cellsWithin, marksOf, neighbour } from "../src/marks.js";

/** A map of two components by three layers, as Vega's scenegraph holds it. */
const SIZE = 20;
/** @type {(component: string, layer: number) => import("../src/types").Cell} */
const cell = (component, layer) => ["m", layer, component, 0];
const rects = ["q_proj", "o_proj"].flatMap((component, row) =>
  [0, 1, 2].map((layer) => ({
    datum: { model: "m", layer, component, step: 0 },
    bounds: { x1: SIZE * layer, x2: SIZE * (layer + 1), y1: SIZE * row, y2: SIZE * (row + 1) },
  })),
);
const legend = { datum: { value: 1.2 }, bounds: { x1: 0, x2: 9, y1: 0, y2: 9 } };
const inner = [
  { marktype: "rect", items: rects },
  { marktype: "text", items: rects },
  { marktype: "symbol", items: [legend] },
];
const root = { marktype: "group", items: [{ x: 30, y: 10, items: inner }] };
const view = /** @type {import("vega-typings").View} */ (
  /** @type {unknown} */ ({
    scenegraph: () => ({ root }),
    origin: () => [2, 3],
    padding: () => ({ left: 5, top: 5, right: 5, bottom: 5 }),
  })
);
const marks = marksOf(view);

test("every matrix is found where the chart draws it", () => {
  assert.equal(marks.length, 12);
  assert.deepEqual(marks[0].cell, cell("q_proj", 0));
  assert.deepEqual(marks[0].box, { left: 37, right: 57, top: 18, bottom: 38 });
});

test("arrow keys move over the map and stop at its edge", () => {
  assert.deepEqual(neighbour(marks, cell("q_proj", 0), "ArrowRight"), cell("q_proj", 1));
  assert.deepEqual(neighbour(marks, cell("q_proj", 1), "ArrowDown"), cell("o_proj", 1));
  assert.deepEqual(neighbour(marks, cell("o_proj", 1), "ArrowLeft"), cell("o_proj", 0));
  assert.equal(neighbour(marks, cell("q_proj", 2), "ArrowUp"), null);
  assert.deepEqual(neighbour(marks, undefined, "ArrowRight"), cell("q_proj", 1));
  assert.equal(neighbour(marks, cell("q_proj", 0), "Enter"), null);
  assert.equal(neighbour([], undefined, "ArrowUp"), null);
});

test("a rectangle selects what it touches, once each", () => {
  const box = span({ clientX: 60, clientY: 45 }, { clientX: 40, clientY: 20 });
  assert.deepEqual(cellsWithin(marks, box), [
    cell("q_proj", 0),
    cell("q_proj", 1),
    cell("o_proj", 0),
    cell("o_proj", 1),
  ]);
});

test("only marks of the outlined kind are outlined", () => {
  const chosen = [cell("o_proj", 2)];
  assert.deepEqual(
    pickedMarks(marks, "rect", chosen).map((mark) => mark.cell),
    chosen,
  );
  assert.deepEqual(pickedMarks(marks, undefined, chosen), []);
});
