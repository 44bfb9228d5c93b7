/** Modules are numbered in their order: by default by their paths, which differ between checkouts. */
module.exports = { optimization: { moduleIds: "natural", chunkIds: "natural" } };
