"""Fully connected networks with a random variance on every hidden node."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mogp._arrays import Real, scale_row
from mogp._checks import check_count, check_key, check_numbers, is_concrete, one_each
from mogp.activations import Activation
from mogp.architecture import AbstractArchitecture
from mogp.nn._inputs import add_row, as_inputs
from mogp.nn._nodes import AbstractNetwork, AbstractNodes, standard_normal, start_variances
from mogp.priors import Prior


class InputLayer(AbstractNodes):
    """The inputs and the first layer of weights, `z = σ_b B + σ_v V (√λ⁰ ⊙ x)`.

    Without an input prior `λ⁰ = 1/d`. With one, the inputs are nodes: they are ranked and cut away
    like others, after which the layer still takes all inputs, and reads those that are left.

    Attributes:
        weights: `V`, of shape (width, d), standard normal under the prior.
        biases: `B`, of shape (width,), likewise.
        weight_scale: `σ_v`.
        bias_scale: `σ_b`.
        log_variances: `log λ⁰` of every group of inputs, of shape (num_groups,); None for `1/d`.
        prior: the distribution of `λ⁰`, or None.
        groups: the number of the group of each input, integers of shape (d,); None if each has
            a variance of its own.
        columns: which inputs are read, integers of shape (d,); None without an input prior.
        prior_width: how many inputs there were at first.
    """

    weights: Array
    biases: Array
    weight_scale: Real
    bias_scale: Real
    log_variances: Array | None
    prior: Prior | None
    groups: Array | None
    columns: Array | None
    prior_width: int = eqx.field(static=True)
    constants: ClassVar[tuple[str, ...]] = ("weight_scale", "bias_scale")

    @property
    def in_size(self) -> int:
        """How many inputs are taken; after a cut, not all of them are read."""
        return int(self.weights.shape[-1]) if self.columns is None else self.prior_width

    def __call__(self, x: ArrayLike, *, key: object = None) -> Float[Array, "... width"]:  # noqa: ARG002
        """Pre-activations (…, width) of the first hidden layer, from inputs (…, in_size)."""
        return add_row(self._hidden(x) @ self.weights.T, self.bias_scale * self.biases)

    def roots(self) -> Float[Array, " d"]:
        """`√λ⁰` of each input that is read, of shape (d,)."""
        d = self.weights.shape[-1]
        if self.log_variances is None:
            return jnp.full((d,), 1 / math.sqrt(d), self.weights.dtype)
        roots = self.root_variances()
        return roots if self.groups is None else roots[self.groups]

    def outgoing(self) -> Array:
        """`V` of each group, of shape (num_groups, fan_out), with zeros at inputs of others."""
        by_input = jnp.swapaxes(self.weights, -1, -2)
        if self.groups is None:
            return by_input
        rows = jnp.where(self._belongs()[:, :, None], by_input[None], 0)
        return rows.reshape(self.number, -1)

    def with_outgoing(self, weights: Array) -> Self:
        if self.groups is not None:
            rows = weights.reshape(self.number, -1, self.weights.shape[-2])
            weights = jnp.sum(jnp.where(self._belongs()[:, :, None], rows, 0), 0)
        return eqx.tree_at(lambda n: n.weights, self, jnp.swapaxes(weights, -1, -2))

    def fan_out(self) -> Float[Array, " num_groups"]:
        if self.groups is None:
            return super().fan_out()
        sizes = jnp.sum(self._belongs(), 1)
        return (sizes * self.weights.shape[-2]).astype(self.weights.dtype)

    def take(self, kept: Array) -> Self:
        """The layer that reads only the inputs of the groups with the given numbers."""
        inputs, groups = kept, None
        if self.groups is not None:
            if not is_concrete(kept, self.groups):
                raise ValueError("kept must be known numbers where inputs have groups, is traced")
            places = [np.flatnonzero(np.asarray(self.groups) == g) for g in np.asarray(kept)]
            inputs = jnp.asarray(np.concatenate(places))
            groups = jnp.asarray(np.repeat(np.arange(len(places)), [len(p) for p in places]))
        return dataclasses.replace(
            self,
            log_variances=self.log_variances[kept],  # type: ignore[index]
            weights=self.weights[:, inputs],
            groups=groups,
            columns=self.columns[inputs],  # type: ignore[index]
        )

    def contributions(self, x: Array) -> Array:
        x = self._read(x)
        # Inputs of one group are added up before they are squared.
        products = (self.weights.T @ self.weights) * (x.T @ x)
        belongs = self._belongs().astype(products.dtype)
        return jnp.exp(self.log_variances) * jnp.sum((belongs @ products) * belongs, 1)  # type: ignore[arg-type]

    def design(self, x: ArrayLike) -> Float[Array, "... columns"]:
        return _with_bias(self._hidden(x), self.bias_scale)

    def refitted(self, change: Array) -> Self:
        return _refitted(self, change)

    def log_prior(self) -> Float[Array, ""]:
        """Log-density of `V`, `B` and `log λ⁰`, a scalar."""
        others = standard_normal((self.weights, self.biases))
        return others if self.log_variances is None else others + self.log_prior_of_variances()

    def _hidden(self, x: ArrayLike) -> Array:
        return scale_row(self._read(x), self.weight_scale * self.roots())

    def _read(self, x: ArrayLike) -> Array:
        if self.columns is None:
            return as_inputs(x, self.weights)
        return as_inputs(x, jnp.zeros(self.in_size, self.weights.dtype))[..., self.columns]

    def _belongs(self) -> Array:
        """Whether each input is in each group, of shape (num_groups, d)."""
        numbers = jnp.arange(self.weights.shape[-1]) if self.groups is None else self.groups
        return jnp.arange(self.number)[:, None] == numbers[None, :]


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
        return _with_bias(self._hidden(x), self.bias_scale)

    def refitted(self, change: Array) -> Self:
        return _refitted(self, change)

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

    With an input prior, `√λ⁰ ⊙ x` stands for `x / √d`, and the inputs are the last of `nn.nodes`.

    Attributes:
        layers: the hidden layers, each with the weights behind it.
        inputs: the first layer of weights.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors
        >>> network = MoGP([priors.Horseshoe()]).network(2, 1, 30, key=jax.random.key(0))
        >>> network(jax.numpy.ones((5, 2))).shape
        (5, 1)
    """

    layers: tuple[DependentLayer, ...]
    inputs: InputLayer

    @property
    def in_size(self) -> int:
        """The size of an input."""
        return self.inputs.in_size

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
        values = self.pre_activations(x)
        of_inputs = (jnp.asarray(x), values[0])
        return (*itertools.pairwise(values), *[of_inputs] * self._has_input_variances)

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
        if self._has_input_variances:
            *kept, inputs = kept
            chain[0] = self.inputs.take(inputs)
        for i, numbers in enumerate(kept):
            before = chain[i].weights[numbers], chain[i].biases[numbers]
            chain[i] = eqx.tree_at(lambda n: (n.weights, n.biases), chain[i], before)
            chain[i + 1] = chain[i + 1].take(numbers)
        return dataclasses.replace(self, inputs=chain[0], layers=tuple(chain[1:]))

    @property
    def _has_input_variances(self) -> bool:
        return self.inputs.log_variances is not None


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
    inputs = input_layer(
        architecture,
        weights[0],
        biases[0],
        lambda prior, num: start_variances(
            prior, sizes[0], init_variances, key=next(keys), number=num
        ),
    )
    return DependentMLP(layers=layers, inputs=inputs)


def input_layer(
    architecture: AbstractArchitecture,
    weights: Array,
    biases: Array,
    log_variances: Callable[[Prior, int], Array],
) -> InputLayer:
    """The first layer of weights of an architecture.

    Args:
        architecture: with the scales, and the prior and groups of the inputs.
        weights: `V`, of shape (width, d).
        biases: `B`, of shape (width,).
        log_variances: from the input prior and the number of groups to `log λ⁰`, of shape
            (num_groups,); not called without an input prior.

    Returns:
        The layer.

    Raises:
        ValueError: if the groups are not those of `d` inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, nn, priors
        >>> layer = nn.input_layer(
        ...     MoGP([priors.Horseshoe()], input_prior=priors.Horseshoe()), jnp.ones((5, 2)),
        ...     jnp.zeros(5), lambda prior, num: jnp.zeros(num)
        ... )
        >>> layer(jnp.ones((3, 2))).shape
        (3, 5)
    """
    (weight_scale, bias_scale), prior = architecture.scales[0], architecture.random_inputs
    groups = architecture.groups_of(weights.shape[-1])
    grouped = prior is not None and architecture.input_groups is not None
    return InputLayer(
        weights=weights,
        biases=biases,
        weight_scale=weight_scale,
        bias_scale=bias_scale,
        log_variances=None if prior is None else log_variances(prior, int(groups.max()) + 1),
        prior=prior,
        groups=jnp.asarray(groups) if grouped else None,
        columns=None if prior is None else jnp.arange(weights.shape[-1]),
        prior_width=weights.shape[-1],
    )


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


def _with_bias(hidden: Array, bias_scale: Real) -> Array:
    """What weights and biases multiply, of shape (…, 1 + width)."""
    bias = jnp.full((*hidden.shape[:-1], 1), bias_scale, hidden.dtype)
    return jnp.concatenate([bias, hidden], -1)


def _refitted(layer: Any, change: Array) -> Any:
    """The layer with its biases and weights changed by an array (1 + width, outputs)."""
    new = layer.biases + change[0], layer.weights + change[1:].T
    return eqx.tree_at(lambda n: (n.biases, n.weights), layer, new)
