/** The page that is saved: it draws its charts without Python and without a network. */

import { silenceEmpty } from "./chart.js";
import { paint } from "./theme.js";

/** @type {{ specs: import("vega-typings").Spec[], dark: Record<string, string> }} */
const { specs, dark } = JSON.parse(
  document.getElementById("specs")?.textContent ?? '{"specs": [], "dark": {}}',
);
const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
const options = {
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: isDark ? "dark" : "light" },
};
specs.forEach((spec, i) => {
  const place = document.getElementById(`chart${i}`);
  if (place) vegaEmbed(place, paint(spec, isDark ? dark : {}), options).then(() => silenceEmpty(place));
});
