import assert from "node:assert/strict";
import { test } from "node:test";
import { besideMap } from "../src/profile.js";

const texts = { page_profile: "k of {component}", page_profile_stays: "it stays" };
/** @type {(component: string, layer: number) => any} */
const row = (component, layer) => ({ model: "m", layer, component, step: 0, k: 1 + layer, k_se: 0.25, lam: 2 });
const map = { label: "map", spec: { datasets: { rows0: [row("q", 0), row("k", 0), row("q", 1), row("k", 1)] } } };
const side = { label: "k of q", spec: { title: { text: "a", subtitle: ["b"] }, datasets: { rows0: [row("q", 0)] } } };
const profile = { label: "", plain: "k", spec: { data: { name: "rows1" }, datasets: { rows0: [{ at: 1.2 }], rows1: [] } } };
const frame = /** @type {any} */ ({ charts: { main: map, side }, profile });
/** @type {(component: string, own: boolean) => import("../src/saved.js").Looked} */
const at = (component, own) => ({ cells: [["m", 0, component, 0]], own });

test("k along the layers is of the component that is looked at, from the rows of the map", () => {
  assert.equal(besideMap(frame, at("q", true), texts), side);
  assert.equal(besideMap(frame, { cells: [], own: false }, texts), side);
  const next = /** @type {any} */ (besideMap(frame, at("k", false), texts));
  assert.deepEqual([next.label, next.plain], ["k of k", "k"]);
  assert.deepEqual(next.spec.datasets.rows0, [{ at: 1.2 }]);
  const expected = [{ ...row("k", 0), low: 0.75, high: 1.25 }, { ...row("k", 1), low: 1.75, high: 2.25 }];
  assert.deepEqual(next.spec.datasets.rows1, expected);
});

test("a matrix without k has no ends, and one without an error none that is made up", () => {
  const rows = [{ ...row("k", 0), k: null }, { ...row("k", 1), k_se: null }];
  const gaps = { ...frame, charts: { main: { ...map, spec: { datasets: { rows } } }, side } };
  const next = /** @type {any} */ (besideMap(gaps, at("k", false), texts));
  const ends = next.spec.datasets.rows1.map((/** @type {any} */ one) => [one.low, one.high]);
  assert.deepEqual(ends, [[null, null], [null, null]]);
});

test("where the map has medians the chart stays, and says so of another component", () => {
  const banded = { ...frame, profile: null };
  const next = /** @type {any} */ (besideMap(banded, at("k", false), texts));
  assert.deepEqual(next.spec.title.subtitle, ["b", "it stays"]);
  assert.equal(besideMap(banded, at("q", false), texts), side);
  const { profile: _none, ...classes } = frame;
  assert.equal(besideMap(classes, at("k", false), texts), side, "another chart beside the map");
});
