"""Pictures: functions of arrays and datasets, no model objects."""

from .budget import figure_budget as figure_budget
from .closures import figure_closures as figure_closures
from .columns import figure_columns as figure_columns
from .figures import figure_fields as figure_fields
from .figures import figure_parameters as figure_parameters
from .figures import figure_pools as figure_pools
from .figures import figure_specific_respiration as figure_specific_respiration
from .figures import figure_split as figure_split
from .fits import figure_fits as figure_fits
from .places import figure_map as figure_map
from .places import figure_observed_modelled as figure_observed_modelled
from .places import figure_profiles as figure_profiles
from .places import figure_sites as figure_sites
from .posteriors import figure_convergence as figure_convergence
from .posteriors import figure_marginals as figure_marginals
from .posteriors import figure_pairs as figure_pairs
from .posteriors import figure_posterior_profiles as figure_posterior_profiles
from .runs import figure_runs as figure_runs
from .sensitivity import figure_effects as figure_effects
from .sensitivity import figure_sensitivity as figure_sensitivity
from .style import STYLE as STYLE
from .style import save_figure as save_figure
