/**
 * The explorer's page. State lives in Python: this script reports what people do, and draws what
 * comes back. Every word on the page comes from Python, too.
 */

import { buildCard } from "./card.js";
import { choosing } from "./choosing.js";
import { make } from "./dom.js";
import { buildParts, followSize, SLOTS } from "./layout.js";
import { buildLive } from "./live.js";
import { listen, openPage } from "./talk.js";
import { followTheme } from "./theme.js";
import { zoomOnClick } from "./window.js";

/**
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").Words} Words
 */

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
  model.set("_pages", Math.max(model.get("_pages"), 0) + more);
  model.save_changes();
}

/**
 * @param {Model} model
 * @param {HTMLElement} el
 */
function show(model, el) {
  const root = make("section", { class: "wb" });
  const line = openPage(model, root);
  const words = () => /** @type {Words} */ (JSON.parse(model.get("_words")));
  /** @type {ReturnType<typeof buildLive>} */
  const live = buildLive(model, () => parts.charts, line, () => words().drawn);
  const page = { ...line, send: live.send, busy: live.busy };
  const choice = choosing(page);
  const { chosen, outline } = choice;
  const parts = buildParts(root, page, choice.choose, outline);
  const { charts, table, findings } = parts;
  choice.onChart(root, charts.main);
  for (const name of SLOTS) buildCard(root, page, charts[name], live);
  choice.tell(table.mark);
  choice.tell(findings.update);
  choice.tell(parts.pane.expect);
  zoomOnClick(root);
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
      choice.answered();
      refresh();
      for (const name of page.busy() ? [] : live.left()) draw(name);
    },
    "change:_rows": drawTable,
    "change:_checkpoints": refresh,
    "change:_findings": () => parts.found(model.get("_findings"), chosen()),
    "msg:custom": (message, buffers) =>
      "counts" in message ? live.take(message.counts, buffers[0]) : parts.receive(message, buffers),
    ...Object.fromEntries(SLOTS.map((name) => [`change:_${name}`, () => draw(name)])),
  });
  const unfold = followSize(root, parts.filters);
  refresh();
  drawTable();
  parts.found(model.get("_findings"), chosen());
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
 * @param {ReturnType<typeof buildParts>} parts
 * @param {ReturnType<typeof buildLive>} live
 * @param {() => void} outline
 * @returns {(name: string) => Promise<void>} draws the chart of one slot
 */
function drawer(model, { charts, fail }, live, outline) {
  return async (name) => {
    try {
      live.begins(name);
      await charts[name].draw(model.get(`_${name}`));
      await live.drawn(name);
      if (name === "main") outline();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  };
}

export default { render };
