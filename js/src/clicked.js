/** The plot of the matrix that was clicked, at once, from the counts on the page. */

import { plotOf } from "./paper.js";
import { redrawn } from "./redrawn.js";

/**
 * @typedef {import("./types").Asked} Asked
 * @typedef {import("./types").Cell} Cell
 * @typedef {import("./types").Changes} Changes
 */

/** Panels with the plot of what is selected beside their own chart. */
const IN_PANE = ["overview", "findings", "classes", "trajectories", "compare", "table"];

/**
 * @param {import("./types").Model} model
 * @param {() => import("./live.js").Counts | null} counts
 * @param {() => Asked | undefined} drawn by which Python drew what is there
 * @param {() => Record<string, Pick<import("./live.js").Chart, "vary">>} charts
 * @param {Set<string>} varied charts that are not as Python drew them
 */
export function buildClicked(model, counts, drawn, charts, varied) {
  /** That was clicked alone. @type {Cell | null} */
  let cell = null;
  /** Draw it, unless it is there already. @param {Changes} pending that Python has not been told of */
  const draw = (pending) => {
    const [own, held, before] = [cell, counts(), drawn()];
    if (!own || !held?.exact || !held.curve(own) || !before || !IN_PANE.includes(model.get("panel"))) return;
    const asked = { ...before, ...pending };
    charts().detail.vary((sent) => {
      const other = plotOf(sent, own, held, asked);
      if (other === sent) return sent;
      varied.add("detail");
      return redrawn(other, asked, before, held);
    });
  };
  return {
    draw,
    /** @param {Changes} changes */
    look(changes) {
      if (!("selected" in changes)) return;
      const cells = /** @type {Cell[]} */ (changes.selected);
      cell = cells.length === 1 ? cells[0] : null;
      draw({});
    },
  };
}
