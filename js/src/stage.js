/** How much of the page the explorer takes: the cell's width, a given height, or the window. */

import { make } from "./dom.js";

/** @typedef {import("./types").Page} Page */

/**
 * The height that is seen of what scrolls an element: the window, a notebook, the element itself.
 * @param {HTMLElement} element
 */
export function visibleHeight(element) {
  for (let box = element.parentElement; box; box = box.parentElement) {
    const { overflowY } = getComputedStyle(box);
    if (/auto|scroll/.test(overflowY) && box.clientHeight < box.scrollHeight) {
      return Math.min(box.clientHeight, innerHeight);
    }
  }
  return innerHeight;
}

/**
 * Where what is seen of an element ends at the latest, in pixels of the window.
 * @param {HTMLElement} element
 */
export function visibleBottom(element) {
  let bottom = innerHeight;
  for (let box = element.parentElement; box; box = box.parentElement) {
    if (/auto|scroll|hidden/.test(getComputedStyle(box).overflowY)) {
      bottom = Math.min(bottom, box.getBoundingClientRect().bottom);
    }
  }
  return bottom;
}

/**
 * The button that fills the window, and the height that was asked for. The element is shown above
 * everything else, as a popover: the page around it may clip what is merely fixed.
 * @param {HTMLElement} root
 * @param {Page} page
 */
export function buildStage(root, { model, controls }) {
  const { texts } = controls;
  let full = false;
  const button = make("button", { type: "button", class: "wb-full", onclick: () => fill(!full) });
  button.hidden = !("popover" in root);
  /** @param {boolean} wanted */
  const fill = (wanted) => {
    full = wanted;
    if (full) {
      root.setAttribute("popover", "manual");
      root.showPopover();
    } else if (root.hasAttribute("popover")) {
      root.hidePopover();
      root.removeAttribute("popover");
    }
    raise();
    show();
  };
  /** What Vega tells at the mouse stands at the end of the page, below a popover. */
  const raise = () => {
    const tip = document.getElementById("vg-tooltip-element");
    const place = full ? root : document.body;
    if (tip && tip.parentElement !== place && (full || root.contains(tip))) place.append(tip);
  };
  root.addEventListener("pointermove", raise);
  const show = () => {
    const height = model.get("height");
    root.classList.toggle("wb-window", full);
    root.classList.toggle("wb-high", full || height > 0);
    root.style.height = !full && height > 0 ? `${height}px` : "";
    button.classList.toggle("wb-smaller", full);
    button.title = full ? texts.leave : texts.fill;
    button.setAttribute("aria-label", button.title);
  };
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !full) return;
    event.stopPropagation();
    fill(false);
    button.focus();
  });
  model.on("change:height", show);
  show();
  return {
    element: button,
    stop() {
      model.off("change:height", show);
      if (full) fill(false);
    },
  };
}
