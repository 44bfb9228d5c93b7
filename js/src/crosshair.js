/**
 * A crosshair in a Weibull plot: |w| at the pointer or where the arrow keys led, the share of the
 * weights below it, and how many lie beyond.
 */

import { fill, grouped, make } from "./dom.js";

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {{ x: number, y: number }} Point ln|w| and ordinate
 * @typedef {{ element: HTMLElement, view(): import("vega-typings").View | undefined, rows(): Datum[] }} Chart
 */

const AREA = ".concat_0_group .background"; // the upper one of two panels
const MOST = 4; // matrices whose shares are told
const [STEP, LEAP] = [0.005, 0.05]; // of the width, by an arrow key, alone and with Shift

/**
 * The points of each matrix of a Weibull plot, by its name, ascending.
 * @param {Datum[]} rows
 * @returns {Map<string, Point[]>}
 */
export function curvesOf(rows) {
  /** @type {Map<string, Point[]>} */
  const found = new Map();
  for (const { matrix, magnitude, y, percent } of rows) {
    if (typeof matrix !== "string" || typeof percent !== "number") continue;
    const points = found.get(matrix) ?? [];
    points.push({ x: Math.log(Number(magnitude)), y: Number(y) });
    found.set(matrix, points);
  }
  for (const points of found.values()) points.sort((a, b) => a.x - b.x);
  return found;
}

/**
 * Ordinate of a curve at ln|w|, between its points; null before the first, infinite after the last.
 * @param {Point[]} points
 * @param {number} x
 */
export function ordinateAt(points, x) {
  const next = points.findIndex((point) => point.x >= x);
  if (next < 0) return points.length ? Number.POSITIVE_INFINITY : null;
  const [a, b] = [points[next - 1], points[next]];
  if (b.x === x) return b.y;
  return a ? a.y + ((x - a.x) / (b.x - a.x)) * (b.y - a.y) : null;
}

/** How many weights a matrix has, as its name in the plot tells. @param {string} name */
export function weightsOf(name) {
  const [, digits] = name.match(/ n ([\d,]+)/) ?? [];
  return digits ? Number(digits.replaceAll(",", "")) : null;
}

/**
 * A share in percent, with as many digits as tell it from 100.
 * @param {number} beyond share of the weights beyond
 */
export function percentBelow(beyond) {
  const digits = beyond > 0 ? 1 - Math.floor(Math.log10(100 * beyond)) : 0;
  return (100 * (1 - beyond)).toFixed(Math.min(Math.max(digits, 1), 6));
}

/**
 * What is told of a plot at one |w|, a line each matrix.
 * @param {Map<string, Point[]>} curves
 * @param {number} x
 * @param {Record<string, string>} texts
 */
export function toldAt(curves, x, texts) {
  const lines = [...curves].slice(0, MOST).map(([name, points]) => {
    const y = ordinateAt(points, x);
    const n = weightsOf(name);
    if (y === null || n === null) return [name, texts.cross_below];
    const beyond = Math.exp(-Math.exp(y));
    const numbers = { percent: percentBelow(beyond), beyond: grouped(Math.round(n * beyond)), n: grouped(n) };
    return [name, fill(texts.cross, numbers)];
  });
  const named = lines.map(([name, text]) => (lines.length > 1 ? `${name.split(":  ")[0]}: ${text}` : text));
  return [fill(texts.cross_at, { magnitude: Math.exp(x).toPrecision(4) }), ...named];
}

/**
 * @param {Chart} chart
 * @param {Record<string, string>} texts
 * @param {{ keys: boolean }} more whether arrow keys move it
 */
export function buildCrosshair(chart, texts, { keys }) {
  const line = make("div", { class: "wb-cross-line" });
  const words = make("div", { class: "wb-cross-words" });
  const cross = make("div", { class: "wb-cross" }, line, words);
  let at = 0.5; // of the width
  const area = () => chart.element.querySelector(AREA)?.getBoundingClientRect();
  const hide = () => cross.remove();
  /** @param {DOMRect} box @param {boolean} spoken */
  const show = (box, spoken) => {
    const curves = curvesOf(chart.rows());
    const place = chart.element.querySelector(".wb-chart");
    if (!curves.size || !place) return;
    const corner = place.getBoundingClientRect();
    const x = Math.log(chart.view()?.scale("concat_0_x").invert(at * box.width));
    words.replaceChildren(...toldAt(curves, x, texts).map((text) => make("p", {}, text)));
    words.setAttribute("aria-live", spoken ? "polite" : "off");
    Object.assign(cross.style, {
      left: `${box.left - corner.left}px`,
      top: `${box.top - corner.top}px`,
      width: `${box.width}px`,
      height: `${box.height}px`,
    });
    line.style.left = `${100 * at}%`;
    if (cross.parentElement !== place) place.append(cross);
  };
  chart.element.addEventListener("pointermove", ({ clientX, clientY }) => {
    const box = area();
    const inside = box && clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
    if (!inside) return hide();
    at = (clientX - box.left) / box.width;
    show(box, false);
  });
  chart.element.addEventListener("pointerleave", hide);
  if (!keys) return;
  chart.element.tabIndex = 0;
  chart.element.addEventListener("blur", hide);
  chart.element.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const box = area();
    if (event.key === "Escape" && cross.isConnected) {
      event.stopPropagation();
      hide();
    }
    if (!way || !box) return;
    event.preventDefault();
    event.stopPropagation();
    if (cross.isConnected) at = Math.min(Math.max(at + way * (event.shiftKey ? LEAP : STEP), 0), 1);
    show(box, true);
  });
}
