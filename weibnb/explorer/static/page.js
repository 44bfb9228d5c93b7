// Made from js/src by npm run build.

// src/alive.js
var MOST = 16;
var LITERALS = /'[^']*'|"[^"]*"|[A-Za-z_]\w*|-?\d+\.\d+(?:e[-+]?\d+)?/g;
function part(whole) {
  const { datasets: data = {}, description = "", ...rest } = whole;
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
    description
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
  const show = async (next) => {
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
    /** The rows of data, as Python sent them. */
    rows: () => Object.values(sent?.data ?? {}).flat(),
    /**
     * @param {any} whole the specification
     * @param {HTMLElement} place for a chart that is made anew
     * @param {object} options of vega-embed
     * @param {() => boolean} isLate whether another one was asked for since
     * @returns {Promise<boolean>} whether it stands in the place
     */
    async draw(whole, place, options2, isLate) {
      const next = part(whole);
      if (drawn && sent?.structure === next.structure) {
        sent = next;
        await show(next);
        return false;
      }
      const spec = { ...next.spec, datasets: copied(next.data) };
      const made = await vegaEmbed(place, spec, options2);
      if (isLate()) {
        made.finalize();
        return false;
      }
      clear();
      [drawn, sent, shown] = [made, next, next];
      for (const [type, act] of listeners) made.view.addEventListener(type, act);
      return true;
    },
    /**
     * Show other data and numbers, until Python's own chart comes.
     * @param {(sent: Parted) => Partial<Parted>} change
     */
    async vary(change) {
      if (sent) await show({ ...sent, ...change(sent) });
    },
    clear
  };
}
var copied = (data) => Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, rows.map((row) => ({ ...row }))]));

// src/cells.js
var DIMS = ["model", "layer", "component", "step"];
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
var keyOf = (cell) => JSON.stringify(cell);

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
function choices(options2, label, onchange) {
  const select = make("select", { onchange: () => onchange(select.value), "aria-label": label });
  select.append(...options2.map(([value, name]) => make("option", { value }, name)));
  return select;
}
function labelled(text, ...controls) {
  return make("label", { class: "wb-field" }, make("span", {}, text), ...controls);
}
var grouped = (value) => value.toLocaleString("en");

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

// src/chart.js
function silenceEmpty(box) {
  for (const group of box.querySelectorAll('g[role="graphics-symbol"]:empty')) {
    group.removeAttribute("role");
    group.removeAttribute("aria-roledescription");
  }
}

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
        6 * rise - 3 * d0 - 3 * d1 - 0.5 * s0 + 0.5 * s1
      ],
      6 * i
    );
  }
  return table;
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
    const place = share * CELLS;
    const cell = Math.floor(place);
    const d = place - cell;
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
  const place = label & LABELS_AN_OCTAVE - 1;
  if (octave === 0) return Math.log(place + (exact ? 0 : 2)) - (BIAS + 9) * Math.LN2;
  return (exact ? LOWER : MIDDLE)[place] + (octave - BIAS) * Math.LN2;
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
  let below = 0;
  const share = Array.from(x, (_, j) => {
    below += counts[j];
    return (below - counts[j] / 2) / n;
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
  const [below, upTo] = [sumsUpTo(bins2, first - 1), sumsUpTo(bins2, last)];
  const begin = binOf(bins2, first);
  if (begin === upTo.bin) return NONE;
  const [sx, sy] = [upTo.sx - below.sx, upTo.sy - below.sy];
  const sxy = upTo.sxy - below.sxy - sx * sy / m;
  const sxx = upTo.sxx - below.sxx - sx * sx / m;
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
    const place = held.places[i];
    if (!first.has(place)) first.set(place, i);
    const own = cells.get(place);
    if (own) own.push(matrix);
    else cells.set(place, [matrix]);
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
  let place = 0;
  for (const [i, order] of orders.entries()) {
    const at = order.get(cell[i]);
    if (at === void 0) return -1;
    place = place * order.size + at;
  }
  return place;
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
function median(values) {
  const known2 = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  if (!known2.length) return Number.NaN;
  const half = known2.length >> 1;
  return known2.length % 2 ? known2[half] : (known2[half - 1] + known2[half]) / 2;
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
  let [below, ranks] = [density(0) * 2 ** LOWEST * (1 - 0.5 / 1024), 0];
  for (let octave = LOWEST; octave < HIGHEST; octave++) {
    for (let place = 0; place < 1024; place += 2) {
      const [low, high] = [place ? -1 : -0.5, 1].map((more) => 2 ** octave * (1 + (place + more) / 1024));
      below += (high - low) * (density(low) + 4 * density((low + high) / 2) + density(high)) / 6;
      const rank = Math.min(Math.round(below * WEIGHTS), WEIGHTS);
      if (rank <= ranks) continue;
      labels.push((octave + BIAS2) * 1024 + place);
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

// src/redrawn.js
var QUANTITIES = ["k", "lam", "r2"];
var NEAR = 1e-5;
function cellsOf(row, layers) {
  const cell = cellOf(row);
  if (!cell) return [];
  const ends = typeof row.band === "string" && row.band.match(/^(-?\d+)–(-?\d+)$/);
  if (!ends) return [cell];
  const [low, high] = [Number(ends[1]), Number(ends[2])];
  return layers.filter((layer) => low <= layer && layer <= high).map((layer) => [cell[0], layer, cell[2], cell[3]]);
}
function refitted(row, fit2, { value }, anchor) {
  if ("matrix" in row) return onPaper(row, fit2, anchor);
  const { k, lam, r2 } = fit2;
  const next = { ...row, ..."lam" in row && { lam }, ..."r2" in row && { r2 } };
  if ("k" in row) next.k = Number.isNaN(k) ? null : k;
  const error = (
    /** @type {number} */
    row.k_se
  );
  if ("low" in row && "high" in row && error) Object.assign(next, { low: k - error, high: k + error });
  if ("value" in row && row.value !== null) {
    if (QUANTITIES.includes(value)) next.value = fit2[
      /** @type {"k"} */
      value
    ];
    if (value === "z" && error) next.value = (k - anchor.k) / error;
  }
  return next;
}
function onPaper(row, { k, lam, r2 }, anchor) {
  const { magnitude, y, kind } = (
    /** @type {{ magnitude: number, y: number, kind?: string }} */
    row
  );
  const matrix = relabelled(String(row.matrix), k, lam, r2);
  const line = k * Math.log(magnitude / lam);
  if (kind === void 0) return { ...row, matrix, residual: y - line };
  if (kind === "scale") return { ...row, matrix, magnitude: lam };
  if (kind === "gaussian") {
    const at = gaussianOrdinate(magnitude / (lam / anchor.lam));
    return { ...row, matrix, y: at, residual: at - line };
  }
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
function redrawn(sent, asked, before, counts) {
  const [was, anchor] = [before, asked].map((one) => gaussianAnchor(one.trim, one.estimator));
  const fitOf = fitter(asked, before, counts);
  const owners = ownersOf(sent.data);
  const data = Object.fromEntries(
    Object.entries(sent.data).map(([name, rows]) => [
      name,
      rows.map((row) => {
        if (isTrim(row)) return trimRow(asked.trim);
        if (isAnchor(row)) return { ...row, at: anchor.k };
        const fit2 = fitOf(owners.get(row.matrix) ?? row);
        return fit2 ? refitted(row, fit2, asked, anchor) : row;
      })
    ])
  );
  const values = renamed(shifted(sent.values, was.k, anchor.k), sent.data, data);
  return { data, values: reworded(values, protocolText(before), protocolText(asked)) };
}
function protocolText({ trim, estimator }) {
  const [lower, upper] = trim.map((end) => Number((100 * end).toPrecision(10)));
  return `${estimator.replace("_", " ")}, trim ${lower}–${upper} %`;
}
function reworded(values, before, after) {
  const said = (one) => typeof one === "string" ? one.replace(before, after) : one;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(said) : said(value)
    ])
  );
}
function fitter(asked, before, counts) {
  const known2 = /* @__PURE__ */ new Map();
  return (row) => {
    const cells = cellsOf(row, counts.layers).filter(counts.has);
    if (!cells.length) return null;
    const key = keyOf(cells[0]) + cells.length;
    let fit2 = known2.get(key);
    if (fit2 === void 0) {
      fit2 = middle(cells.map((cell) => counts.fit(cell, asked.trim, asked.estimator)));
      known2.set(key, fit2);
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
function renamed(values, before, after) {
  const names = new Map(
    Object.entries(before).flatMap(
      ([name, rows]) => rows.map((row, i) => [row.matrix, after[name][i].matrix])
    )
  );
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, names.get(value) ?? value])
  );
}
var ownersOf = (data) => new Map(
  Object.values(data).flat().filter((row) => "matrix" in row && cellOf(row)).map((row) => [row.matrix, row])
);
var isTrim = (row) => Object.keys(row).sort().join() === "high,low";
var isAnchor = (row) => typeof row.words === "string" && row.words.includes("untrained Gaussian");
var trimRow = ([low, high]) => ({
  low: ordinate(Math.max(low, 1e-4)),
  high: ordinate(Math.min(high, 1 - 1e-6))
});

// src/paper.js
var POINTS = 200;
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
    Object.entries(sent.data).map(([name, table]) => [name, redone(table, own, fit2, curve)])
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

// src/protocol.js
var LEAST3 = 0.05;
function pushTrim(trim, moved) {
  if (trim[1] - trim[0] >= LEAST3) return trim;
  if (moved === 0) {
    const upper = Math.min(trim[0] + LEAST3, 1);
    return [upper - LEAST3, upper];
  }
  const lower = Math.max(trim[1] - LEAST3, 0);
  return [lower, lower + LEAST3];
}
var trimText = (trim) => `${trim.map((end) => Number((100 * end).toFixed(1))).join("–")} %`;

// src/page.js
var { specs, dark, live } = JSON.parse(
  document.getElementById("specs")?.textContent ?? '{"specs": [], "dark": {}, "live": null}'
);
var isDark2 = matchMedia("(prefers-color-scheme: dark)").matches;
var options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: isDark2 ? "dark" : "light" }
};
var charts = specs.map(() => livingChart());
var drawing = specs.map(async (spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (!place) return;
  await charts[i].draw(paint(spec, isDark2 ? dark : {}), place, options, () => false);
  silenceEmpty(place);
});
async function comeAlive({ header, data, drawn, texts, estimators }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const counts = countsOf(header, await unpacked(bytes));
  const state = { asked: drawn, cell: null };
  let waiting = false;
  const draw = async () => {
    waiting = false;
    const { asked, cell } = state;
    for (const chart of charts) {
      await chart.vary((sent) => {
        const plot = cell ? plotOf(sent, cell, counts, asked) : sent;
        return redrawn(plot, asked, drawn, counts);
      });
    }
    document.querySelectorAll("figure").forEach(silenceEmpty);
    const words = document.getElementById("words");
    if (words) words.hidden = asked.trim !== drawn.trim || asked.estimator !== drawn.estimator;
  };
  const later = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };
  const change = (more) => {
    state.asked = { ...state.asked, ...more };
    later();
  };
  document.getElementById("words")?.after(buildControls(drawn, texts, estimators, change));
  for (const chart of charts) {
    chart.listen("click", (_event, item) => {
      const cell = cellOf(item?.datum);
      if (!cell || !counts.has(cell)) return;
      state.cell = cell;
      later();
    });
  }
}
function buildControls(drawn, texts, estimators, change) {
  const shown = make("output", {}, trimText(drawn.trim));
  const ends = [texts.lower, texts.upper].map(
    (label, i) => make("input", {
      type: "range",
      min: 0,
      max: 100,
      value: Math.round(100 * drawn.trim[i]),
      "aria-label": label,
      oninput: () => {
        const trim = (
          /** @type {[number, number]} */
          pushTrim(ends.map((end) => Number(end.value) / 100), i)
        );
        shown.value = trimText(trim);
        change({ trim });
      }
    })
  );
  const estimator = choices(
    Object.entries(estimators),
    texts.estimator,
    (value) => change({ estimator: (
      /** @type {Asked["estimator"]} */
      value
    ) })
  );
  estimator.value = drawn.estimator;
  return make(
    "fieldset",
    { id: "protocol" },
    make("legend", {}, texts.fit),
    make("span", {}, texts.trim),
    ...ends,
    shown,
    labelled(texts.by, estimator),
    make("small", {}, texts.click)
  );
}
if (live) Promise.all(drawing).then(() => comeAlive(live));
