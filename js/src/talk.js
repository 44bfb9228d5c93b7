/** What goes to Python, one request at a time (meanwhile changes gather), and what comes back. */

const SLOW = 200; // ms after which the page says that it waits
const SILENCE = 15000; // ms after which the kernel is taken for gone

/**
 * @param {import("./types").Model} model
 * @param {(state: "busy" | "silent" | "done") => void} onWait
 */
export function talk(model, onWait) {
  /** @type {import("./types").Changes} */
  let pending = {};
  let waiting = false;
  /** @type {ReturnType<typeof setTimeout>[]} */
  let timers = [];
  const rest = () => {
    timers.forEach(clearTimeout);
    timers = [];
  };
  const flush = () => {
    if (waiting || !Object.keys(pending).length) return;
    for (const [name, value] of Object.entries(pending)) model.set(name, value);
    pending = {};
    waiting = true;
    model.set("_asked", model.get("_asked") + 1);
    model.save_changes();
    hearing();
  };
  /** Wait anew: Python was told of something, or told how far it is. */
  const hearing = () => {
    rest();
    if (!waiting) return;
    timers = [setTimeout(() => onWait("busy"), SLOW), setTimeout(() => onWait("silent"), SILENCE)];
  };
  const answered = () => {
    waiting = false;
    rest();
    onWait("done");
    flush();
  };
  /** The kernel ended or began anew: this widget has no other end any more. */
  const gone = () => {
    rest();
    onWait("silent");
  };
  const heard = /** @type {const} */ ([
    ["change:_answered", answered],
    ["change:_working", hearing],
    ["comm_live_update", gone],
  ]);
  for (const [event, act] of heard) model.on(event, act);
  return {
    /** @type {import("./types").Send} */
    send(changes) {
      Object.assign(pending, changes);
      flush();
    },
    busy: () => waiting,
    stop() {
      rest();
      for (const [event, act] of heard) model.off(event, act);
    },
  };
}

/**
 * @param {import("./types").Model} model
 * @param {HTMLElement} root
 * @returns {import("./types").Page & { stop(): void }}
 */
export function openPage(model, root) {
  const line = talk(model, (state) => {
    root.classList.toggle("wb-busy", state === "busy");
    root.classList.toggle("wb-silent", state === "silent");
  });
  const controls = JSON.parse(model.get("_controls"));
  return { model, controls, checkpoints: parsed(model, "_checkpoints"), ...line };
}

/**
 * What a trait holds as JSON, parsed once.
 * @param {import("./types").Model} model
 * @param {string} name
 */
function parsed(model, name) {
  let text = "";
  /** @type {any} */
  let value;
  return () => {
    if (model.get(name) !== text) {
      text = model.get(name);
      value = JSON.parse(text);
    }
    return value;
  };
}

/**
 * Act on events, but not on those that come with other controls: what shows these is to be built.
 * @param {import("./types").Model} model
 * @param {Record<string, (...given: any[]) => void>} acts by event
 * @returns {() => void} ends it
 */
export function listen(model, acts) {
  const controls = model.get("_controls");
  const own = Object.entries(acts).map(([name, act]) => {
    /** @param {...any} given */
    const actHere = (...given) => {
      if (model.get("_controls") === controls) act(...given);
    };
    return /** @type {const} */ ([name, actHere]);
  });
  for (const [name, act] of own) model.on(name, act);
  return () => {
    for (const [name, act] of own) model.off(name, act);
  };
}
