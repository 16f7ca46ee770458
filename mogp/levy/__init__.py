"""Lévy measures: what is left of a node-variance law at infinite width."""

from mogp.levy._families import (
    Beta,
    Gamma,
    GeneralizedGamma,
    InverseGaussian,
    NoJumps,
    RegularizedHorseshoe,
    Stable,
    StableBeta,
)
from mogp.levy._jumps import Jumps, num_jumps
from mogp.levy._measure import LevyMeasure
from mogp.levy._pareto import GBFRY, BetaPareto
from mogp.levy._tabulated import CompoundPoisson, FromDensity, Thinned

__all__ = [
    "GBFRY",
    "Beta",
    "BetaPareto",
    "CompoundPoisson",
    "Gamma",
    "GeneralizedGamma",
    "InverseGaussian",
    "FromDensity",
    "Jumps",
    "LevyMeasure",
    "NoJumps",
    "RegularizedHorseshoe",
    "Stable",
    "StableBeta",
    "Thinned",
    "num_jumps",
]
