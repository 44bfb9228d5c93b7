"""A Jupyter-native microscope for trained weights.

``weibnb.scan(path)`` fits a two-parameter Weibull to the magnitudes of every weight matrix of a
checkpoint and returns the fits as an xarray Dataset with dims (model, layer, component, step).
The everyday functions are also ``fits.weibull.<verb>``.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

from weibnb import accessor as accessor

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("weibnb")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "unknown"
