/** Controls of the panel that is shown: a list of choices, of checkpoints, or a checkbox. */

import { choices, fill, labelled, make } from "./dom.js";
import { buildWindow } from "./window.js";

/**
 * @typedef {import("./types").Page} Page
 * @typedef {import("./types").Part} Part
 */

/**
 * @param {Page} page
 * @returns {Part}
 */
export function buildOptions(page) {
  const { model, controls } = page;
  const box = make("div", { class: "wb-panel-options" });
  const groups = Object.fromEntries(
    Object.entries(controls.panels).map(([name, panel]) => [
      name,
      panel.options.map((option) => buildOption(page, option)),
    ]),
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
    },
  };
}

/**
 * @param {Page} page
 * @param {string} name of the trait
 * @returns {Part}
 */
function buildOption(page, name) {
  if (name === "window") return buildWindow(page);
  const { model, controls, checkpoints, send } = page;
  const label = controls.options[name];
  const now = () => model.get(name);
  const names = controls.choices[name];
  if (names) {
    const select = choices(Object.entries(names), label, (value) => send({ [name]: value }));
    const update = () => {
      select.value = now();
    };
    return { element: labelled(label, select), update };
  }
  if (typeof now() === "boolean") {
    const onchange = () => send({ [name]: input.checked });
    const input = make("input", { type: "checkbox", onchange });
    const update = () => {
      input.checked = now();
    };
    return { element: labelled(label, input), update };
  }
  if (name === "expert") return buildExpert(page);
  const select = choices([], label, (key) => send({ [name]: JSON.parse(key) }));
  const element = labelled(label, select);
  /** @type {import("./types").Checkpoints | undefined} */
  let listed;
  const update = () => {
    if (listed !== checkpoints()) {
      listed = checkpoints();
      const pairs = pairsOf(listed, controls.texts.checkpoint);
      select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
      element.hidden = pairs.length < 2;
    }
    select.value = JSON.stringify(now());
  };
  return { element, update };
}

/**
 * Which of the experts of a matrix is shown.
 * @param {Page} page
 * @returns {Part}
 */
function buildExpert({ model, controls, send }) {
  const input = make("input", {
    type: "number",
    min: 0,
    onchange: () => {
      if (input.reportValidity() && input.value) send({ expert: Number(input.value) });
    },
  });
  const element = labelled(controls.options.expert, input);
  return {
    element,
    update({ experts = 0 }) {
      element.hidden = !experts;
      input.max = String(experts - 1);
      if (input !== document.activeElement) input.value = String(Math.min(model.get("expert"), experts - 1));
    },
  };
}

/**
 * Every model at each of its steps, as JSON, and its name.
 * @param {import("./types").Checkpoints} checkpoints
 * @param {string} text of one
 * @returns {[string, string][]}
 */
export function pairsOf({ steps, models }, text) {
  return models.flatMap(([model, name, own]) =>
    (own ?? steps).map((step) => /** @type {[string, string]} */ ([
      JSON.stringify([model, step]),
      steps.length > 1 ? fill(text, { model: name, step }) : name,
    ])),
  );
}
