/** The two lines above the rows of a grid: heads that sort, and a filter for each column. */

import { make } from "./dom.js";

/** @typedef {import("./grid.js").Grid} Grid */

/** Places of the two lines, before the first row. */
export const HEAD = -2;
export const FILTERS = -1;

/** @param {Grid} grid */
export function headRow(grid) {
  const heads = grid.columns.map(({ name, title, numeric }, i) => {
    const sign = grid.order?.column === name ? grid.order.sign : 0;
    const arrow = { 1: " ▲", 0: "", "-1": " ▼" }[sign];
    const sorted = { 1: "ascending", 0: "none", "-1": "descending" }[sign];
    const attributes = {
      role: "columnheader",
      "aria-colindex": i + 1,
      "aria-sort": sorted,
      "data-column": name,
      class: numeric ? "wb-figure" : undefined,
      onclick: () => {
        grid.moveTo(HEAD, i);
        grid.sortBy(name);
      },
    };
    return make("th", attributes, title + arrow);
  });
  return make("tr", { role: "row", "aria-rowindex": 1 }, ...heads);
}

/** @param {Grid} grid */
export function filterRow(grid) {
  const cells = grid.columns.map((column, i) =>
    make("td", { role: "gridcell", "aria-colindex": i + 1 }, filterInput(grid, column, i)),
  );
  return make("tr", { role: "row", "aria-rowindex": 2, class: "wb-column-filters" }, ...cells);
}

/**
 * @param {Grid} grid
 * @param {import("./rows.js").Column} column
 * @param {number} i its place
 */
function filterInput(grid, { name, title }, i) {
  const label = grid.options.filterLabel(title);
  /** Where the keys lead that leave it. @type {Record<string, number>} */
  const leads = { Enter: FILTERS, Escape: FILTERS, ArrowDown: 0, ArrowUp: HEAD };
  /** @type {HTMLInputElement} */
  const input = make("input", {
    type: "text",
    tabindex: -1, // the grid is one stop of the tab key
    "aria-label": label,
    title: label,
    placeholder: grid.options.filterHint,
    "data-column": name,
    onfocus: () => grid.moveTo(FILTERS, i),
    oninput: () => grid.filterBy(name, input.value),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      event.stopPropagation();
      if (!(event.key in leads)) return;
      event.preventDefault();
      grid.element.focus();
      grid.moveTo(leads[event.key], i);
    },
  });
  input.value = grid.filters[name] ?? "";
  return input;
}
