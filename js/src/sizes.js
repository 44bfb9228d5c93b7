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
const LEAST_STEP = 3;
const LEAST_PANEL = 0.65; // of the width that one of several panels was made with
const LETTER = 6; // px of a letter above a panel, about
const GAP = 14; // px between panels
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
 * the legends below where it is narrow.
 * @param {Spec} spec
 * @param {number} width px
 * @returns {Spec}
 */
export function arranged(spec, width) {
  const { config = {}, columns, ...rest } = /** @type {any} */ (spec);
  const legend = { ...config.legend, labelLimit: Math.min(640, Math.max(width - 130, 200)) };
  if (width >= NARROW) return inColumns({ ...rest, config: { ...config, legend } }, columns, width);
  const gradientLength = Math.min(Math.max(width - 140, 100), 240); // with room for its labels
  Object.assign(legend, { orient: "bottom", columns: 2, gradientLength });
  const found = { ...withGradients(rest, gradientLength), config: { ...config, legend } };
  return inColumns(found, columns, width);
}

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
  const beside = columnsFor({ ...found, columns }, width);
  const { axis: { x: _, ...axis } = /** @type {any} */ ({}), ...resolve } = found.resolve ?? {};
  const bare = { ...found, columns: beside, resolve: { ...resolve, axis } };
  if (number <= beside) return { ...bare, facet: { ...found.facet, title: null }, spec: withTitles(found.spec, {}) };
  if (number % beside === 0) return titledOnce(bare, "y");
  return titledOnce({ ...bare, resolve: { ...resolve, axis: { ...axis, x: "independent" } } }, "x");
}

/**
 * Parts of a chart that stand below each other, those of the same matrices together.
 * @param {any} found
 * @returns {any[][]}
 */
function groupsOf({ vconcat }) {
  /** @type {any[][]} */
  const groups = [];
  for (const part of vconcat) {
    const last = groups.at(-1);
    if (part.facet && part.columns && last?.[0].facet && last[0].data?.name === part.data?.name) last.push(part);
    else groups.push([part]);
  }
  return groups;
}

/**
 * Small multiples and what belongs below each of them, in several rows where there is room for few.
 * @param {any} found
 * @param {number} width px
 * @returns {Spec}
 */
function inRows(found, width) {
  const datasets = { ...found.datasets };
  const vconcat = groupsOf(found).flatMap((group) => {
    const [{ facet, columns, data }] = group;
    if (!facet || !columns) return group;
    const rows = datasets[data.name];
    const places = [...new Set(rows.map((/** @type {any} */ row) => row.place))].sort((a, b) => a - b);
    const beside = columnsFor({ ...group[0], datasets }, width);
    if (places.length <= beside) return group;
    delete datasets[data.name];
    return places.flatMap((place, i) => {
      if (i % beside) return [];
      const [name, own] = [`${data.name} from ${place}`, new Set(places.slice(i, i + beside))];
      datasets[name] = rows.filter((/** @type {any} */ row) => own.has(row.place));
      return group.map((part) => ({ ...part, data: { name } }));
    });
  });
  return { ...found, vconcat, datasets };
}

// of a title that screen readers alone have
const UNSEEN = { titleOpacity: 0, titleFontSize: 1, titlePadding: 0 };
const ONCE = { titleFontWeight: 400, titleFontSize: 12 };
const SIDE = { x: { titleOrient: "bottom", titleAngle: 0 }, y: { titleOrient: "left", titleAngle: -90 } };

/**
 * The title of an axis once for all panels: below them, or at their left.
 * @param {any} found
 * @param {"x" | "y"} axis
 */
function titledOnce(found, axis) {
  const { facet, spec } = found;
  const title = spec.layer?.map((/** @type {any} */ one) => one.encoding?.[axis]?.title).find(Boolean) ?? null;
  return {
    ...found,
    facet: { ...facet, title, header: { ...facet.header, ...ONCE, ...SIDE[axis] } },
    spec: withTitles(spec, { [axis]: UNSEEN }),
  };
}

/**
 * @param {any} panel
 * @param {{ x?: typeof UNSEEN, y?: typeof UNSEEN }} own how the titles of axes look
 */
function withTitles(panel, own) {
  /** @param {any} one @param {"x" | "y"} axis */
  const retitled = (one, axis) => {
    const place = one.encoding?.[axis];
    if (!place?.field || place.axis === null) return one;
    const { titleOpacity: _, titleFontSize: __, titlePadding: ___, ...looks } = place.axis ?? {};
    return { ...one, encoding: { ...one.encoding, [axis]: { ...place, axis: { ...looks, ...own[axis] } } } };
  };
  const both = (/** @type {any} */ one) => retitled(retitled(one, "x"), "y");
  return panel.layer ? { ...panel, layer: panel.layer.map(both) } : panel;
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
  return Math.min(LETTER * longest, facet.header?.labelLimit ?? Number.POSITIVE_INFINITY) + GAP;
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
 * Colour bars of some length.
 * @param {any} node
 * @param {number} gradientLength px
 * @returns {any}
 */
function withGradients(node, gradientLength) {
  if (Array.isArray(node)) return node.map((child) => withGradients(child, gradientLength));
  if (!node || typeof node !== "object") return node;
  const next = Object.fromEntries(
    Object.entries(node).map(([key, child]) => [
      key,
      key === "datasets" ? child : withGradients(child, gradientLength),
    ]),
  );
  return next.gradientLength ? { ...next, gradientLength } : next;
}

/**
 * What `arranged` makes of a chart: while it stays, the chart need not be made anew.
 * @param {Spec} spec
 * @param {number} width px
 */
export function arrangement(spec, width) {
  const { vconcat = [spec], datasets } = /** @type {any} */ (spec);
  const columns = vconcat.map((/** @type {any} */ part) => (part.facet ? columnsFor({ ...part, datasets }, width) : 1));
  return `${width < NARROW} ${columns.join(" ")}`;
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
