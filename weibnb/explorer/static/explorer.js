// The explorer's page. State lives in Python: this file reports what people do, and draws what
// comes back. Text from files reaches the page through textContent only.

const VALUES = { k: "shape k", lam: "scale λ", r2: "r² of the plot", ks: "KS distance",
  z: "distance from the anchor (SE)", outlier: "largest weight" };
const ESTIMATORS = { rank_regression: "rank regression", maximum_likelihood: "maximum likelihood" };
const COLUMNS = { k: "k", k_se: "SE(k)", lam: "λ (weights)", lam_se: "SE(λ)", r2: "r²", ks: "KS" };
const FORMATS = { k: (v) => v.toFixed(4), r2: (v) => v.toFixed(4), ks: (v) => v.toFixed(4),
  k_se: (v) => v.toPrecision(2), lam_se: (v) => v.toPrecision(2), lam: (v) => v.toPrecision(4),
  n: (v) => v.toLocaleString("en"), step: (v) => v.toLocaleString("en") };
const KEYS = ["model", "layer", "component", "step"];
const SLOTS = ["main", "detail", "side"];
// Marks that stand for one matrix, by panel: the selected ones are outlined.
const OUTLINED = { overview: ".mark-rect path", classes: ".mark-symbol path", trajectories: ".mark-symbol path" };
const MOST_BRUSHED = 400;
const SILENCE = 15000; // ms without an answer after which the kernel is taken for gone
const FRAME = 700; // ms a step is shown while playing
const NARROW = 760; // px below which the filters are folded, as in the style sheet
let numbered = 0;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes("light");
  if (page.getAttribute("theme")) return page.getAttribute("theme") === "dark";
  if (page.classList.contains("dark") || body.classList.contains("dark")) return true;
  if (page.classList.contains("light") || body.classList.contains("light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const keyOf = (datum) => JSON.stringify(KEYS.map((name) => datum[name]));
const isCell = (datum) => datum && KEYS.every((name) => datum[name] !== undefined);

/** Elements of a drawn chart that stand for one matrix. */
function cellsIn(place) {
  const found = [...place.querySelectorAll(".mark-rect path, .mark-symbol path, .mark-text text")];
  return found.filter((element) => isCell(element.__data__?.datum));
}

/** One request at a time; what people do meanwhile is sent, together, with the next. */
function talk(model, onWait) {
  let pending = {};
  let waiting = false;
  let timers = [];
  const rest = () => { timers.forEach(clearTimeout); timers = []; };
  const flush = () => {
    if (waiting || !Object.keys(pending).length) return;
    for (const [name, value] of Object.entries(pending)) model.set(name, value);
    pending = {};
    waiting = true;
    model.set("_asked", model.get("_asked") + 1);
    model.save_changes();
    rest();
    timers = [setTimeout(() => onWait("busy"), 200), setTimeout(() => onWait("silent"), SILENCE)];
  };
  const answered = () => { waiting = false; rest(); onWait("done"); flush(); };
  model.on("change:_answered", answered);
  return {
    set(changes) { Object.assign(pending, changes); flush(); },
    busy: () => waiting,
    stop() { rest(); model.off("change:_answered", answered); },
  };
}

function choices(options, onchange, label) {
  const select = make("select", { onchange: () => onchange(select.value), "aria-label": label });
  for (const [value, text] of Object.entries(options)) {
    const option = make("option", { value });
    option.textContent = text;
    select.append(option);
  }
  return select;
}

function labelled(text, ...controls) {
  return make("label", { class: "wb-field" }, make("span", {}, text), ...controls);
}

/** Filters at the left. Returns the element and what brings it up to date. */
function buildFilters(model, controls, send) {
  const updates = [];
  const box = make("details", { class: "wb-filters", open: true });
  box.append(make("summary", {}, "Filters"));
  const lists = { model: 1, tower: 1, weight_class: 1, component: 1, status: 1 };
  const more = make("details", { class: "wb-more" }, make("summary", {}, "More filters"));

  for (const facet of controls.facets) {
    const boxes = [];
    const report = () => {
      const kept = facet.values.filter((_, i) => boxes[i].checked);
      const filters = { ...model.get("filters"), [facet.name]: kept };
      if (kept.length === facet.values.length) delete filters[facet.name];
      send({ filters });
    };
    const all = (checked) => () => { boxes.forEach((b) => { b.checked = checked; }); report(); };
    const list = make("div", { class: "wb-options" });
    const counts = facet.labels.map((label, i) => {
      const input = make("input", { type: "checkbox", onchange: report });
      const number = make("span", { class: "wb-number" });
      const name = make("span", { class: "wb-name", title: label });
      name.textContent = label;
      boxes[i] = input;
      list.append(make("label", {}, input, name, number));
      return number;
    });
    const buttons = make("span", { class: "wb-all" },
      make("button", { type: "button", onclick: all(true), "aria-label": `all: ${facet.title}` }, "all"),
      make("button", { type: "button", onclick: all(false), "aria-label": `none: ${facet.title}` }, "none"));
    const group = make("fieldset", { "data-facet": facet.name }, make("legend", {}, facet.title), buttons);
    if (facet.labels.length > 12) {
      const search = make("input", { type: "search", placeholder: "find …", "aria-label": `find in ${facet.title}`,
        oninput: () => [...list.children].forEach((row, i) => {
          row.hidden = !facet.labels[i].toLowerCase().includes(search.value.toLowerCase());
        }) });
      group.append(search);
    }
    group.append(list);
    (facet.name in lists ? box : more).append(group);
    updates.push((fresh) => {
      const kept = model.get("filters")[facet.name];
      const now = fresh.facets.find((other) => other.name === facet.name);
      boxes.forEach((input, i) => {
        input.checked = !kept || kept.includes(facet.values[i]);
        counts[i].textContent = now.counts[i].toLocaleString("en");
        counts[i].parentElement.classList.toggle("wb-none", now.counts[i] === 0);
      });
    });
  }

  const [first, last] = controls.layers;
  if (last > first) {
    const ends = ["first", "last"].map((name, i) => make("input", { type: "number", min: first,
      max: last, step: 1, "aria-label": `${name} layer`, onchange: () => {
        const layers = ends.map((end) => Math.round(Math.min(Math.max(Number(end.value), first), last)));
        if (layers[0] > layers[1]) layers[1 - i] = layers[i];
        send({ layers });
      } }));
    box.append(make("fieldset", { "data-facet": "layers" }, make("legend", {}, "Layers"),
      make("div", { class: "wb-row" }, ends[0], "to", ends[1])));
    updates.push(() => model.get("layers").forEach((value, i) => { ends[i].value = value; }));
  }
  if (more.children.length > 1) box.append(more);
  return { element: box, update: (fresh) => updates.forEach((update) => update(fresh)) };
}

/** Step with play; trim and estimator. */
function buildProtocol(model, controls, send, busy) {
  const updates = [];
  const box = make("div", { class: "wb-protocol" });
  const { steps } = controls;
  let playing = null;
  const pause = () => { clearInterval(playing); playing = null; };
  if (steps.length > 1) {
    const shown = make("output");
    const range = make("input", { type: "range", min: 0, max: steps.length - 1, step: 1,
      "aria-label": "step", oninput: () => { shown.value = steps[range.value]; send({ step: steps[range.value] }); } });
    const play = make("button", { type: "button", class: "wb-play", "aria-label": "play the steps" }, "▶");
    const say = () => {
      play.textContent = playing ? "❚❚" : "▶";
      play.setAttribute("aria-pressed", String(Boolean(playing)));
    };
    play.addEventListener("click", () => {
      if (playing) { pause(); say(); return; }
      let at = steps.indexOf(model.get("step"));
      if (at === steps.length - 1) at = -1;
      const advance = () => {
        if (busy()) return;
        at += 1;
        send({ step: steps[at] });
        if (at >= steps.length - 1) { pause(); say(); }
      };
      playing = setInterval(advance, FRAME);
      say();
      advance();
    });
    const field = make("div", { class: "wb-field wb-step" }, make("span", {}, "step"), range, shown, play);
    box.append(field);
    updates.push((words) => {
      range.value = steps.indexOf(model.get("step"));
      shown.value = model.get("step").toLocaleString("en");
      range.setAttribute("aria-valuetext", `step ${model.get("step")}`);
      const all = ["trajectories", "compare"].includes(model.get("panel"));
      field.classList.toggle("wb-idle", all);
      field.title = all ? "This panel shows all steps." : "";
    });
  }
  const shown = make("output");
  const ends = ["lower", "upper"].map((name, i) => make("input", { type: "range", min: 0, max: 100,
    step: 1, "aria-label": `${name} end of the trim, %`, oninput: () => {
      const trim = ends.map((end) => Number(end.value) / 100);
      if (trim[1] - trim[0] < 0.05) {
        trim[i] = i ? Math.min(trim[0] + 0.05, 1) : Math.max(trim[1] - 0.05, 0);
        trim[1 - i] = i ? trim[i] - 0.05 : trim[i] + 0.05;
      }
      say(trim);
      send({ trim });
    } }));
  const say = (trim) => {
    shown.value = trim.map((end) => `${Number((100 * end).toFixed(1))}`).join("–") + " %";
  };
  const estimator = choices(ESTIMATORS, (value) => send({ estimator: value }), "estimator");
  const why = make("span", { class: "wb-why" });
  const group = make("fieldset", { class: "wb-trim" }, make("legend", {}, "Fit"),
    make("span", { class: "wb-field" }, make("span", {}, "trim"), ...ends, shown),
    labelled("by", estimator), why);
  box.append(group);
  updates.push((words) => {
    const trim = model.get("trim");
    if (!ends.includes(document.activeElement) || !busy()) {
      trim.forEach((end, i) => { ends[i].value = Math.round(100 * end); });
      say(trim);
    }
    estimator.value = model.get("estimator");
    group.disabled = Boolean(words.no_refit);
    why.textContent = words.no_refit || "";
  });
  return { element: box, update: (words) => updates.forEach((update) => update(words)), stop: pause };
}

/** Controls of the panel that is shown. */
function buildOptions(model, controls, send) {
  const one = (name, options, label) => {
    const select = choices(options, (value) => send({ [name]: value }), label);
    return { element: labelled(label, select), update: () => { select.value = model.get(name); } };
  };
  const pairs = Object.fromEntries(controls.pairs.map(([m, s], i) => [i, controls.steps.length > 1 ? `${m}, step ${s}` : m]));
  const pair = (name, label) => {
    const select = choices(pairs, (i) => send({ [name]: controls.pairs[i] }), label);
    const update = () => {
      const now = JSON.stringify(model.get(name));
      select.value = controls.pairs.findIndex((other) => JSON.stringify(other) === now);
    };
    return { element: labelled(label, select), update };
  };
  const beside = make("input", { type: "checkbox", onchange: () => send({ side_by_side: beside.checked }) });
  const bands = Object.fromEntries(controls.bands.map((name) => [name, name.replaceAll("-", " ")]));
  const groups = {
    overview: [one("value", VALUES, "colour")],
    weibull: [{ element: labelled("both estimators", beside), update: () => { beside.checked = model.get("side_by_side"); } }],
    classes: [one("band", bands, "band")],
    trajectories: [one("track", { k: "shape k", lam: "scale λ" }, "value"), one("step_scale", { log: "log", linear: "linear" }, "axis")],
    compare: controls.pairs.length > 1 ? [pair("first", "from"), pair("second", "to")] : [],
    table: [],
  };
  const box = make("div", { class: "wb-panel-options" });
  let last = "";
  return { element: box, update() {
    const now = model.get("panel");
    if (now !== last) box.replaceChildren(...groups[now].map((group) => group.element));
    last = now;
    groups[now].forEach((group) => group.update());
  } };
}

function buildTable(choose) {
  const box = make("div", { class: "wb-table" });
  let order = null;
  function draw(text) {
    if (!text) { box.replaceChildren(); return; }
    const { columns, rows, total } = JSON.parse(text);
    const at = order && columns.indexOf(order.column);
    const sorted = at >= 0 && at !== null ? [...rows].sort((a, b) => {
      if (a[at] === b[at]) return 0;
      if (a[at] === null) return 1;
      if (b[at] === null) return -1;
      return (a[at] < b[at] ? -1 : 1) * order.sign;
    }) : rows;
    const head = make("tr");
    columns.forEach((column) => {
      const active = order?.column === column;
      const button = make("button", { type: "button", onclick: () => {
        order = { column, sign: active ? -order.sign : 1 };
        draw(text);
        box.querySelector(`th[data-column="${column}"] button`)?.focus();
      } }, `${COLUMNS[column] ?? column}${active ? (order.sign > 0 ? " ▲" : " ▼") : ""}`);
      head.append(make("th", { scope: "col", "data-column": column,
        "aria-sort": active ? (order.sign > 0 ? "ascending" : "descending") : "none" }, button));
    });
    const body = make("tbody");
    for (const row of sorted) {
      const line = make("tr", { tabindex: 0, "aria-selected": String(row[columns.length]) });
      columns.forEach((column, i) => {
        const cell = make("td", { class: typeof row[i] === "number" ? "wb-figure" : "" });
        cell.textContent = row[i] === null ? "–" : (FORMATS[column] ?? String)(row[i]);
        line.append(cell);
      });
      const datum = Object.fromEntries(columns.map((column, i) => [column, row[i]]));
      const pick = (event) => choose([datum], event.shiftKey);
      line.addEventListener("click", pick);
      line.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(event); }
      });
      body.append(line);
    }
    const note = rows.length < total ? `${rows.length.toLocaleString("en")} of ${total.toLocaleString("en")} rows; the CSV holds all.` : "";
    box.replaceChildren(make("table", {}, make("thead", {}, head), body), make("p", { class: "wb-note" }, note));
  }
  return { element: box, draw };
}

async function render({ model, el }) {
  const stop = [];
  const listen = (name, act) => { model.on(name, act); stop.push(() => model.off(name, act)); };
  const controls = JSON.parse(model.get("_controls") || "{}");
  const root = make("section", { class: "wb", "aria-label": "weibnb explorer" });
  const problem = make("div", { class: "wb-problem", role: "alert", hidden: true });
  const status = make("p", { class: "wb-status", role: "status" });
  const spoken = make("p", { class: "wb-spoken", "aria-live": "polite" });
  if (!controls.panels) {
    problem.hidden = false;
    problem.textContent = JSON.parse(model.get("_words") || "{}").problem ?? "Nothing to show.";
    root.append(problem);
    el.append(root);
    return undefined;
  }
  const line = talk(model, (state) => {
    root.classList.toggle("wb-busy", state === "busy");
    root.classList.toggle("wb-silent", state === "silent");
  });
  stop.push(line.stop);
  const send = line.set;

  let asked = null; // a selection that Python has not answered yet: the next key starts from it
  const chosenNow = () => asked ?? JSON.parse(model.get("_words") || "{}").chosen ?? [];
  function choose(data, add) {
    const fresh = data.filter(isCell).map((datum) => KEYS.map((name) => datum[name]));
    const old = add ? chosenNow() : [];
    const keys = new Set(fresh.map((cell) => JSON.stringify(cell)));
    const kept = old.filter((cell) => !keys.has(JSON.stringify(cell)));
    const toggled = add && fresh.length === 1 && kept.length < old.length && kept.length;
    if (!fresh.length) return;
    asked = toggled ? kept : [...kept, ...fresh].slice(0, MOST_BRUSHED);
    outline("main");
    send({ selected: asked });
  }

  // tabs
  const tabs = make("div", { class: "wb-tabs", role: "tablist", "aria-label": "panels" });
  const names = Object.keys(controls.panels).filter((name) => name !== "trajectories" || controls.steps.length > 1);
  const prefix = `weibnb-${++numbered}`;
  const buttons = Object.fromEntries(names.map((name, i) => {
    const tab = make("button", { type: "button", role: "tab", id: `${prefix}-${name}`, "aria-controls": `${prefix}-panel`,
      onclick: () => send({ panel: name }),
      onkeydown: (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!move) return;
        const next = names[(i + move + names.length) % names.length];
        buttons[next].focus();
        send({ panel: next });
      } }, controls.panels[name]);
    tabs.append(tab);
    return [name, tab];
  }));

  // files and code
  const files = make("div", { class: "wb-files" });
  for (const form of ["html", "svg", "png", "csv"]) {
    files.append(make("button", { type: "button", "aria-label": `save as ${form.toUpperCase()}`, "data-save": form,
      onclick: () => { files.classList.add("wb-saving"); model.send({ save: form }); } }, form.toUpperCase()));
  }
  const code = make("pre", { tabindex: 0 });
  const copy = make("button", { type: "button", onclick: async () => {
    try { await navigator.clipboard.writeText(code.textContent); copy.textContent = "copied"; } catch {
      getSelection().selectAllChildren(code); copy.textContent = "press Ctrl-C";
    }
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  } }, "copy");
  const script = make("details", { class: "wb-code" }, make("summary", {}, "Python"), copy, code);

  // charts
  const empty = make("div", { class: "wb-empty", hidden: true });
  const places = Object.fromEntries(SLOTS.map((name) => [name, make("figure", { class: `wb-${name}`, "data-slot": name, hidden: true })]));
  places.main.tabIndex = 0;
  const table = buildTable(choose);
  const filters = buildFilters(model, controls, send);
  const protocol = buildProtocol(model, controls, send, line.busy);
  const options = buildOptions(model, controls, send);
  stop.push(protocol.stop);
  const panel = make("div", { class: "wb-panel", role: "tabpanel", id: `${prefix}-panel` },
    make("div", { class: "wb-bar" }, options.element, protocol.element), status, empty,
    make("div", { class: "wb-charts" }, places.main, places.side, places.detail), table.element, script);
  const lost = make("p", { class: "wb-lost" },
    "No answer from the kernel: this is the last view. Run the cell again for a live explorer.");
  // the picture for later stands in an output beside this one: not needed while this one lives
  const hide = make("style");
  hide.textContent = `.${model.get("_mark")} { display: none; }`;
  root.append(hide, make("header", {}, tabs, files), lost,
    make("div", { class: "wb-body" }, filters.element, panel), problem, spoken);
  el.append(root);

  const drawn = {};
  const turns = {};
  function outline(name) {
    const place = places[name];
    place.querySelectorAll(".wb-picked").forEach((element) => element.remove());
    const marks = OUTLINED[model.get("panel")];
    if (name !== "main" || !marks) return;
    const picked = new Set(chosenNow().map((cell) => JSON.stringify(cell)));
    for (const element of cellsIn(place)) {
      if (!element.matches(marks) || !picked.has(keyOf(element.__data__.datum))) continue;
      const outlined = element.cloneNode(false);
      outlined.removeAttribute("aria-label");
      const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
      group.setAttribute("class", "wb-picked");
      group.setAttribute("aria-hidden", "true");
      group.append(outlined);
      element.parentNode.after(group);
    }
  }
  async function draw(name) {
    const turn = turns[name] = (turns[name] ?? 0) + 1;
    const place = places[name];
    const text = model.get(`_${name}`);
    const content = text ? JSON.parse(text) : null;
    if (!content?.spec) {
      drawn[name]?.finalize();
      delete drawn[name];
      place.replaceChildren(...(content ? [make("p", { class: "wb-note" }, content.problem)] : []));
      place.hidden = !content;
      return;
    }
    const box = make("div");
    const result = await vegaEmbed(box, content.spec, { renderer: "svg", actions: false,
      tooltip: { theme: isDark() ? "dark" : "light" } });
    if (turn !== turns[name]) { result.finalize(); return; }
    drawn[name]?.finalize();
    drawn[name] = result;
    place.setAttribute("aria-label", content.label);
    place.replaceChildren(box);
    place.hidden = false;
    place.dataset.turn = String(turn);
    result.view.addEventListener("click", (event, item) => {
      if (item && isCell(item.datum) && !place.dataset.brushed) choose([item.datum], event.shiftKey);
    });
    outline(name);
  }
  stop.push(() => Object.values(drawn).forEach((result) => result.finalize()));
  SLOTS.forEach((name) => { listen(`change:_${name}`, () => draw(name).catch(fail)); });

  function fail(error) {
    problem.hidden = false;
    problem.textContent = String(error?.message ?? error);
  }

  // a rectangle drawn over the map selects what lies in it
  const brush = make("div", { class: "wb-brush", hidden: true });
  root.append(brush);
  places.main.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    delete places.main.dataset.brushed;
    const box = () => root.getBoundingClientRect();
    const span = (event) => ({ left: Math.min(down.clientX, event.clientX), right: Math.max(down.clientX, event.clientX),
      top: Math.min(down.clientY, event.clientY), bottom: Math.max(down.clientY, event.clientY) });
    const move = (event) => {
      const at = span(event);
      if (at.right - at.left + at.bottom - at.top < 8) return;
      event.preventDefault();
      places.main.dataset.brushed = "yes";
      brush.hidden = false;
      Object.assign(brush.style, { left: `${at.left - box().left}px`, top: `${at.top - box().top}px`,
        width: `${at.right - at.left}px`, height: `${at.bottom - at.top}px` });
    };
    const up = (event) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", up);
      brush.hidden = true;
      if (!places.main.dataset.brushed) return;
      const at = span(event);
      const inside = cellsIn(places.main).filter((element) => {
        const own = element.getBoundingClientRect();
        return own.right > at.left && own.left < at.right && own.bottom > at.top && own.top < at.bottom;
      });
      const seen = new Map(inside.map((element) => [keyOf(element.__data__.datum), element.__data__.datum]));
      choose([...seen.values()], event.shiftKey);
      setTimeout(() => { delete places.main.dataset.brushed; }, 0);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
  });
  places.main.addEventListener("dragstart", (event) => event.preventDefault());

  // arrows move the selected cell
  places.main.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    const cells = cellsIn(places.main).filter((element) => element.tagName === "path");
    const picked = chosenNow().map((cell) => JSON.stringify(cell)).at(-1);
    const centre = (element) => {
      const own = element.getBoundingClientRect();
      return [own.left + own.width / 2, own.top + own.height / 2];
    };
    const from = cells.find((element) => keyOf(element.__data__.datum) === picked) ?? cells[0];
    if (!from) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y] = centre(from);
    let best = null;
    for (const element of cells) {
      const [dx, dy] = centre(element).map((value, i) => value - [x, y][i]);
      const ahead = dx * way[0] + dy * way[1];
      const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (ahead > 1 && (!best || ahead + 4 * aside < best.far)) best = { element, far: ahead + 4 * aside };
    }
    if (best) choose([best.element.__data__.datum], event.shiftKey);
  });

  function refresh() {
    const words = JSON.parse(model.get("_words") || "{}");
    const now = model.get("panel");
    problem.hidden = !words.problem;
    problem.textContent = words.problem ?? "";
    if (words.problem) return;
    const nothing = words.empty.length > 0;
    empty.hidden = !nothing;
    empty.replaceChildren(...words.empty.map((text) => make("p", {}, text)));
    status.textContent = [words.count, words.left_out].filter(Boolean).join(" · ");
    code.textContent = words.code;
    const first = words.chosen[0];
    const told = first ? `${first[2]} of layer ${first[1]}${words.chosen.length > 1 ? ` and ${words.chosen.length - 1} more` : ""}` : "";
    spoken.textContent = [words.count, told && `selected: ${told}`].filter(Boolean).join("; ");
    for (const [name, tab] of Object.entries(buttons)) {
      tab.setAttribute("aria-selected", String(name === now));
      tab.tabIndex = name === now ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", `${prefix}-${now}`);
    root.dataset.panel = now;
    filters.update(JSON.parse(model.get("_controls")));
    protocol.update(words);
    options.update();
    outline("main");
  }
  listen("change:_words", refresh);
  listen("change:_controls", refresh);
  listen("change:_answered", () => {
    if (!line.busy()) asked = null;
    refresh();
  });
  listen("change:_rows", () => table.draw(model.get("_rows")));
  listen("msg:custom", (content, buffers) => {
    files.classList.remove("wb-saving");
    if (content.problem) { fail(content.problem); return; }
    const link = make("a", { href: URL.createObjectURL(new Blob([buffers[0]], { type: content.type })), download: content.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  listen("comm_live_update", () => root.classList.toggle("wb-silent", model.comm_live === false));

  const paint = () => { root.dataset.theme = isDark() ? "dark" : "light"; };
  const watch = new MutationObserver(paint);
  for (const node of [document.body, document.documentElement]) {
    watch.observe(node, { attributes: true, attributeFilter: ["data-jp-theme-light", "class", "theme", "data-vscode-theme-kind"] });
  }
  stop.push(() => watch.disconnect());
  if (root.clientWidth && root.clientWidth < NARROW) filters.element.open = false;
  paint();
  refresh();
  table.draw(model.get("_rows"));
  await Promise.all(SLOTS.map((name) => draw(name).catch(fail)));
  return () => stop.forEach((end) => end());
}

export default { render };
