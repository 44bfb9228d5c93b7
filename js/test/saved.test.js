import assert from "node:assert/strict";
import { test } from "node:test";
import { countedNumbers, lookedAt, refittedNumbers, wordsOf } from "../src/saved.js";
import { bothOf, buildSieve, sifted, standingOut } from "../src/sieve.js";

const facets = [
  { name: "model", title: "Models", labels: ["a", "b"], values: ["a", "b"], more: false },
  { name: "component", title: "Components", labels: ["q", "k", "o"], values: ["q", "k", "o"], more: false },
];
const labels = [["a", "b"], [0, 1, 2, 3], ["q", "k", "o"], [0, 10]];
/** @type {number[][]} */
const all = [];
for (let m = 0; m < 2; m++) for (let l = 0; l < 4; l++) for (let c = 0; c < 3; c++) for (let s = 0; s < 2; s++) all.push([m, l, c, s]);
const places = [0, 1, 2, 3].map((d) => all.map((one) => one[d]));
const sieve = buildSieve({ labels, places, facets: { model: places[0], component: places[2] } }, facets);
const everything = { filters: {}, layers: null, step: null };

test("filters keep what Python's would, and count what the others leave", () => {
  assert.equal(sieve.sift(everything).cells.length, 48);
  const { cells, counts, has, passes } = sieve.sift({ filters: { component: ["q", "o"], model: ["b"] }, layers: [1, 2], step: 10 });
  assert.deepEqual(cells, [1, 2].flatMap((layer) => ["q", "o"].map((c) => ["b", layer, c, 10])));
  assert.deepEqual(counts, { model: [4, 4], component: [2, 2, 2] });
  assert.ok(has(["b", 1, "q", 10]));
  for (const other of [["a", 1, "q", 10], ["b", 0, "q", 10], ["b", 1, "k", 10], ["b", 1, "q", 0], ["c", 1, "q", 0]]) {
    assert.ok(!has(/** @type {any} */ (other)), String(other));
  }
  const row = { model: "b", layer: 1, component: "q", step: 10 };
  assert.ok(passes(row) && !passes({ ...row, layer: 3 }));
  assert.ok(passes({ ...row, layer: 0.5, band: "0–1" }), "a band of which one layer is kept");
  assert.ok(!passes({ ...row, layer: 3, band: "3–3" }));
  assert.ok(passes({ at: 1.2 }) && passes({ ...row, model: "published" }), "what is no matrix of the page");
});

test("two checkpoints are compared whatever the filter of models says", () => {
  /** @type {[string, number][]} */
  const pairs = [["a", 0], ["b", 10]];
  const { cells, passes } = bothOf(pairs, sieve, { filters: { model: ["b"], component: ["q"] }, layers: [1, 2] });
  assert.deepEqual(cells, [["a", 1, "q", 0], ["a", 2, "q", 0], ["b", 1, "q", 10], ["b", 2, "q", 10]]);
  const row = { model: "a 0 → b 10", layer: 1, component: "q" };
  assert.ok(passes(row) && !passes({ ...row, layer: 3 }) && !passes({ ...row, component: "k" }));
  assert.ok(passes({ ...row, model: "b", step: 10 }));
});

test("what excludes everything is named, alone or together", () => {
  assert.deepEqual(sieve.sift({ ...everything, filters: { component: [] } }).empty, ["component"]);
  assert.deepEqual(sieve.sift({ ...everything, layers: [7, 9] }).empty, ["layers"]);
  const few = buildSieve({ labels, places: [[0, 1], [0, 1], [0, 1], [0, 0]], facets: { model: [0, 1], component: [0, 1] } }, facets);
  const { cells, empty } = few.sift({ ...everything, filters: { model: ["a"], component: ["k"] } });
  assert.deepEqual([cells, empty], [[], []]);
});

const rows = ["q", "k"].flatMap((component) => [0, 1].map((layer) => ({ model: "a", layer, component, step: 0, k: 1 + layer / 10, k_se: 0.01 })));
const spec = {
  encoding: {
    y: { field: "component", type: "nominal", scale: { domain: ["q", "k"] } },
    color: { field: "component", type: "nominal", scale: { domain: ["q", "k"], range: ["red", "blue"] } },
    x: { field: "k", type: "quantitative", scale: { domain: [1, 2] } },
  },
  datasets: { rows, rule: [{ at: 1.2 }] },
};

test("a chart of fewer rows names what is left; one of all rows is the same", () => {
  assert.equal(sifted(spec, () => true), spec);
  const next = sifted(spec, (row) => row.component === "k");
  assert.deepEqual(next.datasets, { rows: rows.slice(2), rule: [{ at: 1.2 }] });
  assert.deepEqual(next.encoding.y.scale, { domain: ["k"] });
  assert.deepEqual(next.encoding.color.scale, { domain: ["k"], range: ["blue"] });
  assert.deepEqual(next.encoding.x.scale, { domain: [1, 2] });
});

test("what stands out is surely far from the anchor", () => {
  const sure = { ...rows[0], k: 1.3, k_se: 0.001 };
  assert.deepEqual(standingOut([{ ...rows[1], k: 1.5, k_se: 0.3 }, sure], 1.2), ["a", 0, "q", 0]);
  assert.equal(standingOut([{ ...sure, k: null }, { at: 1 }], 1.2), null);
});

const drawn = /** @type {import("../src/types").Asked} */ ({ trim: [0.1, 0.9], estimator: "rank_regression", value: "k" });
const frame = /** @type {any} */ ({ chosen: [["a", 0, "q", 0]], listed: [], charts: {}, matrices: null });

test("the clicked matrix is looked at, else Python's, else what stands out of those that are left", () => {
  const sift = sieve.sift(everything);
  assert.deepEqual(lookedAt(frame, sift, null, rows, drawn), { cells: [["a", 0, "q", 0]], own: true });
  assert.deepEqual(lookedAt(frame, sift, ["a", 1, "k", 0], rows, drawn), { cells: [["a", 1, "k", 0]], own: false });
  assert.equal(lookedAt(frame, sift, ["a", 0, "q", 0], rows, drawn).own, true);
  const few = sieve.sift({ ...everything, filters: { component: ["k"] } });
  assert.deepEqual(lookedAt(frame, few, ["a", 0, "q", 0], rows, drawn), { cells: [["a", 0, "k", 0]], own: false });
  const none = sieve.sift({ ...everything, filters: { component: [] } });
  assert.deepEqual(lookedAt(frame, none, null, rows, drawn), { cells: [], own: false });
});

test("of a median over layers the matrix of the nearest is looked at, with numbers of its counts", () => {
  const sift = sieve.sift({ ...everything, layers: [1, 3] });
  assert.deepEqual(sift.nearest(["a", 1.5, "k", 0]), ["a", 1, "k", 0]);
  assert.deepEqual(sift.nearest(["a", 0.5, "k", 0]), ["a", 1, "k", 0]);
  assert.equal(sift.nearest(["a", 0, "k", 0]), null, "left out");
  assert.equal(sift.nearest(["c", 1.5, "k", 0]), null);
  const none = { heads: [], rows: [], more: "" };
  const fit = () => ({ k: 1.25, lam: 0.5, r2: 0.99 });
  const found = countedNumbers(none, ["a", 1, "k", 0], { fit }, drawn);
  assert.deepEqual(found.rows, [["k", "1.2500"], ["λ", "0.5"], ["r²", "0.9900"]]);
  assert.equal(countedNumbers(none, ["a", 1, "k", 0], { fit: () => null }, drawn), none);
  const known = { ...none, rows: [["k", "1"]] };
  assert.equal(countedNumbers(known, ["a", 1, "k", 0], { fit }, drawn), known);
});

test("numbers of another protocol have no errors", () => {
  const counts = { fit: () => ({ k: 2, lam: 0.51234, r2: 0.9 }) };
  const two = { heads: [], more: "", rows: [["k", "1 ± 1", "2 ± 1"], ["λ", "1", "1"], ["r²", "1", "1"], ["n", "5", "6"]] };
  const next = refittedNumbers(two, [["a", 0, "q", 0], ["a", 1, "q", 0]], counts, drawn);
  assert.deepEqual(next.rows, [["k", "2.0000", "2.0000"], ["λ", "0.5123", "0.5123"], ["r²", "0.9000", "0.9000"], ["n", "5", "6"]]);
  assert.deepEqual(refittedNumbers(two, [["a", 0, "q", 0]], { fit: () => null }, drawn).rows, two.rows);
});

test("words tell what is shown, what is left out, and what excludes all", () => {
  const texts = { page_count: "{number}/{total} {protocol}", page_stale: "{number} stay", page_no_counts: "no counts", excludes: "{title}!", none_pass: "none", layers: "Layers", step: "step" };
  const saved = /** @type {any} */ ({ controls: { texts, facets }, drawn, note: "3 of 5 steps" });
  const fitting = { fit: () => null, exact: true, has: (/** @type {unknown[]} */ [model]) => model === "a" };
  const looked = { cells: [], own: false };
  const seen = { sift: sieve.sift(everything), both: null, total: 48, asked: drawn, fitting, varies: false, waits: false };
  const calm = wordsOf(saved, seen, looked, null);
  assert.deepEqual([calm.count, calm.left_out, calm.no_refit, calm.empty], ["48/48 rank regression, trim 10–90 %", "3 of 5 steps", "", []]);
  assert.equal(wordsOf(saved, { ...seen, varies: true }, looked, null).left_out, "3 of 5 steps · 24 stay");
  assert.equal(wordsOf(saved, { ...seen, fitting: null }, looked, null).no_refit, "no counts");
  assert.equal(wordsOf(saved, { ...seen, fitting: null, waits: true }, looked, null).no_refit, "");
  const none = sieve.sift({ ...everything, filters: { component: [] } });
  assert.deepEqual(wordsOf(saved, { ...seen, sift: none }, looked, null).empty, ["Components!"]);
});
