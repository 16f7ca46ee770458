"""Posteriors by NUTS, Gibbs sampling and SGHMC; modes and maximum likelihood by gradients."""

from mogp.inference._diagnostics import compare_models, convergence, leave_one_out
from mogp.inference._gm_model import gm_model
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Likelihood,
    Parameter,
    Poisson,
    StudentT,
)
from mogp.inference._posterior import Observed, Posterior, flattened, load_posterior
from mogp.inference._predictive import Predictive
from mogp.inference._scores import Scores, categorical, evaluate
from mogp.inference.chains import calibrate, gibbs, nuts, sampler_for
from mogp.inference.optimise import Fit, fit, per_parameter, wasserstein_flow
from mogp.inference.sghmc import sghmc

__all__ = [
    "Bernoulli",
    "Categorical",
    "Fit",
    "Gaussian",
    "Likelihood",
    "Observed",
    "Parameter",
    "Poisson",
    "Posterior",
    "Predictive",
    "Scores",
    "StudentT",
    "calibrate",
    "categorical",
    "compare_models",
    "convergence",
    "evaluate",
    "fit",
    "flattened",
    "gibbs",
    "gm_model",
    "leave_one_out",
    "load_posterior",
    "nuts",
    "per_parameter",
    "sample_parameters",
    "sampler_for",
    "sghmc",
    "wasserstein_flow",
]
