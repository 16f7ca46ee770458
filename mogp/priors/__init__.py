"""Laws of node variances, at any width and at infinite width."""

from mogp.priors._law import FiniteGBFRY, NodeVarianceLaw, SquaredHalfCauchy
from mogp.priors._parse import parse
from mogp.priors._prior import GBFRY, Deterministic, Horseshoe, Limit, Prior, check_priors

__all__ = [
    "Deterministic",
    "FiniteGBFRY",
    "GBFRY",
    "Horseshoe",
    "Limit",
    "NodeVarianceLaw",
    "Prior",
    "SquaredHalfCauchy",
    "check_priors",
    "parse",
]
