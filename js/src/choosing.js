/** What is selected: picked on charts and in tables, and outlined on the main chart. */

import { select } from "./cells.js";
import { pickedMarks } from "./chart.js";
import { arrowKeys, brush, zoomable } from "./gestures.js";

/**
 * @typedef {import("./types").Cell} Cell
 * @typedef {(cells: Cell[], add: boolean) => void} Choose
 * @typedef {ReturnType<typeof import("./chart.js").buildChart>} Chart
 */

/** Marks of the main chart that are outlined, by panel. @type {Record<string, string>} */
const OUTLINED = {
  overview: "rect",
  findings: "rect",
  map: "rect",
  classes: "symbol",
  trajectories: "symbol",
};

/** @param {import("./types").Page} page */
export function choosing({ model, busy, send }) {
  /** A selection that Python has not answered yet: the next key starts from it.
   * @type {Cell[] | null} */
  let asked = null;
  /** @type {Chart | null} */
  let main = null;
  /** @type {((chosen: Cell[]) => void)[]} */
  const told = [];
  /** @returns {Cell[]} */
  const chosen = () => asked ?? JSON.parse(model.get("_words")).chosen ?? [];
  const outline = () => {
    for (const act of told) act(chosen());
    main?.outline(pickedMarks(main.marks(), OUTLINED[model.get("panel")], chosen()));
  };
  /** @type {Choose} */
  const choose = (cells, add) => {
    if (!cells.length) return;
    asked = select(chosen(), cells, add);
    outline();
    send({ selected: asked });
  };
  return {
    chosen,
    choose,
    outline,
    /** Tell a part of the page what is selected, now and later. @param {(chosen: Cell[]) => void} act */
    tell(act) {
      told.push(act);
    },
    answered() {
      if (!busy()) asked = null;
    },
    /**
     * @param {HTMLElement} root
     * @param {Chart} chart
     */
    onChart(root, chart) {
      main = chart;
      brush(root, chart, choose);
      arrowKeys(chart, chosen, choose);
      zoomable(chart);
    },
  };
}
