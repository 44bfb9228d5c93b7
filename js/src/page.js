/**
 * The page that is saved: it draws its charts without Python and without a network. Where counts
 * were saved with it, trim, estimator and the matrix that is looked at can be changed.
 */

import { livingChart } from "./alive.js";
import { cellOf } from "./cells.js";
import { silenceEmpty } from "./chart.js";
import { choices, labelled, make } from "./dom.js";
import { countsOf, unpacked } from "./fitting/counts.js";
import { plotOf } from "./paper.js";
import { pushTrim, trimText } from "./protocol.js";
import { redrawn } from "./redrawn.js";
import { paint } from "./theme.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {{ header: import("./fitting/counts.js").Header, data: string, drawn: Asked,
 *   texts: Record<string, string>, estimators: Record<string, string> }} Live
 * @typedef {{ specs: import("vega-typings").Spec[], dark: Record<string, string>, live: Live | null }} Saved
 */

/** @type {Saved} */
const { specs, dark, live } = JSON.parse(
  document.getElementById("specs")?.textContent ?? '{"specs": [], "dark": {}, "live": null}',
);
const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
const options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: isDark ? "dark" : "light" },
};

const charts = specs.map(() => livingChart());
const drawing = specs.map(async (spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (!place) return;
  await charts[i].draw(paint(spec, isDark ? dark : {}), place, options, () => false);
  silenceEmpty(place);
});

/** @param {Live} saved */
async function comeAlive({ header, data, drawn, texts, estimators }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const counts = countsOf(header, await unpacked(bytes));
  /** @type {{ asked: Asked, cell: Cell | null }} */
  const state = { asked: drawn, cell: null };
  let waiting = false;
  const draw = async () => {
    waiting = false;
    const { asked, cell } = state;
    for (const chart of charts) {
      await chart.vary((sent) => {
        const plot = cell ? plotOf(sent, cell, counts, asked) : sent;
        return redrawn(plot, asked, drawn, counts);
      });
    }
    document.querySelectorAll("figure").forEach(silenceEmpty);
    const words = document.getElementById("words");
    if (words) words.hidden = asked.trim !== drawn.trim || asked.estimator !== drawn.estimator;
  };
  const later = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };
  const change = (/** @type {Partial<Asked>} */ more) => {
    state.asked = { ...state.asked, ...more };
    later();
  };
  document.getElementById("words")?.after(buildControls(drawn, texts, estimators, change));
  for (const chart of charts) {
    chart.listen("click", (_event, item) => {
      const cell = cellOf(item?.datum);
      if (!cell || !counts.has(cell)) return;
      state.cell = cell;
      later();
    });
  }
}

/**
 * @param {Asked} drawn
 * @param {Record<string, string>} texts
 * @param {Record<string, string>} estimators
 * @param {(more: Partial<Asked>) => void} change
 */
function buildControls(drawn, texts, estimators, change) {
  const shown = make("output", {}, trimText(drawn.trim));
  const ends = [texts.lower, texts.upper].map((label, i) =>
    make("input", {
      type: "range",
      min: 0,
      max: 100,
      value: Math.round(100 * drawn.trim[i]),
      "aria-label": label,
      oninput: () => {
        const trim = /** @type {[number, number]} */ (
          pushTrim(ends.map((end) => Number(end.value) / 100), i)
        );
        shown.value = trimText(trim);
        change({ trim });
      },
    }),
  );
  const estimator = choices(Object.entries(estimators), texts.estimator, (value) =>
    change({ estimator: /** @type {Asked["estimator"]} */ (value) }),
  );
  estimator.value = drawn.estimator;
  return make(
    "fieldset",
    { id: "protocol" },
    make("legend", {}, texts.fit),
    make("span", {}, texts.trim),
    ...ends,
    shown,
    labelled(texts.by, estimator),
    make("small", {}, texts.click),
  );
}

if (live) Promise.all(drawing).then(() => comeAlive(live));
