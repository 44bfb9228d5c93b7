/** The part of a matrix that is shown: numbers to set it, and a click on the map to zoom in. */

import { make } from "./dom.js";
import { withRows } from "./tables.js";

const CLOSER = 4; // times closer after a click

/**
 * The part around a place that was clicked, a quarter of what is shown along each side.
 * @param {Record<string, unknown> | null | undefined} datum of the map
 * @param {number[]} shown first row, the one after the last, and likewise columns
 * @returns {number[] | null} null where it is no place of a map
 */
export function closer(datum, shown) {
  const ends = ["row", "row_stop", "col", "col_stop"].map((name) => datum?.[name]);
  if (!ends.every((end) => typeof end === "number")) return null;
  return [0, 2].flatMap((at) => {
    const [low, high] = shown.slice(at, at + 2);
    const middle = (Number(ends[at]) + Number(ends[at + 1])) / 2;
    const size = Math.max(Math.ceil((high - low) / CLOSER), 1);
    const first = Math.round(Math.min(Math.max(middle - size / 2, low), high - size));
    return [first, first + size];
  });
}

/**
 * What is shown of a chart's places.
 * @param {Record<string, unknown>[]} places
 * @returns {number[]}
 */
export function spanOf(places) {
  const ends = (/** @type {string} */ name) => places.map((place) => Number(place[name]));
  return ["row", "col"].flatMap((dim) => [
    Math.min(...ends(dim)),
    Math.max(...ends(`${dim}_stop`)),
  ]);
}

/**
 * @param {import("./types").Page} page
 * @returns {import("./types").Part}
 */
export function buildWindow({ model, controls, send }) {
  const { texts } = controls;
  const inputs = texts.window_ends.split("|").map((label) =>
    make("input", {
      type: "number",
      min: 0,
      "aria-label": label,
      title: label,
      onchange: () => {
        const ends = inputs.map((input) => Math.round(Number(input.value)));
        if (inputs.every((input) => input.value)) send({ window: ends });
      },
    }),
  );
  const all = make("button", { type: "button", onclick: () => send({ window: [] }) }, texts.window_all);
  const [top, bottom, left, right] = inputs;
  const element = make(
    "span",
    { class: "wb-field wb-part" },
    make("span", {}, controls.options.window),
    ...[top, "–", bottom, " × ", left, "–", right],
    all,
  );
  /** Places of the map that is shown. */
  const places = () => {
    if (model.get("panel") !== "inside") return [];
    const { spec } = withRows(JSON.parse(model.get("_main") || "{}"));
    const tables = /** @type {Record<string, unknown>[][]} */ (Object.values(spec?.datasets ?? {}));
    return tables.find((rows) => rows[0] && "row_stop" in rows[0]) ?? [];
  };
  element.addEventListener("wb-zoom", (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    const found = closer(detail, spanOf(places()));
    if (found) send({ window: found });
  });
  return {
    element,
    update() {
      const shown = places();
      const ends = shown.length ? spanOf(shown) : model.get("window");
      inputs.forEach((input, i) => {
        if (input !== document.activeElement) input.value = String(ends[i] ?? "");
      });
      all.hidden = !model.get("window").length;
    },
  };
}

/**
 * Zoom in where the map of a matrix is clicked.
 * @param {HTMLElement} root
 */
export function zoomOnClick(root) {
  root.addEventListener("wb-datum", (event) => {
    const { detail } = /** @type {CustomEvent} */ (event);
    root.querySelector(".wb-part")?.dispatchEvent(new CustomEvent("wb-zoom", { detail }));
  });
}
