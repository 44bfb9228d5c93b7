/** Differences of two checkpoints by another protocol, as weibnb/charts/layers.py makes them. */

import { median, middle } from "./fitting/counts.js";

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./fitting/weibull.js").Fit} Fit
 */

/** Whether a row is about two checkpoints. @param {Datum} row */
export const isDifference = (row) => "first_k" in row || "delta_k" in row;

/**
 * @param {Datum} row
 * @param {[Fit, Fit][]} both fits of each matrix that the row stands for, in either checkpoint
 * @returns {Datum}
 */
export function onDifference(row, both) {
  const value = known(median(both.map(([from, to]) => to.k - from.k)));
  if (!("first_k" in row)) return { ...row, delta_k: value };
  const [first, second] = [0, 1].map((side) => middle(both.map((fits) => fits[side])));
  const quiet = value !== null && Math.abs(value) < Number(row.noise) ? "yes" : "no";
  return {
    ...row,
    ...{ k: known(second?.k), first_k: known(first?.k), second_k: known(second?.k), value },
    ...("lam" in row && { lam: known(second?.lam) }),
    ...("r2" in row && { r2: known(second?.r2) }),
    ...("quiet" in row && { quiet }),
  };
}

/** @param {number | undefined} value */
const known = (value) => (value === undefined || Number.isNaN(value) ? null : value);
