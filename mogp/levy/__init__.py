"""Lévy measures: what is left of the law of a node variance at infinite width."""

from mogp.levy._beta import Beta, RegularizedHorseshoe, StableBeta
from mogp.levy._jumps import Jumps, num_jumps
from mogp.levy._measure import LevyMeasure, Rescaled, Sum
from mogp.levy._pareto import GBFRY, BetaPareto
from mogp.levy._stable import Gamma, GeneralizedGamma, InverseGaussian, NoJumps, Stable
from mogp.levy._tabulated import CompoundPoisson, FromDensity, Thinned

__all__ = [
    "Beta",
    "BetaPareto",
    "CompoundPoisson",
    "FromDensity",
    "GBFRY",
    "Gamma",
    "GeneralizedGamma",
    "InverseGaussian",
    "Jumps",
    "LevyMeasure",
    "NoJumps",
    "RegularizedHorseshoe",
    "Rescaled",
    "Stable",
    "StableBeta",
    "Sum",
    "Thinned",
    "num_jumps",
]
