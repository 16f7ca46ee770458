"""Bayesian mixtures of Gaussian processes.

Wide neural networks whose nodes carry random variances, their infinite-width limits, and the
Gaussian-mixture layers that replace a layer of neurons by a trained distribution over neurons.

The rooms are loaded when they are first used, so that `import mogp` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mogp._version import __version__

if TYPE_CHECKING:
    from mogp import (
        activations,
        datasets,
        estimators,
        inference,
        levy,
        limit,
        nn,
        plots,
        priors,
        pruning,
    )
    from mogp.model import MoGP

__all__ = [
    "MoGP",
    "__version__",
    "activations",
    "datasets",
    "estimators",
    "inference",
    "levy",
    "limit",
    "nn",
    "plots",
    "priors",
    "pruning",
]


def __getattr__(name: str) -> Any:
    if name == "MoGP":
        return importlib.import_module("mogp.model").MoGP
    if name in __all__:
        return importlib.import_module(f"mogp.{name}")
    raise AttributeError(f"module 'mogp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
