/**
 * A grid of any number of rows, of which only those in view are elements. It is one stop of the
 * tab key: arrow keys move the active cell, up to the heads and the filters.
 */

import { make } from "./dom.js";
import { FILTERS, filterRow, HEAD, headRow } from "./grid_heads.js";
import { press } from "./grid_keys.js";
import { keptRows, sortRows } from "./rows.js";

/**
 * @typedef {import("./rows.js").Column} Column
 * @typedef {import("./rows.js").Order} Order
 * @typedef {{ shiftKey: boolean, ctrlKey: boolean, metaKey: boolean }} Held
 * @typedef {{
 *   label: string,
 *   filterLabel: (title: string) => string,
 *   filterHint: string,
 *   isSelected?: (row: number) => boolean,
 *   onPick?: (rows: number[], add: boolean) => void,
 *   onCopy?: () => void,
 *   onSort?: (order: Order) => void,
 *   onChange?: () => void,
 * }} Options `onPick` gets rows that are selected, alone or in addition
 */

const HEIGHT = 24; // px of a row, as in the style sheet
const BEYOND = 20; // rows that are drawn above and below those in view
const UNSEEN = 20; // rows that are drawn where the grid has no size yet
const FEW = 10; // rows that need no filters
const WIDEST = 34; // characters of a column
let numbered = 0;

export class Grid {
  /** @type {Column[]} */
  columns = [];
  total = 0;
  /** Rows that pass the filters, in the order that is shown. @type {number[]} */
  rows = [];
  /** @type {Order | null} */
  order = null;
  /** @type {Record<string, string>} */
  filters = {};
  /** The active cell: a place among the rows, or `HEAD` or `FILTERS`. */
  active = { line: 0, column: 0 };
  /** Where a range of rows begins. */
  anchor = 0;
  /** Elements of rows, by their place. @type {Map<number, HTMLElement>} */
  #lines = new Map();
  #name = `weibnb-grid-${++numbered}`;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.head = make("thead", { role: "rowgroup" });
    this.body = make("tbody", { role: "rowgroup" });
    this.element = make(
      "div",
      {
        class: "wb-grid",
        role: "grid",
        tabindex: 0,
        "aria-label": options.label,
        "aria-multiselectable": options.onPick ? "true" : undefined,
        "data-lm-suppress-shortcuts": "true", // JupyterLab's own keys
      },
      make("table", { role: "presentation" }, this.head, this.body),
    );
    this.element.addEventListener("keydown", (event) => press(this, event));
    this.element.addEventListener("scroll", () => this.render(), { passive: true });
    this.body.addEventListener("mousedown", (event) => {
      if (event.shiftKey) event.preventDefault(); // no text is selected
    });
    this.body.addEventListener("click", (event) => this.#click(event));
    this.observer = new ResizeObserver(() => this.render());
    this.observer.observe(this.element);
  }

  /**
   * Show another table; filters stay.
   * @param {Column[]} columns
   * @param {number} total number of rows
   * @param {Order | null} order
   */
  show(columns, total, order) {
    const names = (/** @type {Column[]} */ some) => some.map(({ name }) => name).join();
    const same = names(columns) === names(this.columns);
    Object.assign(this, { columns, total, order });
    const sizes = widths(columns, total);
    const tracks = sizes.map(({ least, characters }) => `minmax(calc(${least}), ${characters}fr)`);
    this.element.style.setProperty("--wb-columns", tracks.join(" "));
    const width = sizes.map(({ least }) => least).join(" + ");
    this.element.style.setProperty("--wb-width", `calc(${width})`);
    this.#drawHeads();
    if (!same) this.#drawFilters();
    const filters = /** @type {HTMLElement} */ (this.head.children[1]);
    filters.hidden = total < FEW && !this.filtered;
    this.arrange();
  }

  /** Filter and sort, and draw anew. */
  arrange() {
    const { columns, order } = this;
    const kept = keptRows(this.total, columns, this.filters);
    const by = columns.find(({ name }) => name === order?.column);
    this.rows = order && by ? sortRows(kept, by, order.sign) : kept;
    this.element.setAttribute("aria-rowcount", String(this.rows.length + 2));
    this.element.setAttribute("aria-colcount", String(columns.length));
    this.body.style.height = `${this.rows.length * HEIGHT}px`;
    this.active.line = Math.min(this.active.line, this.rows.length - 1);
    this.anchor = Math.min(this.anchor, Math.max(this.rows.length - 1, 0));
    for (const line of this.#lines.values()) line.remove();
    this.#lines.clear();
    this.render();
    this.options.onChange?.();
  }

  /** Draw the rows in view, and the active one wherever it is. */
  render() {
    const top = this.element.scrollTop;
    const shown = this.element.clientHeight || UNSEEN * HEIGHT;
    const first = Math.max(Math.floor(top / HEIGHT) - BEYOND, 0);
    const last = Math.min(Math.ceil((top + shown) / HEIGHT) + BEYOND, this.rows.length);
    const active = this.active.line;
    for (const [at, line] of this.#lines) {
      if ((at < first || at >= last) && at !== active) {
        line.remove();
        this.#lines.delete(at);
      }
    }
    for (let at = first; at < last; at++) this.#draw(at);
    if (active >= 0) this.#draw(active);
    this.#markActive();
  }

  /** Draw one row, if it is not there. @param {number} at */
  #draw(at) {
    if (this.#lines.has(at)) return;
    const row = this.rows[at];
    const selected = this.options.isSelected;
    const line = make(
      "tr",
      {
        role: "row",
        "aria-rowindex": at + 3,
        "aria-selected": selected ? String(selected(row)) : undefined,
        "data-odd": at % 2 ? "yes" : undefined,
        "data-at": at,
        style: `top: ${at * HEIGHT}px`,
      },
      ...this.columns.map((column, i) => cellOfRow(column, i, row)),
    );
    this.#lines.set(at, line);
    this.body.append(line);
  }

  /** The element of the active cell. @returns {HTMLElement | undefined} */
  activeCell() {
    const { line, column } = this.active;
    const row = line < 0 ? this.head.children[line - HEAD] : this.#lines.get(line);
    return /** @type {HTMLElement | undefined} */ (row?.children[column]);
  }

  #markActive() {
    const cell = this.activeCell();
    const old = this.element.querySelector(".wb-active");
    if (old === cell) return;
    old?.classList.remove("wb-active");
    old?.removeAttribute("id");
    if (!cell) return;
    cell.classList.add("wb-active");
    cell.id = `${this.#name}-${this.active.line}-${this.active.column}`;
    this.element.setAttribute("aria-activedescendant", cell.id);
  }

  /**
   * Make a cell the active one, and bring it into view.
   * @param {number} line
   * @param {number} column
   */
  moveTo(line, column) {
    const { element } = this;
    const filters = /** @type {HTMLElement} */ (this.head.children[1]);
    if (line === FILTERS && filters.hidden) line = this.active.line < 0 ? 0 : HEAD;
    this.active = {
      line: Math.max(HEAD, Math.min(line, this.rows.length - 1)),
      column: Math.max(0, Math.min(column, this.columns.length - 1)),
    };
    if (this.active.line >= 0) {
      const top = this.active.line * HEIGHT;
      const room = element.clientHeight - this.head.offsetHeight;
      if (top < element.scrollTop) element.scrollTop = top;
      else if (top + HEIGHT > element.scrollTop + room) element.scrollTop = top + HEIGHT - room;
    }
    this.render();
    const cell = this.activeCell();
    if (!cell) return;
    const right = cell.offsetLeft + cell.offsetWidth - element.clientWidth;
    if (right > element.scrollLeft) element.scrollLeft = right;
    if (cell.offsetLeft < element.scrollLeft) element.scrollLeft = cell.offsetLeft;
  }

  /** Sort by a column, the other way round if it is sorted by it. @param {string} name */
  sortBy(name) {
    const { order } = this;
    this.order = { column: name, sign: order?.column === name && order.sign === 1 ? -1 : 1 };
    this.#drawHeads();
    this.element.scrollTop = 0;
    this.arrange();
    this.options.onSort?.(this.order);
  }

  /**
   * @param {string} name of the column
   * @param {string} text
   */
  filterBy(name, text) {
    this.filters = { ...this.filters, [name]: text };
    this.element.scrollTop = 0;
    this.arrange();
  }

  /** Rows that a page key leads over. */
  get page() {
    return Math.max(Math.floor(this.element.clientHeight / HEIGHT) - 3, 1);
  }

  get filtered() {
    return Object.values(this.filters).some((text) => text.trim());
  }

  /** Take the filters away. */
  clear() {
    this.filters = {};
    this.#drawFilters();
    this.arrange();
  }

  /**
   * Select a row, or with shift all from the last one on.
   * @param {number} at its place
   * @param {Held} held
   */
  pick(at, held) {
    if (!this.options.onPick || at < 0 || at >= this.rows.length) return;
    if (!held.shiftKey) this.anchor = at;
    const [first, last] = [Math.min(this.anchor, at), Math.max(this.anchor, at)];
    this.options.onPick(this.rows.slice(first, last + 1), held.ctrlKey || held.metaKey);
  }

  /** Tell anew which rows are selected. */
  mark() {
    for (const [at, line] of this.#lines) {
      line.setAttribute("aria-selected", String(this.options.isSelected?.(this.rows[at]) ?? false));
    }
  }

  /** Make a row the active one. @param {number} row */
  reveal(row) {
    const at = this.rows.indexOf(row);
    if (at >= 0) this.moveTo(at, this.active.column);
  }

  stop() {
    this.observer.disconnect();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const [line, cell] = [target.closest("tr"), target.closest("td")];
    if (!line) return;
    const at = Number(line.dataset.at);
    this.moveTo(at, cell ? [...line.children].indexOf(cell) : this.active.column);
    this.pick(at, event);
  }

  #drawHeads() {
    this.head.replaceChildren(headRow(this), ...[...this.head.children].slice(1));
    this.#markActive();
  }

  #drawFilters() {
    this.head.replaceChildren(this.head.children[0], filterRow(this));
    if (this.active.line === FILTERS) this.#markActive();
  }
}

/**
 * @param {Column} column
 * @param {number} i its place
 * @param {number} row
 */
function cellOfRow(column, i, row) {
  const text = column.show(row);
  const attributes = {
    role: "gridcell",
    "aria-colindex": i + 1,
    class: `${column.numeric ? "wb-figure" : ""} ${column.bar ? "wb-barred" : ""}`,
    title: text.length > WIDEST ? text : undefined,
  };
  return make("td", attributes, ...(column.bar ? [column.bar(row)] : []), text);
}

/**
 * Least widths of columns, with room for the titles and for what some rows show.
 * @param {Column[]} columns
 * @param {number} number of rows
 */
function widths(columns, number) {
  const step = Math.max(Math.floor(number / 200), 1);
  return columns.map(({ title, show, bar }) => {
    let most = title.length + 2;
    for (let row = 0; row < number; row += step) most = Math.max(most, show(row).length);
    const characters = Math.min(most, WIDEST) + 1;
    return { characters, least: `${characters}ch + ${bar ? 44 : 12}px` }; // of bar and padding
  });
}
