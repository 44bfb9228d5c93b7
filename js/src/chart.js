/** One place for a chart: it draws what Python sends, and outlines what is selected. */

import { livingChart } from "./alive.js";
import { cellOf, keyOf } from "./cells.js";
import { make } from "./dom.js";
import { marksOf } from "./marks.js";
import { buildPlace, whenWidthChanges } from "./place.js";
import { untitled } from "./sizes.js";
import { keepLabels } from "./sticky.js";
import { withRows } from "./tables.js";
import { isDark, paint } from "./theme.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Mark} Mark
 * @typedef {import("./alive.js").Change} Change
 */

const SVG = "http://www.w3.org/2000/svg";
/** Height of a place in which nothing was drawn yet, px. @type {Record<string, number>} */
const ROOM = { main: 300, side: 240, more: 240, detail: 480 };

/**
 * @param {string} name of the place
 * @param {Record<string, string>} darkColours by those of a light page
 * @param {(cells: Cell[], add: boolean) => void} choose
 * @param {{ height?: () => number | undefined, moved?: () => void, actions?: object }} [more] the
 *   height of the place, where it is given, what follows when the marks have other places, and
 *   what Vega offers beside the chart
 */
export function buildChart(name, darkColours, choose, { height, moved = () => {}, actions } = {}) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  const chart = livingChart();
  const place = buildPlace(element, height);
  let [turn, last, title] = [0, "", ""];
  /** @type {Change | undefined} */
  let lastChange;

  /** @param {string} text @param {Change} [change] what is drawn in the place of it */
  async function draw(text, change) {
    turn += 1;
    const mine = turn;
    [last, lastChange] = [text, change];
    /** @type {import("./types").ChartContent | null} */
    const content = text ? withRows(JSON.parse(text)) : null;
    if (!content?.spec) {
      chart.clear();
      sayWhyNot(element, content);
      return;
    }
    const { spec, notes, options, ...said } = forThePage(content.spec, darkColours, actions);
    const box = make("div", { class: "wb-chart" });
    holdRoom(element, ROOM[name]);
    const isNew = await chart.draw({ ...place.arrange(spec), notes }, box, options, () => mine !== turn, change);
    if (isNew) {
      element.replaceChildren(make("figcaption", {}), box);
      place.renew();
      chooseByClick(chart.view(), element, choose);
    }
    if (mine !== turn) return;
    title = said.title;
    caption(element, title, chart.notes());
    const fits = await place.fill(chart.view());
    if (mine === turn) await (fits ? settle(content.label) : draw(text, change));
  }

  /** @param {string} [label] */
  const settle = (label) => settled(element, turn, label);

  /** Fill the place anew: it has another size, or the chart is zoomed. */
  const resize = async () => {
    if (!chart.view()) return;
    if (!place.suits() || !(await place.fill(chart.view()))) await draw(last, lastChange);
    silenceEmpty(element);
    moved();
  };

  const ends = [whenWidthChanges(element, resize), scrolled(element, name)];

  return {
    element,
    draw,
    resize,
    ...{ view: chart.view, rows: chart.rows, listen: chart.listen, marks: () => marksOf(chart.view()) },
    /** @param {Change} change what is drawn in the place of the last chart */
    async vary(change) {
      if (!chart.view()) return;
      turn += 1;
      lastChange = change;
      await chart.vary(change);
      caption(element, title, chart.notes());
      settle();
    },
    /** Where the chart lies on the page. */
    corner: () => element.querySelector("svg.marks")?.getBoundingClientRect() ?? new DOMRect(),
    /** @param {Mark[]} marks */
    outline: (marks) => outlineIn(element, marks),
    stop() {
      chart.clear();
      for (const end of ends) end();
    },
  };
}

/**
 * Give a chart its room before it is drawn, so that nothing below it jumps.
 * @param {HTMLElement} element
 * @param {number} room px, where nothing was drawn before
 */
function holdRoom(element, room) {
  const isFirst = Boolean(element.hidden) || !element.childElementCount;
  element.classList.toggle("wb-waiting", isFirst);
  element.style.minHeight = `${isFirst ? room : element.offsetHeight}px`;
  element.hidden = false;
}

/**
 * Show what is drawn.
 * @param {HTMLElement} element
 * @param {number} turn
 * @param {string} [label]
 */
function settled(element, turn, label) {
  if (label !== undefined) element.setAttribute("aria-label", label);
  element.hidden = false;
  element.classList.remove("wb-waiting");
  element.style.minHeight = "";
  silenceEmpty(element);
  element.dataset.turn = String(turn);
}

/**
 * A chart in the colours of the page, its title apart, and how to draw it.
 * @param {import("vega-typings").Spec} spec
 * @param {Record<string, string>} darkColours
 * @param {object | false} actions
 */
function forThePage(spec, darkColours, actions = false) {
  const dark = isDark();
  const options = { renderer: "svg", actions, tooltip: { theme: dark ? "dark" : "light" } };
  return { ...untitled(paint(spec, dark ? darkColours : {})), options };
}

/**
 * Write in the place of a chart why it is not drawn; nothing where none is wanted.
 * @param {HTMLElement} element
 * @param {import("./types").ChartContent | null} content
 */
function sayWhyNot(element, content) {
  const words = content ? [make("p", { class: "wb-note" }, content.problem ?? "")] : [];
  element.replaceChildren(...words);
  element.classList.remove("wb-waiting");
  element.style.minHeight = "";
  element.hidden = !content;
}

/**
 * @param {import("vega-typings").View | undefined} view
 * @param {HTMLElement} element
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
function chooseByClick(view, element, choose) {
  view?.addEventListener("click", (event, item) => {
    const cell = cellOf(item?.datum);
    if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
    element.dispatchEvent(new CustomEvent("wb-datum", { detail: item?.datum, bubbles: true }));
  });
}

/**
 * @param {HTMLElement} element
 * @param {Mark[]} marks
 */
function outlineIn(element, marks) {
  element.querySelector(".wb-picked")?.remove();
  element.querySelector(".wb-chart")?.append(...(marks.length ? [outlines(marks)] : []));
}

/**
 * Write what a chart shows above it, and notes on it. What a chart before it says is not said again.
 * @param {HTMLElement} element
 * @param {string} title
 * @param {string[]} notes
 */
function caption(element, title, notes) {
  const said = notes.length > 0 && titlesBefore(element).includes(title);
  const [head, ...others] = said ? notes : [title, ...notes];
  const place = element.querySelector("figcaption");
  if (!place || place.textContent === [head, ...others].join(" ")) return; // it need not be laid out anew
  place.replaceChildren(make("strong", {}, head), ...others.flatMap((note) => [" ", make("span", {}, note)]));
}

/** @param {HTMLElement} element */
const titlesBefore = (element) =>
  [...(element.closest(".wb")?.querySelectorAll("figcaption strong") ?? [])]
    .filter((one) => one.compareDocumentPosition(element) === Node.DOCUMENT_POSITION_FOLLOWING)
    .map((one) => one.textContent);

/**
 * What an element does that is wider than its place; the main chart and that of the pane take keys
 * of their own.
 * @param {HTMLElement} element
 * @param {string} name
 * @returns {() => void} ends it
 */
function scrolled(element, name) {
  if (name === "main") return keepLabels(element);
  return name === "detail" ? () => {} : scrollByKeys(element);
}

/**
 * Let the tab key reach an element while it is wider than its place.
 * @param {HTMLElement} element
 * @returns {() => void} ends it
 */
function scrollByKeys(element) {
  const observer = new ResizeObserver(() => {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  });
  observer.observe(element);
  return () => observer.disconnect();
}

/**
 * Take the role of a picture from groups of marks in which nothing is drawn.
 * @param {HTMLElement} box
 */
export function silenceEmpty(box) {
  for (const group of box.querySelectorAll('g[role="graphics-symbol"]:empty')) {
    group.removeAttribute("role");
    group.removeAttribute("aria-roledescription");
  }
}

/**
 * Marks of the selected matrices, each once.
 * @param {Mark[]} marks
 * @param {string | undefined} kind that is outlined
 * @param {Cell[]} chosen
 */
export function pickedMarks(marks, kind, chosen) {
  const picked = new Set(chosen.map(keyOf));
  return marks.filter((mark) => mark.kind === kind && picked.has(keyOf(mark.cell)));
}

/**
 * Frames on cells of a map, rings around symbols: each light and dark, so that it is seen anywhere.
 * @param {Mark[]} marks
 */
function outlines(marks) {
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("class", "wb-picked");
  layer.setAttribute("aria-hidden", "true");
  for (const { kind, box } of marks) {
    const far = kind === "rect" ? 0 : 3;
    const place = {
      x: box.left - far,
      y: box.top - far,
      width: box.right - box.left + 2 * far,
      height: box.bottom - box.top + 2 * far,
      rx: kind === "rect" ? 0 : 99,
    };
    for (const kindOfLine of ["wb-halo", "wb-ring"]) {
      const shape = document.createElementNS(SVG, "rect");
      shape.setAttribute("class", kindOfLine);
      for (const [name, value] of Object.entries(place)) shape.setAttribute(name, String(value));
      layer.append(shape);
    }
  }
  return layer;
}
