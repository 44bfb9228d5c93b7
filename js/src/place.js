/** The place of a chart on the page: how much room it gives, and a chart that fills it. */

import { arranged, arrangement, fit, sizesOf } from "./sizes.js";

/**
 * @typedef {import("vega-typings").View} View
 * @typedef {import("vega-typings").Spec} Spec
 */

/**
 * @param {HTMLElement} element
 * @param {() => number | undefined} [height] where it is given
 */
export function buildPlace(element, height) {
  /** @type {import("./sizes.js").Sizes | null} */
  let sizes = null;
  let held = ""; // the arrangement of the chart
  /** @type {Spec} */
  let asked = {};
  let known = 0; // px; while JupyterLab changes its theme, nothing has a width
  const room = () => {
    known = widthOf(element) || known;
    const width = Math.max(known - PADDING, LEAST_WIDTH);
    return { width, height: height?.(), zoom: Number(element.dataset.zoom ?? 1) };
  };
  return {
    /** A chart for the width that is there. @param {Spec} spec */
    arrange(spec) {
      const { width } = room();
      [asked, held] = [spec, arrangement(spec, width)];
      return arranged(spec, width);
    },
    /** Another chart was put there. */
    renew() {
      sizes = null;
    },
    /** Whether the chart need not be made anew for the width that is there. */
    suits: () => held === arrangement(asked, room().width),
    /** @param {View | undefined} view */
    async fill(view) {
      if (!view) return;
      sizes ??= sizesOf(view);
      await fit(view, sizes, room(), () => sizeOf(element));
    },
  };
}

const LEAST_WIDTH = 200; // px of a chart
const PADDING = 4; // px of a figure, both sides

/**
 * Width of a place, also where nothing is shown yet.
 * @param {HTMLElement} element
 */
const widthOf = (element) => element.clientWidth || insideOf(element.parentElement);

/**
 * Width within the padding.
 * @param {HTMLElement | null} box
 */
function insideOf(box) {
  if (!box) return 0;
  const { paddingLeft, paddingRight } = getComputedStyle(box);
  const padding = (Number.parseFloat(paddingLeft) || 0) + (Number.parseFloat(paddingRight) || 0);
  return Math.max(box.clientWidth - padding, 0);
}

/**
 * Size of the chart in a place, also before it is shown.
 * @param {HTMLElement} element
 */
function sizeOf(element) {
  const svg = element.querySelector("svg.marks");
  return {
    width: Number(svg?.getAttribute("width")),
    height: Number(svg?.getAttribute("height")),
  };
}

/**
 * @param {HTMLElement} element
 * @param {() => void} act
 * @returns {() => void} ends it
 */
export function whenWidthChanges(element, act) {
  let width = 0;
  let frame = 0;
  const observer = new ResizeObserver(() => {
    if (!element.clientWidth || element.clientWidth === width) return;
    width = element.clientWidth;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(act);
  });
  observer.observe(element);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
  };
}
