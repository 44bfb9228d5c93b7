/** One place for a chart: it draws what Python sends, and outlines what is selected. */

import { cellOf, keyOf } from "./cells.js";
import { make } from "./dom.js";
import { marksOf } from "./marks.js";
import { arranged, arrangement, fit, sizesOf, untitled } from "./sizes.js";
import { isDark, paint } from "./theme.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Mark} Mark
 * @typedef {import("./types").Drawn} Drawn
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} name of the place
 * @param {Record<string, string>} darkColours by those of a light page
 * @param {(cells: Cell[], add: boolean) => void} choose
 * @param {{ height?: () => number | undefined, moved?: () => void }} [more] the height of the
 *   place, where it is given, and what follows when the marks have other places
 */
export function buildChart(name, darkColours, choose, { height, moved = () => {} } = {}) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  /** @type {Drawn | null} */
  let drawn = null;
  /** @type {import("./sizes.js").Sizes} */
  let made = { across: {}, down: {} };
  let [turn, last, place] = [0, "", ""];
  const room = () => ({ ...widthOf(element), height: height?.() });

  /** @param {string} text */
  async function draw(text) {
    turn += 1;
    const mine = turn;
    last = text;
    /** @type {import("./types").ChartContent | null} */
    const content = text ? JSON.parse(text) : null;
    if (!content?.spec) {
      replace(null);
      sayWhyNot(element, content);
      return;
    }
    const { width } = room();
    const { result, box, words } = await embed(content.spec, width, darkColours);
    const sizes = sizesOf(result.view);
    if (mine === turn) await fit(result.view, sizes, room(), () => sizeOf(box));
    if (mine !== turn) {
      result.finalize();
      return;
    }
    replace(result);
    [made, place] = [sizes, arrangement(width)];
    silenceEmpty(box);
    element.setAttribute("aria-label", content.label);
    element.replaceChildren(words, box);
    element.hidden = false;
    element.dataset.turn = String(turn);
    chooseByClick(result.view, element, choose);
  }

  /** Fill the place anew: it has another size, or the chart is zoomed. */
  async function resize() {
    const box = /** @type {HTMLElement | null} */ (element.querySelector(".wb-chart"));
    if (!drawn || !box) return;
    if (arrangement(room().width) !== place) await draw(last);
    else await fit(drawn.view, made, room(), () => sizeOf(box));
    silenceEmpty(box);
    moved();
  }

  const ends = [whenWidthChanges(element, resize)];
  if (name !== "main") ends.push(scrollByKeys(element));

  /** @param {Drawn | null} next */
  function replace(next) {
    drawn?.finalize();
    drawn = next;
  }

  return {
    element,
    draw,
    resize,
    marks: () => (drawn ? marksOf(drawn.view) : []),
    /** Where the chart lies on the page. */
    corner: () => element.querySelector("svg.marks")?.getBoundingClientRect() ?? new DOMRect(),
    /** @param {Mark[]} marks */
    outline: (marks) => outlineIn(element, marks),
    stop() {
      replace(null);
      for (const end of ends) end();
    },
  };
}

/**
 * Write in the place of a chart why it is not drawn; nothing where none is wanted.
 * @param {HTMLElement} element
 * @param {import("./types").ChartContent | null} content
 */
function sayWhyNot(element, content) {
  const words = content ? [make("p", { class: "wb-note" }, content.problem ?? "")] : [];
  element.replaceChildren(...words);
  element.hidden = !content;
}

/**
 * @param {import("vega-typings").View} view
 * @param {HTMLElement} element
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
function chooseByClick(view, element, choose) {
  view.addEventListener("click", (event, item) => {
    const cell = cellOf(item?.datum);
    if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
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
 * Draw a chart in the colours of the page, with its title apart.
 * @param {import("vega-typings").Spec} written
 * @param {number} width px of its place
 * @param {Record<string, string>} darkColours
 */
async function embed(written, width, darkColours) {
  const box = make("div", { class: "wb-chart" });
  const dark = isDark();
  const { spec, title, notes } = untitled(paint(written, dark ? darkColours : {}));
  const tooltip = { theme: dark ? "dark" : "light" };
  const options = { renderer: "svg", actions: false, tooltip };
  const result = await vegaEmbed(box, arranged(spec, width), options);
  return { result, box, words: caption(title, notes) };
}

const LEAST_WIDTH = 200; // px of a chart
const PADDING = 4; // px of a figure, both sides

/**
 * Room for a chart, also where nothing is shown yet, and how many times wider it is drawn.
 * @param {HTMLElement} element
 */
function widthOf(element) {
  const width = element.clientWidth || insideOf(element.parentElement);
  return { width: Math.max(width - PADDING, LEAST_WIDTH), zoom: Number(element.dataset.zoom ?? 1) };
}

/**
 * Width within the padding.
 * @param {HTMLElement | null} box
 */
function insideOf(box) {
  if (!box) return 0;
  const { paddingLeft, paddingRight } = getComputedStyle(box);
  return box.clientWidth - (Number.parseFloat(paddingLeft) || 0) - (Number.parseFloat(paddingRight) || 0);
}

/**
 * Size of a chart, also before it stands on the page.
 * @param {HTMLElement} box
 */
function sizeOf(box) {
  const svg = box.querySelector("svg.marks");
  return {
    width: Number(svg?.getAttribute("width")),
    height: Number(svg?.getAttribute("height")),
  };
}

/**
 * What a chart shows, and notes on it.
 * @param {string} title
 * @param {string[]} notes
 */
function caption(title, notes) {
  return make(
    "figcaption",
    {},
    make("strong", {}, title),
    ...notes.flatMap((note) => [" ", make("span", {}, note)]),
  );
}

/**
 * @param {HTMLElement} element
 * @param {() => void} act
 * @returns {() => void} ends it
 */
function whenWidthChanges(element, act) {
  let width = 0;
  let frame = 0;
  const observer = new ResizeObserver(() => {
    if (!element.clientWidth || element.clientWidth === width) return;
    const first = width === 0;
    width = element.clientWidth;
    cancelAnimationFrame(frame);
    if (!first) frame = requestAnimationFrame(act);
  });
  observer.observe(element);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
  };
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
