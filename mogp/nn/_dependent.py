"""Fully connected networks with a random variance on every hidden node."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mogp._arrays import Real
from mogp._checks import check_count, check_key, check_numbers, one_each
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.nn._inputs import add_row, as_inputs, scale_row
from mogp.nn._nodes import AbstractNetwork, AbstractNodes, standard_normal, start_variances
from mogp.priors import Prior


class InputLayer(eqx.Module):
    """The first layer of weights of a `DependentMLP`, `z = σ_b B + (σ_v / √d) V x`.

    Attributes:
        weights: `V`, of shape (width, d), standard normal under the prior.
        biases: `B`, of shape (width,), likewise.
        weight_scale: `σ_v`.
        bias_scale: `σ_b`.
    """

    weights: Array
    biases: Array
    weight_scale: Real
    bias_scale: Real
    constants: ClassVar[tuple[str, ...]] = ("weight_scale", "bias_scale")

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... width"]:  # noqa: ARG002
        """Pre-activations (…, width) of the first hidden layer, from inputs (…, d)."""
        scale = self.weight_scale / math.sqrt(self.weights.shape[-1])
        hidden = scale * as_inputs(x, self.weights)
        return add_row(hidden @ self.weights.T, self.bias_scale * self.biases)

    def log_prior(self) -> Float[Array, ""]:
        """Log-density of `V` and `B`, a scalar."""
        return standard_normal((self.weights, self.biases))


class DependentLayer(AbstractNodes):
    """Hidden nodes and the weights behind them, `z' = σ_b B + σ_v V (√λ ⊙ φ(z))`.

    Networks are made of these by `nn.network` and `MoGP.network`.

    Attributes:
        log_variances: `log λ`, of shape (width,).
        weights: `V`, of shape (outputs, width), standard normal under the prior.
        biases: `B`, of shape (outputs,), likewise.
        prior: the distribution of `λ`.
        activation: `φ`.
        weight_scale: `σ_v`.
        bias_scale: `σ_b`.
        prior_width: the width at which the prior is taken.
    """

    log_variances: Array
    weights: Array
    biases: Array
    prior: Prior
    activation: Activation
    weight_scale: Real
    bias_scale: Real
    prior_width: int = eqx.field(static=True)
    constants: ClassVar[tuple[str, ...]] = ("activation", "weight_scale", "bias_scale")

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... outputs"]:  # noqa: ARG002
        """Pre-activations (…, outputs) of the next layer, from those of this one, (…, width)."""
        return add_row(self._hidden(x) @ self.weights.T, self.bias_scale * self.biases)

    def outgoing(self) -> Array:
        return jnp.swapaxes(self.weights, -1, -2)

    def with_outgoing(self, weights: Array) -> Self:
        return eqx.tree_at(lambda n: n.weights, self, jnp.swapaxes(weights, -1, -2))

    def take(self, kept: Array) -> Self:
        small = self.take_fields(kept)
        return eqx.tree_at(lambda n: n.weights, small, self.weights[:, kept])

    def contributions(self, x: Array) -> Array:
        return self.norms() * jnp.sum(self.activation(x) ** 2, axis=0)

    def design(self, x: ArrayLike) -> Float[Array, "... columns"]:
        hidden = self._hidden(x)
        bias = jnp.full((*hidden.shape[:-1], 1), self.bias_scale, hidden.dtype)
        return jnp.concatenate([bias, hidden], -1)

    def refitted(self, change: Array) -> Self:
        new = self.biases + change[0], self.weights + change[1:].T
        return eqx.tree_at(lambda n: (n.biases, n.weights), self, new)

    def _hidden(self, x: ArrayLike) -> Array:
        values = self.activation(as_inputs(x, self.weights))
        return scale_row(values, self.weight_scale * self.root_variances())


class DependentMLP(AbstractNetwork):
    """The network with dependent weights of [DW], Section 2, as a tuple of layers.

    With hidden widths `p_1, …, p_L`, inputs of size `d` and standard normal `V, B`,

    ```
    Z¹     = σ_b B¹     + (σ_v / √d) V¹ x
    Z^(l+1) = σ_b B^(l+1) + σ_v V^(l+1) (√λ^l ⊙ φ(Z^l)),    l = 1 … L
    ```

    and the output is `Z^(L+1)`. Node `j` of hidden layer `l` has one node variance `λ_j` on all its
    outgoing weights, which makes those weights dependent. Node variances scale the activations;
    no scaled weight matrix is ever formed. `nn.network` and `MoGP.network` draw one.

    Attributes:
        inputs: the first layer of weights.
        layers: the hidden layers, each with the weights behind it.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> network = MoGP([priors.Horseshoe()]).network(2, 1, 30, key=jax.random.key(0))
        >>> network(jax.numpy.ones((5, 2))).shape
        (5, 1)
    """

    inputs: InputLayer
    layers: tuple[DependentLayer, ...]

    @property
    def in_size(self) -> int:
        """The size of an input."""
        return int(self.inputs.weights.shape[-1])

    @property
    def out_size(self) -> int:
        """The size of an output."""
        return int(self.layers[-1].weights.shape[-2])

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of nodes in each hidden layer."""
        return tuple(layer.number for layer in self.layers)

    @property
    def weights(self) -> tuple[Array, ...]:
        """`V` of all layers of weights, of shapes (width out, width in)."""
        return self.inputs.weights, *(layer.weights for layer in self.layers)

    @property
    def biases(self) -> tuple[Array, ...]:
        """`B` of all layers of weights, of shapes (width out,)."""
        return self.inputs.biases, *(layer.biases for layer in self.layers)

    @property
    def log_variances(self) -> tuple[Array, ...]:
        """`log λ` of the hidden layers, of shapes (width,)."""
        return tuple(layer.log_variances for layer in self.layers)

    @property
    def priors(self) -> tuple[Prior, ...]:
        """The priors of the hidden layers."""
        return tuple(layer.prior for layer in self.layers)

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... out_size"]:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is not used."""
        return self.pre_activations(x)[-1]

    def pre_activations(self, x: ArrayLike) -> tuple[Float[Array, "..."], ...]:
        """`Z¹, …, Z^(L+1)` of shapes (…, width), for inputs of shape (…, in_size)."""
        values = [self.inputs(x)]
        for layer in self.layers:
            values.append(layer(values[-1]))
        return tuple(values)

    def flow(self, x: ArrayLike) -> tuple[tuple[Array, Array], ...]:
        return tuple(itertools.pairwise(self.pre_activations(x)))

    def design(self, x: ArrayLike) -> Float[Array, "... columns"]:
        """What the weights behind the last hidden layer multiply, of shape (…, 1 + width).

        `Z^(L+1) = F [B, V]ᵀ` with the entry `σ_b` for the bias and `σ_v √λ_j φ(Z_j)` for the nodes
        in `F`: `limit.condition` integrates these weights out.
        """
        return self.layers[-1].design(self.pre_activations(x)[-2])

    def log_prior(self) -> Float[Array, ""]:
        """Log-density of `V`, `B` and `log λ` of all layers, a scalar, with the Jacobian `+u`."""
        return sum((layer.log_prior() for layer in self.layers), start=self.inputs.log_prior())

    def take(self, kept: Sequence[Int[Array, " count"]]) -> Self:
        chain: list[Any] = [self.inputs, *self.layers]
        for i, numbers in enumerate(kept):
            before = chain[i].weights[numbers], chain[i].biases[numbers]
            chain[i] = eqx.tree_at(lambda n: (n.weights, n.biases), chain[i], before)
            chain[i + 1] = chain[i + 1].take(numbers)
        return eqx.tree_at(lambda n: (n.inputs, *n.layers), self, tuple(chain))


def network(
    architecture: AbstractArchitecture,
    in_size: int,
    out_size: int,
    width: int | Sequence[int],
    *,
    init_variances: str = "prior",
    key: PRNGKeyArray,
) -> DependentMLP:
    """A network of finite width, drawn from the prior.

    Args:
        architecture: depth, activation, scales and priors, as numbers.
        in_size: the size `d` of an input.
        out_size: the size of an output.
        width: the number of nodes in every hidden layer, or one number for each hidden layer.
        init_variances: `"prior"` draws the node variances from the prior; `"equal"` sets all to
            `1/p`, the usual start for training. Node variances without a density of `log λ`
            (`Deterministic`, `Bernoulli`, `SpikeAndSlab`, most `InfinitelyDivisible`) are always
            drawn, and stay constant.
        key: a random key for everything that is drawn.

    Returns:
        The network, with weights and biases from `N(0, 1)`.

    Raises:
        ValueError: if an argument is outside its range, the numbers of widths and priors differ, or
            the network is larger than the memory.

    Example:
        >>> import jax
        >>> from mogp import MoGP, nn, priors
        >>> nn.network(MoGP([priors.Horseshoe()]), 2, 1, 30, key=jax.random.key(0)).widths
        (30,)
    """
    if not isinstance(architecture, AbstractArchitecture):
        raise ValueError(f"architecture must be a MoGP, got {type(architecture).__name__}")
    priors, scales = architecture.priors, architecture.scales
    widths = check_widths(width, len(priors))
    sizes = check_count("in_size", in_size), *widths, check_count("out_size", out_size)
    check_key(key)
    pairs = list(itertools.pairwise(sizes))
    check_numbers("the network", sum(n * (m + 1) for m, n in pairs) + sum(widths), "smaller widths")
    keys = iter(jax.random.split(key, 3 * len(sizes)))
    weights = [jax.random.normal(next(keys), (n, m)) for m, n in pairs]
    biases = [jax.random.normal(next(keys), (n,)) for n in sizes[1:]]
    layers = tuple(
        DependentLayer(
            log_variances=start_variances(prior, p, init_variances, key=next(keys)),
            weights=weights[i],
            biases=biases[i],
            prior=prior,
            activation=architecture.activation,
            weight_scale=scales[i][0],
            bias_scale=scales[i][1],
            prior_width=p,
        )
        for i, (prior, p) in enumerate(zip(priors, widths, strict=True), start=1)
    )
    return DependentMLP(inputs=InputLayer(weights[0], biases[0], *scales[0]), layers=layers)


def check_widths(width: int | Sequence[int], depth: int) -> tuple[int, ...]:
    """The number of nodes of each hidden layer, from one number or one for each layer.

    Args:
        width: one number of nodes for all hidden layers, or a sequence or array of `depth` numbers.
        depth: the number of hidden layers.

    Returns:
        A tuple of `depth` numbers.

    Raises:
        ValueError: if there are not as many numbers as hidden layers, or one is below 1.

    Example:
        >>> from mogp import nn
        >>> nn.check_widths(30, depth=2)
        (30, 30)
    """
    return tuple(check_count("width", each) for each in one_each("width", width, depth))
