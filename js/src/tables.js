/**
 * Tables of charts as Python sends them: by columns, where a value that all rows have stands once, and
 * a column like another is its name.
 */

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {{ rows: number, columns: Record<string, unknown[] | string> }} Table
 */

/**
 * @param {Table | Datum[]} table rows stay
 * @returns {Datum[]}
 */
export function rowsOf(table) {
  if (Array.isArray(table)) return table;
  const held = (/** @type {unknown[] | string} */ values) =>
    /** @type {unknown[]} */ (typeof values === "string" ? table.columns[values] : values);
  const columns = Object.entries(table.columns).map(([name, values]) => /** @type {const} */ ([name, held(values)]));
  return Array.from({ length: table.rows }, (_, i) =>
    Object.fromEntries(columns.map(([name, values]) => [name, values[values.length > 1 ? i : 0]])),
  );
}

/**
 * A chart whose tables are rows.
 * @template {import("./types").ChartContent} Content
 * @param {Content} content
 * @returns {Content}
 */
export function withRows(content) {
  if (!content.spec) return content;
  const tables = Object.entries(/** @type {Record<string, Table | Datum[]>} */ (/** @type {any} */ (content.spec).datasets));
  const datasets = Object.fromEntries(tables.map(([name, table]) => [name, rowsOf(table)]));
  return { ...content, spec: { ...content.spec, datasets } };
}
