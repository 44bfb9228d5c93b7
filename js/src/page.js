/**
 * The page that is saved: the explorer without Python and without a network. It holds what Python
 * drew at each step; filters take rows out of it, and where counts were saved with it, trim,
 * estimator and the matrix that is looked at can be changed.
 */

import { madeAgain } from "./again.js";
import { buildCard } from "./card.js";
import { choosing } from "./choosing.js";
import { make } from "./dom.js";
import { buildFilters } from "./filters.js";
import { countsOf, unpacked } from "./fitting/counts.js";
import { buildCharts, buildSentences, followSize, SLOTS } from "./layout.js";
import { buildNumbers, numbersAt, titleOf } from "./pane.js";
import { plotOf } from "./paper.js";
import { besideMap } from "./profile.js";
import { buildFit, buildSteps } from "./protocol.js";
import { protocolText, redrawn } from "./redrawn.js";
import { countedNumbers, lookedAt, refittedNumbers, wordsOf } from "./saved.js";
import { bothOf, buildSieve, sifted } from "./sieve.js";
import { withRows } from "./tables.js";
import { followTheme } from "./theme.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Frame} Frame
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Saved} Saved
 * @typedef {import("./types").StillContent} StillContent
 * @typedef {import("./types").Words} Words
 * @typedef {import("./alive.js").Change} Change
 * @typedef {ReturnType<typeof import("./chart.js").buildChart>} Chart
 * @typedef {ReturnType<typeof countsOf>} Counts
 */

/** @param {string} text bytes that zlib packed, as base64 */
const bytesOf = (text) => unpacked(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));

/** @param {string} text JSON as bytes that zlib packed, as base64 */
const contentOf = async (text) => JSON.parse(new TextDecoder().decode(await bytesOf(text)));

/** A chart with rows, and what it is made anew of. @param {StillContent} content @returns {StillContent} */
function whole(content) {
  const { again } = content;
  return { ...withRows(content), ...(again && "spec" in again && { again: withRows({ ...again, label: "" }) }) };
}

/**
 * What Python drew at each step, unpacked when it is asked for.
 * @param {Record<string, string>} packed
 * @returns {(step: number) => Promise<Frame>}
 */
function framesOf(packed) {
  /** @type {Map<number, Promise<Frame>>} */
  const known = new Map();
  const read = async (/** @type {number} */ step) => {
    /** @type {Frame} */
    const frame = await contentOf(packed[step]);
    const charts = Object.entries(frame.charts).map(([slot, content]) => [slot, whole(content)]);
    const [plot, profile] = [frame.plot && withRows(frame.plot), frame.profile && withRows(frame.profile)];
    return { ...frame, charts: Object.fromEntries(charts), plot, profile };
  };
  return (step) => {
    const frame = known.get(step) ?? read(step);
    known.set(step, frame);
    return frame;
  };
}

/**
 * State in the page, in the place of that in Python.
 * @param {Saved} saved
 * @param {() => void} changed
 * @param {() => boolean} busy
 * @returns {Page}
 */
function localPage({ controls, checkpoints, state }, changed, busy) {
  /** @type {Record<string, unknown>} */
  const held = { filters: {}, layers: controls.layers, selected: [], pinned: {}, ...state };
  held._words = JSON.stringify({ chosen: [] });
  const model = {
    get: (/** @type {string} */ name) => held[name],
    set: (/** @type {string} */ name, /** @type {unknown} */ value) => {
      held[name] = value;
    },
    ...{ save_changes() {}, send() {}, on() {}, off() {} },
  };
  const send = (/** @type {import("./types").Changes} */ changes) => {
    Object.assign(held, changes);
    changed();
  };
  return { model, controls, checkpoints: () => checkpoints, send, busy };
}

/**
 * Lay out the page.
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {string} note below the selected matrix
 */
function layOut(root, page, note) {
  const { texts } = page.controls;
  const choice = choosing(page);
  const charts = buildCharts(root, page, choice.choose, choice.outline, { export: true });
  const [filters, steps, fit] = [buildFilters(page), buildSteps(page), buildFit(page)];
  const [numbers, sentences] = [buildNumbers(), buildSentences()];
  const title = make("p", { class: "wb-title" });
  const pane = make("aside", { class: "wb-pane", "aria-label": texts.selected });
  pane.append(title, numbers.element, charts.detail.element, make("p", { class: "wb-note" }, note));
  const panel = make(
    "div",
    { class: "wb-panel" },
    make("div", { class: "wb-first" }, sentences.empty, charts.main.element),
    pane,
    make("div", { class: "wb-rest" }, charts.side.element, charts.more.element),
  );
  root.append(
    make("div", { class: "wb-bar" }, steps.element, fit.element, sentences.status),
    make("div", { class: "wb-body" }, filters.element, panel),
  );
  choice.onChart(root, charts.main);
  followSize(root, filters.element);
  /** @param {Words} words */
  const update = (words) => {
    page.model.set("_words", JSON.stringify(words));
    for (const part of [filters, steps, fit, numbers, sentences]) part.update(words);
    title.replaceChildren(...titleOf(words, texts.selected));
    pane.hidden = !words.chosen.length;
    choice.outline();
  };
  return { charts, update };
}

/**
 * Charts that are sent anew where they hold something else, and varied where they do not.
 * @param {Record<string, Chart>} charts
 */
function placing(charts) {
  /** @type {Record<string, string>} */
  let stands = {};
  return {
    /** @type {(name: string, key: string, content: () => object | null | undefined, change?: Change) => Promise<void>} */
    async put(name, key, content, change) {
      if (stands[name] === key) return charts[name].vary(change ?? (() => ({})));
      stands[name] = key;
      const found = content();
      return charts[name].draw(found ? JSON.stringify(found) : "", change);
    },
    /** Send all of them anew. */
    forget() {
      stands = {};
    },
  };
}

/** Whether another matrix can be looked at: not where all charts are those of the selected. @param {Saved} saved */
const isClicked = ({ state }) => state.panel !== "weibull";

/**
 * What a state asks for: which rows of which frame, and by which protocol.
 * @param {Saved} saved
 * @param {ReturnType<typeof buildSieve>} sieve
 * @param {() => Counts | null} countsNow
 */
function looking(saved, sieve, countsNow) {
  const { controls, checkpoints, drawn, state, compared } = saved;
  const frameAt = framesOf(saved.frames);
  const oneStep = controls.panels[state.panel].one_step;
  const stepped = oneStep && checkpoints.steps.length > 0; // not where steps are words
  /** @param {Page["model"]} model */
  return async (model) => {
    const [step, filters, layers] = ["step", "filters", "layers"].map(model.get);
    const ends = layers.join() === controls.layers.join() ? null : layers;
    const sift = sieve.sift({ filters, layers: ends, step: stepped ? step : null });
    const counts = countsNow();
    const fitting = counts && sift.cells.some(counts.has) ? counts : null;
    const asked = fitting ? { ...drawn, trim: model.get("trim"), estimator: model.get("estimator") } : drawn;
    /** @type {Cell | undefined} */
    const clicked = isClicked(saved) ? model.get("selected").at(-1) : undefined;
    return {
      frame: await frameAt(oneStep ? step : state.step),
      clicked: clicked && stepped ? /** @type {Cell} */ ([...clicked.slice(0, 3), step]) : clicked,
      both: compared && bothOf(compared, sieve, { filters, layers: ends }),
      key: JSON.stringify([step, filters, layers]),
      varies: protocolText(asked) !== protocolText(drawn),
      waits: saved.live !== null && !counts,
      ...{ sift, fitting, asked, total: sieve.total },
    };
  };
}

/** @typedef {Awaited<ReturnType<ReturnType<typeof looking>>>} Seen */

/**
 * A chart of the rows that pass; one that no longer shows all says what it shows, not what is
 * found in it.
 * @param {StillContent | undefined} content
 * @param {Seen} seen
 * @param {Saved} saved
 */
function kept(content, seen, { drawn, controls }) {
  const { sift, both, varies } = seen;
  if (!content?.spec || !sift.cells.length) return sift.cells.length ? content : null;
  if (content.again) return madeAgain(content, seen, drawn, controls.texts);
  const spec = sifted(content.spec, (both ?? sift).passes);
  return { ...content, spec: content.plain && (varies || spec !== content.spec) ? plainly(spec, content.plain) : spec };
}

/**
 * @param {any} spec
 * @param {string} title
 */
function plainly(spec, title) {
  const subtitle = [spec.title?.subtitle ?? []].flat().filter((/** @type {string} */ line) => line !== title);
  return { ...spec, title: { ...spec.title, text: title, subtitle }, description: title };
}

/**
 * @param {Saved} saved
 * @param {Record<string, Chart>} charts
 * @param {ReturnType<typeof placing>["put"]} put
 */
function drawing(saved, charts, put) {
  const { drawn, controls: { texts }, checkpoints } = saved;
  /** @param {Seen} seen @param {Cell | undefined} cell @param {boolean} own */
  const drawDetail = ({ frame, fitting, asked, key, varies }, cell, own) => {
    const detail = own ? frame.charts.detail : (frame.plot ?? frame.charts.detail);
    if (!cell || !detail) return put("detail", "none", () => null);
    const others = !own && !frame.plot && frame.listed.length > 1;
    if (others || (!own && !(fitting?.exact && fitting.curve(cell)))) {
      return put("detail", "note", () => ({ problem: texts.no_plot, label: "" }));
    }
    return put("detail", `${key} ${detail === frame.plot}`, () => detail, (sent) => {
      if (!fitting || (own && !varies)) return sent;
      return redrawn(own ? sent : plotOf(sent, cell, fitting, asked), asked, drawn, fitting);
    });
  };
  /**
   * Numbers of what is looked at: Python's, or those of its row or counts.
   * @param {Seen} seen
   * @param {import("./saved.js").Looked} looked
   * @param {import("./types").Datum[]} rows
   */
  const tableOf = ({ frame, fitting, asked, varies }, { own, cells }, rows) => {
    const [cell] = cells;
    if (!own && !cell) return null;
    let numbers = own ? frame.matrices : numbersAt(cell, rows, texts, checkpoints.steps.length !== 1);
    if (!numbers || !fitting) return numbers;
    if (!own) numbers = countedNumbers(numbers, cell, fitting, asked);
    return varies ? refittedNumbers(numbers, own ? frame.listed : cells, fitting, asked) : numbers;
  };
  /** @param {Seen} seen */
  return async (seen) => {
    const { frame, sift, fitting, asked, key, varies, clicked } = seen;
    /** @type {Change | undefined} */
    const change = varies && fitting ? (sent) => redrawn(sent, asked, drawn, fitting, saved.compared) : undefined;
    /** @param {string} name @param {StillContent | undefined} content @param {string} [more] that it depends on */
    const place = (name, content, more = "") => {
      const state = `${key} ${varies} ${more}`;
      // what is made again is so by its protocol, and drawn as it is
      if (content?.again) return put(name, `${state} ${protocolText(asked)}`, () => kept(content, seen, saved));
      return put(name, state, () => kept(content, seen, saved), change);
    };
    await place("main", frame.charts.main);
    const rows = charts.main.rows();
    const looked = lookedAt(frame, sift, clicked ?? null, rows, drawn);
    const [cell] = looked.cells;
    await place("side", besideMap(frame, looked, texts), looked.own ? "" : cell?.[2]);
    await place("more", frame.charts.more);
    await drawDetail(seen, cell, looked.own);
    const matrices = tableOf(seen, looked, rows);
    return { looked, matrices };
  };
}

/**
 * @param {Saved} saved
 * @param {HTMLElement} root
 */
async function show(saved, root) {
  const { live } = saved;
  /** @type {Counts | null} */
  let counts = null; // they come after the first drawing, which needs none
  let [busy, again] = [false, false];
  const page = localPage(saved, () => later(), () => busy);
  const { model } = page;
  const hint = live?.header.kind === "bins" && isClicked(saved) ? saved.controls.texts.click : "";
  const { charts, update } = layOut(root, page, hint);
  const { put, forget } = placing(charts);
  const sieve = buildSieve(await contentOf(saved.cells), saved.controls.facets);
  const look = looking(saved, sieve, () => counts);
  const draw = drawing(saved, charts, put);
  const later = async () => {
    again = busy;
    if (busy) return;
    busy = true;
    try {
      const seen = await look(model);
      const { looked, matrices } = await draw(seen);
      update(wordsOf(saved, seen, looked, matrices));
    } finally {
      busy = false;
    }
    if (again) later();
  };
  const held = {
    about: (/** @type {Cell} */ cell) => counts?.about(cell) ?? "",
    alongSteps: (/** @type {Cell} */ cell) =>
      counts?.alongSteps(cell, model.get("trim"), model.get("estimator")) ?? [],
  };
  for (const name of SLOTS) buildCard(root, page, charts[name], held);
  /** @type {Promise<void> | undefined} */
  let drawn;
  followTheme(root, () => {
    forget();
    drawn = later();
  });
  if (!live) return;
  await drawn;
  counts = countsOf(live.header, await bytesOf(live.data));
  later();
}

const place = /** @type {HTMLElement} */ (document.querySelector(".wb"));
show(JSON.parse(document.getElementById("saved")?.textContent ?? ""), place);
