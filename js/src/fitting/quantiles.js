/** Quantiles of a few numbers. */

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

/** The median of those that are known; NaN where there are none. @param {number[]} values */
export const median = (values) =>
  quantile(values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b), 0.5);
