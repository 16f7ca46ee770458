"""Gaussian-mixture layers: a trained distribution over neurons."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from mogp import activations
from mogp._arrays import safe_sqrt, scale_row
from mogp._checks import check_choice, check_count, check_key, check_number, check_numbers
from mogp.nn._covariance import AbstractCovariance, Diagonal, Full, LowRank, by_name, replaced
from mogp.nn._inputs import as_inputs
from mogp.nn._nodes import INIT_VARIANCES, AbstractNodes, standard_normal, start_variances
from mogp.nn._unit_scale import Scales, unit_scales
from mogp.priors import Prior

COVARIANCES = ("diagonal", "low_rank", "full")


class GMLayer(AbstractNodes):
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
        means: `μ`, of shape (K, d).
        offsets: `v`, of shape (K, L).
        covariance: `nn.Diagonal` with `σ` (K, d) and `U` (K, L, d); `nn.Full` with `F` (K, d, n)
            and `V` (K, L, n), where `n = d + L`; or `nn.LowRank` with one of each, where `n = r`.
        log_variances: `log λ`, of shape (K,), or None without a prior.
        prior: as given.
        prior_width: the number of components at the start, at which the prior is taken.

    Raises:
        ValueError: if an argument is outside its range, or the layer is larger than the memory;
            when called, if the last axis of `x` is not `d` long, or its numbers are not real.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, covariance="low_rank", key=jax.random.key(0))
        >>> layer(jax.numpy.ones((5, 3))).shape
        (5, 2)
    """

    means: Array
    offsets: Array
    covariance: AbstractCovariance
    log_variances: Array | None
    activation: activations.Activation
    prior: Prior | None
    prior_width: int = eqx.field(static=True)
    prior_scales: tuple[tuple[str, float], ...] = eqx.field(static=True)
    compute_dtype: str | None = eqx.field(static=True)
    constants: ClassVar[tuple[str, ...]] = ("activation",)

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
        key: PRNGKeyArray,
    ) -> None:
        d, size = check_count("in_size", in_size), check_count("out_size", out_size)
        k = check_count("components", components)
        check_choice("covariance", covariance, COVARIANCES)
        check_choice("init_variances", init_variances, INIT_VARIANCES)
        if prior is not None and not isinstance(prior, Prior):
            raise ValueError(f"prior must be a Prior of mogp.priors or None, got {prior!r}")
        r = check_rank(rank, covariance, d)
        check_key(key)
        numbers = 2 * d + d * size + size + r * (d + size)
        if covariance == "full":
            numbers = (d + size) * (d + size + 1)
        check_numbers("the layer", k * numbers, "fewer components, or a diagonal covariance")
        self.compute_dtype = _check_dtype(compute_dtype)
        self.activation = activations.get(activation)
        if isinstance(init_scale, str):
            check_choice("init_scale", init_scale, ("unit",))
            gamma = unit_scales(self.activation, d, k if prior is None else 1)
        else:
            check_number("init_scale", init_scale, 0)
            gamma = Scales(*[float(init_scale)] * 4)

        keys = jax.random.split(key, 3)
        self.means = gamma.means * jax.random.normal(keys[0], (k, d))
        scales = jnp.full_like(self.means, gamma.scales)
        slopes = gamma.slopes * jax.random.normal(keys[1], (k, size, d))
        self.offsets = gamma.offsets * jax.random.normal(keys[2], (k, size))
        self.covariance = Diagonal(scales, slopes)
        if covariance == "low_rank":
            columns = jax.random.normal(jax.random.fold_in(key, 3), (k, size, r))
            factor = Full(
                jnp.zeros_like(scales, shape=(k, d, r)), gamma.slopes * gamma.scales * columns
            )
            self.covariance = LowRank(self.covariance, factor)
        if covariance == "full":
            self.offsets = self.covariance.output_means(self.means, self.offsets)
            eye = jnp.eye(d, d + size, dtype=scales.dtype) * gamma.scales
            noise = jnp.eye(size, dtype=scales.dtype) * gamma.offsets
            rows = [slopes * gamma.scales, jnp.broadcast_to(noise, (k, size, size))]
            self.covariance = Full(
                jnp.broadcast_to(eye, (k, d, d + size)), jnp.concatenate(rows, axis=2)
            )

        spread = {"means": gamma.means, "offsets": gamma.offsets}
        if covariance == "full":
            spread["offsets"] = math.sqrt(d * (gamma.slopes * gamma.means) ** 2 + gamma.offsets**2)
        self.prior_scales = tuple((spread | self.covariance.prior_scales(gamma)).items())
        self.prior, self.prior_width, self.log_variances = prior, k, None
        if prior is not None:
            by_variance = jax.random.fold_in(key, 4)
            self.log_variances = start_variances(prior, k, init_variances, key=by_variance)

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

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... L"]:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is not used."""
        mean, slope, products = self._expectations(x)
        return mean @ self.output_means() + self.covariance.drift(slope, products, self._product)

    def _expectations(self, x: ArrayLike) -> tuple[Array, Array, Array]:
        """`√λ E φ` and `√λ E φ'` of the components, and the products of their covariances."""
        x, k = as_inputs(x, self.means), self.components
        # One product with all that multiplies x, and one with all that multiplies x².
        rows = jnp.concatenate([self.means, self.covariance.rows()])
        m, products = jnp.split(self._product(x, rows.T), [k], axis=-1)
        s = safe_sqrt(self.covariance.variance(x, products, self._product))
        mean, slope = self.activation.mean(m, s), self.activation.slope(m, s)
        if self.log_variances is None:
            return mean / k, slope / k, products
        root = self.root_variances()
        return scale_row(mean, root), scale_row(slope, root), products

    def output_means(self) -> Float[Array, "K L"]:
        """`a`, the mean of `ω` in each component, of shape (K, L)."""
        return self.covariance.output_means(self.means, self.offsets)

    def arrays(self) -> dict[str, Array]:
        """`means`, `offsets` and the arrays of the covariance, by the name of their field."""
        return {"means": self.means, "offsets": self.offsets} | by_name(self.covariance)

    def with_arrays(self, arrays: Mapping[str, Array]) -> Self:
        """The layer with other arrays in place of some of `arrays()`.

        Args:
            arrays: by name; of the shapes that `arrays()` has, or all with other numbers of nodes.

        Raises:
            ValueError: if the layer has no array of some name.
        """
        new = self.arrays()
        if unknown := sorted(set(arrays) - set(new)):
            raise ValueError(f"arrays must have names among {sorted(new)}, got {unknown}")
        new |= arrays
        return eqx.tree_at(
            lambda n: (n.means, n.offsets, n.covariance),
            self,
            (new["means"], new["offsets"], replaced(self.covariance, new)),
        )

    # --- components as nodes ----------------------------------------------------------------------

    def outgoing(self) -> Float[Array, "K fan_out"]:
        """What the outputs are linear in, `v`, `U` and `V`, over their scales under the prior."""
        parts = [a.reshape(len(a), -1) / self._scale(n) for n, a in self._linear().items()]
        return jnp.concatenate(parts, axis=1)

    def with_outgoing(self, weights: Array) -> Self:
        start, new = 0, {}
        for name, array in self._linear().items():
            end = start + array[0].size
            new[name] = self._scale(name) * weights[:, start:end].reshape(array.shape)
            start = end
        return self.with_arrays(new)

    def _linear(self) -> dict[str, Array]:
        return {"offsets": self.offsets} | self.covariance.linear()

    def _scale(self, name: str) -> float:
        return dict(self.prior_scales)[name]

    def norms(self) -> Float[Array, " K"]:
        """`λ_k ‖a_k‖²`, of shape (K,)."""
        squares = jnp.sum(self.output_means() ** 2, axis=-1)
        return squares if self.log_variances is None else squares * jnp.exp(self.log_variances)

    def take(self, kept: Array) -> Self:
        return self.take_fields(kept, "means", "offsets", "covariance")

    def contributions(self, x: Array) -> Array:
        each = jnp.arange(self.components)
        return jax.vmap(lambda k: jnp.sum(self.take(k[None])(x) ** 2))(each)

    def design(self, x: ArrayLike) -> Float[Array, "... K"]:
        """What the offsets `v` multiply, of shape (…, K)."""
        return self._expectations(x)[0]

    def refitted(self, change: Array) -> Self:
        return eqx.tree_at(lambda n: n.offsets, self, self.offsets + change)

    def square_roots(self) -> tuple[Float[Array, "K L n"], Float[Array, "K d n"]]:
        """`C` with `(ω, β) = (a, μ) + C ε`: its rows for `ω`, (K, L, n), and for `β`, (K, d, n).

        `n` is `d`, `d + r` or `d + L` for a diagonal, low-rank or full covariance.
        """
        return self.covariance.square_roots()

    def log_prior(self) -> Float[Array, ""]:
        """Log-density of the weights and of `log λ`, a scalar; 0 without a prior.

        Entries of `μ, σ, U, v` are independent and normal with mean 0 and the standard deviations
        of `init_scale`, `γ` or those of `"unit"`. So are those of `F` and `V`, with
        `γ_σ / √n` and `γ_U γ_σ` for `n` columns: `F Fᵀ` then is `γ_σ² I` on average. Node variances
        enter through `u = log λ`: the Jacobian `+u` is included.
        """
        if self.prior is None:
            return jnp.zeros(())
        arrays = self.arrays()
        each = [standard_normal([arrays[name]], scale) for name, scale in self.prior_scales]
        return sum(each, start=self.log_prior_of_variances())

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
