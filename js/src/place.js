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
  let [crowdedAt, kind] = [0, ""]; // px at which legends beside such a chart left it too little
  const room = () => {
    known = widthOf(element) || known;
    const width = Math.max(known - PADDING, LEAST_WIDTH);
    return { width, height: height?.(), zoom: Number(element.dataset.zoom ?? 1) };
  };
  return {
    /** A chart for the width that is there. @param {Spec} spec */
    arrange(spec) {
      const { width } = room();
      if (kindOf(spec) !== kind) [crowdedAt, kind] = [0, kindOf(spec)];
      [asked, held] = [spec, arrangement(spec, width, width <= crowdedAt)];
      return arranged(spec, width, width <= crowdedAt);
    },
    /** Another chart was put there. */
    renew() {
      sizes = null;
    },
    /** Whether the chart need not be made anew for the width that is there. */
    suits() {
      const { width } = room();
      return held === arrangement(asked, width, width <= crowdedAt);
    },
    /**
     * Whether the chart found its room; if not, it is to be arranged anew.
     * @param {View | undefined} view
     */
    async fill(view) {
      if (!view) return true;
      sizes ??= sizesOf(view);
      const given = room();
      const { width } = given;
      await fit(view, sizes, given, () => sizeOf(element));
      if (given.zoom > 1 || width <= crowdedAt || sizeOf(element).width <= width + CROWDED) return true;
      crowdedAt = width;
      return held === arrangement(asked, width, true);
    },
  };
}

/**
 * What a chart is drawn with, whatever it shows.
 * @param {any} spec
 */
const kindOf = ({ spec, layer = spec?.layer ?? [] }) => JSON.stringify(layer.map((/** @type {any} */ { mark }) => mark));

const CROWDED = 12; // px that a chart is too wide
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
