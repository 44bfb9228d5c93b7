/** Filters at the left: a list for every facet, and the layers. */

import { fill, grouped, make } from "./dom.js";

/**
 * @typedef {import("./types").Facet} Facet
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Part} Part
 */

const SEARCHED = 12; // labels above which a list can be searched

/**
 * The filters after one facet was changed; a facet that keeps everything is none.
 * @param {Record<string, string[]>} filters
 * @param {Facet} facet
 * @param {boolean[]} checked
 */
export function keep(filters, facet, checked) {
  const { [facet.name]: _old, ...others } = filters;
  if (checked.every(Boolean)) return others;
  return { ...others, [facet.name]: facet.values.filter((_, i) => checked[i]) };
}

/**
 * First and last layer after one of them was changed: whole, between the ends, in order.
 * @param {number[]} layers
 * @param {number} changed
 * @param {[number, number]} ends
 */
export function clampLayers(layers, changed, [first, last]) {
  const found = layers.map((layer) => Math.round(Math.min(Math.max(layer, first), last)));
  return found[0] > found[1] ? [found[changed], found[changed]] : found;
}

/**
 * @param {Page} page
 * @returns {Part & { element: HTMLDetailsElement }}
 */
export function buildFilters(page) {
  const { facets, layers, texts, unfiltered } = page.controls;
  const box = make("details", { class: "wb-filters", open: true });
  box.append(make("summary", {}, texts.filters));
  if (unfiltered) box.append(make("p", { class: "wb-note" }, unfiltered));
  const more = make("details", { class: "wb-more" }, make("summary", {}, texts.more_filters));
  /** @type {Part[]} */
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
    },
  };
}

/**
 * @param {Page} page
 * @param {Facet} facet
 * @returns {Part}
 */
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
  /** @param {boolean} checked */
  const checkAll = (checked) => () => {
    for (const { input } of rows) input.checked = checked;
    report();
  };
  const { texts } = controls;
  const { title } = facet;
  /** @type {(name: string, onclick: () => void) => HTMLElement} */
  const button = (name, onclick) =>
    make(
      "button",
      { type: "button", onclick, "aria-label": fill(texts[`${name}_of`], { title }) },
      texts[name],
    );
  const group = make(
    "fieldset",
    { "data-facet": facet.name },
    make("legend", {}, title),
    make(
      "span",
      { class: "wb-all" },
      button("all", checkAll(true)),
      button("none", checkAll(false)),
    ),
  );
  const lines = rows.map(({ line }) => line);
  if (lines.length > SEARCHED) group.append(buildSearch(facet, lines, texts));
  group.append(make("div", { class: "wb-options" }, ...lines));
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
    },
  };
}

/**
 * @param {Facet} facet
 * @param {HTMLElement[]} lines
 * @param {Record<string, string>} texts
 */
function buildSearch(facet, lines, texts) {
  const search = make("input", {
    type: "search",
    placeholder: texts.find,
    "aria-label": fill(texts.find_in, { title: facet.title }),
    oninput: () => {
      const wanted = search.value.toLowerCase();
      lines.forEach((line, i) => {
        line.hidden = !facet.labels[i].toLowerCase().includes(wanted);
      });
    },
  });
  return search;
}

/**
 * @param {Page} page
 * @returns {Part}
 */
function buildLayers({ model, controls, send }) {
  const { layers, texts } = controls;
  const [min, max] = layers;
  const ends = [texts.first_layer, texts.last_layer].map((label, i) =>
    make("input", {
      type: "number",
      min,
      max,
      step: 1,
      "aria-label": label,
      onchange: () => {
        const now = ends.map((end) => Number(end.value));
        send({ layers: clampLayers(now, i, layers) });
      },
    }),
  );
  const row = make("div", { class: "wb-row" }, ends[0], texts.to, ends[1]);
  const legend = make("legend", {}, texts.layers);
  return {
    element: make("fieldset", { "data-facet": "layers" }, legend, row),
    update() {
      ends.forEach((end, i) => {
        end.value = model.get("layers")[i];
      });
    },
  };
}
