"""Fits -> charts: pure functions, one for each kind of chart.

Each returns an altair chart that needs no network; its attribute ``spec`` is the function that
returns the chart as Vega-Lite in dicts, without altair. `table` gives the numbers of any of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
