// Makes charts of a saved page again: JSON of one file to that of another.
import { readFileSync, writeFileSync } from "node:fs";
import { inflateSync } from "node:zlib";

import { part } from "../../js/src/alive.js";
import { madeAgain } from "../../js/src/again.js";
import { countsOf } from "../../js/src/fitting/counts.js";
import { redrawn } from "../../js/src/redrawn.js";
import { buildSieve } from "../../js/src/sieve.js";
import { untitled } from "../../js/src/sizes.js";

const [given, answers] = process.argv.slice(2);
const { contents, held, cases } = JSON.parse(readFileSync(given, "utf8"));
const { controls, cells, drawn, live, compared } = held;
const counts = live && countsOf(live.header, inflateSync(Buffer.from(live.data, "base64")));
const sieve = buildSieve(cells, controls.facets);
const found = cases.map(({ filters, layers, step, protocol }) => {
  const sift = sieve.sift({ filters, layers, step });
  const seen = { sift, varies: Boolean(protocol), asked: { ...drawn, ...protocol }, fitting: counts };
  return contents.map((content) => {
    if (content.again) return madeAgain(content, seen, drawn, controls.texts);
    const { spec, notes } = untitled(content.spec);
    return redrawn(part({ ...spec, notes }), seen.asked, drawn, counts, compared);
  });
});
writeFileSync(answers, JSON.stringify(found));
