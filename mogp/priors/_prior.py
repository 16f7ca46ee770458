"""Priors on node variances: a law at every width, and what is left of it at infinite width."""

import abc
import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import Distribution

from mogp import levy
from mogp._arrays import Real
from mogp._checks import check_between, check_count, is_concrete
from mogp.priors._families import (
    BetaLaw,
    BetaParetoLaw,
    GammaLaw,
    InverseGammaLaw,
    ParetoLaw,
    SquaredHalfCauchy,
)
from mogp.priors._finite import FiniteGBFRY, FiniteGeneralizedGamma
from mogp.priors._from_levy import InfinitelyDivisibleLaw, MeasureLaw, tilt_for
from mogp.priors._law import NodeVarianceLaw
from mogp.priors._point import SpikeAndSlabLaw

_POSITIVE = (0.0, math.inf)


class Limit(NamedTuple):
    """The limit in law of `Σ_j λ_j`, an infinitely divisible law.

    Attributes:
        location: `a ≥ 0`, the deterministic part, spread over infinitely many negligible nodes.
        levy: the Lévy measure of the nodes that stay.
    """

    location: Real
    levy: levy.LevyMeasure


class Prior(eqx.Module):
    """A law of the node variances of one hidden layer.

    The `p` node variances of a layer are independent draws from `at_width(p)`, scaled so that their
    sum converges in law as `p` grows.

    Parameters are numbers, tracers, or NumPyro laws. With a law in place of a number the prior is
    hierarchical: `inference.sample_parameters` draws the number in a NumPyro model.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {}  # open ranges of the parameters

    def __check_init__(self) -> None:
        for name, (low, high) in self.bounds.items():
            if not isinstance(getattr(self, name), Distribution):
                check_between(name, getattr(self, name), low, high)

    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        """The law of one node variance in a layer of `width` nodes.

        Args:
            width: number of nodes `p`, at least 1.
            total_mean: rescale the law so that the expected sum of the layer's node variances is
                exactly this; None leaves the scale of the paper.

        Returns:
            A NumPyro distribution of the batch shape of the parameters.

        Raises:
            ValueError: if `width` is not an integer of at least 1, `total_mean` is given and the
                law has no mean, or a parameter is a law.
        """
        width = check_count("width", width)
        self._check_numbers()
        law = self._law(width)
        if total_mean is None:
            return law
        check_between("total_mean", total_mean, 0)
        mean = law.mean
        if is_concrete(mean) and not np.all(np.isfinite(mean)):
            raise ValueError(f"total_mean cannot be set for {self}: its mean is infinite")
        return _rescaled(law, total_mean / (width * mean))

    @abc.abstractmethod
    def _law(self, width: int) -> Distribution:
        """The law at a width, in the scale of the paper."""

    @property
    @abc.abstractmethod
    def limit(self) -> Limit:
        """Location and Lévy measure at infinite width."""

    def _check_numbers(self) -> None:
        laws = [name for name in self.bounds if isinstance(getattr(self, name), Distribution)]
        if laws:
            raise ValueError(
                f"{', '.join(laws)} of {type(self).__name__} is a law, not a number: draw it in a "
                "NumPyro model with inference.sample_parameters"
            )


def _rescaled(law: Distribution, factor: Real) -> Distribution:
    if isinstance(law, NodeVarianceLaw):
        return law.scaled(factor)
    if isinstance(law, SpikeAndSlabLaw):
        return SpikeAndSlabLaw(law.probability, law.slab, law.factor * factor)
    if isinstance(law, InfinitelyDivisibleLaw):
        return InfinitelyDivisibleLaw(
            law.location * factor, law.measure.scaled(factor), num_jumps=law.num_jumps
        )
    return dist.Delta(law.v * factor)


class Deterministic(Prior):
    """`λ = 1/p`: an ordinary network, whose limit is a Gaussian process (`a = 1`, no jumps).

    Example:
        >>> from mogp import priors
        >>> float(priors.Deterministic().at_width(50).mean)
        0.02
    """

    def _law(self, width: int) -> Distribution:
        return dist.Delta(1.0 / width)

    @property
    def limit(self) -> Limit:
        return Limit(1.0, levy.NoJumps())


class GroupLasso(Prior):
    """`λ ~ Gamma((q+1)/2, rate p (q+1)/2)`, under which MAP training is a group lasso.

    With `q` outgoing weights a node; the mean is `1/p`, and the limit a Gaussian process ([DW],
    Section 3; Yuan and Lin, 2006).

    Args:
        fan_out: number of outgoing weights `q` of a node, positive.
    """

    fan_out: Real
    bounds: ClassVar = {"fan_out": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        shape = (self.fan_out + 1) / 2
        return GammaLaw(shape, width * shape)

    @property
    def limit(self) -> Limit:
        return Limit(1.0, levy.NoJumps())


class InverseGamma(Prior):
    """Inverse gamma node variances, with tail index `shape` ([DW], Section 3).

    Above 1 the scale is `(shape - 1)/p`: the mean is `1/p`, and the limit a Gaussian process. Below
    1 it is `scale · p^(-1/shape)`: the mean is infinite, and the limit stable of that index, with
    `ρ̄(x) = (x/scale)^(-shape) / Γ(1 + shape)`.

    Args:
        shape: positive, not 1.
        scale: factor of every node variance, positive.
    """

    shape: Real
    scale: Real = 1.0
    bounds: ClassVar = {"shape": _POSITIVE, "scale": _POSITIVE}

    def __check_init__(self) -> None:
        concrete = not isinstance(self.shape, Distribution) and is_concrete(self.shape)
        if concrete and np.any(np.asarray(self.shape) == 1):
            raise ValueError("shape must not be 1, where no scale has a limit")

    def _law(self, width: int) -> Distribution:
        heavy = jnp.asarray(self.shape) < 1
        exponent = -1 / jnp.where(heavy, self.shape, 1.0)
        scale = jnp.where(heavy, width**exponent, (self.shape - 1) / width)
        return InverseGammaLaw(self.shape, self.scale * scale)

    @property
    def limit(self) -> Limit:
        if not is_concrete(self.shape):
            raise ValueError("shape must be concrete: the regime depends on it")
        heavy = np.asarray(self.shape) < 1
        if np.all(heavy):
            factor = jnp.exp(-gammaln(1 + self.shape) / self.shape)
            return Limit(0.0, levy.Stable(self.shape, self.scale * factor))
        if np.any(heavy):
            raise ValueError("shape must be above 1 everywhere, or below 1 everywhere")
        return Limit(self.scale, levy.NoJumps())


class Bernoulli(Prior):
    """`λ` is 1 with probability `mass / p`, and 0 otherwise: about `mass` nodes are on.

    Args:
        mass: `c`, positive; at most the width.
    """

    mass: Real
    bounds: ClassVar = {"mass": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        return SpikeAndSlabLaw(_share(self.mass, width), dist.Delta(1.0))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.CompoundPoisson(self.mass, dist.Delta(1.0)))


class SpikeAndSlab(Prior):
    """`λ` is a draw from the slab with probability `mass / p`, and 0 otherwise.

    Args:
        mass: `c`, positive; at most the width.
        slab: a NumPyro law on (0, ∞).
    """

    mass: Real
    slab: Distribution
    bounds: ClassVar = {"mass": _POSITIVE}

    def __check_init__(self) -> None:
        if not isinstance(self.slab, Distribution):
            raise ValueError(f"slab must be a NumPyro law on (0, inf), got {self.slab!r}")

    def _law(self, width: int) -> Distribution:
        return SpikeAndSlabLaw(_share(self.mass, width), self.slab)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.CompoundPoisson(self.mass, self.slab))


class Gamma(Prior):
    """`λ ~ Gamma(mass / p, rate)`; the sum over the layer is `Gamma(mass, rate)` at any width.

    Args:
        mass: `η`, positive.
        rate: `b`, positive.
    """

    mass: Real
    rate: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "rate": _POSITIVE}

    def _law(self, width: int) -> Distribution:
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
    """

    mass: Real
    concentration: Real = 1.0
    bounds: ClassVar = {"mass": _POSITIVE, "concentration": _POSITIVE}

    def _law(self, width: int) -> Distribution:
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
    """

    mass: Real
    concentration: Real
    tau: Real
    bounds: ClassVar = dict.fromkeys(("mass", "concentration", "tau"), _POSITIVE)

    def _law(self, width: int) -> Distribution:
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
        >>> round(float(law.icdf(0.5)), 6)  # (π / 200)²
        0.000247
    """

    def _law(self, width: int) -> Distribution:
        return SquaredHalfCauchy(math.pi / (2 * width))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Stable(0.5))


class RegularizedHorseshoe(Prior):
    """`λ = S/(1 + slab S)`, `S = (|C|/p)²` with `C` standard Cauchy: at most `1/slab`.

    The limit has `ρ̄(x) = (2/π) √((1 - slab x)/x)` ([DW], Section 3; Piironen and Vehtari, 2017).

    Args:
        slab: positive.
    """

    slab: Real = 1.0
    bounds: ClassVar = {"slab": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        return SquaredHalfCauchy(1.0 / width, self.slab)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.RegularizedHorseshoe(self.slab))


class Stable(Prior):
    """`λ = scale · p^(-1/α) Pareto(α)`: infinite mean, limit `ρ̄(x) = (x / scale)^(-α)`.

    Args:
        alpha: index, in (0, 1).
        scale: factor of every node variance, positive.
    """

    alpha: Real
    scale: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "scale": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        return ParetoLaw(self.alpha, self.scale * width ** (-1.0 / self.alpha))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Stable(self.alpha, self.scale))


class GeneralizedGamma(Prior):
    """The iid approximation of a generalised gamma process ([DW], Section 3).

    The limit is `η/Γ(1-α) x^(-1-α) e^(-b x)`, with expected sum `η b^(α-1)`; at width `p` the
    expected sum is smaller.

    Args:
        alpha: index at zero, in (0, 1).
        rate: `b`, positive.
        mass: `η`, positive.
    """

    alpha: Real
    rate: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "rate": _POSITIVE, "mass": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        return FiniteGeneralizedGamma(self.alpha, self.rate, self.mass, width)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.GeneralizedGamma(self.alpha, self.rate, self.mass))


class GBFRY(Prior):
    """Power laws at both ends: index `α` for the many small nodes, `τ` for the few large ones.

    The iid law of [DW] (Section 3; Ayed, Lee and Caron, 2019) whose limit is the GBFRY Lévy
    measure with expected total mass `mean`. At width `p` the expected sum is smaller, notably for
    `α` near 1: `p * at_width(p).mean` is exact, and `total_mean` sets it.

    Args:
        alpha: in (0, 1); larger keeps more mass in small nodes.
        tau: above 1; smaller makes the largest nodes larger.
        mean: expected sum of the node variances at infinite width, positive.

    Raises:
        ValueError: if a concrete parameter is outside its range.

    Example:
        >>> from mogp import priors
        >>> law = priors.GBFRY(alpha=0.8, tau=5.0).at_width(2000)
        >>> round(2000 * float(law.mean), 2)
        0.85
    """

    alpha: Real
    tau: Real
    mean: Real = 1.0

    bounds: ClassVar = {"alpha": (0.0, 1.0), "tau": (1.0, math.inf), "mean": _POSITIVE}

    def _law(self, width: int) -> Distribution:
        scale = self.mean * (self.tau - 1) / (self.tau - self.alpha)
        return FiniteGBFRY(self.alpha, self.tau, scale, width)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.GBFRY(self.alpha, self.tau, self.mean))


class InfinitelyDivisible(Prior):
    """The exact law `ID(a/p, ρ/p)`, of which `p` copies add up to the limit at every width.

    It can be sampled, exactly where `levy` knows the total of the measure; only `Gamma` jumps give
    it a density.

    Args:
        location: `a`, at least 0.
        levy: `ρ`.
    """

    location: Real
    levy: levy.LevyMeasure

    def __check_init__(self) -> None:
        if is_concrete(self.location) and np.any(np.asarray(self.location) != 0):
            check_between("location", self.location, 0)
        _check_measure("levy", self.levy)

    def _law(self, width: int) -> Distribution:
        if isinstance(self.levy, levy.Gamma) and is_concrete(self.location) and not self.location:
            return GammaLaw(self.levy.mass / width, self.levy.rate)
        return InfinitelyDivisibleLaw(self.location / width, self.levy * (1.0 / width))

    @property
    def limit(self) -> Limit:
        return Limit(self.location, self.levy)


class FromLevy(Prior):
    """Iid node variances with a density, for any Lévy measure.

    Infinitely many jumps are thinned: `λ` has density `ρ(x) (1 - e^(-t x)) / p`, with `t` such that
    it integrates to 1. Finitely many are a spike and slab, with `ρ` divided by its mass as the
    slab. Where the `p`-th jump is too small for a float, as for a gamma measure at large `p`, it is
    both: the nodes below are off.

    Args:
        levy: `ρ`, of batch shape ().

    Raises:
        ValueError: if `levy` is not a measure of batch shape (), or has no jumps.
    """

    levy: levy.LevyMeasure

    def __check_init__(self) -> None:
        _check_measure("levy", self.levy)
        if self.levy.batch_shape != () or isinstance(self.levy, levy.NoJumps):
            raise ValueError(f"levy must have jumps, and batch shape (), got {self.levy}")

    def _law(self, width: int) -> Distribution:
        if is_concrete(self.levy):  # once, and not in every step of a compiled loop
            with jax.ensure_compile_time_eval():
                return self._thinned_law(width)
        return self._thinned_law(width)

    def _thinned_law(self, width: int) -> Distribution:
        mass = self.levy.total_mass
        if is_concrete(mass) and float(mass) < math.inf:
            return SpikeAndSlabLaw(_share(mass, width), MeasureLaw(self.levy))
        tilt = tilt_for(self.levy, width)
        thinned = levy.Thinned(self.levy, tilt)
        mass = thinned.total_mass
        if is_concrete(mass) and float(mass) < (1 - 1e-3) * width:
            return SpikeAndSlabLaw(mass / width, MeasureLaw(thinned))
        return MeasureLaw(thinned)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, self.levy)


def from_levy(measure: levy.LevyMeasure) -> Prior:
    """A prior whose limit is a given measure, `FromLevy(measure)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import levy, priors
        >>> prior = priors.from_levy(levy.FromDensity(lambda x: x**-1.5 / (1 + x) ** 3))
        >>> prior.at_width(100).batch_shape
        ()
    """
    return FromLevy(measure)


def _share(mass: Real, width: int) -> Real:
    if is_concrete(mass) and np.any(np.asarray(mass) > width):
        raise ValueError(f"width must be at least the expected number {mass} of nodes, got {width}")
    return mass / width


def _check_measure(name: str, value: object) -> None:
    if not isinstance(value, levy.LevyMeasure):
        raise ValueError(f"{name} must be a measure of mogp.levy, got {value!r}")


def check_priors(priors: Sequence[Prior]) -> tuple[Prior, ...]:
    """The priors as a tuple, one a hidden layer.

    Raises:
        ValueError: for a single prior, no prior, or something that is not a `Prior`.
    """
    found = () if isinstance(priors, Prior) else tuple(priors)
    if not found or not all(isinstance(prior, Prior) for prior in found):
        raise ValueError(f"priors must be a list with one Prior a hidden layer, got {priors!r}")
    return found
