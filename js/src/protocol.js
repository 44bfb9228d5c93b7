/** The step, with a button that plays the steps; the trim and the estimator. */

import { choices, grouped, labelled, make } from "./dom.js";

/**
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Part} Part
 */

const FRAME = 700; // ms that a step is shown while playing
const LEAST = 0.05; // of the trim

/**
 * The trim after one end was moved: it pushes the other before it.
 * @param {number[]} trim
 * @param {number} moved
 */
export function pushTrim(trim, moved) {
  if (trim[1] - trim[0] >= LEAST) return trim;
  if (moved === 0) {
    const upper = Math.min(trim[0] + LEAST, 1);
    return [upper - LEAST, upper];
  }
  const lower = Math.max(trim[1] - LEAST, 0);
  return [lower, lower + LEAST];
}

/** @param {number[]} trim */
export const trimText = (trim) =>
  `${trim.map((end) => Number((100 * end).toFixed(1))).join("–")} %`;

/**
 * @param {Page} page
 * @returns {Part & { stop(): void }}
 */
export function buildProtocol(page) {
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
    stop: steps.stop,
  };
}

/**
 * @param {Page} page
 * @returns {Part & { stop(): void }}
 */
export function buildSteps(page) {
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
    },
  });
  const play = buildPlay(page);
  const field = make(
    "div",
    { class: "wb-field wb-step" },
    make("span", {}, texts.step),
    range,
    shown,
    play.element,
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
    stop: play.stop,
  };
}

/** @param {Page} page */
function buildPlay({ model, controls, checkpoints, send, busy }) {
  const { texts } = controls;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let playing;
  const button = make("button", {
    type: "button",
    class: "wb-play",
    "aria-label": texts.play,
    onclick: () => (playing === undefined ? start() : stop()),
  });
  const show = () => {
    const on = playing !== undefined;
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-pressed", String(on));
  };
  const stop = () => {
    clearInterval(playing);
    playing = undefined;
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

/**
 * @param {Page} page
 * @returns {Part}
 */
export function buildFit({ model, controls, send, busy }) {
  const { texts } = controls;
  const shown = make("output");
  const ends = [texts.lower, texts.upper].map((label, i) =>
    make("input", {
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
      },
    }),
  );
  const estimator = choices(Object.entries(controls.choices.estimator), texts.estimator, (value) =>
    send({ estimator: value }),
  );
  const why = make("span", { class: "wb-why" });
  const trimField = make(
    "span",
    { class: "wb-field" },
    make("span", {}, texts.trim),
    ...ends,
    shown,
  );
  const group = make(
    "fieldset",
    { class: "wb-trim" },
    make("legend", {}, texts.fit),
    trimField,
    labelled(texts.by, estimator),
    why,
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
    },
  };
}
