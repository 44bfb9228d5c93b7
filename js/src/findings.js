/** What a check found, worst first: in a list, and in a line above the charts. */

import { keyOf } from "./cells.js";
import { make } from "./dom.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Finding} Finding
 * @typedef {import("./types").Findings} Findings
 * @typedef {import("./types").Page} Page
 */

const FIRST = 3; // findings that the line names
const NOTHING = { badge: "", severity: "", headline: "", rows: [], note: "" };

/**
 * The step that the matrices of a finding are shown at: that of the first.
 * @param {Cell[]} cells
 * @param {unknown} step that is shown
 */
export function stepOf(cells, step) {
  return cells.some((cell) => cell[3] === step) ? step : cells[0][3];
}

/**
 * Filters that leave some matrices: of models and components with theirs, no others.
 * @param {Record<string, string[]>} filters
 * @param {Cell[]} cells
 * @param {import("./types").Facet[]} facets
 */
export function widened(filters, cells, facets) {
  /** @type {Record<string, string[]>} */
  const found = {};
  for (const [name, at] of /** @type {[string, number][]} */ ([["model", 0], ["component", 2]])) {
    const facet = facets.find((one) => one.name === name);
    if (!filters[name] || !facet) continue;
    const added = cells.map((cell) => facet.values[facet.labels.indexOf(String(cell[at]))]);
    found[name] = [...new Set([...filters[name], ...added])];
  }
  return found;
}

/**
 * What was found of the first selected matrix.
 * @param {Finding[]} rows
 * @param {Cell[]} chosen
 */
export function foundOf(rows, [cell]) {
  if (!cell) return [];
  const key = keyOf(cell);
  return rows.filter(({ cells }) => cells.some((one) => keyOf(one) === key));
}

/** @param {Page} page */
export function buildFindings(page) {
  const { texts } = page.controls;
  const list = make("div", { class: "wb-findings", role: "group", "aria-label": texts.findings });
  const said = make("span", {});
  const onclick = () => page.send({ panel: "findings" });
  const all = make("button", { type: "button", onclick }, page.controls.panels.findings?.title ?? "");
  const line = make("p", { class: "wb-found-line" }, said, all);
  const link = linkOf(page);
  /** @type {Finding[]} */
  let rows = [];
  list.addEventListener("keydown", (event) => walk(list, event));
  return {
    /** A line for the overview, and the list. */
    elements: [line, list],
    /** @param {string} text */
    draw(text) {
      /** @type {Findings} */
      const found = text ? JSON.parse(text) : { ...NOTHING, headline: texts.not_checked };
      ({ rows } = found);
      const note = rows.length ? found.note : `${found.headline} ${found.note}`;
      list.replaceChildren(
        make("ul", {}, ...rows.map((row) => item(row, link))),
        make("p", { class: "wb-note" }, note),
      );
      oneStop(list);
      said.replaceChildren(...shortLine(found, link));
    },
    /** Tell which findings are of the selected matrix. @param {Cell[]} chosen */
    update(chosen) {
      const found = foundOf(rows, chosen);
      const at = new Set(found.map((one) => rows.indexOf(one)));
      [...list.querySelectorAll("li")].forEach((li, i) => {
        if (at.has(i)) li.setAttribute("aria-current", "true");
        else li.removeAttribute("aria-current");
      });
    },
  };
}

/**
 * Makes buttons that lead to the matrices of a finding, whatever the filters hide.
 * @param {Page} page
 * @returns {(finding: Finding, words: string) => HTMLElement}
 */
function linkOf({ model, controls, send }) {
  return ({ cells, text }, words) => {
    const onclick = () =>
      send({
        selected: cells,
        step: stepOf(cells, model.get("step")),
        filters: widened(model.get("filters"), cells, controls.facets),
        layers: controls.layers,
      });
    return make("button", { type: "button", title: text, onclick }, words);
  };
}

/**
 * @param {Finding} finding
 * @param {ReturnType<typeof linkOf>} link
 */
function item(finding, link) {
  const { severity, rule, text, cells } = finding;
  const kind = make("span", { class: "wb-severity", "data-severity": severity }, severity);
  const words = `${rule}: ${text}`;
  return make("li", {}, kind, cells.length ? link(finding, words) : make("span", {}, words));
}

/**
 * The findings that the line names: rules that could not be tried are none.
 * @param {Finding[]} rows worst first
 */
export const worst = (rows) =>
  rows.filter(({ severity }) => severity !== "not looked at").slice(0, FIRST);

/**
 * The number of findings, and the worst.
 * @param {Findings} found
 * @param {ReturnType<typeof linkOf>} link
 */
function shortLine({ rows, headline }, link) {
  const named = worst(rows).map((finding) => {
    const { rule, where, cells } = finding;
    return cells.length ? link(finding, `${rule}, ${where}`) : rule;
  });
  return [headline, ...[...new Set(named)].flatMap((one, i) => [i ? " · " : " ", one])];
}

/** Of the buttons of a list, let the tab key reach one; without any the list, which may scroll. @param {HTMLElement} list */
function oneStop(list) {
  const buttons = [...list.querySelectorAll("button")];
  buttons.forEach((button, i) => {
    button.tabIndex = i ? -1 : 0;
  });
  if (buttons.length) list.removeAttribute("tabindex");
  else list.tabIndex = 0;
}

/**
 * Move the focus to another button of a list.
 * @param {HTMLElement} list
 * @param {KeyboardEvent} event
 */
function walk(list, event) {
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  const last = buttons.length - 1;
  /** @type {Record<string, number>} */
  const leads = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last };
  const next = buttons[leads[event.key]];
  if (!next || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  buttons[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}
