/** Light and dark: which one the page around the widget is, and charts in its colours. */

import { make } from "./dom.js";

/**
 * A specification in other colours, on no ground of its own; data stays as it is.
 * @template T
 * @param {T} node
 * @param {Record<string, string>} colours new ones by those that Python wrote
 * @returns {T}
 */
export function paint(node, colours) {
  if (typeof node === "string") return /** @type {T} */ (colours[node] ?? node);
  if (Array.isArray(node)) return /** @type {T} */ (node.map((child) => paint(child, colours)));
  if (!node || typeof node !== "object") return node;
  const entries = Object.entries(node).map(([key, child]) => {
    if (key === "background") return [key, "transparent"];
    return [key, key === "datasets" ? child : paint(child, colours)];
  });
  return Object.fromEntries(entries);
}

/**
 * Whether a colour is dark.
 * @param {string} colour as style sheets write it
 */
function isDarkColour(colour) {
  const probe = make("span", { style: `color: ${colour}` });
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [];
  probe.remove();
  const [red, green, blue] = parts.map(Number);
  return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
}

/** Whether the page around the widget is dark: Jupyter, VS Code, marimo and others, the system. */
export function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes("light");
  const theme = page.getAttribute("theme");
  if (theme) return theme === "dark";
  // a theme of Voilà that somebody else made
  const paper = getComputedStyle(body).getPropertyValue("--jp-layout-color0").trim();
  if (paper) return isDarkColour(paper);
  if (page.classList.contains("dark") || body.classList.contains("dark")) return true;
  if (page.classList.contains("light") || body.classList.contains("light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const THEMED = ["data-jp-theme-light", "class", "theme", "data-vscode-theme-kind"];

/**
 * Keep an element's theme that of the page.
 * @param {HTMLElement} root
 * @param {(theme: string) => void} onChange called with the first theme, too
 * @returns {() => void} ends it
 */
export function followTheme(root, onChange) {
  const look = () => {
    const theme = isDark() ? "dark" : "light";
    if (theme === root.dataset.theme) return;
    root.dataset.theme = theme;
    onChange(theme);
  };
  const observer = new MutationObserver(look);
  for (const node of [document.body, document.documentElement]) {
    observer.observe(node, { attributes: true, attributeFilter: THEMED });
  }
  look();
  return () => observer.disconnect();
}
