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
    result.view.addEventListener("click", (event, item) => {
      const cell = cellOf(item?.datum);
      if (cell && !element.dataset.brushed) choose([cell], event.shiftKey);
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
  const chosen = () => asked ?? JSON.parse(model.get("_words")).chosen ?? [];
  const outline = () => {
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
function stepOf(cells, step) {
  return cells.some((cell) => cell[3] === step) ? step : cells[0][3];
}
function buildFindings({ model, controls, send }) {
  const { texts } = controls;
  const box = make("div", { class: "wb-findings" });
  function draw(text) {
    if (!text) return;
    const { rows, note } = JSON.parse(text);
    const lines = rows.map(({ severity, rule, text: words, cells }) => {
      const kind = make("span", { class: "wb-severity", "data-severity": severity }, severity);
      if (!cells.length) return make("li", {}, kind, make("span", {}, `${rule}: ${words}`));
      const onclick = () => send({ selected: cells, step: stepOf(cells, model.get("step")) });
      return make("li", {}, kind, make("button", { type: "button", onclick }, `${rule}: ${words}`));
    });
    box.replaceChildren(
      make("ul", { "aria-label": texts.findings }, ...lines),
      make("p", { class: "wb-note" }, lines.length ? note : `${texts.healthy}. ${note}`)
    );
  }
  return { element: box, draw };
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
function buildFollowing({ model, controls, send }) {
  const { texts } = controls;
  const input = make("input", {
    type: "checkbox",
    onchange: () => send({ follow: input.checked })
  });
  const name = make("span", {}, texts.follow);
  const label = make("label", {}, input, name);
  const problem = make("span", { class: "wb-follow-problem", role: "status" });
  const element = make("div", { class: "wb-follow" }, label, problem);
  const update = () => {
    const text = model.get("_following");
    element.hidden = !text;
    if (!text) return;
    const { followed, problem: why } = JSON.parse(text);
    input.checked = model.get("follow");
    name.textContent = `${texts.follow} ${followed}`;
    label.title = fill(texts.follow_source, { source: followed });
    problem.textContent = input.checked ? why : "";
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
function buildOption({ model, controls, checkpoints, send }, name) {
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

// src/table.js
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
  if (value === null) return "–";
  return typeof value === "number" && FORMATS[column] ? FORMATS[column](value) : String(value);
}
function sortRows(rows, at, sign) {
  return [...rows].sort((a, b) => {
    const [x, y] = [a[at], b[at]];
    if (x === y) return 0;
    if (x === null) return 1;
    if (y === null) return -1;
    return x < y ? -sign : sign;
  });
}
function buildTable({ model, controls, send }, choose) {
  const box = make("div", { class: "wb-table" });
  const [first, ascending] = model.get("order") ?? [];
  let order = first ? { column: first, sign: ascending ? 1 : -1 } : null;
  function draw(text) {
    if (!text) {
      box.replaceChildren();
      return;
    }
    const { columns, rows, total } = JSON.parse(text);
    const at = order ? columns.indexOf(order.column) : -1;
    const sorted = order && at >= 0 ? sortRows(rows, at, order.sign) : rows;
    const head = columns.map((column) => {
      const sign = order?.column === column ? order.sign : 0;
      return header(column, controls.columns[column] ?? column, sign, () => {
        order = { column, sign: sign === 1 ? -1 : 1 };
        draw(text);
        if (rows.length < total) send({ order: [column, order.sign === 1] });
        const button = box.querySelector(`th[data-column="${column}"] button`);
        button?.focus();
      });
    });
    const body = make("tbody", {}, ...sorted.map((row) => line(columns, row, choose)));
    body.firstElementChild?.setAttribute("tabindex", "0");
    const counts = { shown: grouped(rows.length), total: grouped(total) };
    const note = rows.length < total ? fill(controls.texts.rows, counts) : "";
    box.replaceChildren(
      make("table", {}, make("thead", {}, make("tr", {}, ...head)), body),
      make("p", { class: "wb-note" }, note)
    );
  }
  return { element: box, draw };
}
function header(column, title, sign, onclick) {
  const arrow = { 1: " ▲", 0: "", "-1": " ▼" }[sign];
  const sorted = { 1: "ascending", 0: "none", "-1": "descending" }[sign];
  const button = make("button", { type: "button", onclick }, title + arrow);
  return make("th", { scope: "col", "data-column": column, "aria-sort": sorted }, button);
}
function line(columns, row, choose) {
  const cells = columns.map(
    (column, i) => make("td", { class: typeof row[i] === "number" ? "wb-figure" : "" }, format(column, row[i]))
  );
  const cell = cellOf(Object.fromEntries(columns.map((column, i) => [column, row[i]])));
  const pick = (event) => cell && choose([cell], event.shiftKey);
  const selected = String(row[columns.length]);
  return make(
    "tr",
    {
      tabindex: -1,
      // the rows are one stop of the tab key: arrow keys lead on
      "aria-selected": selected,
      onclick: pick,
      onkeydown: (event) => {
        if (event.key === "ArrowDown" || event.key === "ArrowUp") walk2(event);
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(event);
      }
    },
    ...cells
  );
}
function walk2(event) {
  event.preventDefault();
  const row = (
    /** @type {HTMLElement} */
    event.currentTarget
  );
  const next = event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
  if (!(next instanceof HTMLElement)) return;
  row.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
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
  for (const [name, act] of Object.entries(acts)) model.on(name, act);
  return () => {
    for (const [name, act] of Object.entries(acts)) model.off(name, act);
  };
}

// src/views.js
function buildViews({ model, controls }) {
  const { texts } = controls;
  const change = (act, view) => model.send({ act, view });
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
  const button = (act, label, text) => make("button", {
    type: "button",
    "aria-label": fill(label, { name }),
    onclick: () => change(act, view)
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
var numbered = 0;
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
  const { outline } = choice;
  const parts = buildParts(root, page, choice.choose);
  const { charts, table } = parts;
  choice.onChart(root, charts.main);
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
    "change:_findings": () => parts.found(model.get("_findings")),
    "msg:custom": parts.receive,
    comm_live_update: () => root.classList.toggle("wb-silent", model.comm_live === false),
    ...Object.fromEntries(SLOTS.map((name) => [`change:_${name}`, () => draw(name)]))
  });
  const unfold = foldWhereNarrow(root, parts.filters);
  refresh();
  drawTable();
  parts.found(model.get("_findings"));
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
  const { model, controls } = page;
  const { texts } = controls;
  const prefix = `weibnb-${++numbered}`;
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
    SLOTS.map((name) => [name, buildChart(name, controls.dark, choose)])
  );
  const sentences = buildSentences();
  const panel = make(
    "div",
    { class: "wb-panel", role: "tabpanel", id: `${prefix}-panel` },
    make("div", { class: "wb-bar" }, options.element, protocol.element),
    sentences.status,
    sentences.empty,
    findings.element,
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
  const found = (text) => {
    tabs.mark(text);
    findings.draw(text);
  };
  const stop = () => {
    for (const part of [protocol, following, views, ...Object.values(charts)]) part.stop();
  };
  return { charts, table, found, fail, receive: files.receive, refresh, stop, filters: filters.element };
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
