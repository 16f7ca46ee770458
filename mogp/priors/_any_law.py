"""What the library asks of the distribution of a node variance, be it ours or another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from mogp._arrays import as_float
from mogp._checks import is_concrete


def check_law(name: str, value: Any) -> None:
    """Raise unless this is a distribution of single numbers in [0, ∞), as far as it tells."""
    good = isinstance(value, Distribution) and value.event_shape == ()
    if good and not hasattr(value, "log_density_of_log") and has_density(value):
        # Just below 0, where a distribution on [0, ∞) has no density.
        inside = [value.support(x) for x in (-1.0, -1e-6)]
        good = not is_concrete(inside) or not np.any(inside)
    if not good:
        raise ValueError(
            f"{name} must be a NumPyro distribution of numbers in [0, inf), got {value!r}"
        )


def has_density(law: Distribution) -> bool:
    """Whether `log λ` has a density, so that node variances can be trained and sampled.

    A distribution says so by an attribute `has_density`, which one of your own with a point mass
    must have. Without it the answer is False for a `Delta`, for discrete distributions and for
    transformations and mixtures of those, and True otherwise. Parameters may be tracers.

    Args:
        law: a NumPyro distribution on [0, ∞).

    Returns:
        A Python bool, also under `jit`.

    Raises:
        ValueError: if `law` is no NumPyro distribution.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> priors.has_density(dist.LogNormal(0.0, 1.0)), priors.has_density(dist.Delta(1.0))
        (True, False)
    """
    if not isinstance(law, Distribution):
        raise ValueError(f"law must be a NumPyro distribution, got {law!r}")
    declared = getattr(law, "has_density", None)
    if declared is not None:
        return bool(declared)
    if isinstance(law, dist.Delta) or law.is_discrete:
        return False
    parts = [getattr(law, "base_dist", None)]
    if isinstance(law, dist.MixtureGeneral):
        parts = list(law.component_distributions)
    elif isinstance(law, dist.MixtureSameFamily):
        parts = [law.component_distribution]
    return all(has_density(part) for part in parts if part is not None)


def log_density_of_log(law: Distribution, u: ArrayLike) -> Array:
    """Log-density of `u = log λ`, which is `log p(e^u) + u`, the Jacobian included.

    A distribution with a method `log_density_of_log`, such as all of this room, is asked for it.
    For any other this is `law.log_prob(exp(u)) + u` where `exp(u)` is a float, continued by its
    tangent: exactly so for a power law.

    Args:
        law: a NumPyro distribution on [0, ∞) with a density.
        u: logarithms, of any shape that broadcasts against the batch shape of the distribution.

    Returns:
        An array of the common shape, in the precision of `u`; minus infinity outside the support.

    Raises:
        ValueError: if the distribution has no density; see `has_density`.

    Example:
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> print(priors.log_density_of_log(dist.Exponential(1.0), 0.0))  # -e^0 + 0
        -1.0
    """
    if not has_density(law):
        raise ValueError(f"law must have a density of log λ, got {law}, which has none")
    own = getattr(law, "log_density_of_log", None)
    if own is not None:
        return own(u)
    u = as_float(u)
    shape = jnp.broadcast_shapes(u.shape, law.batch_shape)
    u = jnp.broadcast_to(u.reshape((1,) * (len(shape) - u.ndim) + u.shape), shape)
    # One rank for value and parameters: NumPyro promotes ranks, which JAX may be told to refuse.
    function = _log_density
    for _ in range(len(shape) - len(law.batch_shape)):
        function = jax.vmap(function, (None, 0))
    return function(law, u).astype(u.dtype)


def _log_density(law: Distribution, u: Array) -> Array:
    """For `u` of the batch shape."""
    # Room for derivatives in λ, which are 1/λ times larger or smaller.
    low, high = (np.log(float(end)) for end in (np.finfo(u.dtype).tiny, np.finfo(u.dtype).max))
    near = jnp.clip(u, low + 16, high - 16)
    # Any other value than those of the support: NumPyro would warn, and autodiff may give NaN.
    feasible = jax.lax.stop_gradient(jnp.asarray(law.support.feasible_like(u), u.dtype))

    def density(v: Array) -> Array:
        x = jnp.exp(v)
        inside = law.support(x)
        log_prob = law.log_prob(jnp.where(inside, x, feasible)) + v
        return jnp.where(inside, log_prob, -jnp.inf)

    # The tangent at a constant point, so that inside the derivative is that of the density alone.
    fixed = jax.lax.stop_gradient(near)
    value, slope = jax.jvp(density, (fixed,), (jnp.ones_like(fixed),))
    # Formulas in λ² or 1/λ overflow towards both ends, where the density is next to nothing.
    far = (u < low / 2) | (u > high / 2)
    lost = jnp.isinf(value) | (far & ~(jnp.isfinite(value) & jnp.isfinite(slope)))
    lost |= jnp.isinf(u) | jnp.isnan(u)
    slope = jnp.where((near != u) & ~lost, slope, 0)
    kept = density(jnp.where(lost, jnp.log(feasible), near)) + slope * jnp.where(lost, 0, u - near)
    return jnp.where(lost, -jnp.inf, kept)


def sample_log(law: Distribution, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Draws of `log λ`.

    A distribution with a method `sample_log`, such as those of this room with a density, is asked
    for it. Otherwise it is the logarithm of a draw of `λ`. A draw may be so small that the float
    is 0; if the distribution has a density it is then raised to the smallest normal float, because
    a node with `log λ` of minus infinity could never be moved again.

    Args:
        law: a NumPyro distribution on [0, ∞).
        key: random key.
        shape: shape of the sample.

    Returns:
        An array of shape `shape + law.batch_shape`; minus infinity for nodes that are off, which
        occur without a density only.

    Example:
        >>> import jax
        >>> from numpyro import distributions as dist
        >>> from mogp import priors
        >>> priors.sample_log(dist.Exponential(1.0), jax.random.key(0), (3,)).shape
        (3,)
    """
    free = has_density(law)
    own = getattr(law, "sample_log", None)
    if own is not None:
        return own(key, shape)
    draws = as_float(law.sample(key, shape))
    if free:
        draws = jnp.maximum(draws, float(np.finfo(draws.dtype).tiny))
    return jnp.log(draws)
