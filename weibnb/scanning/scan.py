"""Checkpoints -> a Dataset of fits: `scan`."""

from __future__ import annotations

import warnings
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from weibnb.counting.dispatch import Counting, resolve_devices
from weibnb.fits.schema import escape
from weibnb.fitting.backends import fitting_device
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.interrupts import held
from weibnb.io.files import UnreadableWarning
from weibnb.io.guard import guarded
from weibnb.io.hub_revisions import with_revisions
from weibnb.io.limits import MAX_HEADER, MAX_TENSORS, Limits
from weibnb.io.names import names_from
from weibnb.io.sources import resolve_sources
from weibnb.messages import check_choice, printable
from weibnb.scanning.cluster import Opened, check_client
from weibnb.scanning.listing import check_names_used, list_checkpoints, nothing_found, warn_unmerged
from weibnb.scanning.progress import Reporter, progress_bar
from weibnb.scanning.results import Results
from weibnb.scanning.sampling import check_sampling, with_precision_reached
from weibnb.scanning.shared_files import share
from weibnb.scanning.structure import check_structure
from weibnb.scanning.under_way import ScanUnderWay, bytes_to_count
from weibnb.scanning.weight_tensors import FUSED, Fused

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from distributed import Client

    from weibnb.fitting.backends import Backend
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.progress import Progress


class ScanInterrupted(KeyboardInterrupt):
    """A scan was stopped by Ctrl-C; `fits` holds what was done until then.

    Attributes
    ----------
    matrices : int
        How many matrices are fitted.
    fits : xarray.Dataset or None
        Fits of the matrices that were counted, the others with status ``"pending"``; None if
        nothing was counted. They are laid out, or read from the store, when they are asked for.
    """

    def __init__(self, matrices: int, fits: Callable[[], xr.Dataset | None]) -> None:
        super().__init__(f"interrupted; {matrices} matrices were fitted and are in `.fits`")
        self.matrices = matrices
        self._fits = fits

    @cached_property
    def fits(self) -> xr.Dataset | None:
        """Lay out what was done."""
        return self._fits()


def scan(
    source: Any,
    *,
    revision: str | Sequence[str] | None = None,
    base: Any = None,
    names: Mapping[str, str] | None = None,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    device: str | Sequence[str] = "auto",
    backend: Backend = "auto",
    experts: Literal["median", "each"] = "median",
    fused: Fused = "keep",
    dequantise: bool = False,
    sample: float | None = None,
    precision: float | None = None,
    keep_counts: bool = True,
    store: str | os.PathLike[str] | None = None,
    rescan: bool = False,
    max_tensors: int = MAX_TENSORS,
    max_header: int = MAX_HEADER,
    structure: bool = True,
    fields: bool = False,
    workers: int | None = None,
    client: Client | None = None,
    progress: bool | Callable[[Progress], object] | None = None,
) -> xr.Dataset:
    """Fit a Weibull to |w| of every weight matrix of one checkpoint, of several, or of a run.

    Parameters
    ----------
    source : path, torch.nn.Module, Adapter, list or Mapping
        A safetensors file; a directory of them; a directory with step directories inside
        (``step0``, ``checkpoint-1000``, ...), or with models; a pattern (``"runs/*"``); a model
        id of the Hugging Face Hub (``"org/name"``, unless a folder here has that name) or a URL
        (``hf://org/name@revision``, ``https://``, ``s3://``, ``gs://``, ``az://``), which is read
        without a download; a live module or its state dict; a list of any of these; or a mapping
        of model name to one of these or to ``{step: one of these}``. Of lists, patterns and
        directories the name of a model is the last word of its path, or the one before where that
        is ``model`` or ``checkpoint-1000``; with more words where two would have the same.
    revision : str or sequence of str, optional
        Branches, tags or commits of repositories on the Hub; ``step*`` are all that fit. Those
        that are called ``step1000`` are steps of one model.
    base : path, torch.nn.Module or Mapping, optional
        The model that adapters in `source` were trained on: base and adapter are merged as they
        are read, as `weibnb.Adapter` says.
    names : Mapping of str to str, optional
        Components of matrices that no family of models names, by patterns of whole tensor names:
        ``{"net.*.weight": "linear"}``, or a regular expression ``"re:..."``. The layer is the
        number in the name, as in models that are known, or the group ``(?P<layer>...)``; 0
        without any. What a pattern fits is what the pattern says.
    trim : tuple of float, optional
        Probability interval of the Weibull plot that is fitted. By default (0.1, 0.9) for rank
        regression, (0, 1) for maximum likelihood.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    device : str or sequence of str
        Where to count: ``"auto"`` (CUDA where torch is already imported and finds it, else the
        CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices, which
        share the work. Tensors on a device of this kind are counted where they are; of DTensors
        each process counts its shard, and all of them must call.
    backend : {"auto", "numba", "torch"}
        What fits: compiled code on the CPU, or torch on the device that counts (on the CPU where
        none does). ``"auto"``: torch on CUDA, else compiled code. Both give k and λ to 1e-10.
    experts : {"median", "each"}
        A cell of a mixture-of-experts layer holds the median over its experts, or there is a
        dim ``expert`` (-1 for matrices that are not experts).
    fused : {"keep", "split", "both"}
        A matrix that holds several (``qkv_proj``, ``gate_up_proj``) is fitted as it is stored, or
        its parts are (``q_proj``, ``k_proj``, ``v_proj``), or both. What cannot be split is kept,
        and `weibnb.not_fitted` says why.
    dequantise : bool
        Fit quantised weights as the numbers that they stand for: FP8, MXFP4, MXFP8 and NVFP4 with
        their scales. They are restored as they are read, some rows at a time. Without it FP8 is
        fitted as stored (status ``"scaled"``), and the others are listed as ``"quantized"``.
    sample : float, optional
        Read only this share of the rows of each matrix, in blocks at random places that depend on
        its name alone; at least 16 blocks. With `precision`, the most that is read.
    precision : float, optional
        Read only so many blocks of rows of each matrix that `k_sampling_se`, the standard error
        of k against the fit to the whole matrix, is at most this.
    keep_counts : bool
        Keep the magnitude counts, some 3-10 kB a matrix: they allow `refit` and every plot.
    store : path, optional
        An SQLite file, ending in ``.db``, that keeps the fits while they are made, at least twice
        a second. A scan that stopped, for whatever reason, goes on from there when it is called
        again; checkpoints whose files have not changed (sizes, times, fingerprint) are not
        read again. A larger `sample` or a smaller `precision` than it was made with reads the
        blocks that are missing. Open it with `weibnb.open_fits`, at any time.
    rescan : bool
        Scan what is in the store anew.
    max_tensors : int
        Most tensors that the files of a checkpoint may list, each matrix of a stack counted.
    max_header : int
        Most bytes of a file's header, and a quarter of those of an index: some 110 a tensor.
    structure : bool
        Look at some rows and columns of each matrix: for standard errors that hold where weights
        depend on each other within them, for how unequal they are (``h_row``, ``h_col``), and for
        those of nothing but zeros (``dead_rows``, ``dead_cols``). Without it, and for shards of
        DTensors, errors are those of independent weights.
    fields : bool
        Look at every row and column, and keep the RMS of each, ``row_rms`` and ``col_rms`` on the
        dims ``row`` (output features) and ``col`` (input features). Each matrix is read twice.
    workers : int, optional
        Threads; by default the cores that this process may use.
    client : distributed.Client, optional
        Count and fit on the workers of a Dask cluster, each thread of them one task of about 1 GB
        at a time. Workers read files themselves, under the same paths or URLs, with credentials of
        their own; live models are counted here.
    progress : bool or callable, optional
        Show a progress bar; by default on a terminal and in a notebook, after half a second. A
        callable is called instead after every matrix, with a `weibnb.scanning.progress.Progress`:
        how far the scan is, and its fits so far. What it raises ends the scan, a KeyboardInterrupt
        as Ctrl-C does.

    Returns
    -------
    xarray.Dataset
        Dims (model, layer, component, step); k, lam, r2, ks, standard errors, plain statistics
        and status of each cell. Of samples also `k_sampling_se`, `lam_sampling_se` and
        `sampled_fraction`, and `k_se` holds both errors. ``step`` is 0 where the source does not
        name one. What is in no cell is listed by `weibnb.not_fitted`.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read; of several, if none can (else the others are returned,
        the cause stands in ``fits.problem``, and a warning tells).
    TypeError, ValueError
        If an argument is not valid, a matrix cannot be placed, or the store was made by another
        protocol or holds another checkpoint of this name.
    FitsError, OSError
        If the store is none, or cannot be written; what it holds is kept.
    RuntimeError
        If the device is not there.
    ImportError
        If torch is needed and not installed.
    ScanInterrupted
        On Ctrl-C, with the fits so far.

    Notes
    -----
    One pass at the speed of reading: nothing is copied or converted. Memory does not depend on
    the size of the files. Of checkpoints on other machines only the bytes of weight matrices are
    fetched, each once; files that the Hub knows by the same hash are read once for all of them.

    References
    ----------
    T. Ding, "A Two-Parameter Weibull Framework for Diagnosing Transformer Weight Distributions",
    arXiv:2605.18898.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.self_attn.q_proj.weight": rng.normal(0, 0.02, (256, 256))
    ...            for i in range(2)}
    >>> fits = scan({"tiny": weights})
    >>> dict(fits.k.sizes)
    {'model': 1, 'layer': 2, 'component': 1, 'step': 1}
    >>> bool(abs(fits.k.sel(layer=1).item() - 1.2054) < 4 * fits.k_se.sel(layer=1).item())
    True
    """
    trim, estimator = check_protocol(trim, estimator)
    check_choice("experts", experts, ("median", "each"))
    check_choice("fused", fused, FUSED)
    check_structure(structure=structure, fields=fields)
    device = check_client(client, device)
    if rescan and store is None:
        raise ValueError("`rescan` must come with a store, got store=None.")
    limits = Limits(max_tensors=max_tensors, max_header=max_header)
    sampling = check_sampling(sample, precision, trim, estimator, fields=fields, device=device)
    given = names_from(names)
    source = with_revisions(source, revision)
    plan = list(resolve_sources(source, base=base, names=given, dequantise=dequantise))
    made = Results(
        trim=trim,
        estimator=estimator,
        experts=experts,
        keep_counts=keep_counts,
        workers=workers,
        fitted_on=fitting_device(backend, resolve_devices(device)),
        store=store,
        structure=structure,
        fields=fields,
        names=names,
        sampling=sampling,
    )
    listings: list[Listing] = []
    problems: list[str] = []
    stop: KeyboardInterrupt | None = None
    fits: xr.Dataset | None = None
    try:
        with (
            made as results,
            guarded(),
            Counting(device, workers=workers) as counting,
            progress_bar(progress=False if callable(progress) else progress) as bar,
        ):
            listings.extend(list_checkpoints(plan, limits, fused=fused))
            check_names_used(given, listings)
            problems.extend(_left_out(listings))
            with results.alone():
                still_open = [results.begin(listing, rescan=rescan) for listing in listings]
                shared = share(listings, still_open)
                bar.total = sum(map(partial(bytes_to_count, sampling), listings, still_open))
                alone = len(listings) == 1
                reporter = Reporter(bar, results, problems, listings, progress=progress)
                scanning = ScanUnderWay(counting, reporter, results, problems, shared, alone=alone)
                opened = list(map(Opened, plan, listings, still_open))
                scanning.count_all(opened, client, limits)
    except KeyboardInterrupt as err:
        stop = err
    found = any(listing.tensors for listing in listings)
    planned = {(escape(one.model), one.step) for one in plan}

    def lay_out() -> xr.Dataset | None:
        return made.fits(planned.__contains__) if found and not made.empty else None

    try:
        with held():
            if found or len(plan) > 1:
                _warn([*_left_out(listings), *problems])
                warn_unmerged(listings, stacklevel=3)
            if stop is None:
                fits = lay_out()
    except KeyboardInterrupt as err:
        stop = err
    if stop is not None:
        raise ScanInterrupted(made.done, lay_out) from stop
    if fits is None:
        raise nothing_found(listings)
    return fits if sampling is None else with_precision_reached(fits, sampling)


def _warn(problems: list[str]) -> None:
    """Tell what could not be read, each problem once."""
    for text in dict.fromkeys(problems):
        warnings.warn(printable(text), UnreadableWarning, stacklevel=3)


def _left_out(listings: Sequence[Listing]) -> list[str]:
    """Say which checkpoints could not be read."""
    return [
        f"{listing.source.model}, step {listing.source.step} is left out: {listing.error}"
        for listing in listings
        if listing.error is not None
    ]
