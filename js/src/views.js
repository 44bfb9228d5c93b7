/** Views by name: keep this one, open or forget another; and the Python that opens it again. */

import { fill, make } from "./dom.js";
import { buildCopy } from "./header.js";

/** @param {import("./types").Page} page */
export function buildViews({ model, controls }) {
  const { texts } = controls;
  /** @type {(act: string, view: string) => void} */
  const change = (act, view) => model.send({ act, view });
  const name = make("input", {
    type: "text",
    maxlength: 100,
    placeholder: texts.view_name,
    "aria-label": texts.view_name,
  });
  const onsubmit = (/** @type {SubmitEvent} */ event) => {
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
    () => getSelection()?.selectAllChildren(call),
  );
  const list = make("ul", { "aria-label": texts.views });
  const draw = () => {
    /** @type {[string, string][]} */
    const names = JSON.parse(model.get("_names") || "[]");
    list.replaceChildren(...names.map(([view, words]) => line(texts, change, view, words)));
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
    stop: () => model.off("change:_names", draw),
  };
}

/**
 * @param {Record<string, string>} texts
 * @param {(act: string, view: string) => void} change
 * @param {string} view
 * @param {string} name as it is shown
 */
function line(texts, change, view, name) {
  /** @type {(act: string, label: string, text: string) => HTMLElement} */
  const button = (act, label, text) =>
    make("button", {
      type: "button",
      "aria-label": fill(label, { name }),
      onclick: () => change(act, view),
    }, text);
  return make(
    "li",
    {},
    button("open", texts.open_view, name),
    button("forget", texts.forget_view, "×"),
  );
}
