/** The Weibull plot of another matrix, from the counts on the page. */

import { cellOf, keyOf } from "./cells.js";
import { grouped } from "./dom.js";
import { ownersOf } from "./redrawn.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./alive.js").Parted} Parted
 * @typedef {import("./fitting/weibull.js").Fit} Fit
 * @typedef {ReturnType<typeof import("./fitting/counts.js").countsOf>} Counts
 */

const POINTS = 100;
const [LOWEST, HIGHEST] = [1e-4, 1 - 1e-6]; // shares that are drawn
/** @param {number} share */
const ordinate = (share) => Math.log(-Math.log1p(-share));

/**
 * Points of a matrix, evenly spaced in the ordinate.
 * @param {{ magnitude: number[], share: number[] }} curve
 */
export function pointsOf({ magnitude, share }) {
  const from = share.findIndex((one) => one >= LOWEST);
  if (from < 0) return [];
  const y = share.map(ordinate);
  const reach = y[y.length - 1] - y[from];
  const points = [];
  for (let i = from, next = 0; i < y.length; i++) {
    if (y[i] - y[from] < (next * reach) / (POINTS - 1)) continue;
    points.push({ magnitude: magnitude[i], percent: 100 * share[i], y: y[i] });
    while (next < POINTS && (next * reach) / (POINTS - 1) <= y[i] - y[from]) next += 1;
  }
  return points;
}

/**
 * The plot of one matrix as that of another; a chart of something else, or of several, as it is.
 * @param {Parted} sent
 * @param {Cell} cell
 * @param {Counts} counts
 * @param {{ trim: [number, number], estimator: "rank_regression" | "maximum_likelihood" }} asked
 * @returns {Parted}
 */
export function plotOf(sent, cell, counts, { trim, estimator }) {
  const owners = [...ownersOf(sent.data).values()];
  const [fit, curve] = [counts.fit(cell, trim, estimator), counts.curve(cell)];
  const [shown] = owners.map(cellOf);
  if (owners.length !== 1 || !shown || keyOf(shown) === keyOf(cell) || !fit || !curve) return sent;
  const matrix =
    `${cell[2]} of layer ${cell[1]}:  k ${fit.k.toFixed(4)}   λ ${Number(fit.lam.toPrecision(4))}` +
    `   r² ${fit.r2.toFixed(4)}   n ${grouped(curve.n)}`;
  const [model, layer, component, step] = cell;
  const own = { model, layer, component, step, matrix };
  const data = Object.fromEntries(
    Object.entries(sent.data).map(([name, table]) => [name, redone(table, own, fit, curve)]),
  );
  const before = owners[0].matrix;
  const values = Object.fromEntries(
    Object.entries(sent.values).map(([name, value]) => [name, value === before ? matrix : value]),
  );
  return { ...sent, data, values };
}

/**
 * @param {Datum[]} rows
 * @param {Datum} own labels of the matrix
 * @param {Fit} fit
 * @param {{ magnitude: number[], share: number[] }} curve
 * @returns {Datum[]}
 */
function redone(rows, own, { k, lam }, curve) {
  if (!rows.some((row) => "matrix" in row)) return rows;
  if (rows.every((row) => row.kind === undefined)) {
    return pointsOf(curve).map((point) => ({ ...own, ...point, residual: 0, detached: "no" }));
  }
  const ends = [LOWEST, HIGHEST].map((share) => ordinate(share) / k + Math.log(lam));
  const sizes = new Map(["line", "gaussian"].map((kind) => [kind, rows.filter((row) => row.kind === kind).length]));
  const seen = new Map([["line", 0], ["gaussian", 0]]);
  return rows.map((row) => {
    const kind = String(row.kind);
    const at = seen.get(kind);
    if (at === undefined) return { ...row, ...own };
    seen.set(kind, at + 1);
    const share = at / Math.max((sizes.get(kind) ?? 1) - 1, 1);
    const magnitude = Math.exp(ends[0] + share * (ends[1] - ends[0]));
    // the band around a line comes from rows and columns of the weights, which are not here
    return { ...row, ...own, magnitude, ...("low" in row && { low: 0, high: 0, spread: 0, under: 0 }) };
  });
}
