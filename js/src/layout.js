/** Where the parts stand: filters at the left, the map in the middle, the selected matrix at the right. */

import { buildChart } from "./chart.js";
import { buildCrosshair } from "./crosshair.js";
import { make } from "./dom.js";
import { buildFindings } from "./findings.js";
import { buildFilters } from "./filters.js";
import { buildFollowing } from "./following.js";
import { buildCode, buildFiles, buildTabs } from "./header.js";
import { buildOptions } from "./options.js";
import { buildPane } from "./pane.js";
import { buildProtocol } from "./protocol.js";
import { buildStage, visibleHeight } from "./stage.js";
import { buildTable } from "./table.js";
import { buildViews } from "./views.js";
import { buildWork } from "./work.js";

/**
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Words} Words
 * @typedef {import("./choosing.js").Choose} Choose
 */

/** Places of charts; `detail` is that of the selected matrix. */
export const SLOTS = ["main", "side", "more", "detail"];
const NARROW = 960; // px below which the filters are folded
const STACKED = 640; // px below which the selected matrix stands below the map, as in the style sheet
const IN_PANE = 265; // px of what else stands in the pane, and above it in the explorer
const BESIDE = IN_PANE + 100; // and in a cell of a notebook
let numbered = 0;

/**
 * Lay out the page.
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {Choose} choose
 * @param {() => void} moved when the marks of the main chart have other places
 */
export function buildParts(root, page, choose, moved) {
  const { model, controls } = page;
  const { texts } = controls;
  const prefix = `weibnb-${++numbered}`;
  const { element: problem, fail } = buildProblem();
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
  const stage = buildStage(root, page);
  const work = buildWork(page);
  const charts = buildCharts(root, page, choose, moved);
  const pane = buildPane(page, charts.detail.element, charts.main.rows);
  const sentences = buildSentences();
  const panel = make(
    "div",
    { class: "wb-panel", role: "tabpanel", id: `${prefix}-panel` },
    make("div", { class: "wb-first" }, sentences.empty, ...findings.elements, charts.main.element),
    pane.element,
    make("div", { class: "wb-rest" }, charts.side.element, charts.more.element, table.element,
      code.element),
  );
  files.element.append(stage.element);
  root.setAttribute("aria-label", texts.explorer);
  root.append(
    // the picture for later stands in an output beside this one: not needed while this one lives
    make("style", {}, `.${model.get("_mark")} { display: none; }`),
    make("header", {}, tabs.element, following.element, views.element, files.element),
    make("p", { class: "wb-lost" }, texts.lost),
    make("div", { class: "wb-bar" }, options.element, protocol.element, work.element, sentences.status),
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
    for (const part of [tabs, filters, protocol, options, code, pane, views, sentences]) part.update(words);
  };
  /** @param {string} text @param {import("./types").Cell[]} chosen */
  const found = (text, chosen) => {
    tabs.mark(text);
    findings.draw(text);
    findings.update(chosen);
    pane.list();
  };
  const stop = () => {
    for (const part of [protocol, following, views, stage, work, table, ...Object.values(charts)]) part.stop();
  };
  const { receive } = files;
  return { charts, pane, table, findings, found, fail, receive, refresh, stop, filters: filters.element };
}

/**
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {Choose} choose
 * @param {() => void} moved
 * @param {object} [actions] that Vega offers beside each chart
 */
export function buildCharts(root, page, choose, moved, actions) {
  const height = () => {
    if (root.clientWidth < STACKED) return undefined;
    const high = root.classList.contains("wb-high");
    return paneHeight(high ? root.clientHeight - IN_PANE : visibleHeight(root) - BESIDE);
  };
  /** @param {string} name */
  const more = (name) => ({ main: { moved }, detail: { height } })[name];
  const { dark, texts } = page.controls;
  const charts = Object.fromEntries(
    SLOTS.map((name) => [name, buildChart(name, dark, choose, { actions, ...more(name) })]),
  );
  for (const [name, chart] of Object.entries(charts)) {
    buildCrosshair(chart, texts, { keys: name === "detail" });
  }
  return charts;
}

/**
 * Height of the chart in the pane, so that the whole pane is seen at once.
 * @param {number} left px
 */
const paneHeight = (left) => Math.min(Math.max(left, 280), 640);

/** What went wrong, in words. */
function buildProblem() {
  const element = make("div", { class: "wb-problem", role: "alert", hidden: true });
  /** @param {string} text */
  const fail = (text) => {
    element.hidden = !text;
    element.textContent = text;
  };
  return { element, fail };
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

/**
 * Fold the filters when the widget becomes narrow, open them when it becomes wide, and tell the
 * style sheet how much of it is seen at once.
 * @param {HTMLElement} root
 * @param {HTMLDetailsElement} filters
 * @returns {() => void} ends it
 */
export function followSize(root, filters) {
  /** @type {boolean | null} */
  let narrow = null;
  const observer = new ResizeObserver(() => {
    root.style.setProperty("--wb-seen", `${visibleHeight(root)}px`);
    const now = root.clientWidth < NARROW;
    if (!root.clientWidth || now === narrow) return;
    narrow = now;
    filters.open = !now;
  });
  observer.observe(root);
  return () => observer.disconnect();
}
