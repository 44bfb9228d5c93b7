/** Where a chart draws which matrix: Vega's scenegraph, read through `view.scenegraph()`. */

import { cellOf, keyOf } from "./cells.js";

/**
 * @typedef {import("./types").Mark} Mark
 * @typedef {import("./types").Box} Box
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("vega-typings").View} View
 * @typedef {import("vega-typings").Scene} Scene
 * @typedef {import("vega-typings").SceneItem} SceneItem
 */

const KINDS = ["rect", "symbol", "text"];

/**
 * Every mark that stands for one matrix.
 * @param {View | undefined} view
 * @returns {Mark[]}
 */
export function marksOf(view) {
  if (!view) return [];
  // the types give the root for the whole graph
  const graph = /** @type {{ root: Scene }} */ (/** @type {unknown} */ (view.scenegraph()));
  const [left, top] = cornerOf(view);
  return [...walk(graph.root, left, top)];
}

/**
 * Where the scenegraph's origin lies in the chart.
 * @param {View} view
 * @returns {[number, number]}
 */
function cornerOf(view) {
  const padding = view.padding();
  const [x, y] = view.origin();
  if (typeof padding === "number") return [x + padding, y + padding];
  const { left = 0, top = 0 } = /** @type {Partial<Box>} */ (padding);
  return [x + left, y + top];
}

/**
 * @param {Scene} scene items of one mark; those of a group hold further scenes
 * @param {number} left
 * @param {number} top
 * @returns {Generator<Mark>}
 */
function* walk(scene, left, top) {
  for (const item of scene.items) {
    if (scene.marktype === "group") {
      for (const inner of item.items) yield* walk(inner, left + (item.x || 0), top + (item.y || 0));
      continue;
    }
    const cell = KINDS.includes(scene.marktype) && cellOf(item.datum);
    if (!cell) continue;
    const { x1, y1, x2, y2 } = item.bounds;
    const box = { left: left + x1, right: left + x2, top: top + y1, bottom: top + y2 };
    yield { kind: scene.marktype, cell, box };
  }
}

/**
 * The matrices that a rectangle touches, each once.
 * @param {Mark[]} marks
 * @param {Box} box
 * @returns {Cell[]}
 */
export function cellsWithin(marks, box) {
  const inside = marks.filter(
    ({ box: own }) =>
      own.right > box.left && own.left < box.right && own.bottom > box.top && own.top < box.bottom,
  );
  return [...new Map(inside.map(({ cell }) => [keyOf(cell), cell])).values()];
}

/** @type {Record<string, [number, number]>} */
const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

/**
 * The matrix next to another in the direction of an arrow key; the nearest, straight ahead first.
 * @param {Mark[]} marks
 * @param {Cell | undefined} from by default the first
 * @param {string} key
 * @returns {Cell | null} null where there is none
 */
export function neighbour(marks, from, key) {
  const way = WAYS[key];
  const places = marks.filter((mark) => mark.kind !== "text");
  const start = places.find((mark) => from && keyOf(mark.cell) === keyOf(from)) ?? places[0];
  if (!way || !start) return null;
  const [x, y] = centre(start.box);
  let best = null;
  let least = Number.POSITIVE_INFINITY;
  for (const { cell, box } of places) {
    const [dx, dy] = [centre(box)[0] - x, centre(box)[1] - y];
    const ahead = dx * way[0] + dy * way[1];
    const distance = ahead + 4 * (Math.abs(dx * way[1]) + Math.abs(dy * way[0]));
    if (ahead > 1 && distance < least) [best, least] = [cell, distance];
  }
  return best;
}

/** @param {Box} box */
const centre = (box) => [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
