"""Infinite width: random kernels, draws of functions, moments and laws of the outputs."""

from mogp.limit._dense import KernelDraws, sample_kernel, sample_prior
from mogp.limit._gaussian import gp_kernel, gp_variance
from mogp.limit._jumps import LayerJumps
from mogp.limit._laws import (
    Estimate,
    characteristic_function,
    log_marginal_density,
    tail_index,
)
from mogp.limit._moments import Moments, moments
from mogp.limit._path import Path, sample_path
from mogp.limit._regression import (
    DenseRegression,
    Features,
    LeaveOneOut,
    LowRankRegression,
    Prediction,
    Regression,
    condition,
)

__all__ = [
    "DenseRegression",
    "Estimate",
    "Features",
    "KernelDraws",
    "LayerJumps",
    "LeaveOneOut",
    "LowRankRegression",
    "Regression",
    "Moments",
    "Path",
    "Prediction",
    "characteristic_function",
    "condition",
    "gp_kernel",
    "gp_variance",
    "log_marginal_density",
    "moments",
    "sample_kernel",
    "sample_path",
    "sample_prior",
    "tail_index",
]
