/** Which matrices of a saved page pass its filters, and charts of these alone. */

import { cellOf, keyOf } from "./cells.js";
import { cellsOf } from "./redrawn.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").Facet} Facet
 * @typedef {{ labels: (string | number)[][], places: number[][], facets: Record<string, number[]> }} Held
 *   labels along model, layer, component and step; where each matrix is along them; and which
 *   label of each facet it has
 * @typedef {{ filters: Record<string, string[]>, layers: [number, number] | null, step: number | null }} Asked
 *   null keeps all
 * @typedef {{ passes(row: Datum): boolean, has(cell: Cell): boolean, cells: Cell[], empty: string[],
 *   counts: Record<string, number[]>, nearest(cell: Cell): Cell | null }} Sifted `empty` names the
 *   filters that nothing passes; `nearest` is the matrix of a cell, or that of the next layer where
 *   a median over layers has none
 */

/**
 * @param {Held} held
 * @param {Facet[]} facets
 */
export function buildSieve({ labels, places, facets: codes }, facets) {
  const cells = places[0].map((_, i) => /** @type {Cell} */ (labels.map((some, d) => some[places[d][i]])));
  const numbers = new Map(cells.map((cell, i) => [keyOf(cell), i]));
  const layers = /** @type {number[]} */ (labels[1]);

  /** @param {Asked} asked @returns {Map<string, (i: number) => boolean>} by filter */
  function tests({ filters, layers: ends, step }) {
    /** @type {[string, (i: number) => boolean][]} */
    const found = facets.filter(({ name }) => filters[name]).map(({ name, values }) => {
      const kept = values.map((value) => filters[name].includes(value));
      return [name, (i) => kept[codes[name][i]]];
    });
    if (ends) found.push(["layers", (i) => ends[0] <= Number(cells[i][1]) && Number(cells[i][1]) <= ends[1]]);
    if (step !== null) found.push(["step", (i) => cells[i][3] === step]);
    return new Map(found);
  }

  return {
    total: cells.length,
    /** @param {Asked} asked @returns {Sifted} */
    sift(asked) {
      const all = tests(asked);
      /** @param {string} [without] */
      const passing = (without) => {
        const others = [...all].filter(([name]) => name !== without).map(([, test]) => test);
        return cells.map((_, i) => others.every((test) => test(i)));
      };
      const kept = passing();
      const counts = facets.map(({ name, values }) => {
        const sums = values.map(() => 0);
        passing(name).forEach((passes, i) => {
          if (passes) sums[codes[name][i]] += 1;
        });
        return [name, sums];
      });
      return {
        counts: Object.fromEntries(counts),
        cells: cells.filter((_, i) => kept[i]),
        empty: kept.includes(true) ? [] : [...all].filter(([, test]) => !cells.some((_, i) => test(i))).map(([name]) => name),
        has: (cell) => kept[numbers.get(keyOf(cell)) ?? -1] === true,
        nearest([model, layer, component, step]) {
          const far = (/** @type {Cell} */ cell) => Math.abs(Number(cell[1]) - Number(layer));
          const same = (/** @type {Cell} */ cell) => cell[0] === model && cell[2] === component && cell[3] === step;
          const like = cells.filter((cell, i) => kept[i] && same(cell));
          const own = like.find((cell) => cell[1] === layer);
          if (own || !like.length || Number.isInteger(layer) || typeof layer !== "number") return own ?? null;
          return like.reduce((best, cell) => (far(cell) < far(best) ? cell : best));
        },
        passes(row) {
          const own = cellsOf(row, layers).map((cell) => numbers.get(keyOf(cell)));
          const known = own.filter((i) => i !== undefined);
          return !known.length || known.some((i) => kept[i]);
        },
      };
    },
  };
}

/**
 * Which matrices of two checkpoints are compared, whatever the filter of models says.
 * @param {[string, string | number][]} pairs model and step of each
 * @param {ReturnType<typeof buildSieve>} sieve
 * @param {Pick<Asked, "filters" | "layers">} asked
 */
export function bothOf(pairs, sieve, { filters: { model: _models, ...filters }, layers }) {
  const { cells, passes } = sieve.sift({ filters, layers, step: null });
  return {
    cells: cells.filter((cell) => pairs.some(([model, step]) => cell[0] === model && cell[3] === step)),
    /** A row of a difference, which both must have. @param {Datum} row */
    passes: (row) => pairs.every(([model, step]) => passes({ ...row, model, step })),
  };
}

/**
 * A chart of fewer rows, whose axes and legends name what is left.
 * @param {any} spec
 * @param {(row: Datum) => boolean} passes
 */
export function sifted(spec, passes) {
  const datasets = Object.fromEntries(
    Object.entries(/** @type {Record<string, Datum[]>} */ (spec.datasets)).map(([name, rows]) => [
      name,
      rows.filter((row) => !("layer" in row && "component" in row) || passes(row)),
    ]),
  );
  const [before, after] = [spec.datasets, datasets].map((one) => Object.values(one).flat().length);
  return before === after ? spec : holding(spec, datasets);
}

/**
 * A chart of other rows, whose axes and legends name what is in them.
 * @param {any} spec
 * @param {Record<string, Datum[]>} datasets
 */
export function holding(spec, datasets) {
  const after = Object.values(datasets).flat();
  /** @type {Map<string, Set<unknown>>} */
  const known = new Map();
  /** @param {string} field */
  const left = (field) => {
    const found = known.get(field) ?? new Set(after.map((row) => row[field]));
    known.set(field, found);
    return found;
  };
  return { ...narrowed({ ...spec, datasets: {} }, left), datasets };
}

/**
 * @param {any} node
 * @param {(field: string) => Set<unknown>} left values of a column that are left
 * @returns {any}
 */
function narrowed(node, left) {
  if (Array.isArray(node)) return node.map((child) => narrowed(child, left));
  if (!node || typeof node !== "object") return node;
  const next = Object.fromEntries(Object.entries(node).map(([key, child]) => [key, narrowed(child, left)]));
  const { domain, range } = next.scale ?? {};
  if (typeof next.field !== "string" || next.type === "quantitative" || !Array.isArray(domain)) return next;
  const kept = domain.map((label) => left(next.field).has(label));
  /** @param {unknown[]} list */
  const cut = (list) => list.filter((_, i) => kept[i]);
  next.scale = { ...next.scale, domain: cut(domain) };
  if (Array.isArray(range) && range.length === domain.length) next.scale.range = cut(range);
  return next;
}

/**
 * The matrix whose k is surely farthest from the anchor: its distance less two standard errors.
 * @param {Datum[]} rows
 * @param {number} anchor
 * @returns {Cell | null}
 */
export function standingOut(rows, anchor) {
  /** @type {Cell | null} */
  let found = null;
  let most = Number.NEGATIVE_INFINITY;
  for (const row of rows) {
    const cell = cellOf(row);
    if (!cell || typeof row.k !== "number" || "matrix" in row) continue;
    const far = Math.abs(row.k - anchor) - 2 * Number(row.k_se ?? 0);
    if (far > most) [found, most] = [cell, far];
  }
  return found;
}
