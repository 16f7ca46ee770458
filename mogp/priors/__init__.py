"""Laws of node variances, at any width and at infinite width."""

from mogp.priors._families import (
    BetaLaw,
    BetaParetoLaw,
    GammaLaw,
    InverseGammaLaw,
    ParetoLaw,
    SquaredHalfCauchy,
)
from mogp.priors._finite import FiniteGBFRY, FiniteGeneralizedGamma
from mogp.priors._from_levy import InfinitelyDivisibleLaw, MeasureLaw
from mogp.priors._law import NodeVarianceLaw, ScaledLaw
from mogp.priors._parse import parse, split_names
from mogp.priors._point import SpikeAndSlabLaw
from mogp.priors._prior import (
    GBFRY,
    Bernoulli,
    Beta,
    BetaPareto,
    Deterministic,
    FromLevy,
    Gamma,
    GeneralizedGamma,
    GroupLasso,
    Horseshoe,
    InfinitelyDivisible,
    InverseGamma,
    Limit,
    Prior,
    RegularizedHorseshoe,
    SpikeAndSlab,
    Stable,
    check_priors,
    from_levy,
)

__all__ = [
    "GBFRY",
    "Bernoulli",
    "Beta",
    "BetaLaw",
    "BetaPareto",
    "BetaParetoLaw",
    "Deterministic",
    "FiniteGBFRY",
    "FiniteGeneralizedGamma",
    "FromLevy",
    "Gamma",
    "GammaLaw",
    "GeneralizedGamma",
    "GroupLasso",
    "Horseshoe",
    "InfinitelyDivisible",
    "InfinitelyDivisibleLaw",
    "InverseGamma",
    "InverseGammaLaw",
    "Limit",
    "MeasureLaw",
    "NodeVarianceLaw",
    "ParetoLaw",
    "Prior",
    "RegularizedHorseshoe",
    "ScaledLaw",
    "SpikeAndSlab",
    "SpikeAndSlabLaw",
    "SquaredHalfCauchy",
    "Stable",
    "check_priors",
    "from_levy",
    "parse",
    "split_names",
]
