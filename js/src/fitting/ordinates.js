/**
 * Ordinates ln(-ln(1 - F)) of the Weibull plot and their sums over ranks, as in
 * weibnb/fitting/ordinates.py: closed forms, a table in the body, term by term at the ends.
 */

const EDGE = 16; // ranks at either end whose sums are taken term by term
const EULER = 0.5772156649015329;
const CELLS = 1024;
const LEAST_RANKS = 4096; // below them the table is too coarse
const NEAR_END = 0.05; // share of the ranks outside the table
const NODES = 96; // of the quadrature

/** Coefficients (-1)^(m+1) / (m m!) of the power series of Ein, lowest first. */
const EIN = Array.from({ length: 36 }, (_, i) => i + 1).reduce(
  ({ found, factorial }, m) => {
    const next = factorial * m;
    return { found: [...found, (m % 2 ? 1 : -1) / (m * next)], factorial: next };
  },
  { found: /** @type {number[]} */ ([]), factorial: 1 },
).found;

/**
 * E1(t) for t > 0: power series up to 4, continued fraction (modified Lentz) beyond.
 * @param {number} t
 */
export function exponentialIntegral(t) {
  if (t <= 4) {
    let ein = 0;
    for (let i = t <= 0.1 ? 9 : EIN.length - 1; i >= 0; i--) ein = ein * t + EIN[i];
    return ein * t - EULER - Math.log(t);
  }
  let b = t + 1;
  let c = 1e300;
  let d = 1 / b;
  let fraction = d;
  for (let i = 1; i < 200; i++) {
    const step = -i * i;
    b += 2;
    d = 1 / (step * d + b);
    c = b + step / c;
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return fraction * Math.exp(-t);
}

/**
 * Ordinate at the plotting position (rank - 1/2)/n.
 * @param {number} rank
 * @param {number} n
 */
const ordinateOfRank = (rank, n) => Math.log(-Math.log1p(-(rank - 0.5) / n));

/** @param {number} share of the weights below */
export const ordinate = (share) => Math.log(-Math.log1p(-share));

/** Integral of the ordinate over F: the quintics through its values and two derivatives. */
const TABLE = (() => {
  const at = Array.from({ length: CELLS + 1 }, (_, i) => {
    if (i === 0 || i === CELLS) return [0, 0, 0];
    const f = i / CELLS;
    const u = 1 - f;
    const t = -Math.log1p(-f);
    const integral = -(u * Math.log(t) + exponentialIntegral(t));
    return [integral, Math.log(t) / CELLS, 1 / (t * u) / CELLS ** 2];
  });
  const table = new Float64Array(6 * CELLS);
  for (let i = 1; i < CELLS - 1; i++) {
    const [[p0, d0, s0], [p1, d1, s1]] = [at[i], at[i + 1]];
    const rise = p1 - p0;
    table.set(
      [
        p0,
        d0,
        s0 / 2,
        10 * rise - 6 * d0 - 4 * d1 - 1.5 * s0 + 0.5 * s1,
        -15 * rise + 8 * d0 + 7 * d1 + 1.5 * s0 - s1,
        6 * rise - 3 * d0 - 3 * d1 - 0.5 * s0 + 0.5 * s1,
      ],
      6 * i,
    );
  }
  return table;
})();

/**
 * Sum of y or y² over the ranks first ... last of n, term by term.
 * @param {number} first
 * @param {number} last
 * @param {number} n
 * @param {1 | 2} power
 */
function directSum(first, last, n, power) {
  let total = 0;
  for (let rank = first; rank <= last; rank++) total += ordinateOfRank(rank, n) ** power;
  return total;
}

/**
 * Sum of y over the first ranks, up to a constant: Euler-Maclaurin for the midpoint rule.
 * @param {number} rank
 * @param {number} n
 */
function smoothPrefix(rank, n) {
  const u = 1 - rank / n;
  const t = u < 0.5 ? -Math.log(u) : -Math.log1p(-rank / n);
  // the integral of ln(-ln u) is u ln(-ln u) - li(u), and li(u) = -E1(-ln u)
  const integral = -(u * Math.log(t) + exponentialIntegral(t));
  const tu = t * u;
  const third = (t + 2 * (t - 1) ** 2) / tu ** 3;
  return n * integral - 1 / tu / (24 * n) + (7 * third) / (5760 * n ** 3);
}

/**
 * Sum of y over the first `rank` of n ranks, up to a constant of n alone.
 * @param {number} rank
 * @param {number} n
 */
export function prefixSum(rank, n) {
  const share = rank / n;
  if (n >= LEAST_RANKS && NEAR_END <= share && share <= 1 - NEAR_END) {
    const place = share * CELLS;
    const cell = Math.floor(place);
    const d = place - cell;
    const i = 6 * cell;
    const [c3, c4, c5] = [TABLE[i + 3], TABLE[i + 4], TABLE[i + 5]];
    const slope = 2 * TABLE[i + 2] + d * (6 * c3 + d * (12 * c4 + d * 20 * c5));
    const inner = TABLE[i + 2] + d * (c3 + d * (c4 + d * c5));
    return n * (TABLE[i] + d * (TABLE[i + 1] + d * inner)) - (slope * CELLS * CELLS) / (24 * n);
  }
  const inner = Math.min(Math.max(rank, EDGE), n - EDGE);
  return (
    smoothPrefix(inner, n) + directSum(inner + 1, rank, n, 1) - directSum(rank + 1, inner, n, 1)
  );
}

/** Nodes and weights of Gauss and Legendre. @type {[number, number][]} */
const GAUSS = Array.from({ length: NODES }, (_, i) => {
  let x = Math.cos((Math.PI * (i + 0.75)) / (NODES + 0.5));
  let slope = 1;
  for (let turn = 0; turn < 20; turn++) {
    let [before, value] = [1, x];
    for (let j = 2; j <= NODES; j++) {
      [before, value] = [value, ((2 * j - 1) * x * value - (j - 1) * before) / j];
    }
    slope = (NODES * (x * value - before)) / (x * x - 1);
    x -= value / slope;
  }
  return [x, 2 / ((1 - x * x) * slope * slope)];
});

/**
 * The correction of the midpoint rule for y² at a rank, and the ordinate there.
 * @param {number} rank
 * @param {number} n
 */
function endOfSquares(rank, n) {
  const u = 1 - rank / n;
  const t = -Math.log1p(-rank / n);
  const [y, tu] = [Math.log(t), t * u];
  const [d1, d2] = [1 / tu, (t - 1) / tu ** 2];
  const d3 = (t + 2 * (t - 1) ** 2) / tu ** 3;
  return { y, term: (-2 * y * d1) / (24 * n) + (14 * (3 * d1 * d2 + y * d3)) / (5760 * n ** 3) };
}

/**
 * Sum of y² over the ranks first ... last of n.
 * @param {number} first
 * @param {number} last
 * @param {number} n
 */
export function squareSum(first, last, n) {
  const start = Math.max(first - 1, EDGE);
  const stop = Math.min(last, n - EDGE);
  if (stop - start < 4 * EDGE) return directSum(first, last, n, 2);
  const [low, high] = [endOfSquares(start, n), endOfSquares(stop, n)];
  let total = directSum(first, start, n, 2) + directSum(stop + 1, last, n, 2);
  total += high.term - low.term;
  // the integral of y² dF, with dF = exp(y - exp(y)) dy
  const [half, middle] = [0.5 * (high.y - low.y), 0.5 * (high.y + low.y)];
  for (const [node, weight] of GAUSS) {
    const y = middle + half * node;
    total += n * half * weight * y * y * Math.exp(y - Math.exp(y));
  }
  return total;
}
