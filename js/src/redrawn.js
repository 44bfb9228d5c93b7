/** Charts by another protocol, from the counts on the page: what moves in which row. */

import { bandOf, cellOf, keyOf } from "./cells.js";
import { onDensity } from "./densities.js";
import { isDifference, onDifference, reachOf } from "./differences.js";
import { gaussianAnchor } from "./fitting/anchor.js";
import { middle } from "./fitting/counts.js";
import { ordinate } from "./fitting/ordinates.js";
import { BAND, isOnCourse, pathsOf } from "./training.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./alive.js").Parted} Parted
 * @typedef {import("./fitting/weibull.js").Fit} Fit
 * @typedef {import("./fitting/weibull.js").Trim} Trim
 * @typedef {Pick<ReturnType<typeof import("./fitting/counts.js").countsOf>, "fit" | "has" | "layers">} Counts
 */

const QUANTITIES = ["k", "lam", "r2"];
const NEAR = 1e-5; // of numbers that Python has rounded

/**
 * The matrices that a row stands for: one, or all layers of its band.
 * @param {Datum} row
 * @param {number[]} layers
 * @returns {Cell[]}
 */
export function cellsOf(row, layers) {
  const cell = cellOf(row);
  if (!cell) return [];
  const band = bandOf(row);
  if (!band) return [cell];
  const [low, high] = band;
  return layers
    .filter((layer) => low <= layer && layer <= high)
    .map((layer) => [cell[0], layer, cell[2], cell[3]]);
}

/**
 * A row of a chart with other estimates.
 * @param {Datum} row
 * @param {Fit} fit
 * @param {Asked} asked
 * @param {{ k: number, lam: number }} anchor of a Gaussian with σ = 1
 * @param {{ k: number, lam: number }} was the one by which the row was made
 * @param {typeof relabelled} renamed gives the name of a matrix with other numbers
 * @returns {Datum}
 */
function refitted(row, fit, { value }, anchor, was, renamed) {
  if ("matrix" in row) return onPaper(row, fit, anchor, renamed);
  if ("density" in row) return onDensity(row, fit, anchor.lam);
  const { k, lam, r2 } = fit;
  /** @type {Datum} */
  const next = { ...row, ...("lam" in row && { lam }), ...("r2" in row && { r2 }) };
  if ("k" in row) next.k = Number.isNaN(k) ? null : k;
  const error = /** @type {number} */ (row.k_se);
  // the band was published for another protocol: none is drawn on the anchor's line, and Vega warns of no number
  if (isOnCourse(row)) return "low" in row ? { ...next, low: anchor.k, high: anchor.k } : next;
  if ("low" in row && "high" in row && error) Object.assign(next, { low: k - error, high: k + error });
  if ("value" in row && row.value !== null) next.value = otherValue(row, fit, value, anchor, was);
  return next;
}

/**
 * The number that a chart shows of a matrix, by another protocol; one that hangs on none stays.
 * @param {Datum} row
 * @param {Fit} fit
 * @param {string} value
 * @param {{ k: number, lam: number }} anchor
 * @param {{ k: number, lam: number }} was
 */
function otherValue(row, fit, value, anchor, was) {
  if (QUANTITIES.includes(value)) return fit[/** @type {"k"} */ (value)];
  if (value === "z" && row.k_se) return (fit.k - anchor.k) / Number(row.k_se);
  // of the largest weight over a Gaussian's, whose width is that of the body
  if (value === "outlier") return ((Number(row.value) * Number(row.lam)) / fit.lam) * (anchor.lam / was.lam);
  return row.value;
}

/**
 * A point or a place of a line in a Weibull plot.
 * @param {Datum} row
 * @param {Fit} fit
 * @param {{ k: number, lam: number }} anchor
 * @param {typeof relabelled} renamed
 * @returns {Datum}
 */
function onPaper(row, { k, lam, r2 }, anchor, renamed) {
  const { magnitude, y, kind } = /** @type {{ magnitude: number, y: number, kind?: string }} */ (row);
  const matrix = renamed(String(row.matrix), k, lam, r2);
  const line = k * Math.log(magnitude / lam);
  if (kind === undefined) return { ...row, matrix, residual: y - line };
  if (kind === "scale") return { ...row, matrix, magnitude: lam };
  if (kind === "gaussian") {
    const at = gaussianOrdinate(magnitude / (lam / anchor.lam));
    return { ...row, matrix, y: at, residual: at - line };
  }
  if (kind === "other") return { ...row, residual: y - line };
  if (kind !== "line") return row;
  const margin = (/** @type {number} */ (row.high) - /** @type {number} */ (row.low)) / 2;
  return { ...row, matrix, y: line, low: line - margin, high: line + margin };
}

/**
 * The name of a matrix with other numbers; those that only Python makes are left out.
 * @param {string} text
 * @param {number} k
 * @param {number} lam
 * @param {number} r2
 */
export function relabelled(text, k, lam, r2) {
  return text
    .replace(/k \d\S*( ± \S+)?/, `k ${k.toFixed(4)}`)
    .replace(/λ \d\S*/, `λ ${Number(lam.toPrecision(4))}`)
    .replace(/r² \d\S*/, `r² ${r2.toFixed(4)}`)
    .replace(/\s+KS \d\S*/, "");
}

/** Ordinate of |w| of a Gaussian with σ = 1. @param {number} x */
function gaussianOrdinate(x) {
  // W. J. Cody's complementary error function to 1e-7 is enough for a dotted line
  const z = x / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const c = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277,
  ];
  const above = t * Math.exp(-z * z + c.reduceRight((sum, one) => sum * t + one, 0));
  return Math.log(-Math.log(above));
}

/**
 * What a chart shows by another protocol: rows of matrices, the shaded trim, and what stands at
 * the anchor of a Gaussian.
 * @param {Parted} sent
 * @param {Asked} asked
 * @param {Asked} before by which Python drew it
 * @param {Counts} counts
 * @param {import("./types").Saved["compared"]} [compared] checkpoints of which differences are drawn
 * @returns {{ data: import("./alive.js").Data, values: Record<string, unknown>, description: string, notes: string[] }}
 */
export function redrawn(sent, asked, before, counts, compared = null) {
  const [was, anchor] = [before, asked].map((one) => gaussianAnchor(one.trim, one.estimator));
  const fitOf = fitter(asked, before, counts);
  const [owners, reach] = [ownersOf(sent.data), reachOf(sent.values)];
  /** @type {Map<string, string>} */
  const named = new Map();
  const nameOf = (/** @type {[string, number, number, number]} */ ...[text, ...numbers]) => {
    const name = named.get(text) ?? relabelled(text, ...numbers);
    named.set(text, name);
    return name;
  };
  const data = Object.fromEntries(
    Object.entries(sent.data).map(([name, rows]) => [
      name,
      rows.map((row) => {
        if (isTrim(row)) return trimRow(asked.trim);
        if (isAnchor(row)) return { ...row, at: anchor.k };
        if (isDifference(row)) return compared ? ofBoth(row, compared, asked, counts, reach) : row;
        const owner = owners.get(row.matrix) ?? row;
        const fit = isOfExpert(owner) ? null : fitOf(owner);
        return fit ? refitted(row, fit, asked, anchor, was, nameOf) : row;
      }),
    ]),
  );
  const names = namesOf(sent.data, data);
  const told = renamed({ ...shifted(sent.values, was.k, anchor.k), notes: sent.notes }, names);
  const { notes, ...values } = reworded(told, protocolText(before), protocolText(asked));
  const description = [...names].reduce((text, [old, next]) => text.replace(old, () => next), sent.description);
  const ordered = Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, pathsOf(rows)]));
  return { data: ordered, values, description, notes: /** @type {string[]} */ (notes) };
}

/** Whether a row is of one expert: those of a cell are told apart by Python alone. @param {Datum} row */
const isOfExpert = ({ expert }) => typeof expert === "number" && expert >= 0;

/**
 * A row about two checkpoints, where the matrices have counts in both.
 * @param {Datum} row
 * @param {[string, string | number][]} compared
 * @param {Asked} asked
 * @param {Counts} counts
 * @param {number} reach of the colours
 */
function ofBoth(row, compared, { trim, estimator }, counts, reach) {
  const [before, after] = compared.map(([model, step]) => cellsOf({ ...row, model, step }, counts.layers));
  /** @type {[Fit, Fit][]} */
  const both = [];
  before.forEach((cell, i) => {
    const [from, to] = [cell, after[i]].map((one) => counts.fit(one, trim, estimator));
    if (from && to) both.push([from, to]);
  });
  return both.length ? onDifference(row, both, reach) : row;
}

/** How matrices are fitted, in words. @param {Pick<Asked, "trim" | "estimator">} asked */
export function protocolText({ trim, estimator }) {
  const [lower, upper] = trim.map((end) => Number((100 * end).toPrecision(10)));
  return `${estimator.replace("_", " ")}, trim ${lower}–${upper} %`;
}

/**
 * Titles and notes with other words.
 * @param {Record<string, unknown>} values
 * @param {string} before
 * @param {string} after
 */
function reworded(values, before, after) {
  const said = (/** @type {unknown} */ one) =>
    typeof one === "string" ? one.replace(before, after).replace(BAND, "") : one;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(said) : said(value),
    ]),
  );
}

/**
 * @param {Asked} asked
 * @param {Asked} before
 * @param {Counts} counts
 * @returns {(row: Datum) => Fit | null} gives the fit of a row, null where there is none to make
 */
function fitter(asked, before, counts) {
  /** @type {Map<string, Fit | null>} */
  const known = new Map();
  return (row) => {
    const cells = cellsOf(row, counts.layers).filter(counts.has);
    if (!cells.length) return null;
    const key = keyOf(cells[0]) + cells.length;
    let fit = known.get(key);
    if (fit === undefined) {
      fit = middle(cells.map((cell) => counts.fit(cell, asked.trim, asked.estimator)));
      known.set(key, fit);
    }
    return fit;
  };
}

/**
 * Numbers that lie evenly on both sides of the anchor, as the ends of colours do, go with it.
 * @param {Record<string, unknown>} values
 * @param {number} was
 * @param {number} is
 */
export function shifted(values, was, is) {
  const numbers = Object.values(values).flat().filter((one) => typeof one === "number");
  const moved = (/** @type {unknown} */ one) =>
    typeof one === "number" && numbers.some((other) => Math.abs(one + other - 2 * was) < NEAR)
      ? one + is - was
      : one;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(moved) : moved(value),
    ]),
  );
}

/**
 * Names of matrices and lines of the titles of their panels, as rows have them now.
 * @param {import("./alive.js").Data} before
 * @param {import("./alive.js").Data} after
 * @returns {Map<string, string>}
 */
function namesOf(before, after) {
  /** @type {Map<string, string>} */
  const names = new Map();
  for (const [name, rows] of Object.entries(before)) {
    rows.forEach((row, i) => {
      for (const key of ["matrix", "panel"]) {
        if (row[key] === after[name][i][key]) continue;
        const [old, next] = [row, after[name][i]].map((one) => String(one[key] ?? "").split("\n"));
        if (!names.has(old[0])) old.forEach((line, j) => names.set(line, next[j]));
      }
    });
  }
  return names;
}

/**
 * Scales and titles with other names.
 * @param {Record<string, unknown>} values
 * @param {Map<unknown, string>} names
 */
const renamed = (values, names) =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map((one) => names.get(one) ?? one) : (names.get(value) ?? value),
    ]),
  );

/**
 * In a Weibull plot, a row that says which matrix a name is: its points bear the name alone.
 * @param {import("./alive.js").Data} data
 * @returns {Map<unknown, Datum>}
 */
export const ownersOf = (data) =>
  new Map(
    Object.values(data)
      .flat()
      .filter((row) => "matrix" in row && cellOf(row))
      .map((row) => [row.matrix, row]),
  );

/** @param {Datum} row */
const isTrim = (row) => "low" in row && "high" in row && Object.keys(row).length === 2;

/** @param {Datum} row */
export const isAnchor = (row) => typeof row.words === "string" && row.words.includes("untrained Gaussian");

/** @param {Trim} trim */
const trimRow = ([low, high]) => ({
  low: ordinate(Math.max(low, 1e-4)),
  high: ordinate(Math.min(high, 1 - 1e-6)),
});
