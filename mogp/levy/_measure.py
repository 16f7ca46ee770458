"""What every Lévy measure offers; sums of measures, and measures with larger or more jumps."""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned, as_float
from mogp._checks import check_between, check_count
from mogp.levy._abstract import (
    POSITIVE,
    AbstractMeasure,
    check_measure,
    compiled,
    extended,
    log_of_size,
)
from mogp.levy._inverse import log_inverse_tail
from mogp.levy._jumps import Jumps, dtype_of, jumps_above, ranked_jumps, total_from_jumps
from mogp.levy._laplace import laplace_exponent


class LevyMeasure(AbstractMeasure):
    """A Lévy measure `ρ` on (0, ∞): the intensity of the jumps of a prior at infinite width.

    It satisfies `∫ min(1, x) ρ(dx) < ∞`. Its parameters are scalars: numbers, arrays without axes
    or tracers; `jax.vmap` works over measures. Elementwise methods take arrays of any shape. All
    methods run under `jit`, `vmap` and `grad`, in the precision of arguments and parameters. A
    concrete parameter out of its range raises `ValueError`, a traced one makes the results NaN.

    An own measure is a subclass with parameters as fields. It must define `log_density_inside`,
    `log_tail_inside`, `log_moment_inside`, `index_at_zero` and `index_at_infinity`. It may define
    `bounds`, and `support` and `total_mass` where they are not (0, ∞) and infinity. `line`,
    `line_start`, `log_tail_and_density_inside`, `kinks` and `exact_total` make it faster or more
    precise.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from mogp import levy
        >>> class TwoPowers(levy.LevyMeasure):
        ...     "The tail is `x^(-a) + x^(-b)`, with `0 < b < a < 1`."
        ...     a: float
        ...     b: float
        ...     bounds = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
        ...
        ...     def log_tail_inside(self, v):
        ...         return jnp.logaddexp(-self.a * v, -self.b * v)
        ...
        ...     def log_density_inside(self, v):  # of x ρ(x) = a x^(-a) + b x^(-b)
        ...         return jnp.logaddexp(jnp.log(self.a) - self.a * v, jnp.log(self.b) - self.b * v)
        ...
        ...     def log_moment_inside(self, k, v):
        ...         terms = [jnp.log(c / (k - c)) + (k - c) * v for c in (self.a, self.b)]
        ...         return jnp.logaddexp(*terms)
        ...
        ...     @property
        ...     def index_at_zero(self):
        ...         return self.a
        ...
        ...     @property
        ...     def index_at_infinity(self):
        ...         return self.b
        >>> measure = TwoPowers(0.75, 0.5)
        >>> print(round(float(measure.inverse_tail(measure.tail(3.0))), 4))
        3.0
        >>> jumps = measure.ranked_jumps(4, key=jax.random.key(0))
        >>> jumps.sizes.shape
        (4,)
    """

    # --- functions of the size of a jump ----------------------------------------------------

    def density(self, x: ArrayLike) -> Array:
        """`ρ(x)`, elementwise; 0 outside the support."""
        return jnp.exp(self.log_density(x))

    def log_density(self, x: ArrayLike) -> Array:
        """`log ρ(x)`, elementwise; minus infinity outside the support."""
        v = log_of_size(x)
        return self.log_density_of_log(v) - jnp.where(jnp.isinf(v), 0, v)

    @compiled
    def log_density_of_log(self, v: ArrayLike) -> Array:
        """`log x ρ(x)` at `x = e^v`, elementwise: the log-intensity of the logarithms of jumps."""
        return extended(self, self.log_density_inside, v, -jnp.inf, -jnp.inf)

    def tail(self, x: ArrayLike) -> Array:
        """`ρ̄(x) = ρ((x, ∞))`, the expected number of jumps above `x`, elementwise."""
        return jnp.exp(self.log_tail_of_log(log_of_size(x)))

    @compiled
    def log_tail_of_log(self, v: ArrayLike) -> Array:
        """`log ρ̄(e^v)`, elementwise."""
        return extended(self, self.log_tail_inside, v, jnp.log(self.total_mass), -jnp.inf)

    def moment(self, k: ArrayLike, upper: ArrayLike = np.inf) -> Array:
        """`∫_0^upper x^k ρ(dx)`, elementwise; infinite where it diverges.

        Args:
            k: real orders.
            upper: sizes; by default all jumps count. Broadcasts against `k`.

        Example:
            >>> from mogp import levy
            >>> round(float(levy.Stable(0.5).moment(1, 4.0)), 5)
            2.0
        """
        return jnp.exp(self.log_moment_of_log(k, log_of_size(upper)))

    @compiled
    def log_moment_of_log(self, k: ArrayLike, v: ArrayLike = np.inf) -> Array:
        """`log ∫_0^x z^k ρ(dz)` at `x = e^v`, elementwise; `k` and `v` broadcast."""
        dtype = aligned(k, v)[0].dtype
        ends = self.index_at_zero, self.index_at_infinity, self.total_mass, self.support[1]
        k, v, low, high, mass, last = aligned(jnp.asarray(k, dtype), jnp.asarray(v, dtype), *ends)
        v = jnp.minimum(v, jnp.log(last))
        below, above = ~(k <= low) | (mass < jnp.inf), ~(k >= high) | (v != jnp.inf)
        order = jnp.where(below, k, low + 1)  # where the moment is infinite, any finite one
        moment = extended(
            self,
            lambda v: self.log_moment_inside(order, v),
            jnp.where(above, v, 0),
            -jnp.inf,
            jnp.inf,
            closed=True,
        )
        return jnp.where(below & above, moment, jnp.inf)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        """`ψ(t) = ∫ (1 - e^(-t x)) ρ(dx)`, elementwise, for `t ≥ 0`; NaN for negative `t`.

        The sum `Λ` of all jumps has the Laplace transform `E e^(-t Λ) = e^(-ψ(t))`.

        Example:
            >>> from mogp import levy
            >>> round(float(levy.Gamma(mass=2.0).laplace_exponent(1.0)), 5)  # 2 log 2
            1.38629
        """
        return laplace_exponent(self, as_float(t))

    # --- jumps ------------------------------------------------------------------------------

    def inverse_tail(self, u: ArrayLike) -> Array:
        """`ρ̄⁻¹(u) = inf {x: ρ̄(x) ≤ u}`, elementwise: the size that `u` jumps exceed on average.

        Derivatives in `u` and in the parameters are those of the implicit function,
        `∂x/∂u = -1/ρ(x)` and `∂x/∂θ = ∂_θ ρ̄(x) / ρ(x)`.

        Args:
            u: expected numbers of jumps, at least 0.

        Returns:
            Sizes of the shape of `u`: the upper end of the support at `u = 0`, 0 from `total_mass`
            on, NaN for negative `u` and for NaN.

        Example:
            >>> from mogp import levy
            >>> round(float(levy.Stable(0.5).inverse_tail(0.5)), 5)
            4.0
        """
        return jnp.exp(self.log_inverse_tail(u))

    @compiled
    def log_inverse_tail(self, u: ArrayLike) -> Array:
        """`log ρ̄⁻¹(u)`, elementwise, which tells the size of a jump too small for a float."""
        return log_inverse_tail(self, u)

    @compiled
    def ranked_jumps(self, num: int, *, key: Array, shape: tuple[int, ...] = ()) -> Jumps:
        """The `num` largest jumps of a Poisson process of intensity `ρ`, exactly.

        The inverse Lévy construction (Ferguson and Klass, 1972): `ρ̄⁻¹` of the arrival times of a
        unit Poisson process.

        Args:
            num: number of jumps to keep, at least 1.
            key: random key.
            shape: shape of the sample of processes.

        Returns:
            Sizes of shape `shape + (num,)` in decreasing order, and what the other jumps add up to.
        """
        return ranked_jumps(self, check_count("num", num), key, shape)

    @compiled
    def jumps_above(
        self, threshold: ArrayLike, num: int, *, key: Array, shape: tuple[int, ...] = ()
    ) -> Jumps:
        """The jumps larger than a threshold, exactly: their number is Poisson(`tail(threshold)`).

        Args:
            threshold: size, not negative.
            num: the most jumps to keep, at least 1; the smaller ones of a process with more are
                accounted for in its residual mass.
            key: random key.
            shape: shape of the sample of processes.

        Returns:
            Sizes of shape `shape + (num,)` in decreasing order, padded with zeros, and what the
            other jumps add up to.
        """
        return jumps_above(self, threshold, check_count("num", num), key, shape)

    @compiled
    def sample_total(
        self, *, key: Array, shape: tuple[int, ...] = (), num_jumps: int = 1000
    ) -> Array:
        """Draws of the sum of all jumps, an array of shape `shape`.

        Exact for `Stable`, `Gamma`, `GeneralizedGamma`, `InverseGaussian`, `CompoundPoisson`,
        `NoJumps`, and for their rescalings and sums. Otherwise the largest jumps are drawn, and
        the sum of the others is replaced by a gamma variable of the same mean and variance given
        those: mean and variance of the total are exact, its third cumulant is wrong by that of the
        jumps that are not kept at most.

        Args:
            key: random key.
            shape: shape of the sample.
            num_jumps: number of the largest jumps drawn where the law of the total is not known.
        """
        one = jnp.ones((), dtype_of(self))
        return self._total(key, shape, one, check_count("num_jumps", num_jumps))

    def _total(self, key: Array, shape: tuple[int, ...], weight: Array, num: int) -> Array:
        exact = self.exact_total(key, shape, weight)
        return total_from_jumps(self, key, shape, weight, num) if exact is None else exact

    # --- algebra ----------------------------------------------------------------------------

    def scaled(self, factor: Real) -> "LevyMeasure":
        """The measure of the jumps times `factor`, positive: its tail is `ρ̄(x / factor)`."""
        return _merged(self, factor, 1.0)

    def __mul__(self, weight: Real) -> "LevyMeasure":
        """The intensity times `weight`, positive: more jumps of the same sizes."""
        return _merged(self, 1.0, weight)

    __rmul__ = __mul__

    def __add__(self, other: "LevyMeasure") -> "LevyMeasure":
        """The jumps of two independent processes, taken together."""
        if not isinstance(other, LevyMeasure):
            return NotImplemented
        parts = [m.parts if isinstance(m, Sum) else (m,) for m in (self, other)]
        return Sum(parts[0] + parts[1])


class Sum(LevyMeasure):
    """`m1 + m2 + …`: the jumps of independent processes, taken together.

    Args:
        parts: the measures.

    Example:
        >>> from mogp import levy
        >>> round(float((levy.Stable(0.5) + levy.Stable(0.5)).tail(4.0)), 5)
        1.0
    """

    parts: tuple[LevyMeasure, ...]

    def __check_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not self.parts:
            raise ValueError(f"parts must be a tuple of measures, one at least, got {self.parts!r}")
        for part in self.parts:
            check_measure("parts", part)

    def log_density_inside(self, v: Array) -> Array:
        return _fold(jnp.logaddexp, [part.log_density_of_log(v) for part in self.parts])

    def log_tail_inside(self, v: Array) -> Array:
        return _fold(jnp.logaddexp, [part.log_tail_of_log(v) for part in self.parts])

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        return _fold(jnp.logaddexp, [part.log_moment_of_log(k, v) for part in self.parts])

    def laplace_exponent(self, t: ArrayLike) -> Array:
        return _fold(jnp.add, [part.laplace_exponent(t) for part in self.parts])

    def _total(self, key: Array, shape: tuple[int, ...], weight: Array, num: int) -> Array:
        pairs = zip(self.parts, jax.random.split(key, len(self.parts)), strict=True)
        return _fold(jnp.add, [part._total(k, shape, weight, num) for part, k in pairs])

    @property
    def index_at_zero(self) -> Real:
        return _fold(jnp.maximum, [part.index_at_zero for part in self.parts])

    @property
    def index_at_infinity(self) -> Real:
        return _fold(jnp.minimum, [part.index_at_infinity for part in self.parts])

    @property
    def total_mass(self) -> Real:
        return _fold(jnp.add, [part.total_mass for part in self.parts])

    @property
    def support(self) -> tuple[Real, Real]:
        lows, highs = zip(*(part.support for part in self.parts), strict=True)
        return _fold(jnp.minimum, lows), _fold(jnp.maximum, highs)


class AbstractRescaled(LevyMeasure):
    """Jumps of another measure, each times a factor, and a weight times as many."""

    @property
    @abc.abstractmethod
    def _inner(self) -> LevyMeasure:
        """The other measure."""

    @abc.abstractmethod
    def _rescaling(self, *values: ArrayLike) -> list[Array]:
        """The values, then the factor and the weight, of one dtype."""

    def log_density_inside(self, v: Array) -> Array:
        v, factor, weight = self._rescaling(v)
        return self._inner.log_density_of_log(v - jnp.log(factor)) + jnp.log(weight)

    def log_tail_inside(self, v: Array) -> Array:
        v, factor, weight = self._rescaling(v)
        return self._inner.log_tail_of_log(v - jnp.log(factor)) + jnp.log(weight)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, factor, weight = self._rescaling(k, v)
        shift = jnp.log(factor)
        return self._inner.log_moment_of_log(k, v - shift) + k * shift + jnp.log(weight)

    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, factor, weight = self._rescaling(u)
        return self._inner.log_inverse_tail(u / weight) + jnp.log(factor)

    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, factor, weight = self._rescaling(t)
        return self._inner.laplace_exponent(t * factor) * weight

    def _total(self, key: Array, shape: tuple[int, ...], weight: Array, num: int) -> Array:
        weight, factor, own = self._rescaling(weight)
        return self._inner._total(key, shape, weight * own, num) * factor

    def line(self, q: Array) -> Array:
        q, factor, _ = self._rescaling(q)
        return self._inner.line(q) + jnp.log(factor)

    @property
    def index_at_zero(self) -> Real:
        return self._inner.index_at_zero

    @property
    def index_at_infinity(self) -> Real:
        return self._inner.index_at_infinity

    @property
    def total_mass(self) -> Real:
        mass, _, weight = self._rescaling(self._inner.total_mass)
        return mass * weight

    @property
    def support(self) -> tuple[Real, Real]:
        low, high, factor, _ = self._rescaling(*self._inner.support)
        return low * factor, high * factor


class Rescaled(AbstractRescaled):
    """`weight * measure.scaled(factor)`: its tail is `weight * ρ̄(x / factor)`.

    Args:
        measure: the measure `ρ`.
        factor: what every jump is multiplied by, positive.
        weight: how many times as many jumps there are, positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.Rescaled(levy.Stable(0.5), factor=4.0, weight=3.0).tail(4.0)), 5)
        3.0
    """

    measure: LevyMeasure
    factor: Real = 1.0
    weight: Real = 1.0
    bounds: ClassVar = {"factor": POSITIVE, "weight": POSITIVE}

    def __check_init__(self) -> None:
        super().__check_init__()  # Equinox would call it after this one
        check_measure("measure", self.measure)

    @property
    def _inner(self) -> LevyMeasure:
        return self.measure

    def _rescaling(self, *values: ArrayLike) -> list[Array]:
        return self.with_parameters(*values)


def _merged(measure: LevyMeasure, factor: Real, weight: Real) -> LevyMeasure:
    """The rescaled measure, without a rescaled one inside."""
    if not isinstance(measure, Rescaled):
        return Rescaled(measure, factor, weight)
    check_between("factor", factor, 0)
    check_between("weight", weight, 0)
    return Rescaled(measure.measure, measure.factor * factor, measure.weight * weight)


def _fold(f: Callable[[Array, Array], Array], values: Sequence[ArrayLike]) -> Array:
    return functools.reduce(f, aligned(*values))
