/**
 * Charts that stay alive: one of the same structure as before gets new data and numbers, and only
 * another structure is compiled anew.
 */

import { KEY, keepMarks } from "./kept_marks.js";

/**
 * @typedef {import("vega-typings").Spec} Spec
 * @typedef {Record<string, unknown>} Values
 * @typedef {Record<string, Record<string, unknown>[]>} Data
 * @typedef {{ structure: string, spec: Spec, values: Values, data: Data, description: string, notes: string[] }} Parted `notes` stand above the chart
 * @typedef {(sent: Parted) => Partial<Parted>} Change other data and numbers
 */

const MOST = 16; // items of a list that may change without a new structure
// quoted text, and what starts with a letter, is left alone; numbers with a point are values
const LITERALS = /'[^']*'|"[^"]*"|[A-Za-z_]\w*|-?\d+\.\d+(?:e[-+]?\d+)?/g;

/**
 * Part a specification into its structure, and what may change in a chart that stands: titles,
 * domains of scales, values of axes and legends, numbers in labels, and data.
 * @param {any} whole
 * @returns {Parted}
 */
export function part(whole) {
  const { datasets: data = {}, description = "", notes = [], ...rest } = whole;
  /** @type {Values} */
  const values = {};
  /** @type {Map<string, string>} */
  const names = new Map();
  /** What is equal has one name, so that layers still share their scales. @param {unknown} value */
  const lift = (value) => {
    const text = JSON.stringify(value);
    const name = names.get(text) ?? `wb${names.size}`;
    names.set(text, name);
    values[name] = value;
    return name;
  };
  const structure = lifted(rest, "", lift);
  const params = Object.entries(values).map(([name, value]) => ({ name, value }));
  return {
    structure: JSON.stringify([structure, Object.keys(data)]),
    spec: { ...structure, params: [...(structure.params ?? []), ...params], description },
    values,
    data,
    description,
    notes,
  };
}

/**
 * @param {any} node
 * @param {string} key under which it stands
 * @param {(value: unknown) => string} lift gives the name of what now holds a value
 * @returns {any}
 */
function lifted(node, key, lift) {
  if (key === "labelExpr") return withoutNumbers(node, lift);
  if (!node || typeof node !== "object") return node;
  if (Array.isArray(node)) {
    if (isList(node) && (key === "values" || key === "subtitle")) return { expr: lift(node) };
    if (isList(node) && key === "domain" && node.length <= MOST) {
      return node.map((value) => ({ expr: lift(value) }));
    }
    return node.map((child) => lifted(child, "", lift));
  }
  const isTitle = key === "title" && typeof node.text === "string";
  return Object.fromEntries(
    Object.entries(node).map(([name, child]) => [
      name,
      isTitle && name === "text" ? { expr: lift(child) } : lifted(child, name, lift),
    ]),
  );
}

/** @param {unknown[]} node */
const isList = (node) => node.length > 0 && node.every((one) => /number|string/.test(typeof one));

/**
 * @param {string} text an expression
 * @param {(value: unknown) => string} lift
 */
const withoutNumbers = (text, lift) =>
  text.replace(LITERALS, (word) => (/^-?\d/.test(word) ? ` ${lift(Number(word))}` : word));

/** A chart that is compiled anew only where it has another structure. */
export function livingChart() {
  /** @type {import("./types").Drawn | null} */
  let drawn = null;
  /** @type {Parted | null} */
  let sent = null; // by Python
  /** @type {Parted | null} */
  let shown = null;
  /** @type {[string, import("vega-typings").EventListenerHandler][]} */
  const listeners = [];
  /** @param {Parted} next */
  const show = async (next) => {
    const view = /** @type {import("./types").Drawn} */ (drawn).view;
    for (const [name, value] of Object.entries(next.values)) {
      if (value !== shown?.values[name]) view.signal(name, value);
    }
    for (const [name, rows] of Object.entries(copied(next.data))) {
      if (next.data[name] !== shown?.data[name]) view.data(name, rows);
    }
    view.description(next.description);
    shown = next;
    await view.runAsync();
  };
  const clear = () => {
    drawn?.finalize();
    drawn = sent = shown = null;
  };
  return {
    /** @returns {import("vega-typings").View | undefined} */
    view: () => drawn?.view,
    /** Hear of an event, in this chart and in those to come. @param {string} type @param {import("vega-typings").EventListenerHandler} act */
    listen(type, act) {
      listeners.push([type, act]);
      drawn?.view.addEventListener(type, act);
    },
    /** What is said above what is shown. */
    notes: () => shown?.notes ?? [],
    /** The rows of data, as they are shown. */
    rows: () => Object.values(shown?.data ?? {}).flat(),
    /**
     * @param {any} whole the specification
     * @param {HTMLElement} place for a chart that is made anew
     * @param {object} options of vega-embed
     * @param {() => boolean} isLate whether another one was asked for since
     * @param {Change} [change]
     * @returns {Promise<boolean>} whether it stands in the place
     */
    async draw(whole, place, options, isLate, change = () => ({})) {
      const next = part(whole);
      if (drawn && sent?.structure === next.structure) {
        sent = next;
        await show({ ...next, ...change(next) });
        return false;
      }
      const spec = { ...next.spec, datasets: copied(next.data) };
      const patch = (/** @type {any} */ made) => keepMarks(made, Object.keys(next.data));
      const made = await vegaEmbed(place, spec, { ...options, patch });
      if (isLate()) {
        made.finalize();
        return false;
      }
      clear();
      [drawn, sent, shown] = [made, next, next];
      for (const [type, act] of listeners) made.view.addEventListener(type, act);
      await show({ ...next, ...change(next) });
      return true;
    },
    /**
     * Show other data and numbers than those of the last chart.
     * @param {Change} change
     */
    async vary(change) {
      if (sent) await show({ ...sent, ...change(sent) });
    },
    clear,
  };
}

/**
 * Rows that Vega may mark as its own.
 * @param {Data} data
 * @returns {Data}
 */
const copied = (data) =>
  Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, rows.map((row, i) => ({ ...row, [KEY]: i }))]));
