/** Charts of a saved page beside the published entries: their axis, and what lies below it. */

import { fill } from "./dom.js";
import { isAnchor } from "./redrawn.js";
import { holding } from "./sieve.js";

/** @typedef {import("./types").Datum} Datum */

/** @param {Datum} row @param {string} name @returns {number | null} */
export const numberIn = (row, name) => (Number.isFinite(row[name]) ? Number(row[name]) : null);

/** @param {Datum[]} rows @param {string} name */
export const numbersIn = (rows, name) =>
  rows.map((row) => numberIn(row, name)).filter((value) => value !== null).sort((a, b) => a - b);

/**
 * Ends of an axis of k: published entries far below do not squash the rest.
 * @param {number[]} values
 * @param {number} gaussian k of an untrained matrix
 */
const endsOf = (values, gaussian) => [
  Math.floor(20 * Math.min(...values, gaussian - 0.1) - 0.2) / 20,
  Math.ceil(20 * Math.max(...values, gaussian) + 0.2) / 20,
];

/**
 * A chart of some components beside the entries that were published for them.
 * @param {any} spec without matrices
 * @param {string} table of the matrices
 * @param {(ends: number[]) => Datum[]} rowsFor gives them, by the ends of the axis
 * @param {{ values: number[], names: Set<unknown>, gaussian: number, isPublished?: boolean }} about
 *   what the axis holds, and whether the entries are by the same protocol
 * @param {Record<string, string>} texts
 * @returns {{ spec: any, arrows: string }}
 */
export function besideEntries(spec, table, rowsFor, { values, names, gaussian, isPublished = true }, texts) {
  const ends = endsOf(values, gaussian);
  let under = 0;
  /** @param {Datum} row */
  const told = (row) => {
    if (isAnchor(row)) return { ...row, at: gaussian };
    if (!("below" in row)) return row;
    const below = Number(row.k) < ends[0];
    under += Number(below);
    return { ...row, below: below ? "yes" : "no" };
  };
  const tables = Object.entries(/** @type {Record<string, Datum[]>} */ (spec.datasets)).map(([name, rows]) => {
    const left = rows.filter((row) => !("component" in row) || (isPublished && names.has(row.component)));
    return [name, name === table ? rowsFor(ends) : left.map(told)];
  });
  const share = names.size / new Set(placesOf(spec)).size;
  const arrows = under ? fill(texts.page_arrows, { number: under }) : "";
  return { spec: withAxes(holding(spec, Object.fromEntries(tables)), ends, share), arrows };
}

/** Components along the axis. @param {any} spec @returns {string[]} */
const placesOf = (spec) =>
  spec.spec ? placesOf(spec.spec) : spec.layer.map((/** @type {any} */ one) => one.encoding.x?.scale?.domain ?? []).flat();

/**
 * A chart with other ends of k, whose names below are slanted where they, now fewer, have no room.
 * @param {any} spec of one panel, or of small multiples
 * @param {number[]} domain of k
 * @param {number} share of the names that is left
 * @returns {any}
 */
function withAxes(spec, domain, share) {
  if (spec.spec) return { ...spec, spec: withAxes(spec.spec, domain, share) };
  const narrow = (/** @type {string} */ text) => text.replace(/< (\d+)/, (_, pixels) => `< ${Math.round(pixels * share)}`);
  const looks = (/** @type {any} */ axis) => ({
    labelAngle: { expr: narrow(axis.labelAngle.expr) },
    labelAlign: { expr: narrow(axis.labelAlign.expr) },
    labelExpr: narrow(axis.labelExpr),
  });
  const layer = spec.layer.map((/** @type {any} */ one) => {
    const { x, y } = one.encoding;
    const { axis } = x ?? {};
    const names = axis && { ...x, axis: { ...axis, ...looks(axis) } };
    const values = y?.scale && { ...y, scale: { ...y.scale, domain } };
    return { ...one, encoding: { ...one.encoding, ...(names && { x: names }), ...(values && { y: values }) } };
  });
  return { ...spec, layer };
}
