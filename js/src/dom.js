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

/** A number with commas from 1,000 on; the label of a step may be a word. @param {number | string} value */
export const grouped = (value) => (typeof value === "number" ? value.toLocaleString("en") : value);

/**
 * Copy text, where the browser lets this page.
 * @param {string} text
 * @returns {Promise<boolean>} whether it did
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text);
  }
}

/**
 * Copy as pages do that have no access to the clipboard, such as those of http.
 * @param {string} text
 */
function copiedByHand(text) {
  const focused = document.activeElement;
  const place = make("textarea", { style: "position: fixed; opacity: 0", "aria-hidden": "true" });
  place.value = text;
  document.body.append(place);
  place.select();
  const done = document.execCommand("copy");
  place.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}
