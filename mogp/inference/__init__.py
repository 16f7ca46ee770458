"""Fitting: posterior modes and maximum likelihood by stochastic gradients."""

from mogp.inference._fit import Fit, fit
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._objective import Scores, categorical, evaluate, gaussian, log_prior
from mogp.inference._optimizers import per_parameter

__all__ = [
    "Fit",
    "Scores",
    "categorical",
    "evaluate",
    "fit",
    "gaussian",
    "log_prior",
    "per_parameter",
    "sample_parameters",
]
