"""What quantising costs: the signal-to-noise ratio of every matrix and format, from the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from weibnb.diagnostics.number_formats import NUMBER_FORMATS
from weibnb.diagnostics.quantised import Quantisation
from weibnb.diagnostics.rounding import (
    magnitudes,
    row_noise,
    row_scales,
    tensor_noise,
    within_rows,
)
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.rows import count_blocks
from weibnb.fits.schema import DIMS, prepare
from weibnb.fitting.status import LASTING
from weibnb.messages import check_choice
from weibnb.parallel import on_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.diagnostics.number_formats import NumberFormat
    from weibnb.diagnostics.verdicts import Column

    Array = NDArray[np.float64]

#: Weights that share a scale: all of a matrix, those of a row, or so many neighbours in a row.
Block: TypeAlias = int | Literal["row"] | None

# Noise over the signal that the arithmetic itself makes: 150 dB.
_ROUNDING = 1e-15
# Status of a cell without counts, of one that loses nothing, and of one that is not predicted.
_NO_COUNTS, _LOSSLESS, _FAR = "no counts", "lossless", "out of range"
# Largest weights between these have squares that float64 holds.
_LEAST, _MOST = 1e-140, 1e150


class _Matrix(NamedTuple):
    """What is known of one matrix."""

    counts: Counts
    cols: int
    dead: int  # zeros in rows of zeros alone
    h_row: float
    row_rms: Array | None


def quantisation(
    fits: xr.Dataset,
    *,
    formats: Iterable[str] = ("int8", "int4", "fp8_e4m3", "nf4", "mxfp4"),
    block: Block = None,
    workers: int | None = None,
) -> Quantisation:
    """Predict what quantising each matrix costs, without the weights.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts.
    formats : iterable of str
        Names of `NUMBER_FORMATS`:

        - ``"int8"``, ``"int4"``: two's complement, scaled by max|w| / 127.5 or 7.5, as torchao's
          ``MappingType.SYMMETRIC``;
        - ``"fp8_e4m3"``: scaled by max|w| / 448, as torchao's float8 weights;
        - ``"nf4"``: the 16 levels of bitsandbytes, scaled by max|w|;
        - ``"mxfp4"``: OCP MX, elements E2M1 and for each 32 weights of a row a power of two as
          their scale, whatever `block` says.
    block : None, "row" or int
        Weights that share a scale: all of a matrix (torchao: ``PerTensor``), those of an output
        feature (``PerRow``), or so many neighbours in a row (``PerGroup(32)``; bitsandbytes:
        ``blocksize=64``). The last block of a row may be shorter.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    Quantisation
        ``.table`` (worst matrices first), ``.recommend(bits=4.5)``, ``.predicted`` (a Dataset);
        `weibnb.charts.quantisation` draws it.

        What a number rests on is its ``basis``:

        - ``"exact"``: the counts tell it all; one scale, weights of 16 bits or fewer, and a format
          in which a weight and its negative have the same error (all but nf4);
        - ``"even signs"``: nf4, on the assumption that each magnitude is as often negative;
        - ``"bins"``: float32 weights, evenly spread in bins of relative width 1/256;
        - ``"row_rms"``, ``"h_row"``: rows or blocks, weights in a row independent, and rows of the
          scales that the scan found, or of a lognormal spread;
        - ``"equal rows"``: rows or blocks, and the scan knows of no unequal rows.

        ``status`` is ``"ok"``, ``"lossless"``, ``"nonfinite"`` (NaN or infinite weights are left
        out: with them no scale exists), ``"no counts"`` as of published tables, ``"out of
        range"`` (below 1e-140 or above 1e150, whose squares float64 does not hold), or the
        status of a cell that was not counted or holds nothing but zeros; sqnr is NaN in these.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a format does not exist, or the block is not valid.

    Notes
    -----
    SQNR = 10 log₁₀(Σw² / Σ(w - ŵ)²). For blocks, the largest |w| of B weights lies below x with
    probability F(x)^B, F being the distribution within a row, and the noise is the sum over all
    values of the largest. Scales are taken as unrounded, and cost 32 bits (mxfp4: 8): in bfloat16,
    as torchao may keep them, they cost half. Experts of one cell have their own scales; their
    signal and their noise add up. Cost for each matrix: 0.1 ms a format with one scale, 1 to 2 ms
    with blocks, and some 20 ms where unequal scales of rows are taken out. The documentation has
    how near the predictions come.

    References
    ----------
    torchao, quantization/quant_primitives.py. T. Dettmers et al., QLoRA, arXiv:2305.14314 (nf4).
    OCP Microscaling Formats (MX) Specification 1.0 (mxfp4); OCP 8-bit Floating Point
    Specification 1.0 (fp8_e4m3).

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float16)
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> found = quantisation(fits, formats=["int8", "nf4"], block=64)
    >>> found.table[["component", "int8", "nf4"]].round(1).values.tolist()
    [['up_proj', 44.3, 20.7]]
    """
    chosen = _formats(formats)
    _check_block(block)
    fits = prepare(fits, dims=DIMS, mixed_protocols=True)
    dims = fits["k"].dims
    found = _sums(fits, chosen, block, workers)
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = 10 * np.log10(found.signal[..., None] / found.noise)
    each, bits = (*dims, "format"), _bits(fits, chosen, block, found.weights)
    columns: dict[str, Column] = {
        "sqnr": ((each, sqnr), "Signal-to-quantisation-noise ratio", "dB"),
        "bits": ((each, bits), "Bits per weight, scales included", "1"),
        "basis": ((each, found.basis), "What the prediction rests on", ""),
        "status": ((each, _status(fits, found)), "ok, or what to know", ""),
        "weights": ((dims, found.weights), "Finite weights that were counted", "1"),
    }
    result = assemble(columns, {"scales": _scales_text(chosen, block)})
    kept: dict[str, Any] = {
        str(name): coord for name, coord in fits.coords.items() if set(coord.dims) <= set(dims)
    }
    return Quantisation(result.assign_coords(kept | {"format": [form.name for form in chosen]}))


def _formats(names: Iterable[str]) -> list[NumberFormat]:
    """Give the formats of some names, each once; ValueError for one that does not exist."""
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        check_choice("formats", name, NUMBER_FORMATS)
    if not listed:
        raise ValueError(f"`formats` must name at least one of {', '.join(NUMBER_FORMATS)}.")
    return [NUMBER_FORMATS[name] for name in dict.fromkeys(listed)]


def _check_block(block: object) -> None:
    """Raise unless a block is None, "row" or a number of weights."""
    if block is None or block == "row":
        return
    if isinstance(block, bool) or not isinstance(block, int | np.integer):
        raise TypeError(f"`block` must be None, 'row' or a number of weights, got {block!r}.")
    if block < 1:
        raise ValueError(f"`block` must be at least 1 weight, got {block}.")


def _scales_text(formats: Sequence[NumberFormat], block: Block) -> str:
    """Say which weights share a scale."""
    shared = "matrix" if block is None else "row" if block == "row" else f"{block} weights of a row"
    text = f"one scale per {shared}"
    own = [f"{form.name} per {form.block}" for form in formats if form.block not in (None, block)]
    return f"{text} ({', '.join(own)})" if own else text


class _Sums(NamedTuple):
    """Of every cell: Σw², Σ(w - ŵ)² in each format, the number of weights, and the basis."""

    signal: Array
    noise: Array
    weights: NDArray[np.int64]
    basis: NDArray[np.object_]


def _sums(
    fits: xr.Dataset, formats: Sequence[NumberFormat], block: Block, workers: int | None
) -> _Sums:
    """Predict every cell; the signal and the noise of its experts add up."""
    shape, number = fits["k"].shape, len(formats)
    cells = fits["k"].size
    size = fits["counts"].size if "counts" in fits else cells
    signal, noise = np.zeros(size), np.zeros((size, number))
    weights, basis = np.zeros(size, np.int64), np.full((size, number), "", object)
    for numbers, matrices in _matrices(fits) if "counts" in fits else ():

        def job(matrix: _Matrix) -> list[tuple[float, str]]:
            return _predict(matrix, formats, block)

        found = on_threads(job, matrices, workers)
        for at, matrix, predicted in zip(numbers, matrices, found, strict=True):
            weights[at] = matrix.counts.n + matrix.counts.zeros
            signal[at] = magnitudes(matrix.counts).mean_square * weights[at]
            noise[at] = [signal[at] * ratio for ratio, _ in predicted]
            basis[at] = [word for _, word in predicted]
    experts = size // max(cells, 1)
    return _Sums(
        signal.reshape(*shape, experts).sum(-1),
        noise.reshape(*shape, experts, number).sum(-2),
        weights.reshape(*shape, experts).sum(-1),
        basis.reshape(*shape, experts, number).max(-2),
    )


def _matrices(fits: xr.Dataset) -> Iterator[tuple[list[int], list[_Matrix]]]:
    """Yield the matrices with weights, and their numbers among the counts, block by block."""
    shape, cells = fits["counts"].shape, max(fits["k"].size, 1)
    numbers = np.arange(fits["counts"].size).reshape(shape)
    several = fits["counts"].size // cells  # experts of a cell, of which no row is known

    def known(name: str, otherwise: float) -> NDArray[Any]:
        return fits[name].values.ravel() if name in fits else np.full(cells, otherwise)

    cols, h_row, dead = known("cols", 0), known("h_row", np.nan), known("dead_rows", -1)
    scales = fits["row_rms"].values.reshape(cells, -1) if "row_rms" in fits else None
    for block in count_blocks(fits):
        places, matrices = [], []
        for at, counts in zip(numbers[block.place].ravel().tolist(), block.counts, strict=True):
            if counts.n + counts.zeros == 0:
                continue
            if counts.n and not _LEAST < counts.largest < _MOST:
                continue
            cell = at // several
            rms = None if scales is None else scales[cell][scales[cell] > 0]
            zeros = int(max(dead[cell], 0) * cols[cell]) if several == 1 else 0
            rms = None if rms is None or rms.size == 0 else rms
            places.append(at)
            matrices.append(_Matrix(counts, int(cols[cell]), zeros, float(h_row[cell]), rms))
        yield places, matrices


def _predict(
    matrix: _Matrix, formats: Sequence[NumberFormat], block: Block
) -> list[tuple[float, str]]:
    """Give the noise over the signal in each format, and what it rests on."""
    counts = matrix.counts
    if counts.n == 0:
        return [(0.0, "exact")] * len(formats)
    whole, shared = magnitudes(counts), any(form.block or block for form in formats)
    rows = row_scales(matrix.h_row, matrix.row_rms) if shared else None
    inner = magnitudes(counts, matrix.dead)
    if rows is not None:
        inner = within_rows(inner, rows)
    cols = matrix.cols or counts.n + counts.zeros
    found = []
    for form in formats:
        size = form.block or block
        if size is None:
            basis = "even signs" if not form.symmetric else "exact" if counts.exact else "bins"
            noise = tensor_noise(whole, counts.largest, form) / whole.mean_square
        else:
            basis = "equal rows" if rows is None else rows.basis
            size = cols if size == "row" else min(size, cols)
            noise = row_noise(inner, cols, size, form, rows) / inner.mean_square
        found.append((noise if noise > _ROUNDING else 0.0, basis))
    return found


def _bits(
    fits: xr.Dataset, formats: Sequence[NumberFormat], block: Block, weights: NDArray[np.int64]
) -> Array:
    """Give the bits per weight of every cell and format, scales included; NaN without weights."""
    matrices = fits["n_matrices"].values if "n_matrices" in fits else np.ones(weights.shape)
    rows = fits["rows"].values if "rows" in fits else np.zeros(weights.shape)
    cols = fits["cols"].values if "cols" in fits else np.zeros(weights.shape)
    known = np.where(weights > 0, weights, np.nan)
    bits = []
    for form in formats:
        size = form.block or block
        scales = np.ones(weights.shape)
        if size == "row":
            scales = np.maximum(rows, 1)
        elif size is not None:
            scales = np.maximum(rows * np.ceil(cols / size), 1)
        bits.append(form.bits + form.scale_bits * scales * matrices / known)
    return np.stack(bits, -1)


def _status(fits: xr.Dataset, found: _Sums) -> NDArray[np.object_]:
    """Say of every cell and format whether there is a prediction, and what to know of it."""
    before = fits["status"].values.astype(str)
    known = found.signal > 0
    lasting = np.isin(before, [*LASTING, "absent"])
    words = np.where(lasting, before, _NO_COUNTS)
    if "max_abs" in fits:
        largest = fits["max_abs"].values
        words = np.where((largest > 0) & ((largest <= _LEAST) | (largest >= _MOST)), _FAR, words)
    nonfinite = fits["nonfinite"].values > 0 if "nonfinite" in fits else np.zeros_like(known)
    words = np.where(known, np.where(before == "scaled", "scaled", "ok"), words)
    words = np.where(known & nonfinite, "nonfinite", words)
    lost = np.where((found.noise == 0) & (words == "ok")[..., None], _LOSSLESS, words[..., None])
    return np.asarray(lost, object)
