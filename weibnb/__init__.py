"""A Jupyter-native microscope for trained weights.

    import weibnb as wb

    fits = wb.scan("path/to/checkpoint")   # an xarray Dataset: (model, layer, component, step)
    wb.explore(fits)                       # one linked widget: filter, click a matrix, refit
    fits.weibull.summary()                 # what stands out, and why

Fit
    scan                  a checkpoint, a training run or a live model -> fits
    refit                 fits -> fits at another trim or by another estimator, without the weights
    fit_weibull           one array or tensor -> k, lam, standard errors, goodness of fit
    count_magnitudes      one array or tensor -> how often each magnitude occurs
    anchor                what an ideal matrix gives: Gaussian, uniform, Laplace, Student t
    Recorder              count and fit a model while it trains
    demo_checkpoints      a small training run to try things on
    open_checkpoint       list and read the tensors of a checkpoint
    Adapter               a PEFT adapter and its base, a source like any checkpoint

Keep
    save_fits, open_fits  fits in a netCDF file
    read_table            a CSV of k and λ from elsewhere -> fits without counts
    not_fitted            every tensor left out, and why
    tidy                  a DataFrame with one row per matrix

Look
    explore               the explorer, a Jupyter widget
    widgets               the parts of the explorer, to lay out and to link
    charts                thirteen kinds of charts, as functions of fits
    summary, write_report what stands out, as text or as a page; the table as CSV or Parquet

Judge (also as methods of the Dataset: ``fits.weibull.drift()``)
    check                 is a checkpoint healthy: errors, warnings and notes
    diff                  what changed between two checkpoints, matrix by matrix
    drift                 how far k has moved from its anchor
    judge, selection      does k lie in a published band; how far queries and keys have moved
    quantisation          what int8, int4, fp8, nf4 and mxfp4 would cost, and which where
    rank_families         is a Weibull the right family
    find_populations      one population of weights or two
    find_outliers         single large weights, with row and column
    decompose             why k is low: rows, columns and what is left
    look_inside           where in a matrix its weights are large
    shared_units          scales that neighbouring matrices have in common
    forces                what makes weights grow: alignment, injection, decay of AdamW
    training_budget       how long the training was, in timescales of AdamW
    nearest_published     which published model is nearest (compare: its former name)

Published models
    reference_cohort, qwen_cohort, load_cohort

Rooms: io, counting, fitting, fits, diagnostics, families, scanning, charts, explorer.
"""

from __future__ import annotations

from weibnb.interrupts import end_at_once_if_command

end_at_once_if_command()

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

from weibnb import accessor as accessor

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("weibnb")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "unknown"
