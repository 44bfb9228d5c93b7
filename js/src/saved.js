/** What a saved page says in one state: which matrices are looked at, their numbers, and words. */

import { keyOf } from "./cells.js";
import { fill, grouped } from "./dom.js";
import { gaussianAnchor } from "./fitting/anchor.js";
import { protocolText } from "./redrawn.js";
import { standingOut } from "./sieve.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").Frame} Frame
 * @typedef {import("./types").Matrices} Matrices
 * @typedef {import("./sieve.js").Sifted} Sifted
 * @typedef {Pick<ReturnType<typeof import("./fitting/counts.js").countsOf>, "fit" | "has" | "exact">} Counts
 * @typedef {{ cells: Cell[], own: boolean }} Looked matrices, and whether Python drew them
 */

/**
 * The matrices that are looked at: the one that was clicked, those that Python drew, or else the
 * one that stands out.
 * @param {Frame} frame
 * @param {Sifted} sift
 * @param {Cell | null} clicked
 * @param {Datum[]} rows
 * @param {Asked} drawn
 * @returns {Looked}
 */
export function lookedAt({ chosen }, sift, clicked, rows, drawn) {
  const cell = clicked && sift.nearest(clicked);
  if (!cell && chosen.length && chosen.every(sift.has)) return { cells: chosen, own: true };
  const anchor = gaussianAnchor(drawn.trim, drawn.estimator).k;
  const found = cell ?? chosen.find(sift.has) ?? standingOut(rows.filter(sift.passes), anchor);
  if (!found) return { cells: [], own: false };
  return { cells: [found], own: chosen.length === 1 && keyOf(chosen[0]) === keyOf(found) };
}

/** How numbers that depend on the protocol are written. @type {Record<string, (fit: import("./fitting/weibull.js").Fit) => string>} */
const WRITTEN = {
  k: ({ k }) => k.toFixed(4),
  λ: ({ lam }) => String(Number(lam.toPrecision(4))),
  "r²": ({ r2 }) => r2.toFixed(4),
};

/**
 * Numbers of one matrix that has no row of its own in the map, from its counts.
 * @param {Matrices} matrices
 * @param {Cell} cell
 * @param {Pick<Counts, "fit">} counts
 * @param {Asked} asked
 * @returns {Matrices}
 */
export function countedNumbers(matrices, cell, counts, { trim, estimator }) {
  const fit = counts.fit(cell, trim, estimator);
  if (matrices.rows.length || !fit) return matrices;
  return { ...matrices, rows: Object.entries(WRITTEN).map(([label, write]) => [label, write(fit)]) };
}

/**
 * Numbers of matrices by another protocol; errors, which the page cannot make, are left out.
 * @param {Matrices} matrices
 * @param {Cell[]} cells
 * @param {Pick<Counts, "fit">} counts
 * @param {Asked} asked
 * @returns {Matrices}
 */
export function refittedNumbers(matrices, cells, counts, { trim, estimator }) {
  const fits = cells.map((cell) => counts.fit(cell, trim, estimator));
  const rows = matrices.rows.map(([label, ...values]) => [
    label,
    ...values.map((old, i) => {
      const fit = fits[i];
      return fit && WRITTEN[label] ? WRITTEN[label](fit) : old;
    }),
  ]);
  return { ...matrices, rows };
}

/**
 * @param {import("./types").Saved} saved
 * @param {{ sift: Sifted, both: ReturnType<typeof import("./sieve.js").bothOf> | null, total: number, asked: Asked, fitting: Counts | null, varies: boolean, waits: boolean }} seen
 *   `fitting` are the counts, where some of what is shown has any; it `waits` until they are there
 * @param {Looked} looked
 * @param {Matrices | null} matrices
 * @returns {import("./types").Words}
 */
export function wordsOf(saved, seen, looked, matrices) {
  const { texts } = saved.controls;
  const { sift, both, total, asked } = seen;
  const number = grouped((both ?? sift).cells.length);
  const counted = { number, total: grouped(total), protocol: protocolText(asked) };
  return {
    count: fill(both ? texts.page_compared : texts.page_count, counted),
    left_out: [saved.note, staleText(saved, seen)].filter(Boolean).join(" · "),
    spoken: "",
    no_refit: seen.fitting || seen.waits ? "" : saved.stays || texts.page_no_counts,
    empty: whyEmpty(saved, sift),
    code: "",
    call: "",
    chosen: looked.cells,
    matrices,
    counts: sift.counts,
    drawn: asked,
  };
}

/**
 * How many matrices stay as they were saved, for want of counts.
 * @param {import("./types").Saved} saved
 * @param {{ sift: Sifted, both: { cells: Cell[] } | null, fitting: Counts | null, varies: boolean }} seen
 */
function staleText({ controls, drawn }, { sift, both, fitting, varies }) {
  const number = fitting && varies ? (both ?? sift).cells.filter((cell) => !fitting.has(cell)).length : 0;
  const protocol = protocolText(drawn);
  return number ? fill(controls.texts.page_stale, { number: grouped(number), protocol }) : "";
}

/**
 * @param {import("./types").Saved} saved
 * @param {Sifted} sift
 */
function whyEmpty({ controls: { texts, facets } }, { cells, empty }) {
  if (cells.length) return [];
  const titles = new Map([["layers", texts.layers], ["step", texts.step]]);
  for (const { name, title } of facets) titles.set(name, title);
  const alone = empty.map((name) => fill(texts.excludes, { title: titles.get(name) ?? name }));
  return alone.length ? alone : [texts.none_pass];
}
