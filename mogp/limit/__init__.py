"""Infinite width: random kernels, draws of functions, moments and laws of the outputs."""

from mogp.limit import layers
from mogp.limit._dense import KernelDraws, kernel_draws, sample_kernel, sample_prior
from mogp.limit._gaussian import gp_kernel, gp_variance
from mogp.limit._jumps import LayerJumps
from mogp.limit._kernel import kernel
from mogp.limit._laws import (
    Estimate,
    characteristic_function,
    log_marginal_density,
    tail_index,
)
from mogp.limit._low_rank import LowRankRegression
from mogp.limit._moments import Moments, moments
from mogp.limit._path import Path, sample_path
from mogp.limit._posterior import Features, LeaveOneOut, Prediction, Regression
from mogp.limit._regression import DenseRegression, condition

__all__ = [
    "DenseRegression",
    "Estimate",
    "Features",
    "KernelDraws",
    "LayerJumps",
    "LeaveOneOut",
    "LowRankRegression",
    "Moments",
    "Path",
    "Prediction",
    "Regression",
    "characteristic_function",
    "condition",
    "gp_kernel",
    "gp_variance",
    "kernel",
    "kernel_draws",
    "layers",
    "log_marginal_density",
    "moments",
    "sample_kernel",
    "sample_path",
    "sample_prior",
    "tail_index",
]
