# Public names and where they live: read by type checkers, and by lazy_loader at run time.
from .causes import decomposition as decomposition
from .changes import change_map as change_map
from .classes import class_bands as class_bands
from .classes import cohort as cohort
from .data_table import table as table
from .densities import density as density
from .force_shares import force_shares as force_shares
from .inside import matrix as matrix
from .layers import depth_profile as depth_profile
from .layers import difference as difference
from .layers import layer_map as layer_map
from .sqnr import quantisation as quantisation
from .tails import body_tail_chart as body_tail_chart
from .tails import outlier_strip as outlier_strip
from .training import phase_portrait as phase_portrait
from .training import trajectories as trajectories
from .weibull_plots import weibull_plot as weibull_plot
