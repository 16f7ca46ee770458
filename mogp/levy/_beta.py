"""Measures with a largest possible jump: beta, stable beta and the regularised horseshoe."""

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from mogp._arrays import Real
from mogp._checks import is_concrete
from mogp.levy._abstract import POSITIVE, compiled
from mogp.levy._measure import LevyMeasure
from mogp.levy.incomplete import log_lower_beta, log_upper_beta


class AbstractBeta(LevyMeasure):
    """`ρ(x) = C x^(-1-α) (1-x)^(d-1)` on (0, 1), with `α` in [0, 1) and `d > 0`."""

    index_at_infinity = math.inf
    support = (0.0, 1.0)

    @abc.abstractmethod
    def _triple(self, *values: ArrayLike) -> list[Array]:
        """The values, then `α`, `d` and `log C`."""

    def log_density_inside(self, v: Array) -> Array:
        v, alpha, d, constant = self._triple(v)
        return constant - alpha * v + (d - 1) * jnp.log(-jnp.expm1(v))

    def log_tail_inside(self, v: Array) -> Array:
        v, alpha, d, constant = self._triple(v)
        return constant + log_upper_beta(alpha, d, v)

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, alpha, d, constant = self._triple(k, v)
        return constant + log_lower_beta(k - alpha, d, v)

    def line(self, q: Array) -> Array:
        q, _, d, _ = self._triple(q)
        return jax.nn.log_sigmoid(q - jnp.log1p(d))


class Beta(AbstractBeta):
    """The beta measure `η b x^(-1) (1-x)^(b-1)` on (0, 1) (Hjort, 1990).

    Args:
        mass: `η`, positive: the expected sum of all jumps.
        concentration: `b`, positive.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.Beta(1.0, 0.5).tail(0.3)), 5)  # artanh √0.7
        1.20994
    """

    mass: Real
    concentration: Real = 1.0
    bounds: ClassVar = {"mass": POSITIVE, "concentration": POSITIVE}
    index_at_zero = 0.0

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, mass, b = self.with_parameters(*values)
        return [*arrays, jnp.zeros((), b.dtype), b, jnp.log(mass) + jnp.log(b)]


class StableBeta(AbstractBeta):
    """`η Γ(1+b) / (Γ(1-α) Γ(b+α)) x^(-1-α) (1-x)^(b+α-1)` on (0, 1) (Teh and Görür, 2009).

    Args:
        alpha: index at zero `α`, in (0, 1).
        concentration: `b`, above `-alpha`.
        mass: `η`, positive: the expected sum of all jumps.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.StableBeta(0.4, 1.0, 2.0).moment(1)), 5)
        2.0
    """

    alpha: Real
    concentration: Real = 1.0
    mass: Real = 1.0
    bounds: ClassVar = {"alpha": (0.0, 1.0), "concentration": (-1.0, math.inf), "mass": POSITIVE}

    def __check_init__(self) -> None:
        super().__check_init__()  # Equinox would call it after this one
        both = self.alpha, self.concentration
        if is_concrete(*both) and not self.alpha + self.concentration > 0:
            raise ValueError(
                f"concentration must be above -alpha, got concentration={both[1]}, alpha={both[0]}"
            )

    def _triple(self, *values: ArrayLike) -> list[Array]:
        *arrays, alpha, b, mass = self.with_parameters(*values)
        d = jnp.where(b + alpha > 0, b + alpha, jnp.nan)
        constant = jnp.log(mass) + gammaln(1 + b) - gammaln(1 - alpha) - gammaln(d)
        return [*arrays, alpha, d, constant]

    @property
    def index_at_zero(self) -> Real:
        return self.alpha


class RegularizedHorseshoe(LevyMeasure):
    """`ρ̄(x) = (2/π) √((1 - c x) / x)` on (0, 1/c), the horseshoe cut off by a slab.

    The limit of the law of `S/(1 + c S)`, `S = (|C|/p)²` with `C` standard Cauchy (Piironen and
    Vehtari, 2017; [DW], Section 3). Next to the end of the support the distance `1 - c x` has the
    rounding error of `log c + log x`, which is none for `c = 1`.

    Args:
        slab: `c`, positive; no jump is larger than `1/c`.

    Example:
        >>> from mogp import levy
        >>> round(float(levy.RegularizedHorseshoe(1.0).tail(0.3)), 5)
        0.97245
    """

    slab: Real = 1.0
    bounds: ClassVar = {"slab": POSITIVE}
    index_at_zero = 0.5
    index_at_infinity = math.inf

    def log_density_inside(self, v: Array) -> Array:
        v, slab = self.with_parameters(v)
        return -math.log(math.pi) - (v + jnp.log(-jnp.expm1(v + jnp.log(slab)))) / 2

    def log_tail_inside(self, v: Array) -> Array:
        v, slab = self.with_parameters(v)
        return math.log(2 / math.pi) + (jnp.log(-jnp.expm1(v + jnp.log(slab))) - v) / 2

    def log_moment_inside(self, k: Array, v: Array) -> Array:
        k, v, slab = self.with_parameters(k, v)
        half = jnp.full((), 0.5, v.dtype)
        log_slab = jnp.log(slab)
        scaled = log_lower_beta(k - 0.5, half, jnp.minimum(v + log_slab, 0))
        return (0.5 - k) * log_slab - math.log(math.pi) + scaled

    @compiled
    def log_inverse_tail(self, u: ArrayLike) -> Array:
        u, slab = self.with_parameters(u)
        square = (math.pi / 2 * jnp.where(u >= 0, u, jnp.nan)) ** 2
        return -jnp.log(slab) - jnp.log1p(square / slab)

    @compiled
    def laplace_exponent(self, t: ArrayLike) -> Array:
        t, slab = self.with_parameters(t)  # of the measure with slab 1: its support ends at 1
        return jnp.sqrt(slab) * StableBeta(0.5, 0.0).laplace_exponent(t / slab)

    def line(self, q: Array) -> Array:
        q, slab = self.with_parameters(q)
        return jax.nn.log_sigmoid(q) - jnp.log(slab)

    @property
    def support(self) -> tuple[Real, Real]:
        return 0.0, 1 / self.with_parameters()[0]
