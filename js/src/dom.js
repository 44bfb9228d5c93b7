/** Small helpers for elements. Text from files reaches the page as text nodes only. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [attributes] `on…` are listeners
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @param {[string, string][]} options values and their names
 * @param {string} label
 * @param {(value: string) => void} onchange
 */
export function choices(options, label, onchange) {
  const select = make("select", { onchange: () => onchange(select.value), "aria-label": label });
  select.append(...options.map(([value, name]) => make("option", { value }, name)));
  return select;
}

/**
 * @param {string} text
 * @param {...HTMLElement} controls
 */
export function labelled(text, ...controls) {
  return make("label", { class: "wb-field" }, make("span", {}, text), ...controls);
}

/**
 * Fill in what stands in braces.
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @param {number} value */
export const grouped = (value) => value.toLocaleString("en");

/** Whether the page around the widget is dark: Jupyter, VS Code, marimo and others, the system. */
export function isDark() {
  const { body, documentElement: page } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes("light");
  const theme = page.getAttribute("theme");
  if (theme) return theme === "dark";
  if (page.classList.contains("dark") || body.classList.contains("dark")) return true;
  if (page.classList.contains("light") || body.classList.contains("light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const THEMED = ["data-jp-theme-light", "class", "theme", "data-vscode-theme-kind"];

/**
 * Keep an element's theme that of the page.
 * @param {HTMLElement} root
 * @returns {() => void} ends it
 */
export function followTheme(root) {
  const paint = () => {
    root.dataset.theme = isDark() ? "dark" : "light";
  };
  const observer = new MutationObserver(paint);
  for (const node of [document.body, document.documentElement]) {
    observer.observe(node, { attributes: true, attributeFilter: THEMED });
  }
  paint();
  return () => observer.disconnect();
}
