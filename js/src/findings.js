/** What a check found, worst first: a click selects the matrices. */

import { make } from "./dom.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Findings} Findings
 * @typedef {import("./types").Page} Page
 */

/**
 * The step that the matrices of a finding are shown at: that of the first.
 * @param {Cell[]} cells
 * @param {unknown} step that is shown
 */
export function stepOf(cells, step) {
  return cells.some((cell) => cell[3] === step) ? step : cells[0][3];
}

/** @param {Page} page */
export function buildFindings({ model, controls, send }) {
  const { texts } = controls;
  const box = make("div", { class: "wb-findings" });
  /** @param {string} text */
  function draw(text) {
    if (!text) return;
    /** @type {Findings} */
    const { rows, note } = JSON.parse(text);
    const lines = rows.map(({ severity, rule, text: words, cells }) => {
      const kind = make("span", { class: "wb-severity", "data-severity": severity }, severity);
      if (!cells.length) return make("li", {}, kind, make("span", {}, `${rule}: ${words}`));
      const onclick = () => send({ selected: cells, step: stepOf(cells, model.get("step")) });
      return make("li", {}, kind, make("button", { type: "button", onclick }, `${rule}: ${words}`));
    });
    box.replaceChildren(
      make("ul", { "aria-label": texts.findings }, ...lines),
      make("p", { class: "wb-note" }, lines.length ? note : `${texts.healthy}. ${note}`),
    );
  }
  return { element: box, draw };
}
