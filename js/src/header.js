/** The tabs of the panels, and the buttons that save files. */

import { fill, make } from "./dom.js";

/** @typedef {import("./types").Page} Page */

/**
 * The panel that an arrow key leads to from another, round the end.
 * @param {string[]} names
 * @param {string} from
 * @param {string} key
 */
export function nextTab(names, from, key) {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (!move) return null;
  return names[(names.indexOf(from) + move + names.length) % names.length];
}

/**
 * @param {Page} page
 * @param {string} prefix of the ids of this widget
 */
export function buildTabs({ model, controls, send }, prefix) {
  const { panels, texts } = controls;
  const box = make("div", { class: "wb-tabs", role: "tablist", "aria-label": texts.panels });
  const names = Object.keys(panels);
  const tabs = names.map((name) =>
    make(
      "button",
      {
        type: "button",
        role: "tab",
        id: `${prefix}-${name}`,
        "aria-controls": `${prefix}-panel`,
        onclick: () => send({ panel: name }),
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          const next = nextTab(names, name, event.key);
          if (!next) return;
          tabs[names.indexOf(next)].focus();
          send({ panel: next });
        },
      },
      panels[name].title,
    ),
  );
  box.append(...tabs);
  const badge = make("span", { class: "wb-badge" }); // it has its room before it has its words
  tabs[names.indexOf("findings")]?.append(" ", badge);
  return {
    element: box,
    /** @param {string} text what was found, as JSON */
    mark(text) {
      /** @type {import("./types").Findings} */
      const found = text ? JSON.parse(text) : { badge: "", severity: "" };
      badge.textContent = found.badge;
      badge.dataset.severity = found.severity;
    },
    update() {
      tabs.forEach((tab, i) => {
        const shown = names[i] === model.get("panel");
        tab.setAttribute("aria-selected", String(shown));
        tab.tabIndex = shown ? 0 : -1;
      });
    },
  };
}

/**
 * @param {Page} page
 * @param {(problem: string) => void} fail
 */
export function buildFiles({ model, controls }, fail) {
  const { texts } = controls;
  const box = make("div", { class: "wb-files" }, make("span", {}, texts.save));
  for (const form of ["html", "svg", "png", "csv"]) {
    const onclick = () => {
      box.classList.add("wb-saving");
      model.send({ save: form });
    };
    const name = form.toUpperCase();
    const label = fill(texts.save_as, { form: name });
    box.append(
      make("button", { type: "button", "aria-label": label, "data-save": form, onclick }, name),
    );
  }
  return {
    element: box,
    /** @type {(file: { problem?: string, name: string, type: string }, buffers: DataView<ArrayBuffer>[]) => void} */
    receive(file, buffers) {
      box.classList.remove("wb-saving");
      if (file.problem) {
        fail(file.problem);
        return;
      }
      const href = URL.createObjectURL(new Blob([buffers[0]], { type: file.type }));
      make("a", { href, download: file.name }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10000);
    },
  };
}

/**
 * A button that copies text; where that is not allowed, `select` shows what to copy by hand.
 * @param {string} label
 * @param {Record<string, string>} texts
 * @param {() => string} text
 * @param {() => void} select
 */
export function buildCopy(label, texts, text, select) {
  const onclick = async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = texts.copied;
    } catch {
      select();
      button.textContent = texts.copy_by_hand;
    }
    setTimeout(() => {
      button.textContent = label;
    }, 1500);
  };
  const button = make("button", { type: "button", onclick }, label);
  return button;
}

/**
 * The Python that draws the same.
 * @param {Record<string, string>} texts
 */
export function buildCode(texts) {
  const code = make("pre", { tabindex: 0 });
  const copy = buildCopy(
    texts.copy,
    texts,
    () => code.textContent ?? "",
    () => getSelection()?.selectAllChildren(code),
  );
  return {
    element: make("details", { class: "wb-code" }, make("summary", {}, texts.code), copy, code),
    /** @param {import("./types").Words} words */
    update(words) {
      code.textContent = words.code;
    },
  };
}
