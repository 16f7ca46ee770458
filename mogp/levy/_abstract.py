"""What a Lévy measure defines, and how these definitions reach beyond its support."""

import abc
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import Real, aligned, as_float
from mogp._checks import check_between, is_concrete

F = TypeVar("F", bound=Callable[..., Any])
POSITIVE = (0.0, math.inf)


class AbstractMeasure(eqx.Module):
    """The hooks of a Lévy measure, which subclasses of `LevyMeasure` fill in.

    Jumps span hundreds of orders of magnitude. The hooks therefore take the logarithm `v = log x`
    of a size and return logarithms. They are called with floating arrays of any shape whose values
    lie strictly inside the support, and work elementwise.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {}
    """The open range of each parameter, by the name of its field: checked when the measure is
    made, unless the parameter is traced."""

    def __check_init__(self) -> None:
        for name, (low, high) in self.bounds.items():
            value = getattr(self, name)
            check_scalar(name, value)
            check_between(name, value, low, high)

    # --- mandatory --------------------------------------------------------------------------

    @abc.abstractmethod
    def log_density_inside(self, v: Array) -> Array:
        """`log x ρ(x)` at `x = e^v`, elementwise."""

    @abc.abstractmethod
    def log_tail_inside(self, v: Array) -> Array:
        """`log ρ̄(x) = log ρ((x, ∞))` at `x = e^v`, elementwise."""

    @abc.abstractmethod
    def log_moment_inside(self, k: Array, v: Array) -> Array:
        """`log ∫_0^x z^k ρ(dz)` at `x = e^v`, elementwise.

        Args:
            k: real orders, of the rank of `v` or a scalar; called where the moment is finite only.
            v: as for the other hooks, but the upper end of the support is included: infinity where
                the support has no end, and the moment is complete.
        """

    @property
    @abc.abstractmethod
    def index_at_zero(self) -> Real:
        """`α` with `ρ̄(x) ~ C x^(-α)` up to slow variation as `x → 0`; 0 without small jumps."""

    @property
    @abc.abstractmethod
    def index_at_infinity(self) -> Real:
        """`τ` with `ρ̄(x) ~ C x^(-τ)` up to slow variation as `x → ∞`; infinity if lighter."""

    # --- optional ---------------------------------------------------------------------------

    @property
    def total_mass(self) -> Real:
        """`ρ((0, ∞))`, the expected number of jumps; infinite where jumps accumulate at 0."""
        return np.inf

    @property
    def support(self) -> tuple[Real, Real]:
        """The ends of the smallest interval that holds all jumps."""
        return 0.0, np.inf

    @property
    def kinks(self) -> tuple[Real, ...]:
        """Sizes inside the support where the tail is not smooth; infinity does not count."""
        return ()

    def log_tail_and_density_inside(self, v: Array) -> tuple[Array, Array]:
        """`log_tail_inside(v)` and `log_density_inside(v)`, for measures where they share work."""
        return self.log_tail_inside(v), self.log_density_inside(v)

    def line(self, q: Array) -> Array:
        """An increasing smooth map from the real line onto the logarithms of the support.

        The inverse tail is solved for on this line by Newton's method, in a few steps where
        `log ρ̄` is nearly made of two straight lines there that meet at `q = 0`.
        """
        q, low, high = aligned(q, *self.support)
        bounded, lifted = high < jnp.inf, low > 0
        top, bottom = jnp.log(jnp.where(bounded, high, 1)), jnp.log(jnp.where(lifted, low, 1))
        from_zero = jnp.where(bounded, top + jax.nn.log_sigmoid(q), q)
        rise = jnp.where(bounded, (top - bottom) * jax.nn.sigmoid(q), jax.nn.softplus(q))
        return jnp.where(lifted, bottom + rise, from_zero)

    def line_start(self, w: Array) -> Array:
        """Points of the line from which to search for `log ρ̄ = w`, of the shape of `w`."""
        return jnp.zeros_like(w)

    def exact_total(self, key: Array, shape: tuple[int, ...], weight: Array) -> Array | None:
        """Draws of the sum of all jumps of `weight * ρ`.

        Args:
            key: random key.
            shape: shape of the draws.
            weight: positive scalar, in the precision that the draws shall have.

        Returns:
            Array of the shape; or None, the default, where the law of the sum is not known: then
            `sample_total` draws the largest jumps.
        """
        del key, shape, weight
        return None

    # --- help -------------------------------------------------------------------------------

    def with_parameters(self, *values: ArrayLike) -> list[Array]:
        """The values, followed by the parameters named in `bounds`, all of one floating dtype.

        A parameter that is out of its range is replaced by NaN, so that a traced one, which cannot
        be checked, makes the result NaN.

        Raises:
            ValueError: if a parameter is not a scalar.
        """
        parameters = [getattr(self, name) for name in self.bounds]
        for name, value in zip(self.bounds, parameters, strict=True):
            check_scalar(name, value)
        arrays = aligned(*values, *parameters)
        for i, (low, high) in enumerate(self.bounds.values(), start=len(values)):
            inside = (arrays[i] > low) & (arrays[i] < high)
            if not (is_concrete(inside) and inside):  # no NaN where none is needed
                arrays[i] = jnp.where(inside, arrays[i], jnp.nan)
        return arrays


def check_scalar(name: str, value: Any) -> None:
    """Raise unless the value of a parameter is a number, an array without axes or such a tracer."""
    try:
        shape = np.shape(value)
    except ValueError:  # a list of lists of different lengths
        shape = (len(value),)
    if shape:
        raise ValueError(
            f"{name} must be one number, got an array of shape {shape}: use jax.vmap over measures"
        )


def check_measure(name: str, value: object) -> None:
    """Raise unless the value is a Lévy measure."""
    if not isinstance(value, AbstractMeasure):
        raise ValueError(f"{name} must be a Lévy measure, got {value!r}")


def compiled(method: F) -> F:
    """The method under `jit`, with numbers traced: eager calls compile once, not once a value."""
    jitted = eqx.filter_jit(method)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return jitted(*traced_numbers(args), **traced_numbers(kwargs))

    return call  # type: ignore[return-value]


def traced_numbers(tree: Any) -> Any:
    """The tree with arrays in place of its floats, which Equinox would take for constants."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)


def log_of_size(x: ArrayLike) -> Array:
    """`log x`; minus infinity for `x ≤ 0`.

    Subnormal numbers, which XLA may or may not take for 0, are raised to the smallest normal one.
    """
    x = as_float(x)
    positive = x > 0
    tiny = float(np.finfo(x.dtype).tiny)
    v = jnp.log(jnp.where(positive, jnp.maximum(x, tiny), 1))
    return jnp.where(positive, v, jnp.where(jnp.isnan(x), jnp.nan, -jnp.inf))


def extended(
    measure: AbstractMeasure,
    inner: Callable[[Array], Array],
    v: ArrayLike,
    below: ArrayLike,
    above: ArrayLike,
    *,
    closed: bool = False,
) -> Array:
    """A function of `v` inside the support, extended to the real line; NaN stays NaN.

    Args:
        measure: whose support is meant.
        inner: the function; it is called with points of the support only.
        v: logarithms of sizes.
        below: value up to the lower end of the support.
        above: value from the upper end on.
        closed: whether `inner` is also for the upper end.
    """
    dtype = aligned(v, *measure.support)[0].dtype
    v, low, high, below, above, within = aligned(
        v,
        *(jnp.log(end) for end in measure.support),
        below,
        above,
        measure.line(jnp.zeros((), dtype)),
    )
    inside = (v > low) & ((v <= high) if closed else (v < high))
    value = inner(jnp.where(inside, v, within))
    unknown = jnp.isnan(v) | jnp.isnan(low) | jnp.isnan(high)
    outside = jnp.where(unknown, jnp.nan, jnp.where(v <= low, below, above))
    return jnp.where(inside, value, outside)
