"""Priors on node variances: a distribution at every width, and what is left at infinite width.

Other rooms ask a distribution, ours or a user's, through `has_density`, `log_density_of_log`,
`sample_log` and `scaled`.
"""

from mogp.priors._any_law import has_density, log_density_of_log, sample_log
from mogp.priors._families import (
    GBFRY,
    Bernoulli,
    Beta,
    BetaPareto,
    Deterministic,
    Gamma,
    GeneralizedGamma,
    GroupLasso,
    Horseshoe,
    InverseGamma,
    RegularizedHorseshoe,
    SpikeAndSlab,
    Stable,
)
from mogp.priors._finite import FiniteGBFRY, FiniteGeneralizedGamma
from mogp.priors._from_levy import (
    FromLevy,
    InfinitelyDivisible,
    InfinitelyDivisibleLaw,
    MeasureLaw,
    from_levy,
)
from mogp.priors._law import NodeVarianceLaw, ScaledLaw, scaled
from mogp.priors._laws import (
    BetaLaw,
    BetaParetoLaw,
    GammaLaw,
    InverseGammaLaw,
    ParetoLaw,
    SquaredHalfCauchy,
)
from mogp.priors._parse import parse, split_names
from mogp.priors._point import SpikeAndSlabLaw
from mogp.priors._prior import Limit, Prior, check_priors

__all__ = [
    "Bernoulli",
    "Beta",
    "BetaLaw",
    "BetaPareto",
    "BetaParetoLaw",
    "Deterministic",
    "FiniteGBFRY",
    "FiniteGeneralizedGamma",
    "FromLevy",
    "GBFRY",
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
    "has_density",
    "log_density_of_log",
    "parse",
    "sample_log",
    "scaled",
    "split_names",
]
