/**
 * Trim, estimator and a click without a round trip: while the first are dragged, the charts are
 * drawn from the counts on the page, and Python is asked when the hand rests; a click shows the plot
 * of its matrix at once. Python's answer takes their place.
 */

import { cellOf } from "./cells.js";
import { buildClicked } from "./clicked.js";
import { countsOf, unpacked } from "./fitting/counts.js";
import { redrawn } from "./redrawn.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Changes} Changes
 * @typedef {import("./types").Model} Model
 * @typedef {ReturnType<typeof countsOf>} Counts
 * @typedef {Pick<ReturnType<typeof import("./chart.js").buildChart>, "vary" | "rows">} Chart
 */

const RESTS = 200; // ms without a change after which the hand rests
const LATER = 400; // ms after a view at which its counts are asked for
const SLICE = 12; // ms of work between two events
/** Panels whose charts are drawn from k, λ and r² alone. */
const PANELS = ["overview", "findings", "weibull"];
const DRAGGED = ["trim", "estimator"];
/** @param {Changes} changes @param {string} panel */
const isDragged = (changes, panel) =>
  PANELS.includes(panel) && Object.keys(changes).every((name) => DRAGGED.includes(name));

/**
 * @param {Model} model
 * @param {() => Record<string, Chart>} charts
 * @param {{ send: import("./types").Send, busy(): boolean }} line to Python
 * @param {() => Asked | undefined} drawn by which Python drew what is there
 */
export function buildLive(model, charts, line, drawn) {
  const held = buildCounts(model, () => charts().main.rows());
  let pending = /** @type {Changes} */ ({});
  const varied = /** @type {Set<string>} */ (new Set()); // charts that are not as Python drew them
  const clicked = buildClicked(model, held.counts, drawn, charts, varied);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let [drawing, again] = [false, false];
  const waits = () => Object.keys(pending).length > 0;
  const flush = () => {
    clearTimeout(timer);
    if (waits()) line.send(pending);
    pending = {};
  };
  const draw = async () => {
    again = drawing;
    const [counts, before] = [held.counts(), drawn()];
    if (drawing || !counts || !before) return;
    drawing = true;
    const asked = { ...before, ...pending };
    for (const [name, chart] of Object.entries(charts())) {
      varied.add(name);
      await chart.vary((sent) => redrawn(sent, asked, before, counts));
    }
    drawing = false;
    if (again) await draw();
  };
  return {
    /** @param {Changes} changes */
    send(changes) {
      Object.assign(pending, changes);
      clearTimeout(timer);
      if (!held.counts() || !drawn() || !isDragged(changes, model.get("panel"))) {
        flush();
        clicked.look(changes);
        return;
      }
      timer = setTimeout(flush, RESTS);
      requestAnimationFrame(draw);
    },
    /** Whether Python has not been told of everything, or has not answered. */
    busy: () => line.busy() || waits(),
    /** Python's own chart takes the place of what was drawn here. @param {string} name */
    begins: (name) => varied.delete(name),
    /** It is drawn, perhaps over what is dragged, or was clicked since. @param {string} name */
    async drawn(name) {
      if (waits()) await draw();
      else if (name === "main") held.look();
      else if (name === "detail" && line.busy()) clicked.draw(pending);
    },
    /** Charts for which Python had nothing new. */
    left: () => [...varied],
    take: held.take,
    /** Shape and format of a matrix, where they are there. @param {Cell} cell */
    about: (cell) => held.counts()?.about(cell) ?? "",
    /** k of a matrix by step. @param {Cell} cell */
    alongSteps(cell) {
      const before = drawn();
      return (before && held.counts()?.alongSteps(cell, before.trim, before.estimator)) || [];
    },
    stop() {
      flush();
      held.stop();
    },
  };
}

/**
 * The counts of what is on the screen, which come after it.
 * @param {Model} model
 * @param {() => import("./types").Datum[]} rows of the map
 */
function buildCounts(model, rows) {
  /** @type {Counts | null} */
  let counts = null;
  /** @type {ReturnType<typeof setTimeout>[]} */
  let timers = [];
  let lookedAt = "";
  const ask = () => {
    const view = JSON.stringify(["filters", "layers", "step"].map((name) => model.get(name)));
    const cells = rows().map(cellOf).filter((cell) => cell !== null);
    if (view === lookedAt || cells.every((cell) => counts?.has(cell))) return;
    lookedAt = view;
    model.send({ counts: true });
  };
  return {
    counts: () => counts,
    /** Ask for them, where they are not there. */
    look() {
      timers.push(setTimeout(ask, LATER));
    },
    /**
     * Take them, and prepare them while nothing else is to be done.
     * @param {import("./fitting/counts.js").Header} header
     * @param {BufferSource} packed
     */
    async take(header, packed) {
      const found = countsOf(header, await unpacked(packed));
      let done = 0;
      const work = () => {
        const end = performance.now() + SLICE;
        while (done < found.number && performance.now() < end) found.prepare(done++);
        if (done < found.number) timers = [setTimeout(work, 0)];
        else counts = found;
      };
      work();
    },
    stop: () => timers.forEach(clearTimeout),
  };
}
