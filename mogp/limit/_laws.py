"""The law of the outputs: tails, characteristic function, density."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp._arrays import Real, as_inputs, as_outputs, safe_sqrt
from mogp._checks import check_between, check_count, check_key, check_numbers, is_concrete
from mogp.activations.quadrature import half_line_rule
from mogp.architecture import AbstractArchitecture
from mogp.limit._arguments import named_options
from mogp.limit._dense import sample_kernel
from mogp.limit._gaussian import check_resolved, gp_pair
from mogp.limit._jumps import NumJumps
from mogp.limit._linalg import cholesky, log_normal
from mogp.limit._recursion import gaussian_prefix, input_pair, layers_of

_NODES = (200, 800, 3200, 12_800)  # of the quadrature over a node's value, until that is enough
_ACCEPTED = {8: 1e-5, 4: 1e-4}  # its absolute error, by the bytes of a number


def tail_index(model: AbstractArchitecture) -> Real:
    """`τ` with `P(Σ(x, x) > s) ~ s^(-τ)` up to slow variation; an output has twice that index.

    `E |Z|^r` is finite for `r < 2 τ`, and infinite for `r > 2 τ`; infinity without heavy tails. A
    layer behind kernels of index `t`, with `φ(z)` growing like `|z|^g` and jumps of index `τ`,
    makes it `min(τ, t/g)`: the smallest of all layers for ReLU, that of the last for bounded
    functions; and 0 for an exponential behind a layer with jumps.

    Args:
        model: an architecture of any depth.

    Returns:
        A number above 0, or infinity; an array if the parameters of a prior are traced.

    Example:
        >>> from mogp import MoGP, priors
        >>> MoGP([priors.GBFRY(alpha=0.5, tau=1.5), priors.Gamma(1.0)]).tail_index()
        1.5
    """
    growth = model.activation.growth()
    layers = layers_of(model)
    index: Real = math.inf
    if model.random_inputs is not None:
        index = model.random_inputs.limit.levy.index_at_infinity
    for i, layer in enumerate(layers):
        if growth == math.inf:  # behind random kernels, an exponential has no moments
            known = i <= gaussian_prefix(layers) and model.random_inputs is None
            passed: Real = math.inf if known else 0.0
        else:
            passed = index / growth if growth > 0 else math.inf
        own = layer.levy.index_at_infinity
        index = min(passed, float(own)) if is_concrete(own, passed) else jnp.minimum(passed, own)
    return index


@named_options
def characteristic_function(
    model: AbstractArchitecture,
    x: ArrayLike,
    t: ArrayLike,
    *,
    key: PRNGKeyArray | None = None,
    num_samples: int = 4096,
) -> Array:
    """`E exp(i Σ_j t_j Z(x_j))` of an output at one or several points, which is real.

    With `Σ^L` the kernel before the last hidden layer, which has to be deterministic, and
    `ζ ~ GP(0, Σ^L)`, it is `exp(-½ tᵀ(σ_b² + σ_v² a E φφᵀ) t - E ψ(½ σ_v² (tᵀφ(ζ))²))`. At one
    point the last expectation is a quadrature, with as many nodes as an absolute error of 1e-5
    takes (1e-4 in single precision). Traced arguments have NaN where 400 nodes have a larger one.
    At several points it is a mean over draws of `ζ`.

    Args:
        model: an architecture whose layers have no jumps, but for the last.
        x: points, of shape (n, d).
        t: at one point, of any shape; at several, of shape (…, n). For several outputs at one
            point, their `t` enter through `√Σ t²`.
        key: a random key of the draws, for several points; None for one point.
        num_samples: the number of draws.

    Returns:
        Array of the shape of `t`, without the last axis for several points.

    Raises:
        ValueError: if a layer before the last has jumps, arguments do not fit, or the activation
            varies too fast for the quadrature.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors
        >>> model = MoGP([priors.Horseshoe()])  # its outputs are Cauchy: exp(-t/2)
        >>> model.characteristic_function(jnp.ones((1, 3)), 1.0).round(3).item()
        0.607
    """
    points, layers = as_inputs("x", x), layers_of(model)
    if gaussian_prefix(layers) < len(layers) - 1:
        raise ValueError(
            "characteristic_function is known for models whose layers before the last have no "
            f"jumps, got {model.priors}"
        )
    if np.iscomplexobj(t):
        raise ValueError("t must be real, got complex numbers")
    t, n = jnp.asarray(t, points.dtype), len(points)
    check_resolved(model, points, layers)
    if n == 1:
        return _to_tolerance(model, points, t[..., None])
    if t.ndim == 0 or t.shape[-1] != n:
        raise ValueError(f"t must have shape (…, {n}), got {t.shape}")
    if key is None:
        raise ValueError("key must be given for more than one point: key=jax.random.key(0)")
    check_key(key)
    num = check_count("num_samples", num_samples)
    what = f"{num} draws at {n} points and {t.size // n} values of t"
    check_numbers(what, num * (n + t.size // n), "fewer draws", points.dtype)
    return _at_many(model, points, t, key, num)


def _to_tolerance(model: AbstractArchitecture, x: Array, t: Array) -> Array:
    tolerance = _ACCEPTED[x.dtype.itemsize]
    for num in _NODES:
        value, error = _at_one(model, x, t, num)
        if not is_concrete(value):
            return jnp.where(error < tolerance, value, jnp.nan)
        if jnp.all(error < tolerance):
            return value
    raise ValueError(
        f"model: the quadrature over values of the activation {model.activation}, which varies too "
        f"fast at x, is off by {float(jnp.max(error)):.1g} with {2 * num} nodes: take smaller "
        "scales, or draws, with x twice, zeros beside t, and a key"
    )


@eqx.filter_jit
def _at_one(model: AbstractArchitecture, x: Array, t: Array, num: int) -> tuple[Array, Array]:
    """The value by `2 num` nodes, and how far those by fewer are from it."""
    kernel = gp_pair(model, input_pair(model, x, x), model.depth - 1).xy

    def by(num: int) -> Array:
        nodes, weights = (jnp.asarray(part, x.dtype) for part in half_line_rule(num))
        z = safe_sqrt(kernel[0, 0]) * jnp.stack([nodes, -nodes]).reshape(-1, 1)
        return _from_nodes(model, kernel, t, z, jnp.concatenate([weights, weights]))

    value = by(2 * num)
    return value, jnp.maximum(jnp.abs(value - by(num)), jnp.abs(value - by(3 * num // 2)))


@eqx.filter_jit
def _at_many(
    model: AbstractArchitecture, x: Array, t: Array, key: Array, num_samples: int
) -> Array:
    kernel = gp_pair(model, input_pair(model, x, x), model.depth - 1).xy
    noise = jax.random.normal(key, (num_samples, len(x)), x.dtype)
    weights = jnp.full((num_samples,), 1 / num_samples, x.dtype)
    return _from_nodes(model, kernel, t, noise @ cholesky(kernel).T, weights)


def _from_nodes(
    model: AbstractArchitecture, kernel: Array, t: Array, z: Array, weights: Array
) -> Array:
    layer, variance = layers_of(model)[-1], jnp.diagonal(kernel)
    diffuse = model.activation.kernel(variance[:, None], kernel, variance[None, :])
    gain = layer.weight_scale**2
    fixed = layer.bias_scale**2 + gain * layer.location * diffuse
    exponent = jnp.sum((t @ fixed) * t, -1) / 2
    if not layer.is_gaussian:
        along = t @ model.activation(z).T
        psi = layer.levy.laplace_exponent(gain * along**2 / 2).astype(t.dtype)
        exponent += psi @ weights
    return jnp.exp(-exponent)


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
        value: the estimate.
        error: its standard error.
    """

    value: Float[Array, ""]
    error: Float[Array, ""]


@named_options
def log_marginal_density(
    model: AbstractArchitecture,
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: PRNGKeyArray,
    noise_scale: Real = 0.0,
    num_samples: int = 1000,
    num_jumps: NumJumps = None,
    tolerance: float = 1e-2,
) -> Estimate:
    """`log p(y)` of outputs under the prior: the log of the mean Gaussian density over kernels.

    The error is that of the log, to first order in the spread of the densities; it is too small
    where few of the draws fit `y` at all.

    Args:
        model: as in `sample_kernel`.
        x: as in `sample_kernel`.
        key: as in `sample_kernel`.
        num_jumps: as in `sample_kernel`.
        tolerance: as in `sample_kernel`.
        y: outputs at the points, of shape (n,), or (n, num_outputs) with a shared kernel.
        noise_scale: the standard deviation of Gaussian noise on the outputs, at least 0.
        num_samples: the number of kernels drawn, at least 2.

    Returns:
        The estimate and its standard error, two scalars.

    Raises:
        ValueError: as `sample_kernel`, or if `y` is not finite.
        TypeError: as `sample_kernel`.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> model, x, y = MoGP([priors.Horseshoe()]), jax.numpy.ones((1, 3)), jax.numpy.ones(1)
        >>> options = {"num_samples": 100, "num_jumps": 20}
        >>> bool(model.log_marginal_density(x, y, key=jax.random.key(0), **options).error < 0.5)
        True
    """
    points = as_inputs("x", x)
    targets = as_outputs("y", y, len(points), points.dtype)
    if not is_concrete(noise_scale) or noise_scale != 0:
        check_between("noise_scale", noise_scale, 0)
    if check_count("num_samples", num_samples) < 2:
        raise ValueError("num_samples must be at least 2, got 1")
    kernels = sample_kernel(
        model, points, key=key, num_samples=num_samples, num_jumps=num_jumps, tolerance=tolerance
    )
    return _estimate(kernels, targets, jnp.asarray(noise_scale, points.dtype))


@eqx.filter_jit
def _estimate(kernels: Array, y: Array, noise_scale: Array) -> Estimate:
    def log_density(kernel: Array) -> Array:
        covariance = kernel + noise_scale**2 * jnp.eye(len(y), dtype=y.dtype)
        return log_normal(y, covariance, cholesky(covariance))

    values = jax.lax.map(log_density, kernels, batch_size=64)
    value = jax.nn.logsumexp(values) - math.log(len(values))
    spread = jnp.std(jnp.exp(values - value), ddof=1)
    return Estimate(value, spread / len(values) ** 0.5)
