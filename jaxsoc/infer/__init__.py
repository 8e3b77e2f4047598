"""Constants from data: one problem of named free parameters for every method."""

from .fits import fits_table as fits_table
from .fits import quantity_of as quantity_of
from .least_squares import fit as fit
from .least_squares import fit_all as fit_all
from .pedotransfer import fit_bulk_density as fit_bulk_density
from .pedotransfer import pedotransfer_scores as pedotransfer_scores
from .problem import Normal as Normal
from .problem import OnLine as OnLine
from .problem import Problem as Problem
from .result import Fit as Fit
from .result import Outcome as Outcome
from .result import Starts as Starts
from .scores import log_predictive_density as log_predictive_density
