/** Matrices, named by model, layer, component and step, and which of them are selected. */

/** @typedef {import("./types").Cell} Cell */

const DIMS = ["model", "layer", "component", "step"];
/** Matrices that can be selected at once. */
export const MOST_SELECTED = 400;

/**
 * The matrix that a row of a chart or of the table stands for, if it is one.
 * @param {unknown} datum
 * @returns {Cell | null}
 */
export function cellOf(datum) {
  if (!datum || typeof datum !== "object") return null;
  const row = /** @type {import("./types").Datum} */ (datum);
  const cell = DIMS.map((name) => row[name]);
  return cell.includes(undefined) ? null : /** @type {Cell} */ (cell);
}

/**
 * The layers that a row of a map stands for, the first and the last, where these are several.
 * @param {import("./types").Datum} row
 * @returns {[number, number] | null}
 */
export function bandOf({ band }) {
  const ends = typeof band === "string" && band.match(/^(-?\d+)–(-?\d+)$/);
  return ends ? [Number(ends[1]), Number(ends[2])] : null;
}

/** @param {Cell} cell */
export const keyOf = (cell) => JSON.stringify(cell);

/**
 * The selection after some cells were picked, alone or in addition; one cell again takes it away.
 * @param {Cell[]} old
 * @param {Cell[]} picked
 * @param {boolean} add
 */
export function select(old, picked, add) {
  if (!add) return picked.slice(0, MOST_SELECTED);
  const keys = new Set(picked.map(keyOf));
  const others = old.filter((cell) => !keys.has(keyOf(cell)));
  if (picked.length === 1 && others.length < old.length && others.length) return others;
  return [...others, ...picked].slice(0, MOST_SELECTED);
}
