/** Densities by another protocol, by the formulas of weibnb/charts/densities.py. */

/**
 * @typedef {import("./types").Datum} Datum
 * @typedef {import("./fitting/weibull.js").Fit} Fit
 */

/** Density of ln|w| at a magnitude, by distribution. @type {Record<string, (x: number, fit: Fit, gaussian: number) => number>} */
const DENSITIES = {
  Weibull: (x, { k, lam }) => k * (x / lam) ** k * Math.exp(-((x / lam) ** k)),
  "half-normal": (x, { lam }, gaussian) => {
    const z = (x * gaussian) / lam;
    return Math.sqrt(2 / Math.PI) * z * Math.exp((-z * z) / 2);
  },
};

/**
 * A place of a density; the counted weights and the best family hang on no protocol, but what is
 * drawn below, their ratio to the Weibull, does.
 * @param {Datum} row
 * @param {Fit} fit
 * @param {number} gaussian λ of a Gaussian with σ = 1
 * @returns {Datum}
 */
export function onDensity(row, fit, gaussian) {
  const x = Number(row.magnitude);
  const made = DENSITIES[String(row.kind)]?.(x, fit, gaussian);
  const density = made === undefined ? row.density : finite(made);
  const ratio = typeof density === "number" && density > 0 ? finite(density / DENSITIES.Weibull(x, fit, gaussian)) : null;
  const panel = String(row.panel).replace(/, k \d\S*$/m, `, k ${fit.k.toFixed(3)}`);
  return { ...row, density, panel, ...("ratio" in row && { ratio }) };
}

/** @param {number} value */
const finite = (value) => (Number.isFinite(value) ? value : null);
