"""Posteriors by NUTS and SGHMC; posterior modes and maximum likelihood by stochastic gradients."""

from mogp.inference._calibration import calibrate
from mogp.inference._fit import Fit, fit
from mogp.inference._flow import wasserstein_flow
from mogp.inference._gm_model import gm_model
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Likelihood,
    Poisson,
    StudentT,
)
from mogp.inference._nuts import load_posterior, nuts
from mogp.inference._objective import Scores, categorical, evaluate, gaussian, log_prior
from mogp.inference._optimizers import per_parameter
from mogp.inference._posterior import Posterior, Predictive
from mogp.inference._sghmc import sghmc

__all__ = [
    "Bernoulli",
    "Categorical",
    "Fit",
    "Gaussian",
    "Likelihood",
    "Poisson",
    "Posterior",
    "Predictive",
    "Scores",
    "StudentT",
    "calibrate",
    "categorical",
    "evaluate",
    "fit",
    "gaussian",
    "gm_model",
    "load_posterior",
    "log_prior",
    "nuts",
    "per_parameter",
    "sample_parameters",
    "sghmc",
    "wasserstein_flow",
]
