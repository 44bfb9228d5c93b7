// Made from js/src by npm run build.

// src/theme.js
function paint(node, colours) {
  if (typeof node === "string") return (
    /** @type {T} */
    colours[node] ?? node
  );
  if (Array.isArray(node)) return (
    /** @type {T} */
    node.map((child) => paint(child, colours))
  );
  if (!node || typeof node !== "object") return node;
  const entries = Object.entries(node).map(([key, child]) => {
    if (key === "background") return [key, "transparent"];
    return [key, key === "datasets" ? child : paint(child, colours)];
  });
  return Object.fromEntries(entries);
}

// src/chart.js
function silenceEmpty(box) {
  for (const group of box.querySelectorAll('g[role="graphics-symbol"]:empty')) {
    group.removeAttribute("role");
    group.removeAttribute("aria-roledescription");
  }
}

// src/page.js
var { specs, dark } = JSON.parse(
  document.getElementById("specs")?.textContent ?? '{"specs": [], "dark": {}}'
);
var isDark2 = matchMedia("(prefers-color-scheme: dark)").matches;
var options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: isDark2 ? "dark" : "light" }
};
specs.forEach((spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (place) vegaEmbed(place, paint(spec, isDark2 ? dark : {}), options).then(() => silenceEmpty(place));
});
