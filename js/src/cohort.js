/**
 * Medians of the models of a saved page among the published entries, and which entry is nearest: of
 * the matrices that are left, by the rules of weibnb/diagnostics/bands.py and cohorts.py.
 */

import { cellOf } from "./cells.js";
import { fill } from "./dom.js";
import { gaussianAnchor } from "./fitting/anchor.js";
import { quantile } from "./fitting/quantiles.js";
import { besideEntries } from "./published.js";
import { isAnchor, protocolText } from "./redrawn.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Datum} Datum
 * @typedef {{ component: string, k: number, se: number }} Median
 * @typedef {{ chart: "cohort", spec: any, matrices: string, table: string, selects: string[], close: number,
 *   note: string, most: number, published: string, alone: [string, string] }} Cohort
 * @typedef {Record<string, string>} Texts
 * @typedef {{ name: string, distance: number, z: Map<string, number>, blind: boolean }} Entry
 */

const LONGEST = 48; // letters of a name in a note

/**
 * Median over layers with its standard error: that of the one or two in the middle, or how far
 * others of their kind would move it.
 * @param {{ k: number, error: number }[]} matrices
 */
export function medianOf(matrices) {
  const sorted = [...matrices].sort((a, b) => a.k - b.k);
  const [last, values] = [sorted.length - 1, sorted.map(({ k }) => k)];
  const [one, two] = [sorted[last >> 1], sorted[(last + 1) >> 1]];
  const sampling = one === two ? one.error : Math.hypot(one.error, two.error) / 2;
  const reach = Math.sqrt(sorted.length) / 2;
  const [low, high] = [-reach, reach].map((more) => Math.min(Math.max(last / 2 + more, 0), last));
  const spread = last ? (quantile(values, high / last) - quantile(values, low / last)) / 2 : Number.NaN;
  const known = [sampling, spread].filter((error) => !Number.isNaN(error));
  return { k: quantile(values, 0.5), se: known.length ? Math.max(...known) : Number.NaN };
}

/** @param {Iterable<number>} terms */
const root = (terms) => Math.hypot(...terms);

/**
 * Distances of a model from the published entries that share a component with it, nearest first.
 * @param {Map<string, number>} own k by component
 * @param {Datum[]} published
 * @param {string[]} selecting
 */
function ranked(own, published, selecting) {
  /** @type {Map<string, number>} */
  const spread = new Map();
  for (const component of own.keys()) {
    const ks = published.filter((row) => row.component === component).map((row) => Number(row.k));
    const mean = ks.reduce((sum, k) => sum + k, 0) / ks.length;
    const deviation = root(ks.map((k) => k - mean)) / Math.sqrt(ks.length - 1);
    if (deviation > 0) spread.set(component, deviation);
  }
  /** @type {Map<string, Entry>} */
  const found = new Map();
  for (const row of published) {
    const [name, component] = [String(row.model), String(row.component)];
    const unit = spread.get(component);
    if (!unit) continue;
    const entry = found.get(name) ?? { name, distance: 0, z: new Map(), blind: true };
    found.set(name, entry);
    entry.z.set(component, (/** @type {number} */ (own.get(component)) - Number(row.k)) / unit);
    if (selecting.includes(component)) entry.blind = false;
  }
  const entries = [...found.values()];
  for (const entry of entries) entry.distance = root(entry.z.values()) / Math.sqrt(entry.z.size);
  entries.sort((a, b) => Number(a.blind) - Number(b.blind) || a.distance - b.distance);
  return { entries, spread };
}

/**
 * The nearest published entry in words; a published one is not its own neighbour.
 * @param {string} model
 * @param {Median[]} medians
 * @param {Datum[]} published
 * @param {number} gaussian k of an untrained matrix
 * @param {Cohort} again
 * @param {Texts} texts
 */
export function nearestTo(model, medians, published, gaussian, { selects, close }, texts) {
  const own = new Map(medians.map(({ component, k }) => [component, k]));
  const { entries, spread } = ranked(own, published, selects);
  const [first, picked] = [entries[0], entries.find(({ distance }) => distance > 0)];
  if (!picked) return fill(texts.page_lonely, { model });
  const errors = new Map(medians.map(({ component, se }) => [component, se / (spread.get(component) ?? Number.NaN)]));
  const slope = (/** @type {Entry} */ { z, distance }, /** @type {string} */ component) =>
    (z.get(component) ?? 0) / (distance > 0 ? distance * z.size : 1);
  const moved = (/** @type {(component: string) => number} */ by) =>
    root([...errors].map(([component, error]) => by(component) * (error || 0)));
  const isTied = (/** @type {Entry} */ one) =>
    one.blind === first.blind && one.distance - first.distance <= moved((name) => slope(one, name) - slope(first, name));
  const margin = moved((name) => slope(picked, name));
  const untrained = root([...picked.z.keys()].map((name) => (Number(own.get(name)) - gaussian) / Number(spread.get(name))));
  const isFirst = picked === first;
  const notes = [
    isTied(picked) && entries.filter(isTied).length > 1 && texts.page_tied,
    isFirst && picked.distance - margin > close && texts.page_nothing_close,
    isFirst && untrained / Math.sqrt(picked.z.size) < picked.distance && texts.page_untrained,
    picked.blind && texts.page_no_selection,
  ].filter(Boolean);
  const told = fill(texts.page_nearest, { model, entry: picked.name, distance: picked.distance.toFixed(2) });
  return told + (notes.length ? ` (${notes.join("; ")})` : "");
}

/**
 * Medians by model and component of matrices that have k.
 * @param {Datum[]} rows
 * @returns {Map<string, Median[]>}
 */
function mediansOf(rows) {
  /** @type {Map<string, Map<string, { k: number, error: number }[]>>} */
  const groups = new Map();
  for (const { model, component, k, error } of rows) {
    if (typeof k !== "number") continue;
    const own = groups.get(String(model)) ?? new Map();
    groups.set(String(model), own);
    own.set(component, [...(own.get(component) ?? []), { k, error: typeof error === "number" ? error : Number.NaN }]);
  }
  return new Map(
    [...groups].map(([model, own]) => [
      model,
      [...own].map(([component, matrices]) => ({ component, ...medianOf(matrices) })),
    ]),
  );
}

/**
 * Matrices with k by another protocol.
 * @param {Datum[]} rows
 * @param {Pick<import("./redrawn.js").Counts, "fit">} counts
 * @param {Asked} asked
 */
const fittedAgain = (rows, counts, { trim, estimator }) =>
  rows.map((row) => {
    const cell = cellOf(row);
    const fit = cell && counts.fit(cell, trim, estimator);
    return fit ? { ...row, k: Number.isNaN(fit.k) ? null : fit.k } : row;
  });

/**
 * The chart of the matrices that pass; null where these are all. The published entries, which have
 * no counts, are left out by another protocol than theirs.
 * @param {Cohort} again
 * @param {(row: Datum) => boolean} passes
 * @param {Texts} texts
 * @param {import("./redrawn.js").Counts | null} counts where the protocol is another one
 * @param {Asked} asked
 * @returns {{ spec: any, notes: string[], text?: string } | null}
 */
export function cohortOf(again, passes, texts, counts, asked) {
  const { [again.matrices]: all, ...datasets } = /** @type {Record<string, Datum[]>} */ (again.spec.datasets);
  const kept = all.filter(passes);
  if (kept.length === all.length && !counts) return null;
  const models = mediansOf(counts ? fittedAgain(kept, counts, asked) : kept);
  const own = [...models].flatMap(([model, medians]) =>
    medians.map((one) => ({ ...one, model, low: one.k - (one.se || 0), high: one.k + (one.se || 0) })),
  );
  const tables = Object.values(datasets).flat();
  const gaussian = counts ? gaussianAnchor(asked.trim, asked.estimator).k : Number(tables.find(isAnchor)?.at);
  const isPublished = !counts || protocolText(asked) === again.published;
  const published = tables.filter((row) => "below" in row);
  const [values, names] = [own.flatMap(({ low, high }) => [low, high]), new Set(own.map((one) => one.component))];
  const about = { values, names, gaussian, isPublished };
  const { spec, arrows } = besideEntries({ ...again.spec, datasets }, again.table, () => own, about, texts);
  if (!isPublished) return { spec, notes: again.alone.slice(1), text: again.alone[0] };
  const nearest = [...models].slice(0, again.most).map(([model, medians]) => {
    const name = model.length > LONGEST ? `${model.slice(0, LONGEST - 1)}…` : model;
    return nearestTo(name, medians, published, gaussian, again, texts);
  });
  return { spec, notes: [again.note, ...nearest, arrows] };
}
