"""Every word on the page: the script shows what stands here and has no words of its own."""

from __future__ import annotations

#: Filters that are always in view, in this order; further coordinates come under "More filters".
FACETS = {
    "model": "Models",
    "tower": "Towers",
    "weight_class": "Classes",
    "component": "Components",
    "status": "Status",
}
#: What has no name: the tower that needs no prefix, and whatever is empty in other filters.
MAIN_TOWER, EMPTY = "(main)", "(none)"
LAYERS, STEP = "Layers", "Step"
#: Columns of the table, in this order.
COLUMNS = {
    "model": "model",
    "component": "component",
    "layer": "layer",
    "step": "step",
    "k": "k",
    "k_se": "SE(k)",
    "lam": "λ (weights)",
    "lam_se": "SE(λ)",
    "r2": "r²",
    "ks": "KS",
    "n": "n",
    "status": "status",
}
#: Names of the traits that a panel offers.
OPTIONS = {
    "value": "colour",
    "band": "band",
    "track": "value",
    "step_scale": "axis",
    "first": "from",
    "second": "to",
    "arrangement": "several",
    "side_by_side": "both estimators",
    "causes": "why is k low",
    "inside": "colour",
    "expert": "expert",
    "window": "part",
}
#: Names of the values that a trait may have.
CHOICES = {
    "value": {
        "k": "shape k",
        "lam": "scale λ",
        "r2": "r² of the plot",
        "ks": "KS distance",
        "z": "distance from the anchor (SE)",
        "outlier": "largest weight",
    },
    "inside": {"rms": "RMS of the weights", "largest": "largest |w|"},
    "track": {"k": "shape k", "lam": "scale λ"},
    "step_scale": {"log": "log", "linear": "linear"},
    "arrangement": {
        "overlay": "in one plot",
        "multiples": "a plot each",
        "difference": "less the first",
    },
    "estimator": {
        "rank_regression": "rank regression",
        "maximum_likelihood": "maximum likelihood",
    },
}
#: Everything else; the script fills in what stands in braces.
TEXTS = {
    "explorer": "weibnb explorer",
    "panels": "panels",
    "filters": "Filters",
    "more_filters": "More filters",
    "all": "all",
    "none": "none",
    "all_of": "all: {title}",
    "none_of": "none: {title}",
    "find": "find …",
    "find_in": "find in {title}",
    "layers": LAYERS,
    "first_layer": "first layer",
    "last_layer": "last layer",
    "to": "to",
    "step": "step",
    "step_value": "step {step}",
    "checkpoint": "{model}, step {step}",
    "follow": "follow",
    "follow_source": "show what {source} gets as it comes",
    "scanning": "how far the scan is",
    "cancel": "cancel",
    "refitting": "refitting … {percent} %",
    "refitting_bar": "how far the refit is",
    "play": "play the steps",
    "all_steps": "This panel shows all steps.",
    "fit": "Fit",
    "trim": "trim",
    "lower": "lower end of the trim, %",
    "upper": "upper end of the trim, %",
    "by": "by",
    "click": "Click a matrix for its Weibull plot.",
    "estimator": "estimator",
    "table": "matrices",
    "row": "1 row",
    "window_ends": "first row|row after the last|first column|column after the last",
    "window_all": "all of it",
    "rows": "{total} rows",
    "rows_listed": "{shown} of {total} rows; the CSV holds all",
    "rows_kept": "{shown} of {total} rows pass the column filters",
    "rows_selected": "{number} selected",
    "most_selected": "{number} is the most that can be selected: copy all rows, or save the CSV",
    "filter_column": "filter {title}: part of a name, or < 1.2, >= 3, 1.1..1.2",
    "filter_hint": "filter",
    "clear_filters": "clear filters",
    "copy_selected": "copy selected",
    "copy_all": "copy all rows",
    "rows_copied": "{number} rows copied",
    "not_copied": "the browser does not let this page copy: save the CSV",
    "save": "save",
    "save_as": "save as {form}",
    "code": "Python",
    "copy": "copy",
    "copied": "copied",
    "copy_by_hand": "press Ctrl-C",
    "views": "Views",
    "view_name": "name of the view",
    "keep_view": "keep",
    "open_view": "open the view {name}",
    "forget_view": "forget the view {name}",
    "copy_view": "copy this view as Python",
    "findings": "what was found",
    "selected": "selected",
    "pin": "Pin {name}",
    "pin_why": "keep this matrix here while everything else changes; again lets it go",
    "fill": "fill the window",
    "leave": "back to the page (Escape)",
    "card_name": "{component} of layer {layer}",
    "card_rank": "number {rank} of {number} {component} by k, from the lowest",
    "card_layers": "k along the layers",
    "card_steps": "k along the steps",
    "pane_name": "{component} · layer {layer}",
    "pane_place": "{model} · step {step}",
    "page_count": "{number} of {total} matrices · {protocol}",
    "page_stale": "{number} without counts stay at {protocol}",
    "page_no_counts": "No counts of this step in this page, so k stays as it is.",
    "page_profile": "k of {component} along the layers",
    "page_profile_stays": (
        "k along the layers of another component needs Python here: the map has medians, or there "
        "are more than 6 models"
    ),
    "page_flag": "layer {layer}",
    "page_arrows": "arrows: {number} published entries below the axis",
    "page_below": "triangles at the bottom: {number} below, to {k}",
    "page_above": "triangles at the top: {number} above, to {k}",
    "page_compared": "{number} of {total} matrices compared · {protocol}",
    "page_nearest": "{model}: nearest {entry}, distance {distance}",
    "page_lonely": "{model}: no published entry has its components",
    "page_tied": "tied",
    "page_nothing_close": "nothing close",
    "page_untrained": "untrained is closer",
    "page_no_selection": "no shared selection component",
    "page_not_drawn": "not drawn: {number} without this number",
    "no_plot": "No counts of this matrix in this page: its Weibull plot is drawn by the explorer.",
    "excludes": "{title} excludes every matrix.",
    "none_pass": "No matrix passes the filters together.",
    "cross_at": "|w| {magnitude}",
    "cross": "{percent} % below · {beyond} of {n} beyond",
    "cross_below": "below the first point",
    "not_checked": "Not checked yet.",
    "lost": (
        "No answer from the kernel: this is the last view. Run the cell again for a live explorer."
    ),
}
#: Why a saved page has no filters.
NOT_ALL_DRAWN = (
    "Filters need Python here: the charts are medians over matrices that are not all in this page."
)
ONLY_SELECTED = "Filters need Python here: this page holds the selected matrices alone."
#: Why trim and estimator of a saved page cannot be changed.
STAYS_OF_WEIGHTS = (
    "Trim and estimator need Python here: these charts are drawn from the weights, which are not "
    "in this page."
)
STAYS_OF_EXPERTS = (
    "Trim and estimator need Python here: this page does not tell the counts of experts apart."
)
STAYS_OF_COUNTS = (
    "Trim and estimator need Python here: this page has room for {:g} MB of counts, and does not "
    "hold those of all that is drawn."
)
NO_REFIT = "No counts, so k stays as it is: scan the weights, weibnb.scan(path)."
NONE_FITTED = "None of these matrices could be fitted, so there is nothing to fit again."
#: In the place of a chart.
NOT_HELD = "{}: these fits do not hold what it is drawn from. Scan the weights: weibnb.scan(path)."
NO_WEIGHTS = "{}: drawn from the weights, which are not at hand. {}"
TOO_MANY = "{}: it has room for {}, and the filters leave {}. Choose fewer in them."
NO_VIEW = "Run this cell for the live explorer."
#: Below the list of findings: what is not in it.
LOOK_AT_WEIGHTS = "weibnb.check(path) looks at the weights as well."
LOOKING = "Looking at the weights as well …"
NOT_LOOKED = "The weights were not looked at: {}"
LAST_VIEW = "The last view, as pictures: run this cell for the live explorer."
