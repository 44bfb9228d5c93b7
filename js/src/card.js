/** What the page knows of the matrix under the pointer, without a question to the kernel. */

import { cellOf, keyOf } from "./cells.js";
import { fill, grouped, make } from "./dom.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").Page} Page
 * @typedef {[number, number]} Point place on the axis, and k
 */

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, MARGIN] = [180, 36, 4]; // px of a sparkline
const AWAY = 14; // px between pointer and card
const LEAST = 3; // points of a sparkline

/**
 * Where k of a matrix stands among those of its component.
 * @param {Datum} row
 * @param {Datum[]} rows
 */
export function rankOf(row, rows) {
  const others = alike(row, rows, "layer").map((one) => Number(one.k));
  const below = others.filter((k) => k < Number(row.k)).length;
  return { rank: below + 1, number: others.length };
}

/**
 * Fitted rows that differ from one in nothing but a label; each once.
 * @param {Datum} row
 * @param {Datum[]} rows
 * @param {"layer" | "step"} dim
 */
function alike(row, rows, dim) {
  const same = ["model", "layer", "component", "step"].filter((name) => name !== dim);
  const found = rows.filter(
    (one) => typeof one.k === "number" && cellOf(one) && same.every((name) => one[name] === row[name]),
  );
  return [...new Map(found.map((one) => [one[dim], one])).values()];
}

/**
 * k along the layers.
 * @param {Datum} row
 * @param {Datum[]} rows
 * @returns {Point[]}
 */
export const alongLayers = (row, rows) =>
  alike(row, rows, "layer")
    .map((one) => /** @type {Point} */ ([Number(one.layer), Number(one.k)]))
    .sort(([a], [b]) => a - b);

/**
 * A curve of k, and a dot where the matrix is.
 * @param {Point[]} points
 * @param {unknown} at
 */
export function pathOf(points, at) {
  const [xs, ys] = [0, 1].map((i) => points.map((point) => point[i]));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const spot = ([x, y] = points[0]) => [
    MARGIN + ((x - left) / (right - left || 1)) * (WIDTH - 2 * MARGIN),
    HEIGHT - MARGIN - ((y - low) / (high - low || 1)) * (HEIGHT - 2 * MARGIN),
  ];
  const path = points.map((point) => spot(point).map((one) => one.toFixed(1)).join(",")).join(" L");
  const here = points.find(([x]) => x === at);
  return { path: `M${path}`, dot: here ? spot(here) : null };
}

/**
 * @param {Point[]} points
 * @param {unknown} at
 * @param {string} text
 */
function sparkline(points, at, text) {
  if (points.length < LEAST) return [];
  const { path, dot } = pathOf(points, at);
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const shapes = [["path", { d: path }], ...(dot ? [["circle", { cx: dot[0], cy: dot[1], r: 3 }]] : [])];
  for (const [tag, attributes] of /** @type {[string, object][]} */ (shapes)) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, String(value));
    picture.append(shape);
  }
  const ends = [points[0], points[points.length - 1]].map(([x]) => grouped(x)).join(" – ");
  return [make("p", { class: "wb-card-note" }, `${text} ${ends}`), picture];
}

/** @param {Datum} row */
export function numbersOf(row) {
  const known = (/** @type {string} */ name) => typeof row[name] === "number";
  const number = (/** @type {string} */ name) => Number(row[name]);
  const error = known("k_se") ? ` ± ${Number(number("k_se").toPrecision(2))}` : "";
  return [
    ...(known("k") ? [["k", number("k").toFixed(4) + error]] : []),
    ...(known("lam") ? [["λ", String(Number(number("lam").toPrecision(4)))]] : []),
    ...(known("r2") ? [["r²", number("r2").toFixed(4)]] : []),
    ...(known("n") ? [["n", grouped(number("n"))]] : []),
  ];
}

/**
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {Pick<ReturnType<typeof import("./chart.js").buildChart>, "rows" | "listen">} chart
 * @param {{ about(cell: Cell): string, alongSteps(cell: Cell): Point[] }} held what came with the counts
 */
export function buildCard(root, { model, controls: { texts } }, chart, held) {
  const card = make("div", { class: "wb-card", role: "tooltip", hidden: true });
  root.append(card);
  /** @param {Datum} row @param {Cell} cell */
  const content = (row, cell) => {
    const rows = chart.rows();
    const component = String(row.component);
    const rank = rankOf(row, rows);
    const tensor = [row.parameter, held.about(cell)].filter(Boolean).join(" · ");
    const name = fill(texts.card_name, { component, layer: String(row.band ?? row.layer), model: cell[0], step: grouped(cell[3]) });
    return [
      make("strong", {}, name),
      ...(tensor ? [make("p", { class: "wb-card-note" }, tensor)] : []),
      ...(row.reason ? [make("p", {}, String(row.reason))] : []),
      make("dl", {}, ...numbersOf(row).flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)])),
      ...(typeof row.k === "number" && rank.number > 1
        ? [make("p", { class: "wb-card-note" }, fill(texts.card_rank, { ...rank, component }))]
        : []),
      ...sparkline(alongLayers(row, rows), row.layer, texts.card_layers),
      ...sparkline(held.alongSteps(cell), cell[3], texts.card_steps),
      ...foundAt(cell, model.get("_findings")).map((text) => make("p", { class: "wb-card-found" }, text)),
    ];
  };
  chart.listen("mouseover", (event, item) => {
    const row = /** @type {Datum | undefined} */ (item?.datum);
    const cell = cellOf(row);
    if (!row || !cell || "matrix" in row) return;
    card.replaceChildren(...content(row, cell));
    card.hidden = false;
    place(card, root, /** @type {MouseEvent} */ (/** @type {unknown} */ (event)));
  });
  chart.listen("mouseout", () => {
    card.hidden = true;
  });
}

/**
 * What was found of a matrix.
 * @param {Cell} cell
 * @param {string} text JSON
 */
export function foundAt(cell, text) {
  /** @type {import("./types").Findings["rows"]} */
  const rows = text ? JSON.parse(text).rows : [];
  const key = keyOf(cell);
  return rows.filter((row) => row.cells.some((one) => keyOf(one) === key)).map((row) => row.text);
}

/**
 * Beside the pointer, where there is room.
 * @param {HTMLElement} card
 * @param {HTMLElement} root
 * @param {{ clientX: number, clientY: number }} pointer
 */
function place(card, root, { clientX, clientY }) {
  const frame = root.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const right = clientX + AWAY + width < Math.min(frame.right, innerWidth);
  const below = clientY + AWAY + height < innerHeight;
  card.style.left = `${Math.max(clientX - frame.left + (right ? AWAY : -AWAY - width), 0)}px`;
  card.style.top = `${clientY - frame.top + (below ? AWAY : -AWAY - height)}px`;
}
