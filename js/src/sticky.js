/**
 * Labels of a map that stay in sight: components at the left where it is scrolled sideways, layers
 * at the lower edge of what is seen where the map ends below it.
 */

import { make } from "./dom.js";
import { visibleBottom } from "./stage.js";

/** @typedef {{ text: string, left: number, top: number, right: number, bottom: number }} Label */

const DOWN = '.role-axis[aria-label^="Y-axis"] .role-axis-label text, .role-row-header text';
const ACROSS = '.role-axis[aria-label^="X-axis"] .role-axis-label text';
const GAP = 4; // px beside the labels
const LEVEL = 20; // px of a line of text at most

/**
 * Texts of a chart and where they are, from its corner.
 * @param {Element} svg
 * @param {string} which
 * @returns {Label[]}
 */
function labelsOf(svg, which) {
  const corner = svg.getBoundingClientRect();
  const drawn = [...svg.querySelectorAll(which)].filter((node) => node.getAttribute("opacity") !== "0");
  return drawn.map((node) => {
    const { left, top, right, bottom } = node.getBoundingClientRect();
    return {
      text: node.textContent ?? "",
      left: left - corner.left,
      top: top - corner.top,
      right: right - corner.left,
      bottom: bottom - corner.top,
    };
  });
}

/**
 * The labels of the lowest axis, where they are not seen; none where they are not level.
 * @param {Label[]} labels
 * @param {number} seen px from the upper edge of the chart that are seen
 */
export function hiddenAxis(labels, seen) {
  const lowest = Math.max(...labels.map(({ bottom }) => bottom));
  if (labels.some(({ top, bottom }) => bottom - top > LEVEL)) return [];
  return lowest > seen ? labels.filter(({ bottom }) => lowest - bottom < 2) : [];
}

/**
 * Write labels in a strip of their own; nothing where there are none.
 * @param {HTMLElement} strip
 * @param {Label[]} labels
 * @param {{ left: number, top: number, width: number, height: number }} box of the strip, px
 * @param {number} [from] px of the chart at which the strip begins
 */
function write(strip, labels, box, from = 0) {
  if (strip.hidden && !labels.length) return;
  strip.hidden = !labels.length;
  strip.replaceChildren(
    ...labels.map(({ text, left, top }) =>
      make("span", { style: `left: ${left}px; top: ${top - from}px` }, text),
    ),
  );
  for (const [name, size] of Object.entries(box)) strip.style.setProperty(name, `${size}px`);
}

/**
 * @param {HTMLElement} element a figure with a chart
 * @returns {() => void} ends it
 */
export function keepLabels(element) {
  const [column, line] = ["wb-stuck-components", "wb-stuck-layers"].map((name) =>
    make("div", { class: `wb-stuck ${name}`, "aria-hidden": "true", hidden: true }),
  );
  const update = () => {
    const svg = element.querySelector("svg.marks");
    const place = svg?.closest(".wb-chart");
    if (!svg || !place) return;
    const { top: corner, width, height } = svg.getBoundingClientRect();
    const moved = element.scrollLeft;
    const components = moved > 0 ? labelsOf(svg, DOWN) : [];
    const wide = Math.max(0, ...components.map(({ right }) => right)) + GAP;
    write(column, components, { left: moved, top: 0, width: wide, height });
    const seen = visibleBottom(element) - corner;
    const layers = seen > 0 && seen < height ? hiddenAxis(labelsOf(svg, ACROSS), seen) : [];
    const [first] = layers;
    const high = first ? first.bottom - first.top + GAP : 0;
    write(line, layers, { left: 0, top: seen - high, width, height: high }, first ? first.top - GAP / 2 : 0);
    if (column.parentElement !== place) place.append(line, column);
  };
  let frame = 0;
  const later = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(update);
  };
  const observer = new MutationObserver(later); // the chart is drawn anew
  observer.observe(element, { attributes: true, attributeFilter: ["data-turn", "data-zoom"] });
  document.addEventListener("scroll", later, { capture: true, passive: true });
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    document.removeEventListener("scroll", later, { capture: true });
  };
}
