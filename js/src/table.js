/** The table of matrices: the charts in words. */

import { cellOf } from "./cells.js";
import { fill, grouped, make } from "./dom.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Rows} Rows
 * @typedef {import("./types").Value} Value
 * @typedef {{ column: string, sign: 1 | -1 }} Order
 */

/** @type {Record<string, (value: number) => string>} */
const FORMATS = {
  k: (value) => value.toFixed(4),
  r2: (value) => value.toFixed(4),
  ks: (value) => value.toFixed(4),
  k_se: (value) => value.toPrecision(2),
  lam: (value) => value.toPrecision(4),
  lam_se: (value) => value.toPrecision(2),
  n: grouped,
  step: grouped,
};

/**
 * @param {string} column
 * @param {Value} value
 */
export function format(column, value) {
  if (value === null) return "–";
  return typeof value === "number" && FORMATS[column] ? FORMATS[column](value) : String(value);
}

/**
 * Rows in the order of one column; what has no value comes last.
 * @param {Value[][]} rows
 * @param {number} at
 * @param {number} sign
 */
export function sortRows(rows, at, sign) {
  return [...rows].sort((a, b) => {
    const [x, y] = [a[at], b[at]];
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    return x < y ? -sign : sign;
  });
}

/**
 * @param {import("./types").Controls} controls
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
export function buildTable(controls, choose) {
  const box = make("div", { class: "wb-table" });
  /** @type {Order | null} */
  let order = null;
  /** @param {string} text */
  function draw(text) {
    if (!text) {
      box.replaceChildren();
      return;
    }
    /** @type {Rows} */
    const { columns, rows, total } = JSON.parse(text);
    const at = order ? columns.indexOf(order.column) : -1;
    const sorted = order && at >= 0 ? sortRows(rows, at, order.sign) : rows;
    const head = columns.map((column) => {
      const sign = order?.column === column ? order.sign : 0;
      return header(column, controls.columns[column] ?? column, sign, () => {
        order = { column, sign: sign === 1 ? -1 : 1 };
        draw(text);
        /** @type {HTMLElement | null} */
        const button = box.querySelector(`th[data-column="${column}"] button`);
        button?.focus();
      });
    });
    const body = make("tbody", {}, ...sorted.map((row) => line(columns, row, choose)));
    const counts = { shown: grouped(rows.length), total: grouped(total) };
    const note = rows.length < total ? fill(controls.texts.rows, counts) : "";
    box.replaceChildren(
      make("table", {}, make("thead", {}, make("tr", {}, ...head)), body),
      make("p", { class: "wb-note" }, note),
    );
  }
  return { element: box, draw };
}

/**
 * @param {string} column
 * @param {string} title
 * @param {1 | 0 | -1} sign of the order; 0 if the rows are not sorted by it
 * @param {() => void} onclick
 */
function header(column, title, sign, onclick) {
  const arrow = { 1: " ▲", 0: "", "-1": " ▼" }[sign];
  const sorted = { 1: "ascending", 0: "none", "-1": "descending" }[sign];
  const button = make("button", { type: "button", onclick }, title + arrow);
  return make("th", { scope: "col", "data-column": column, "aria-sort": sorted }, button);
}

/**
 * @param {string[]} columns
 * @param {Value[]} row its values, and whether it is selected
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
function line(columns, row, choose) {
  const cells = columns.map((column, i) =>
    make("td", { class: typeof row[i] === "number" ? "wb-figure" : "" }, format(column, row[i])),
  );
  const cell = cellOf(Object.fromEntries(columns.map((column, i) => [column, row[i]])));
  /** @param {MouseEvent | KeyboardEvent} event */
  const pick = (event) => cell && choose([cell], event.shiftKey);
  const selected = String(row[columns.length]);
  return make(
    "tr",
    {
      tabindex: 0,
      "aria-selected": selected,
      onclick: pick,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(event);
      },
    },
    ...cells,
  );
}
