"""Fitting: posterior modes and maximum likelihood by stochastic gradients."""

from mogp.inference._fit import Fit, fit
from mogp.inference._flow import wasserstein_flow
from mogp.inference._gm_model import gm_model
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
    "gm_model",
    "log_prior",
    "per_parameter",
    "sample_parameters",
    "wasserstein_flow",
]
