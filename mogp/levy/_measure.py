"""What every Lévy measure offers."""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned, as_float, with_rank
from mogp._checks import check_between, check_count
from mogp.levy._inverse import log_inverse_tail
from mogp.levy._jumps import Jumps, dtype_of, jumps_above, ranked_jumps, total_from_jumps
from mogp.levy._laplace import laplace_exponent

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(method: F) -> F:
    """The method under `jit`, with numbers traced: eager calls compile once, not once a value."""
    jitted = eqx.filter_jit(method)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, (args, kwargs)
        )
        return jitted(*args, **kwargs)

    return call  # type: ignore[return-value]


class LevyMeasure(eqx.Module):
    """A Lévy measure `ρ` on (0, ∞): the intensity of the jumps of a node-variance law's limit.

    It satisfies `∫ min(1, x) ρ(dx) < ∞`. Parameters are fields: numbers, tracers, or arrays whose
    shapes broadcast to `batch_shape`; arguments of the elementwise methods broadcast against that.
    All methods run under `jit`, `vmap` and `grad`, in the precision of argument and parameters. A
    concrete parameter out of its range raises `ValueError`; a traced one gives NaN.

    A new measure is a subclass that defines `_log_density`, `_log_tail`, `_log_moment` and the
    abstract properties. Jumps span hundreds of orders of magnitude, so these methods are in
    `v = log x`; they are called with `v` inside the support only.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {}  # open ranges of the parameters

    def __check_init__(self) -> None:
        for name, (low, high) in self.bounds.items():
            check_between(name, getattr(self, name), low, high)

    # --- what a measure defines -------------------------------------------------------------

    @abc.abstractmethod
    def _log_density(self, v: Array) -> Array:
        """`log x ρ(x)` at `x = e^v`."""

    @abc.abstractmethod
    def _log_tail(self, v: Array) -> Array:
        """`log ρ̄(e^v)`."""

    def _log_tail_and_density(self, v: Array) -> tuple[Array, Array]:
        """Both, for measures where they share work."""
        return self._log_tail(v), self._log_density(v)

    @abc.abstractmethod
    def _log_moment(self, k: Array, v: Array) -> Array:
        """`log ∫_0^x z^k ρ(dz)` at `x = e^v`, the upper end of the support included, if finite."""

    def _line(self, q: Array) -> Array:
        """An increasing map from the real line to the logarithms of the support.

        The inverse tail is solved for on this line, in a few steps where `log ρ̄` is nearly made of
        two straight lines there that meet at 0.
        """
        q, low, high = aligned(q, *self.support)
        bounded, lifted = high < jnp.inf, low > 0
        top, bottom = jnp.log(jnp.where(bounded, high, 1)), jnp.log(jnp.where(lifted, low, 1))
        from_zero = jnp.where(bounded, top + jax.nn.log_sigmoid(q), q)
        rise = jnp.where(bounded, (top - bottom) * jax.nn.sigmoid(q), jax.nn.softplus(q))
        return jnp.where(lifted, bottom + rise, from_zero)

    def _kinks(self) -> tuple[Real, ...]:
        """Points inside the support where the tail is not smooth; infinity does not count."""
        return ()

    def _start(self, w: Array) -> Array:
        """Where on the line to start the search for `log ρ̄ = w`."""
        return jnp.zeros_like(w)

    def _exact_total(self, key: Array, weight: Array) -> Array | None:
        """Draws of the total of `weight * ρ`, of the shape of `weight`; None if there is no way."""
        del key, weight
        return None

    def _sample_total(self, key: Array, weight: Array, num_jumps: int) -> Array:
        """The same, with the largest jumps and a gamma variable where there is no way."""
        exact = self._exact_total(key, weight)
        return total_from_jumps(self, key, weight, num_jumps) if exact is None else exact

    @property
    @abc.abstractmethod
    def index_at_zero(self) -> Real:
        """`α` with `ρ̄(x) ~ C x^(-α)` up to slow variation as `x → 0`; 0 without small jumps."""

    @property
    @abc.abstractmethod
    def index_at_infinity(self) -> Real:
        """`τ` with `ρ̄(x) ~ C x^(-τ)` up to slow variation as `x → ∞`; infinity if lighter."""

    @property
    def total_mass(self) -> Real:
        """`ρ((0, ∞))`, the expected number of jumps; infinite where jumps accumulate at 0."""
        return np.inf

    @property
    def support(self) -> tuple[Real, Real]:
        """The ends of the smallest interval that holds all jumps."""
        return 0.0, np.inf

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape that the parameters broadcast to."""
        return jnp.broadcast_shapes(*(jnp.shape(leaf) for leaf in jax.tree.leaves(self)))

    # --- functions of the size of a jump ----------------------------------------------------

    def density(self, x: ArrayLike) -> Array:
        """`ρ(x)`, elementwise; 0 outside the support."""
        return jnp.exp(self.log_density(x))

    def log_density(self, x: ArrayLike) -> Array:
        """`log ρ(x)`, elementwise; minus infinity outside the support."""
        v = _log(x)
        return self.log_density_of_log(v) - jnp.where(jnp.isinf(v), 0, v)

    @_compiled
    def log_density_of_log(self, v: ArrayLike) -> Array:
        """`log x ρ(x)` at `x = e^v`: the log-intensity of the logarithms of the jumps."""
        return self._extended(self._log_density, v, -jnp.inf, -jnp.inf)

    def tail(self, x: ArrayLike) -> Array:
        """`ρ̄(x) = ρ((x, ∞))`, the expected number of jumps above `x`, elementwise."""
        return jnp.exp(self.log_tail_of_log(_log(x)))

    @_compiled
    def log_tail_of_log(self, v: ArrayLike) -> Array:
        """`log ρ̄(e^v)`, elementwise."""
        return self._extended(self._log_tail, v, jnp.log(self.total_mass), -jnp.inf)

    def moment(self, k: ArrayLike, upper: ArrayLike = np.inf) -> Array:
        """`∫_0^upper x^k ρ(dx)`, elementwise, for real `k`; infinite where it diverges."""
        return jnp.exp(self.log_moment_of_log(k, _log(upper)))

    @_compiled
    def log_moment_of_log(self, k: ArrayLike, v: ArrayLike = np.inf) -> Array:
        """`log ∫_0^x z^k ρ(dz)` at `x = e^v`, elementwise."""
        dtype = aligned(k, v)[0].dtype
        ends = self.index_at_zero, self.index_at_infinity, self.total_mass, self.support[1]
        k, v, low, high, mass, last = aligned(jnp.asarray(k, dtype), jnp.asarray(v, dtype), *ends)
        v = jnp.minimum(v, jnp.log(last))
        below, above = ~(k <= low) | (mass < jnp.inf), ~(k >= high) | (v < jnp.inf)
        k = jnp.where(below, k, low + 1)
        moment = self._extended(
            lambda v: self._log_moment(k, v), jnp.where(above, v, 0), -jnp.inf, jnp.inf, closed=True
        )
        finite, moment = _same_rank(below & above, moment)
        return jnp.where(finite, moment, jnp.inf)

    @_compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        """`ψ(t) = ∫ (1 - e^(-t x)) ρ(dx)`, elementwise: `E e^(-t Σ jumps) = e^(-ψ(t))`, `t ≥ 0`."""
        return laplace_exponent(self, as_float(t))

    # --- jumps ------------------------------------------------------------------------------

    def inverse_tail(self, u: ArrayLike) -> Array:
        """`ρ̄⁻¹(u) = inf {x: ρ̄(x) ≤ u}`, elementwise: the size that `u` jumps exceed on average.

        The upper end of the support at `u = 0`, 0 from `total_mass` on, NaN for negative `u` and
        for NaN. Derivatives in `u` and in the parameters are those of the implicit function:
        `∂x/∂u = -1/ρ(x)` and `∂x/∂θ = ∂_θ ρ̄(x) / ρ(x)`.
        """
        return jnp.exp(self.log_inverse_tail(u))

    @_compiled
    def log_inverse_tail(self, u: ArrayLike) -> Array:
        """`log ρ̄⁻¹(u)`, elementwise, which tells the size of a jump too small for a float."""
        return log_inverse_tail(self, u)

    @_compiled
    def ranked_jumps(self, num: int, *, key: Array, shape: tuple[int, ...] = ()) -> Jumps:
        """The `num` largest jumps of a Poisson process of intensity `ρ`, exactly.

        The inverse Lévy construction (Ferguson and Klass, 1972): `ρ̄⁻¹` of the arrival times of a
        unit Poisson process.

        Args:
            num: number of jumps to keep, at least 1.
            key: random key.
            shape: shape of the sample of processes.

        Returns:
            Jumps of shape `shape + batch_shape + (num,)`, and what the others add up to.
        """
        return ranked_jumps(self, check_count("num", num), key, shape)

    @_compiled
    def jumps_above(
        self, threshold: ArrayLike, num: int, *, key: Array, shape: tuple[int, ...] = ()
    ) -> Jumps:
        """The jumps larger than a threshold, in decreasing order, exactly.

        Their number is Poisson with mean `tail(threshold)`.

        Args:
            threshold: not negative.
            num: the most jumps to keep, at least 1; the smaller ones of a process with more are
                accounted for in its residual mass.
            key: random key.
            shape: shape of the sample of processes.

        Returns:
            Jumps of shape `shape + batch_shape + (num,)`, padded with zeros.
        """
        return jumps_above(self, threshold, check_count("num", num), key, shape)

    @_compiled
    def sample_total(
        self, *, key: Array, shape: tuple[int, ...] = (), num_jumps: int = 1000
    ) -> Array:
        """Draws of the sum of all jumps.

        Exact for `Stable`, `Gamma`, `GeneralizedGamma`, `InverseGaussian`, `CompoundPoisson`,
        `NoJumps`, and for scaled, weighted and summed ones. Otherwise the largest jumps are drawn,
        and the sum of the others is replaced by a gamma variable of the same mean and variance
        given those: mean and variance of the total are exact, its third cumulant is wrong by that
        of the jumps that are not kept at most.

        Args:
            key: random key.
            shape: shape of the sample.
            num_jumps: number of the largest jumps drawn where the law of the total is not known.

        Returns:
            Array of shape `shape + batch_shape`.
        """
        weight = jnp.ones((*shape, *self.batch_shape), dtype_of(self))
        return self._sample_total(key, weight, check_count("num_jumps", num_jumps))

    # --- algebra ----------------------------------------------------------------------------

    def scaled(self, factor: Real) -> "LevyMeasure":
        """The measure of the jumps times `factor`, positive: `ρ̄(x / factor)`."""
        from mogp.levy._algebra import Scaled

        return Scaled(self, factor)

    def __mul__(self, weight: Real) -> "LevyMeasure":
        """The intensity times `weight`, positive: more jumps of the same sizes."""
        from mogp.levy._algebra import Weighted

        return Weighted(self, weight)

    __rmul__ = __mul__

    def __add__(self, other: "LevyMeasure") -> "LevyMeasure":
        """The jumps of two independent processes, taken together."""
        from mogp.levy._algebra import Sum

        if not isinstance(other, LevyMeasure):
            return NotImplemented
        parts = [m.parts if isinstance(m, Sum) else (m,) for m in (self, other)]
        return Sum(parts[0] + parts[1])

    # --- helpers ----------------------------------------------------------------------------

    def _with_axis(self) -> Self:
        """The measure with one more axis at the end of its batch shape, if it has one."""
        if self.batch_shape == ():
            return self
        return jax.tree.map(with_last_axis, self)

    def _with(self, *values: ArrayLike) -> list[Array]:
        """The values and the parameters of `bounds`, of one dtype and rank; NaN out of range."""
        arrays = aligned(*values, *(getattr(self, name) for name in self.bounds))
        for i, (low, high) in enumerate(self.bounds.values(), start=len(values)):
            inside = (arrays[i] > low) & (arrays[i] < high)
            arrays[i] = jnp.where(inside, arrays[i], jnp.nan)
        return arrays

    def _extended(
        self,
        inner: Callable[[Array], Array],
        v: ArrayLike,
        below: ArrayLike,
        above: ArrayLike,
        *,
        closed: bool = False,
    ) -> Array:
        """A function of `v` in the support, extended to the real line; NaN stays NaN."""
        dtype = aligned(v, *self.support)[0].dtype
        v, low, high, below, above, within = aligned(
            v,
            *(jnp.log(end) for end in self.support),
            below,
            above,
            self._line(jnp.zeros((), dtype)),
        )
        inside = (v > low) & ((v <= high) if closed else (v < high))
        value = inner(jnp.where(inside, v, within))
        unknown = jnp.isnan(v) | jnp.isnan(low) | jnp.isnan(high)
        outside = jnp.where(unknown, jnp.nan, jnp.where(v <= low, below, above))
        inside, outside, value = _same_rank(inside, outside, value)
        return jnp.where(inside, value, outside)


def with_last_axis(x: Real) -> Real:
    """One more axis at the end, but none for scalars."""
    return jnp.asarray(x)[..., None] if jnp.ndim(x) else x


def _log(x: ArrayLike) -> Array:
    """`log x`; minus infinity for `x ≤ 0`.

    Subnormal numbers, which XLA may or may not take for 0, are raised to the smallest normal one.
    """
    x = as_float(x)
    positive = x > 0
    tiny = float(np.finfo(x.dtype).tiny)
    v = jnp.log(jnp.where(positive, jnp.maximum(x, tiny), 1))
    return jnp.where(positive, v, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))


def _same_rank(*arrays: Array) -> list[Array]:
    """Arrays, of any dtype, of one rank."""
    ndim = max(a.ndim for a in arrays)
    return [with_rank(a, ndim) for a in arrays]
