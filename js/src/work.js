/** What Python works on for long: how far it is, and a button that cancels it. */

import { fill, make } from "./dom.js";

/** @param {import("./types").Page} page */
export function buildWork({ model, controls }) {
  const { texts } = controls;
  const bar = make("progress", { max: 1, "aria-label": texts.refitting_bar });
  const text = make("span");
  const onclick = () => model.send({ cancel: true });
  const cancel = make("button", { type: "button", onclick }, texts.cancel);
  const element = make("div", { class: "wb-scan", hidden: true }, bar, text, cancel);
  const update = () => {
    const told = model.get("_working");
    element.hidden = !told;
    if (!told) return;
    const { share } = JSON.parse(told);
    bar.value = share;
    text.textContent = fill(texts.refitting, { percent: Math.round(100 * share) });
  };
  model.on("change:_working", update);
  update();
  return { element, stop: () => model.off("change:_working", update) };
}
