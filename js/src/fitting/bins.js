/**
 * Counts of one matrix, prepared once so that any trim is fitted from a few of its bins: running
 * sums at every eighth of an octave, and the moments of ln|w| in each.
 */

import { prefixSum } from "./ordinates.js";

/**
 * @typedef {object} Bins
 * @property {Float64Array} x ln|w| of each bin, less `origin`
 * @property {ArrayLike<number>} counts weights in each bin
 * @property {number} n weights
 * @property {number} origin
 * @property {Int32Array} starts first bin of each group; the last is the end
 * @property {Float64Array} sums running sums before each group: weights, x, x², x y
 * @property {Float64Array} moments mean of x in each group, and central moments 2, 3 and 4
 */

const LABELS_AN_OCTAVE = 1024;
const GROUP = LABELS_AN_OCTAVE / 8; // labels of a group
const BIAS = 1023; // of the exponent of a number
const [LOWER, MIDDLE] = [0, 2].map((half) =>
  Float64Array.from({ length: LABELS_AN_OCTAVE }, (_, i) => Math.log1p((i + half) / LABELS_AN_OCTAVE)),
);
export const SUMS = 4;
export const MOMENTS = 4;

/**
 * ln|w| of a bin: of its value, or of the middle of its interval.
 * @param {number} label
 * @param {boolean} exact whether a bin is one value
 */
export function positionOf(label, exact) {
  const octave = label >> 10;
  const place = label & (LABELS_AN_OCTAVE - 1);
  if (octave === 0) return Math.log(place + (exact ? 0 : 2)) - (BIAS + 9) * Math.LN2;
  return (exact ? LOWER : MIDDLE)[place] + (octave - BIAS) * Math.LN2;
}

/**
 * @param {ArrayLike<number>} labels of the occupied bins, ascending
 * @param {ArrayLike<number>} counts
 * @param {boolean} exact
 * @returns {Bins}
 */
export function binsOf(labels, counts, exact) {
  const size = labels.length;
  const origin = size ? positionOf(labels[size >> 1], exact) : 0;
  const x = new Float64Array(size);
  const starts = [];
  let n = 0;
  for (let j = 0; j < size; j++) {
    x[j] = positionOf(labels[j], exact) - origin;
    n += counts[j];
    if (!j || Math.floor(labels[j] / GROUP) !== Math.floor(labels[j - 1] / GROUP)) starts.push(j);
  }
  const bins = { x, counts, n, origin, starts: Int32Array.from([...starts, size]) };
  return { ...bins, ...sumsOf(bins) };
}

/**
 * @param {Pick<Bins, "x" | "counts" | "n" | "starts">} bins
 * @returns {Pick<Bins, "sums" | "moments">}
 */
function sumsOf({ x, counts, n, starts }) {
  const groups = starts.length - 1;
  const sums = new Float64Array(SUMS * groups);
  const moments = new Float64Array(MOMENTS * groups);
  let [seen, sx, sxx, sxy] = [0, 0, 0, 0];
  let before = n ? prefixSum(0, n) : 0;
  for (let group = 0; group < groups; group++) {
    sums.set([seen, sx, sxx, sxy], SUMS * group);
    const [start, stop] = [starts[group], starts[group + 1]];
    const [mass, first] = [seen, sx];
    for (let j = start; j < stop; j++) {
      const [c, at] = [counts[j], x[j]];
      seen += c;
      const here = prefixSum(seen, n);
      sx += c * at;
      sxx += c * at * at;
      sxy += at * (here - before);
      before = here;
    }
    moments.set(momentsOf(x, counts, start, stop, (sx - first) / (seen - mass)), MOMENTS * group);
  }
  return { sums, moments };
}

/**
 * Mean and central moments of some bins.
 * @param {Float64Array} x
 * @param {ArrayLike<number>} counts
 * @param {number} start
 * @param {number} stop
 * @param {number} mean
 */
function momentsOf(x, counts, start, stop, mean) {
  let [mass, second, third, fourth] = [0, 0, 0, 0];
  for (let j = start; j < stop; j++) {
    const d = x[j] - mean;
    const square = counts[j] * d * d;
    mass += counts[j];
    second += square;
    third += square * d;
    fourth += square * d * d;
  }
  return [mean, second / mass, third / mass, fourth / mass];
}

/**
 * The group that holds a rank, counted from 0 weights on.
 * @param {Bins} bins
 * @param {number} rank
 */
export function groupOf({ sums, starts }, rank) {
  let [low, high] = [0, starts.length - 2];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sums[SUMS * middle] < rank) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Sums over the first ranks: weights, x, x², x y, y (up to a constant), and the bin with the last.
 * @param {Bins} bins
 * @param {number} rank
 */
export function sumsUpTo(bins, rank) {
  const { x, counts, n, starts, sums } = bins;
  const group = groupOf(bins, rank);
  const at = SUMS * group;
  let [seen, sx, sxx, sxy] = [sums[at], sums[at + 1], sums[at + 2], sums[at + 3]];
  let before = prefixSum(seen, n);
  let j = starts[group];
  let bin = j;
  for (; seen < rank && j < starts[group + 1]; j++) {
    const mass = Math.min(counts[j], rank - seen);
    seen += mass;
    const here = prefixSum(seen, n);
    sx += mass * x[j];
    sxx += mass * x[j] * x[j];
    sxy += x[j] * (here - before);
    before = here;
    bin = j;
  }
  return { sx, sxx, sxy, sy: before, bin };
}

/**
 * Magnitudes, the share of the weights below the middle of each bin, and how many weights.
 * @param {Bins} bins
 */
export function curveOf({ x, counts, n, origin }) {
  let below = 0;
  const share = Array.from(x, (_, j) => {
    below += counts[j];
    return (below - counts[j] / 2) / n;
  });
  return { magnitude: Array.from(x, (at) => Math.exp(at + origin)), share, n };
}
