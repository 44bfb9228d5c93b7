/** Training runs by another protocol, by the rules of weibnb/charts/training.py. */

/**
 * @typedef {import("./types").Datum} Datum
 */

const [TOLD, SURELY] = [2, 4]; // paths of a panel that are strong, and standard errors that k must move

/** Of a note, what is said of a band that was published for another protocol. */
export const BAND = / · shaded: published feed-forward medians$/;

/** Whether a row is a place of a trajectory: `at` is its step along the axis. @param {Datum} row */
export const isOnCourse = (row) => "at" in row && "step" in row;

/**
 * Paths of which other ones are strong: those in each panel whose k moved most, and surely.
 * @param {Datum[]} rows
 * @returns {Datum[]}
 */
export function pathsOf(rows) {
  const sides = rows.filter(({ told, role }) => told && role === "end").map(({ side }) => side);
  if (!sides.length) return rows;
  /** @type {Map<string, { first: Datum, last: Datum }>} */
  const ends = new Map();
  for (const row of rows.filter(({ k }) => typeof k === "number")) {
    const { first, last } = ends.get(nameOf(row)) ?? { first: row, last: row };
    const own = { first: isBefore(row, first) ? row : first, last: isBefore(last, row) ? row : last };
    ends.set(nameOf(row), own);
  }
  const moves = [...ends].map(([key, { first, last }]) => ({ key, panel: first.panel, ...moveOf(first, last) }));
  const most = new Map(
    moves.filter(({ moved, sure }) => !(moved < sure)).map(({ key, panel, moved }, _, all) => {
      const others = all.filter((one) => one.panel === panel && one.moved >= moved);
      const same = others.filter((one) => one.moved === moved).length;
      return [key, others.length - (same - 1) / 2 <= TOLD];
    }),
  );
  const sizes = rows.map(({ lam }) => Math.log(Number(lam)));
  const middle = (sizes.reduce((a, b) => Math.min(a, b)) + sizes.reduce((a, b) => Math.max(a, b))) / 2;
  const made = rows.map((row, i) => {
    const told = most.get(nameOf(row)) ? `${row.component} of layer ${row.layer}` : "";
    /** @type {Datum} */
    const found = { ...row, told, side: sizes[i] < middle ? "left" : "right" };
    return found;
  });
  // names on a side for which the chart has no layer are not drawn, and Vega warns of a layer without any
  const named = made.filter(({ told, role }) => told && role === "end");
  for (const one of named) {
    const isLow = named.some(({ panel, k }) => panel === one.panel && Number(k) > Number(one.k));
    one.level = isLow ? "low" : "high";
  }
  const fromMiddle = (/** @type {Datum} */ { lam }) => Math.abs(Math.log(Number(lam)) - middle);
  const free = [...named].sort((one, other) => fromMiddle(one) - fromMiddle(other));
  for (const side of new Set(sides)) {
    const isSpare = (/** @type {Datum} */ one) =>
      !sides.includes(one.side) || named.filter((other) => other.side === one.side).length > 1;
    const moved = named.some((one) => one.side === side) ? undefined : free.find(isSpare);
    if (moved) moved.side = side;
  }
  // what is told apart is drawn last, over the rest
  return [...made.filter(({ told }) => !told), ...made.filter(({ told }) => told)];
}

/** @param {Datum} row */
const nameOf = ({ model, layer, component }) => JSON.stringify([model, layer, component]);

/** @param {Datum} one @param {Datum} other */
const isBefore = (one, other) => Number(one.step) < Number(other.step);

/** @param {Datum} first @param {Datum} last */
const moveOf = (first, last) => ({
  moved: Math.abs(Number(last.k) - Number(first.k)),
  sure: SURELY * Math.hypot(Number(first.k_se ?? Number.NaN), Number(last.k_se ?? Number.NaN)),
});
