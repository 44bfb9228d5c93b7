/**
 * Marks that stay while their rows change: without a key Vega takes all marks of a table away and
 * makes them anew. (Vega-Lite's own channel for keys would be read out with each mark.)
 */

/** Number of a row in its table. */
export const KEY = "wb_row";
const ONE_OF_ROWS = ["image", "rect", "rule", "symbol", "text"];
/** Transforms that leave rows what they are. */
const OF_ROWS = ["filter", "formula", "identifier"];

/**
 * Give marks a key where each is of one row of a table.
 * @param {any} spec of Vega, which is changed
 * @param {string[]} tables
 */
export function keepMarks(spec, tables) {
  const named = (/** @type {any} */ { name, source }) => tables.includes(name) || tables.includes(source);
  mark(spec, new Set(), named);
  return spec;
}

/**
 * @param {any} group with marks
 * @param {Set<string>} known data whose rows are those of a table
 * @param {(data: any) => boolean} isTable
 */
function mark(group, known, isTable) {
  const own = new Set(known);
  for (const data of group.data ?? []) {
    const kept = (data.transform ?? []).every((/** @type {any} */ { type }) => OF_ROWS.includes(type));
    if (kept && (isTable(data) || own.has(data.source))) own.add(data.name);
  }
  for (const one of group.marks ?? []) {
    const { facet, data } = one.from ?? {};
    if (ONE_OF_ROWS.includes(one.type) && own.has(data)) one.key = KEY;
    else if (one.type === "group") mark(one, facet && own.has(facet.data) ? new Set([...own, facet.name]) : own, isTable);
  }
}
