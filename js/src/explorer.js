/**
 * The explorer's page. State lives in Python: this script reports what people do, and draws what
 * comes back. Every word on the page comes from Python, too.
 */

import { buildChart } from "./chart.js";
import { choosing } from "./choosing.js";
import { make } from "./dom.js";
import { buildFindings } from "./findings.js";
import { buildFilters } from "./filters.js";
import { buildFollowing } from "./following.js";
import { buildCode, buildFiles, buildTabs } from "./header.js";
import { buildOptions } from "./options.js";
import { buildProtocol } from "./protocol.js";
import { buildTable } from "./table.js";
import { listen, openPage } from "./talk.js";
import { followTheme } from "./theme.js";
import { buildViews } from "./views.js";

/**
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Words} Words
 * @typedef {import("./choosing.js").Choose} Choose
 */

const SLOTS = ["main", "side", "detail"]; // in the order of the page
const NARROW = 760; // px below which the filters are folded, as in the style sheet
let numbered = 0;

/**
 * Show the explorer, and show it anew where the controls themselves have changed: newer fits may
 * bring a model, a layer or a status that was not there before.
 * @param {{ model: Model, el: HTMLElement }} widget
 */
async function render({ model, el }) {
  let shown = show(model, el);
  const again = () => {
    shown.stop();
    shown.root.remove();
    shown = show(model, el);
  };
  model.on("change:_controls", again);
  countPages(model, 1);
  await shown.drawn;
  return () => {
    model.off("change:_controls", again);
    shown.stop();
    countPages(model, -1);
  };
}

/**
 * Tell how many pages show it: without any, it need not follow what a training writes.
 * @param {Model} model
 * @param {number} more
 */
function countPages(model, more) {
  if (model.comm_live === false) return;
  model.set("_pages", Math.max(model.get("_pages"), 0) + more);
  model.save_changes();
}

/**
 * @param {Model} model
 * @param {HTMLElement} el
 */
function show(model, el) {
  const root = make("section", { class: "wb" });
  const page = openPage(model, root);
  const words = () => /** @type {Words} */ (JSON.parse(model.get("_words")));
  const choice = choosing(page);
  const { outline } = choice;
  const parts = buildParts(root, page, choice.choose);
  const { charts, table } = parts;
  choice.onChart(root, charts.main);
  el.append(root);

  const draw = drawer(model, parts, outline);
  const refresh = () => {
    parts.refresh(words());
    outline();
  };
  const drawTable = () => table.draw(model.get("_rows"));
  const ends = listen(model, {
    "change:_words": refresh,
    "change:_answered": () => {
      choice.answered();
      refresh();
    },
    "change:_rows": drawTable,
    "change:_checkpoints": refresh,
    "change:_findings": () => parts.found(model.get("_findings")),
    "msg:custom": parts.receive,
    comm_live_update: () => root.classList.toggle("wb-silent", model.comm_live === false),
    ...Object.fromEntries(SLOTS.map((name) => [`change:_${name}`, () => draw(name)])),
  });
  const unfold = foldWhereNarrow(root, parts.filters);
  refresh();
  drawTable();
  parts.found(model.get("_findings"));
  /** @type {Promise<void>[]} */
  let drawing = [];
  const unfollow = followTheme(root, (theme) => {
    drawing = SLOTS.map(draw);
    model.set("_theme", theme); // of the picture that is left without a kernel
    model.save_changes();
  });
  const stop = () => {
    for (const end of [page.stop, parts.stop, unfollow, unfold, ends]) end();
  };
  return { root, stop, drawn: Promise.all(drawing) };
}

/**
 * @param {Model} model
 * @param {ReturnType<typeof buildParts>} parts
 * @param {() => void} outline
 * @returns {(name: string) => Promise<void>} draws the chart of one slot
 */
function drawer(model, { charts, fail }, outline) {
  return async (name) => {
    try {
      await charts[name].draw(model.get(`_${name}`));
      if (name === "main") outline();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  };
}

/**
 * Fold the filters when the widget becomes narrow, and open them when it becomes wide.
 * @param {HTMLElement} root
 * @param {HTMLDetailsElement} filters
 * @returns {() => void} ends it
 */
function foldWhereNarrow(root, filters) {
  /** @type {boolean | null} */
  let narrow = null;
  const observer = new ResizeObserver(() => {
    const now = root.clientWidth < NARROW;
    if (!root.clientWidth || now === narrow) return;
    narrow = now;
    filters.open = !now;
  });
  observer.observe(root);
  return () => observer.disconnect();
}

/**
 * Lay out the page.
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {Choose} choose
 */
function buildParts(root, page, choose) {
  const { model, controls } = page;
  const { texts } = controls;
  const prefix = `weibnb-${++numbered}`;
  const problem = make("div", { class: "wb-problem", role: "alert", hidden: true });
  /** @param {string} text */
  const fail = (text) => {
    problem.hidden = !text;
    problem.textContent = text;
  };
  const tabs = buildTabs(page, prefix);
  const files = buildFiles(page, fail);
  const filters = buildFilters(page);
  const protocol = buildProtocol(page);
  const options = buildOptions(page);
  const code = buildCode(texts);
  const table = buildTable(page, choose);
  const findings = buildFindings(page);
  const following = buildFollowing(page);
  const views = buildViews(page);
  const charts = Object.fromEntries(
    SLOTS.map((name) => [name, buildChart(name, controls.dark, choose)]),
  );
  const sentences = buildSentences();
  const panel = make(
    "div",
    { class: "wb-panel", role: "tabpanel", id: `${prefix}-panel` },
    make("div", { class: "wb-bar" }, options.element, protocol.element),
    sentences.status,
    sentences.empty,
    findings.element,
    make("div", { class: "wb-charts" }, ...SLOTS.map((name) => charts[name].element)),
    table.element,
    code.element,
  );
  root.setAttribute("aria-label", texts.explorer);
  root.append(
    // the picture for later stands in an output beside this one: not needed while this one lives
    make("style", {}, `.${model.get("_mark")} { display: none; }`),
    make("header", {}, tabs.element, following.element, views.element, files.element),
    make("p", { class: "wb-lost" }, texts.lost),
    make("div", { class: "wb-body" }, filters.element, panel),
    problem,
    sentences.spoken,
  );
  /** @param {Words} words */
  const refresh = (words) => {
    fail(words.problem ?? "");
    if (words.problem) return;
    const name = model.get("panel");
    panel.setAttribute("aria-labelledby", `${prefix}-${name}`);
    root.dataset.panel = name;
    for (const part of [tabs, filters, protocol, options, code, views, sentences]) part.update(words);
  };
  /** @param {string} text */
  const found = (text) => {
    tabs.mark(text);
    findings.draw(text);
  };
  const stop = () => {
    for (const part of [protocol, following, views, ...Object.values(charts)]) part.stop();
  };
  return { charts, table, found, fail, receive: files.receive, refresh, stop, filters: filters.element };
}

/** What the page says about the state: to the eye, to a screen reader, and when nothing is left. */
export function buildSentences() {
  const status = make("p", { class: "wb-status", role: "status" });
  const spoken = make("p", { class: "wb-spoken", "aria-live": "polite" });
  const empty = make("div", { class: "wb-empty", hidden: true });
  /** @param {Words} words */
  const update = (words) => {
    status.textContent = [words.count, words.left_out].filter(Boolean).join(" · ");
    spoken.textContent = words.spoken;
    empty.hidden = !words.empty.length;
    empty.replaceChildren(...words.empty.map((text) => make("p", {}, text)));
  };
  return { status, spoken, empty, update };
}

export default { render };
