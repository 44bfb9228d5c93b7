/** The rows of a table: unpacked, put in order, filtered by column, and written as text. */

import { grouped } from "./dom.js";

/**
 * @typedef {import("./types").Value} Value
 * @typedef {import("./types").PackedColumn} PackedColumn
 * @typedef {{
 *   name: string,
 *   title: string,
 *   numeric: boolean,
 *   at: (row: number) => Value,
 *   show: (row: number) => string,
 *   bar?: (row: number) => HTMLElement,
 * }} Column `at` gives the value of a row, `show` the text in its cell, `bar` what stands before it
 * @typedef {{ column: string, sign: 1 | -1 }} Order
 */

/** @type {Record<string, (value: number) => string>} */
const FORMATS = {
  k: (value) => value.toFixed(4),
  r2: (value) => value.toFixed(4),
  ks: (value) => value.toFixed(4),
  k_se: (value) => value.toPrecision(2),
  lam: (value) => value.toPrecision(4),
  lam_se: (value) => value.toPrecision(2),
  n: grouped,
  step: grouped,
};

/**
 * @param {string} column
 * @param {Value | undefined} value
 */
export function format(column, value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && FORMATS[column] ? FORMATS[column](value) : String(value);
}

/**
 * A column as it was sent: its values, or the different ones and the number of each row's.
 * @param {PackedColumn} packed
 * @param {string} title
 * @returns {Column}
 */
export function unpack({ name, values, codes }, title) {
  /** @param {number} row */
  const at = (row) => (codes ? values[codes[row]] : values[row]);
  const numeric = values.every((value) => value === null || typeof value === "number");
  return { name, title, numeric, at, show: (row) => format(name, at(row)) };
}

/**
 * Rows in the order of a column; what has no value comes last, equal ones stay as they were.
 * @param {number[]} rows
 * @param {Column} column
 * @param {number} sign
 */
export function sortRows(rows, { at }, sign) {
  return [...rows].sort((a, b) => {
    const [x, y] = [at(a), at(b)];
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    if (typeof x === typeof y) return x < y ? -sign : sign;
    return typeof x === "number" ? -sign : sign; // numbers before words
  });
}

const COMPARED = /^(<=|>=|<|>|=)\s*(-?[\d.]+(?:e[-+]?\d+)?)$/i;
const BETWEEN = /^(-?[\d.]+(?:e[-+]?\d+)?)\s*\.\.\s*(-?[\d.]+(?:e[-+]?\d+)?)$/i;
/** @type {Record<string, (value: number, limit: number) => boolean>} */
const TESTS = {
  "<": (value, limit) => value < limit,
  "<=": (value, limit) => value <= limit,
  ">": (value, limit) => value > limit,
  ">=": (value, limit) => value >= limit,
  "=": (value, limit) => value === limit,
};

/**
 * What a filter lets pass: `< 1.2`, `1.1..1.2` or a whole number of numbers, else a part of the
 * text in the cell.
 * @param {string} text
 * @param {Column} column
 * @returns {(row: number) => boolean}
 */
export function passes(text, column) {
  const wanted = text.trim().toLowerCase();
  const { at, show } = column;
  if (column.numeric) {
    const [, sign, limit] = wanted.match(COMPARED) ?? [];
    const [, low, high] = wanted.match(BETWEEN) ?? [];
    /** @param {(value: number) => boolean} test */
    const tested = (test) => (/** @type {number} */ row) => {
      const value = at(row);
      return typeof value === "number" && test(value);
    };
    if (sign) return tested((value) => TESTS[sign](value, Number(limit)));
    if (low) return tested((value) => value >= Number(low) && value <= Number(high));
    if (/^-?\d+$/.test(wanted)) return tested((value) => value === Number(wanted));
  }
  return (row) => show(row).toLowerCase().includes(wanted);
}

/**
 * The rows that pass the filters of all columns.
 * @param {number} number of rows
 * @param {Column[]} columns
 * @param {Record<string, string>} filters by the name of the column
 */
export function keptRows(number, columns, filters) {
  const tests = columns
    .filter(({ name }) => filters[name]?.trim())
    .map((column) => passes(filters[column.name], column));
  const rows = Array.from({ length: number }, (_, i) => i);
  return tests.length ? rows.filter((row) => tests.every((test) => test(row))) : rows;
}

/**
 * Rows as tab-separated text with a head. A spreadsheet takes no name for a formula.
 * @param {number[]} rows
 * @param {Column[]} columns
 */
export function separated(rows, columns) {
  /** @param {Value | undefined} value */
  const word = (value) => {
    if (typeof value === "number") return String(value);
    const text = String(value ?? "").replace(/[\t\r\n]+/g, " ");
    return /^[=+\-@]/.test(text) ? `'${text}` : text;
  };
  const lines = rows.map((row) => columns.map(({ at }) => word(at(row))).join("\t"));
  return [columns.map(({ name }) => name).join("\t"), ...lines].join("\n");
}
