/** What the keys do on a grid. */

import { FILTERS, HEAD } from "./grid_heads.js";

/** @typedef {import("./grid.js").Grid} Grid */

/**
 * @param {Grid} grid
 * @param {KeyboardEvent} event
 */
export function press(grid, event) {
  if (event.target !== grid.element) return;
  if (!walk(grid, event) && !act(grid, event)) return;
  event.preventDefault();
  event.stopPropagation();
}

/**
 * Where a key leads from a cell.
 * @param {{ key: string, ctrlKey: boolean, metaKey: boolean }} event
 * @param {{ line: number, column: number }} from
 * @param {{ rows: number, columns: number, page: number }} size
 * @returns {[number, number] | null} null for another key
 */
export function target({ key, ctrlKey, metaKey }, { line, column }, { rows, columns, page }) {
  const far = ctrlKey || metaKey;
  /** @type {Record<string, [number, number]>} */
  const leads = {
    ArrowDown: [line + 1, column],
    ArrowUp: [line - 1, column],
    ArrowRight: [line, column + 1],
    ArrowLeft: [line, column - 1],
    PageDown: [Math.max(line, 0) + page, column],
    PageUp: [line < 0 ? line : Math.max(line - page, 0), column],
    Home: far ? [0, 0] : [line, 0],
    End: far ? [rows - 1, columns - 1] : [line, columns - 1],
  };
  return leads[key] ?? null;
}

/**
 * Move the active cell; with shift the selection grows with it.
 * @param {Grid} grid
 * @param {KeyboardEvent} event
 */
function walk(grid, event) {
  const { line } = grid.active;
  const size = { rows: grid.rows.length, columns: grid.columns.length, page: grid.page };
  const to = target(event, grid.active, size);
  if (!to) return false;
  grid.moveTo(...to);
  const { shiftKey } = event;
  if (shiftKey && line >= 0 && grid.active.line !== line) {
    grid.pick(grid.active.line, { shiftKey, ctrlKey: false, metaKey: false });
  }
  return true;
}

/**
 * Copy, select, sort, or go into a filter.
 * @param {Grid} grid
 * @param {KeyboardEvent} event
 */
function act(grid, event) {
  const held = event.ctrlKey || event.metaKey;
  if (event.key === "Enter" || event.key === " ") enter(grid, event);
  else if (held && event.key === "a") grid.options.onPick?.([...grid.rows], false);
  else if (held && event.key === "c") grid.options.onCopy?.();
  else if (grid.active.line === FILTERS && event.key.length === 1 && !held) {
    typeIn(grid, event.key);
  } else return false;
  return true;
}

/**
 * @param {Grid} grid
 * @param {KeyboardEvent} event
 */
function enter(grid, { key, shiftKey, ctrlKey, metaKey }) {
  const { line, column } = grid.active;
  if (line === HEAD) grid.sortBy(grid.columns[column].name);
  else if (line === FILTERS) typeIn(grid, "");
  // the space bar adds and takes away, as a click with Ctrl does
  else grid.pick(line, { shiftKey, metaKey, ctrlKey: ctrlKey || key === " " });
}

/**
 * Go into the filter that is active.
 * @param {Grid} grid
 * @param {string} text that was typed
 */
function typeIn(grid, text) {
  const input = grid.activeCell()?.querySelector("input");
  if (!input) return;
  input.focus();
  if (!text) return;
  input.value += text;
  input.dispatchEvent(new Event("input"));
}
