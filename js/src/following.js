/** Whether the view follows what a training writes, how far a scan is, and what went wrong. */

import { fill, make } from "./dom.js";

/** @typedef {import("./types").Following} Following */

/**
 * What is shown of what is followed: of a scan a bar while it goes on, and words where it was
 * cancelled; else the box that stops and starts following.
 * @param {Following} following
 */
export function shownOf({ runs, text, problem }) {
  const scans = runs !== undefined;
  return { box: !scans, bar: scans && runs === true, text: scans ? (text ?? "") : "", problem };
}

/** @param {import("./types").Page} page */
export function buildFollowing({ model, controls, send }) {
  const { texts } = controls;
  const input = make("input", {
    type: "checkbox",
    onchange: () => send({ follow: input.checked }),
  });
  const name = make("span", {}, texts.follow);
  const label = make("label", {}, input, name);
  const bar = make("progress", { max: 1, "aria-label": texts.scanning });
  const text = make("span", { class: "wb-follow-text" });
  const cancel = make(
    "button",
    { type: "button", onclick: () => send({ follow: false }) },
    texts.cancel,
  );
  const scan = make("span", { class: "wb-scan" }, bar, text, cancel);
  const problem = make("span", { class: "wb-follow-problem", role: "status" });
  const element = make("div", { class: "wb-follow" }, label, scan, problem);
  const update = () => {
    const told = model.get("_following");
    element.hidden = !told;
    if (!told) return;
    /** @type {Following} */
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
