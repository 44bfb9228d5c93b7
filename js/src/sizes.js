/** Charts take the size of their place: the sizes of a Vega view are signals that can be set. */

/**
 * @typedef {import("vega-typings").View} View
 * @typedef {import("vega-typings").Spec} Spec
 * @typedef {{ width: number, height?: number, zoom?: number }} Room in pixels; the
 *   chart is `zoom` times as wide
 * @typedef {{ across: Record<string, number>, down: Record<string, number>, factor: number, tall: number }} Sizes
 *   that a chart was made with, and by how much wider and higher it is drawn
 */

const WIDTH = /(^|_)width$/;
const HEIGHT = /(^|_)height$/;
const X_STEP = /(^|_)x_step$/;
const Y_STEP = /(^|_)y_step$/;
const AXES = 60; // px that axes and legends take, for the first guess
const TURNS = 5; // of guessing a size at most
const CLOSE = 3; // px between a chart and its place that nobody minds
const MOST_STEP = 96; // px of a cell of a map
const READ = 40; // px from which a cell holds a number: it shrinks to four fifths of them at most
const LEAST_STEP = 2;
const LEAST_PANEL = 0.65; // of the width that one of several panels was made with
const LETTER = 6; // px of a letter above a panel, about
const LEAST_NAME = 100; // px of what is written above a panel, where it is narrower
const GAP = 14; // px between panels
const EVERY = 4; // square of colours stands in a legend of one line
const SYMBOL = 42; // px of an entry of a legend without its name
const NARROW = 420; // px of a chart below which legends stand under it

/**
 * Sizes that a view was made with, as signals by name: steps of cells where there are any, else
 * widths and heights.
 * @param {View} view
 * @returns {Sizes}
 */
export function sizesOf(view) {
  /** @type {Record<string, unknown>} */
  const signals = view.getState({ signals: () => true, data: () => false }).signals ?? {};
  /** @param {RegExp} pattern */
  const those = (pattern) =>
    Object.fromEntries(
      Object.entries(signals).filter(
        /** @returns {entry is [string, number]} */
        (entry) => pattern.test(entry[0]) && typeof entry[1] === "number" && entry[1] > 0,
      ),
    );
  /** @type {(step: RegExp, size: RegExp) => Record<string, number>} */
  const either = (step, size) => {
    const steps = those(step);
    return Object.keys(steps).length ? steps : those(size);
  };
  return { across: either(X_STEP, WIDTH), down: either(Y_STEP, HEIGHT), factor: 1, tall: 1 };
}

/**
 * How many times wider a chart may be than it was made: cells have a least and a greatest width.
 * @param {Record<string, number>} across
 * @param {number} zoom
 * @returns {[number, number]}
 */
export function limits(across, zoom) {
  const steps = Object.entries(across)
    .filter(([name]) => X_STEP.test(name))
    .map(([, step]) => step);
  if (!steps.length) return [0.2, Number.POSITIVE_INFINITY];
  const [least, most] = [Math.min(...steps), Math.max(...steps)];
  const low = least >= READ ? 0.8 : LEAST_STEP / least;
  return [Math.min(low, 1), Math.max((MOST_STEP * zoom) / most, 1)];
}

/**
 * How wide a chart becomes by its factor, from how wide it was at two of them.
 * @param {[number, number]} last factor and width
 * @param {[number, number]} now
 * @param {number} known what was thought before
 */
export function slopeOf(last, now, known) {
  const slope = (now[1] - last[1]) / (now[0] - last[0]);
  return slope > 0 && Number.isFinite(slope) ? slope : known;
}

/**
 * Height by how wide a chart has become: wide ones are somewhat higher.
 * @param {number} factor
 */
const heightFor = (factor) => Math.min(Math.max(Math.sqrt(factor), 0.8), 1.5);

/**
 * Draw a view as wide as its place, and as high where a height is given.
 * @param {View} view
 * @param {Sizes} sizes that it was made with
 * @param {Room} room
 * @param {() => { width: number, height: number }} measure the whole chart
 */
export async function fit(view, sizes, room, measure) {
  const { zoom = 1 } = room;
  const [low, high] = limits(sizes.across, zoom);
  const wanted = room.width * zoom;
  let { factor, tall } = sizes;
  let now = measure();
  let slope = (now.width - AXES) / factor;
  let stuck = false; // something else is so wide, as a legend
  for (let turn = 0; turn < TURNS; turn += 1) {
    const wide = factor + (wanted - now.width) / slope;
    const next = stuck ? factor : Math.min(Math.max(wide, low), high);
    const nextTall = room.height ? leastTall(tall, now.height, room.height) : heightFor(next);
    if (Math.abs(next - factor) * slope <= CLOSE && Math.abs(nextTall - tall) < 0.02) break;
    const last = { factor, width: now.width };
    [factor, tall] = [next, nextTall];
    set(view, sizes.across, factor);
    set(view, sizes.down, tall);
    // without it Vega lays small multiples out one run later, and cuts off what is new
    await view.resize().runAsync();
    now = measure();
    stuck ||= factor !== last.factor && now.width === last.width;
    slope = slopeOf([last.factor, last.width], [factor, now.width], slope);
  }
  Object.assign(sizes, { factor, tall });
}

/**
 * @param {number} tall
 * @param {number} now px
 * @param {number} wanted px
 */
const leastTall = (tall, now, wanted) => Math.min(Math.max((tall * wanted) / now, 0.45), 2);

/**
 * @param {View} view
 * @param {Record<string, number>} sizes
 * @param {number} factor
 */
function set(view, sizes, factor) {
  for (const [name, size] of Object.entries(sizes)) view.signal(name, size * factor);
}

/**
 * A chart for a place of some width: as many small multiples beside each other as it has room for,
 * the legends below where it is narrow, or crowded by them.
 * @param {Spec} spec
 * @param {number} width px
 * @param {boolean} crowded
 * @returns {Spec}
 */
export function arranged(spec, width, crowded = false) {
  const { config = {}, columns, ...rest } = /** @type {any} */ (spec);
  const labelLimit = Math.min(640, Math.max(width - 130, 200));
  if (width >= NARROW && !crowded) {
    const legend = { ...config.legend, labelLimit };
    return inColumns({ ...withLegends(rest, atSide(width)), config: { ...config, legend } }, columns, width);
  }
  const legend = { ...config.legend, labelLimit, orient: "bottom", columns: 2 };
  return inColumns({ ...withLegends(rest, below(width)), config: { ...config, legend } }, columns, width);
}

/**
 * A legend beside a chart, which leaves most of the width to it.
 * @param {number} width px
 */
const atSide = (width) => (/** @type {any} */ legend) =>
  legend.orient ? legend : { ...legend, labelLimit: Math.min(legend.labelLimit ?? 640, Math.max(0.3 * width, 130)) };

/**
 * A legend below a chart: names in two columns, short ones in as many as there is room for; of
 * squares of colours the ends and the middle.
 * @param {number} width px
 */
const below = (width) => (/** @type {any} */ legend, /** @type {unknown[]} */ names = []) => {
  if (legend.orient) return legend;
  if (legend.symbolType !== "square") {
    const limited = { ...legend, labelLimit: Math.max(width / 2 - 60, 80) };
    const longest = Math.max(0, ...names.map((name) => String(name).length));
    const columns = Math.floor((width - AXES) / (SYMBOL + LETTER * longest));
    return longest && columns > 2 ? { ...limited, columns } : limited;
  }
  const values = legend.values.filter((/** @type {number} */ _, /** @type {number} */ i) => i % EVERY === 0).reverse();
  const labelExpr = legend.labelExpr.replaceAll("datum.index", `(${EVERY} * datum.index)`);
  return { ...legend, values, labelExpr, columns: values.length };
};

/**
 * Small multiples beside each other, where there are any. In an incomplete last row the panels have
 * axes of their own: the shared ones would stand below the gap.
 * @param {any} found
 * @param {number | undefined} columns
 * @param {number} width px
 * @returns {Spec}
 */
function inColumns(found, columns, width) {
  if (found.vconcat) return inRows(found, width);
  if (!columns) return found;
  const number = panelsOf(found);
  const across = columnsFor({ ...found, columns }, width);
  const { axis: { x: _, ...axis } = /** @type {any} */ ({}), ...resolve } = found.resolve ?? {};
  const own = number > across && number % across ? { x: "independent" } : {};
  // in charts made by Python names may be longer: there a panel is as wide as they are
  const header = { ...found.facet.header, labelLimit: { expr: `max(child_width, ${LEAST_NAME})` } };
  return {
    ...found,
    facet: { ...found.facet, header },
    columns: across,
    resolve: { ...resolve, axis: { ...axis, ...own } },
    spec: titledBeside(found.spec, Math.ceil(number / across)),
  };
}

/**
 * Parts of a chart that stand below each other, those of the same matrices together, and the tables
 * that they draw: Python sends several rows of small multiples.
 * @param {any} found
 * @returns {{ parts: any[], tables: string[] }[]}
 */
function groupsOf({ vconcat }) {
  /** @type {{ parts: any[], tables: string[] }[]} */
  const groups = [];
  for (const part of vconcat) {
    const last = groups.at(-1);
    const goesOn = last && part.facet && part.columns && last.parts[0].facet;
    const table = part.data?.name;
    if (!goesOn) groups.push({ parts: [part], tables: [table] });
    else if (!last.tables.includes(table)) last.tables.push(table);
    else if (last.tables.length === 1) last.parts.push(part);
  }
  return groups;
}

/**
 * Small multiples and what belongs below each of them, in rows of as many as there is room for.
 * @param {any} found
 * @param {number} width px
 * @returns {Spec}
 */
function inRows(found, width) {
  const datasets = { ...found.datasets };
  const vconcat = groupsOf(found).flatMap(({ parts, tables }) => {
    const [{ facet, columns, data }] = parts;
    if (!facet || !columns) return parts;
    const rows = tables.flatMap((name) => datasets[name]);
    const places = [...new Set(rows.map((/** @type {any} */ row) => row.place))].sort((a, b) => a - b);
    const beside = columnsFor({ ...parts[0], datasets: { [data.name]: rows } }, width);
    if (places.length <= beside) return parts;
    const labelLimit = Math.floor((width - AXES) / beside) - GAP;
    for (const name of tables) delete datasets[name];
    return places.flatMap((place, i) => {
      if (i % beside) return [];
      const [name, own] = [`${data.name} from ${place}`, new Set(places.slice(i, i + beside))];
      datasets[name] = rows.filter((/** @type {any} */ row) => own.has(row.place));
      return parts.map((part) => {
        const header = { ...part.facet.header, labelLimit };
        return { ...part, data: { name }, facet: { ...part.facet, header } };
      });
    });
  });
  return { ...found, vconcat, datasets };
}

/**
 * The title of y beside the middle one of several rows of panels; that of x Python has put below them.
 * @param {any} panel
 * @param {number} rows
 */
function titledBeside(panel, rows) {
  /** @param {any} one */
  const titled = (one) => {
    const y = one.encoding?.y;
    if (!y?.field || y.axis === null) return one;
    const { titleOpacity: _, ...axis } = y.axis ?? {};
    const seen = { titleOpacity: { expr: `parent.data === ${Math.floor((rows - 1) / 2)} ? 1 : 0` } };
    return { ...one, encoding: { ...one.encoding, y: { ...y, axis: rows > 1 ? { ...axis, ...seen } : axis } } };
  };
  return panel.layer ? { ...panel, layer: panel.layer.map(titled) } : panel;
}

/**
 * How many small multiples stand beside each other; 1 for a chart without any.
 * @param {any} spec
 * @param {number} width px
 */
function columnsFor(spec, width) {
  if (!spec.columns) return 1;
  const least = Math.max(LEAST_PANEL * panelWidth(spec.spec), labelWidth(spec));
  return Math.max(1, Math.min(spec.columns, Math.floor((width - AXES) / least)));
}

/** Pixels that the longest line above a panel takes, about. @param {any} spec with small multiples */
function labelWidth({ facet, data, datasets }) {
  const rows = datasets?.[data?.name] ?? [];
  const lines = rows.flatMap((/** @type {any} */ row) => String(row[facet.field]).split("\n"));
  const longest = Math.max(0, ...new Set(lines.map((/** @type {string} */ line) => line.length)));
  return Math.min(LETTER * longest, facet.header?.labelLimit ?? LEAST_NAME) + GAP;
}

/** Pixels that a panel was made with, of which cells keep theirs. @param {any} panel */
function panelWidth({ width, layer }) {
  if (typeof width === "number") return width;
  const cells = layer[0].encoding.x.scale.domain.length;
  return (width.step * cells) / LEAST_PANEL;
}

/** @param {any} spec with small multiples */
function panelsOf({ facet, data, datasets }) {
  const rows = datasets?.[data?.name] ?? [];
  return new Set(rows.map((/** @type {any} */ row) => row[facet.field])).size;
}

/**
 * A chart with other legends.
 * @param {any} node
 * @param {(legend: any, names?: unknown[]) => any} change of a legend of what is named so
 * @returns {any}
 */
function withLegends(node, change) {
  if (Array.isArray(node)) return node.map((child) => withLegends(child, change));
  if (!node || typeof node !== "object") return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, child]) => {
      if (key === "datasets") return [key, child];
      return [key, key === "legend" && child ? change(child, node.scale?.domain) : withLegends(child, change)];
    }),
  );
}

/**
 * What `arranged` makes of a chart: while it stays, the chart need not be made anew.
 * @param {Spec} spec
 * @param {number} width px
 * @param {boolean} crowded
 */
export function arrangement(spec, width, crowded = false) {
  const { vconcat = [spec], datasets } = /** @type {any} */ (spec);
  const columns = vconcat.map((/** @type {any} */ part) => (part.facet ? columnsFor({ ...part, datasets }, width) : 1));
  return `${width < NARROW || crowded} ${columns.join(" ")}`;
}

/**
 * Take title and notes off a chart: the page writes them, where they wrap.
 * @param {Spec} spec
 * @returns {{ spec: Spec, title: string, notes: string[] }}
 */
export function untitled(spec) {
  const { title, ...rest } = /** @type {any} */ (spec);
  if (!title && rest.vconcat?.length) {
    const [first, ...others] = rest.vconcat;
    const inner = untitled(first);
    return { ...inner, spec: { ...rest, vconcat: [inner.spec, ...others] } };
  }
  const bare = typeof title === "string" || Array.isArray(title);
  const parts = bare ? { text: title } : (title ?? {});
  return { spec: rest, title: lines(parts.text).join(" "), notes: lines(parts.subtitle) };
}

/**
 * @param {unknown} text one line or several
 * @returns {string[]}
 */
const lines = (text) => (text === undefined ? [] : [text].flat().map(String));
