import assert from "node:assert/strict";
import { test } from "node:test";
import { cohortOf, medianOf, nearestTo } from "../src/cohort.js";

// tests/explorer/test_made_again.py holds the whole chart against Python's
/** @param {number} found @param {number} expected */
const near = (found, expected) => assert.ok(Math.abs(found - expected) < 1e-12, `${found} is not ${expected}`);
const unknown = Number.NaN;

test("a median has the larger of the errors in its middle and of its spread over layers", () => {
  // weibnb.diagnostics.summarise
  for (const { of, k, se } of [
    { of: [[1.2, 0.01], [1.0, 0.02], [1.1, 0.03]], k: 1.1, se: 0.08660254037844384 },
    { of: [[1.2, 0.01], [1.0, 0.02], [1.1, 0.03], [1.15, 0.2]], k: 1.125, se: 0.10111874208078343 },
    { of: [[1.2, unknown], [1.1, unknown]], k: 1.15, se: 0.04999999999999993 },
    { of: [[1.2, 0.04]], k: 1.2, se: 0.04 },
  ]) {
    const found = medianOf(of.map(([one, error]) => ({ k: one, error })));
    near(found.k, k);
    near(found.se, se);
  }
  assert.ok(Number.isNaN(medianOf([{ k: 1, error: unknown }]).se));
});

const Q = { "olmo-1-7b": 0.8123, "olmo-2-7b": 0.9895, "llama-3-8b": 1.1352, "mistral-7b": 1.1485, "qwen2.5-7b": 1.1328, "qwen2.5-14b": 1.1638, "qwen3-8b": 1.1623 };
const O = { "pythia-70m": 1.1838, "pythia-160m": 1.1917, "pythia-410m": 1.1988, "pythia-1b": 1.199, "pythia-6.9b": 1.1986, "olmo-1-7b": 1.0409, "olmo-2-7b": 1.1958, "llama-3-8b": 1.1841, "mistral-7b": 1.1902, "qwen2.5-7b": 1.1665, "qwen2.5-14b": 1.1903, "qwen3-8b": 1.1802 };
const published = Object.entries({ q_proj: Q, o_proj: O }).flatMap(([component, ks]) =>
  Object.entries(ks).map(([model, k]) => ({ model, component, k, below: "no" })),
);
const texts = { page_nearest: "{model}: {entry} {distance}", page_lonely: "{model}: none", page_tied: "tied", page_nothing_close: "nothing close", page_untrained: "untrained is closer", page_no_selection: "no selection", page_arrows: "{number} arrows" };
const again = /** @type {any} */ ({ selects: ["q_proj"], close: 2, note: "ticks", most: 3, matrices: "matrices", table: "own",
  published: "rank regression, trim 10–90 %", alone: ["Medians of k", "no entries"] });
/** @type {import("../src/types").Asked} */
const asked = { trim: [0.1, 0.9], estimator: "rank_regression", value: "k" };

test("the nearest published entry is Python's, and so is what is said of it", () => {
  // weibnb.nearest_published
  /** @type {[number[], number, string][]} */
  const cases = [
    [[1.15, 1.18], 0.01, "m: qwen3-8b 0.07 (tied)"],
    [[1.15, 1.18], unknown, "m: qwen3-8b 0.07"],
    [[1.19, 2.5], 0.01, "m: olmo-2-7b 21.09 (nothing close; untrained is closer)"],
    [[1.2, 1.2], 0.3, "m: qwen2.5-14b 0.25 (tied; untrained is closer)"],
  ];
  for (const [[q, o], se, expected] of cases) {
    const medians = [{ component: "q_proj", k: q, se }, { component: "o_proj", k: o, se: se === 0.01 && q === 1.15 ? 0.02 : se }];
    assert.equal(nearestTo("m", medians, published, 1.205434, again, texts), expected);
  }
  assert.equal(nearestTo("m", [{ component: "router", k: 1, se: 0 }], published, 1.2, again, texts), "m: none");
});

test("the chart is of the matrices that pass; that of all is Python's", () => {
  const row = { model: "m", layer: 0, component: "q_proj", step: 1, k: 1.15, error: 0.01 };
  const matrices = [row, { ...row, layer: 1, k: null, error: null }, { ...row, component: "o_proj" }];
  const axis = { labelAngle: { expr: "0" }, labelAlign: { expr: "'center'" }, labelExpr: "datum.label" };
  const layer = [{ encoding: { x: { field: "component", type: "nominal", scale: { domain: ["q_proj", "o_proj"] }, axis } } }];
  const spec = { layer, datasets: { matrices, own: [], rule: [{ at: 1.205434, words: "an untrained Gaussian matrix" }], published } };
  const chart = { ...again, spec };
  assert.equal(cohortOf(chart, () => true, texts, null, asked), null);
  const made = /** @type {any} */ (cohortOf(chart, (one) => one.component === "q_proj", texts, null, asked));
  assert.deepEqual(made.spec.datasets.own, [{ component: "q_proj", k: 1.15, se: 0.01, model: "m", low: 1.14, high: 1.16 }]);
  assert.equal(made.spec.datasets.published.length, Object.keys(Q).length);
  assert.equal(made.notes[0], "ticks");
  assert.equal(made.notes[2], "2 arrows", "entries below 1.05");
  const counts = { layers: [0, 1], has: () => true, fit: () => ({ k: 1.3, lam: 1, r2: 1 }) };
  /** @type {import("../src/types").Asked} */
  const other = { ...asked, trim: [0.05, 0.95] };
  const fitted = /** @type {any} */ (cohortOf(chart, () => true, texts, counts, other));
  assert.deepEqual(fitted.spec.datasets.own.map((/** @type {any} */ one) => one.k), [1.3, 1.3]);
  assert.equal(fitted.spec.datasets.published.length, 0, "they were fitted by another protocol");
  assert.deepEqual([fitted.text, fitted.notes], ["Medians of k", ["no entries"]]);
  assert.ok(Math.abs(fitted.spec.datasets.rule[0].at - 1.190923) < 1e-6);
});
