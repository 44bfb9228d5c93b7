import assert from "node:assert/strict";
import { test } from "node:test";
import { madeAgain } from "../src/again.js";

// tests/explorer/test_made_again.py holds every number against Python's
const texts = { page_below: "{number} below, to {k}", page_above: "{number} above, to {k}", page_arrows: "{number} arrows", page_flag: "layer {layer}", page_not_drawn: "{number} missing" };
const drawn = /** @type {import("../src/types").Asked} */ ({ trim: [0.1, 0.9], estimator: "rank_regression", value: "k" });
/** @type {(component: string, layer: number, k: number | null) => any} */
const row = (component, layer, k) => ({ model: "m", layer, component, step: 0, k, value: k, median: 9, offset: 9, beyond: "no", barred: "yes" });
const rows = [row("q", 0, 1.1), row("q", 3, 1.2), row("q", 5, 1.15), row("k", 0, 4), row("k", 3, null), row("k", 5, 1.2), row("k", 6, 1.2)];
const anchor = { at: 1.2054, words: "an untrained Gaussian matrix" };
const axis = {
  labelAngle: { expr: "width < 100 ? -35 : 0" },
  labelAlign: { expr: "width < 100 ? 'right' : 'center'" },
  labelExpr: "width < 100 ? datum.label : split(datum.label, '.')",
};
const layer = [{ encoding: { x: { field: "component", type: "nominal", scale: { domain: ["q", "k"] }, axis }, y: { field: "k", type: "quantitative", scale: { domain: [0, 1] } } } }];
const others = { edges: [{ component: "q", k: 1.186, high: 1.204 }], entries: [{ model: "p", component: "q", k: 0.8, below: "no" }, { model: "p", component: "k", k: 1.1, below: "no" }] };
const bands = /** @type {any} */ ({ chart: "class_bands", spec: { data: { name: "own" }, layer, title: {}, datasets: { own: [], rule: [anchor], ...others } }, band: [1.186, 1.204], published: "rank regression, trim 10–90 %", notes: ["shaded"], no_band: ["no band"] });
const content = /** @type {any} */ ({ label: "a", plain: "k", again: bands, spec: { data: { name: "rows0" }, layer, datasets: { rows0: rows, rule: [anchor] } } });
/** @type {(passes: (row: any) => boolean) => any} */
const seen = (passes) => ({ sift: { passes }, varies: false, asked: drawn, fitting: null });

test("a chart of all matrices is Python's own", () => {
  assert.equal(madeAgain(content, seen(() => true), drawn, texts), content);
});

test("of some, medians, places and the axis are made again, and what belongs to others goes", () => {
  const { spec, plain } = /** @type {any} */ (madeAgain(content, seen((one) => one.component === "q" && one.layer > 0), drawn, texts));
  assert.deepEqual(spec.datasets.own.map((/** @type {any} */ one) => [one.layer, one.offset, one.beyond]), [[3, -0.35, "no"], [5, 0.35, "no"]]);
  for (const one of spec.datasets.own) assert.ok(Math.abs(one.median - 1.175) < 1e-12);
  assert.deepEqual(spec.datasets.entries, [{ ...others.entries[0], below: "yes" }]);
  assert.deepEqual(spec.datasets.edges, others.edges);
  assert.deepEqual(spec.layer[0].encoding.y.scale.domain, [1.05, 1.25]);
  assert.deepEqual(spec.layer[0].encoding.x.scale.domain, ["q"]);
  assert.equal(spec.layer[0].encoding.x.axis.labelAngle.expr, "width < 50 ? -35 : 0");
  assert.equal(spec.layer[0].encoding.x.axis.labelExpr, "width < 50 ? datum.label : split(datum.label, '.')");
  assert.deepEqual(spec.title, { text: plain, subtitle: ["shaded", "1 arrows"] });
});

test("what lies far off does not squash the rest, and a matrix without k has no part", () => {
  const { spec } = /** @type {any} */ (madeAgain(content, seen((one) => one.component === "k"), drawn, texts));
  assert.deepEqual(spec.datasets.own.map((/** @type {any} */ one) => one.beyond), ["no", "no", "no", "no"]);
  assert.equal(spec.datasets.own[1].median, 1.2);
  const wide = { ...content, spec: { ...content.spec, datasets: { rows0: [...rows, row("q", 9, 1.2), row("q", 10, 1.2)], rule: [anchor] } } };
  const found = /** @type {any} */ (madeAgain(wide, seen((one) => one.layer !== 5), drawn, texts)).spec;
  assert.deepEqual(found.datasets.own.filter((/** @type {any} */ one) => one.beyond !== "no").map((/** @type {any} */ one) => one.k), [4]);
  assert.ok(found.title.subtitle.includes("1 above, to 4.000"));
});

test("matrices without k alone are a chart without medians", () => {
  const { spec } = /** @type {any} */ (madeAgain(content, seen((one) => one.k === null), drawn, texts));
  assert.deepEqual(spec.datasets.own.map((/** @type {any} */ one) => [one.median, one.beyond, one.barred]), [[null, "no", "no"]]);
  assert.deepEqual(spec.layer[0].encoding.y.scale.domain, [1.05, 1.25]);
});

test("a number that could not be fitted again is none", () => {
  const strip = { ...content, again: { chart: "outlier_strip", notes: [], limit: 1, most: 2 }, spec: { ...content.spec, height: 200 } };
  const failed = rows.map((one) => (one.layer === 3 ? { ...one, value: Number.NaN } : one));
  strip.spec.datasets = { rows0: failed, rule: [anchor] };
  const { spec } = /** @type {any} */ (madeAgain(strip, seen((one) => one.component === "q"), drawn, texts));
  assert.deepEqual(spec.datasets.rows0.map((/** @type {any} */ one) => one.flag), ["layer 0", "", "layer 5"]);
});

test("the largest of some have their names", () => {
  const again = /** @type {any} */ ({ chart: "outlier_strip", notes: ["dashed"], limit: 1.18, most: 2 });
  const strip = { ...content, again, spec: { ...content.spec, height: 200 } };
  const { spec } = /** @type {any} */ (madeAgain(strip, seen((one) => one.component === "k"), drawn, texts));
  assert.deepEqual(spec.datasets.rows0.map((/** @type {any} */ one) => one.flag), ["layer 0", "", "", ""]);
  assert.equal(spec.height, 100);
  assert.deepEqual(spec.title.subtitle, ["dashed", "1 missing"]);
});
