/**
 * On the main chart: a rectangle selects what it touches, arrow keys move the selected cell, the
 * wheel with Ctrl and the keys + - 0 zoom.
 */

import { make } from "./dom.js";
import { cellsWithin, neighbour } from "./marks.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Mark} Mark
 * @typedef {import("./types").Box} Box
 * @typedef {{ element: HTMLElement, marks(): Mark[], corner(): DOMRect }} Chart
 */

const LEAST = 8; // px to move before it is a rectangle and no click

/**
 * The rectangle between two points.
 * @param {{ clientX: number, clientY: number }} a
 * @param {{ clientX: number, clientY: number }} b
 * @returns {Box}
 */
export function span(a, b) {
  return {
    left: Math.min(a.clientX, b.clientX),
    right: Math.max(a.clientX, b.clientX),
    top: Math.min(a.clientY, b.clientY),
    bottom: Math.max(a.clientY, b.clientY),
  };
}

/**
 * @param {Box} box
 * @param {DOMRect} corner
 * @returns {Box} the same, seen from a corner
 */
const within = (box, { left, top }) => ({
  left: box.left - left,
  right: box.right - left,
  top: box.top - top,
  bottom: box.bottom - top,
});

/**
 * @param {HTMLElement} root
 * @param {Chart} chart
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
export function brush(root, chart, choose) {
  const frame = make("div", { class: "wb-brush", hidden: true });
  root.append(frame);
  const place = chart.element;
  place.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    delete place.dataset.brushed;
    /** @param {PointerEvent} event */
    const move = (event) => {
      const at = within(span(down, event), root.getBoundingClientRect());
      const [width, height] = [at.right - at.left, at.bottom - at.top];
      if (width + height < LEAST) return;
      event.preventDefault();
      place.dataset.brushed = "yes";
      frame.hidden = false;
      Object.assign(frame.style, {
        left: `${at.left}px`,
        top: `${at.top}px`,
        width: `${width}px`,
        height: `${height}px`,
      });
    };
    /** @param {PointerEvent} event */
    const up = (event) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", up);
      frame.hidden = true;
      if (!place.dataset.brushed) return;
      const touched = within(span(down, event), chart.corner());
      choose(cellsWithin(chart.marks(), touched), event.shiftKey);
      // the click that follows is no choice
      setTimeout(() => delete place.dataset.brushed, 0);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
  });
  place.addEventListener("dragstart", (event) => event.preventDefault());
}

/**
 * @param {Chart} chart
 * @param {() => Cell[]} chosen
 * @param {(cells: Cell[], add: boolean) => void} choose
 */
export function arrowKeys(chart, chosen, choose) {
  chart.element.tabIndex = 0;
  chart.element.addEventListener("keydown", (event) => {
    const marks = event.key.startsWith("Arrow") ? chart.marks() : [];
    if (!marks.length) return;
    event.preventDefault();
    event.stopPropagation();
    const next = neighbour(marks, chosen().at(-1), event.key);
    if (next) choose([next], event.shiftKey);
  });
}

const MOST_ZOOM = 16;
/** By key: what the zoom is multiplied by; 0 shows all. @type {Record<string, number>} */
const ZOOMS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 };

/**
 * The zoom after a step in or out, between the whole chart and the closest look.
 * @param {number} zoom
 * @param {number} by
 */
export const zoomed = (zoom, by) => Math.min(Math.max(zoom * by, 1), MOST_ZOOM);

/**
 * Wheel and keys that make the chart wider than its place, in which it then scrolls.
 * @param {Chart & { resize(): Promise<void> }} chart
 */
export function zoomable(chart) {
  const place = chart.element;
  /**
   * @param {number} by
   * @param {number} at px from the left of the place: what is there stays there
   */
  const zoom = async (by, at) => {
    const from = Number(place.dataset.zoom ?? 1);
    const to = zoomed(from, by);
    if (from === to) return;
    const left = place.scrollLeft;
    place.dataset.zoom = String(to);
    await chart.resize();
    place.scrollLeft = ((left + at) * to) / from - at;
  };
  place.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - place.getBoundingClientRect().left);
    },
    { passive: false },
  );
  place.addEventListener("keydown", (event) => {
    if (!(event.key in ZOOMS) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    zoom(ZOOMS[event.key], place.clientWidth / 2);
  });
}
