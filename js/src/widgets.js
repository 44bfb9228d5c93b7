/** One part of the explorer as a widget of its own: the filters, or one chart. */

import { buildChart } from "./chart.js";
import { choosing } from "./choosing.js";
import { make } from "./dom.js";
import { buildFilters } from "./filters.js";
import { buildSentences } from "./layout.js";
import { buildOptions } from "./options.js";
import { buildFit, buildSteps } from "./protocol.js";
import { listen, openPage } from "./talk.js";
import { followTheme } from "./theme.js";

/**
 * @typedef {import("./types").Model} Model
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Part} Part
 * @typedef {import("./types").Words} Words
 * @typedef {{ parts: Part[], chart?: ReturnType<typeof buildChart>, stop(): void }} Content
 */

/**
 * @param {{ model: Model, el: HTMLElement }} widget
 * @returns {Promise<() => void>} ends it
 */
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
    "change:_main": draw,
  });
  refresh();
  let drawing = Promise.resolve();
  const unfollow = followTheme(root, (theme) => {
    drawing = draw();
    model.set("_theme", theme); // of the picture that is left without a kernel
    model.save_changes();
  });
  await drawing;
  return () => {
    for (const end of [page.stop, stop, unfollow, ends]) end();
  };
}

/**
 * @param {HTMLElement} root
 * @param {Page} page
 * @param {ReturnType<typeof choosing>} choice
 */
function layOut(root, page, choice) {
  const { model, controls } = page;
  const { parts, chart, stop } = buildContent(page, choice);
  const problem = make("div", { class: "wb-problem", role: "alert", hidden: true });
  const sentences = buildSentences();
  root.setAttribute("aria-label", controls.panels[model.get("panel")].title);
  root.append(
    // the picture for later stands in an output beside this one: not needed while this one lives
    make("style", {}, `.${model.get("_mark")} { display: none; }`),
    ...parts.map((part) => part.element),
    sentences.empty,
    ...(chart ? [chart.element] : []),
    problem,
    make("p", { class: "wb-lost" }, controls.texts.lost),
    sentences.spoken,
  );
  if (chart) choice.onChart(root, chart);
  /** @param {string} text */
  const fail = (text) => {
    problem.hidden = !text;
    problem.textContent = text;
  };
  /** @param {Words} words */
  const update = (words) => {
    fail(words.problem ?? "");
    if (words.problem) return;
    for (const part of [...parts, sentences]) part.update(words);
  };
  return { chart, fail, update, stop };
}

/**
 * @param {Page} page
 * @param {ReturnType<typeof choosing>} choice
 * @returns {Content}
 */
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

export default { render };
