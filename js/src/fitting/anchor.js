/**
 * What an untrained matrix gives: the fit of |w| of a Gaussian with σ = 1. It is right to 2e-6 by
 * rank regression, to 5e-4 by maximum likelihood, which is censored where a bin lies.
 */

import { binsOf } from "./bins.js";
import { fitWeibull } from "./weibull.js";

const WEIGHTS = 2 ** 30;
const [LOWEST, HIGHEST] = [-20, 3]; // octaves
const BIAS = 1023;

/** Counts of so many weights on values, 512 an octave, each with what lies around it. */
function gaussianBins() {
  const [labels, counts] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  const density = (/** @type {number} */ w) => Math.sqrt(2 / Math.PI) * Math.exp((-w * w) / 2);
  let [below, ranks] = [density(0) * 2 ** LOWEST * (1 - 0.5 / 1024), 0];
  for (let octave = LOWEST; octave < HIGHEST; octave++) {
    for (let place = 0; place < 1024; place += 2) {
      // below an octave the values lie twice as close
      const [low, high] = [place ? -1 : -0.5, 1].map((more) => 2 ** octave * (1 + (place + more) / 1024));
      below += ((high - low) * (density(low) + 4 * density((low + high) / 2) + density(high))) / 6;
      const rank = Math.min(Math.round(below * WEIGHTS), WEIGHTS);
      if (rank <= ranks) continue;
      labels.push((octave + BIAS) * 1024 + place);
      counts.push(rank - ranks);
      ranks = rank;
    }
  }
  return binsOf(labels, counts, true);
}

/** @type {import("./bins.js").Bins | undefined} */
let bins;

/**
 * @param {import("./weibull.js").Trim} trim
 * @param {import("./weibull.js").Estimator} estimator
 */
export function gaussianAnchor(trim, estimator) {
  bins ??= gaussianBins();
  return fitWeibull(bins, trim, estimator);
}
