/** On the main chart: a rectangle selects what it touches, arrow keys move the selected cell. */

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
