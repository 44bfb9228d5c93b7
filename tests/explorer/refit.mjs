// Fits what page_counts packed: the header and the bytes of two files, and JSON of the fits.
import { readFileSync, writeFileSync } from "node:fs";
import { inflateSync } from "node:zlib";

import { countsOf } from "../../js/src/fitting/counts.js";

const [header, packed, asked, answers] = process.argv.slice(2);
const counts = countsOf(JSON.parse(readFileSync(header, "utf8")), inflateSync(readFileSync(packed)));
const { cells, protocols } = JSON.parse(readFileSync(asked, "utf8"));
const found = protocols.map(([trim, estimator]) =>
  cells.map((cell) => {
    const fit = counts.fit(cell, trim, estimator);
    return fit && [fit.k, fit.lam, fit.r2];
  }),
);
writeFileSync(answers, JSON.stringify(found));
