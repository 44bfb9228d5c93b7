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
 * @param {import("./types").Page} page
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
export function buildTable({ model, controls, send }, choose) {
  const box = make("div", { class: "wb-table" });
  const [first, ascending] = model.get("order") ?? [];
  /** @type {Order | null} */
  let order = first ? { column: first, sign: ascending ? 1 : -1 } : null;
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
        // of very many rows, others come first
        if (rows.length < total) send({ order: [column, order.sign === 1] });
        /** @type {HTMLElement | null} */
        const button = box.querySelector(`th[data-column="${column}"] button`);
        button?.focus();
      });
    });
    const body = make("tbody", {}, ...sorted.map((row) => line(columns, row, choose)));
    body.firstElementChild?.setAttribute("tabindex", "0");
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
      tabindex: -1, // the rows are one stop of the tab key: arrow keys lead on
      "aria-selected": selected,
      onclick: pick,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "ArrowDown" || event.key === "ArrowUp") walk(event);
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(event);
      },
    },
    ...cells,
  );
}

/**
 * Move the focus to the next row or the one before.
 * @param {KeyboardEvent} event
 */
function walk(event) {
  event.preventDefault();
  const row = /** @type {HTMLElement} */ (event.currentTarget);
  const next = event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
  if (!(next instanceof HTMLElement)) return;
  row.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
