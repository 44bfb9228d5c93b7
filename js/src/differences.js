/** Differences of two checkpoints by another protocol, as weibnb/charts/layers.py makes them. */

import { middle } from "./fitting/counts.js";
import { median } from "./fitting/quantiles.js";

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./fitting/weibull.js").Fit} Fit
 */

/** Whether a row is about two checkpoints. @param {Datum} row */
export const isDifference = (row) => "first_k" in row || "delta_k" in row;

const STRONG = 0.75; // of the reach of the colours, beyond which a number has another colour

/**
 * How far the colours of differences reach on both sides of 0.
 * @param {Record<string, unknown>} values of a chart
 */
export function reachOf(values) {
  const numbers = Object.values(values).flat().filter((one) => typeof one === "number");
  return Math.max(0, ...numbers.filter((one) => numbers.includes(-one)));
}

/**
 * @param {Datum} row
 * @param {[Fit, Fit][]} both fits of each matrix that the row stands for, in either checkpoint
 * @param {number} reach of the colours
 * @returns {Datum}
 */
export function onDifference(row, both, reach) {
  const value = known(median(both.map(([from, to]) => to.k - from.k)));
  if (!("first_k" in row)) return { ...row, delta_k: value };
  const [first, second] = [0, 1].map((side) => middle(both.map((fits) => fits[side])));
  const far = Math.abs(value ?? Number.NaN);
  const [quiet, strong] = [far < Number(row.noise), far > STRONG * reach].map((is) => (is ? "yes" : "no"));
  return {
    ...row,
    ...{ k: known(second?.k), first_k: known(first?.k), second_k: known(second?.k), value },
    ...("lam" in row && { lam: known(second?.lam) }),
    ...("r2" in row && { r2: known(second?.r2) }),
    ...("quiet" in row && { quiet }),
    ...("strong" in row && { strong }),
  };
}

/** @param {number | undefined} value */
const known = (value) => (value === undefined || Number.isNaN(value) ? null : value);
