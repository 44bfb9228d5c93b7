// Made from js/src by npm run build.

// src/page.js
var specs = JSON.parse(document.getElementById("specs")?.textContent ?? "[]");
var theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
var options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme }
};
specs.forEach((spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (place) vegaEmbed(place, spec, options);
});
