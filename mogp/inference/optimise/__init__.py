"""Posterior modes and maximum likelihood by stochastic gradients."""

from mogp.inference.optimise._fit import Fit, fit
from mogp.inference.optimise._per_parameter import per_parameter
from mogp.inference.optimise._wasserstein_flow import wasserstein_flow

__all__ = ["Fit", "fit", "per_parameter", "wasserstein_flow"]
