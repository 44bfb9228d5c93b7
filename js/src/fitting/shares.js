/**
 * Fits from a table: the means of ln|w| in parts of equal weight. Within a part ln|w| is taken as
 * linear in the rank; k is off by some 1e-4 then.
 */

import { ordinate, prefixSum, squareSum } from "./ordinates.js";
import { censoredFit } from "./weibull.js";

/**
 * @typedef {object} Shares
 * @property {Float64Array} x mean of ln|w| in each part, less `origin`
 * @property {number} origin
 * @property {ArrayLike<number>} ends variance of ln|w| in the first part and in the last
 * @property {number} n weights
 */

const LEVELS = 2 ** 16 - 1; // of a mean
const LEAST = 100; // weights that are fitted
const MANY = 2 ** 20; // ranks, for sums that stand for integrals

/**
 * @param {ArrayLike<number>} means in levels
 * @param {number} low
 * @param {number} reach
 * @param {ArrayLike<number>} ends
 * @param {number} n
 * @returns {Shares}
 */
export function sharesOf(means, low, reach, ends, n) {
  const x = Float64Array.from(means, (level) => (level / LEVELS) * reach);
  return { x, origin: low, ends, n };
}

/**
 * The parts of a trim, which all matrices share: for each the share of the weights, where its
 * middle and its width lie in the part, and mean and variance of the ordinate.
 * @typedef {{ part: number, share: number, middle: number, width: number, y: number, yy: number,
 *   dy: number }} Piece
 */
let known = { key: "", pieces: /** @type {Piece[]} */ ([]) };

/**
 * @param {import("./weibull.js").Trim} trim
 * @param {number} number of parts
 */
function piecesOf(trim, number) {
  const key = `${trim} ${number}`;
  if (known.key !== key) {
    const pieces = [];
    for (let part = 0; part < number; part++) {
      const from = Math.max(trim[0], part / number);
      const to = Math.min(trim[1], (part + 1) / number);
      if (to - from > 1e-9) pieces.push(pieceOf(part, from, to, number));
    }
    known = { key, pieces };
  }
  return known.pieces;
}

/**
 * @param {number} part
 * @param {number} from
 * @param {number} to
 * @param {number} number
 * @returns {Piece}
 */
function pieceOf(part, from, to, number) {
  const [first, last] = [Math.round(from * MANY), Math.round(to * MANY)];
  const ranks = last - first;
  const y = (prefixSum(last, MANY) - prefixSum(first, MANY)) / ranks;
  const dy = ordinate((last - 0.5) / MANY) - ordinate((first + 0.5) / MANY);
  return {
    part,
    share: to - from,
    middle: ((from + to) / 2) * number - part - 0.5,
    width: (to - from) * number,
    y,
    yy: squareSum(first + 1, last, MANY) / ranks - y * y,
    dy,
  };
}

/**
 * @param {Shares} shares
 * @param {import("./weibull.js").Trim} trim
 * @param {import("./weibull.js").Estimator} estimator
 * @returns {import("./weibull.js").Fit}
 */
export function fitShares({ x, origin, ends, n }, trim, estimator) {
  const last = x.length - 1;
  const pieces = piecesOf(trim, x.length);
  const none = { k: Number.NaN, lam: Number.NaN, r2: Number.NaN };
  if (n < LEAST || !pieces.length) return none;
  let [m, sx, sy, sxx, sxy, syy] = [0, 0, 0, 0, 0, 0];
  /** @type {number[]} */
  const atoms = [];
  for (const { part, share, middle, width, y, yy, dy } of pieces) {
    const outer = part === 0 || part === last;
    const slope = (x[Math.min(part + 1, last)] - x[Math.max(part - 1, 0)]) / (outer ? 1 : 2);
    const at = x[part] + slope * middle;
    const spread = outer ? ends[part && 1] * width * width : (slope * width) ** 2 / 12;
    const together = outer ? Math.sqrt(spread * yy) : (slope * width * dy) / 12;
    m += share;
    sx += share * at;
    sy += share * y;
    sxx += share * (at * at + spread);
    sxy += share * (at * y + together);
    syy += share * (y * y + yy);
    atoms.push(n * share, at, spread, 0, 1.8 * spread * spread);
  }
  sxx -= (sx * sx) / m;
  sxy -= (sx * sy) / m;
  syy -= (sy * sy) / m;
  if (!(sxx > 0)) return none;
  let k = sxy / sxx;
  let b = (sx - sy / k) / m;
  if (estimator === "maximum_likelihood") {
    const [start, stop] = [atoms[1], atoms[atoms.length - 4]].map((at, end) => {
      const spread = Math.sqrt(3 * atoms[end ? atoms.length - 3 : 2]);
      return at + (end ? spread : -spread);
    });
    const censored = { low: n * trim[0], high: n * (1 - trim[1]), start, stop };
    const found = censoredFit(atoms, censored, k, b);
    if (!found) return none;
    [k, b] = found;
  }
  return { k, lam: Math.exp(b + origin), r2: (sxy * sxy) / (sxx * syy) };
}
