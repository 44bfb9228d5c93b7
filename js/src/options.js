/** Controls of the panel that is shown: a list of choices, of checkpoints, or a checkbox. */

import { choices, labelled, make } from "./dom.js";

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
      panel.options.flatMap((option) => buildOption(page, option) ?? []),
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
 * @returns {Part | null} null where there is nothing to choose
 */
function buildOption({ model, controls, send }, name) {
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
  const { pairs } = controls;
  if (pairs.length < 2) return null;
  const keys = pairs.map(([pair]) => JSON.stringify(pair));
  /** @type {[string, string][]} */
  const listed = pairs.map(([, text], i) => [keys[i], text]);
  const select = choices(listed, label, (key) => send({ [name]: JSON.parse(key) }));
  const update = () => {
    select.value = JSON.stringify(now());
  };
  return { element: labelled(label, select), update };
}
