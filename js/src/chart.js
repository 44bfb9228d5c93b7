/** One place for a chart: it draws what Python sends, and outlines what is selected. */

import { cellOf, keyOf } from "./cells.js";
import { make } from "./dom.js";
import { marksOf } from "./marks.js";
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
 */
export function buildChart(name, darkColours, choose) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  /** @type {Drawn | null} */
  let drawn = null;
  let turn = 0;

  /** @param {string} text */
  async function draw(text) {
    turn += 1;
    const mine = turn;
    /** @type {import("./types").ChartContent | null} */
    const content = text ? JSON.parse(text) : null;
    if (!content?.spec) {
      replace(null);
      element.replaceChildren(
        ...(content ? [make("p", { class: "wb-note" }, content.problem ?? "")] : []),
      );
      element.hidden = !content;
      return;
    }
    const box = make("div", { class: "wb-chart" });
    const dark = isDark();
    const tooltip = { theme: dark ? "dark" : "light" };
    const spec = paint(content.spec, dark ? darkColours : {});
    const result = await vegaEmbed(box, spec, { renderer: "svg", actions: false, tooltip });
    if (mine !== turn) {
      result.finalize();
      return;
    }
    replace(result);
    element.setAttribute("aria-label", content.label);
    silenceEmpty(box);
    element.replaceChildren(box);
    element.hidden = false;
    element.dataset.turn = String(turn);
    result.view.addEventListener("click", (event, item) => {
      const cell = cellOf(item?.datum);
      if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
      element.dispatchEvent(new CustomEvent("wb-datum", { detail: item?.datum, bubbles: true }));
    });
  }

  const unwatch = name === "main" ? () => {} : scrollByKeys(element);

  /** @param {Drawn | null} next */
  function replace(next) {
    drawn?.finalize();
    drawn = next;
  }

  return {
    element,
    draw,
    marks: () => (drawn ? marksOf(drawn.view) : []),
    /** Where the chart lies on the page. */
    corner: () => element.querySelector("svg.marks")?.getBoundingClientRect() ?? new DOMRect(),
    /** @param {Mark[]} marks */
    outline(marks) {
      element.querySelector(".wb-picked")?.remove();
      element.querySelector(".wb-chart")?.append(...(marks.length ? [outlines(marks)] : []));
    },
    stop() {
      replace(null);
      unwatch();
    },
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
