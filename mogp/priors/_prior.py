"""Priors on node variances: a law at every width, and what is left of it at infinite width."""

import abc
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from mogp import levy
from mogp._arrays import Real
from mogp._checks import check_between, check_count
from mogp.priors._law import FiniteGBFRY, SquaredHalfCauchy


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
    """

    @abc.abstractmethod
    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        """The law of one node variance in a layer of `width` nodes.

        Args:
            width: number of nodes `p`, at least 1.
            total_mean: rescale the law so that the expected sum of the layer's node variances is
                exactly this; None leaves the scale of the paper.

        Returns:
            A NumPyro distribution of batch shape `()`, for scalar parameters.

        Raises:
            ValueError: if `width` is not an integer of at least 1, or `total_mean` is given and the
                law has no mean.
        """

    @property
    @abc.abstractmethod
    def limit(self) -> Limit:
        """Location and Lévy measure at infinite width."""


class Deterministic(Prior):
    """`λ = 1/p`: an ordinary network, whose limit is a Gaussian process (`a = 1`, no jumps).

    Example:
        >>> from mogp import priors
        >>> float(priors.Deterministic().at_width(50).mean)
        0.02
    """

    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        total = 1.0 if total_mean is None else _checked_total(total_mean)
        return dist.Delta(total / check_count("width", width))

    @property
    def limit(self) -> Limit:
        return Limit(1.0, levy.NoJumps())


class Horseshoe(Prior):
    """`λ = (π |C| / (2p))²` with `C` standard Cauchy: infinite mean, compressible.

    The limit has `a = 0` and `ρ̄(x) = x^(-1/2)` ([DW], Section 3; Carvalho, Polson and Scott, 2010).

    Example:
        >>> from mogp import priors
        >>> law = priors.Horseshoe().at_width(100)
        >>> round(float(law.icdf(0.5)), 6)  # (π / 200)²
        0.000247
    """

    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        if total_mean is not None:
            raise ValueError("total_mean cannot be set for Horseshoe(): its mean is infinite")
        return SquaredHalfCauchy(1.5707963267948966 / check_count("width", width))

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.Stable(0.5))


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

    def __check_init__(self) -> None:
        check_between("alpha", self.alpha, 0, 1)
        check_between("tau", self.tau, 1)
        check_between("mean", self.mean, 0)

    def at_width(self, width: int, *, total_mean: Real | None = None) -> Distribution:
        width = check_count("width", width)
        scale = levy.GBFRY(self.alpha, self.tau, self.mean).scale
        law = FiniteGBFRY(self.alpha, self.tau, scale, width)
        if total_mean is None:
            return law
        scale = scale * _checked_total(total_mean) / (width * law.mean)
        return FiniteGBFRY(self.alpha, self.tau, scale, width)

    @property
    def limit(self) -> Limit:
        return Limit(0.0, levy.GBFRY(self.alpha, self.tau, self.mean))


def _checked_total(total_mean: Real) -> Real:
    check_between("total_mean", total_mean, 0)
    return total_mean


def check_priors(priors: Sequence[Prior]) -> tuple[Prior, ...]:
    """The priors as a tuple, one a hidden layer.

    Raises:
        ValueError: for a single prior, no prior, or something that is not a `Prior`.
    """
    found = () if isinstance(priors, Prior) else tuple(priors)
    if not found or not all(isinstance(prior, Prior) for prior in found):
        raise ValueError(f"priors must be a list with one Prior a hidden layer, got {priors!r}")
    return found
