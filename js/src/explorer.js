/**
 * The explorer's page. State lives in Python: this script reports what people do, and draws what
 * comes back. Every word on the page comes from Python, too.
 */

import { select } from "./cells.js";
import { pickedMarks } from "./chart.js";
import { make } from "./dom.js";
import { arrowKeys, brush, zoomable } from "./gestures.js";
import { buildParts, followSize, SLOTS } from "./layout.js";
import { buildLive } from "./live.js";
import { talk } from "./talk.js";
import { followTheme } from "./theme.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Words} Words
 * @typedef {(cells: Cell[], add: boolean) => void} Choose
 */

/** Marks of the main chart that are outlined, by panel. @type {Record<string, string>} */
const OUTLINED = { overview: "rect", findings: "rect", classes: "symbol", trajectories: "symbol" };

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
  const line = buildPage(model, root);
  const words = () => /** @type {Words} */ (JSON.parse(model.get("_words")));
  /** @type {ReturnType<typeof buildLive>} */
  const live = buildLive(model, () => parts.charts, line, () => words().drawn);
  const page = { ...line, send: live.send, busy: live.busy };

  /** A selection that Python has not answered yet: the next key starts from it.
   * @type {Cell[] | null} */
  let asked = null;
  const chosen = () => asked ?? words().chosen ?? [];
  /** @type {Choose} */
  const choose = (cells, add) => {
    if (!cells.length) return;
    asked = select(chosen(), cells, add);
    outline();
    page.send({ selected: asked });
  };
  const outline = () => {
    const marks = charts.main.marks();
    charts.main.outline(pickedMarks(marks, OUTLINED[model.get("panel")], chosen()));
  };
  const parts = buildParts(root, page, choose, () => outline());
  const { charts, table } = parts;
  brush(root, charts.main, choose);
  zoomable(charts.main);
  arrowKeys(charts.main, chosen, choose);
  el.append(root);

  const draw = drawer(model, parts, live, outline);
  const refresh = () => {
    parts.refresh(words());
    outline();
  };
  const drawTable = () => table.draw(model.get("_rows"));
  const ends = listen(model, {
    "change:_words": refresh,
    "change:_answered": () => {
      if (!page.busy()) asked = null;
      refresh();
      for (const name of page.busy() ? [] : live.left()) draw(name);
    },
    "change:_rows": drawTable,
    "change:_checkpoints": refresh,
    "change:_findings": () => parts.found(model.get("_findings")),
    "msg:custom": (message, buffers) =>
      "counts" in message ? live.take(message.counts, buffers[0]) : parts.receive(message, buffers),
    comm_live_update: () => root.classList.toggle("wb-silent", model.comm_live === false),
    ...Object.fromEntries(SLOTS.map((name) => [`change:_${name}`, () => draw(name)])),
  });
  const unfold = followSize(root, parts.filters);
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
    for (const end of [live.stop, page.stop, parts.stop, unfollow, unfold, ends]) end();
  };
  return { root, stop, drawn: Promise.all(drawing) };
}

/**
 * @param {Model} model
 * @param {HTMLElement} root
 * @returns {Page & { stop(): void }}
 */
function buildPage(model, root) {
  const line = talk(model, (state) => {
    root.classList.toggle("wb-busy", state === "busy");
    root.classList.toggle("wb-silent", state === "silent");
  });
  const controls = JSON.parse(model.get("_controls"));
  return { model, controls, checkpoints: parsed(model, "_checkpoints"), ...line };
}

/**
 * What a trait holds as JSON, parsed once.
 * @param {Model} model
 * @param {string} name
 */
function parsed(model, name) {
  let text = "";
  /** @type {any} */
  let value;
  return () => {
    if (model.get(name) !== text) {
      text = model.get(name);
      value = JSON.parse(text);
    }
    return value;
  };
}

/**
 * @param {Model} model
 * @param {ReturnType<typeof buildParts>} parts
 * @param {ReturnType<typeof buildLive>} live
 * @param {() => void} outline
 * @returns {(name: string) => Promise<void>} draws the chart of one slot
 */
function drawer(model, { charts, fail }, live, outline) {
  return async (name) => {
    try {
      await charts[name].draw(model.get(`_${name}`));
      await live.drawn(name);
      if (name === "main") outline();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  };
}

/**
 * @param {Model} model
 * @param {Record<string, (...given: any[]) => void>} acts by event
 * @returns {() => void} ends it
 */
function listen(model, acts) {
  for (const [name, act] of Object.entries(acts)) model.on(name, act);
  return () => {
    for (const [name, act] of Object.entries(acts)) model.off(name, act);
  };
}

export default { render };
