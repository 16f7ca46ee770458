"""Gaussian-mixture layers: a trained distribution over neurons."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp import activations
from mogp._arrays import safe_sqrt
from mogp._checks import check_between, check_choice, check_count


class GMLayer(eqx.Module):
    """`h(x) = E ω φ(⟨β, x⟩)` under a mixture of K Gaussians with diagonal covariance ([GM]).

    Component `k` has `β ~ N(μ_k, diag σ_k²)` and `E[ω | β] = U_k β + v_k`. By Stein's identity,
    with `m_k = ⟨μ_k, x⟩` and `s_k² = ⟨σ_k², x²⟩`,

    `h(x) = (1/K) Σ_k [(U_k μ_k + v_k) E φ(m_k + s_k ε) + U_k (σ_k² ⊙ x) E φ'(m_k + s_k ε)]`

    in closed form: nothing is sampled. `K (2d + dL + L)` parameters for inputs of size `d` and
    outputs of size `L`; `O(K d L)` operations an input.

    Args:
        in_size: size `d` of an input.
        out_size: size `L` of an output.
        components: number `K` of Gaussians.
        covariance: `"diagonal"`.
        activation: name, function or `Activation`.
        init_scale: `γ`: entries of `μ, U, v` start as `N(0, γ²)` and `σ = γ`.
        key: a random key.

    Attributes:
        means: `μ`, shape (K, d).
        scales: `σ`, shape (K, d); only `σ²` matters, so the sign is free.
        slopes: `U`, shape (K, L, d).
        offsets: `v`, shape (K, L).

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, key=jax.random.key(0))
        >>> layer(jax.numpy.ones((5, 3))).shape
        (5, 2)
    """

    means: Array
    scales: Array
    slopes: Array
    offsets: Array
    activation: activations.Activation

    def __init__(
        self,
        in_size: int,
        out_size: int,
        components: int,
        *,
        covariance: str = "diagonal",
        activation: str | activations.Activation = "relu",
        init_scale: float = 0.5,
        key: Array,
    ) -> None:
        d, size = check_count("in_size", in_size), check_count("out_size", out_size)
        k = check_count("components", components)
        check_choice("covariance", covariance, ("diagonal",))
        check_between("init_scale", init_scale, 0)
        self.activation = activations.get(activation)
        keys = jax.random.split(key, 3)
        self.means = init_scale * jax.random.normal(keys[0], (k, d))
        self.scales = jnp.full_like(self.means, init_scale)
        self.slopes = init_scale * jax.random.normal(keys[1], (k, size, d))
        self.offsets = init_scale * jax.random.normal(keys[2], (k, size))

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is unused."""
        k, size, d = self.slopes.shape
        variances = self.scales**2
        m = x @ self.means.T
        s = safe_sqrt(x**2 @ variances.T)
        mean, slope = self.activation.mean(m, s), self.activation.slope(m, s)

        level = jnp.einsum("kld,kd->kl", self.slopes, self.means) + self.offsets
        spread = self.slopes * jnp.broadcast_to(variances[:, None, :], self.slopes.shape)
        drift = (x @ spread.reshape(k * size, d).T).reshape(*x.shape[:-1], k, size)
        return (mean @ level + jnp.einsum("...k,...kl->...l", slope, drift)) / k
