"""Wasserstein gradient flows of Gaussian-mixture layers."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mogp.nn import GMLayer


def wasserstein_flow(step: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Explicit Euler steps of the Bures-Wasserstein gradient flow of GM layers ([GM], Theorem 1).

    Write component `k` as `(ω, β) = (a, μ) + C ε`. The flow of the mixing measure moves every
    component by `d(a, μ, C)/dt = -K ∇`, with the Euclidean gradient `∇` of the objective: the
    components are particles of weight `1/K`, and the neurons of component `k` are what moves.

    - Full covariance: `a, μ, C` are the parameters, so this is `K` times the gradient, and it is
      the flow exactly: `∇ = 2 G C` with a symmetric `G`, so that `Σ̇ = -2K (GΣ + ΣG)`.
    - Diagonal covariance: `a = Uμ + v` and the rows of `C` are `diag σ` for `β`, `W = U diag σ` for
      `ω`. In `(μ, σ, a, W)` the step is again `K` times the gradient, which chain rules carry over
      to `(μ, σ, U, v)`: `∂_W = (∂_U - ∂_v μᵀ)/σ`, `∂_a = ∂_v`, `∂_σ - Σ_l U_l ∂_W,l`,
      `∂_μ - Uᵀ ∂_v`; then `U̇ = (Ẇ - U σ̇)/σ` and `v̇ = ȧ - U̇ μ - U μ̇`. This is steepest descent in
      the metric `E ‖d(ω, β)‖²` at fixed `ε`. The Bures-Wasserstein metric is the least of these
      over rotations of `ε`, so on the diagonal family, which rotations leave, the two agree only
      where `Wᵀ Ẇ` is symmetric, as for `d = 1`.
    - Low rank: both, for `(μ, σ, U, v)` and for `(F, V)`.

    Where `σ = 0`, `U` has no part in the law of the neurons and stays. Small `σ` make `U` stiff:
    steps must be well below `σ²/K`. Arrays outside GM layers take plain gradient steps of the same
    length, and so do node variances.

    Args:
        step: time of one step, a number or an Optax schedule.

    Returns:
        An Optax transformation whose `update` needs the parameters.

    Raises:
        ValueError: in `update` of the result, if the parameters are not given.

    Example:
        >>> import jax
        >>> from mogp import inference, nn
        >>> x, y = jax.numpy.ones((20, 3)), jax.numpy.zeros((20,), int)
        >>> layer = nn.GMLayer(3, 2, components=4, key=jax.random.key(0))
        >>> optimizer = inference.wasserstein_flow(0.01)
        >>> result = inference.fit(
        ...     layer, x, y, key=jax.random.key(1), batch_size=20, optimizer=optimizer,
        ...     progress=False,
        ... )
        >>> bool(result.history["loss"][-1] < result.history["loss"][0])
        True
    """

    def update(updates: Any, _: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(
                "wasserstein_flow needs the parameters: update(updates, state, params)"
            )
        directions = jax.tree.map(_ascent, params, updates, is_leaf=_is_layer)
        return directions, optax.EmptyState()

    direction = optax.GradientTransformation(lambda _: optax.EmptyState(), update)
    return optax.chain(direction, optax.scale_by_learning_rate(step))


def _is_layer(node: Any) -> bool:
    return isinstance(node, GMLayer)


def _ascent(node: Any, gradient: Any) -> Any:
    """Minus the velocity of a layer; the gradient of anything else."""
    if not _is_layer(node):
        return gradient
    here, new = node.arrays(), gradient.arrays()
    if "scales" in here:
        names = ("means", "offsets", "scales", "slopes")
        at = here["means"], here["scales"], here["slopes"]
        found = jax.vmap(_diagonal)(*at, *(new[name] for name in names))
        new |= dict(zip(names, found, strict=True))
    number = len(here["means"])
    return gradient.with_arrays({name: number * array for name, array in new.items()})


def _diagonal(
    mu: Array, sigma: Array, u: Array, by_mu: Array, by_v: Array, by_sigma: Array, by_u: Array
) -> tuple[Array, Array, Array, Array]:
    """Steepest ascent in `(μ, v, σ, U)` of one component, from the Euclidean gradient there."""
    inverse = jnp.where(sigma == 0, 0, 1 / jnp.where(sigma == 0, 1, sigma))

    def over_columns(row: Array) -> Array:
        return jnp.broadcast_to(row, u.shape)

    by_w = (by_u - jnp.outer(by_v, mu)) * over_columns(inverse)
    d_mu = by_mu - u.T @ by_v
    d_sigma = by_sigma - jnp.sum(u * by_w, axis=0)
    d_u = (by_w - u * over_columns(d_sigma)) * over_columns(inverse)
    d_v = by_v - d_u @ mu - u @ d_mu
    return d_mu, d_v, d_sigma, d_u
