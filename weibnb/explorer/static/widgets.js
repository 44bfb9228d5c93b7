// Made from js/src by npm run build.

// src/kept_marks.js
var KEY = "wb_row";
var ONE_OF_ROWS = ["image", "rect", "rule", "symbol", "text"];
var OF_ROWS = ["filter", "formula", "identifier"];
function keepMarks(spec, tables) {
  const named = ({ name, source }) => tables.includes(name) || tables.includes(source);
  mark(spec, /* @__PURE__ */ new Set(), named);
  return spec;
}
function mark(group, known, isTable) {
  const own = new Set(known);
  for (const data of group.data ?? []) {
    const kept = (data.transform ?? []).every(({ type }) => OF_ROWS.includes(type));
    if (kept && (isTable(data) || own.has(data.source))) own.add(data.name);
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
function part(whole) {
  const { datasets: data = {}, description = "", notes = [], ...rest } = whole;
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
    async draw(whole, place, options, isLate, change = () => ({})) {
      const next = part(whole);
      if (drawn && sent?.structure === next.structure) {
        sent = next;
        await show({ ...next, ...change(next) });
        return false;
      }
      const spec = { ...next.spec, datasets: copied(next.data) };
      const patch = (made2) => keepMarks(made2, Object.keys(next.data));
      const made = await vegaEmbed(place, spec, { ...options, patch });
      if (isLate()) {
        made.finalize();
        return false;
      }
      clear();
      [drawn, sent, shown] = [made, next, next];
      for (const [type, act] of listeners) made.view.addEventListener(type, act);
      await show({ ...next, ...change(next) });
      return true;
    },
    /**
     * Show other data and numbers than those of the last chart.
     * @param {Change} change
     */
    async vary(change) {
      if (sent) await show({ ...sent, ...change(sent) });
    },
    clear
  };
}
var copied = (data) => Object.fromEntries(Object.entries(data).map(([name, rows]) => [name, rows.map((row, i) => ({ ...row, [KEY]: i }))]));

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
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
var grouped = (value) => typeof value === "number" ? value.toLocaleString("en") : value;

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
var WIDTH = /(^|_)width$/;
var HEIGHT = /(^|_)height$/;
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
  return { across: either(X_STEP, WIDTH), down: either(Y_STEP, HEIGHT), factor: 1, tall: 1 };
}
function limits(across, zoom) {
  const steps = Object.entries(across).filter(([name]) => X_STEP.test(name)).map(([, step]) => step);
  if (!steps.length) return [0.2, Number.POSITIVE_INFINITY];
  const [least, most] = [Math.min(...steps), Math.max(...steps)];
  const low = least >= READ ? 0.8 : LEAST_STEP / least;
  return [Math.min(low, 1), Math.max(MOST_STEP * zoom / most, 1)];
}
function slopeOf(last, now, known) {
  const slope = (now[1] - last[1]) / (now[0] - last[0]);
  return slope > 0 && Number.isFinite(slope) ? slope : known;
}
var heightFor = (factor) => Math.min(Math.max(Math.sqrt(factor), 0.8), 1.5);
async function fit(view, sizes, room, measure) {
  const { zoom = 1 } = room;
  const [low, high] = limits(sizes.across, zoom);
  const wanted = room.width * zoom;
  let { factor, tall } = sizes;
  let now = measure();
  let slope = (now.width - AXES) / factor;
  let stuck = false;
  for (let turn = 0; turn < TURNS; turn += 1) {
    const wide = factor + (wanted - now.width) / slope;
    const next = stuck ? factor : Math.min(Math.max(wide, low), high);
    const nextTall = room.height ? leastTall(tall, now.height, room.height) : heightFor(next);
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
    const table = part2.data?.name;
    if (!goesOn) groups.push({ parts: [part2], tables: [table] });
    else if (!last.tables.includes(table)) last.tables.push(table);
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
    return places.flatMap((place, i) => {
      if (i % beside) return [];
      const [name, own] = [`${data.name} from ${place}`, new Set(places.slice(i, i + beside))];
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
  let known = 0;
  let [crowdedAt, kind] = [0, ""];
  const room = () => {
    known = widthOf(element) || known;
    const width = Math.max(known - PADDING, LEAST_WIDTH);
    return { width, height: height?.(), zoom: Number(element.dataset.zoom ?? 1) };
  };
  return {
    /** A chart for the width that is there. @param {Spec} spec */
    arrange(spec) {
      const { width } = room();
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
      const { width } = room();
      return held === arrangement(asked, width, width <= crowdedAt);
    },
    /**
     * Whether the chart found its room; if not, it is to be arranged anew.
     * @param {View | undefined} view
     */
    async fill(view) {
      if (!view) return true;
      sizes ??= sizesOf(view);
      const given = room();
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
    const place = svg?.closest(".wb-chart");
    if (!svg || !place) return;
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
    if (column.parentElement !== place) place.append(line, column);
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
function rowsOf(table) {
  if (Array.isArray(table)) return table;
  const held = (values) => (
    /** @type {unknown[]} */
    typeof values === "string" ? table.columns[values] : values
  );
  const columns = Object.entries(table.columns).map(([name, values]) => (
    /** @type {const} */
    [name, held(values)]
  ));
  return Array.from(
    { length: table.rows },
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
  const datasets = Object.fromEntries(tables.map(([name, table]) => [name, rowsOf(table)]));
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
function followTheme(root, onChange) {
  const look = () => {
    const theme = isDark() ? "dark" : "light";
    if (theme === root.dataset.theme) return;
    root.dataset.theme = theme;
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
var SVG = "http://www.w3.org/2000/svg";
var ROOM = { main: 300, side: 240, more: 240, detail: 480 };
function buildChart(name, darkColours, choose, { height, moved = () => {
}, actions } = {}) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  const chart = livingChart();
  const place = buildPlace(element, height);
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
    const isNew = await chart.draw({ ...place.arrange(spec), notes }, box, options, () => mine !== turn, change);
    if (isNew) {
      element.replaceChildren(make("figcaption", {}), box);
      place.renew();
      chooseByClick(chart.view(), element, choose);
    }
    if (mine !== turn) return;
    title = said.title;
    caption(element, title, chart.notes());
    const fits = await place.fill(chart.view());
    if (mine === turn) await (fits ? settle(content.label) : draw(text, change));
  }
  const settle = (label) => settled(element, turn, label);
  const resize = async () => {
    if (!chart.view()) return;
    if (!place.suits() || !await place.fill(chart.view())) await draw(last, lastChange);
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
function holdRoom(element, room) {
  const isFirst = Boolean(element.hidden) || !element.childElementCount;
  element.classList.toggle("wb-waiting", isFirst);
  element.style.minHeight = `${isFirst ? room : element.offsetHeight}px`;
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
  const place = element.querySelector("figcaption");
  if (!place || place.textContent === [head, ...others].join(" ")) return;
  place.replaceChildren(make("strong", {}, head), ...others.flatMap((note) => [" ", make("span", {}, note)]));
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
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("class", "wb-picked");
  layer.setAttribute("aria-hidden", "true");
  for (const { kind, box } of marks) {
    const far = kind === "rect" ? 0 : 3;
    const place = {
      x: box.left - far,
      y: box.top - far,
      width: box.right - box.left + 2 * far,
      height: box.bottom - box.top + 2 * far,
      rx: kind === "rect" ? 0 : 99
    };
    for (const kindOfLine of ["wb-halo", "wb-ring"]) {
      const shape = document.createElementNS(SVG, "rect");
      shape.setAttribute("class", kindOfLine);
      for (const [name, value] of Object.entries(place)) shape.setAttribute(name, String(value));
      layer.append(shape);
    }
  }
  return layer;
}

// src/gestures.js
var LEAST = 8;
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
function brush(root, chart, choose) {
  const frame = make("div", { class: "wb-brush", hidden: true });
  root.append(frame);
  const place = chart.element;
  place.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    delete place.dataset.brushed;
    const move = (event) => {
      const at = within(span(down, event), root.getBoundingClientRect());
      const [width, height] = [at.right - at.left, at.bottom - at.top];
      if (width + height < LEAST) return;
      event.preventDefault();
      place.dataset.brushed = "yes";
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
      if (!place.dataset.brushed) return;
      const touched = within(span(down, event), chart.corner());
      choose(cellsWithin(chart.marks(), touched), event.shiftKey);
      setTimeout(() => delete place.dataset.brushed, 0);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
  });
  place.addEventListener("dragstart", (event) => event.preventDefault());
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
  const place = chart.element;
  const zoom = async (by, at) => {
    const from = Number(place.dataset.zoom ?? 1);
    const to = zoomed(from, by);
    if (from === to) return;
    const left = place.scrollLeft;
    place.dataset.zoom = String(to);
    await chart.resize();
    place.scrollLeft = (left + at) * to / from - at;
  };
  place.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - place.getBoundingClientRect().left);
    },
    { passive: false }
  );
  place.addEventListener("keydown", (event) => {
    if (!(event.key in ZOOMS) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    zoom(ZOOMS[event.key], place.clientWidth / 2);
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
    onChart(root, chart) {
      main = chart;
      brush(root, chart, choose);
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
      const kept = model.get("filters")[facet.name];
      rows.forEach(({ input, number, line }, i) => {
        const count = words.counts[facet.name][i];
        input.checked = !kept || kept.includes(facet.values[i]);
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

// src/window.js
var CLOSER = 4;
function closer(datum, shown) {
  const ends = ["row", "row_stop", "col", "col_stop"].map((name) => datum?.[name]);
  if (!ends.every((end) => typeof end === "number")) return null;
  return [0, 2].flatMap((at) => {
    const [low, high] = shown.slice(at, at + 2);
    const middle = (Number(ends[at]) + Number(ends[at + 1])) / 2;
    const size = Math.max(Math.ceil((high - low) / CLOSER), 1);
    const first = Math.round(Math.min(Math.max(middle - size / 2, low), high - size));
    return [first, first + size];
  });
}
function spanOf(places) {
  const ends = (name) => places.map((place) => Number(place[name]));
  return ["row", "col"].flatMap((dim) => [
    Math.min(...ends(dim)),
    Math.max(...ends(`${dim}_stop`))
  ]);
}
function buildWindow({ model, controls, send }) {
  const { texts } = controls;
  const inputs = texts.window_ends.split("|").map(
    (label) => make("input", {
      type: "number",
      min: 0,
      "aria-label": label,
      title: label,
      onchange: () => {
        const ends = inputs.map((input) => Math.round(Number(input.value)));
        if (inputs.every((input) => input.value)) send({ window: ends });
      }
    })
  );
  const all = make("button", { type: "button", onclick: () => send({ window: [] }) }, texts.window_all);
  const [top, bottom, left, right] = inputs;
  const element = make(
    "span",
    { class: "wb-field wb-part" },
    make("span", {}, controls.options.window),
    ...[top, "–", bottom, " × ", left, "–", right],
    all
  );
  const places = () => {
    if (model.get("panel") !== "inside") return [];
    const { spec } = withRows(JSON.parse(model.get("_main") || "{}"));
    const tables = (
      /** @type {Record<string, unknown>[][]} */
      Object.values(spec?.datasets ?? {})
    );
    return tables.find((rows) => rows[0] && "row_stop" in rows[0]) ?? [];
  };
  element.addEventListener("wb-zoom", (event) => {
    const { detail } = (
      /** @type {CustomEvent} */
      event
    );
    const found = closer(detail, spanOf(places()));
    if (found) send({ window: found });
  });
  return {
    element,
    update() {
      const shown = places();
      const ends = shown.length ? spanOf(shown) : model.get("window");
      inputs.forEach((input, i) => {
        if (input !== document.activeElement) input.value = String(ends[i] ?? "");
      });
      all.hidden = !model.get("window").length;
    }
  };
}

// src/options.js
function buildOptions(page) {
  const { model, controls } = page;
  const box = make("div", { class: "wb-panel-options" });
  const groups = Object.fromEntries(
    Object.entries(controls.panels).map(([name, panel]) => [
      name,
      panel.options.map((option) => buildOption(page, option))
    ])
  );
  let last = "";
  return {
    element: box,
    update(words) {
      const now = model.get("panel");
      const group = groups[now] ?? [];
      if (now !== last) box.replaceChildren(...group.map((part2) => part2.element));
      last = now;
      for (const part2 of group) part2.update(words);
    }
  };
}
function buildOption(page, name) {
  if (name === "window") return buildWindow(page);
  const { model, controls, checkpoints, send } = page;
  const label = controls.options[name];
  const now = () => model.get(name);
  const names = controls.choices[name];
  if (names) {
    const select3 = choices(Object.entries(names), label, (value) => send({ [name]: value }));
    const update2 = () => {
      select3.value = now();
    };
    return { element: labelled(label, select3), update: update2 };
  }
  if (typeof now() === "boolean") {
    const onchange = () => send({ [name]: input.checked });
    const input = make("input", { type: "checkbox", onchange });
    const update2 = () => {
      input.checked = now();
    };
    return { element: labelled(label, input), update: update2 };
  }
  if (name === "expert") return buildExpert(page);
  const select2 = choices([], label, (key) => send({ [name]: JSON.parse(key) }));
  const element = labelled(label, select2);
  let listed;
  const update = () => {
    if (listed !== checkpoints()) {
      listed = checkpoints();
      const pairs = pairsOf(listed, controls.texts.checkpoint);
      select2.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
      element.hidden = pairs.length < 2;
    }
    select2.value = JSON.stringify(now());
  };
  return { element, update };
}
function buildExpert({ model, controls, send }) {
  const input = make("input", {
    type: "number",
    min: 0,
    onchange: () => {
      if (input.reportValidity() && input.value) send({ expert: Number(input.value) });
    }
  });
  const element = labelled(controls.options.expert, input);
  return {
    element,
    update({ experts = 0 }) {
      element.hidden = !experts;
      input.max = String(experts - 1);
      if (input !== document.activeElement) input.value = String(Math.min(model.get("expert"), experts - 1));
    }
  };
}
function pairsOf({ steps, models }, text) {
  return models.flatMap(
    ([model, name, own]) => (own ?? steps).map((step) => (
      /** @type {[string, string]} */
      [
        JSON.stringify([model, step]),
        steps.length > 1 ? fill(text, { model: name, step }) : name
      ]
    ))
  );
}

// src/protocol.js
var FRAME = 700;
var LEAST2 = 0.05;
function pushTrim(trim, moved) {
  if (trim[1] - trim[0] >= LEAST2) return trim;
  if (moved === 0) {
    const upper = Math.min(trim[0] + LEAST2, 1);
    return [upper - LEAST2, upper];
  }
  const lower = Math.max(trim[1] - LEAST2, 0);
  return [lower, lower + LEAST2];
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
  const show = () => {
    const on = playing !== void 0;
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-pressed", String(on));
  };
  const stop = () => {
    clearInterval(playing);
    playing = void 0;
    show();
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
    show();
    advance();
  };
  show();
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
var IN_PANE = 265;
var BESIDE = IN_PANE + 100;
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

// src/talk.js
var SLOW = 200;
var SILENCE = 15e3;
function talk(model, onWait) {
  let pending = {};
  let waiting = false;
  let timers = [];
  const rest = () => {
    timers.forEach(clearTimeout);
    timers = [];
  };
  const flush = () => {
    if (waiting || !Object.keys(pending).length) return;
    for (const [name, value] of Object.entries(pending)) model.set(name, value);
    pending = {};
    waiting = true;
    model.set("_asked", model.get("_asked") + 1);
    model.save_changes();
    hearing();
  };
  const hearing = () => {
    rest();
    if (!waiting) return;
    timers = [setTimeout(() => onWait("busy"), SLOW), setTimeout(() => onWait("silent"), SILENCE)];
  };
  const answered = () => {
    waiting = false;
    rest();
    onWait("done");
    flush();
  };
  const gone = () => {
    rest();
    onWait("silent");
  };
  const heard = (
    /** @type {const} */
    [
      ["change:_answered", answered],
      ["change:_working", hearing],
      ["comm_live_update", gone]
    ]
  );
  for (const [event, act] of heard) model.on(event, act);
  return {
    /** @type {import("./types").Send} */
    send(changes) {
      Object.assign(pending, changes);
      flush();
    },
    busy: () => waiting,
    stop() {
      rest();
      for (const [event, act] of heard) model.off(event, act);
    }
  };
}
function openPage(model, root) {
  const line = talk(model, (state) => {
    root.classList.toggle("wb-busy", state === "busy");
    root.classList.toggle("wb-silent", state === "silent");
  });
  const controls = JSON.parse(model.get("_controls"));
  return { model, controls, checkpoints: parsed(model, "_checkpoints"), ...line };
}
function parsed(model, name) {
  let text = "";
  let value;
  return () => {
    if (model.get(name) !== text) {
      text = model.get(name);
      value = JSON.parse(text);
    }
    return value;
  };
}
function listen(model, acts) {
  const controls = model.get("_controls");
  const own = Object.entries(acts).map(([name, act]) => {
    const actHere = (...given) => {
      if (model.get("_controls") === controls) act(...given);
    };
    return (
      /** @type {const} */
      [name, actHere]
    );
  });
  for (const [name, act] of own) model.on(name, act);
  return () => {
    for (const [name, act] of own) model.off(name, act);
  };
}

// src/widgets.js
async function render({ model, el }) {
  const root = make("section", { class: "wb wb-alone", "data-panel": model.get("panel") });
  const page = openPage(model, root);
  const choice = choosing(page);
  const { chart, fail, update, stop } = layOut(root, page, choice);
  el.append(root);
  const refresh = () => {
    update(JSON.parse(model.get("_words")));
    choice.outline();
  };
  const draw = async () => {
    try {
      await chart?.draw(model.get("_main"));
      choice.outline();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  };
  const ends = listen(model, {
    "change:_words": refresh,
    "change:_answered": () => {
      choice.answered();
      refresh();
    },
    "change:_main": draw
  });
  refresh();
  let drawing = Promise.resolve();
  const unfollow = followTheme(root, (theme) => {
    drawing = draw();
    model.set("_theme", theme);
    model.save_changes();
  });
  await drawing;
  return () => {
    for (const end of [page.stop, stop, unfollow, ends]) end();
  };
}
function layOut(root, page, choice) {
  const { model, controls } = page;
  const { parts, chart, stop } = buildContent(page, choice);
  const problem = make("div", { class: "wb-problem", role: "alert", hidden: true });
  const sentences = buildSentences();
  root.setAttribute("aria-label", controls.panels[model.get("panel")].title);
  root.append(
    // the picture for later stands in an output beside this one: not needed while this one lives
    make("style", {}, `.${model.get("_mark")} { display: none; }`),
    ...parts.map((part2) => part2.element),
    sentences.empty,
    ...chart ? [chart.element] : [],
    problem,
    make("p", { class: "wb-lost" }, controls.texts.lost),
    sentences.spoken
  );
  if (chart) choice.onChart(root, chart);
  const fail = (text) => {
    problem.hidden = !text;
    problem.textContent = text;
  };
  const update = (words) => {
    fail(words.problem ?? "");
    if (words.problem) return;
    for (const part2 of [...parts, sentences]) part2.update(words);
  };
  return { chart, fail, update, stop };
}
function buildContent(page, { choose, outline }) {
  const kind = page.model.get("panel");
  if (kind === "filter") {
    const steps = buildSteps(page);
    return { parts: [buildFilters(page), steps], stop: steps.stop };
  }
  const chart = buildChart("main", page.controls.dark, choose, { moved: outline });
  const options = buildOptions(page);
  const parts = kind === "weibull" ? [buildFit(page), options] : [options];
  return { parts, chart, stop: chart.stop };
}
var widgets_default = { render };
export {
  widgets_default as default
};
