/**
 * Charts of a saved page that hold medians, limits and labels of what stands out: made again of the
 * matrices that are left, by the rules of `class_bands` and `outlier_strip` in weibnb/charts.
 */

import { cellOf } from "./cells.js";
import { fill } from "./dom.js";
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
  const { again } = content;
  const sent = /** @type {any} */ (content.spec);
  if (!again) return content;
  const parted = { structure: "", spec: sent, values: {}, data: sent.datasets, description: "" };
  const value = "outlier"; // of these charts, the only number that has no column of its own
  const data = varies && fitting ? redrawn(parted, { ...asked, value }, drawn, fitting).data : sent.datasets;
  const all = /** @type {Datum[]} */ (data[sent.data.name]);
  const rows = all.filter((row) => !cellOf(row) || sift.passes(row));
  if (!varies && rows.length === all.length) return content;
  const { spec, notes } =
    again.chart === "class_bands"
      ? bandsOf(again, rows, Object.values(data).flat().find(isAnchor), protocolText(asked), texts)
      : stripOf(again, rows, { ...sent, datasets: data }, texts);
  const text = content.plain ?? "";
  return { ...content, spec: { ...spec, title: { text, subtitle: notes.filter(Boolean) }, description: text } };
}

/** @param {Datum} row @param {string} name @returns {number | null} */
const numberIn = (row, name) => (typeof row[name] === "number" ? /** @type {number} */ (row[name]) : null);

/** @param {Datum[]} rows @param {string} name */
const numbersIn = (rows, name) =>
  rows.map((row) => numberIn(row, name)).filter((value) => value !== null).sort((a, b) => a - b);

/**
 * A quantile between the two nearest of sorted values.
 * @param {number[]} values
 * @param {number} share
 */
export function quantile(values, share) {
  const at = share * (values.length - 1);
  const [low, high] = [values[Math.floor(at)], values[Math.ceil(at)]];
  return low + (at - Math.floor(at)) * (high - low);
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
  const gaussian = Number(anchor?.at);
  const within = all.filter((k) => low <= k && k <= high);
  const ends = [
    Math.floor(20 * Math.min(...within, ...band, gaussian - 0.1) - 0.2) / 20,
    Math.ceil(20 * Math.max(...within, ...band, gaussian) + 0.2) / 20,
  ];
  const matrices = placed(rows).map((row) => {
    const [k, median] = [numberIn(row, "k"), numberIn(row, "median")];
    const beyond = k !== null && k < low ? "below" : k !== null && k > high ? "above" : "no";
    const isIn = median !== null && ends[0] <= median && median <= ends[1];
    return { ...row, beyond, barred: isIn ? "yes" : "no" };
  });
  const names = new Set(rows.map((row) => row.component));
  const isPublished = protocol === published;
  /** @type {Record<string, Datum[]>} */
  const datasets = {};
  let under = 0;
  for (const [name, table] of Object.entries(/** @type {Record<string, Datum[]>} */ (spec.datasets))) {
    datasets[name] = table
      .filter((row) => !("component" in row) || (isPublished && names.has(row.component)))
      .map((row) => {
        if (isAnchor(row)) return { ...row, at: gaussian };
        if (!("below" in row)) return row;
        const below = Number(row.k) < ends[0];
        under += Number(below);
        return { ...row, below: below ? "yes" : "no" };
      });
  }
  datasets[spec.data.name] = matrices;
  const beyond = (/** @type {string} */ side) => numbersIn(matrices.filter((row) => row.beyond === side), "k");
  const [below, above] = [beyond("below"), beyond("above")];
  const sides = [
    below.length ? fill(texts.page_below, { number: below.length, k: below[0].toFixed(3) }) : "",
    above.length ? fill(texts.page_above, { number: above.length, k: above[above.length - 1].toFixed(3) }) : "",
  ];
  const arrows = under ? fill(texts.page_arrows, { number: under }) : "";
  const told = [...(isPublished ? notes : no_band), arrows, sides.filter(Boolean).join(" · ")];
  const share = names.size / new Set(placesOf(spec)).size;
  return { spec: withAxes(holding(spec, datasets), ends, share), notes: told };
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

/** Components along the axis. @param {any} spec @returns {string[]} */
const placesOf = (spec) =>
  spec.spec ? placesOf(spec.spec) : spec.layer.map((/** @type {any} */ one) => one.encoding.x?.scale?.domain ?? []).flat();

/**
 * A chart with other ends of k, whose names below are slanted where they, now fewer, have no room.
 * @param {any} spec of one panel, or of small multiples
 * @param {number[]} domain of k
 * @param {number} share of the names that is left
 * @returns {any}
 */
function withAxes(spec, domain, share) {
  if (spec.spec) return { ...spec, spec: withAxes(spec.spec, domain, share) };
  const narrow = (/** @type {{ expr: string }} */ { expr }) => ({
    expr: expr.replace(/< (\d+)/, (_, pixels) => `< ${Math.round(pixels * share)}`),
  });
  const layer = spec.layer.map((/** @type {any} */ one) => {
    const { x, y } = one.encoding;
    const { axis } = x ?? {};
    const names = axis && { ...x, axis: { ...axis, labelAngle: narrow(axis.labelAngle), labelAlign: narrow(axis.labelAlign) } };
    const values = y?.scale && { ...y, scale: { ...y.scale, domain } };
    return { ...one, encoding: { ...one.encoding, ...(names && { x: names }), ...(values && { y: values }) } };
  });
  return { ...spec, layer };
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
  const flagged = rows.map((row) => {
    const value = numberIn(row, "value") ?? 0;
    const [above, same] = [values.filter((one) => one > value).length, values.filter((one) => one === value).length];
    const stands = value > limit && above + (same + 1) / 2 <= most;
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
