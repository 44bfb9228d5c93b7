/** The selected matrix, always in sight: its name, its numbers, its plot, what was found in it. */

import { numbersOf } from "./card.js";
import { bandOf, cellOf, keyOf } from "./cells.js";
import { fill, grouped, make } from "./dom.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").Matrices} Matrices
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Words} Words
 */

const PINS = ["A", "B"];
const LONGEST = 60; // letters of a model's name

/**
 * The pinned matrices after a button was pressed: one that is pinned already is let go.
 * @param {Record<string, Cell>} pinned
 * @param {string} name
 * @param {Cell | undefined} cell
 */
export function pin(pinned, name, cell) {
  const { [name]: old, ...others } = pinned;
  if (!cell || (old && keyOf(old) === keyOf(cell))) return others;
  return { ...others, [name]: cell };
}

/**
 * What was found in one of some matrices.
 * @param {import("./types").Findings} found
 * @param {Cell[]} cells
 */
export function foundIn(found, cells) {
  const wanted = new Set(cells.map(keyOf));
  return found.rows.filter((row) => row.cells.some((cell) => wanted.has(keyOf(cell))));
}

/**
 * @param {Page} page
 * @param {HTMLElement} chart
 * @param {() => Datum[]} rows of the main chart
 */
export function buildPane(page, chart, rows) {
  const { texts } = page.controls;
  const numbers = buildNumbers();
  const dated = () => page.checkpoints().steps.length !== 1;
  const findings = make("ul", { class: "wb-found" });
  const pins = buildPins(page);
  const element = make(
    "aside",
    { class: "wb-pane", "aria-label": texts.selected },
    pins.element,
    numbers.element,
    chart,
    findings,
  );
  /** @type {Words | null} */
  let last = null;
  const list = () => {
    const text = page.model.get("_findings");
    const found = text && last ? foundIn(JSON.parse(text), last.chosen) : [];
    findings.replaceChildren(
      ...found.map(({ severity, rule, text: words }) =>
        make(
          "li",
          {},
          make("span", { class: "wb-severity", "data-severity": severity }, severity),
          make("span", {}, `${rule}: ${words}`),
        ),
      ),
    );
    findings.hidden = !found.length;
  };
  /** @param {Words} words */
  const update = (words) => {
    last = words;
    pins.update(words);
    numbers.update(words);
    element.hidden = !words.chosen.length;
    list();
  };
  return {
    element,
    list,
    update,
    /** Show what the page knows of a matrix that was clicked. @param {Cell[]} chosen */
    expect(chosen) {
      const matrices = last && expected(last, chosen, rows, page.controls.texts, dated());
      if (last && matrices) update({ ...last, chosen, matrices });
    },
  };
}

/**
 * Numbers of one matrix, from its row in the map.
 * @param {Cell} cell
 * @param {Datum[]} rows
 * @param {Record<string, string>} texts
 * @param {boolean} dated whether the step is told, also the first
 * @returns {Matrices} no rows where the map has none of it alone
 */
export function numbersAt(cell, rows, texts, dated) {
  const key = keyOf(cell);
  const row = rows.find((one) => {
    const own = "k" in one && !bandOf(one) && cellOf(one);
    return own && keyOf(own) === key;
  });
  const [model, layer, component, step] = cell;
  const name = fill(texts.pane_name, { component, layer });
  const named = model.length > LONGEST ? `${model.slice(0, LONGEST - 1)}…` : model;
  const place = dated || step ? fill(texts.pane_place, { model: named, step: grouped(step) }) : named;
  return { heads: [{ pin: "", name, place }], rows: row ? numbersOf(row) : [], more: "" };
}

/**
 * Numbers of another matrix, from its row in the map, in the place of those that are shown; dots for
 * what only Python knows.
 * @param {Words} shown
 * @param {Cell[]} chosen
 * @param {() => Datum[]} rows
 * @param {Record<string, string>} texts
 * @param {boolean} dated
 * @returns {Matrices | null} null where one is not put for another
 */
export function expected({ chosen: [old], matrices }, chosen, rows, texts, dated) {
  const [cell] = chosen;
  if (matrices?.heads.length !== 1 || matrices.heads[0].pin || chosen.length !== 1) return null;
  if (old && keyOf(old) === keyOf(cell)) return null;
  const found = numbersAt(cell, rows(), texts, dated);
  if (!found.rows.length) return null;
  const known = new Map(found.rows.map(([label, value]) => [label, value]));
  return { ...found, rows: matrices.rows.map(([label]) => [label, known.get(label) ?? "…"]) };
}

/** The numbers of what is selected. */
export function buildNumbers() {
  const element = make("div", { class: "wb-numbers" });
  /** @param {Words} words */
  const update = ({ matrices }) => element.replaceChildren(...(matrices ? table(matrices) : []));
  return { element, update };
}

/**
 * Numbers of matrices: of one in short lines, of several a column each.
 * @param {Matrices} matrices
 */
function table({ heads, rows, more }) {
  if (heads.length === 1) {
    const pairs = rows.map(([label, value]) =>
      make("div", {}, make("dt", {}, label), make("dd", {}, value)),
    );
    return [make("dl", {}, ...pairs)];
  }
  const columns = heads.map(({ pin: pinned, name, place }) =>
    make(
      "th",
      { scope: "col", title: `${name} · ${place}` },
      ...(pinned ? [make("b", { class: "wb-pin" }, pinned), " "] : []),
      name,
      make("small", {}, place),
    ),
  );
  const head = make("thead", {}, make("tr", {}, make("td", {}), ...columns));
  const body = rows.map(([label, ...values]) =>
    make("tr", {}, make("th", { scope: "row" }, label), ...values.map((v) => make("td", {}, v))),
  );
  const note = more ? [make("p", { class: "wb-note" }, more)] : [];
  return [make("table", {}, head, make("tbody", {}, ...body)), ...note];
}

/**
 * What is selected, in short: its name if it is one matrix.
 * @param {Words} words
 * @param {string} otherwise
 */
export function titleOf({ matrices }, otherwise) {
  if (matrices?.heads.length !== 1) return [make("strong", {}, otherwise)];
  const [{ pin: pinned, name, place }] = matrices.heads;
  const mark = pinned ? [make("b", { class: "wb-pin" }, pinned), " "] : [];
  return [...mark, make("strong", {}, name), " ", make("small", {}, place)];
}

/**
 * Buttons that keep the first selected matrix while everything else changes.
 * @param {Page} page
 */
function buildPins({ model, controls, send }) {
  const { texts } = controls;
  const title = make("p", { class: "wb-title" });
  /** @type {Cell | undefined} */
  let cell;
  const buttons = PINS.map((name) => {
    const onclick = () => {
      const pinned = pin(model.get("pinned"), name, cell);
      const checkpoint = cell && pinned[name] ? { [COMPARED[name]]: [cell[0], cell[3]] } : {};
      send({ pinned, ...checkpoint });
    };
    const label = fill(texts.pin, { name });
    return make("button", { type: "button", title: texts.pin_why, onclick }, label);
  });
  return {
    element: make("div", { class: "wb-pins" }, title, ...buttons),
    /** @param {Words} words */
    update(words) {
      [cell] = words.chosen;
      title.replaceChildren(...titleOf(words, texts.selected));
      const pinned = model.get("pinned");
      buttons.forEach((button, i) => {
        button.setAttribute("aria-pressed", String(Boolean(pinned[PINS[i]])));
      });
    },
  };
}

/** Traits of Compare that a pin sets. @type {Record<string, string>} */
const COMPARED = { A: "first", B: "second" };
