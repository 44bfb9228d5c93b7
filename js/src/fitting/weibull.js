/** Weibull fits of counts in the page: the formulas of weibnb/fitting/kernels.py. */

import { groupOf, MOMENTS, SUMS, sumsUpTo } from "./bins.js";
import { squareSum } from "./ordinates.js";

/**
 * @typedef {import("./bins.js").Bins} Bins
 * @typedef {{ k: number, lam: number, r2: number }} Fit
 * @typedef {"rank_regression" | "maximum_likelihood"} Estimator
 * @typedef {[number, number]} Trim
 */

const LEAST = 100; // weights that are fitted
const STEPS = 60; // of Newton's method
const SMOOTH = 0.25; // k times the width of a group below which its moments do for it
const WIDEST = 0.118; // of a group, in ln|w|
/** @type {Fit} */
const NONE = Object.freeze({ k: Number.NaN, lam: Number.NaN, r2: Number.NaN });

/**
 * First and last rank whose plotting position (rank - 1/2)/n lies in the trim.
 * @param {number} n
 * @param {Trim} trim
 */
export function trimRanks(n, [lower, upper]) {
  let first = Math.max(Math.ceil(lower * n + 0.5), 1);
  while (first > 1 && (first - 1.5) / n >= lower) first -= 1;
  while ((first - 0.5) / n < lower) first += 1;
  let last = Math.min(Math.floor(upper * n + 0.5), n);
  while (last < n && (last + 0.5) / n <= upper) last += 1;
  while ((last - 0.5) / n > upper) last -= 1;
  return [first, last];
}

/** Sums of squares that were asked for last: matrices of one size share them. */
const squares = new Map();

/**
 * @param {number} first
 * @param {number} last
 * @param {number} n
 * @returns {number}
 */
function knownSquareSum(first, last, n) {
  const key = `${first} ${last} ${n}`;
  let sum = squares.get(key);
  if (sum === undefined) {
    if (squares.size > 2000) squares.clear();
    sum = squareSum(first, last, n);
    squares.set(key, sum);
  }
  return sum;
}

/**
 * Fit one matrix; NaN where it cannot be fitted.
 * @param {Bins} bins
 * @param {Trim} trim
 * @param {Estimator} estimator
 * @returns {Fit}
 */
export function fitWeibull(bins, trim, estimator) {
  const { x, n, origin } = bins;
  if (n < LEAST || x.length < 2) return NONE;
  const [first, last] = trimRanks(n, trim);
  const m = last - first + 1;
  if (m < 1) return NONE;
  const [below, upTo] = [sumsUpTo(bins, first - 1), sumsUpTo(bins, last)];
  const begin = binOf(bins, first);
  if (begin === upTo.bin) return NONE;
  const [sx, sy] = [upTo.sx - below.sx, upTo.sy - below.sy];
  const sxy = upTo.sxy - below.sxy - (sx * sy) / m;
  const sxx = upTo.sxx - below.sxx - (sx * sx) / m;
  const syy = knownSquareSum(first, last, n) - (sy * sy) / m;
  let k = sxy / sxx;
  let b = (sx - sy / k) / m;
  if (estimator === "maximum_likelihood") {
    const ends = { low: first - 1, high: n - last, start: x[begin], stop: x[upTo.bin] };
    const found = censoredFit(atomsOf(bins, first, last, k), ends, k, b);
    if (!found) return NONE;
    [k, b] = found;
  }
  return { k, lam: Math.exp(b + origin), r2: (sxy * sxy) / (sxx * syy) };
}

/**
 * The bin that holds a rank.
 * @param {Bins} bins
 * @param {number} rank
 */
function binOf(bins, rank) {
  const group = groupOf(bins, rank);
  let j = bins.starts[group];
  let seen = bins.sums[SUMS * group] + bins.counts[j];
  while (seen < rank) {
    j += 1;
    seen += bins.counts[j];
  }
  return j;
}

/**
 * What the likelihood sums over, five numbers each: weights, x, and the moments of x around it.
 * Whole groups stand for their bins where these lie close enough.
 * @param {Bins} bins
 * @param {number} first
 * @param {number} last
 * @param {number} k
 */
function atomsOf({ x, counts, starts, sums, moments, n }, first, last, k) {
  /** @type {number[]} */
  const atoms = [];
  const smooth = k * WIDEST < SMOOTH;
  for (let group = 0; group < starts.length - 1; group++) {
    const from = sums[SUMS * group];
    const to = group + 2 < starts.length ? sums[SUMS * (group + 1)] : n;
    if (to < first) continue;
    if (from >= last) break;
    if (smooth && from >= first - 1 && to <= last) {
      atoms.push(to - from);
      for (let i = 0; i < MOMENTS; i++) atoms.push(moments[MOMENTS * group + i]);
      continue;
    }
    let seen = from;
    for (let j = starts[group]; j < starts[group + 1]; j++) {
      const mass = Math.min(seen + counts[j], last) - Math.max(seen, first - 1);
      seen += counts[j];
      if (mass > 0) atoms.push(mass, x[j], 0, 0, 0);
    }
  }
  return atoms;
}

/**
 * Maximise the likelihood by Newton's method from k and b = ln λ.
 * @param {number[]} atoms
 * @param {{ low: number, high: number, start: number, stop: number }} ends weights that are
 * censored below and above, and where
 * @param {number} k
 * @param {number} b
 * @returns {[number, number] | null} null where it has no maximum
 */
export function censoredFit(atoms, ends, k, b) {
  for (let turn = 0, converged = false; turn < STEPS; turn++) {
    const [s1, s2, h11, h12, h22] = slopes(atoms, ends, k, b);
    const determinant = h11 * h22 - h12 * h12;
    if (!(determinant > 0)) return null;
    if (converged) return [k, b];
    const stepK = -(h22 * s1 - h12 * s2) / determinant;
    const stepB = -(h11 * s2 - h12 * s1) / determinant;
    const damp = Math.min(
      1,
      (0.5 * k) / Math.max(Math.abs(stepK), 1e-300),
      1 / Math.max(Math.abs(stepB), 1e-300),
    );
    k += damp * stepK;
    b += damp * stepB;
    converged = Math.abs(stepK) < 1e-12 * k && Math.abs(stepB) < 1e-12;
  }
  return null;
}

/**
 * First and second derivatives of the likelihood.
 * @param {number[]} atoms
 * @param {{ low: number, high: number, start: number, stop: number }} ends
 * @param {number} k
 * @param {number} b
 */
function slopes(atoms, { low, high, start, stop }, k, b) {
  let [mass, sd, z0, z1, z2] = [0, 0, 0, 0, 0]; // sums of 1, d, z, z d, z d², with z = exp(k d)
  for (let i = 0; i < atoms.length; i += 5) {
    const [g, m2, m3, m4] = [atoms[i], atoms[i + 2], atoms[i + 3], atoms[i + 4]];
    const d = atoms[i + 1] - b;
    const z = g * Math.exp(k * d);
    // the mean of exp(k (x - mean)) and its derivatives by k
    const p = 1 + k * k * (m2 / 2 + k * (m3 / 6 + (k * m4) / 24));
    const p1 = k * (m2 + k * (m3 / 2 + (k * m4) / 6));
    const p2 = m2 + k * (m3 + (k * m4) / 2);
    mass += g;
    sd += g * d;
    z0 += z * p;
    z1 += z * (d * p + p1);
    z2 += z * (d * d * p + 2 * d * p1 + p2);
  }
  let s1 = mass / k + sd - z1;
  let s2 = k * (z0 - mass);
  let h11 = -mass / (k * k) - z2;
  let h12 = k * z1 + z0 - mass;
  let h22 = -k * k * z0;
  if (low > 0) {
    const d = start - b;
    const z = Math.exp(k * d);
    const r = 1 / Math.expm1(z);
    const curve = -r * (1 + r);
    s1 += low * r * z * d;
    s2 -= low * r * k * z;
    h11 += low * (curve * (z * d) ** 2 + r * z * d * d);
    h12 += low * (-curve * k * z * z * d - r * (k * z * d + z));
    h22 += low * (curve * (k * z) ** 2 + r * k * k * z);
  }
  if (high > 0) {
    const d = stop - b;
    const z = Math.exp(k * d);
    s1 -= high * z * d;
    s2 += high * k * z;
    h11 -= high * z * d * d;
    h12 += high * (k * z * d + z);
    h22 -= high * k * k * z;
  }
  return [s1, s2, h11, h12, h22];
}
