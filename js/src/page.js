/** The page that is saved: it draws its charts without Python and without a network. */

/** @type {import("vega-typings").Spec[]} */
const specs = JSON.parse(document.getElementById("specs")?.textContent ?? "[]");
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme },
};
specs.forEach((spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (place) vegaEmbed(place, spec, options);
});
