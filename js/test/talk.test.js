import assert from "node:assert/strict";
import { test } from "node:test";

import { talk } from "../src/talk.js";

/** A model that keeps traits, and can be told of events. */
function fakeModel() {
  /** @type {Record<string, any>} */
  const traits = { _asked: 0 };
  /** @type {Map<string, Set<() => void>>} */
  const acts = new Map();
  const of = (/** @type {string} */ event) => acts.get(event) ?? acts.set(event, new Set()).get(event);
  const model = {
    get: (/** @type {string} */ name) => traits[name],
    set: (/** @type {string} */ name, /** @type {any} */ value) => {
      traits[name] = value;
    },
    save_changes: () => {},
    on: (/** @type {string} */ event, /** @type {() => void} */ act) => of(event)?.add(act),
    off: (/** @type {string} */ event, /** @type {() => void} */ act) => of(event)?.delete(act),
  };
  const tell = (/** @type {string} */ event) => of(event)?.forEach((act) => act());
  return { model: /** @type {import("../src/types").Model} */ (/** @type {unknown} */ (model)), traits, tell };
}

test("one request is on its way at a time, and what comes meanwhile goes together", () => {
  const { model, traits, tell } = fakeModel();
  /** @type {string[]} */
  const states = [];
  const line = talk(model, (state) => states.push(state));
  line.send({ panel: "table" });
  line.send({ step: 1 });
  line.send({ step: 2 });
  assert.deepEqual([traits.panel, traits.step, traits._asked], ["table", undefined, 1]);
  tell("change:_answered");
  assert.deepEqual([traits.step, traits._asked, states], [2, 2, ["done"]]);
  line.stop();
});

test("a kernel that ends is told at once, one that answers after all is heard", () => {
  const { model, tell } = fakeModel();
  /** @type {string[]} */
  const states = [];
  const line = talk(model, (state) => states.push(state));
  tell("comm_live_update");
  assert.deepEqual(states, ["silent"]);
  tell("change:_answered");
  assert.deepEqual(states, ["silent", "done"]);
  line.stop();
  tell("comm_live_update");
  assert.equal(states.length, 2);
});
