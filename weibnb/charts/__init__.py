"""Fits -> charts: pure functions, one for each kind of chart.

Each returns an altair chart that needs no network; a module beside this one says what each chart
is, as Vega-Lite in dicts (`vega`), without altair.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "altair",
        "curves",
        "densities",
        "doors",
        "lines",
        "maps",
        "marks",
        "paper",
        "strips",
        "tables",
        "vega",
    ],
    submod_attrs={
        "doors": [
            "body_tail_chart",
            "class_bands",
            "cohort",
            "density",
            "depth_profile",
            "difference",
            "layer_map",
            "outlier_strip",
            "phase_portrait",
            "trajectories",
            "weibull_plot",
        ]
    },
)
