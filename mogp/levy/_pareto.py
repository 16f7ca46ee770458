"""Measures whose jumps are those of another measure times independent Pareto variables."""

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import Real, aligned
from mogp.levy._abstract import POSITIVE
from mogp.levy._beta import Beta
from mogp.levy._measure import LevyMeasure
from mogp.levy._stable import GeneralizedGamma
from mogp.levy.incomplete import relative_expm1


class AbstractParetoMixture(LevyMeasure):
    """Jumps `X Y`: `X` those of a base measure, `Y ≥ 1` iid with `P(Y > y) = y^(-τ)`.

    With the incomplete moments `m_k(x) = ∫_0^x z^k base(dz)`, which need not be of integer order,
    `x ρ(x) = τ x^(-τ) m_τ(x)`, and `ρ̄` is the tail of the base plus `x ρ(x) / τ`.
    """

    @abc.abstractmethod
    def _base(self) -> LevyMeasure:
        """The measure of `X`."""

    @abc.abstractmethod
    def _tau(self, *values: Array) -> list[Array]:
        """The values and `τ`, of one rank."""

    def log_density_inside(self, v: Array) -> Array:
        v, tau = self._tau(v)
        return jnp.log(tau) - tau * v + self._base().log_moment_of_log(tau, v)

    def log_tail_inside(self, v: Array) -> Array:
        return self.log_tail_and_density_inside(v)[0]

    def log_tail_and_density_inside(self, v: Array) -> tuple[Array, Array]:
        log_density, tau = self._tau(self.log_density_inside(v))
        base = self._base().log_tail_of_log(v)
        return jnp.logaddexp(log_density - jnp.log(tau), base), log_density

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        # τ/(τ-k) (m_k - x^(k-τ) m_τ): a difference quotient in the order, by quadrature of the
        # derivative where the two terms are close.
        base = self._base()
        index, (k, v, tau) = base.index_at_zero, jnp.broadcast_arrays(*self._tau(k, v))
        whole = v == jnp.inf
        point = jnp.where(whole, 0, v)

        # Orders along a first axis: k, τ, and the nodes between, in the logarithm of the distance
        # from α, where moments have a pole. Eight are enough for a factor of e^2, to 5e-13.
        nodes, weights = np.polynomial.legendre.leggauss(8)
        places = jnp.asarray((nodes + 1) / 2, v.dtype).reshape(-1, *(1,) * k.ndim)
        above = jnp.stack([k - index, tau - index])
        ratio = jnp.log(above[1] / above[0])
        above = jnp.concatenate([above, above[:1] * jnp.exp(places * ratio[None])])
        log_values, slopes = jax.jvp(
            lambda order: base.log_moment_of_log(order, v[None]) - order * point[None],
            (index + above,),
            (jnp.ones_like(above),),
        )
        at_k, at_tau = log_values[:2]
        gap = jnp.abs(at_k - at_tau)
        near = (gap < 0.4) & (jnp.abs(ratio) < (2 if v.dtype == jnp.float64 else 4))
        difference = -jnp.expm1(-jnp.where(near, 1, gap)) / jnp.where(near, 1, jnp.abs(tau - k))
        far_part = jnp.maximum(at_k, at_tau) + jnp.log(difference)
        falls = -slopes * jnp.exp(log_values - at_k[None]) * above
        mean = jnp.tensordot(jnp.asarray(weights / 2, v.dtype), falls[2:], axes=1)
        near_part = at_k + jnp.log(jnp.where(near, mean / above[0] / relative_expm1(ratio), 1))

        part = k * point + jnp.where(near, near_part, far_part)
        return jnp.log(tau) + jnp.where(whole, at_k - jnp.log(jnp.where(whole, tau - k, 1)), part)

    @property
    def kinks(self) -> tuple[Real, ...]:
        return (self._base().support[1],)

    @property
    def index_at_zero(self) -> Real:
        return self._base().index_at_zero


class GBFRY(AbstractParetoMixture):
    """The GBFRY measure: jumps of a generalised gamma process times Pareto(τ) ([DW], Section 3).

    With `c = mean (τ-1)/(τ-α)` and the lower incomplete gamma function `γ`,
    `ρ(x) = (τ-α) c^τ / Γ(1-α) · x^(-1-τ) γ(τ-α, x/c)`: power laws at both ends, of index `α` at 0
    and `τ` at infinity.

    Args:
        alpha: index at zero, in (0, 1).
        tau: index at infinity, above 1.
        mean: expected sum of all jumps, positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.GBFRY(0.5, 2.0).tail(0.3)), 5)
        0.61352
    """

    alpha: Real
    tau: Real
    mean: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "tau": (1.0, math.inf), "mean": POSITIVE}

    @property
    def scale(self) -> Real:
        """`c`, where one power law gives way to the other."""
        alpha, tau, mean = self.with_parameters()
        return mean * (tau - 1) / (tau - alpha)

    def _base(self) -> LevyMeasure:
        alpha, tau, _ = self.with_parameters()
        return GeneralizedGamma(alpha, 1 / self.scale, (tau - alpha) / tau * self.scale**alpha)

    def _tau(self, *values: Array) -> list[Array]:
        *arrays, _, tau, _ = self.with_parameters(*values)
        return [*arrays, tau]

    def line(self, q: Array) -> Array:
        q, scale = aligned(q, self.scale)
        return q + jnp.log(scale)

    @property
    def index_at_zero(self) -> Real:
        return self.alpha

    @property
    def index_at_infinity(self) -> Real:
        return self.tau


class BetaPareto(AbstractParetoMixture):
    """Jumps of a beta process times Pareto(τ) ([DW], Section 3).

    `x ρ(x) = η b τ x^(-τ) ∫_0^min(x, 1) w^(τ-1) (1-w)^(b-1) dw`.

    Args:
        mass: `η`, positive.
        concentration: `b`, positive.
        tau: index at infinity, positive; the expected sum `η τ/(τ-1)` is finite above 1.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.BetaPareto(1.0, 0.5, 3.0).moment(1)), 5)
        1.5
    """

    mass: Real
    concentration: Real
    tau: Real
    bounds: ClassVar = dict.fromkeys(("mass", "concentration", "tau"), POSITIVE)

    def _base(self) -> LevyMeasure:
        return Beta(self.mass, self.concentration)

    def _tau(self, *values: Array) -> list[Array]:
        *arrays, _, _, tau = self.with_parameters(*values)
        return [*arrays, tau]

    @property
    def index_at_infinity(self) -> Real:
        return self.tau
