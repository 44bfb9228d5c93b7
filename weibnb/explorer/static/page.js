// Made from js/src by npm run build.

// src/cells.js
var DIMS = ["model", "layer", "component", "step"];
var MOST_SELECTED = 400;
function cellOf(datum) {
  if (!datum || typeof datum !== "object") return null;
  const row = (
    /** @type {import("./types").Datum} */
    datum
  );
  const cell = DIMS.map((name) => row[name]);
  return cell.includes(void 0) ? null : (
    /** @type {Cell} */
    cell
  );
}
function bandOf({ band }) {
  const ends = typeof band === "string" && band.match(/^(-?\d+)–(-?\d+)$/);
  return ends ? [Number(ends[1]), Number(ends[2])] : null;
}
var keyOf = (cell) => JSON.stringify(cell);
function select(old, picked, add) {
  if (!add) return picked.slice(0, MOST_SELECTED);
  const keys = new Set(picked.map(keyOf));
  const others = old.filter((cell) => !keys.has(keyOf(cell)));
  if (picked.length === 1 && others.length < old.length && others.length) return others;
  return [...others, ...picked].slice(0, MOST_SELECTED);
}

// src/dom.js
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(
        name.slice(2),
        /** @type {EventListener} */
        value
      );
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== void 0) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}
function choices(options, label, onchange) {
  const select2 = make("select", { onchange: () => onchange(select2.value), "aria-label": label });
  select2.append(...options.map(([value, name]) => make("option", { value }, name)));
  return select2;
}
function labelled(text, ...controls) {
  return make("label", { class: "wb-field" }, make("span", {}, text), ...controls);
}
function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole2, name) => String(values[name] ?? whole2));
}
var grouped = (value) => typeof value === "number" ? value.toLocaleString("en") : value;

// src/fitting/ordinates.js
var EDGE = 16;
var EULER = 0.5772156649015329;
var CELLS = 1024;
var LEAST_RANKS = 4096;
var NEAR_END = 0.05;
var NODES = 96;
var EIN = Array.from({ length: 36 }, (_, i) => i + 1).reduce(
  ({ found, factorial }, m) => {
    const next = factorial * m;
    return { found: [...found, (m % 2 ? 1 : -1) / (m * next)], factorial: next };
  },
  { found: (
    /** @type {number[]} */
    []
  ), factorial: 1 }
).found;
function exponentialIntegral(t) {
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
var ordinateOfRank = (rank, n) => Math.log(-Math.log1p(-(rank - 0.5) / n));
var ordinate = (share) => Math.log(-Math.log1p(-share));
var TABLE = (() => {
  const at = Array.from({ length: CELLS + 1 }, (_, i) => {
    if (i === 0 || i === CELLS) return [0, 0, 0];
    const f = i / CELLS;
    const u = 1 - f;
    const t = -Math.log1p(-f);
    const integral = -(u * Math.log(t) + exponentialIntegral(t));
    return [integral, Math.log(t) / CELLS, 1 / (t * u) / CELLS ** 2];
  });
  const table2 = new Float64Array(6 * CELLS);
  for (let i = 1; i < CELLS - 1; i++) {
    const [[p0, d0, s0], [p1, d1, s1]] = [at[i], at[i + 1]];
    const rise = p1 - p0;
    table2.set(
      [
        p0,
        d0,
        s0 / 2,
        10 * rise - 6 * d0 - 4 * d1 - 1.5 * s0 + 0.5 * s1,
        -15 * rise + 8 * d0 + 7 * d1 + 1.5 * s0 - s1,
        6 * rise - 3 * d0 - 3 * d1 - 0.5 * s0 + 0.5 * s1
      ],
      6 * i
    );
  }
  return table2;
})();
function directSum(first, last, n, power) {
  let total = 0;
  for (let rank = first; rank <= last; rank++) total += ordinateOfRank(rank, n) ** power;
  return total;
}
function smoothPrefix(rank, n) {
  const u = 1 - rank / n;
  const t = u < 0.5 ? -Math.log(u) : -Math.log1p(-rank / n);
  const integral = -(u * Math.log(t) + exponentialIntegral(t));
  const tu = t * u;
  const third = (t + 2 * (t - 1) ** 2) / tu ** 3;
  return n * integral - 1 / tu / (24 * n) + 7 * third / (5760 * n ** 3);
}
function prefixSum(rank, n) {
  const share = rank / n;
  if (n >= LEAST_RANKS && NEAR_END <= share && share <= 1 - NEAR_END) {
    const place3 = share * CELLS;
    const cell = Math.floor(place3);
    const d = place3 - cell;
    const i = 6 * cell;
    const [c3, c4, c5] = [TABLE[i + 3], TABLE[i + 4], TABLE[i + 5]];
    const slope = 2 * TABLE[i + 2] + d * (6 * c3 + d * (12 * c4 + d * 20 * c5));
    const inner2 = TABLE[i + 2] + d * (c3 + d * (c4 + d * c5));
    return n * (TABLE[i] + d * (TABLE[i + 1] + d * inner2)) - slope * CELLS * CELLS / (24 * n);
  }
  const inner = Math.min(Math.max(rank, EDGE), n - EDGE);
  return smoothPrefix(inner, n) + directSum(inner + 1, rank, n, 1) - directSum(rank + 1, inner, n, 1);
}
var GAUSS = Array.from({ length: NODES }, (_, i) => {
  let x = Math.cos(Math.PI * (i + 0.75) / (NODES + 0.5));
  let slope = 1;
  for (let turn = 0; turn < 20; turn++) {
    let [before, value] = [1, x];
    for (let j = 2; j <= NODES; j++) {
      [before, value] = [value, ((2 * j - 1) * x * value - (j - 1) * before) / j];
    }
    slope = NODES * (x * value - before) / (x * x - 1);
    x -= value / slope;
  }
  return [x, 2 / ((1 - x * x) * slope * slope)];
});
function endOfSquares(rank, n) {
  const u = 1 - rank / n;
  const t = -Math.log1p(-rank / n);
  const [y, tu] = [Math.log(t), t * u];
  const [d1, d2] = [1 / tu, (t - 1) / tu ** 2];
  const d3 = (t + 2 * (t - 1) ** 2) / tu ** 3;
  return { y, term: -2 * y * d1 / (24 * n) + 14 * (3 * d1 * d2 + y * d3) / (5760 * n ** 3) };
}
function squareSum(first, last, n) {
  const start = Math.max(first - 1, EDGE);
  const stop = Math.min(last, n - EDGE);
  if (stop - start < 4 * EDGE) return directSum(first, last, n, 2);
  const [low, high] = [endOfSquares(start, n), endOfSquares(stop, n)];
  let total = directSum(first, start, n, 2) + directSum(stop + 1, last, n, 2);
  total += high.term - low.term;
  const [half, middle2] = [0.5 * (high.y - low.y), 0.5 * (high.y + low.y)];
  for (const [node, weight] of GAUSS) {
    const y = middle2 + half * node;
    total += n * half * weight * y * y * Math.exp(y - Math.exp(y));
  }
  return total;
}

// src/fitting/bins.js
var LABELS_AN_OCTAVE = 1024;
var GROUP = LABELS_AN_OCTAVE / 8;
var BIAS = 1023;
var [LOWER, MIDDLE] = [0, 2].map(
  (half) => Float64Array.from({ length: LABELS_AN_OCTAVE }, (_, i) => Math.log1p((i + half) / LABELS_AN_OCTAVE))
);
var SUMS = 4;
var MOMENTS = 4;
function positionOf(label, exact) {
  const octave = label >> 10;
  const place3 = label & LABELS_AN_OCTAVE - 1;
  if (octave === 0) return Math.log(place3 + (exact ? 0 : 2)) - (BIAS + 9) * Math.LN2;
  return (exact ? LOWER : MIDDLE)[place3] + (octave - BIAS) * Math.LN2;
}
function binsOf(labels, counts, exact) {
  const size = labels.length;
  const origin = size ? positionOf(labels[size >> 1], exact) : 0;
  const x = new Float64Array(size);
  const starts = [];
  let n = 0;
  for (let j = 0; j < size; j++) {
    x[j] = positionOf(labels[j], exact) - origin;
    n += counts[j];
    if (!j || Math.floor(labels[j] / GROUP) !== Math.floor(labels[j - 1] / GROUP)) starts.push(j);
  }
  const bins2 = { x, counts, n, origin, starts: Int32Array.from([...starts, size]) };
  return { ...bins2, ...sumsOf(bins2) };
}
function sumsOf({ x, counts, n, starts }) {
  const groups = starts.length - 1;
  const sums = new Float64Array(SUMS * groups);
  const moments = new Float64Array(MOMENTS * groups);
  let [seen, sx, sxx, sxy] = [0, 0, 0, 0];
  let before = n ? prefixSum(0, n) : 0;
  for (let group = 0; group < groups; group++) {
    sums.set([seen, sx, sxx, sxy], SUMS * group);
    const [start, stop] = [starts[group], starts[group + 1]];
    const [mass, first] = [seen, sx];
    for (let j = start; j < stop; j++) {
      const [c, at] = [counts[j], x[j]];
      seen += c;
      const here = prefixSum(seen, n);
      sx += c * at;
      sxx += c * at * at;
      sxy += at * (here - before);
      before = here;
    }
    moments.set(momentsOf(x, counts, start, stop, (sx - first) / (seen - mass)), MOMENTS * group);
  }
  return { sums, moments };
}
function momentsOf(x, counts, start, stop, mean) {
  let [mass, second, third, fourth] = [0, 0, 0, 0];
  for (let j = start; j < stop; j++) {
    const d = x[j] - mean;
    const square = counts[j] * d * d;
    mass += counts[j];
    second += square;
    third += square * d;
    fourth += square * d * d;
  }
  return [mean, second / mass, third / mass, fourth / mass];
}
function groupOf({ sums, starts }, rank) {
  let [low, high] = [0, starts.length - 2];
  while (low < high) {
    const middle2 = low + high + 1 >> 1;
    if (sums[SUMS * middle2] < rank) low = middle2;
    else high = middle2 - 1;
  }
  return low;
}
function sumsUpTo(bins2, rank) {
  const { x, counts, n, starts, sums } = bins2;
  const group = groupOf(bins2, rank);
  const at = SUMS * group;
  let [seen, sx, sxx, sxy] = [sums[at], sums[at + 1], sums[at + 2], sums[at + 3]];
  let before = prefixSum(seen, n);
  let j = starts[group];
  let bin = j;
  for (; seen < rank && j < starts[group + 1]; j++) {
    const mass = Math.min(counts[j], rank - seen);
    seen += mass;
    const here = prefixSum(seen, n);
    sx += mass * x[j];
    sxx += mass * x[j] * x[j];
    sxy += x[j] * (here - before);
    before = here;
    bin = j;
  }
  return { sx, sxx, sxy, sy: before, bin };
}
function curveOf({ x, counts, n, origin }) {
  let below2 = 0;
  const share = Array.from(x, (_, j) => {
    below2 += counts[j];
    return (below2 - counts[j] / 2) / n;
  });
  return { magnitude: Array.from(x, (at) => Math.exp(at + origin)), share, n };
}

// src/fitting/weibull.js
var LEAST = 100;
var STEPS = 60;
var SMOOTH = 0.25;
var WIDEST = 0.118;
var NONE = Object.freeze({ k: Number.NaN, lam: Number.NaN, r2: Number.NaN });
function trimRanks(n, [lower, upper]) {
  let first = Math.max(Math.ceil(lower * n + 0.5), 1);
  while (first > 1 && (first - 1.5) / n >= lower) first -= 1;
  while ((first - 0.5) / n < lower) first += 1;
  let last = Math.min(Math.floor(upper * n + 0.5), n);
  while (last < n && (last + 0.5) / n <= upper) last += 1;
  while ((last - 0.5) / n > upper) last -= 1;
  return [first, last];
}
var squares = /* @__PURE__ */ new Map();
function knownSquareSum(first, last, n) {
  const key = `${first} ${last} ${n}`;
  let sum = squares.get(key);
  if (sum === void 0) {
    if (squares.size > 2e3) squares.clear();
    sum = squareSum(first, last, n);
    squares.set(key, sum);
  }
  return sum;
}
function fitWeibull(bins2, trim, estimator) {
  const { x, n, origin } = bins2;
  if (n < LEAST || x.length < 2) return NONE;
  const [first, last] = trimRanks(n, trim);
  const m = last - first + 1;
  if (m < 1) return NONE;
  const [below2, upTo] = [sumsUpTo(bins2, first - 1), sumsUpTo(bins2, last)];
  const begin = binOf(bins2, first);
  if (begin === upTo.bin) return NONE;
  const [sx, sy] = [upTo.sx - below2.sx, upTo.sy - below2.sy];
  const sxy = upTo.sxy - below2.sxy - sx * sy / m;
  const sxx = upTo.sxx - below2.sxx - sx * sx / m;
  const syy = knownSquareSum(first, last, n) - sy * sy / m;
  let k = sxy / sxx;
  let b = (sx - sy / k) / m;
  if (estimator === "maximum_likelihood") {
    const ends = { low: first - 1, high: n - last, start: x[begin], stop: x[upTo.bin] };
    const found = censoredFit(atomsOf(bins2, first, last, k), ends, k, b);
    if (!found) return NONE;
    [k, b] = found;
  }
  return { k, lam: Math.exp(b + origin), r2: sxy * sxy / (sxx * syy) };
}
function binOf(bins2, rank) {
  const group = groupOf(bins2, rank);
  let j = bins2.starts[group];
  let seen = bins2.sums[SUMS * group] + bins2.counts[j];
  while (seen < rank) {
    j += 1;
    seen += bins2.counts[j];
  }
  return j;
}
function atomsOf({ x, counts, starts, sums, moments, n }, first, last, k) {
  const atoms = [];
  const smooth = k * WIDEST < SMOOTH;
  for (let group = 0; group < starts.length - 1; group++) {
    const from = sums[SUMS * group];
    const to = group + 2 < starts.length ? sums[SUMS * (group + 1)] : n;
    if (to < first) continue;
    if (from >= last) break;
    if (smooth && from >= first - 1 && to <= last) {
      atoms.push(to - from);
      for (let i = 0; i < MOMENTS; i++) atoms.push(moments[MOMENTS * group + i]);
      continue;
    }
    let seen = from;
    for (let j = starts[group]; j < starts[group + 1]; j++) {
      const mass = Math.min(seen + counts[j], last) - Math.max(seen, first - 1);
      seen += counts[j];
      if (mass > 0) atoms.push(mass, x[j], 0, 0, 0);
    }
  }
  return atoms;
}
function censoredFit(atoms, ends, k, b) {
  for (let turn = 0, converged = false; turn < STEPS; turn++) {
    const [s1, s2, h11, h12, h22] = slopes(atoms, ends, k, b);
    const determinant = h11 * h22 - h12 * h12;
    if (!(determinant > 0)) return null;
    if (converged) return [k, b];
    const stepK = -(h22 * s1 - h12 * s2) / determinant;
    const stepB = -(h11 * s2 - h12 * s1) / determinant;
    const damp = Math.min(
      1,
      0.5 * k / Math.max(Math.abs(stepK), 1e-300),
      1 / Math.max(Math.abs(stepB), 1e-300)
    );
    k += damp * stepK;
    b += damp * stepB;
    converged = Math.abs(stepK) < 1e-12 * k && Math.abs(stepB) < 1e-12;
  }
  return null;
}
function slopes(atoms, { low, high, start, stop }, k, b) {
  let [mass, sd, z0, z1, z2] = [0, 0, 0, 0, 0];
  for (let i = 0; i < atoms.length; i += 5) {
    const [g, m2, m3, m4] = [atoms[i], atoms[i + 2], atoms[i + 3], atoms[i + 4]];
    const d = atoms[i + 1] - b;
    const z = g * Math.exp(k * d);
    const p = 1 + k * k * (m2 / 2 + k * (m3 / 6 + k * m4 / 24));
    const p1 = k * (m2 + k * (m3 / 2 + k * m4 / 6));
    const p2 = m2 + k * (m3 + k * m4 / 2);
    mass += g;
    sd += g * d;
    z0 += z * p;
    z1 += z * (d * p + p1);
    z2 += z * (d * d * p + 2 * d * p1 + p2);
  }
  let s1 = mass / k + sd - z1;
  let s2 = k * (z0 - mass);
  let h11 = -mass / (k * k) - z2;
  let h12 = k * z1 + z0 - mass;
  let h22 = -k * k * z0;
  if (low > 0) {
    const d = start - b;
    const z = Math.exp(k * d);
    const r = 1 / Math.expm1(z);
    const curve = -r * (1 + r);
    s1 += low * r * z * d;
    s2 -= low * r * k * z;
    h11 += low * (curve * (z * d) ** 2 + r * z * d * d);
    h12 += low * (-curve * k * z * z * d - r * (k * z * d + z));
    h22 += low * (curve * (k * z) ** 2 + r * k * k * z);
  }
  if (high > 0) {
    const d = stop - b;
    const z = Math.exp(k * d);
    s1 -= high * z * d;
    s2 += high * k * z;
    h11 -= high * z * d * d;
    h12 += high * (k * z * d + z);
    h22 -= high * k * k * z;
  }
  return [s1, s2, h11, h12, h22];
}

// src/fitting/anchor.js
var WEIGHTS = 2 ** 30;
var [LOWEST, HIGHEST] = [-20, 3];
var BIAS2 = 1023;
function gaussianBins() {
  const [labels, counts] = [
    /** @type {number[]} */
    [],
    /** @type {number[]} */
    []
  ];
  const density = (w) => Math.sqrt(2 / Math.PI) * Math.exp(-w * w / 2);
  let [below2, ranks] = [density(0) * 2 ** LOWEST * (1 - 0.5 / 1024), 0];
  for (let octave = LOWEST; octave < HIGHEST; octave++) {
    for (let place3 = 0; place3 < 1024; place3 += 2) {
      const [low, high] = [place3 ? -1 : -0.5, 1].map((more) => 2 ** octave * (1 + (place3 + more) / 1024));
      below2 += (high - low) * (density(low) + 4 * density((low + high) / 2) + density(high)) / 6;
      const rank = Math.min(Math.round(below2 * WEIGHTS), WEIGHTS);
      if (rank <= ranks) continue;
      labels.push((octave + BIAS2) * 1024 + place3);
      counts.push(rank - ranks);
      ranks = rank;
    }
  }
  return binsOf(labels, counts, true);
}
var bins;
function gaussianAnchor(trim, estimator) {
  bins ??= gaussianBins();
  return fitWeibull(bins, trim, estimator);
}

// src/fitting/quantiles.js
function quantile(values, share) {
  const at = share * (values.length - 1);
  const [low, high] = [values[Math.floor(at)], values[Math.ceil(at)]];
  return low + (at - Math.floor(at)) * (high - low);
}
var median = (values) => quantile(values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b), 0.5);

// src/densities.js
var DENSITIES = {
  Weibull: (x, { k, lam }) => k * (x / lam) ** k * Math.exp(-((x / lam) ** k)),
  "half-normal": (x, { lam }, gaussian) => {
    const z = x * gaussian / lam;
    return Math.sqrt(2 / Math.PI) * z * Math.exp(-z * z / 2);
  }
};
function onDensity(row, fit2, gaussian) {
  const x = Number(row.magnitude);
  const made = DENSITIES[String(row.kind)]?.(x, fit2, gaussian);
  const density = made === void 0 ? row.density : finite(made);
  const ratio = typeof density === "number" && density > 0 ? finite(density / DENSITIES.Weibull(x, fit2, gaussian)) : null;
  const panel = String(row.panel).replace(/, k \d\S*$/m, `, k ${fit2.k.toFixed(3)}`);
  return { ...row, density, panel, ..."ratio" in row && { ratio } };
}
var finite = (value) => Number.isFinite(value) ? value : null;

// src/fitting/shares.js
var LEVELS = 2 ** 16 - 1;
var LEAST2 = 100;
var MANY = 2 ** 20;
function sharesOf(means, low, reach, ends, n) {
  const x = Float64Array.from(means, (level) => level / LEVELS * reach);
  return { x, origin: low, ends, n };
}
var known = { key: "", pieces: (
  /** @type {Piece[]} */
  []
) };
function piecesOf(trim, number) {
  const key = `${trim} ${number}`;
  if (known.key !== key) {
    const pieces = [];
    for (let part2 = 0; part2 < number; part2++) {
      const from = Math.max(trim[0], part2 / number);
      const to = Math.min(trim[1], (part2 + 1) / number);
      if (to - from > 1e-9) pieces.push(pieceOf(part2, from, to, number));
    }
    known = { key, pieces };
  }
  return known.pieces;
}
function pieceOf(part2, from, to, number) {
  const [first, last] = [Math.round(from * MANY), Math.round(to * MANY)];
  const ranks = last - first;
  const y = (prefixSum(last, MANY) - prefixSum(first, MANY)) / ranks;
  const dy = ordinate((last - 0.5) / MANY) - ordinate((first + 0.5) / MANY);
  return {
    part: part2,
    share: to - from,
    middle: (from + to) / 2 * number - part2 - 0.5,
    width: (to - from) * number,
    y,
    yy: squareSum(first + 1, last, MANY) / ranks - y * y,
    dy
  };
}
function fitShares({ x, origin, ends, n }, trim, estimator) {
  const last = x.length - 1;
  const pieces = piecesOf(trim, x.length);
  const none = { k: Number.NaN, lam: Number.NaN, r2: Number.NaN };
  if (n < LEAST2 || !pieces.length) return none;
  let [m, sx, sy, sxx, sxy, syy] = [0, 0, 0, 0, 0, 0];
  const atoms = [];
  for (const { part: part2, share, middle: middle2, width, y, yy, dy } of pieces) {
    const outer = part2 === 0 || part2 === last;
    const slope = (x[Math.min(part2 + 1, last)] - x[Math.max(part2 - 1, 0)]) / (outer ? 1 : 2);
    const at = x[part2] + slope * middle2;
    const spread = outer ? ends[part2 && 1] * width * width : (slope * width) ** 2 / 12;
    const together = outer ? Math.sqrt(spread * yy) : slope * width * dy / 12;
    m += share;
    sx += share * at;
    sy += share * y;
    sxx += share * (at * at + spread);
    sxy += share * (at * y + together);
    syy += share * (y * y + yy);
    atoms.push(n * share, at, spread, 0, 1.8 * spread * spread);
  }
  sxx -= sx * sx / m;
  sxy -= sx * sy / m;
  syy -= sy * sy / m;
  if (!(sxx > 0)) return none;
  let k = sxy / sxx;
  let b = (sx - sy / k) / m;
  if (estimator === "maximum_likelihood") {
    const [start, stop] = [atoms[1], atoms[atoms.length - 4]].map((at, end) => {
      const spread = Math.sqrt(3 * atoms[end ? atoms.length - 3 : 2]);
      return at + (end ? spread : -spread);
    });
    const censored = { low: n * trim[0], high: n * (1 - trim[1]), start, stop };
    const found = censoredFit(atoms, censored, k, b);
    if (!found) return none;
    [k, b] = found;
  }
  return { k, lam: Math.exp(b + origin), r2: sxy * sxy / (sxx * syy) };
}

// src/fitting/counts.js
function room(type, size) {
  if (type === "u1") return new Uint8Array(size);
  if (type === "u2") return new Uint16Array(size);
  if (type === "u4") return new Uint32Array(size);
  return type === "f4" ? new Float32Array(size) : new Float64Array(size);
}
function arraysOf(described, bytes) {
  const found = {};
  let at = 0;
  for (const [name, type, size] of described) {
    const width = Number(type.slice(1));
    const array = room(type, size);
    if (type === "u8") {
      for (let plane = 0; plane < width; plane++) {
        const weight = 256 ** plane;
        for (let i = 0; i < size; i++) array[i] += weight * bytes[at + plane * size + i];
      }
    } else {
      const own = new Uint8Array(array.buffer);
      for (let plane = 0; plane < width; plane++) {
        for (let i = 0; i < size; i++) own[width * i + plane] = bytes[at + plane * size + i];
      }
    }
    found[name] = array;
    at += width * size;
  }
  return found;
}
async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function countsOf({ kind, dims, dtypes, arrays }, bytes) {
  const held = arraysOf(arrays, bytes);
  const made = kind === "bins" ? ofBins(held) : ofShares(held);
  const [matrices, curves] = [made.map((one) => one.fit), made.map((one) => one.curve)];
  const cells = /* @__PURE__ */ new Map();
  const first = /* @__PURE__ */ new Map();
  matrices.forEach((matrix, i) => {
    const place3 = held.places[i];
    if (!first.has(place3)) first.set(place3, i);
    const own = cells.get(place3);
    if (own) own.push(matrix);
    else cells.set(place3, [matrix]);
  });
  const names = ["model", "layer", "component", "step"];
  const orders = names.map((name) => new Map(dims[name].map((label, i) => [label, i])));
  return {
    exact: kind === "bins",
    layers: (
      /** @type {number[]} */
      dims.layer
    ),
    /** Shape and storage format of a matrix. @param {Cell} cell */
    about(cell) {
      const at = first.get(placeOf(cell, orders));
      if (at === void 0) return "";
      const shape = held.rows[at] ? `${held.rows[at]} × ${held.cols[at]} ` : "";
      return shape + dtypes[held.dtypes[at]];
    },
    /** k by step. @param {Cell} cell @param {Trim} trim @param {Estimator} estimator */
    alongSteps(cell, trim, estimator) {
      const points = dims.step.map((step) => {
        const fit2 = this.fit([cell[0], cell[1], cell[2], step], trim, estimator);
        return (
          /** @type {[number, number]} */
          [Number(step), fit2?.k ?? Number.NaN]
        );
      });
      return points.filter(([, k]) => !Number.isNaN(k));
    },
    number: matrices.length,
    /** @param {Cell} cell */
    has: (cell) => cells.has(placeOf(cell, orders)),
    /** @param {Cell} cell @param {Trim} trim @param {Estimator} estimator @returns {Fit | null} */
    fit: (cell, trim, estimator) => middle(cells.get(placeOf(cell, orders))?.map((matrix) => matrix(trim, estimator)) ?? []),
    /** Magnitudes of a matrix, the share of the weights below each, and how many weights. @param {Cell} cell */
    curve(cell) {
      const at = first.get(placeOf(cell, orders));
      return at === void 0 ? null : curves[at]();
    },
    /** Make what is made once of each matrix. @param {number} i */
    prepare: (i) => matrices[i]([0.1, 0.9], "rank_regression")
  };
}
function placeOf(cell, orders) {
  let place3 = 0;
  for (const [i, order] of orders.entries()) {
    const at = order.get(cell[i]);
    if (at === void 0) return -1;
    place3 = place3 * order.size + at;
  }
  return place3;
}
function middle(several) {
  const fits = several.filter((fit2) => fit2 !== null);
  if (fits.length < 2) return fits[0] ?? null;
  return {
    k: median(fits.map((fit2) => fit2.k)),
    lam: median(fits.map((fit2) => fit2.lam)),
    r2: median(fits.map((fit2) => fit2.r2))
  };
}
function ofBins({ exact, sizes, labels, counts }) {
  let at = 0;
  return Array.from(sizes, (size, i) => {
    const start = at;
    at += size;
    let bins2;
    const made = () => {
      if (bins2) return bins2;
      const own = new Uint32Array(size);
      let label = 0;
      for (let j = 0; j < size; j++) own[j] = label += labels[start + j];
      bins2 = binsOf(own, counts.subarray(start, start + size), Boolean(exact[i]));
      return bins2;
    };
    return {
      fit: (trim, estimator) => fitWeibull(made(), trim, estimator),
      curve: () => curveOf(made())
    };
  });
}
function ofShares({ n, low, reach, ends, means }) {
  const number = means.length / n.length;
  return Array.from(n, (weights, i) => {
    const own = means.subarray(number * i, number * (i + 1));
    const shares = sharesOf(own, low[i], reach[i], ends.subarray(2 * i, 2 * i + 2), weights);
    return { fit: (trim, estimator) => fitShares(shares, trim, estimator), curve: () => null };
  });
}

// src/differences.js
var isDifference = (row) => "first_k" in row || "delta_k" in row;
var STRONG = 0.75;
function reachOf(values) {
  const numbers = Object.values(values).flat().filter((one) => typeof one === "number");
  return Math.max(0, ...numbers.filter((one) => numbers.includes(-one)));
}
function onDifference(row, both, reach) {
  const value = known2(median(both.map(([from, to]) => to.k - from.k)));
  if (!("first_k" in row)) return { ...row, delta_k: value };
  const [first, second] = [0, 1].map((side) => middle(both.map((fits) => fits[side])));
  const far = Math.abs(value ?? Number.NaN);
  const [quiet, strong] = [far < Number(row.noise), far > STRONG * reach].map((is) => is ? "yes" : "no");
  return {
    ...row,
    ...{ k: known2(second?.k), first_k: known2(first?.k), second_k: known2(second?.k), value },
    ..."lam" in row && { lam: known2(second?.lam) },
    ..."r2" in row && { r2: known2(second?.r2) },
    ..."quiet" in row && { quiet },
    ..."strong" in row && { strong }
  };
}
var known2 = (value) => value === void 0 || Number.isNaN(value) ? null : value;

// src/training.js
var [TOLD, SURELY] = [2, 4];
var BAND = / · shaded: published feed-forward medians$/;
var isOnCourse = (row) => "at" in row && "step" in row;
function pathsOf(rows) {
  const sides = rows.filter(({ told, role }) => told && role === "end").map(({ side }) => side);
  if (!sides.length) return rows;
  const ends = /* @__PURE__ */ new Map();
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
    })
  );
  const sizes = rows.map(({ lam }) => Math.log(Number(lam)));
  const middle2 = (sizes.reduce((a, b) => Math.min(a, b)) + sizes.reduce((a, b) => Math.max(a, b))) / 2;
  const made = rows.map((row, i) => {
    const told = most.get(nameOf(row)) ? `${row.component} of layer ${row.layer}` : "";
    const found = { ...row, told, side: sizes[i] < middle2 ? "left" : "right" };
    return found;
  });
  const named = made.filter(({ told, role }) => told && role === "end");
  for (const one of named) {
    const isLow = named.some(({ panel, k }) => panel === one.panel && Number(k) > Number(one.k));
    one.level = isLow ? "low" : "high";
  }
  const fromMiddle = ({ lam }) => Math.abs(Math.log(Number(lam)) - middle2);
  const free = [...named].sort((one, other) => fromMiddle(one) - fromMiddle(other));
  for (const side of new Set(sides)) {
    const isSpare = (one) => !sides.includes(one.side) || named.filter((other) => other.side === one.side).length > 1;
    const moved = named.some((one) => one.side === side) ? void 0 : free.find(isSpare);
    if (moved) moved.side = side;
  }
  return [...made.filter(({ told }) => !told), ...made.filter(({ told }) => told)];
}
var nameOf = ({ model, layer, component }) => JSON.stringify([model, layer, component]);
var isBefore = (one, other) => Number(one.step) < Number(other.step);
var moveOf = (first, last) => ({
  moved: Math.abs(Number(last.k) - Number(first.k)),
  sure: SURELY * Math.hypot(Number(first.k_se ?? Number.NaN), Number(last.k_se ?? Number.NaN))
});

// src/redrawn.js
var QUANTITIES = ["k", "lam", "r2"];
var NEAR = 1e-5;
function cellsOf(row, layers) {
  const cell = cellOf(row);
  if (!cell) return [];
  const band = bandOf(row);
  if (!band) return [cell];
  const [low, high] = band;
  return layers.filter((layer) => low <= layer && layer <= high).map((layer) => [cell[0], layer, cell[2], cell[3]]);
}
function refitted(row, fit2, { value }, anchor, was, renamed2) {
  if ("matrix" in row) return onPaper(row, fit2, anchor, renamed2);
  if ("density" in row) return onDensity(row, fit2, anchor.lam);
  const { k, lam, r2 } = fit2;
  const next = { ...row, ..."lam" in row && { lam }, ..."r2" in row && { r2 } };
  if ("k" in row) next.k = Number.isNaN(k) ? null : k;
  const error = (
    /** @type {number} */
    row.k_se
  );
  if (isOnCourse(row)) return "low" in row ? { ...next, low: anchor.k, high: anchor.k } : next;
  if ("low" in row && "high" in row && error) Object.assign(next, { low: k - error, high: k + error });
  if ("value" in row && row.value !== null) next.value = otherValue(row, fit2, value, anchor, was);
  return next;
}
function otherValue(row, fit2, value, anchor, was) {
  if (QUANTITIES.includes(value)) return fit2[
    /** @type {"k"} */
    value
  ];
  if (value === "z" && row.k_se) return (fit2.k - anchor.k) / Number(row.k_se);
  if (value === "outlier") return Number(row.value) * Number(row.lam) / fit2.lam * (anchor.lam / was.lam);
  return row.value;
}
function onPaper(row, { k, lam, r2 }, anchor, renamed2) {
  const { magnitude, y, kind } = (
    /** @type {{ magnitude: number, y: number, kind?: string }} */
    row
  );
  const matrix = renamed2(String(row.matrix), k, lam, r2);
  const line = k * Math.log(magnitude / lam);
  if (kind === void 0) return { ...row, matrix, residual: y - line };
  if (kind === "scale") return { ...row, matrix, magnitude: lam };
  if (kind === "gaussian") {
    const at = gaussianOrdinate(magnitude / (lam / anchor.lam));
    return { ...row, matrix, y: at, residual: at - line };
  }
  if (kind === "other") return { ...row, residual: y - line };
  if (kind !== "line") return row;
  const margin = (
    /** @type {number} */
    (row.high - /** @type {number} */
    row.low) / 2
  );
  return { ...row, matrix, y: line, low: line - margin, high: line + margin };
}
function relabelled(text, k, lam, r2) {
  return text.replace(/k \d\S*( ± \S+)?/, `k ${k.toFixed(4)}`).replace(/λ \d\S*/, `λ ${Number(lam.toPrecision(4))}`).replace(/r² \d\S*/, `r² ${r2.toFixed(4)}`).replace(/\s+KS \d\S*/, "");
}
function gaussianOrdinate(x) {
  const z = x / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const c = [
    -1.26551223,
    1.00002368,
    0.37409196,
    0.09678418,
    -0.18628806,
    0.27886807,
    -1.13520398,
    1.48851587,
    -0.82215223,
    0.17087277
  ];
  const above = t * Math.exp(-z * z + c.reduceRight((sum, one) => sum * t + one, 0));
  return Math.log(-Math.log(above));
}
function redrawn(sent, asked, before, counts, compared = null) {
  const [was, anchor] = [before, asked].map((one) => gaussianAnchor(one.trim, one.estimator));
  const fitOf = fitter(asked, before, counts);
  const [owners, reach] = [ownersOf(sent.data), reachOf(sent.values)];
  const named = /* @__PURE__ */ new Map();
  const nameOf2 = (...[text, ...numbers]) => {
    const name = named.get(text) ?? relabelled(text, ...numbers);
    named.set(text, name);
    return name;
  };
  const data = Object.fromEntries(
    Object.entries(sent.data).map(([name, rows]) => [
      name,
      rows.map((row) => {
        if (isTrim(row)) return trimRow(asked.trim);
        if (isAnchor(row)) return { ...row, at: anchor.k };
        if (isDifference(row)) return compared ? ofBoth(row, compared, asked, counts, reach) : row;
        const owner = owners.get(row.matrix) ?? row;
        const fit2 = isOfExpert(owner) ? null : fitOf(owner);
        return fit2 ? refitted(row, fit2, asked, anchor, was, nameOf2) : row;
      })
    ])
  );
  const names = namesOf(sent.data, data);
  const told = renamed({ ...shifted(sent.values, was.k, anchor.k), notes: sent.notes }, names);
  const { notes, ...values } = reworded(told, protocolText(before), protocolText(asked));
  const description = [...names].reduce((text, [old, next]) => text.replace(old, () => next), sent.description);
  const ordered = Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, pathsOf(rows)]));
  return { data: ordered, values, description, notes: (
    /** @type {string[]} */
    notes
  ) };
}
var isOfExpert = ({ expert }) => typeof expert === "number" && expert >= 0;
function ofBoth(row, compared, { trim, estimator }, counts, reach) {
  const [before, after] = compared.map(([model, step]) => cellsOf({ ...row, model, step }, counts.layers));
  const both = [];
  before.forEach((cell, i) => {
    const [from, to] = [cell, after[i]].map((one) => counts.fit(one, trim, estimator));
    if (from && to) both.push([from, to]);
  });
  return both.length ? onDifference(row, both, reach) : row;
}
function protocolText({ trim, estimator }) {
  const [lower, upper] = trim.map((end) => Number((100 * end).toPrecision(10)));
  return `${estimator.replace("_", " ")}, trim ${lower}–${upper} %`;
}
function reworded(values, before, after) {
  const said = (one) => typeof one === "string" ? one.replace(before, after).replace(BAND, "") : one;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(said) : said(value)
    ])
  );
}
function fitter(asked, before, counts) {
  const known3 = /* @__PURE__ */ new Map();
  return (row) => {
    const cells = cellsOf(row, counts.layers).filter(counts.has);
    if (!cells.length) return null;
    const key = keyOf(cells[0]) + cells.length;
    let fit2 = known3.get(key);
    if (fit2 === void 0) {
      fit2 = middle(cells.map((cell) => counts.fit(cell, asked.trim, asked.estimator)));
      known3.set(key, fit2);
    }
    return fit2;
  };
}
function shifted(values, was, is) {
  const numbers = Object.values(values).flat().filter((one) => typeof one === "number");
  const moved = (one) => typeof one === "number" && numbers.some((other) => Math.abs(one + other - 2 * was) < NEAR) ? one + is - was : one;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(moved) : moved(value)
    ])
  );
}
function namesOf(before, after) {
  const names = /* @__PURE__ */ new Map();
  for (const [name, rows] of Object.entries(before)) {
    rows.forEach((row, i) => {
      for (const key of ["matrix", "panel"]) {
        if (row[key] === after[name][i][key]) continue;
        const [old, next] = [row, after[name][i]].map((one) => String(one[key] ?? "").split("\n"));
        if (!names.has(old[0])) old.forEach((line, j) => names.set(line, next[j]));
      }
    });
  }
  return names;
}
var renamed = (values, names) => Object.fromEntries(
  Object.entries(values).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map((one) => names.get(one) ?? one) : names.get(value) ?? value
  ])
);
var ownersOf = (data) => new Map(
  Object.values(data).flat().filter((row) => "matrix" in row && cellOf(row)).map((row) => [row.matrix, row])
);
var isTrim = (row) => "low" in row && "high" in row && Object.keys(row).length === 2;
var isAnchor = (row) => typeof row.words === "string" && row.words.includes("untrained Gaussian");
var trimRow = ([low, high]) => ({
  low: ordinate(Math.max(low, 1e-4)),
  high: ordinate(Math.min(high, 1 - 1e-6))
});

// src/sieve.js
function buildSieve({ labels, places, facets: codes }, facets) {
  const cells = places[0].map((_, i) => (
    /** @type {Cell} */
    labels.map((some, d) => some[places[d][i]])
  ));
  const numbers = new Map(cells.map((cell, i) => [keyOf(cell), i]));
  const layers = (
    /** @type {number[]} */
    labels[1]
  );
  function tests({ filters, layers: ends, step }) {
    const found = facets.filter(({ name }) => filters[name]).map(({ name, values }) => {
      const kept2 = values.map((value) => filters[name].includes(value));
      return [name, (i) => kept2[codes[name][i]]];
    });
    if (ends) found.push(["layers", (i) => ends[0] <= Number(cells[i][1]) && Number(cells[i][1]) <= ends[1]]);
    if (step !== null) found.push(["step", (i) => cells[i][3] === step]);
    return new Map(found);
  }
  return {
    total: cells.length,
    /** @param {Asked} asked @returns {Sifted} */
    sift(asked) {
      const all = tests(asked);
      const passing = (without) => {
        const others = [...all].filter(([name]) => name !== without).map(([, test]) => test);
        return cells.map((_, i) => others.every((test) => test(i)));
      };
      const kept2 = passing();
      const counts = facets.map(({ name, values }) => {
        const sums = values.map(() => 0);
        passing(name).forEach((passes, i) => {
          if (passes) sums[codes[name][i]] += 1;
        });
        return [name, sums];
      });
      return {
        counts: Object.fromEntries(counts),
        cells: cells.filter((_, i) => kept2[i]),
        empty: kept2.includes(true) ? [] : [...all].filter(([, test]) => !cells.some((_, i) => test(i))).map(([name]) => name),
        has: (cell) => kept2[numbers.get(keyOf(cell)) ?? -1] === true,
        nearest([model, layer, component, step]) {
          const far = (cell) => Math.abs(Number(cell[1]) - Number(layer));
          const same = (cell) => cell[0] === model && cell[2] === component && cell[3] === step;
          const like = cells.filter((cell, i) => kept2[i] && same(cell));
          const own = like.find((cell) => cell[1] === layer);
          if (own || !like.length || Number.isInteger(layer) || typeof layer !== "number") return own ?? null;
          return like.reduce((best, cell) => far(cell) < far(best) ? cell : best);
        },
        passes(row) {
          const own = cellsOf(row, layers).map((cell) => numbers.get(keyOf(cell)));
          const known3 = own.filter((i) => i !== void 0);
          return !known3.length || known3.some((i) => kept2[i]);
        }
      };
    }
  };
}
function bothOf(pairs, sieve, { filters: { model: _models, ...filters }, layers }) {
  const { cells, passes } = sieve.sift({ filters, layers, step: null });
  return {
    cells: cells.filter((cell) => pairs.some(([model, step]) => cell[0] === model && cell[3] === step)),
    /** A row of a difference, which both must have. @param {Datum} row */
    passes: (row) => pairs.every(([model, step]) => passes({ ...row, model, step }))
  };
}
function sifted(spec, passes) {
  const datasets = Object.fromEntries(
    Object.entries(
      /** @type {Record<string, Datum[]>} */
      spec.datasets
    ).map(([name, rows]) => [
      name,
      rows.filter((row) => !("layer" in row && "component" in row) || passes(row))
    ])
  );
  const [before, after] = [spec.datasets, datasets].map((one) => Object.values(one).flat().length);
  return before === after ? spec : holding(spec, datasets);
}
function holding(spec, datasets) {
  const after = Object.values(datasets).flat();
  const known3 = /* @__PURE__ */ new Map();
  const left = (field) => {
    const found = known3.get(field) ?? new Set(after.map((row) => row[field]));
    known3.set(field, found);
    return found;
  };
  return { ...narrowed({ ...spec, datasets: {} }, left), datasets };
}
function narrowed(node, left) {
  if (Array.isArray(node)) return node.map((child) => narrowed(child, left));
  if (!node || typeof node !== "object") return node;
  const next = Object.fromEntries(Object.entries(node).map(([key, child]) => [key, narrowed(child, left)]));
  const { domain, range } = next.scale ?? {};
  if (typeof next.field !== "string" || next.type === "quantitative" || !Array.isArray(domain)) return next;
  const kept2 = domain.map((label) => left(next.field).has(label));
  const cut = (list) => list.filter((_, i) => kept2[i]);
  next.scale = { ...next.scale, domain: cut(domain) };
  if (Array.isArray(range) && range.length === domain.length) next.scale.range = cut(range);
  return next;
}
function standingOut(rows, anchor) {
  let found = null;
  let most = Number.NEGATIVE_INFINITY;
  for (const row of rows) {
    const cell = cellOf(row);
    if (!cell || typeof row.k !== "number" || "matrix" in row) continue;
    const far = Math.abs(row.k - anchor) - 2 * Number(row.k_se ?? 0);
    if (far > most) [found, most] = [cell, far];
  }
  return found;
}

// src/published.js
var numberIn = (row, name) => Number.isFinite(row[name]) ? Number(row[name]) : null;
var numbersIn = (rows, name) => rows.map((row) => numberIn(row, name)).filter((value) => value !== null).sort((a, b) => a - b);
var endsOf = (values, gaussian) => [
  Math.floor(20 * Math.min(...values, gaussian - 0.1) - 0.2) / 20,
  Math.ceil(20 * Math.max(...values, gaussian) + 0.2) / 20
];
function besideEntries(spec, table2, rowsFor, { values, names, gaussian, isPublished = true }, texts) {
  const ends = endsOf(values, gaussian);
  let under = 0;
  const told = (row) => {
    if (isAnchor(row)) return { ...row, at: gaussian };
    if (!("below" in row)) return row;
    const below2 = Number(row.k) < ends[0];
    under += Number(below2);
    return { ...row, below: below2 ? "yes" : "no" };
  };
  const tables = Object.entries(
    /** @type {Record<string, Datum[]>} */
    spec.datasets
  ).map(([name, rows]) => {
    const left = rows.filter((row) => !("component" in row) || isPublished && names.has(row.component));
    return [name, name === table2 ? rowsFor(ends) : left.map(told)];
  });
  const share = names.size / new Set(placesOf(spec)).size;
  const arrows = under ? fill(texts.page_arrows, { number: under }) : "";
  return { spec: withAxes(holding(spec, Object.fromEntries(tables)), ends, share), arrows };
}
var placesOf = (spec) => spec.spec ? placesOf(spec.spec) : spec.layer.map((one) => one.encoding.x?.scale?.domain ?? []).flat();
function withAxes(spec, domain, share) {
  if (spec.spec) return { ...spec, spec: withAxes(spec.spec, domain, share) };
  const narrow = (text) => text.replace(/< (\d+)/, (_, pixels) => `< ${Math.round(pixels * share)}`);
  const looks = (axis) => ({
    labelAngle: { expr: narrow(axis.labelAngle.expr) },
    labelAlign: { expr: narrow(axis.labelAlign.expr) },
    labelExpr: narrow(axis.labelExpr)
  });
  const layer = spec.layer.map((one) => {
    const { x, y } = one.encoding;
    const { axis } = x ?? {};
    const names = axis && { ...x, axis: { ...axis, ...looks(axis) } };
    const values = y?.scale && { ...y, scale: { ...y.scale, domain } };
    return { ...one, encoding: { ...one.encoding, ...names && { x: names }, ...values && { y: values } } };
  });
  return { ...spec, layer };
}

// src/cohort.js
var LONGEST = 48;
function medianOf(matrices) {
  const sorted = [...matrices].sort((a, b) => a.k - b.k);
  const [last, values] = [sorted.length - 1, sorted.map(({ k }) => k)];
  const [one, two] = [sorted[last >> 1], sorted[last + 1 >> 1]];
  const sampling = one === two ? one.error : Math.hypot(one.error, two.error) / 2;
  const reach = Math.sqrt(sorted.length) / 2;
  const [low, high] = [-reach, reach].map((more) => Math.min(Math.max(last / 2 + more, 0), last));
  const spread = last ? (quantile(values, high / last) - quantile(values, low / last)) / 2 : Number.NaN;
  const known3 = [sampling, spread].filter((error) => !Number.isNaN(error));
  return { k: quantile(values, 0.5), se: known3.length ? Math.max(...known3) : Number.NaN };
}
var root = (terms) => Math.hypot(...terms);
function ranked(own, published, selecting) {
  const spread = /* @__PURE__ */ new Map();
  for (const component of own.keys()) {
    const ks = published.filter((row) => row.component === component).map((row) => Number(row.k));
    const mean = ks.reduce((sum, k) => sum + k, 0) / ks.length;
    const deviation = root(ks.map((k) => k - mean)) / Math.sqrt(ks.length - 1);
    if (deviation > 0) spread.set(component, deviation);
  }
  const found = /* @__PURE__ */ new Map();
  for (const row of published) {
    const [name, component] = [String(row.model), String(row.component)];
    const unit = spread.get(component);
    if (!unit) continue;
    const entry = found.get(name) ?? { name, distance: 0, z: /* @__PURE__ */ new Map(), blind: true };
    found.set(name, entry);
    entry.z.set(
      component,
      /** @type {number} */
      (own.get(component) - Number(row.k)) / unit
    );
    if (selecting.includes(component)) entry.blind = false;
  }
  const entries = [...found.values()];
  for (const entry of entries) entry.distance = root(entry.z.values()) / Math.sqrt(entry.z.size);
  entries.sort((a, b) => Number(a.blind) - Number(b.blind) || a.distance - b.distance);
  return { entries, spread };
}
function nearestTo(model, medians, published, gaussian, { selects, close }, texts) {
  const own = new Map(medians.map(({ component, k }) => [component, k]));
  const { entries, spread } = ranked(own, published, selects);
  const [first, picked] = [entries[0], entries.find(({ distance }) => distance > 0)];
  if (!picked) return fill(texts.page_lonely, { model });
  const errors = new Map(medians.map(({ component, se }) => [component, se / (spread.get(component) ?? Number.NaN)]));
  const slope = ({ z, distance }, component) => (z.get(component) ?? 0) / (distance > 0 ? distance * z.size : 1);
  const moved = (by) => root([...errors].map(([component, error]) => by(component) * (error || 0)));
  const isTied = (one) => one.blind === first.blind && one.distance - first.distance <= moved((name) => slope(one, name) - slope(first, name));
  const margin = moved((name) => slope(picked, name));
  const untrained = root([...picked.z.keys()].map((name) => (Number(own.get(name)) - gaussian) / Number(spread.get(name))));
  const isFirst = picked === first;
  const notes = [
    isTied(picked) && entries.filter(isTied).length > 1 && texts.page_tied,
    isFirst && picked.distance - margin > close && texts.page_nothing_close,
    isFirst && untrained / Math.sqrt(picked.z.size) < picked.distance && texts.page_untrained,
    picked.blind && texts.page_no_selection
  ].filter(Boolean);
  const told = fill(texts.page_nearest, { model, entry: picked.name, distance: picked.distance.toFixed(2) });
  return told + (notes.length ? ` (${notes.join("; ")})` : "");
}
function mediansOf(rows) {
  const groups = /* @__PURE__ */ new Map();
  for (const { model, component, k, error } of rows) {
    if (typeof k !== "number") continue;
    const own = groups.get(String(model)) ?? /* @__PURE__ */ new Map();
    groups.set(String(model), own);
    own.set(component, [...own.get(component) ?? [], { k, error: typeof error === "number" ? error : Number.NaN }]);
  }
  return new Map(
    [...groups].map(([model, own]) => [
      model,
      [...own].map(([component, matrices]) => ({ component, ...medianOf(matrices) }))
    ])
  );
}
var fittedAgain = (rows, counts, { trim, estimator }) => rows.map((row) => {
  const cell = cellOf(row);
  const fit2 = cell && counts.fit(cell, trim, estimator);
  return fit2 ? { ...row, k: Number.isNaN(fit2.k) ? null : fit2.k } : row;
});
function cohortOf(again, passes, texts, counts, asked) {
  const { [again.matrices]: all, ...datasets } = (
    /** @type {Record<string, Datum[]>} */
    again.spec.datasets
  );
  const kept2 = all.filter(passes);
  if (kept2.length === all.length && !counts) return null;
  const models = mediansOf(counts ? fittedAgain(kept2, counts, asked) : kept2);
  const own = [...models].flatMap(
    ([model, medians]) => medians.map((one) => ({ ...one, model, low: one.k - (one.se || 0), high: one.k + (one.se || 0) }))
  );
  const tables = Object.values(datasets).flat();
  const gaussian = counts ? gaussianAnchor(asked.trim, asked.estimator).k : Number(tables.find(isAnchor)?.at);
  const isPublished = !counts || protocolText(asked) === again.published;
  const published = tables.filter((row) => "below" in row);
  const [values, names] = [own.flatMap(({ low, high }) => [low, high]), new Set(own.map((one) => one.component))];
  const about = { values, names, gaussian, isPublished };
  const { spec, arrows } = besideEntries({ ...again.spec, datasets }, again.table, () => own, about, texts);
  if (!isPublished) return { spec, notes: again.alone.slice(1), text: again.alone[0] };
  const nearest = [...models].slice(0, again.most).map(([model, medians]) => {
    const name = model.length > LONGEST ? `${model.slice(0, LONGEST - 1)}…` : model;
    return nearestTo(name, medians, published, gaussian, again, texts);
  });
  return { spec, notes: [again.note, ...nearest, arrows] };
}

// src/again.js
var LEAST_HEIGHT = 80;
var NAME = 0.25;
var LEAST_SPREAD = 0.1;
var OFFSET = 0.7;
function madeAgain(content, { sift, varies, asked, fitting }, drawn, texts) {
  const { again, plain = "" } = content;
  const sent = (
    /** @type {any} */
    content.spec
  );
  if (!again) return content;
  const titled = ({ spec, notes, text = plain }) => {
    const title = { text, subtitle: notes.filter(Boolean) };
    const { $schema, config } = sent;
    return { ...content, spec: { $schema, config, ...spec, title, description: text } };
  };
  if (again.chart === "cohort") {
    const made = cohortOf(again, sift.passes, texts, varies ? fitting : null, asked);
    return made ? titled(made) : content;
  }
  const parted = { structure: "", spec: sent, values: {}, data: sent.datasets, description: "", notes: [] };
  const value = "outlier";
  const data = varies && fitting ? redrawn(parted, { ...asked, value }, drawn, fitting).data : sent.datasets;
  const all = (
    /** @type {Datum[]} */
    data[sent.data.name]
  );
  const rows = all.filter((row) => !cellOf(row) || sift.passes(row));
  if (!varies && rows.length === all.length) return content;
  const anchor = Object.values(data).flat().find(isAnchor);
  return titled(
    again.chart === "class_bands" ? bandsOf(again, rows, anchor, protocolText(asked), texts) : stripOf(again, rows, { ...sent, datasets: data }, texts)
  );
}
function bandsOf({ spec, band, published, notes, no_band }, rows, anchor, protocol, texts) {
  const all = numbersIn(rows, "k");
  const [first, last] = [0.25, 0.75].map((share) => quantile(all, share));
  const reach = 3 * Math.max(last - first, LEAST_SPREAD);
  const [low, high] = [first - reach, last + reach];
  const within2 = all.filter((k) => low <= k && k <= high);
  const beyondOf = (k) => k === null || low <= k && k <= high ? "no" : k < low ? "below" : "above";
  const rowsFor = (ends) => placed(rows).map((row) => {
    const median2 = numberIn(row, "median");
    const barred = median2 !== null && ends[0] <= median2 && median2 <= ends[1] ? "yes" : "no";
    return { ...row, beyond: beyondOf(numberIn(row, "k")), barred };
  });
  const isPublished = protocol === published;
  const names = new Set(rows.map((row) => row.component));
  const about = { values: [...within2, ...band], names, gaussian: Number(anchor?.at), isPublished };
  const { spec: made, arrows } = besideEntries(spec, spec.data.name, rowsFor, about, texts);
  const [below2, above] = [all.filter((k) => k < low), all.filter((k) => k > high)];
  const sides = [
    below2.length ? fill(texts.page_below, { number: below2.length, k: below2[0].toFixed(3) }) : "",
    above.length ? fill(texts.page_above, { number: above.length, k: above[above.length - 1].toFixed(3) }) : ""
  ];
  return { spec: made, notes: [...isPublished ? notes : no_band, arrows, sides.filter(Boolean).join(" · ")] };
}
function placed(rows) {
  const nameOf2 = ({ model, component }) => JSON.stringify([model, component]);
  const groups = /* @__PURE__ */ new Map();
  for (const row of rows) {
    const own = groups.get(nameOf2(row));
    if (own) own.push(row);
    else groups.set(nameOf2(row), [row]);
  }
  const found = new Map(
    [...groups].map(([key, own]) => {
      const layers = [...new Set(own.map((row) => Number(row.layer)))].sort((a, b) => a - b);
      const ks = numbersIn(own, "k");
      return [key, { layers, median: ks.length ? quantile(ks, 0.5) : null }];
    })
  );
  return rows.map((row) => {
    const { layers = [], median: median2 = null } = found.get(nameOf2(row)) ?? {};
    const share = layers.length > 1 ? layers.indexOf(Number(row.layer)) / (layers.length - 1) - 0.5 : 0;
    return { ...row, offset: OFFSET * share, median: median2 };
  });
}
function apart(rows) {
  const at = (row) => Math.log(numberIn(row, "value") ?? Number.NaN);
  const known3 = rows.filter((row) => Number.isFinite(at(row)));
  const least = NAME * (Math.max(...known3.map(at)) - Math.min(...known3.map(at)));
  const last = /* @__PURE__ */ new Map();
  const found = [...known3].sort((a, b) => at(b) - at(a)).filter((row) => {
    const place3 = JSON.stringify([row.place, row.component]);
    const hasRoom = at(row) < (last.get(place3) ?? Number.POSITIVE_INFINITY) - least;
    if (hasRoom) last.set(place3, at(row));
    return hasRoom;
  });
  return new Set(found);
}
function stripOf({ notes, limit, most }, rows, sent, texts) {
  const values = numbersIn(rows, "value");
  const named = apart(rows);
  const flagged = rows.map((row) => {
    const value = numberIn(row, "value") ?? 0;
    const [above, same] = [values.filter((one) => one > value).length, values.filter((one) => one === value).length];
    const stands = value > limit && above + (same + 1) / 2 <= most && named.has(row);
    return { ...row, flag: stands ? fill(texts.page_flag, { layer: String(row.layer) }) : "" };
  });
  const before = new Set(sent.datasets[sent.data.name].map((row) => row.component)).size;
  const left = new Set(rows.map((row) => row.component)).size;
  const spec = holding(sent, { ...sent.datasets, [sent.data.name]: flagged });
  const panel = spec.spec ?? spec;
  const height = Math.max(panel.height * left / before, LEAST_HEIGHT);
  const missing = rows.length - values.length;
  return {
    spec: spec.spec ? { ...spec, spec: { ...panel, height } } : { ...spec, height },
    notes: [...notes, missing ? fill(texts.page_not_drawn, { number: missing }) : ""]
  };
}

// src/card.js
var SVG = "http://www.w3.org/2000/svg";
var [WIDTH, HEIGHT, MARGIN] = [180, 36, 4];
var AWAY = 14;
var LEAST3 = 3;
function rankOf(row, rows) {
  const others = alike(row, rows, "layer").map((one) => Number(one.k));
  const below2 = others.filter((k) => k < Number(row.k)).length;
  return { rank: below2 + 1, number: others.length };
}
function alike(row, rows, dim) {
  const same = ["model", "layer", "component", "step"].filter((name) => name !== dim);
  const found = rows.filter(
    (one) => typeof one.k === "number" && cellOf(one) && same.every((name) => one[name] === row[name])
  );
  return [...new Map(found.map((one) => [one[dim], one])).values()];
}
var alongLayers = (row, rows) => alike(row, rows, "layer").map((one) => (
  /** @type {Point} */
  [Number(one.layer), Number(one.k)]
)).sort(([a], [b]) => a - b);
function pathOf(points, at) {
  const [xs, ys] = [0, 1].map((i) => points.map((point) => point[i]));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const spot = ([x, y] = points[0]) => [
    MARGIN + (x - left) / (right - left || 1) * (WIDTH - 2 * MARGIN),
    HEIGHT - MARGIN - (y - low) / (high - low || 1) * (HEIGHT - 2 * MARGIN)
  ];
  const path = points.map((point) => spot(point).map((one) => one.toFixed(1)).join(",")).join(" L");
  const here = points.find(([x]) => x === at);
  return { path: `M${path}`, dot: here ? spot(here) : null };
}
function sparkline(points, at, text) {
  if (points.length < LEAST3) return [];
  const { path, dot } = pathOf(points, at);
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const shapes = [["path", { d: path }], ...dot ? [["circle", { cx: dot[0], cy: dot[1], r: 3 }]] : []];
  for (
    const [tag, attributes] of
    /** @type {[string, object][]} */
    shapes
  ) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, String(value));
    picture.append(shape);
  }
  const ends = [points[0], points[points.length - 1]].map(([x]) => grouped(x)).join(" – ");
  return [make("p", { class: "wb-card-note" }, `${text} ${ends}`), picture];
}
function numbersOf(row) {
  const known3 = (name) => typeof row[name] === "number";
  const number = (name) => Number(row[name]);
  const error = known3("k_se") ? ` ± ${Number(number("k_se").toPrecision(2))}` : "";
  return [
    ...known3("k") ? [["k", number("k").toFixed(4) + error]] : [],
    ...known3("lam") ? [["λ", String(Number(number("lam").toPrecision(4)))]] : [],
    ...known3("r2") ? [["r²", number("r2").toFixed(4)]] : [],
    ...known3("n") ? [["n", grouped(number("n"))]] : []
  ];
}
function buildCard(root2, { model, controls: { texts } }, chart, held) {
  const card = make("div", { class: "wb-card", role: "tooltip", hidden: true });
  root2.append(card);
  const content = (row, cell) => {
    const rows = chart.rows();
    const component = String(row.component);
    const rank = rankOf(row, rows);
    const tensor = [row.parameter, held.about(cell)].filter(Boolean).join(" · ");
    const name = fill(texts.card_name, { component, layer: String(row.band ?? row.layer), model: cell[0], step: grouped(cell[3]) });
    return [
      make("strong", {}, name),
      ...tensor ? [make("p", { class: "wb-card-note" }, tensor)] : [],
      ...row.reason ? [make("p", {}, String(row.reason))] : [],
      make("dl", {}, ...numbersOf(row).flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)])),
      ...typeof row.k === "number" && rank.number > 1 ? [make("p", { class: "wb-card-note" }, fill(texts.card_rank, { ...rank, component }))] : [],
      ...sparkline(alongLayers(row, rows), row.layer, texts.card_layers),
      ...sparkline(held.alongSteps(cell), cell[3], texts.card_steps),
      ...foundAt(cell, model.get("_findings")).map((text) => make("p", { class: "wb-card-found" }, text))
    ];
  };
  chart.listen("mouseover", (event, item) => {
    const row = (
      /** @type {Datum | undefined} */
      item?.datum
    );
    const cell = cellOf(row);
    if (!row || !cell || "matrix" in row) return;
    card.replaceChildren(...content(row, cell));
    card.hidden = false;
    place(
      card,
      root2,
      /** @type {MouseEvent} */
      /** @type {unknown} */
      event
    );
  });
  chart.listen("mouseout", () => {
    card.hidden = true;
  });
}
function foundAt(cell, text) {
  const rows = text ? JSON.parse(text).rows : [];
  const key = keyOf(cell);
  return rows.filter((row) => row.cells.some((one) => keyOf(one) === key)).map((row) => row.text);
}
function place(card, root2, { clientX, clientY }) {
  const frame = root2.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const right = clientX + AWAY + width < Math.min(frame.right, innerWidth);
  const below2 = clientY + AWAY + height < innerHeight;
  card.style.left = `${Math.max(clientX - frame.left + (right ? AWAY : -AWAY - width), 0)}px`;
  card.style.top = `${clientY - frame.top + (below2 ? AWAY : -AWAY - height)}px`;
}

// src/kept_marks.js
var KEY = "wb_row";
var ONE_OF_ROWS = ["image", "rect", "rule", "symbol", "text"];
var OF_ROWS = ["filter", "formula", "identifier"];
function keepMarks(spec, tables) {
  const named = ({ name, source }) => tables.includes(name) || tables.includes(source);
  mark(spec, /* @__PURE__ */ new Set(), named);
  return spec;
}
function mark(group, known3, isTable) {
  const own = new Set(known3);
  for (const data of group.data ?? []) {
    const kept2 = (data.transform ?? []).every(({ type }) => OF_ROWS.includes(type));
    if (kept2 && (isTable(data) || own.has(data.source))) own.add(data.name);
  }
  for (const one of group.marks ?? []) {
    const { facet, data } = one.from ?? {};
    if (ONE_OF_ROWS.includes(one.type) && own.has(data)) one.key = KEY;
    else if (one.type === "group") mark(one, facet && own.has(facet.data) ? /* @__PURE__ */ new Set([...own, facet.name]) : own, isTable);
  }
}

// src/alive.js
var MOST = 16;
var LITERALS = /'[^']*'|"[^"]*"|[A-Za-z_]\w*|-?\d+\.\d+(?:e[-+]?\d+)?/g;
function part(whole2) {
  const { datasets: data = {}, description = "", notes = [], ...rest } = whole2;
  const values = {};
  const names = /* @__PURE__ */ new Map();
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
    spec: { ...structure, params: [...structure.params ?? [], ...params], description },
    values,
    data,
    description,
    notes
  };
}
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
      isTitle && name === "text" ? { expr: lift(child) } : lifted(child, name, lift)
    ])
  );
}
var isList = (node) => node.length > 0 && node.every((one) => /number|string/.test(typeof one));
var withoutNumbers = (text, lift) => text.replace(LITERALS, (word) => /^-?\d/.test(word) ? ` ${lift(Number(word))}` : word);
function livingChart() {
  let drawn = null;
  let sent = null;
  let shown = null;
  const listeners = [];
  const show2 = async (next) => {
    const view = (
      /** @type {import("./types").Drawn} */
      drawn.view
    );
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
    async draw(whole2, place3, options, isLate, change = () => ({})) {
      const next = part(whole2);
      if (drawn && sent?.structure === next.structure) {
        sent = next;
        await show2({ ...next, ...change(next) });
        return false;
      }
      const spec = { ...next.spec, datasets: copied(next.data) };
      const patch = (made2) => keepMarks(made2, Object.keys(next.data));
      const made = await vegaEmbed(place3, spec, { ...options, patch });
      if (isLate()) {
        made.finalize();
        return false;
      }
      clear();
      [drawn, sent, shown] = [made, next, next];
      for (const [type, act] of listeners) made.view.addEventListener(type, act);
      await show2({ ...next, ...change(next) });
      return true;
    },
    /**
     * Show other data and numbers than those of the last chart.
     * @param {Change} change
     */
    async vary(change) {
      if (sent) await show2({ ...sent, ...change(sent) });
    },
    clear
  };
}
var copied = (data) => Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, rows.map((row, i) => ({ ...row, [KEY]: i }))]));

// src/marks.js
var KINDS = ["rect", "symbol", "text"];
function marksOf(view) {
  if (!view) return [];
  const graph = (
    /** @type {{ root: Scene }} */
    /** @type {unknown} */
    view.scenegraph()
  );
  const [left, top] = cornerOf(view);
  return [...walk(graph.root, left, top)];
}
function cornerOf(view) {
  const padding = view.padding();
  const [x, y] = view.origin();
  if (typeof padding === "number") return [x + padding, y + padding];
  const { left = 0, top = 0 } = (
    /** @type {Partial<Box>} */
    padding
  );
  return [x + left, y + top];
}
function* walk(scene, left, top) {
  for (const item of scene.items) {
    if (scene.marktype === "group") {
      for (const inner of item.items) yield* walk(inner, left + (item.x || 0), top + (item.y || 0));
      continue;
    }
    const cell = KINDS.includes(scene.marktype) && cellOf(item.datum);
    if (!cell) continue;
    const { x1, y1, x2, y2 } = item.bounds;
    const box = { left: left + x1, right: left + x2, top: top + y1, bottom: top + y2 };
    yield { kind: scene.marktype, cell, box };
  }
}
function cellsWithin(marks, box) {
  const inside = marks.filter(
    ({ box: own }) => own.right > box.left && own.left < box.right && own.bottom > box.top && own.top < box.bottom
  );
  return [...new Map(inside.map(({ cell }) => [keyOf(cell), cell])).values()];
}
var WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
function neighbour(marks, from, key) {
  const way = WAYS[key];
  const places = marks.filter((mark2) => mark2.kind !== "text");
  const start = places.find((mark2) => from && keyOf(mark2.cell) === keyOf(from)) ?? places[0];
  if (!way || !start) return null;
  const [x, y] = centre(start.box);
  let best = null;
  let least = Number.POSITIVE_INFINITY;
  for (const { cell, box } of places) {
    const [dx, dy] = [centre(box)[0] - x, centre(box)[1] - y];
    const ahead = dx * way[0] + dy * way[1];
    const distance = ahead + 4 * (Math.abs(dx * way[1]) + Math.abs(dy * way[0]));
    if (ahead > 1 && distance < least) [best, least] = [cell, distance];
  }
  return best;
}
var centre = (box) => [(box.left + box.right) / 2, (box.top + box.bottom) / 2];

// src/sizes.js
var WIDTH2 = /(^|_)width$/;
var HEIGHT2 = /(^|_)height$/;
var X_STEP = /(^|_)x_step$/;
var Y_STEP = /(^|_)y_step$/;
var AXES = 60;
var TURNS = 5;
var CLOSE = 3;
var MOST_STEP = 96;
var READ = 40;
var LEAST_STEP = 2;
var LEAST_PANEL = 0.65;
var LETTER = 6;
var LEAST_NAME = 100;
var GAP = 14;
var EVERY = 4;
var SYMBOL = 42;
var NARROW = 420;
function sizesOf(view) {
  const signals = view.getState({ signals: () => true, data: () => false }).signals ?? {};
  const those = (pattern) => Object.fromEntries(
    Object.entries(signals).filter(
      /** @returns {entry is [string, number]} */
      (entry) => pattern.test(entry[0]) && typeof entry[1] === "number" && entry[1] > 0
    )
  );
  const either = (step, size) => {
    const steps = those(step);
    return Object.keys(steps).length ? steps : those(size);
  };
  return { across: either(X_STEP, WIDTH2), down: either(Y_STEP, HEIGHT2), factor: 1, tall: 1 };
}
function limits(across, zoom) {
  const steps = Object.entries(across).filter(([name]) => X_STEP.test(name)).map(([, step]) => step);
  if (!steps.length) return [0.2, Number.POSITIVE_INFINITY];
  const [least, most] = [Math.min(...steps), Math.max(...steps)];
  const low = least >= READ ? 0.8 : LEAST_STEP / least;
  return [Math.min(low, 1), Math.max(MOST_STEP * zoom / most, 1)];
}
function slopeOf(last, now, known3) {
  const slope = (now[1] - last[1]) / (now[0] - last[0]);
  return slope > 0 && Number.isFinite(slope) ? slope : known3;
}
var heightFor = (factor) => Math.min(Math.max(Math.sqrt(factor), 0.8), 1.5);
async function fit(view, sizes, room2, measure) {
  const { zoom = 1 } = room2;
  const [low, high] = limits(sizes.across, zoom);
  const wanted = room2.width * zoom;
  let { factor, tall } = sizes;
  let now = measure();
  let slope = (now.width - AXES) / factor;
  let stuck = false;
  for (let turn = 0; turn < TURNS; turn += 1) {
    const wide = factor + (wanted - now.width) / slope;
    const next = stuck ? factor : Math.min(Math.max(wide, low), high);
    const nextTall = room2.height ? leastTall(tall, now.height, room2.height) : heightFor(next);
    if (Math.abs(next - factor) * slope <= CLOSE && Math.abs(nextTall - tall) < 0.02) break;
    const last = { factor, width: now.width };
    [factor, tall] = [next, nextTall];
    set(view, sizes.across, factor);
    set(view, sizes.down, tall);
    await view.resize().runAsync();
    now = measure();
    stuck ||= factor !== last.factor && now.width === last.width;
    slope = slopeOf([last.factor, last.width], [factor, now.width], slope);
  }
  Object.assign(sizes, { factor, tall });
}
var leastTall = (tall, now, wanted) => Math.min(Math.max(tall * wanted / now, 0.45), 2);
function set(view, sizes, factor) {
  for (const [name, size] of Object.entries(sizes)) view.signal(name, size * factor);
}
function arranged(spec, width, crowded = false) {
  const { config = {}, columns, ...rest } = (
    /** @type {any} */
    spec
  );
  const labelLimit = Math.min(640, Math.max(width - 130, 200));
  if (width >= NARROW && !crowded) {
    const legend2 = { ...config.legend, labelLimit };
    return inColumns({ ...withLegends(rest, atSide(width)), config: { ...config, legend: legend2 } }, columns, width);
  }
  const legend = { ...config.legend, labelLimit, orient: "bottom", columns: 2 };
  return inColumns({ ...withLegends(rest, below(width)), config: { ...config, legend } }, columns, width);
}
var atSide = (width) => (legend) => legend.orient ? legend : { ...legend, labelLimit: Math.min(legend.labelLimit ?? 640, Math.max(0.3 * width, 130)) };
var below = (width) => (legend, names = []) => {
  if (legend.orient) return legend;
  if (legend.symbolType !== "square") {
    const limited = { ...legend, labelLimit: Math.max(width / 2 - 60, 80) };
    const longest = Math.max(0, ...names.map((name) => String(name).length));
    const columns = Math.floor((width - AXES) / (SYMBOL + LETTER * longest));
    return longest && columns > 2 ? { ...limited, columns } : limited;
  }
  const values = legend.values.filter((_, i) => i % EVERY === 0).reverse();
  const labelExpr = legend.labelExpr.replaceAll("datum.index", `(${EVERY} * datum.index)`);
  return { ...legend, values, labelExpr, columns: values.length };
};
function inColumns(found, columns, width) {
  if (found.vconcat) return inRows(found, width);
  if (!columns) return found;
  const number = panelsOf(found);
  const across = columnsFor({ ...found, columns }, width);
  const { axis: { x: _, ...axis } = (
    /** @type {any} */
    {}
  ), ...resolve } = found.resolve ?? {};
  const own = number > across && number % across ? { x: "independent" } : {};
  const header = { ...found.facet.header, labelLimit: { expr: `max(child_width, ${LEAST_NAME})` } };
  return {
    ...found,
    facet: { ...found.facet, header },
    columns: across,
    resolve: { ...resolve, axis: { ...axis, ...own } },
    spec: titledBeside(found.spec, Math.ceil(number / across))
  };
}
function groupsOf({ vconcat }) {
  const groups = [];
  for (const part2 of vconcat) {
    const last = groups.at(-1);
    const goesOn = last && part2.facet && part2.columns && last.parts[0].facet;
    const table2 = part2.data?.name;
    if (!goesOn) groups.push({ parts: [part2], tables: [table2] });
    else if (!last.tables.includes(table2)) last.tables.push(table2);
    else if (last.tables.length === 1) last.parts.push(part2);
  }
  return groups;
}
function inRows(found, width) {
  const datasets = { ...found.datasets };
  const vconcat = groupsOf(found).flatMap(({ parts, tables }) => {
    const [{ facet, columns, data }] = parts;
    if (!facet || !columns) return parts;
    const rows = tables.flatMap((name) => datasets[name]);
    const places = [...new Set(rows.map((row) => row.place))].sort((a, b) => a - b);
    const beside = columnsFor({ ...parts[0], datasets: { [data.name]: rows } }, width);
    if (places.length <= beside) return parts;
    const labelLimit = Math.floor((width - AXES) / beside) - GAP;
    for (const name of tables) delete datasets[name];
    return places.flatMap((place3, i) => {
      if (i % beside) return [];
      const [name, own] = [`${data.name} from ${place3}`, new Set(places.slice(i, i + beside))];
      datasets[name] = rows.filter((row) => own.has(row.place));
      return parts.map((part2) => {
        const header = { ...part2.facet.header, labelLimit };
        return { ...part2, data: { name }, facet: { ...part2.facet, header } };
      });
    });
  });
  return { ...found, vconcat, datasets };
}
function titledBeside(panel, rows) {
  const titled = (one) => {
    const y = one.encoding?.y;
    if (!y?.field || y.axis === null) return one;
    const { titleOpacity: _, ...axis } = y.axis ?? {};
    const seen = { titleOpacity: { expr: `parent.data === ${Math.floor((rows - 1) / 2)} ? 1 : 0` } };
    return { ...one, encoding: { ...one.encoding, y: { ...y, axis: rows > 1 ? { ...axis, ...seen } : axis } } };
  };
  return panel.layer ? { ...panel, layer: panel.layer.map(titled) } : panel;
}
function columnsFor(spec, width) {
  if (!spec.columns) return 1;
  const least = Math.max(LEAST_PANEL * panelWidth(spec.spec), labelWidth(spec));
  return Math.max(1, Math.min(spec.columns, Math.floor((width - AXES) / least)));
}
function labelWidth({ facet, data, datasets }) {
  const rows = datasets?.[data?.name] ?? [];
  const lines2 = rows.flatMap((row) => String(row[facet.field]).split("\n"));
  const longest = Math.max(0, ...new Set(lines2.map((line) => line.length)));
  return Math.min(LETTER * longest, facet.header?.labelLimit ?? LEAST_NAME) + GAP;
}
function panelWidth({ width, layer }) {
  if (typeof width === "number") return width;
  const cells = layer[0].encoding.x.scale.domain.length;
  return width.step * cells / LEAST_PANEL;
}
function panelsOf({ facet, data, datasets }) {
  const rows = datasets?.[data?.name] ?? [];
  return new Set(rows.map((row) => row[facet.field])).size;
}
function withLegends(node, change) {
  if (Array.isArray(node)) return node.map((child) => withLegends(child, change));
  if (!node || typeof node !== "object") return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, child]) => {
      if (key === "datasets") return [key, child];
      return [key, key === "legend" && child ? change(child, node.scale?.domain) : withLegends(child, change)];
    })
  );
}
function arrangement(spec, width, crowded = false) {
  const { vconcat = [spec], datasets } = (
    /** @type {any} */
    spec
  );
  const columns = vconcat.map((part2) => part2.facet ? columnsFor({ ...part2, datasets }, width) : 1);
  return `${width < NARROW || crowded} ${columns.join(" ")}`;
}
function untitled(spec) {
  const { title, ...rest } = (
    /** @type {any} */
    spec
  );
  if (!title && rest.vconcat?.length) {
    const [first, ...others] = rest.vconcat;
    const inner = untitled(first);
    return { ...inner, spec: { ...rest, vconcat: [inner.spec, ...others] } };
  }
  const bare = typeof title === "string" || Array.isArray(title);
  const parts = bare ? { text: title } : title ?? {};
  return { spec: rest, title: lines(parts.text).join(" "), notes: lines(parts.subtitle) };
}
var lines = (text) => text === void 0 ? [] : [text].flat().map(String);

// src/place.js
function buildPlace(element, height) {
  let sizes = null;
  let held = "";
  let asked = {};
  let known3 = 0;
  let [crowdedAt, kind] = [0, ""];
  const room2 = () => {
    known3 = widthOf(element) || known3;
    const width = Math.max(known3 - PADDING, LEAST_WIDTH);
    return { width, height: height?.(), zoom: Number(element.dataset.zoom ?? 1) };
  };
  return {
    /** A chart for the width that is there. @param {Spec} spec */
    arrange(spec) {
      const { width } = room2();
      if (kindOf(spec) !== kind) [crowdedAt, kind] = [0, kindOf(spec)];
      [asked, held] = [spec, arrangement(spec, width, width <= crowdedAt)];
      return arranged(spec, width, width <= crowdedAt);
    },
    /** Another chart was put there. */
    renew() {
      sizes = null;
    },
    /** Whether the chart need not be made anew for the width that is there. */
    suits() {
      const { width } = room2();
      return held === arrangement(asked, width, width <= crowdedAt);
    },
    /**
     * Whether the chart found its room; if not, it is to be arranged anew.
     * @param {View | undefined} view
     */
    async fill(view) {
      if (!view) return true;
      sizes ??= sizesOf(view);
      const given = room2();
      const { width } = given;
      await fit(view, sizes, given, () => sizeOf(element));
      if (given.zoom > 1 || width <= crowdedAt || sizeOf(element).width <= width + CROWDED) return true;
      crowdedAt = width;
      return held === arrangement(asked, width, true);
    }
  };
}
var kindOf = ({ spec, layer = spec?.layer ?? [] }) => JSON.stringify(layer.map(({ mark: mark2 }) => mark2));
var CROWDED = 12;
var LEAST_WIDTH = 200;
var PADDING = 4;
var widthOf = (element) => element.clientWidth || insideOf(element.parentElement);
function insideOf(box) {
  if (!box) return 0;
  const { paddingLeft, paddingRight } = getComputedStyle(box);
  const padding = (Number.parseFloat(paddingLeft) || 0) + (Number.parseFloat(paddingRight) || 0);
  return Math.max(box.clientWidth - padding, 0);
}
function sizeOf(element) {
  const svg = element.querySelector("svg.marks");
  return {
    width: Number(svg?.getAttribute("width")),
    height: Number(svg?.getAttribute("height"))
  };
}
function whenWidthChanges(element, act) {
  let width = 0;
  let frame = 0;
  const observer = new ResizeObserver(() => {
    if (!element.clientWidth || element.clientWidth === width) return;
    width = element.clientWidth;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(act);
  });
  observer.observe(element);
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
  };
}

// src/stage.js
function visibleHeight(element) {
  for (let box = element.parentElement; box; box = box.parentElement) {
    const { overflowY } = getComputedStyle(box);
    if (/auto|scroll/.test(overflowY) && box.clientHeight < box.scrollHeight) {
      return Math.min(box.clientHeight, innerHeight);
    }
  }
  return innerHeight;
}
function visibleBottom(element) {
  let bottom = innerHeight;
  for (let box = element.parentElement; box; box = box.parentElement) {
    if (/auto|scroll|hidden/.test(getComputedStyle(box).overflowY)) {
      bottom = Math.min(bottom, box.getBoundingClientRect().bottom);
    }
  }
  return bottom;
}

// src/sticky.js
var DOWN = '.role-axis[aria-label^="Y-axis"] .role-axis-label text, .role-row-header text';
var ACROSS = '.role-axis[aria-label^="X-axis"] .role-axis-label text';
var GAP2 = 4;
var LEVEL = 20;
function labelsOf(svg, which) {
  const corner = svg.getBoundingClientRect();
  const drawn = [...svg.querySelectorAll(which)].filter((node) => node.getAttribute("opacity") !== "0");
  return drawn.map((node) => {
    const { left, top, right, bottom } = node.getBoundingClientRect();
    return {
      text: node.textContent ?? "",
      left: left - corner.left,
      top: top - corner.top,
      right: right - corner.left,
      bottom: bottom - corner.top
    };
  });
}
function hiddenAxis(labels, seen) {
  const lowest = Math.max(...labels.map(({ bottom }) => bottom));
  if (labels.some(({ top, bottom }) => bottom - top > LEVEL)) return [];
  return lowest > seen ? labels.filter(({ bottom }) => lowest - bottom < 2) : [];
}
function write(strip, labels, box, from = 0) {
  if (strip.hidden && !labels.length) return;
  strip.hidden = !labels.length;
  strip.replaceChildren(
    ...labels.map(
      ({ text, left, top }) => make("span", { style: `left: ${left}px; top: ${top - from}px` }, text)
    )
  );
  for (const [name, size] of Object.entries(box)) strip.style.setProperty(name, `${size}px`);
}
function keepLabels(element) {
  const [column, line] = ["wb-stuck-components", "wb-stuck-layers"].map(
    (name) => make("div", { class: `wb-stuck ${name}`, "aria-hidden": "true", hidden: true })
  );
  const update = () => {
    const svg = element.querySelector("svg.marks");
    const place3 = svg?.closest(".wb-chart");
    if (!svg || !place3) return;
    const { top: corner, width, height } = svg.getBoundingClientRect();
    const moved = element.scrollLeft;
    const components = moved > 0 ? labelsOf(svg, DOWN) : [];
    const wide = Math.max(0, ...components.map(({ right }) => right)) + GAP2;
    write(column, components, { left: moved, top: 0, width: wide, height });
    const seen = visibleBottom(element) - corner;
    const layers = seen > 0 && seen < height ? hiddenAxis(labelsOf(svg, ACROSS), seen) : [];
    const [first] = layers;
    const high = first ? first.bottom - first.top + GAP2 : 0;
    write(line, layers, { left: 0, top: seen - high, width, height: high }, first ? first.top - GAP2 / 2 : 0);
    if (column.parentElement !== place3) place3.append(line, column);
  };
  let frame = 0;
  const later = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(update);
  };
  const observer = new MutationObserver(later);
  observer.observe(element, { attributes: true, attributeFilter: ["data-turn", "data-zoom"] });
  document.addEventListener("scroll", later, { capture: true, passive: true });
  return () => {
    cancelAnimationFrame(frame);
    observer.disconnect();
    document.removeEventListener("scroll", later, { capture: true });
  };
}

// src/tables.js
function rowsOf(table2) {
  if (Array.isArray(table2)) return table2;
  const held = (values) => (
    /** @type {unknown[]} */
    typeof values === "string" ? table2.columns[values] : values
  );
  const columns = Object.entries(table2.columns).map(([name, values]) => (
    /** @type {const} */
    [name, held(values)]
  ));
  return Array.from(
    { length: table2.rows },
    (_, i) => Object.fromEntries(columns.map(([name, values]) => [name, values[values.length > 1 ? i : 0]]))
  );
}
function withRows(content) {
  if (!content.spec) return content;
  const tables = Object.entries(
    /** @type {Record<string, Table | Datum[]>} */
    /** @type {any} */
    content.spec.datasets
  );
  const datasets = Object.fromEntries(tables.map(([name, table2]) => [name, rowsOf(table2)]));
  return { ...content, spec: { ...content.spec, datasets } };
}

// src/theme.js
function paint(node, colours) {
  if (typeof node === "string") return (
    /** @type {T} */
    colours[node] ?? node
  );
  if (Array.isArray(node)) return (
    /** @type {T} */
    node.map((child) => paint(child, colours))
  );
  if (!node || typeof node !== "object") return node;
  const entries = Object.entries(node).map(([key, child]) => {
    if (key === "background") return [key, "transparent"];
    return [key, key === "datasets" ? child : paint(child, colours)];
  });
  return Object.fromEntries(entries);
}
function isDarkColour(colour) {
  const probe = make("span", { style: `color: ${colour}` });
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [];
  probe.remove();
  const [red, green, blue] = parts.map(Number);
  return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
}
function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes("light");
  const theme = page.getAttribute("theme");
  if (theme) return theme === "dark";
  const paper = getComputedStyle(body).getPropertyValue("--jp-layout-color0").trim();
  if (paper) return isDarkColour(paper);
  if (page.classList.contains("dark") || body.classList.contains("dark")) return true;
  if (page.classList.contains("light") || body.classList.contains("light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}
var THEMED = ["data-jp-theme-light", "class", "theme", "data-vscode-theme-kind"];
function followTheme(root2, onChange) {
  const look = () => {
    const theme = isDark() ? "dark" : "light";
    if (theme === root2.dataset.theme) return;
    root2.dataset.theme = theme;
    onChange(theme);
  };
  const observer = new MutationObserver(look);
  for (const node of [document.body, document.documentElement]) {
    observer.observe(node, { attributes: true, attributeFilter: THEMED });
  }
  look();
  return () => observer.disconnect();
}

// src/chart.js
var SVG2 = "http://www.w3.org/2000/svg";
var ROOM = { main: 300, side: 240, more: 240, detail: 480 };
function buildChart(name, darkColours, choose, { height, moved = () => {
}, actions } = {}) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  const chart = livingChart();
  const place3 = buildPlace(element, height);
  let [turn, last, title] = [0, "", ""];
  let lastChange;
  async function draw(text, change) {
    turn += 1;
    const mine = turn;
    [last, lastChange] = [text, change];
    const content = text ? withRows(JSON.parse(text)) : null;
    if (!content?.spec) {
      chart.clear();
      sayWhyNot(element, content);
      return;
    }
    const { spec, notes, options, ...said } = forThePage(content.spec, darkColours, actions);
    const box = make("div", { class: "wb-chart" });
    holdRoom(element, ROOM[name]);
    const isNew = await chart.draw({ ...place3.arrange(spec), notes }, box, options, () => mine !== turn, change);
    if (isNew) {
      element.replaceChildren(make("figcaption", {}), box);
      place3.renew();
      chooseByClick(chart.view(), element, choose);
    }
    if (mine !== turn) return;
    title = said.title;
    caption(element, title, chart.notes());
    const fits = await place3.fill(chart.view());
    if (mine === turn) await (fits ? settle(content.label) : draw(text, change));
  }
  const settle = (label) => settled(element, turn, label);
  const resize = async () => {
    if (!chart.view()) return;
    if (!place3.suits() || !await place3.fill(chart.view())) await draw(last, lastChange);
    silenceEmpty(element);
    moved();
  };
  const ends = [whenWidthChanges(element, resize), scrolled(element, name)];
  return {
    element,
    draw,
    resize,
    ...{ view: chart.view, rows: chart.rows, listen: chart.listen, marks: () => marksOf(chart.view()) },
    /** @param {Change} change what is drawn in the place of the last chart */
    async vary(change) {
      if (!chart.view()) return;
      turn += 1;
      lastChange = change;
      await chart.vary(change);
      caption(element, title, chart.notes());
      settle();
    },
    /** Where the chart lies on the page. */
    corner: () => element.querySelector("svg.marks")?.getBoundingClientRect() ?? new DOMRect(),
    /** @param {Mark[]} marks */
    outline: (marks) => outlineIn(element, marks),
    stop() {
      chart.clear();
      for (const end of ends) end();
    }
  };
}
function holdRoom(element, room2) {
  const isFirst = Boolean(element.hidden) || !element.childElementCount;
  element.classList.toggle("wb-waiting", isFirst);
  element.style.minHeight = `${isFirst ? room2 : element.offsetHeight}px`;
  element.hidden = false;
}
function settled(element, turn, label) {
  if (label !== void 0) element.setAttribute("aria-label", label);
  element.hidden = false;
  element.classList.remove("wb-waiting");
  element.style.minHeight = "";
  silenceEmpty(element);
  element.dataset.turn = String(turn);
}
function forThePage(spec, darkColours, actions = false) {
  const dark = isDark();
  const options = { renderer: "svg", actions, tooltip: { theme: dark ? "dark" : "light" } };
  return { ...untitled(paint(spec, dark ? darkColours : {})), options };
}
function sayWhyNot(element, content) {
  const words = content ? [make("p", { class: "wb-note" }, content.problem ?? "")] : [];
  element.replaceChildren(...words);
  element.classList.remove("wb-waiting");
  element.style.minHeight = "";
  element.hidden = !content;
}
function chooseByClick(view, element, choose) {
  view?.addEventListener("click", (event, item) => {
    const cell = cellOf(item?.datum);
    if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
    element.dispatchEvent(new CustomEvent("wb-datum", { detail: item?.datum, bubbles: true }));
  });
}
function outlineIn(element, marks) {
  element.querySelector(".wb-picked")?.remove();
  element.querySelector(".wb-chart")?.append(...marks.length ? [outlines(marks)] : []);
}
function caption(element, title, notes) {
  const said = notes.length > 0 && titlesBefore(element).includes(title);
  const [head, ...others] = said ? notes : [title, ...notes];
  const place3 = element.querySelector("figcaption");
  if (!place3 || place3.textContent === [head, ...others].join(" ")) return;
  place3.replaceChildren(make("strong", {}, head), ...others.flatMap((note) => [" ", make("span", {}, note)]));
}
var titlesBefore = (element) => [...element.closest(".wb")?.querySelectorAll("figcaption strong") ?? []].filter((one) => one.compareDocumentPosition(element) === Node.DOCUMENT_POSITION_FOLLOWING).map((one) => one.textContent);
function scrolled(element, name) {
  if (name === "main") return keepLabels(element);
  return name === "detail" ? () => {
  } : scrollByKeys(element);
}
function scrollByKeys(element) {
  const observer = new ResizeObserver(() => {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  });
  observer.observe(element);
  return () => observer.disconnect();
}
function silenceEmpty(box) {
  for (const group of box.querySelectorAll('g[role="graphics-symbol"]:empty')) {
    group.removeAttribute("role");
    group.removeAttribute("aria-roledescription");
  }
}
function pickedMarks(marks, kind, chosen) {
  const picked = new Set(chosen.map(keyOf));
  return marks.filter((mark2) => mark2.kind === kind && picked.has(keyOf(mark2.cell)));
}
function outlines(marks) {
  const layer = document.createElementNS(SVG2, "svg");
  layer.setAttribute("class", "wb-picked");
  layer.setAttribute("aria-hidden", "true");
  for (const { kind, box } of marks) {
    const far = kind === "rect" ? 0 : 3;
    const place3 = {
      x: box.left - far,
      y: box.top - far,
      width: box.right - box.left + 2 * far,
      height: box.bottom - box.top + 2 * far,
      rx: kind === "rect" ? 0 : 99
    };
    for (const kindOfLine of ["wb-halo", "wb-ring"]) {
      const shape = document.createElementNS(SVG2, "rect");
      shape.setAttribute("class", kindOfLine);
      for (const [name, value] of Object.entries(place3)) shape.setAttribute(name, String(value));
      layer.append(shape);
    }
  }
  return layer;
}

// src/gestures.js
var LEAST4 = 8;
function span(a, b) {
  return {
    left: Math.min(a.clientX, b.clientX),
    right: Math.max(a.clientX, b.clientX),
    top: Math.min(a.clientY, b.clientY),
    bottom: Math.max(a.clientY, b.clientY)
  };
}
var within = (box, { left, top }) => ({
  left: box.left - left,
  right: box.right - left,
  top: box.top - top,
  bottom: box.bottom - top
});
function brush(root2, chart, choose) {
  const frame = make("div", { class: "wb-brush", hidden: true });
  root2.append(frame);
  const place3 = chart.element;
  place3.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    delete place3.dataset.brushed;
    const move = (event) => {
      const at = within(span(down, event), root2.getBoundingClientRect());
      const [width, height] = [at.right - at.left, at.bottom - at.top];
      if (width + height < LEAST4) return;
      event.preventDefault();
      place3.dataset.brushed = "yes";
      frame.hidden = false;
      Object.assign(frame.style, {
        left: `${at.left}px`,
        top: `${at.top}px`,
        width: `${width}px`,
        height: `${height}px`
      });
    };
    const up = (event) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", up);
      frame.hidden = true;
      if (!place3.dataset.brushed) return;
      const touched = within(span(down, event), chart.corner());
      choose(cellsWithin(chart.marks(), touched), event.shiftKey);
      setTimeout(() => delete place3.dataset.brushed, 0);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
  });
  place3.addEventListener("dragstart", (event) => event.preventDefault());
}
function arrowKeys(chart, chosen, choose) {
  chart.element.tabIndex = 0;
  chart.element.addEventListener("keydown", (event) => {
    const marks = event.key.startsWith("Arrow") ? chart.marks() : [];
    if (!marks.length) return;
    event.preventDefault();
    event.stopPropagation();
    const next = neighbour(marks, chosen().at(-1), event.key);
    if (next) choose([next], event.shiftKey);
  });
}
var MOST_ZOOM = 16;
var ZOOMS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 };
var zoomed = (zoom, by) => Math.min(Math.max(zoom * by, 1), MOST_ZOOM);
function zoomable(chart) {
  const place3 = chart.element;
  const zoom = async (by, at) => {
    const from = Number(place3.dataset.zoom ?? 1);
    const to = zoomed(from, by);
    if (from === to) return;
    const left = place3.scrollLeft;
    place3.dataset.zoom = String(to);
    await chart.resize();
    place3.scrollLeft = (left + at) * to / from - at;
  };
  place3.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - place3.getBoundingClientRect().left);
    },
    { passive: false }
  );
  place3.addEventListener("keydown", (event) => {
    if (!(event.key in ZOOMS) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    zoom(ZOOMS[event.key], place3.clientWidth / 2);
  });
}

// src/choosing.js
var OUTLINED = {
  overview: "rect",
  findings: "rect",
  map: "rect",
  classes: "symbol",
  trajectories: "symbol"
};
function choosing({ model, busy, send }) {
  let asked = null;
  let main = null;
  const told = [];
  const chosen = () => asked ?? JSON.parse(model.get("_words")).chosen ?? [];
  const outline = () => {
    for (const act of told) act(chosen());
    main?.outline(pickedMarks(main.marks(), OUTLINED[model.get("panel")], chosen()));
  };
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
    onChart(root2, chart) {
      main = chart;
      brush(root2, chart, choose);
      arrowKeys(chart, chosen, choose);
      zoomable(chart);
    }
  };
}

// src/filters.js
var SEARCHED = 12;
function keep(filters, facet, checked) {
  const { [facet.name]: _old, ...others } = filters;
  if (checked.every(Boolean)) return others;
  return { ...others, [facet.name]: facet.values.filter((_, i) => checked[i]) };
}
function clampLayers(layers, changed, [first, last]) {
  const found = layers.map((layer) => Math.round(Math.min(Math.max(layer, first), last)));
  return found[0] > found[1] ? [found[changed], found[changed]] : found;
}
function buildFilters(page) {
  const { facets, layers, texts, unfiltered } = page.controls;
  const box = make("details", { class: "wb-filters", open: true });
  box.append(make("summary", {}, texts.filters));
  if (unfiltered) box.append(make("p", { class: "wb-note" }, unfiltered));
  const more = make("details", { class: "wb-more" }, make("summary", {}, texts.more_filters));
  const parts = [];
  for (const facet of facets) {
    const part2 = buildFacet(page, facet);
    (facet.more ? more : box).append(part2.element);
    parts.push(part2);
  }
  if (layers[1] > layers[0]) {
    const part2 = buildLayers(page);
    box.append(part2.element);
    parts.push(part2);
  }
  if (more.children.length > 1) box.append(more);
  return {
    element: box,
    update(words) {
      for (const part2 of parts) part2.update(words);
    }
  };
}
function buildFacet({ model, controls, send }, facet) {
  const report = () => {
    const checked = rows.map(({ input }) => input.checked);
    send({ filters: keep(model.get("filters"), facet, checked) });
  };
  const rows = facet.labels.map((label) => {
    const input = make("input", { type: "checkbox", onchange: report });
    const number = make("span", { class: "wb-number" });
    const name = make("span", { class: "wb-name", title: label }, label);
    return { input, number, line: make("label", {}, input, name, number) };
  });
  const checkAll = (checked) => () => {
    for (const { input } of rows) input.checked = checked;
    report();
  };
  const { texts } = controls;
  const { title } = facet;
  const button = (name, onclick) => make(
    "button",
    { type: "button", onclick, "aria-label": fill(texts[`${name}_of`], { title }) },
    texts[name]
  );
  const group = make(
    "fieldset",
    { "data-facet": facet.name },
    make("legend", {}, title),
    make(
      "span",
      { class: "wb-all" },
      button("all", checkAll(true)),
      button("none", checkAll(false))
    )
  );
  const lines2 = rows.map(({ line }) => line);
  if (lines2.length > SEARCHED) group.append(buildSearch(facet, lines2, texts));
  group.append(make("div", { class: "wb-options" }, ...lines2));
  return {
    element: group,
    update(words) {
      const kept2 = model.get("filters")[facet.name];
      rows.forEach(({ input, number, line }, i) => {
        const count = words.counts[facet.name][i];
        input.checked = !kept2 || kept2.includes(facet.values[i]);
        number.textContent = grouped(count);
        line.classList.toggle("wb-none", count === 0);
      });
    }
  };
}
function buildSearch(facet, lines2, texts) {
  const search = make("input", {
    type: "search",
    placeholder: texts.find,
    "aria-label": fill(texts.find_in, { title: facet.title }),
    oninput: () => {
      const wanted = search.value.toLowerCase();
      lines2.forEach((line, i) => {
        line.hidden = !facet.labels[i].toLowerCase().includes(wanted);
      });
    }
  });
  return search;
}
function buildLayers({ model, controls, send }) {
  const { layers, texts } = controls;
  const [min, max] = layers;
  const ends = [texts.first_layer, texts.last_layer].map(
    (label, i) => make("input", {
      type: "number",
      min,
      max,
      step: 1,
      "aria-label": label,
      onchange: () => {
        const now = ends.map((end) => Number(end.value));
        send({ layers: clampLayers(now, i, layers) });
      }
    })
  );
  const row = make("div", { class: "wb-row" }, ends[0], texts.to, ends[1]);
  const legend = make("legend", {}, texts.layers);
  return {
    element: make("fieldset", { "data-facet": "layers" }, legend, row),
    update() {
      ends.forEach((end, i) => {
        end.value = model.get("layers")[i];
      });
    }
  };
}

// src/crosshair.js
var AREA = ".concat_0_group .background";
var MOST2 = 4;
var [STEP, LEAP] = [5e-3, 0.05];
function curvesOf(rows) {
  const found = /* @__PURE__ */ new Map();
  for (const { matrix, magnitude, y, percent } of rows) {
    if (typeof matrix !== "string" || typeof percent !== "number") continue;
    const points = found.get(matrix) ?? [];
    points.push({ x: Math.log(Number(magnitude)), y: Number(y) });
    found.set(matrix, points);
  }
  for (const points of found.values()) points.sort((a, b) => a.x - b.x);
  return found;
}
function ordinateAt(points, x) {
  const next = points.findIndex((point) => point.x >= x);
  if (next < 0) return points.length ? Number.POSITIVE_INFINITY : null;
  const [a, b] = [points[next - 1], points[next]];
  if (b.x === x) return b.y;
  return a ? a.y + (x - a.x) / (b.x - a.x) * (b.y - a.y) : null;
}
function weightsOf(name) {
  const [, digits] = name.match(/ n ([\d,]+)/) ?? [];
  return digits ? Number(digits.replaceAll(",", "")) : null;
}
function percentBelow(beyond) {
  const digits = beyond > 0 ? 1 - Math.floor(Math.log10(100 * beyond)) : 0;
  return (100 * (1 - beyond)).toFixed(Math.min(Math.max(digits, 1), 6));
}
function toldAt(curves, x, texts) {
  const lines2 = [...curves].slice(0, MOST2).map(([name, points]) => {
    const y = ordinateAt(points, x);
    const n = weightsOf(name);
    if (y === null || n === null) return [name, texts.cross_below];
    const beyond = Math.exp(-Math.exp(y));
    const numbers = { percent: percentBelow(beyond), beyond: grouped(Math.round(n * beyond)), n: grouped(n) };
    return [name, fill(texts.cross, numbers)];
  });
  const named = lines2.map(([name, text]) => lines2.length > 1 ? `${name.split(":  ")[0]}: ${text}` : text);
  return [fill(texts.cross_at, { magnitude: Math.exp(x).toPrecision(4) }), ...named];
}
function buildCrosshair(chart, texts, { keys }) {
  const line = make("div", { class: "wb-cross-line" });
  const words = make("div", { class: "wb-cross-words" });
  const cross = make("div", { class: "wb-cross" }, line, words);
  let at = 0.5;
  const area = () => chart.element.querySelector(AREA)?.getBoundingClientRect();
  const hide = () => cross.remove();
  const show2 = (box, spoken) => {
    const curves = curvesOf(chart.rows());
    const place3 = chart.element.querySelector(".wb-chart");
    if (!curves.size || !place3) return;
    const corner = place3.getBoundingClientRect();
    const x = Math.log(chart.view()?.scale("concat_0_x").invert(at * box.width));
    words.replaceChildren(...toldAt(curves, x, texts).map((text) => make("p", {}, text)));
    words.setAttribute("aria-live", spoken ? "polite" : "off");
    Object.assign(cross.style, {
      left: `${box.left - corner.left}px`,
      top: `${box.top - corner.top}px`,
      width: `${box.width}px`,
      height: `${box.height}px`
    });
    line.style.left = `${100 * at}%`;
    if (cross.parentElement !== place3) place3.append(cross);
  };
  chart.element.addEventListener("pointermove", ({ clientX, clientY }) => {
    const box = area();
    const inside = box && clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
    if (!inside) return hide();
    at = (clientX - box.left) / box.width;
    show2(box, false);
  });
  chart.element.addEventListener("pointerleave", hide);
  if (!keys) return;
  chart.element.tabIndex = 0;
  chart.element.addEventListener("blur", hide);
  chart.element.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const box = area();
    if (event.key === "Escape" && cross.isConnected) {
      event.stopPropagation();
      hide();
    }
    if (!way || !box) return;
    event.preventDefault();
    event.stopPropagation();
    if (cross.isConnected) at = Math.min(Math.max(at + way * (event.shiftKey ? LEAP : STEP), 0), 1);
    show2(box, true);
  });
}

// src/pane.js
var LONGEST2 = 60;
function numbersAt(cell, rows, texts, dated) {
  const key = keyOf(cell);
  const row = rows.find((one) => {
    const own = "k" in one && !bandOf(one) && cellOf(one);
    return own && keyOf(own) === key;
  });
  const [model, layer, component, step] = cell;
  const name = fill(texts.pane_name, { component, layer });
  const named = model.length > LONGEST2 ? `${model.slice(0, LONGEST2 - 1)}…` : model;
  const place3 = dated || step ? fill(texts.pane_place, { model: named, step: grouped(step) }) : named;
  return { heads: [{ pin: "", name, place: place3 }], rows: row ? numbersOf(row) : [], more: "" };
}
function buildNumbers() {
  const element = make("div", { class: "wb-numbers" });
  const update = ({ matrices }) => element.replaceChildren(...matrices ? table(matrices) : []);
  return { element, update };
}
function table({ heads, rows, more }) {
  if (heads.length === 1) {
    const pairs = rows.map(
      ([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))
    );
    return [make("dl", {}, ...pairs)];
  }
  const columns = heads.map(
    ({ pin: pinned, name, place: place3 }) => make(
      "th",
      { scope: "col", title: `${name} · ${place3}` },
      ...pinned ? [make("b", { class: "wb-pin" }, pinned), " "] : [],
      name,
      make("small", {}, place3)
    )
  );
  const head = make("thead", {}, make("tr", {}, make("td", {}), ...columns));
  const body = rows.map(
    ([label, ...values]) => make("tr", {}, make("th", { scope: "row" }, label), ...values.map((v) => make("td", {}, v)))
  );
  const note = more ? [make("p", { class: "wb-note" }, more)] : [];
  return [make("table", {}, head, make("tbody", {}, ...body)), ...note];
}
function titleOf({ matrices }, otherwise) {
  if (matrices?.heads.length !== 1) return [make("strong", {}, otherwise)];
  const [{ pin: pinned, name, place: place3 }] = matrices.heads;
  const mark2 = pinned ? [make("b", { class: "wb-pin" }, pinned), " "] : [];
  return [...mark2, make("strong", {}, name), " ", make("small", {}, place3)];
}

// src/protocol.js
var FRAME = 700;
var LEAST5 = 0.05;
function pushTrim(trim, moved) {
  if (trim[1] - trim[0] >= LEAST5) return trim;
  if (moved === 0) {
    const upper = Math.min(trim[0] + LEAST5, 1);
    return [upper - LEAST5, upper];
  }
  const lower = Math.max(trim[1] - LEAST5, 0);
  return [lower, lower + LEAST5];
}
var trimText = (trim) => `${trim.map((end) => Number((100 * end).toFixed(1))).join("–")} %`;
function buildSteps(page) {
  const { model, controls, checkpoints, send } = page;
  const { texts, panels } = controls;
  const shown = make("output");
  const range = make("input", {
    type: "range",
    min: 0,
    step: 1,
    "aria-label": texts.step,
    oninput: () => {
      const step = checkpoints().steps[Number(range.value)];
      shown.value = String(step);
      send({ step });
    }
  });
  const play = buildPlay(page);
  const field = make(
    "div",
    { class: "wb-field wb-step" },
    make("span", {}, texts.step),
    range,
    shown,
    play.element
  );
  return {
    element: field,
    update() {
      const step = model.get("step");
      const { steps } = checkpoints();
      field.hidden = steps.length < 2;
      range.max = String(steps.length - 1);
      range.value = String(steps.indexOf(step));
      shown.value = grouped(step);
      range.setAttribute("aria-valuetext", texts.step_value.replace("{step}", step));
      const all = panels[model.get("panel")]?.one_step === false;
      field.classList.toggle("wb-idle", all);
      field.title = all ? texts.all_steps : "";
    },
    stop: play.stop
  };
}
function buildPlay({ model, controls, checkpoints, send, busy }) {
  const { texts } = controls;
  let playing;
  const button = make("button", {
    type: "button",
    class: "wb-play",
    "aria-label": texts.play,
    onclick: () => playing === void 0 ? start() : stop()
  });
  const show2 = () => {
    const on = playing !== void 0;
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-pressed", String(on));
  };
  const stop = () => {
    clearInterval(playing);
    playing = void 0;
    show2();
  };
  const start = () => {
    let at = checkpoints().steps.indexOf(model.get("step"));
    if (at === checkpoints().steps.length - 1) at = -1;
    const advance = () => {
      if (busy()) return;
      const { steps } = checkpoints();
      at += 1;
      send({ step: steps[at] });
      if (at >= steps.length - 1) stop();
    };
    playing = setInterval(advance, FRAME);
    show2();
    advance();
  };
  show2();
  return { element: button, stop };
}
function buildFit({ model, controls, send, busy }) {
  const { texts } = controls;
  const shown = make("output");
  const ends = [texts.lower, texts.upper].map(
    (label, i) => make("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      "aria-label": label,
      oninput: () => {
        const now = ends.map((end) => Number(end.value) / 100);
        const trim = pushTrim(now, i);
        shown.value = trimText(trim);
        send({ trim });
      }
    })
  );
  const estimator = choices(
    Object.entries(controls.choices.estimator),
    texts.estimator,
    (value) => send({ estimator: value })
  );
  const why = make("span", { class: "wb-why" });
  const trimField = make(
    "span",
    { class: "wb-field" },
    make("span", {}, texts.trim),
    ...ends,
    shown
  );
  const group = make(
    "fieldset",
    { class: "wb-trim" },
    make("legend", {}, texts.fit),
    trimField,
    labelled(texts.by, estimator),
    why
  );
  return {
    element: group,
    update(words) {
      const trim = model.get("trim");
      const moving = ends.some((end) => end === document.activeElement) && busy();
      if (!moving) {
        ends.forEach((end, i) => {
          end.value = String(Math.round(100 * trim[i]));
        });
        shown.value = trimText(trim);
      }
      estimator.value = model.get("estimator");
      group.disabled = Boolean(words.no_refit);
      why.textContent = words.no_refit;
    }
  };
}

// src/layout.js
var SLOTS = ["main", "side", "more", "detail"];
var NARROW2 = 960;
var STACKED = 640;
var IN_PANE = 265;
var BESIDE = IN_PANE + 100;
function buildCharts(root2, page, choose, moved, actions) {
  const height = () => {
    if (root2.clientWidth < STACKED) return void 0;
    const high = root2.classList.contains("wb-high");
    return paneHeight(high ? root2.clientHeight - IN_PANE : visibleHeight(root2) - BESIDE);
  };
  const more = (name) => ({ main: { moved }, detail: { height } })[name];
  const { dark, texts } = page.controls;
  const charts = Object.fromEntries(
    SLOTS.map((name) => [name, buildChart(name, dark, choose, { actions, ...more(name) })])
  );
  for (const [name, chart] of Object.entries(charts)) {
    buildCrosshair(chart, texts, { keys: name === "detail" });
  }
  return charts;
}
var paneHeight = (left) => Math.min(Math.max(left, 280), 640);
function buildSentences() {
  const status = make("p", { class: "wb-status", role: "status" });
  const spoken = make("p", { class: "wb-spoken", "aria-live": "polite" });
  const empty = make("div", { class: "wb-empty", hidden: true });
  const update = (words) => {
    status.textContent = [words.count, words.left_out].filter(Boolean).join(" · ");
    spoken.textContent = words.spoken;
    empty.hidden = !words.empty.length;
    empty.replaceChildren(...words.empty.map((text) => make("p", {}, text)));
  };
  return { status, spoken, empty, update };
}
function followSize(root2, filters) {
  let narrow = null;
  const observer = new ResizeObserver(() => {
    root2.style.setProperty("--wb-seen", `${visibleHeight(root2)}px`);
    const now = root2.clientWidth < NARROW2;
    if (!root2.clientWidth || now === narrow) return;
    narrow = now;
    filters.open = !now;
  });
  observer.observe(root2);
  return () => observer.disconnect();
}

// src/paper.js
var POINTS = 100;
var [LOWEST2, HIGHEST2] = [1e-4, 1 - 1e-6];
var ordinate2 = (share) => Math.log(-Math.log1p(-share));
function pointsOf({ magnitude, share }) {
  const from = share.findIndex((one) => one >= LOWEST2);
  if (from < 0) return [];
  const y = share.map(ordinate2);
  const reach = y[y.length - 1] - y[from];
  const points = [];
  for (let i = from, next = 0; i < y.length; i++) {
    if (y[i] - y[from] < next * reach / (POINTS - 1)) continue;
    points.push({ magnitude: magnitude[i], percent: 100 * share[i], y: y[i] });
    while (next < POINTS && next * reach / (POINTS - 1) <= y[i] - y[from]) next += 1;
  }
  return points;
}
function plotOf(sent, cell, counts, { trim, estimator }) {
  const owners = [...ownersOf(sent.data).values()];
  const [fit2, curve] = [counts.fit(cell, trim, estimator), counts.curve(cell)];
  const [shown] = owners.map(cellOf);
  if (owners.length !== 1 || !shown || keyOf(shown) === keyOf(cell) || !fit2 || !curve) return sent;
  const matrix = `${cell[2]} of layer ${cell[1]}:  k ${fit2.k.toFixed(4)}   λ ${Number(fit2.lam.toPrecision(4))}   r² ${fit2.r2.toFixed(4)}   n ${grouped(curve.n)}`;
  const [model, layer, component, step] = cell;
  const own = { model, layer, component, step, matrix };
  const data = Object.fromEntries(
    Object.entries(sent.data).map(([name, table2]) => [name, redone(table2, own, fit2, curve)])
  );
  const before = owners[0].matrix;
  const values = Object.fromEntries(
    Object.entries(sent.values).map(([name, value]) => [name, value === before ? matrix : value])
  );
  return { ...sent, data, values };
}
function redone(rows, own, { k, lam }, curve) {
  if (!rows.some((row) => "matrix" in row)) return rows;
  if (rows.every((row) => row.kind === void 0)) {
    return pointsOf(curve).map((point) => ({ ...own, ...point, residual: 0, detached: "no" }));
  }
  const ends = [LOWEST2, HIGHEST2].map((share) => ordinate2(share) / k + Math.log(lam));
  const sizes = new Map(["line", "gaussian"].map((kind) => [kind, rows.filter((row) => row.kind === kind).length]));
  const seen = /* @__PURE__ */ new Map([["line", 0], ["gaussian", 0]]);
  return rows.map((row) => {
    const kind = String(row.kind);
    const at = seen.get(kind);
    if (at === void 0) return { ...row, ...own };
    seen.set(kind, at + 1);
    const share = at / Math.max((sizes.get(kind) ?? 1) - 1, 1);
    const magnitude = Math.exp(ends[0] + share * (ends[1] - ends[0]));
    return { ...row, ...own, magnitude, ..."low" in row && { low: 0, high: 0, spread: 0, under: 0 } };
  });
}

// src/profile.js
function besideMap({ charts: { main, side }, profile }, { cells: [cell], own }, texts) {
  if (profile === void 0 || own || !cell || !side) return side;
  const isOther = (row) => row.component !== cell[2];
  if (!profile || !main) return rowsOf2(side).every(isOther) ? noted(side, texts.page_profile_stays) : side;
  const rows = rowsOf2(main).filter((row) => !isOther(row));
  const { $schema, config } = (
    /** @type {any} */
    side.spec
  );
  const spec = { $schema, config, .../** @type {any} */
  profile.spec };
  const datasets = { ...spec.datasets, [spec.data.name]: rows.map(withEnds) };
  return { ...profile, spec: { ...spec, datasets }, label: fill(texts.page_profile, { component: cell[2] }) };
}
var rowsOf2 = ({ spec }) => (
  /** @type {Datum[][]} */
  Object.values(
    /** @type {any} */
    spec.datasets
  ).flat().filter((row) => cellOf(row))
);
function withEnds(row) {
  const [k, error] = [row.k, row.k_se];
  const known3 = typeof k === "number" && typeof error === "number";
  return { ...row, low: known3 ? k - error : null, high: known3 ? k + error : null };
}
function noted(content, note) {
  const { title, ...spec } = (
    /** @type {any} */
    content.spec
  );
  return { ...content, spec: { ...spec, title: { ...title, subtitle: [...title.subtitle, note] } } };
}

// src/saved.js
function lookedAt({ chosen }, sift, clicked, rows, drawn) {
  const cell = clicked && sift.nearest(clicked);
  if (!cell && chosen.length && chosen.every(sift.has)) return { cells: chosen, own: true };
  const anchor = gaussianAnchor(drawn.trim, drawn.estimator).k;
  const found = cell ?? chosen.find(sift.has) ?? standingOut(rows.filter(sift.passes), anchor);
  if (!found) return { cells: [], own: false };
  return { cells: [found], own: chosen.length === 1 && keyOf(chosen[0]) === keyOf(found) };
}
var WRITTEN = {
  k: ({ k }) => k.toFixed(4),
  λ: ({ lam }) => String(Number(lam.toPrecision(4))),
  "r²": ({ r2 }) => r2.toFixed(4)
};
function countedNumbers(matrices, cell, counts, { trim, estimator }) {
  const fit2 = counts.fit(cell, trim, estimator);
  if (matrices.rows.length || !fit2) return matrices;
  return { ...matrices, rows: Object.entries(WRITTEN).map(([label, write2]) => [label, write2(fit2)]) };
}
function refittedNumbers(matrices, cells, counts, { trim, estimator }) {
  const fits = cells.map((cell) => counts.fit(cell, trim, estimator));
  const rows = matrices.rows.map(([label, ...values]) => [
    label,
    ...values.map((old, i) => {
      const fit2 = fits[i];
      return fit2 && WRITTEN[label] ? WRITTEN[label](fit2) : old;
    })
  ]);
  return { ...matrices, rows };
}
function wordsOf(saved, seen, looked, matrices) {
  const { texts } = saved.controls;
  const { sift, both, total, asked } = seen;
  const number = grouped((both ?? sift).cells.length);
  const counted = { number, total: grouped(total), protocol: protocolText(asked) };
  return {
    count: fill(both ? texts.page_compared : texts.page_count, counted),
    left_out: [saved.note, staleText(saved, seen)].filter(Boolean).join(" · "),
    spoken: "",
    no_refit: seen.fitting || seen.waits ? "" : saved.stays || texts.page_no_counts,
    empty: whyEmpty(saved, sift),
    code: "",
    call: "",
    chosen: looked.cells,
    matrices,
    counts: sift.counts,
    drawn: asked
  };
}
function staleText({ controls, drawn }, { sift, both, fitting, varies }) {
  const number = fitting && varies ? (both ?? sift).cells.filter((cell) => !fitting.has(cell)).length : 0;
  const protocol = protocolText(drawn);
  return number ? fill(controls.texts.page_stale, { number: grouped(number), protocol }) : "";
}
function whyEmpty({ controls: { texts, facets } }, { cells, empty }) {
  if (cells.length) return [];
  const titles = /* @__PURE__ */ new Map([["layers", texts.layers], ["step", texts.step]]);
  for (const { name, title } of facets) titles.set(name, title);
  const alone = empty.map((name) => fill(texts.excludes, { title: titles.get(name) ?? name }));
  return alone.length ? alone : [texts.none_pass];
}

// src/page.js
var bytesOf = (text) => unpacked(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
var contentOf = async (text) => JSON.parse(new TextDecoder().decode(await bytesOf(text)));
function whole(content) {
  const { again } = content;
  return { ...withRows(content), ...again && "spec" in again && { again: withRows({ ...again, label: "" }) } };
}
function framesOf(packed) {
  const known3 = /* @__PURE__ */ new Map();
  const read = async (step) => {
    const frame = await contentOf(packed[step]);
    const charts = Object.entries(frame.charts).map(([slot, content]) => [slot, whole(content)]);
    const [plot, profile] = [frame.plot && withRows(frame.plot), frame.profile && withRows(frame.profile)];
    return { ...frame, charts: Object.fromEntries(charts), plot, profile };
  };
  return (step) => {
    const frame = known3.get(step) ?? read(step);
    known3.set(step, frame);
    return frame;
  };
}
function localPage({ controls, checkpoints, state }, changed, busy) {
  const held = { filters: {}, layers: controls.layers, selected: [], pinned: {}, ...state };
  held._words = JSON.stringify({ chosen: [] });
  const model = {
    get: (name) => held[name],
    set: (name, value) => {
      held[name] = value;
    },
    ...{ save_changes() {
    }, send() {
    }, on() {
    }, off() {
    } }
  };
  const send = (changes) => {
    Object.assign(held, changes);
    changed();
  };
  return { model, controls, checkpoints: () => checkpoints, send, busy };
}
function layOut(root2, page, note) {
  const { texts } = page.controls;
  const choice = choosing(page);
  const charts = buildCharts(root2, page, choice.choose, choice.outline, { export: true });
  const [filters, steps, fit2] = [buildFilters(page), buildSteps(page), buildFit(page)];
  const [numbers, sentences] = [buildNumbers(), buildSentences()];
  const title = make("p", { class: "wb-title" });
  const pane = make("aside", { class: "wb-pane", "aria-label": texts.selected });
  pane.append(title, numbers.element, charts.detail.element, make("p", { class: "wb-note" }, note));
  const panel = make(
    "div",
    { class: "wb-panel" },
    make("div", { class: "wb-first" }, sentences.empty, charts.main.element),
    pane,
    make("div", { class: "wb-rest" }, charts.side.element, charts.more.element)
  );
  root2.append(
    make("div", { class: "wb-bar" }, steps.element, fit2.element, sentences.status),
    make("div", { class: "wb-body" }, filters.element, panel)
  );
  choice.onChart(root2, charts.main);
  followSize(root2, filters.element);
  const update = (words) => {
    page.model.set("_words", JSON.stringify(words));
    for (const part2 of [filters, steps, fit2, numbers, sentences]) part2.update(words);
    title.replaceChildren(...titleOf(words, texts.selected));
    pane.hidden = !words.chosen.length;
    choice.outline();
  };
  return { charts, update };
}
function placing(charts) {
  let stands = {};
  return {
    /** @type {(name: string, key: string, content: () => object | null | undefined, change?: Change) => Promise<void>} */
    async put(name, key, content, change) {
      if (stands[name] === key) return charts[name].vary(change ?? (() => ({})));
      stands[name] = key;
      const found = content();
      return charts[name].draw(found ? JSON.stringify(found) : "", change);
    },
    /** Send all of them anew. */
    forget() {
      stands = {};
    }
  };
}
var isClicked = ({ state }) => state.panel !== "weibull";
function looking(saved, sieve, countsNow) {
  const { controls, checkpoints, drawn, state, compared } = saved;
  const frameAt = framesOf(saved.frames);
  const oneStep = controls.panels[state.panel].one_step;
  const stepped = oneStep && checkpoints.steps.length > 0;
  return async (model) => {
    const [step, filters, layers] = ["step", "filters", "layers"].map(model.get);
    const ends = layers.join() === controls.layers.join() ? null : layers;
    const sift = sieve.sift({ filters, layers: ends, step: stepped ? step : null });
    const counts = countsNow();
    const fitting = counts && sift.cells.some(counts.has) ? counts : null;
    const asked = fitting ? { ...drawn, trim: model.get("trim"), estimator: model.get("estimator") } : drawn;
    const clicked = isClicked(saved) ? model.get("selected").at(-1) : void 0;
    return {
      frame: await frameAt(oneStep ? step : state.step),
      clicked: clicked && stepped ? (
        /** @type {Cell} */
        [...clicked.slice(0, 3), step]
      ) : clicked,
      both: compared && bothOf(compared, sieve, { filters, layers: ends }),
      key: JSON.stringify([step, filters, layers]),
      varies: protocolText(asked) !== protocolText(drawn),
      waits: saved.live !== null && !counts,
      ...{ sift, fitting, asked, total: sieve.total }
    };
  };
}
function kept(content, seen, { drawn, controls }) {
  const { sift, both, varies } = seen;
  if (!content?.spec || !sift.cells.length) return sift.cells.length ? content : null;
  if (content.again) return madeAgain(content, seen, drawn, controls.texts);
  const spec = sifted(content.spec, (both ?? sift).passes);
  return { ...content, spec: content.plain && (varies || spec !== content.spec) ? plainly(spec, content.plain) : spec };
}
function plainly(spec, title) {
  const subtitle = [spec.title?.subtitle ?? []].flat().filter((line) => line !== title);
  return { ...spec, title: { ...spec.title, text: title, subtitle }, description: title };
}
function drawing(saved, charts, put) {
  const { drawn, controls: { texts }, checkpoints } = saved;
  const drawDetail = ({ frame, fitting, asked, key, varies }, cell, own) => {
    const detail = own ? frame.charts.detail : frame.plot ?? frame.charts.detail;
    if (!cell || !detail) return put("detail", "none", () => null);
    const others = !own && !frame.plot && frame.listed.length > 1;
    if (others || !own && !(fitting?.exact && fitting.curve(cell))) {
      return put("detail", "note", () => ({ problem: texts.no_plot, label: "" }));
    }
    return put("detail", `${key} ${detail === frame.plot}`, () => detail, (sent) => {
      if (!fitting || own && !varies) return sent;
      return redrawn(own ? sent : plotOf(sent, cell, fitting, asked), asked, drawn, fitting);
    });
  };
  const tableOf = ({ frame, fitting, asked, varies }, { own, cells }, rows) => {
    const [cell] = cells;
    if (!own && !cell) return null;
    let numbers = own ? frame.matrices : numbersAt(cell, rows, texts, checkpoints.steps.length !== 1);
    if (!numbers || !fitting) return numbers;
    if (!own) numbers = countedNumbers(numbers, cell, fitting, asked);
    return varies ? refittedNumbers(numbers, own ? frame.listed : cells, fitting, asked) : numbers;
  };
  return async (seen) => {
    const { frame, sift, fitting, asked, key, varies, clicked } = seen;
    const change = varies && fitting ? (sent) => redrawn(sent, asked, drawn, fitting, saved.compared) : void 0;
    const place3 = (name, content, more = "") => {
      const state = `${key} ${varies} ${more}`;
      if (content?.again) return put(name, `${state} ${protocolText(asked)}`, () => kept(content, seen, saved));
      return put(name, state, () => kept(content, seen, saved), change);
    };
    await place3("main", frame.charts.main);
    const rows = charts.main.rows();
    const looked = lookedAt(frame, sift, clicked ?? null, rows, drawn);
    const [cell] = looked.cells;
    await place3("side", besideMap(frame, looked, texts), looked.own ? "" : cell?.[2]);
    await place3("more", frame.charts.more);
    await drawDetail(seen, cell, looked.own);
    const matrices = tableOf(seen, looked, rows);
    return { looked, matrices };
  };
}
async function show(saved, root2) {
  const { live } = saved;
  let counts = null;
  let [busy, again] = [false, false];
  const page = localPage(saved, () => later(), () => busy);
  const { model } = page;
  const hint = live?.header.kind === "bins" && isClicked(saved) ? saved.controls.texts.click : "";
  const { charts, update } = layOut(root2, page, hint);
  const { put, forget } = placing(charts);
  const sieve = buildSieve(await contentOf(saved.cells), saved.controls.facets);
  const look = looking(saved, sieve, () => counts);
  const draw = drawing(saved, charts, put);
  const later = async () => {
    again = busy;
    if (busy) return;
    busy = true;
    try {
      const seen = await look(model);
      const { looked, matrices } = await draw(seen);
      update(wordsOf(saved, seen, looked, matrices));
    } finally {
      busy = false;
    }
    if (again) later();
  };
  const held = {
    about: (cell) => counts?.about(cell) ?? "",
    alongSteps: (cell) => counts?.alongSteps(cell, model.get("trim"), model.get("estimator")) ?? []
  };
  for (const name of SLOTS) buildCard(root2, page, charts[name], held);
  let drawn;
  followTheme(root2, () => {
    forget();
    drawn = later();
  });
  if (!live) return;
  await drawn;
  counts = countsOf(live.header, await bytesOf(live.data));
  later();
}
var place2 = (
  /** @type {HTMLElement} */
  document.querySelector(".wb")
);
show(JSON.parse(document.getElementById("saved")?.textContent ?? ""), place2);
