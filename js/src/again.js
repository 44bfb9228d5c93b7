/**
 * Charts of a saved page that hold medians, limits and labels of what stands out: made again of the
 * matrices that are left, by the rules of `class_bands` and `outlier_strip` in weibnb/charts.
 */

import { cellOf } from "./cells.js";
import { cohortOf } from "./cohort.js";
import { fill } from "./dom.js";
import { quantile } from "./fitting/quantiles.js";
import { besideEntries, numberIn, numbersIn } from "./published.js";
import { isAnchor, protocolText, redrawn } from "./redrawn.js";
import { holding } from "./sieve.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./types").StillContent} StillContent
 * @typedef {{ chart: "class_bands", spec: any, band: [number, number], published: string,
 *   notes: string[], no_band: string[] }} Bands
 * @typedef {{ chart: "outlier_strip", notes: string[], limit: number, most: number }} Strip
 * @typedef {Record<string, string>} Texts
 * @typedef {{ sift: Pick<import("./sieve.js").Sifted, "passes">, varies: boolean, asked: Asked,
 *   fitting: import("./redrawn.js").Counts | null }} Seen
 */

const LEAST_HEIGHT = 80; // px of a strip
const NAME = 0.25; // of the axis, that the name of a layer takes
const LEAST_SPREAD = 0.1; // between the quartiles of k
const OFFSET = 0.7; // of its room, that the layers of a component take

/**
 * A chart of the rows that pass, by the protocol that is asked for; Python's own where these are all.
 * @param {StillContent} content
 * @param {Seen} seen
 * @param {Asked} drawn by which Python drew it
 * @param {Texts} texts
 * @returns {StillContent}
 */
export function madeAgain(content, { sift, varies, asked, fitting }, drawn, texts) {
  const { again, plain = "" } = content;
  const sent = /** @type {any} */ (content.spec);
  if (!again) return content;
  /** @type {(made: { spec: any, notes: string[], text?: string }) => StillContent} */
  const titled = ({ spec, notes, text = plain }) => {
    const title = { text, subtitle: notes.filter(Boolean) };
    const { $schema, config } = sent; // one that has no matrices has none of these
    return { ...content, spec: { $schema, config, ...spec, title, description: text } };
  };
  if (again.chart === "cohort") {
    const made = cohortOf(again, sift.passes, texts, varies ? fitting : null, asked);
    return made ? titled(made) : content;
  }
  const parted = { structure: "", spec: sent, values: {}, data: sent.datasets, description: "", notes: [] };
  const value = "outlier"; // of these charts, the only number that has no column of its own
  const data = varies && fitting ? redrawn(parted, { ...asked, value }, drawn, fitting).data : sent.datasets;
  const all = /** @type {Datum[]} */ (data[sent.data.name]);
  const rows = all.filter((row) => !cellOf(row) || sift.passes(row));
  if (!varies && rows.length === all.length) return content;
  const anchor = Object.values(data).flat().find(isAnchor);
  return titled(
    again.chart === "class_bands"
      ? bandsOf(again, rows, anchor, protocolText(asked), texts)
      : stripOf(again, rows, { ...sent, datasets: data }, texts),
  );
}

/**
 * k by component: medians, where the layers stand, and what lies beyond the axis.
 * @param {Bands} again
 * @param {Datum[]} rows
 * @param {Datum | undefined} anchor
 * @param {string} protocol
 * @param {Texts} texts
 */
function bandsOf({ spec, band, published, notes, no_band }, rows, anchor, protocol, texts) {
  const all = numbersIn(rows, "k");
  const [first, last] = [0.25, 0.75].map((share) => quantile(all, share));
  const reach = 3 * Math.max(last - first, LEAST_SPREAD);
  const [low, high] = [first - reach, last + reach];
  const within = all.filter((k) => low <= k && k <= high);
  const beyondOf = (/** @type {number | null} */ k) => (k === null || (low <= k && k <= high) ? "no" : k < low ? "below" : "above");
  const rowsFor = (/** @type {number[]} */ ends) =>
    placed(rows).map((row) => {
      const median = numberIn(row, "median");
      const barred = median !== null && ends[0] <= median && median <= ends[1] ? "yes" : "no";
      return { ...row, beyond: beyondOf(numberIn(row, "k")), barred };
    });
  const isPublished = protocol === published;
  const names = new Set(rows.map((row) => row.component));
  const about = { values: [...within, ...band], names, gaussian: Number(anchor?.at), isPublished };
  const { spec: made, arrows } = besideEntries(spec, spec.data.name, rowsFor, about, texts);
  const [below, above] = [all.filter((k) => k < low), all.filter((k) => k > high)];
  const sides = [
    below.length ? fill(texts.page_below, { number: below.length, k: below[0].toFixed(3) }) : "",
    above.length ? fill(texts.page_above, { number: above.length, k: above[above.length - 1].toFixed(3) }) : "",
  ];
  return { spec: made, notes: [...(isPublished ? notes : no_band), arrows, sides.filter(Boolean).join(" · ")] };
}

/**
 * Rows with the median of their component, and where their layer stands among the others.
 * @param {Datum[]} rows
 * @returns {Datum[]}
 */
function placed(rows) {
  const nameOf = (/** @type {Datum} */ { model, component }) => JSON.stringify([model, component]);
  /** @type {Map<string, Datum[]>} */
  const groups = new Map();
  for (const row of rows) {
    const own = groups.get(nameOf(row));
    if (own) own.push(row);
    else groups.set(nameOf(row), [row]);
  }
  const found = new Map(
    [...groups].map(([key, own]) => {
      const layers = [...new Set(own.map((row) => Number(row.layer)))].sort((a, b) => a - b);
      const ks = numbersIn(own, "k");
      return [key, { layers, median: ks.length ? quantile(ks, 0.5) : null }];
    }),
  );
  return rows.map((row) => {
    const { layers = [], median = null } = found.get(nameOf(row)) ?? {};
    const share = layers.length > 1 ? layers.indexOf(Number(row.layer)) / (layers.length - 1) - 0.5 : 0;
    return { ...row, offset: OFFSET * share, median };
  });
}

/**
 * Rows of which the names of layers have room beside those of larger values in their row.
 * @param {Datum[]} rows
 */
function apart(rows) {
  const at = (/** @type {Datum} */ row) => Math.log(numberIn(row, "value") ?? Number.NaN);
  const known = rows.filter((row) => Number.isFinite(at(row)));
  const least = NAME * (Math.max(...known.map(at)) - Math.min(...known.map(at)));
  /** @type {Map<string, number>} */
  const last = new Map();
  const found = [...known].sort((a, b) => at(b) - at(a)).filter((row) => {
    const place = JSON.stringify([row.place, row.component]);
    const hasRoom = at(row) < (last.get(place) ?? Number.POSITIVE_INFINITY) - least;
    if (hasRoom) last.set(place, at(row));
    return hasRoom;
  });
  return new Set(found);
}

/**
 * The largest weights: those of a part that stand out have the names of their layers.
 * @param {Strip} again
 * @param {Datum[]} rows
 * @param {any} sent
 * @param {Texts} texts
 */
function stripOf({ notes, limit, most }, rows, sent, texts) {
  const values = numbersIn(rows, "value");
  const named = apart(rows);
  const flagged = rows.map((row) => {
    const value = numberIn(row, "value") ?? 0;
    const [above, same] = [values.filter((one) => one > value).length, values.filter((one) => one === value).length];
    const stands = value > limit && above + (same + 1) / 2 <= most && named.has(row);
    return { ...row, flag: stands ? fill(texts.page_flag, { layer: String(row.layer) }) : "" };
  });
  const before = new Set(sent.datasets[sent.data.name].map((/** @type {Datum} */ row) => row.component)).size;
  const left = new Set(rows.map((row) => row.component)).size;
  const spec = holding(sent, { ...sent.datasets, [sent.data.name]: flagged });
  const panel = spec.spec ?? spec;
  const height = Math.max((panel.height * left) / before, LEAST_HEIGHT);
  const missing = rows.length - values.length;
  return {
    spec: spec.spec ? { ...spec, spec: { ...panel, height } } : { ...spec, height },
    notes: [...notes, missing ? fill(texts.page_not_drawn, { number: missing }) : ""],
  };
}
