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
var grouped = (value) => value.toLocaleString("en");
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text);
  }
}
function copiedByHand(text) {
  const focused = document.activeElement;
  const place = make("textarea", { style: "position: fixed; opacity: 0", "aria-hidden": "true" });
  place.value = text;
  document.body.append(place);
  place.select();
  const done = document.execCommand("copy");
  place.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}

// src/marks.js
var KINDS = ["rect", "symbol", "text"];
function marksOf(view) {
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
  for (const item2 of scene.items) {
    if (scene.marktype === "group") {
      for (const inner of item2.items) yield* walk(inner, left + (item2.x || 0), top + (item2.y || 0));
      continue;
    }
    const cell = KINDS.includes(scene.marktype) && cellOf(item2.datum);
    if (!cell) continue;
    const { x1, y1, x2, y2 } = item2.bounds;
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
  const places = marks.filter((mark) => mark.kind !== "text");
  const start = places.find((mark) => from && keyOf(mark.cell) === keyOf(from)) ?? places[0];
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
function buildChart(name, darkColours, choose) {
  const element = make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true });
  let drawn = null;
  let turn = 0;
  async function draw(text) {
    turn += 1;
    const mine = turn;
    const content = text ? JSON.parse(text) : null;
    if (!content?.spec) {
      replace(null);
      element.replaceChildren(
        ...content ? [make("p", { class: "wb-note" }, content.problem ?? "")] : []
      );
      element.hidden = !content;
      return;
    }
    const box = make("div", { class: "wb-chart" });
    const dark = isDark();
    const tooltip = { theme: dark ? "dark" : "light" };
    const spec = paint(content.spec, dark ? darkColours : {});
    const result = await vegaEmbed(box, spec, { renderer: "svg", actions: false, tooltip });
    if (mine !== turn) {
      result.finalize();
      return;
    }
    replace(result);
    element.setAttribute("aria-label", content.label);
    silenceEmpty(box);
    element.replaceChildren(box);
    element.hidden = false;
    element.dataset.turn = String(turn);
    result.view.addEventListener("click", (event, item2) => {
      const cell = cellOf(item2?.datum);
      if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
      element.dispatchEvent(new CustomEvent("wb-datum", { detail: item2?.datum, bubbles: true }));
    });
  }
  const unwatch = name === "main" ? () => {
  } : scrollByKeys(element);
  function replace(next) {
    drawn?.finalize();
    drawn = next;
  }
  return {
    element,
    draw,
    marks: () => drawn ? marksOf(drawn.view) : [],
    /** Where the chart lies on the page. */
    corner: () => element.querySelector("svg.marks")?.getBoundingClientRect() ?? new DOMRect(),
    /** @param {Mark[]} marks */
    outline(marks) {
      element.querySelector(".wb-picked")?.remove();
      element.querySelector(".wb-chart")?.append(...marks.length ? [outlines(marks)] : []);
    },
    stop() {
      replace(null);
      unwatch();
    }
  };
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
  return marks.filter((mark) => mark.kind === kind && picked.has(keyOf(mark.cell)));
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
    for (const act2 of told) act2(chosen());
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
    tell(act2) {
      told.push(act2);
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
    }
  };
}

// src/findings.js
var FIRST = 3;
function stepOf(cells, step) {
  return cells.some((cell) => cell[3] === step) ? step : cells[0][3];
}
function widened(filters, cells, facets) {
  const found = {};
  for (
    const [name, at] of
    /** @type {[string, number][]} */
    [["model", 0], ["component", 2]]
  ) {
    const facet = facets.find((one) => one.name === name);
    if (!filters[name] || !facet) continue;
    const added = cells.map((cell) => facet.values[facet.labels.indexOf(String(cell[at]))]);
    found[name] = [.../* @__PURE__ */ new Set([...filters[name], ...added])];
  }
  return found;
}
function foundOf(rows, [cell]) {
  if (!cell) return [];
  const key = keyOf(cell);
  return rows.filter(({ cells }) => cells.some((one) => keyOf(one) === key));
}
function buildFindings(page) {
  const { texts } = page.controls;
  const list = make("div", { class: "wb-findings" });
  const line3 = make("p", { class: "wb-found", hidden: true });
  const here = make("div", { class: "wb-found-here", role: "status", hidden: true });
  const link = linkOf(page);
  let rows = [];
  list.addEventListener("keydown", (event) => walk2(list, event));
  return {
    /** A line for the overview, the list, and what was found of the selected matrix. */
    elements: [line3, list, here],
    /** @param {string} text */
    draw(text) {
      if (!text) return;
      const found = JSON.parse(text);
      ({ rows } = found);
      const note = rows.length ? found.note : `${texts.healthy}. ${found.note}`;
      list.replaceChildren(
        make("ul", { "aria-label": texts.findings }, ...rows.map((row) => item(row, link))),
        make("p", { class: "wb-note" }, note)
      );
      oneStop(list);
      line3.hidden = !found.headline;
      line3.replaceChildren(...shortLine(found, page, link));
    },
    /** Say why the selected matrix was found. @param {Cell[]} chosen */
    update(chosen) {
      const found = foundOf(rows, chosen);
      const words = found.slice(0, FIRST).map(
        ({ severity, rule, text }) => fill(texts.found_here, { severity, rule, text })
      );
      const more = found.length - FIRST;
      if (more > 0) words.push(fill(texts.more_found, { number: more }));
      here.replaceChildren(...words.map((word) => make("p", {}, word)));
      here.hidden = !found.length;
      const at = new Set(found.map((one) => rows.indexOf(one)));
      [...list.querySelectorAll("li")].forEach((li, i) => {
        if (at.has(i)) li.setAttribute("aria-current", "true");
        else li.removeAttribute("aria-current");
      });
    }
  };
}
function linkOf({ model, controls, send }) {
  return ({ cells, text }, words) => {
    const onclick = () => send({
      selected: cells,
      step: stepOf(cells, model.get("step")),
      filters: widened(model.get("filters"), cells, controls.facets),
      layers: controls.layers
    });
    return make("button", { type: "button", title: text, onclick }, words);
  };
}
function item(finding, link) {
  const { severity, rule, text, cells } = finding;
  const kind = make("span", { class: "wb-severity", "data-severity": severity }, severity);
  const words = `${rule}: ${text}`;
  return make("li", {}, kind, cells.length ? link(finding, words) : make("span", {}, words));
}
function shortLine({ rows, headline }, { controls, send }, link) {
  const { texts, panels } = controls;
  const links = rows.filter(({ cells }) => cells.length).slice(0, FIRST).flatMap((finding) => [link(finding, `${finding.rule}, ${finding.where}`), " · "]);
  const onclick = () => send({ panel: "findings" });
  const all = make("button", { type: "button", onclick }, panels.findings?.title ?? "");
  return [fill(texts.found, { headline }), " ", ...links, all];
}
function oneStop(list) {
  [...list.querySelectorAll("button")].forEach((button, i) => {
    button.tabIndex = i ? -1 : 0;
  });
}
function walk2(list, event) {
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  const last = buttons.length - 1;
  const leads = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last };
  const next = buttons[leads[event.key]];
  if (!next || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  buttons[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
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
  const { facets, layers, texts } = page.controls;
  const box = make("details", { class: "wb-filters", open: true });
  box.append(make("summary", {}, texts.filters));
  const more = make("details", { class: "wb-more" }, make("summary", {}, texts.more_filters));
  const parts = [];
  for (const facet of facets) {
    const part = buildFacet(page, facet);
    (facet.more ? more : box).append(part.element);
    parts.push(part);
  }
  if (layers[1] > layers[0]) {
    const part = buildLayers(page);
    box.append(part.element);
    parts.push(part);
  }
  if (more.children.length > 1) box.append(more);
  return {
    element: box,
    update(words) {
      for (const part of parts) part.update(words);
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
  const lines = rows.map(({ line: line3 }) => line3);
  if (lines.length > SEARCHED) group.append(buildSearch(facet, lines, texts));
  group.append(make("div", { class: "wb-options" }, ...lines));
  return {
    element: group,
    update(words) {
      const kept = model.get("filters")[facet.name];
      rows.forEach(({ input, number, line: line3 }, i) => {
        const count = words.counts[facet.name][i];
        input.checked = !kept || kept.includes(facet.values[i]);
        number.textContent = grouped(count);
        line3.classList.toggle("wb-none", count === 0);
      });
    }
  };
}
function buildSearch(facet, lines, texts) {
  const search = make("input", {
    type: "search",
    placeholder: texts.find,
    "aria-label": fill(texts.find_in, { title: facet.title }),
    oninput: () => {
      const wanted = search.value.toLowerCase();
      lines.forEach((line3, i) => {
        line3.hidden = !facet.labels[i].toLowerCase().includes(wanted);
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

// src/following.js
function shownOf({ runs, text, problem }) {
  const scans = runs !== void 0;
  return { box: !scans, bar: scans && runs === true, text: scans ? text ?? "" : "", problem };
}
function buildFollowing({ model, controls, send }) {
  const { texts } = controls;
  const input = make("input", {
    type: "checkbox",
    onchange: () => send({ follow: input.checked })
  });
  const name = make("span", {}, texts.follow);
  const label = make("label", {}, input, name);
  const bar = make("progress", { max: 1, "aria-label": texts.scanning });
  const text = make("span", { class: "wb-follow-text" });
  const cancel = make(
    "button",
    { type: "button", onclick: () => send({ follow: false }) },
    texts.cancel
  );
  const scan = make("span", { class: "wb-scan" }, bar, text, cancel);
  const problem = make("span", { class: "wb-follow-problem", role: "status" });
  const element = make("div", { class: "wb-follow" }, label, scan, problem);
  const update = () => {
    const told = model.get("_following");
    element.hidden = !told;
    if (!told) return;
    const following = JSON.parse(told);
    const shown = shownOf(following);
    const { followed } = following;
    label.hidden = !shown.box;
    scan.hidden = !shown.text;
    bar.hidden = cancel.hidden = !shown.bar;
    bar.value = following.share ?? 0;
    text.textContent = shown.text;
    text.title = followed;
    input.checked = model.get("follow");
    name.textContent = `${texts.follow} ${followed}`;
    label.title = fill(texts.follow_source, { source: followed });
    problem.textContent = input.checked || !shown.box ? shown.problem : "";
  };
  const events = ["change:_following", "change:follow"];
  for (const event of events) model.on(event, update);
  update();
  return { element, stop: () => events.forEach((event) => model.off(event, update)) };
}

// src/header.js
function nextTab(names, from, key) {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (!move) return null;
  return names[(names.indexOf(from) + move + names.length) % names.length];
}
function buildTabs({ model, controls, send }, prefix) {
  const { panels, texts } = controls;
  const box = make("div", { class: "wb-tabs", role: "tablist", "aria-label": texts.panels });
  const names = Object.keys(panels);
  const tabs = names.map(
    (name) => make(
      "button",
      {
        type: "button",
        role: "tab",
        id: `${prefix}-${name}`,
        "aria-controls": `${prefix}-panel`,
        onclick: () => send({ panel: name }),
        onkeydown: (event) => {
          const next = nextTab(names, name, event.key);
          if (!next) return;
          tabs[names.indexOf(next)].focus();
          send({ panel: next });
        }
      },
      panels[name].title
    )
  );
  box.append(...tabs);
  const badge = make("span", { class: "wb-badge", hidden: true });
  tabs[names.indexOf("findings")]?.append(" ", badge);
  return {
    element: box,
    /** @param {string} text what was found, as JSON */
    mark(text) {
      const found = text ? JSON.parse(text) : { badge: "", severity: "" };
      badge.hidden = !found.badge;
      badge.textContent = found.badge;
      badge.dataset.severity = found.severity;
    },
    update() {
      tabs.forEach((tab, i) => {
        const shown = names[i] === model.get("panel");
        tab.setAttribute("aria-selected", String(shown));
        tab.tabIndex = shown ? 0 : -1;
      });
    }
  };
}
function buildFiles({ model, controls }, fail) {
  const { texts } = controls;
  const box = make("div", { class: "wb-files" }, make("span", {}, texts.save));
  for (const form of ["html", "svg", "png", "csv"]) {
    const onclick = () => {
      box.classList.add("wb-saving");
      model.send({ save: form });
    };
    const name = form.toUpperCase();
    const label = fill(texts.save_as, { form: name });
    box.append(
      make("button", { type: "button", "aria-label": label, "data-save": form, onclick }, name)
    );
  }
  return {
    element: box,
    /** @type {(file: { problem?: string, name: string, type: string }, buffers: DataView<ArrayBuffer>[]) => void} */
    receive(file, buffers) {
      box.classList.remove("wb-saving");
      if (file.problem) {
        fail(file.problem);
        return;
      }
      const href = URL.createObjectURL(new Blob([buffers[0]], { type: file.type }));
      make("a", { href, download: file.name }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1e4);
    }
  };
}
function buildCopy(label, texts, text, select2) {
  const onclick = async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = texts.copied;
    } catch {
      select2();
      button.textContent = texts.copy_by_hand;
    }
    setTimeout(() => {
      button.textContent = label;
    }, 1500);
  };
  const button = make("button", { type: "button", onclick }, label);
  return button;
}
function buildCode(texts) {
  const code = make("pre", { tabindex: 0 });
  const copy = buildCopy(
    texts.copy,
    texts,
    () => code.textContent ?? "",
    () => getSelection()?.selectAllChildren(code)
  );
  return {
    element: make("details", { class: "wb-code" }, make("summary", {}, texts.code), copy, code),
    /** @param {import("./types").Words} words */
    update(words) {
      code.textContent = words.code;
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
    { class: "wb-field wb-window" },
    make("span", {}, controls.options.window),
    ...[top, "–", bottom, " × ", left, "–", right],
    all
  );
  const places = () => {
    const { spec } = JSON.parse(model.get("_main") || "{}");
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
function zoomOnClick(root) {
  root.addEventListener("wb-datum", (event) => {
    const { detail } = (
      /** @type {CustomEvent} */
      event
    );
    root.querySelector(".wb-window")?.dispatchEvent(new CustomEvent("wb-zoom", { detail }));
  });
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
      if (now !== last) box.replaceChildren(...group.map((part) => part.element));
      last = now;
      for (const part of group) part.update(words);
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
function buildProtocol(page) {
  const box = make("div", { class: "wb-protocol" });
  const fit = buildFit(page);
  const steps = buildSteps(page);
  box.append(steps.element, fit.element);
  return {
    element: box,
    update(words) {
      steps.update(words);
      fit.update(words);
    },
    stop: steps.stop
  };
}
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

// src/grid_heads.js
var HEAD = -2;
var FILTERS = -1;
function headRow(grid) {
  const heads = grid.columns.map(({ name, title, numeric }, i) => {
    const sign = grid.order?.column === name ? grid.order.sign : 0;
    const arrow = { 1: " ▲", 0: "", "-1": " ▼" }[sign];
    const sorted = { 1: "ascending", 0: "none", "-1": "descending" }[sign];
    const attributes = {
      role: "columnheader",
      "aria-colindex": i + 1,
      "aria-sort": sorted,
      "data-column": name,
      class: numeric ? "wb-figure" : void 0,
      onclick: () => {
        grid.moveTo(HEAD, i);
        grid.sortBy(name);
      }
    };
    return make("th", attributes, title + arrow);
  });
  return make("tr", { role: "row", "aria-rowindex": 1 }, ...heads);
}
function filterRow(grid) {
  const cells = grid.columns.map(
    (column, i) => make("td", { role: "gridcell", "aria-colindex": i + 1 }, filterInput(grid, column, i))
  );
  return make("tr", { role: "row", "aria-rowindex": 2, class: "wb-column-filters" }, ...cells);
}
function filterInput(grid, { name, title }, i) {
  const label = grid.options.filterLabel(title);
  const leads = { Enter: FILTERS, Escape: FILTERS, ArrowDown: 0, ArrowUp: HEAD };
  const input = make("input", {
    type: "text",
    tabindex: -1,
    // the grid is one stop of the tab key
    "aria-label": label,
    title: label,
    placeholder: grid.options.filterHint,
    "data-column": name,
    onfocus: () => grid.moveTo(FILTERS, i),
    oninput: () => grid.filterBy(name, input.value),
    onkeydown: (event) => {
      event.stopPropagation();
      if (!(event.key in leads)) return;
      event.preventDefault();
      grid.element.focus();
      grid.moveTo(leads[event.key], i);
    }
  });
  input.value = grid.filters[name] ?? "";
  return input;
}

// src/grid_keys.js
function press(grid, event) {
  if (event.target !== grid.element) return;
  if (!walk3(grid, event) && !act(grid, event)) return;
  event.preventDefault();
  event.stopPropagation();
}
function target({ key, ctrlKey, metaKey }, { line: line3, column }, { rows, columns, page }) {
  const far = ctrlKey || metaKey;
  const leads = {
    ArrowDown: [line3 + 1, column],
    ArrowUp: [line3 - 1, column],
    ArrowRight: [line3, column + 1],
    ArrowLeft: [line3, column - 1],
    PageDown: [Math.max(line3, 0) + page, column],
    PageUp: [line3 < 0 ? line3 : Math.max(line3 - page, 0), column],
    Home: far ? [0, 0] : [line3, 0],
    End: far ? [rows - 1, columns - 1] : [line3, columns - 1]
  };
  return leads[key] ?? null;
}
function walk3(grid, event) {
  const { line: line3 } = grid.active;
  const size = { rows: grid.rows.length, columns: grid.columns.length, page: grid.page };
  const to = target(event, grid.active, size);
  if (!to) return false;
  grid.moveTo(...to);
  const { shiftKey } = event;
  if (shiftKey && line3 >= 0 && grid.active.line !== line3) {
    grid.pick(grid.active.line, { shiftKey, ctrlKey: false, metaKey: false });
  }
  return true;
}
function act(grid, event) {
  const held = event.ctrlKey || event.metaKey;
  if (event.key === "Enter" || event.key === " ") enter(grid, event);
  else if (held && event.key === "a") grid.options.onPick?.([...grid.rows], false);
  else if (held && event.key === "c") grid.options.onCopy?.();
  else if (grid.active.line === FILTERS && event.key.length === 1 && !held) {
    typeIn(grid, event.key);
  } else return false;
  return true;
}
function enter(grid, { key, shiftKey, ctrlKey, metaKey }) {
  const { line: line3, column } = grid.active;
  if (line3 === HEAD) grid.sortBy(grid.columns[column].name);
  else if (line3 === FILTERS) typeIn(grid, "");
  else grid.pick(line3, { shiftKey, metaKey, ctrlKey: ctrlKey || key === " " });
}
function typeIn(grid, text) {
  const input = grid.activeCell()?.querySelector("input");
  if (!input) return;
  input.focus();
  if (!text) return;
  input.value += text;
  input.dispatchEvent(new Event("input"));
}

// src/rows.js
var FORMATS = {
  k: (value) => value.toFixed(4),
  r2: (value) => value.toFixed(4),
  ks: (value) => value.toFixed(4),
  k_se: (value) => value.toPrecision(2),
  lam: (value) => value.toPrecision(4),
  lam_se: (value) => value.toPrecision(2),
  n: grouped,
  step: grouped
};
function format(column, value) {
  if (value === null || value === void 0) return "–";
  return typeof value === "number" && FORMATS[column] ? FORMATS[column](value) : String(value);
}
function unpack({ name, values, codes }, title) {
  const at = (row) => codes ? values[codes[row]] : values[row];
  const numeric = values.every((value) => value === null || typeof value === "number");
  return { name, title, numeric, at, show: (row) => format(name, at(row)) };
}
function sortRows(rows, { at }, sign) {
  return [...rows].sort((a, b) => {
    const [x, y] = [at(a), at(b)];
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    if (typeof x === typeof y) return x < y ? -sign : sign;
    return typeof x === "number" ? -sign : sign;
  });
}
var COMPARED = /^(<=|>=|<|>|=)\s*(-?[\d.]+(?:e[-+]?\d+)?)$/i;
var BETWEEN = /^(-?[\d.]+(?:e[-+]?\d+)?)\s*\.\.\s*(-?[\d.]+(?:e[-+]?\d+)?)$/i;
var TESTS = {
  "<": (value, limit) => value < limit,
  "<=": (value, limit) => value <= limit,
  ">": (value, limit) => value > limit,
  ">=": (value, limit) => value >= limit,
  "=": (value, limit) => value === limit
};
function passes(text, column) {
  const wanted = text.trim().toLowerCase();
  const { at, show: show2 } = column;
  if (column.numeric) {
    const [, sign, limit] = wanted.match(COMPARED) ?? [];
    const [, low, high] = wanted.match(BETWEEN) ?? [];
    const tested = (test) => (row) => {
      const value = at(row);
      return typeof value === "number" && test(value);
    };
    if (sign) return tested((value) => TESTS[sign](value, Number(limit)));
    if (low) return tested((value) => value >= Number(low) && value <= Number(high));
    if (/^-?\d+$/.test(wanted)) return tested((value) => value === Number(wanted));
  }
  return (row) => show2(row).toLowerCase().includes(wanted);
}
function keptRows(number, columns, filters) {
  const tests = columns.filter(({ name }) => filters[name]?.trim()).map((column) => passes(filters[column.name], column));
  const rows = Array.from({ length: number }, (_, i) => i);
  return tests.length ? rows.filter((row) => tests.every((test) => test(row))) : rows;
}
function separated(rows, columns) {
  const word = (value) => {
    if (typeof value === "number") return String(value);
    const text = String(value ?? "").replace(/[\t\r\n]+/g, " ");
    return /^[=+\-@]/.test(text) ? `'${text}` : text;
  };
  const lines = rows.map((row) => columns.map(({ at }) => word(at(row))).join("	"));
  return [columns.map(({ name }) => name).join("	"), ...lines].join("\n");
}

// src/grid.js
var HEIGHT = 24;
var BEYOND = 20;
var UNSEEN = 20;
var FEW = 10;
var WIDEST = 34;
var numbered = 0;
var Grid = class {
  /** @type {Column[]} */
  columns = [];
  total = 0;
  /** Rows that pass the filters, in the order that is shown. @type {number[]} */
  rows = [];
  /** @type {Order | null} */
  order = null;
  /** @type {Record<string, string>} */
  filters = {};
  /** The active cell: a place among the rows, or `HEAD` or `FILTERS`. */
  active = { line: 0, column: 0 };
  /** Where a range of rows begins. */
  anchor = 0;
  /** Elements of rows, by their place. @type {Map<number, HTMLElement>} */
  #lines = /* @__PURE__ */ new Map();
  #name = `weibnb-grid-${++numbered}`;
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.head = make("thead", { role: "rowgroup" });
    this.body = make("tbody", { role: "rowgroup" });
    this.element = make(
      "div",
      {
        class: "wb-grid",
        role: "grid",
        tabindex: 0,
        "aria-label": options.label,
        "aria-multiselectable": options.onPick ? "true" : void 0,
        "data-lm-suppress-shortcuts": "true"
        // JupyterLab's own keys
      },
      make("table", { role: "presentation" }, this.head, this.body)
    );
    this.element.addEventListener("keydown", (event) => press(this, event));
    this.element.addEventListener("scroll", () => this.render(), { passive: true });
    this.body.addEventListener("mousedown", (event) => {
      if (event.shiftKey) event.preventDefault();
    });
    this.body.addEventListener("click", (event) => this.#click(event));
    this.observer = new ResizeObserver(() => this.render());
    this.observer.observe(this.element);
  }
  /**
   * Show another table; filters stay.
   * @param {Column[]} columns
   * @param {number} total number of rows
   * @param {Order | null} order
   */
  show(columns, total, order) {
    const names = (some) => some.map(({ name }) => name).join();
    const same = names(columns) === names(this.columns);
    Object.assign(this, { columns, total, order });
    const sizes = widths(columns, total);
    const tracks = sizes.map(({ least, characters }) => `minmax(calc(${least}), ${characters}fr)`);
    this.element.style.setProperty("--wb-columns", tracks.join(" "));
    const width = sizes.map(({ least }) => least).join(" + ");
    this.element.style.setProperty("--wb-width", `calc(${width})`);
    this.#drawHeads();
    if (!same) this.#drawFilters();
    const filters = (
      /** @type {HTMLElement} */
      this.head.children[1]
    );
    filters.hidden = total < FEW && !this.filtered;
    this.arrange();
  }
  /** Filter and sort, and draw anew. */
  arrange() {
    const { columns, order } = this;
    const kept = keptRows(this.total, columns, this.filters);
    const by = columns.find(({ name }) => name === order?.column);
    this.rows = order && by ? sortRows(kept, by, order.sign) : kept;
    this.element.setAttribute("aria-rowcount", String(this.rows.length + 2));
    this.element.setAttribute("aria-colcount", String(columns.length));
    this.body.style.height = `${this.rows.length * HEIGHT}px`;
    this.active.line = Math.min(this.active.line, this.rows.length - 1);
    this.anchor = Math.min(this.anchor, Math.max(this.rows.length - 1, 0));
    for (const line3 of this.#lines.values()) line3.remove();
    this.#lines.clear();
    this.render();
    this.options.onChange?.();
  }
  /** Draw the rows in view, and the active one wherever it is. */
  render() {
    const top = this.element.scrollTop;
    const shown = this.element.clientHeight || UNSEEN * HEIGHT;
    const first = Math.max(Math.floor(top / HEIGHT) - BEYOND, 0);
    const last = Math.min(Math.ceil((top + shown) / HEIGHT) + BEYOND, this.rows.length);
    const active = this.active.line;
    for (const [at, line3] of this.#lines) {
      if ((at < first || at >= last) && at !== active) {
        line3.remove();
        this.#lines.delete(at);
      }
    }
    for (let at = first; at < last; at++) this.#draw(at);
    if (active >= 0) this.#draw(active);
    this.#markActive();
  }
  /** Draw one row, if it is not there. @param {number} at */
  #draw(at) {
    if (this.#lines.has(at)) return;
    const row = this.rows[at];
    const selected = this.options.isSelected;
    const line3 = make(
      "tr",
      {
        role: "row",
        "aria-rowindex": at + 3,
        "aria-selected": selected ? String(selected(row)) : void 0,
        "data-odd": at % 2 ? "yes" : void 0,
        "data-at": at,
        style: `top: ${at * HEIGHT}px`
      },
      ...this.columns.map((column, i) => cellOfRow(column, i, row))
    );
    this.#lines.set(at, line3);
    this.body.append(line3);
  }
  /** The element of the active cell. @returns {HTMLElement | undefined} */
  activeCell() {
    const { line: line3, column } = this.active;
    const row = line3 < 0 ? this.head.children[line3 - HEAD] : this.#lines.get(line3);
    return (
      /** @type {HTMLElement | undefined} */
      row?.children[column]
    );
  }
  #markActive() {
    const cell = this.activeCell();
    const old = this.element.querySelector(".wb-active");
    if (old === cell) return;
    old?.classList.remove("wb-active");
    old?.removeAttribute("id");
    if (!cell) return;
    cell.classList.add("wb-active");
    cell.id = `${this.#name}-${this.active.line}-${this.active.column}`;
    this.element.setAttribute("aria-activedescendant", cell.id);
  }
  /**
   * Make a cell the active one, and bring it into view.
   * @param {number} line
   * @param {number} column
   */
  moveTo(line3, column) {
    const { element } = this;
    const filters = (
      /** @type {HTMLElement} */
      this.head.children[1]
    );
    if (line3 === FILTERS && filters.hidden) line3 = this.active.line < 0 ? 0 : HEAD;
    this.active = {
      line: Math.max(HEAD, Math.min(line3, this.rows.length - 1)),
      column: Math.max(0, Math.min(column, this.columns.length - 1))
    };
    if (this.active.line >= 0) {
      const top = this.active.line * HEIGHT;
      const room = element.clientHeight - this.head.offsetHeight;
      if (top < element.scrollTop) element.scrollTop = top;
      else if (top + HEIGHT > element.scrollTop + room) element.scrollTop = top + HEIGHT - room;
    }
    this.render();
    const cell = this.activeCell();
    if (!cell) return;
    const right = cell.offsetLeft + cell.offsetWidth - element.clientWidth;
    if (right > element.scrollLeft) element.scrollLeft = right;
    if (cell.offsetLeft < element.scrollLeft) element.scrollLeft = cell.offsetLeft;
  }
  /** Sort by a column, the other way round if it is sorted by it. @param {string} name */
  sortBy(name) {
    const { order } = this;
    this.order = { column: name, sign: order?.column === name && order.sign === 1 ? -1 : 1 };
    this.#drawHeads();
    this.element.scrollTop = 0;
    this.arrange();
    this.options.onSort?.(this.order);
  }
  /**
   * @param {string} name of the column
   * @param {string} text
   */
  filterBy(name, text) {
    this.filters = { ...this.filters, [name]: text };
    this.element.scrollTop = 0;
    this.arrange();
  }
  /** Rows that a page key leads over. */
  get page() {
    return Math.max(Math.floor(this.element.clientHeight / HEIGHT) - 3, 1);
  }
  get filtered() {
    return Object.values(this.filters).some((text) => text.trim());
  }
  /** Take the filters away. */
  clear() {
    this.filters = {};
    this.#drawFilters();
    this.arrange();
  }
  /**
   * Select a row, or with shift all from the last one on.
   * @param {number} at its place
   * @param {Held} held
   */
  pick(at, held) {
    if (!this.options.onPick || at < 0 || at >= this.rows.length) return;
    if (!held.shiftKey) this.anchor = at;
    const [first, last] = [Math.min(this.anchor, at), Math.max(this.anchor, at)];
    this.options.onPick(this.rows.slice(first, last + 1), held.ctrlKey || held.metaKey);
  }
  /** Tell anew which rows are selected. */
  mark() {
    for (const [at, line3] of this.#lines) {
      line3.setAttribute("aria-selected", String(this.options.isSelected?.(this.rows[at]) ?? false));
    }
  }
  /** Make a row the active one. @param {number} row */
  reveal(row) {
    const at = this.rows.indexOf(row);
    if (at >= 0) this.moveTo(at, this.active.column);
  }
  stop() {
    this.observer.disconnect();
  }
  /** @param {MouseEvent} event */
  #click(event) {
    const target2 = (
      /** @type {HTMLElement} */
      event.target
    );
    const [line3, cell] = [target2.closest("tr"), target2.closest("td")];
    if (!line3) return;
    const at = Number(line3.dataset.at);
    this.moveTo(at, cell ? [...line3.children].indexOf(cell) : this.active.column);
    this.pick(at, event);
  }
  #drawHeads() {
    this.head.replaceChildren(headRow(this), ...[...this.head.children].slice(1));
    this.#markActive();
  }
  #drawFilters() {
    this.head.replaceChildren(this.head.children[0], filterRow(this));
    if (this.active.line === FILTERS) this.#markActive();
  }
};
function cellOfRow(column, i, row) {
  const text = column.show(row);
  const attributes = {
    role: "gridcell",
    "aria-colindex": i + 1,
    class: `${column.numeric ? "wb-figure" : ""} ${column.bar ? "wb-barred" : ""}`,
    title: text.length > WIDEST ? text : void 0
  };
  return make("td", attributes, ...column.bar ? [column.bar(row)] : [], text);
}
function widths(columns, number) {
  const step = Math.max(Math.floor(number / 200), 1);
  return columns.map(({ title, show: show2, bar }) => {
    let most = title.length + 2;
    for (let row = 0; row < number; row += step) most = Math.max(most, show2(row).length);
    const characters = Math.min(most, WIDEST) + 1;
    return { characters, least: `${characters}ch + ${bar ? 76 : 12}px` };
  });
}

// src/table.js
var DIMS2 = ["model", "layer", "component", "step"];
function buildTable({ model, controls, send }, choose) {
  const { texts } = controls;
  let columns = [];
  let dims = [];
  let chosen = /* @__PURE__ */ new Set();
  const cellAt = (row) => (
    /** @type {Cell} */
    /** @type {unknown} */
    dims.map(({ at }) => at(row))
  );
  const isSelected = (row) => chosen.has(keyOf(cellAt(row)));
  const picked = () => grid.rows.filter(isSelected);
  const grid = new Grid({
    label: texts.table,
    filterLabel: (title) => fill(texts.filter_column, { title }),
    filterHint: texts.filter_hint,
    isSelected,
    onPick: (rows, add) => {
      const most = rows.length > MOST_SELECTED;
      bar.say(most ? fill(texts.most_selected, { number: MOST_SELECTED }) : "");
      choose(rows.slice(0, MOST_SELECTED).map(cellAt), add);
    },
    onCopy: () => copy(picked()),
    onSort: (order) => send({ order: [order.column, order.sign === 1] }),
    onChange: () => bar.say("")
  });
  const copy = async (rows) => {
    const done = await copyText(separated(rows, columns));
    bar.say(done ? fill(texts.rows_copied, { number: grouped(rows.length) }) : texts.not_copied);
  };
  const bar = buildBar(grid, texts, picked, copy);
  const element = make("div", { class: "wb-table", hidden: true }, grid.element, bar.element);
  function draw(text) {
    element.hidden = !text;
    if (!text) return;
    const sent = JSON.parse(text);
    columns = sent.columns.map((packed) => {
      const column = unpack(packed, controls.columns[packed.name] ?? packed.name);
      return withBar(column, sent.bars, controls.dark);
    });
    dims = DIMS2.flatMap((dim) => columns.filter(({ name }) => name === dim));
    const [by, ascending] = model.get("order") ?? [];
    bar.count(sent);
    grid.show(columns, numberOf(sent), by ? { column: by, sign: ascending ? 1 : -1 } : null);
    const first = grid.rows.find(isSelected);
    if (first !== void 0) grid.reveal(first);
  }
  return {
    element,
    draw,
    /** Tell which matrices are selected. @param {Cell[]} cells */
    mark(cells) {
      chosen = new Set(cells.map(keyOf));
      grid.mark();
      bar.say();
    },
    stop: () => grid.stop()
  };
}
function buildBar(grid, texts, picked, copy) {
  let [listed, total, last] = [0, 0, ""];
  const note = make("span", { role: "status" });
  const button = (text, onclick) => make("button", { type: "button", onclick }, text);
  const unfilter = button(texts.clear_filters, () => grid.clear());
  const some = button(texts.copy_selected, () => copy(picked()));
  const all = button(texts.copy_all, () => copy(grid.rows));
  const element = make("p", { class: "wb-note wb-table-bar" }, note, unfilter, some, all);
  const textOf = () => {
    if (grid.filtered) return texts.rows_kept;
    if (listed < total) return texts.rows_listed;
    return total === 1 ? texts.row : texts.rows;
  };
  function say(words = last) {
    last = words;
    const number = picked().length;
    const counts = { shown: grouped(grid.rows.length), total: grouped(total) };
    const selected = fill(texts.rows_selected, { number: grouped(number) });
    note.textContent = [fill(textOf(), counts), selected, words].filter(Boolean).join(" · ");
    unfilter.hidden = !grid.filtered;
    some.hidden = !number;
  }
  return {
    element,
    say,
    /** @param {Rows} sent */
    count(sent) {
      [listed, total] = [numberOf(sent), sent.total];
    }
  };
}
var numberOf = ({ columns }) => (columns[0]?.codes ?? columns[0]?.values ?? []).length;
function withBar(column, { middle, reach, colours, largest }, dark) {
  const { name, at } = column;
  if (name === "lam" && largest) {
    return { ...column, bar: (row) => line(0, 100 * Number(at(row)) / largest, "var(--wb-dim)") };
  }
  if (name !== "k") return column;
  const bar = (row) => {
    const value = at(row);
    if (typeof value !== "number") return line(0, 0, "none");
    const { from, to, shade } = barOf((value - middle) / reach, colours.length);
    const colour = `light-dark(${colours[shade]}, ${dark[colours[shade]] ?? colours[shade]})`;
    return line(from, to, colour, "wb-both-ways");
  };
  return { ...column, bar };
}
function line(from, to, colour, kind = "") {
  const style = `left: ${from}%; width: ${to - from}%; background: ${colour}`;
  const drawn = make("span", { style });
  return make("span", { class: `wb-bar-of ${kind}`, "aria-hidden": "true" }, drawn);
}
function barOf(share, colours) {
  const end = 50 + 50 * Math.max(-1, Math.min(1, share));
  const shade = Math.min(Math.floor(end / 100 * colours), colours - 1);
  return { from: Math.min(50, end), to: Math.max(50, end), shade };
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
    rest();
    timers = [setTimeout(() => onWait("busy"), SLOW), setTimeout(() => onWait("silent"), SILENCE)];
  };
  const answered = () => {
    waiting = false;
    rest();
    onWait("done");
    flush();
  };
  model.on("change:_answered", answered);
  return {
    /** @type {import("./types").Send} */
    send(changes) {
      Object.assign(pending, changes);
      flush();
    },
    busy: () => waiting,
    stop() {
      rest();
      model.off("change:_answered", answered);
    }
  };
}
function openPage(model, root) {
  const line3 = talk(model, (state) => {
    root.classList.toggle("wb-busy", state === "busy");
    root.classList.toggle("wb-silent", state === "silent");
  });
  const controls = JSON.parse(model.get("_controls"));
  return { model, controls, checkpoints: parsed(model, "_checkpoints"), ...line3 };
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
  const own = Object.entries(acts).map(([name, act2]) => {
    const actHere = (...given) => {
      if (model.get("_controls") === controls) act2(...given);
    };
    return (
      /** @type {const} */
      [name, actHere]
    );
  });
  for (const [name, act2] of own) model.on(name, act2);
  return () => {
    for (const [name, act2] of own) model.off(name, act2);
  };
}

// src/views.js
function buildViews({ model, controls }) {
  const { texts } = controls;
  const change = (act2, view) => model.send({ act: act2, view });
  const name = make("input", {
    type: "text",
    maxlength: 100,
    placeholder: texts.view_name,
    "aria-label": texts.view_name
  });
  const onsubmit = (event) => {
    event.preventDefault();
    if (!name.value.trim()) return;
    change("keep", name.value.trim());
    name.value = "";
  };
  const form = make("form", { onsubmit }, name, make("button", {}, texts.keep_view));
  const call = make("pre", { tabindex: 0 });
  const copy = buildCopy(
    texts.copy_view,
    texts,
    () => call.textContent ?? "",
    () => getSelection()?.selectAllChildren(call)
  );
  const list = make("ul", { "aria-label": texts.views });
  const draw = () => {
    const names = JSON.parse(model.get("_names") || "[]");
    list.replaceChildren(...names.map(([view, words]) => line2(texts, change, view, words)));
  };
  model.on("change:_names", draw);
  draw();
  const summary = make("summary", {}, texts.views);
  return {
    element: make("details", { class: "wb-views" }, summary, list, form, copy, call),
    /** @param {import("./types").Words} words */
    update(words) {
      call.textContent = words.call;
    },
    stop: () => model.off("change:_names", draw)
  };
}
function line2(texts, change, view, name) {
  const button = (act2, label, text) => make("button", {
    type: "button",
    "aria-label": fill(label, { name }),
    onclick: () => change(act2, view)
  }, text);
  return make(
    "li",
    {},
    button("open", texts.open_view, name),
    button("forget", texts.forget_view, "×")
  );
}

// src/explorer.js
var SLOTS = ["main", "side", "detail"];
var NARROW = 760;
var numbered2 = 0;
async function render({ model, el }) {
  let shown = show(model, el);
  const again = () => {
    shown.stop();
    shown.root.remove();
    shown = show(model, el);
  };
  model.on("change:_controls", again);
  countPages(model, 1);
  await shown.drawn;
  return () => {
    model.off("change:_controls", again);
    shown.stop();
    countPages(model, -1);
  };
}
function countPages(model, more) {
  if (model.comm_live === false) return;
  model.set("_pages", Math.max(model.get("_pages"), 0) + more);
  model.save_changes();
}
function show(model, el) {
  const root = make("section", { class: "wb" });
  const page = openPage(model, root);
  const words = () => (
    /** @type {Words} */
    JSON.parse(model.get("_words"))
  );
  const choice = choosing(page);
  const { chosen, outline } = choice;
  const parts = buildParts(root, page, choice.choose);
  const { charts, table, findings } = parts;
  choice.onChart(root, charts.main);
  choice.tell(table.mark);
  zoomOnClick(root);
  choice.tell(findings.update);
  el.append(root);
  const draw = drawer(model, parts, outline);
  const refresh = () => {
    parts.refresh(words());
    outline();
  };
  const drawTable = () => table.draw(model.get("_rows"));
  const ends = listen(model, {
    "change:_words": refresh,
    "change:_answered": () => {
      choice.answered();
      refresh();
    },
    "change:_rows": drawTable,
    "change:_checkpoints": refresh,
    "change:_findings": () => parts.found(model.get("_findings"), chosen()),
    "msg:custom": parts.receive,
    comm_live_update: () => root.classList.toggle("wb-silent", model.comm_live === false),
    ...Object.fromEntries(SLOTS.map((name) => [`change:_${name}`, () => draw(name)]))
  });
  const unfold = foldWhereNarrow(root, parts.filters);
  refresh();
  drawTable();
  parts.found(model.get("_findings"), chosen());
  let drawing = [];
  const unfollow = followTheme(root, (theme) => {
    drawing = SLOTS.map(draw);
    model.set("_theme", theme);
    model.save_changes();
  });
  const stop = () => {
    for (const end of [page.stop, parts.stop, unfollow, unfold, ends]) end();
  };
  return { root, stop, drawn: Promise.all(drawing) };
}
function drawer(model, { charts, fail }, outline) {
  return async (name) => {
    try {
      await charts[name].draw(model.get(`_${name}`));
      if (name === "main") outline();
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error));
    }
  };
}
function foldWhereNarrow(root, filters) {
  let narrow = null;
  const observer = new ResizeObserver(() => {
    const now = root.clientWidth < NARROW;
    if (!root.clientWidth || now === narrow) return;
    narrow = now;
    filters.open = !now;
  });
  observer.observe(root);
  return () => observer.disconnect();
}
function buildParts(root, page, choose) {
  const { model, controls: { dark, texts } } = page;
  const prefix = `weibnb-${++numbered2}`;
  const problem = make("div", { class: "wb-problem", role: "alert", hidden: true });
  const fail = (text) => {
    problem.hidden = !text;
    problem.textContent = text;
  };
  const tabs = buildTabs(page, prefix);
  const files = buildFiles(page, fail);
  const filters = buildFilters(page);
  const protocol = buildProtocol(page);
  const options = buildOptions(page);
  const code = buildCode(texts);
  const table = buildTable(page, choose);
  const findings = buildFindings(page);
  const following = buildFollowing(page);
  const views = buildViews(page);
  const charts = Object.fromEntries(
    SLOTS.map((name) => [name, buildChart(name, dark, choose)])
  );
  const sentences = buildSentences();
  const panel = make(
    "div",
    { class: "wb-panel", role: "tabpanel", id: `${prefix}-panel` },
    make("div", { class: "wb-bar" }, options.element, protocol.element),
    sentences.status,
    sentences.empty,
    ...findings.elements,
    make("div", { class: "wb-charts" }, ...SLOTS.map((name) => charts[name].element)),
    table.element,
    code.element
  );
  root.setAttribute("aria-label", texts.explorer);
  root.append(
    // the picture for later stands in an output beside this one: not needed while this one lives
    make("style", {}, `.${model.get("_mark")} { display: none; }`),
    make("header", {}, tabs.element, following.element, views.element, files.element),
    make("p", { class: "wb-lost" }, texts.lost),
    make("div", { class: "wb-body" }, filters.element, panel),
    problem,
    sentences.spoken
  );
  const refresh = (words) => {
    fail(words.problem ?? "");
    if (words.problem) return;
    const name = model.get("panel");
    panel.setAttribute("aria-labelledby", `${prefix}-${name}`);
    root.dataset.panel = name;
    for (const part of [tabs, filters, protocol, options, code, views, sentences]) part.update(words);
  };
  const found = (text, chosen) => {
    tabs.mark(text);
    findings.draw(text);
    findings.update(chosen);
  };
  const stop = () => {
    for (const part of [protocol, following, views, table, ...Object.values(charts)]) part.stop();
  };
  return { charts, table, findings, found, fail, receive: files.receive, refresh, stop, filters: filters.element };
}
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
var explorer_default = { render };
export {
  buildSentences,
  explorer_default as default
};
