"""How directions and amplitudes of neurons vary within a component of a GM layer.

Component `k` is `(ω, β) = (a, μ) + C ε`. Of a covariance the layer needs `s² = xᵀ Σ x` with the
covariance `Σ` of `β`, and `T x` with the covariance `T` of `ω` and `β`.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mogp.nn._unit_scale import Scales

Product = Callable[[Array, Array], Array]  # of a batch of inputs and a matrix
ModuleT = TypeVar("ModuleT", bound=eqx.Module)


class AbstractCovariance(eqx.Module):
    """The covariances of the K components of a GM layer with inputs of size d, outputs of size L.

    `layer.covariance` holds one of these; they are modules of arrays, which `layer.arrays()` lists.
    The products with the inputs are made by the layer, all at once: `rows` are what multiplies `x`,
    and `products` of shape (…, number of rows) are the result. `product(x, matrix)` is the matrix
    product in the precision of the layer.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, covariance="full", key=jax.random.key(0))
        >>> isinstance(layer.covariance, nn.Full), sorted(layer.arrays())
        (True, ['factors', 'means', 'offsets', 'output_factors'])
    """

    @abc.abstractmethod
    def rows(self) -> Float[Array, "rows d"]:
        """What multiplies the inputs, of shape (number of rows, d)."""

    @abc.abstractmethod
    def variance(
        self, x: Float[Array, "... d"], products: Float[Array, "... rows"], product: Product
    ) -> Float[Array, "... K"]:
        """`s²` of shape (…, K) for inputs of shape (…, d)."""

    @abc.abstractmethod
    def drift(
        self, slope: Float[Array, "... K"], products: Float[Array, "... rows"], product: Product
    ) -> Float[Array, "... L"]:
        """`Σ_k slope_k T_k x` of shape (…, L), for slopes of shape (…, K)."""

    @abc.abstractmethod
    def square_roots(self) -> tuple[Float[Array, "K L n"], Float[Array, "K d n"]]:
        """The rows of `C` for `ω`, of shape (K, L, n), and those for `β`, of shape (K, d, n)."""

    @abc.abstractmethod
    def output_means(
        self, means: Float[Array, "K d"], offsets: Float[Array, "K L"]
    ) -> Float[Array, "K L"]:
        """`a`, the mean of `ω`, of shape (K, L), from `μ` (K, d) and `v` (K, L)."""

    @abc.abstractmethod
    def prior_scales(self, gamma: Scales) -> dict[str, float]:
        """Standard deviations of the entries of each array under the prior, by name."""

    @abc.abstractmethod
    def linear(self) -> dict[str, Array]:
        """The arrays in which the output of the layer is linear, each of shape (K, L, …)."""


class Diagonal(AbstractCovariance):
    """`Σ = diag σ²` and `T = U diag σ²`: the mean of `ω` given `β` is `U β + v`.

    Attributes:
        scales: `σ`, of shape (K, d); only `σ²` matters, so the sign is free.
        slopes: `U`, of shape (K, L, d).
    """

    scales: Array
    slopes: Array

    def rows(self) -> Array:
        variances = jnp.broadcast_to((self.scales**2)[:, None, :], self.slopes.shape)
        return (self.slopes * variances).reshape(-1, self.scales.shape[-1])

    def variance(self, x: Array, products: Array, product: Product) -> Array:
        del products
        return product(x**2, (self.scales**2).T)

    def drift(self, slope: Array, products: Array, product: Product) -> Array:
        del product
        each = products.reshape(*slope.shape, self.slopes.shape[1])
        return jnp.sum(jnp.broadcast_to(slope[..., None], each.shape) * each, axis=-2)

    def square_roots(self) -> tuple[Array, Array]:
        wide = jnp.broadcast_to(self.scales[:, None, :], self.slopes.shape)
        return self.slopes * wide, jax.vmap(jnp.diag)(self.scales)

    def output_means(self, means: Array, offsets: Array) -> Array:
        return jnp.einsum("kld,kd->kl", self.slopes, means) + offsets

    def prior_scales(self, gamma: Scales) -> dict[str, float]:
        return {"scales": gamma.scales, "slopes": gamma.slopes}

    def linear(self) -> dict[str, Array]:
        return {"slopes": self.slopes}


class Full(AbstractCovariance):
    """`Σ = F Fᵀ` and `T = V Fᵀ`: of any rank, with `n` columns.

    Attributes:
        factors: `F`, of shape (K, d, n).
        output_factors: `V`, of shape (K, L, n).
    """

    factors: Array
    output_factors: Array

    def rows(self) -> Array:
        return self.factors.transpose(0, 2, 1).reshape(-1, self.factors.shape[1])

    def variance(self, x: Array, products: Array, product: Product) -> Array:
        del x, product
        return jnp.sum(self._along(products) ** 2, axis=-1)

    def drift(self, slope: Array, products: Array, product: Product) -> Array:
        along = self._along(products)
        sloped = jnp.broadcast_to(slope[..., None], along.shape) * along
        columns = self.output_factors.transpose(0, 2, 1).reshape(-1, self.output_factors.shape[1])
        return product(sloped.reshape(*slope.shape[:-1], len(columns)), columns)

    def square_roots(self) -> tuple[Array, Array]:
        return self.output_factors, self.factors

    def output_means(self, means: Array, offsets: Array) -> Array:
        del means
        return offsets

    def prior_scales(self, gamma: Scales) -> dict[str, float]:
        columns = self.factors.shape[-1]
        return {
            "factors": gamma.scales / columns**0.5,
            "output_factors": gamma.slopes * gamma.scales,
        }

    def linear(self) -> dict[str, Array]:
        return {"output_factors": self.output_factors}

    def _along(self, products: Array) -> Array:
        return products.reshape(*products.shape[:-1], *self.factors.shape[::2])  # Fᵀx


class LowRank(AbstractCovariance):
    """`Σ = diag σ² + F Fᵀ` and `T = U diag σ² + V Fᵀ`: a diagonal part and `r` factors.

    Attributes:
        diagonal: `σ` and `U`.
        factor: `F` of shape (K, d, r) and `V` of shape (K, L, r).
    """

    diagonal: Diagonal
    factor: Full

    def rows(self) -> Array:
        return jnp.concatenate([self.diagonal.rows(), self.factor.rows()])

    def variance(self, x: Array, products: Array, product: Product) -> Array:
        first, second = self._split(products)
        return self.diagonal.variance(x, first, product) + self.factor.variance(x, second, product)

    def drift(self, slope: Array, products: Array, product: Product) -> Array:
        first, second = self._split(products)
        return self.diagonal.drift(slope, first, product) + self.factor.drift(
            slope, second, product
        )

    def square_roots(self) -> tuple[Array, Array]:
        pairs = zip(self.diagonal.square_roots(), self.factor.square_roots(), strict=True)
        outputs, inputs = (jnp.concatenate(pair, axis=2) for pair in pairs)
        return outputs, inputs

    def output_means(self, means: Array, offsets: Array) -> Array:
        return self.diagonal.output_means(means, offsets)

    def prior_scales(self, gamma: Scales) -> dict[str, float]:
        return self.diagonal.prior_scales(gamma) | self.factor.prior_scales(gamma)

    def linear(self) -> dict[str, Array]:
        return self.diagonal.linear() | self.factor.linear()

    def _split(self, products: Array) -> list[Array]:
        return jnp.split(products, [len(self.diagonal.rows())], axis=-1)


def by_name(module: eqx.Module) -> dict[str, Array]:
    """The arrays of a module by the name of their field."""
    leaves = jax.tree_util.tree_leaves_with_path(module)
    return {path[-1].name: leaf for path, leaf in leaves if eqx.is_array(leaf)}


def replaced(module: ModuleT, arrays: Mapping[str, Any]) -> ModuleT:
    """The module with other arrays, given by the name of their field."""
    new = jax.tree_util.tree_map_with_path(lambda path, a: arrays.get(path[-1].name, a), module)
    return cast(ModuleT, new)
