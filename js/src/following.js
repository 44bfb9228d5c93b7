/** Whether the view follows what a training writes, and why it cannot be read just now. */

import { fill, make } from "./dom.js";

/** @param {import("./types").Page} page */
export function buildFollowing({ model, controls, send }) {
  const { texts } = controls;
  const input = make("input", {
    type: "checkbox",
    onchange: () => send({ follow: input.checked }),
  });
  const name = make("span", {}, texts.follow);
  const label = make("label", {}, input, name);
  const problem = make("span", { class: "wb-follow-problem", role: "status" });
  const element = make("div", { class: "wb-follow" }, label, problem);
  const update = () => {
    const text = model.get("_following");
    element.hidden = !text;
    if (!text) return;
    /** @type {import("./types").Following} */
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
