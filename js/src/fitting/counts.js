/** Counts of the matrices on the page, as weibnb/explorer/page_counts.py packs them. */

import { binsOf, curveOf } from "./bins.js";
import { median } from "./quantiles.js";
import { fitShares, sharesOf } from "./shares.js";
import { fitWeibull } from "./weibull.js";

/**
 * @typedef {import("../types").Cell} Cell
 * @typedef {import("./weibull.js").Fit} Fit
 * @typedef {import("./weibull.js").Trim} Trim
 * @typedef {import("./weibull.js").Estimator} Estimator
 * @typedef {(trim: Trim, estimator: Estimator) => Fit} Matrix fits it
 * @typedef {{ kind: string, dims: Record<string, (string | number)[]>, dtypes: string[],
 *   arrays: [string, string, number][] }} Header
 */

/** @param {string} type @param {number} size @returns {Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array} */
function room(type, size) {
  if (type === "u1") return new Uint8Array(size);
  if (type === "u2") return new Uint16Array(size);
  if (type === "u4") return new Uint32Array(size);
  return type === "f4" ? new Float32Array(size) : new Float64Array(size);
}

/**
 * Arrays that lie one after the other, each by planes of its bytes, the lowest first.
 * @param {[string, string, number][]} described
 * @param {Uint8Array} bytes
 */
export function arraysOf(described, bytes) {
  /** @type {Record<string, ReturnType<typeof room>>} */
  const found = {};
  let at = 0;
  for (const [name, type, size] of described) {
    const width = Number(type.slice(1));
    const array = room(type, size);
    if (type === "u8") {
      for (let plane = 0; plane < width; plane++) {
        const weight = 256 ** plane;
        for (let i = 0; i < size; i++) array[i] += weight * bytes[at + plane * size + i];
      }
    } else {
      const own = new Uint8Array(array.buffer);
      for (let plane = 0; plane < width; plane++) {
        for (let i = 0; i < size; i++) own[width * i + plane] = bytes[at + plane * size + i];
      }
    }
    found[name] = array;
    at += width * size;
  }
  return found;
}

/**
 * Undo what zlib did.
 * @param {BufferSource} packed
 */
export async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Fits by cell: of several matrices, the experts of a cell, the median.
 * @param {Header} header
 * @param {Uint8Array} bytes
 */
export function countsOf({ kind, dims, dtypes, arrays }, bytes) {
  const held = arraysOf(arrays, bytes);
  const made = kind === "bins" ? ofBins(held) : ofShares(held);
  const [matrices, curves] = [made.map((one) => one.fit), made.map((one) => one.curve)];
  /** @type {Map<number, Matrix[]>} */
  const cells = new Map();
  /** @type {Map<number, number>} */
  const first = new Map();
  matrices.forEach((matrix, i) => {
    const place = held.places[i];
    if (!first.has(place)) first.set(place, i);
    const own = cells.get(place);
    if (own) own.push(matrix);
    else cells.set(place, [matrix]);
  });
  const names = ["model", "layer", "component", "step"];
  const orders = names.map((name) => new Map(dims[name].map((label, i) => [label, i])));
  return {
    exact: kind === "bins",
    layers: /** @type {number[]} */ (dims.layer),
    /** Shape and storage format of a matrix. @param {Cell} cell */
    about(cell) {
      const at = first.get(placeOf(cell, orders));
      if (at === undefined) return "";
      const shape = held.rows[at] ? `${held.rows[at]} × ${held.cols[at]} ` : "";
      return shape + dtypes[held.dtypes[at]];
    },
    /** k by step. @param {Cell} cell @param {Trim} trim @param {Estimator} estimator */
    alongSteps(cell, trim, estimator) {
      const points = dims.step.map((step) => {
        const fit = this.fit([cell[0], cell[1], cell[2], step], trim, estimator);
        return /** @type {[number, number]} */ ([Number(step), fit?.k ?? Number.NaN]);
      });
      return points.filter(([, k]) => !Number.isNaN(k));
    },
    number: matrices.length,
    /** @param {Cell} cell */
    has: (cell) => cells.has(placeOf(cell, orders)),
    /** @param {Cell} cell @param {Trim} trim @param {Estimator} estimator @returns {Fit | null} */
    fit: (cell, trim, estimator) =>
      middle(cells.get(placeOf(cell, orders))?.map((matrix) => matrix(trim, estimator)) ?? []),
    /** Magnitudes of a matrix, the share of the weights below each, and how many weights. @param {Cell} cell */
    curve(cell) {
      const at = first.get(placeOf(cell, orders));
      return at === undefined ? null : curves[at]();
    },
    /** Make what is made once of each matrix. @param {number} i */
    prepare: (i) => matrices[i]([0.1, 0.9], "rank_regression"),
  };
}

/**
 * @param {Cell} cell
 * @param {Map<string | number, number>[]} orders
 */
function placeOf(cell, orders) {
  let place = 0;
  for (const [i, order] of orders.entries()) {
    const at = order.get(cell[i]);
    if (at === undefined) return -1;
    place = place * order.size + at;
  }
  return place;
}

/**
 * The median of each estimate, of those that have it; null where there are none.
 * @param {(Fit | null)[]} several
 * @returns {Fit | null}
 */
export function middle(several) {
  const fits = several.filter((fit) => fit !== null);
  if (fits.length < 2) return fits[0] ?? null;
  return {
    k: median(fits.map((fit) => fit.k)),
    lam: median(fits.map((fit) => fit.lam)),
    r2: median(fits.map((fit) => fit.r2)),
  };
}

/**
 * @typedef {{ fit: Matrix, curve(): { magnitude: number[], share: number[], n: number } | null }} Held
 */

/**
 * @param {Record<string, ReturnType<typeof room>>} held
 * @returns {Held[]}
 */
function ofBins({ exact, sizes, labels, counts }) {
  let at = 0;
  return Array.from(sizes, (size, i) => {
    const start = at;
    at += size;
    /** @type {import("./bins.js").Bins | undefined} */
    let bins;
    const made = () => {
      if (bins) return bins;
      const own = new Uint32Array(size);
      let label = 0;
      for (let j = 0; j < size; j++) own[j] = label += labels[start + j];
      bins = binsOf(own, counts.subarray(start, start + size), Boolean(exact[i]));
      return bins;
    };
    return {
      fit: (trim, estimator) => fitWeibull(made(), trim, estimator),
      curve: () => curveOf(made()),
    };
  });
}

/**
 * @param {Record<string, ReturnType<typeof room>>} held
 * @returns {Held[]}
 */
function ofShares({ n, low, reach, ends, means }) {
  const number = means.length / n.length;
  return Array.from(n, (weights, i) => {
    const own = means.subarray(number * i, number * (i + 1));
    const shares = sharesOf(own, low[i], reach[i], ends.subarray(2 * i, 2 * i + 2), weights);
    return { fit: (trim, estimator) => fitShares(shares, trim, estimator), curve: () => null };
  });
}
