"""Bayesian mixtures of Gaussian processes.

Wide neural networks whose nodes carry random variances, their infinite-width limits, and the
Gaussian-mixture layers that replace a layer of neurons by a trained distribution over neurons.
"""

from mogp import activations, datasets, inference, levy, limit, nn, priors, pruning
from mogp._version import __version__
from mogp.architecture import MoGP

__all__ = [
    "MoGP",
    "__version__",
    "activations",
    "datasets",
    "inference",
    "levy",
    "limit",
    "nn",
    "priors",
    "pruning",
]
