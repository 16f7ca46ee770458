"""The priors with a formula of their own."""

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import Distribution

from mogp import levy
from mogp._arrays import Real
from mogp._checks import is_concrete
from mogp.priors._any_law import check_law
from mogp.priors._finite import FiniteGBFRY, FiniteGeneralizedGamma
from mogp.priors._laws import (
    BetaLaw,
    BetaParetoLaw,
    GammaLaw,
    InverseGammaLaw,
    ParetoLaw,
    SquaredHalfCauchy,
)
from mogp.priors._point import SpikeAndSlabLaw
from mogp.priors._prior import Limit, Prior, check_scalars, share_of

_POSITIVE = (0.0, math.inf)


class Deterministic(Prior):
    """`λ = 1/p`: an ordinary network, whose limit is a Gaussian process (`a = 1`, no jumps).

    Example:
        >>> from mogp import priors
        >>> print(priors.Deterministic().at_width(50).mean)
        0.02
    """

    def law(self, width: int) -> Distribution:
        return dist.Delta(1.0 / width)

    @property
    def limit(self) -> Limit:
        return Limit(1.0, levy.NoJumps())


class GroupLasso(Prior):
    """`λ ~ Gamma((q+1)/2, rate p (q+1)/2)`, under which MAP training is a group lasso.

    The mean is `1/p`, and the limit a Gaussian process ([DW], Section 3; Yuan and Lin, 2006).

    Args:
        fan_out: number of outgoing weights `q` of a node, positive.

    Example:
        >>> from mogp import priors
        >>> priors.GroupLasso(fan_out=9.0).at_width(10)
        GammaLaw(concentration=5.0, rate=50.0)
    """

    fan_out: Real
    bounds: ClassVar = {"fan_out": _POSITIVE}

    def law(self, width: int) -> Distribution:
        shape = (self.fan_out + 1) / 2
        return GammaLaw(shape, width * shape)

    @property
    def limit(self) -> Limit:
        check_scalars(self)
        return Limit(1.0, levy.NoJumps())


class InverseGamma(Prior):
    """Inverse gamma node variances, with tail index `shape` ([DW], Section 3).

    Above 1 their scale is `scale · (shape - 1)/p`: the mean is `scale/p`, and the limit a Gaussian
    process. Below 1 it is `scale · p^(-1/shape)`: the mean is infinite, and the limit stable of
    that index, with `ρ̄(x) = (x/scale)^(-shape) / Γ(1 + shape)`.

    Args:
        shape: positive, not 1.
        scale: factor of every node variance, positive.

    Raises:
        ValueError: if `shape` is 1.

    Example:
        >>> from mogp import priors
        >>> priors.InverseGamma(2.0).limit
        Limit(location=1.0, levy=NoJumps())
    """

    shape: Real
    scale: Real = 1.0
    bounds: ClassVar = {"shape": _POSITIVE, "scale": _POSITIVE}

    def __check_init__(self) -> None:
        concrete = not isinstance(self.shape, Distribution) and is_concrete(self.shape)
        if concrete and np.any(np.asarray(self.shape) == 1):
            raise ValueError("shape must not be 1, where no scale has a limit")

    def law(self, width: int) -> Distribution:
        heavy = jnp.asarray(self.shape) < 1
        scale = self.scale * jnp.where(heavy, 1, (self.shape - 1) / width)
        return InverseGammaLaw(self.shape, scale, jnp.where(heavy, float(width), 1.0))

    @property
    def limit(self) -> Limit:
        check_scalars(self)
        if not is_concrete(self.shape):
            raise ValueError("shape must be concrete: the regime depends on it")
        if self.shape > 1:
            return Limit(self.scale, levy.NoJumps())
        factor = jnp.exp(-gammaln(1 + self.shape) / self.shape)
        return Limit(0.0, levy.Stable(self.shape, self.scale * factor))


class Bernoulli(Prior):
    """`λ` is 1 with probability `mass / p`, and 0 otherwise: about `mass` nodes are on.

    Args:
        mass: `c`, positive; at most the width.

    Example:
        >>> from mogp import priors
        >>> print(round(float(priors.Bernoulli(3.0).at_width(50).mean), 3))
        0.06
    """

    mass: Real
    bounds: ClassVar = {"mass": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return SpikeAndSlabLaw(share_of(self.mass, width), dist.Delta(1.0))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.CompoundPoisson(self.mass, dist.Delta(1.0)))


class SpikeAndSlab(Prior):
    """`λ` is a draw from the slab with probability `mass / p`, and 0 otherwise.

    Args:
        mass: `c`, positive; at most the width.
        slab: a NumPyro distribution on (0, ∞).

    Raises:
        ValueError: if `slab` is not a NumPyro distribution.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> priors.SpikeAndSlab(5.0, dist.Exponential(1.0))
        SpikeAndSlab(mass=5.0, slab=Exponential(rate=1.0))
    """

    mass: Real
    slab: Distribution
    bounds: ClassVar = {"mass": _POSITIVE}

    def __check_init__(self) -> None:
        check_law("slab", self.slab)

    def law(self, width: int) -> Distribution:
        return SpikeAndSlabLaw(share_of(self.mass, width), self.slab)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.CompoundPoisson(self.mass, self.slab))


class Gamma(Prior):
    """`λ ~ Gamma(mass / p, rate)`; the sum over the layer is `Gamma(mass, rate)` at any width.

    Args:
        mass: `η`, positive.
        rate: `b`, positive.

    Example:
        >>> from mogp import priors
        >>> priors.Gamma(2.0).limit
        Limit(location=0.0, levy=Gamma(mass=2.0, rate=1.0))
    """

    mass: Real
    rate: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "rate": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return GammaLaw(self.mass / width, self.rate)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Gamma(self.mass, self.rate))


class Beta(Prior):
    """`λ ~ Beta(η b / p, b)`: a finite beta-Bernoulli process ([DW], Section 3).

    The code of [DW] has `Beta(η / (2p), 1/2)`, which is `concentration = 1/2`.

    Args:
        mass: `η`, positive: the expected sum in the limit.
        concentration: `b`, positive.

    Example:
        >>> from mogp import priors
        >>> priors.Beta(1.0, concentration=0.5).at_width(10)
        BetaLaw(a=0.05, b=0.5)
    """

    mass: Real
    concentration: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "concentration": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return BetaLaw(self.mass * self.concentration / width, self.concentration)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Beta(self.mass, self.concentration))


class BetaPareto(Prior):
    """Beta node variances times independent Pareto(τ) factors ([DW], Section 3).

    Args:
        mass: `η`, positive.
        concentration: `b`, positive.
        tau: tail index, positive.

    Example:
        >>> from mogp import priors
        >>> priors.BetaPareto(1.0, 0.5, tau=3.0).at_width(10)
        BetaParetoLaw(a=0.05, b=0.5, tau=3.0)
    """

    mass: Real
    concentration: Real
    tau: Real
    bounds: ClassVar = dict.fromkeys(("mass", "concentration", "tau"), _POSITIVE)

    def law(self, width: int) -> Distribution:
        shape = self.mass * self.concentration / width
        return BetaParetoLaw(shape, self.concentration, self.tau)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.BetaPareto(self.mass, self.concentration, self.tau))


class Horseshoe(Prior):
    """`λ = (π |C| / (2p))²` with `C` standard Cauchy: infinite mean, compressible.

    The limit has `a = 0` and `ρ̄(x) = x^(-1/2)` ([DW], Section 3; Carvalho, Polson and Scott, 2010).

    Example:
        >>> from mogp import priors
        >>> law = priors.Horseshoe().at_width(100)
        >>> print(round(float(law.icdf(0.5)), 6))  # (π / 200)²
        0.000247
    """

    def law(self, width: int) -> Distribution:
        return SquaredHalfCauchy(math.pi / (2 * width))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Stable(0.5))


class RegularizedHorseshoe(Prior):
    """`λ = S/(1 + slab S)`, `S = (|C|/p)²` with `C` standard Cauchy: at most `1/slab`.

    The limit has `ρ̄(x) = (2/π) √((1 - slab x)/x)` ([DW], Section 3; Piironen and Vehtari, 2017).

    Args:
        slab: positive.

    Example:
        >>> from mogp import priors
        >>> priors.RegularizedHorseshoe(slab=4.0).at_width(10)
        SquaredHalfCauchy(scale=0.1, slab=4.0)
    """

    slab: Real = 1.0
    bounds: ClassVar = {"slab": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return SquaredHalfCauchy(1.0 / width, self.slab)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.RegularizedHorseshoe(self.slab))


class Stable(Prior):
    """`λ = scale · p^(-1/α) Pareto(α)`: infinite mean, limit `ρ̄(x) = (x / scale)^(-α)`.

    Args:
        alpha: index, in (0, 1).
        scale: factor of every node variance, positive.

    Example:
        >>> from mogp import priors
        >>> priors.Stable(0.5).at_width(10)
        ParetoLaw(alpha=0.5, scale=1.0, width=10.0)
    """

    alpha: Real
    scale: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "scale": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return ParetoLaw(self.alpha, self.scale, float(width))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Stable(self.alpha, self.scale))


class GeneralizedGamma(Prior):
    """Independent node variances that approximate a generalised gamma process ([DW], Section 3).

    The limit is `η/Γ(1-α) x^(-1-α) e^(-b x)`, with expected sum `η b^(α-1)`; at width `p` the
    expected sum is smaller.

    Args:
        alpha: index at zero, in (0, 1).
        rate: `b`, positive.
        mass: `η`, positive.

    Example:
        >>> from mogp import priors
        >>> prior = priors.GeneralizedGamma(0.9)
        >>> print(round(100 * float(prior.at_width(100).mean), 2))  # 1 in the limit
        0.4
    """

    alpha: Real
    rate: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "rate": _POSITIVE, "mass": _POSITIVE}

    def law(self, width: int) -> Distribution:
        return FiniteGeneralizedGamma(self.alpha, self.rate, self.mass, width)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.GeneralizedGamma(self.alpha, self.rate, self.mass))


class GBFRY(Prior):
    """Power laws at both ends: index `α` for the many small nodes, `τ` for the few large ones.

    The distribution of [DW] (Section 3; Ayed, Lee and Caron, 2019) whose limit is the GBFRY Lévy
    measure with expected total mass `mean`. At width `p` the expected sum is smaller, notably for
    `α` near 1: `p * at_width(p).mean` is exact, and `total_mean` sets it.

    Args:
        alpha: in (0, 1); larger keeps more mass in small nodes.
        tau: above 1; smaller makes the largest nodes larger.
        mean: expected sum of the node variances at infinite width, positive.

    Example:
        >>> from mogp import priors
        >>> law = priors.GBFRY(alpha=0.8, tau=5.0).at_width(2000)
        >>> print(round(2000 * float(law.mean), 2))
        0.85
    """

    alpha: Real
    tau: Real
    mean: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "tau": (1.0, math.inf), "mean": _POSITIVE}

    def law(self, width: int) -> Distribution:
        scale = self.mean * (self.tau - 1) / (self.tau - self.alpha)
        return FiniteGBFRY(self.alpha, self.tau, scale, width)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.GBFRY(self.alpha, self.tau, self.mean))
