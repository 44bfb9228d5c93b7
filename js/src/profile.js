/** k along the layers of a component, in a saved page: the chart comes from Python, its rows from the map. */

import { cellOf } from "./cells.js";
import { fill } from "./dom.js";

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").Frame} Frame
 * @typedef {import("./types").StillContent} StillContent
 */

/**
 * The chart beside the map; that along the layers is of the component that is looked at, and one
 * that cannot be made stays, and says so.
 * @param {Frame} frame
 * @param {import("./saved.js").Looked} looked
 * @param {Record<string, string>} texts
 * @returns {StillContent | undefined}
 */
export function besideMap({ charts: { main, side }, profile }, { cells: [cell], own }, texts) {
  if (profile === undefined || own || !cell || !side) return side;
  const isOther = (/** @type {Datum} */ row) => row.component !== cell[2];
  if (!profile || !main) return rowsOf(side).every(isOther) ? noted(side, texts.page_profile_stays) : side;
  const rows = rowsOf(main).filter((row) => !isOther(row));
  const { $schema, config } = /** @type {any} */ (side.spec);
  const spec = { $schema, config, .../** @type {any} */ (profile.spec) };
  const datasets = { ...spec.datasets, [spec.data.name]: rows.map(withEnds) };
  return { ...profile, spec: { ...spec, datasets }, label: fill(texts.page_profile, { component: cell[2] }) };
}

/** Rows of matrices in a chart. @param {StillContent} content @returns {Datum[]} */
const rowsOf = ({ spec }) =>
  /** @type {Datum[][]} */ (Object.values(/** @type {any} */ (spec).datasets)).flat().filter((row) => cellOf(row));

/** A row with both ends of its error. @param {Datum} row */
function withEnds(row) {
  const [k, error] = [row.k, row.k_se];
  const known = typeof k === "number" && typeof error === "number";
  return { ...row, low: known ? k - error : null, high: known ? k + error : null };
}

/** @param {StillContent} content @param {string} note */
function noted(content, note) {
  const { title, ...spec } = /** @type {any} */ (content.spec);
  return { ...content, spec: { ...spec, title: { ...title, subtitle: [...title.subtitle, note] } } };
}
