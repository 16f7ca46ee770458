"""Gaussian-mixture layers: a trained distribution over neurons."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp import activations
from mogp._arrays import safe_sqrt
from mogp._checks import check_between, check_choice, check_count, check_last_axis
from mogp.nn._linear import scale_row
from mogp.nn._unit_scale import Scales, unit_scales
from mogp.nn._variances import held_unless, log_density, start_variances
from mogp.priors import Prior

COVARIANCES = ("diagonal", "low_rank", "full")


class GMLayer(eqx.Module):
    """`h(x) = E ω φ(⟨β, x⟩)` under a mixture of K Gaussians over neurons `(ω, β)` ([GM]).

    Let `a_k` be the mean of `ω` in component `k`, `Σ_k` the covariance of `β` and `T_k` that of `ω`
    with `β`; `m_k = ⟨μ_k, x⟩` and `s_k² = xᵀ Σ_k x`. Stein's identity gives ([GM], Eq. 4)

    `h(x) = (1/K) Σ_k [a_k E φ(m_k + s_k ε) + T_k x E φ'(m_k + s_k ε)]`

    in closed form: nothing is sampled. For inputs of size `d` and outputs of size `L`,

    | `covariance` | `a` | `Σ` | `T` | parameters / K |
    |---|---|---|---|---|
    | `"diagonal"` | `Uμ + v` | `diag σ²` | `U diag σ²` | `2d + dL + L` |
    | `"low_rank"` | `Uμ + v` | `diag σ² + F Fᵀ` | `U diag σ² + V Fᵀ` | those, and `r (d + L)` |
    | `"full"` | `v` | `F Fᵀ` | `V Fᵀ` | `(d + L) (d + L + 1)` |

    Diagonal means `E[ω | β] = Uβ + v`. Full is `(ω, β) = (v, μ) + C ε` with any square matrix `C`,
    rows `V` above rows `F`. A diagonal layer takes `O(K d L)` operations an input, one of low rank
    `O(K d (L + r))`, a full one `O(K d (d + L))`. Covariances may be singular. From the same key
    all three start as the same function: `F = 0` at low rank, `F = [diag σ, 0]` and
    `V = [U diag σ, γ I]` if full. Where `F = 0`, `V` has no gradient, but `F` has one through `V`,
    which starts at random: the first step moves `F`, and every later one both.

    Under a `prior`, `1/K` is replaced by `√λ_k`, with the node variance `λ_k` of a component, as in
    `DependentMLP`: what the prior says of a wide layer of nodes it then says of many components.

    A row of `x` with NaN or infinity has NaN for output; other rows are as without it.

    Args:
        in_size: size `d` of an input.
        out_size: size `L` of an output.
        components: number `K` of Gaussians.
        covariance: `"diagonal"`, `"low_rank"` or `"full"`.
        rank: `r` from 1 to `d`, for `"low_rank"` only; None is 8, or `d` if that is less.
        activation: name, function or `Activation`.
        init_scale: `γ` of [GM]: entries of `μ, U, v` start as `N(0, γ²)` and `σ = γ`. Or `"unit"`:
            scales for which inputs of mean square 1 have outputs of mean square 1, whatever `d`,
            `K` and the activation; `μ, σ` then are about `(2d)^(-1/2)`, and `U, v` about `√K`.
        prior: law of the node variances of the components; None leaves them out.
        init_variances: `"prior"` draws `λ` from it, `"equal"` sets all to `1/K`.
        compute_dtype: precision of the factors in the large matrix products, such as
            `"bfloat16"`; sums keep the precision of the parameters. None is that precision.
        key: a random key.

    Attributes:
        means: `μ`, shape (K, d).
        scales: `σ`, shape (K, d), None if full; only `σ²` matters, so the sign is free.
        slopes: `U`, shape (K, L, d), None if full.
        offsets: `v`, shape (K, L).
        factors: `F`, shape (K, d, r), with `r = d + L` if full; None if diagonal.
        output_factors: `V`, shape (K, L, r); None if diagonal.
        log_variances: `log λ`, shape (K,), or None without a prior. Constants under a law without
            a density of `log λ`.
        prior: as given.

    Raises:
        ValueError: if an argument is outside its range; when called, if the last axis of `x` is
            not `d` long.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, covariance="low_rank", key=jax.random.key(0))
        >>> layer(jax.numpy.ones((5, 3))).shape
        (5, 2)
    """

    means: Array
    scales: Array | None
    slopes: Array | None
    offsets: Array
    factors: Array | None
    output_factors: Array | None
    log_variances: Array | None
    activation: activations.Activation
    prior: Prior | None
    prior_components: int = eqx.field(static=True)
    prior_scales: tuple[tuple[str, float], ...] | None = eqx.field(static=True)
    free_variances: bool = eqx.field(static=True)
    compute_dtype: str | None = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        components: int,
        *,
        covariance: str = "diagonal",
        rank: int | None = None,
        activation: str | activations.Activation = "relu",
        init_scale: float | str = 0.5,
        prior: Prior | None = None,
        init_variances: str = "prior",
        compute_dtype: str | None = None,
        key: Array,
    ) -> None:
        d, size = check_count("in_size", in_size), check_count("out_size", out_size)
        k = check_count("components", components)
        check_choice("covariance", covariance, COVARIANCES)
        check_choice("init_variances", init_variances, ("prior", "equal"))
        if prior is not None and not isinstance(prior, Prior):
            raise ValueError(f"prior must be a Prior of mogp.priors or None, got {prior!r}")
        r = check_rank(rank, covariance, d)
        self.compute_dtype = _check_dtype(compute_dtype)
        self.activation = activations.get(activation)
        if isinstance(init_scale, str):
            check_choice("init_scale", init_scale, ("unit",))
            gamma = unit_scales(self.activation, d, k if prior is None else 1)
        else:
            check_between("init_scale", init_scale, 0)
            gamma = Scales(init_scale, init_scale, init_scale, init_scale)

        keys = jax.random.split(key, 3)
        self.means = gamma.means * jax.random.normal(keys[0], (k, d))
        scales = jnp.full_like(self.means, gamma.scales)
        slopes = gamma.slopes * jax.random.normal(keys[1], (k, size, d))
        self.offsets = gamma.offsets * jax.random.normal(keys[2], (k, size))
        self.scales, self.slopes, self.factors, self.output_factors = scales, slopes, None, None
        if covariance == "low_rank":
            self.factors = jnp.zeros_like(scales, shape=(k, d, r))
            columns = jax.random.normal(jax.random.fold_in(key, 3), (k, size, r))
            self.output_factors = gamma.slopes * gamma.scales * columns
        if covariance == "full":
            self.scales = self.slopes = None
            self.offsets = jnp.einsum("kld,kd->kl", slopes, self.means) + self.offsets
            eye = jnp.eye(d, d + size, dtype=scales.dtype) * gamma.scales
            noise = jnp.eye(size, dtype=scales.dtype) * gamma.offsets
            self.factors = jnp.broadcast_to(eye, (k, d, d + size))
            self.output_factors = jnp.concatenate(
                [slopes * gamma.scales, jnp.broadcast_to(noise, (k, size, size))], axis=2
            )

        self.prior, self.prior_components = prior, k
        self.log_variances, self.prior_scales, self.free_variances = None, None, False
        if prior is not None:
            self.log_variances, self.free_variances = start_variances(
                prior, k, init_variances, jax.random.fold_in(key, 4)
            )
            self.prior_scales = _prior_scales(gamma, covariance, d, size, r)

    @property
    def in_size(self) -> int:
        """Size `d` of an input."""
        return self.means.shape[-1]

    @property
    def out_size(self) -> int:
        """Size `L` of an output."""
        return self.offsets.shape[-1]

    @property
    def components(self) -> int:
        """Number `K` of Gaussians."""
        return self.means.shape[-2]

    @property
    def covariance(self) -> str:
        """`"diagonal"`, `"low_rank"` or `"full"`."""
        if self.factors is None:
            return "diagonal"
        return "full" if self.scales is None else "low_rank"

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is unused."""
        check_last_axis("x", x, self.in_size)
        k, size, lead = self.components, self.out_size, x.shape[:-1]
        # One product with all that multiplies x, one with all that multiplies x².
        rows = [self.means]
        if self.scales is not None and self.slopes is not None:
            variances = self.scales**2
            spread = self.slopes * jnp.broadcast_to(variances[:, None, :], self.slopes.shape)
            rows.append(spread.reshape(k * size, -1))
        if self.factors is not None:
            rows.append(self.factors.transpose(0, 2, 1).reshape(-1, self.in_size))
        ends = [k, k + k * size] if self.slopes is not None else [k]
        m, *parts = jnp.split(self._product(x, jnp.concatenate(rows).T), ends, axis=-1)

        along = parts.pop().reshape(*lead, k, -1)  # Fᵀx, empty if diagonal
        square = jnp.sum(along**2, axis=-1)
        if self.scales is not None:
            square += self._product(x**2, variances.T)
        s = safe_sqrt(square)
        mean, slope = self.activation.mean(m, s), self.activation.slope(m, s)
        if self.log_variances is not None:
            root = jnp.exp(held_unless(self.free_variances, self.log_variances) / 2)
            mean, slope = scale_row(mean, root), scale_row(slope, root)

        result = mean @ self.output_means()
        if parts:
            drift = parts[0].reshape(*lead, k, size)
            result += jnp.sum(jnp.broadcast_to(slope[..., None], drift.shape) * drift, axis=-2)
        if self.output_factors is not None:
            sloped = jnp.broadcast_to(slope[..., None], along.shape) * along
            columns = self.output_factors.transpose(0, 2, 1).reshape(-1, size)
            result += self._product(sloped.reshape(*lead, -1), columns)
        return result if self.log_variances is not None else result / k

    def output_means(self) -> Array:
        """`a`, the mean of `ω` in each component, shape (K, L)."""
        if self.slopes is None:
            return self.offsets
        return jnp.einsum("kld,kd->kl", self.slopes, self.means) + self.offsets

    def square_roots(self) -> tuple[Array, Array]:
        """`C` with `(ω, β) = (a, μ) + C ε`: its rows for `ω`, (K, L, n), and for `β`, (K, d, n).

        `n` is `d`, `d + r` or `d + L` for a diagonal, low-rank or full covariance.
        """
        outputs, inputs = [], []
        if self.scales is not None and self.slopes is not None:
            inputs.append(jax.vmap(jnp.diag)(self.scales))
            wide = jnp.broadcast_to(self.scales[:, None, :], self.slopes.shape)
            outputs.append(self.slopes * wide)
        if self.factors is not None and self.output_factors is not None:
            inputs.append(self.factors)
            outputs.append(self.output_factors)
        return jnp.concatenate(outputs, axis=2), jnp.concatenate(inputs, axis=2)

    def log_prior(self) -> Array:
        """Log-density of the weights and of `log λ`, a scalar; 0 without a prior.

        Entries of `μ, σ, U, v` are independent and normal with mean 0 and the standard deviations
        of `init_scale`, `γ` or those of `"unit"`. So are those of `F` and `V`, with
        `γ_σ / √n` and `γ_U γ_σ` for `n` columns: `F Fᵀ` then is `γ_σ² I` on average. Node variances
        enter through `u = log λ`: the Jacobian `+u` is included.
        """
        total = jnp.zeros(())
        if self.prior is None or self.prior_scales is None or self.log_variances is None:
            return total
        for name, scale in self.prior_scales:
            array = getattr(self, name)
            constant = math.log(2 * math.pi * scale**2) / 2
            total -= jnp.sum((array / scale) ** 2) / 2 + array.size * constant
        return total + log_density(self.prior, self.prior_components, self.log_variances)

    def _product(self, x: Array, matrix: Array) -> Array:
        if self.compute_dtype is None:
            return x @ matrix
        dtype = jnp.result_type(x, matrix)
        narrow = x.astype(self.compute_dtype), matrix.astype(self.compute_dtype)
        return jnp.matmul(*narrow, preferred_element_type=dtype)


def check_rank(rank: int | None, covariance: str, in_size: int) -> int:
    """Columns of `F` at low rank."""
    if covariance != "low_rank":
        if rank is not None:
            raise ValueError(f'rank is for covariance="low_rank", got {rank} with {covariance!r}')
        return 0
    if rank is None:
        return min(8, in_size)
    if check_count("rank", rank) > in_size:
        raise ValueError(f"rank must be at most in_size = {in_size}, got {rank}")
    return rank


def _check_dtype(name: Any) -> str | None:
    if name is None:
        return None
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        dtype = jnp.dtype(int)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"compute_dtype must be a floating dtype or None, got {name!r}")
    return dtype.name


def _prior_scales(
    gamma: Scales, covariance: str, d: int, size: int, rank: int
) -> tuple[tuple[str, float], ...]:
    """Standard deviations of the entries of each array under the prior."""
    result = gamma._asdict()
    if covariance == "full":
        del result["scales"], result["slopes"]
        result["offsets"] = math.sqrt(d * (gamma.slopes * gamma.means) ** 2 + gamma.offsets**2)
    if covariance != "diagonal":
        columns = d + size if covariance == "full" else rank
        result["factors"] = gamma.scales / math.sqrt(columns)
        result["output_factors"] = gamma.slopes * gamma.scales
    return tuple(result.items())
