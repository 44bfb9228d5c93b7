/** The table of matrices: the charts in words, from which matrices are selected and copied. */

import { keyOf, MOST_SELECTED } from "./cells.js";
import { copyText, fill, grouped, make } from "./dom.js";
import { Grid } from "./grid.js";
import { separated, unpack } from "./rows.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Bars} Bars
 * @typedef {import("./types").Rows} Rows
 * @typedef {import("./rows.js").Column} Column
 */

const DIMS = ["model", "layer", "component", "step"];
const ALWAYS = ["layer", "component"]; // that name a matrix
const FIRST = ["k", "k_se", "status"];

/**
 * @param {import("./types").Page} page
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
export function buildTable({ model, controls, send }, choose) {
  const { texts } = controls;
  /** @type {Column[]} */
  let columns = [];
  /** Columns in the order in which they are copied: always the same. @type {Column[]} */
  let copied = [];
  /** @type {Column[]} */
  let dims = [];
  /** @type {Set<string>} */
  let chosen = new Set();
  /** @param {number} row */
  const cellAt = (row) => /** @type {Cell} */ (/** @type {unknown} */ (dims.map(({ at }) => at(row))));
  /** @param {number} row */
  const isSelected = (row) => chosen.has(keyOf(cellAt(row)));
  /** The selected rows, in the order that is shown. */
  const picked = () => grid.rows.filter(isSelected);

  const grid = new Grid({
    label: texts.table,
    filterLabel: (title) => fill(texts.filter_column, { title }),
    filterHint: texts.filter_hint,
    isSelected,
    onPick: (rows, add) => {
      const most = rows.length > MOST_SELECTED;
      bar.say(most ? fill(texts.most_selected, { number: MOST_SELECTED }) : "");
      choose(rows.slice(0, MOST_SELECTED).map(cellAt), add);
    },
    onCopy: () => copy(picked()),
    onSort: (order) => send({ order: [order.column, order.sign === 1] }),
    onChange: () => bar.say(""),
  });
  /** @param {number[]} rows */
  const copy = async (rows) => {
    const done = await copyText(separated(rows, copied));
    bar.say(done ? fill(texts.rows_copied, { number: grouped(rows.length) }) : texts.not_copied);
  };
  const bar = buildBar(grid, texts, picked, copy);
  const element = make("div", { class: "wb-table", hidden: true }, grid.element, bar.element);

  /** @param {string} text */
  function draw(text) {
    element.hidden = !text;
    if (!text) return;
    /** @type {Rows} */
    const sent = JSON.parse(text);
    columns = inOrder(sent.columns).map((packed) => {
      const column = unpack(packed, controls.columns[packed.name] ?? packed.name);
      return withBar(column, sent.bars, controls.dark);
    });
    copied = sent.columns.flatMap((one) => columns.filter(({ name }) => name === one.name));
    dims = DIMS.flatMap((dim) => columns.filter(({ name }) => name === dim));
    const [by, ascending] = model.get("order") ?? [];
    bar.count(sent);
    grid.show(columns, numberOf(sent), by ? { column: by, sign: ascending ? 1 : -1 } : null);
    const first = grid.rows.find(isSelected);
    if (first !== undefined) grid.reveal(first);
  }

  return {
    element,
    draw,
    /** Tell which matrices are selected. @param {Cell[]} cells */
    mark(cells) {
      chosen = new Set(cells.map(keyOf));
      grid.mark();
      bar.say();
    },
    stop: () => grid.stop(),
  };
}

/**
 * What stands below the table: how many rows there are, and buttons.
 * @param {Grid} grid
 * @param {Record<string, string>} texts
 * @param {() => number[]} picked
 * @param {(rows: number[]) => void} copy
 */
function buildBar(grid, texts, picked, copy) {
  let [listed, total, last] = [0, 0, ""];
  const note = make("span", { role: "status" });
  /** @param {string} text @param {() => void} onclick */
  const button = (text, onclick) => make("button", { type: "button", onclick }, text);
  const unfilter = button(texts.clear_filters, () => grid.clear());
  const some = button(texts.copy_selected, () => copy(picked()));
  const all = button(texts.copy_all, () => copy(grid.rows));
  const element = make("p", { class: "wb-note wb-table-bar" }, note, unfilter, some, all);
  const textOf = () => {
    if (grid.filtered) return texts.rows_kept;
    if (listed < total) return texts.rows_listed;
    return total === 1 ? texts.row : texts.rows;
  };
  /** Say how many rows there are, and what has just been done. @param {string} [words] */
  function say(words = last) {
    last = words;
    const number = picked().length;
    const counts = { shown: grouped(grid.rows.length), total: grouped(total) };
    const selected = fill(texts.rows_selected, { number: grouped(number) });
    note.textContent = [fill(textOf(), counts), selected, words].filter(Boolean).join(" · ");
    unfilter.hidden = !grid.filtered;
    some.hidden = !number;
  }
  return {
    element,
    say,
    /** @param {Rows} sent */
    count(sent) {
      [listed, total] = [numberOf(sent), sent.total];
    },
  };
}

/**
 * First what tells rows apart, then k with its error and the status, then the rest: what is seen
 * of a narrow table says which matrix it is, what was found, and whether it holds.
 * @template {import("./types").PackedColumn} T
 * @param {T[]} columns
 * @returns {T[]}
 */
export function inOrder(columns) {
  /** @param {T} column */
  const rank = ({ name, values }) => {
    const differs = new Set(values).size > 1;
    if (DIMS.includes(name)) return differs || ALWAYS.includes(name) ? 0 : 2;
    return FIRST.includes(name) ? 1 : 2;
  };
  const known = FIRST.flatMap((name) => columns.filter((column) => column.name === name));
  const of = (/** @type {number} */ place) => columns.filter((column) => rank(column) === place);
  return [...of(0), ...known, ...of(2)];
}

/** @param {Rows} sent */
const numberOf = ({ columns }) => (columns[0]?.codes ?? columns[0]?.values ?? []).length;

/**
 * A bar before k, from the anchor to it in the colours of the map, and one before λ, from zero.
 * @param {Column} column
 * @param {Bars} bars
 * @param {Record<string, string>} dark colours by those of a light page
 * @returns {Column}
 */
function withBar(column, { middle, reach, colours, largest }, dark) {
  const { name, at } = column;
  if (name === "lam" && largest) {
    return { ...column, bar: (row) => line(0, (100 * Number(at(row))) / largest, "var(--wb-dim)") };
  }
  if (name !== "k") return column;
  /** @param {number} row */
  const bar = (row) => {
    const value = at(row);
    if (typeof value !== "number") return line(0, 0, "none");
    const { from, to, shade } = barOf((value - middle) / reach, colours.length);
    const colour = `light-dark(${colours[shade]}, ${dark[colours[shade]] ?? colours[shade]})`;
    return line(from, to, colour, "wb-both-ways");
  };
  return { ...column, bar };
}

/**
 * @param {number} from percent of the place
 * @param {number} to
 * @param {string} colour
 * @param {string} [kind]
 */
function line(from, to, colour, kind = "") {
  const style = `left: ${from}%; width: ${to - from}%; background: ${colour}`;
  const drawn = make("span", { style });
  return make("span", { class: `wb-bar-of ${kind}`, "aria-hidden": "true" }, drawn);
}

/**
 * Where a bar lies, in percent of its place, and which colour it has.
 * @param {number} share of the distance that reaches the end, negative to the left
 * @param {number} colours
 */
export function barOf(share, colours) {
  const end = 50 + 50 * Math.max(-1, Math.min(1, share));
  const shade = Math.min(Math.floor((end / 100) * colours), colours - 1);
  return { from: Math.min(50, end), to: Math.max(50, end), shade };
}
