"""Fully connected networks with a random variance on every hidden node."""

import itertools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from mogp import activations
from mogp._arrays import Real
from mogp._checks import Scale, check_choice, check_count, layer_scales
from mogp.nn._linear import add_row, scale_row
from mogp.nn._variances import held_unless, log_density, start_variances
from mogp.priors import Prior, check_priors


class DependentMLP(eqx.Module):
    """The network with dependent weights of [DW], Section 2.

    With hidden widths `p_1, …, p_L`, inputs of size `d` and standard normal `V, B`,

    ```
    Z¹     = σ_b B¹     + (σ_v / √d) V¹ x
    Z^(l+1) = σ_b B^(l+1) + σ_v V^(l+1) (√λ^l ⊙ φ(Z^l)),    l = 1 … L
    ```

    and the output is `Z^(L+1)`. Node `j` of hidden layer `l` has one node variance `λ_j` on all its
    outgoing weights, which makes those weights dependent. Node variances scale the activations;
    no scaled weight matrix is ever formed.

    Args:
        in_size: size `d` of an input.
        out_size: size of an output.
        width: nodes in every hidden layer, or one number a hidden layer.
        priors: law of the node variances, one `Prior` a hidden layer.
        activation: name, function or `Activation`.
        weight_scale: `σ_v`, positive; one number, or one a layer of weights.
        bias_scale: `σ_b`, at least 0; likewise.
        init_variances: `"prior"` draws the node variances from the prior, `"equal"` sets all to
            `1/p`, the usual start for training. Laws without a density of `log λ` are always drawn.
        key: a random key for everything that is drawn.

    Attributes:
        weights: `V`, one (width out, width in) array a layer.
        biases: `B`, one (width out,) array a layer.
        log_variances: `log λ`, one (width,) array a hidden layer. Under a law without a density of
            `log λ` (`Deterministic`, `Bernoulli`, `SpikeAndSlab`, most `InfinitelyDivisible`) they
            are constants: no gradient reaches them, and `log_prior` leaves them out.
        free_variances: whether they are not, one a hidden layer.

    Raises:
        ValueError: if an argument is outside its range, or the numbers of widths and priors differ.

    Example:
        >>> import jax
        >>> from mogp import nn, priors
        >>> network = nn.DependentMLP(2, 1, 30, [priors.Horseshoe()], key=jax.random.key(0))
        >>> network(jax.numpy.ones((5, 2))).shape
        (5, 1)
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    log_variances: tuple[Array, ...]
    priors: tuple[Prior, ...]
    activation: activations.Activation
    weight_scale: Scale
    bias_scale: Scale
    prior_widths: tuple[int, ...] = eqx.field(static=True)
    free_variances: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int | Sequence[int],
        priors: Sequence[Prior],
        *,
        activation: str | activations.Activation = "relu",
        weight_scale: Scale = 1.0,
        bias_scale: Scale = 0.0,
        init_variances: str = "prior",
        key: Array,
    ) -> None:
        self.priors = check_priors(priors)
        widths = [width] * len(self.priors) if isinstance(width, int) else list(width)
        if len(widths) != len(self.priors):
            raise ValueError(
                f"width must have one entry a prior, got {len(widths)} widths and "
                f"{len(self.priors)} priors"
            )
        self.prior_widths = tuple(check_count("width", w) for w in widths)
        sizes = (
            check_count("in_size", in_size),
            *self.prior_widths,
            check_count("out_size", out_size),
        )
        self.activation = activations.get(activation)
        self.weight_scale, self.bias_scale = weight_scale, bias_scale
        layer_scales(weight_scale, bias_scale, len(self.priors) + 1)
        check_choice("init_variances", init_variances, ("prior", "equal"))

        keys = iter(jax.random.split(key, 3 * len(sizes)))
        pairs = list(itertools.pairwise(sizes))
        self.weights = tuple(jax.random.normal(next(keys), (n, m)) for m, n in pairs)
        self.biases = tuple(jax.random.normal(next(keys), (n,)) for _, n in pairs)
        log_variances, free = [], []
        for prior, p in zip(self.priors, self.prior_widths, strict=True):
            start, trained = start_variances(prior, p, init_variances, next(keys))
            log_variances.append(start)
            free.append(trained)
        self.log_variances, self.free_variances = tuple(log_variances), tuple(free)

    @property
    def in_size(self) -> int:
        """Size of an input."""
        return self.weights[0].shape[-1]

    @property
    def out_size(self) -> int:
        """Size of an output."""
        return self.weights[-1].shape[-2]

    @property
    def widths(self) -> tuple[int, ...]:
        """Nodes in each hidden layer; fewer than `prior_widths` after compaction."""
        return tuple(v.shape[-1] for v in self.log_variances)

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:  # noqa: ARG002
        """Outputs of shape (…, out_size) for inputs of shape (…, in_size); `key` is unused."""
        return self.pre_activations(x)[-1]

    def pre_activations(self, x: Array, gates: tuple[Array, ...] = ()) -> tuple[Array, ...]:
        """`Z¹, …, Z^(L+1)`, of shapes (…, width) and last (…, out_size).

        Args:
            x: inputs, shape (…, in_size).
            gates: factors on what the nodes say, of shapes (…, width), one a hidden layer; their
                gradients at 1 are those of switching nodes off. None without.
        """
        hidden = self._scales()[0][0] / math.sqrt(self.in_size) * x
        result: list[Array] = []
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer > 0:
                hidden = self._scaled(layer, result[-1])
                hidden = hidden * gates[layer - 1] if gates else hidden
            result.append(add_row(hidden @ weight.T, self._scales()[layer][1] * bias))
        return tuple(result)

    def design(self, x: Array, layer: int | None = None) -> Array:
        """What the weights behind a hidden layer multiply, (…, 1 + width): `Z = F [B, V]ᵀ`.

        The entry `σ_b` for the bias, and `σ_v √λ_j φ(Z_j)` of the hidden layer.

        Args:
            x: inputs, shape (…, in_size).
            layer: number of the hidden layer, from 1; the last without.
        """
        layer = len(self.weights) - 1 if layer is None else layer
        hidden = self._scaled(layer, self.pre_activations(x)[layer - 1])
        bias = jnp.full((*hidden.shape[:-1], 1), self._scales()[layer][1], hidden.dtype)
        return jnp.concatenate([bias, hidden], -1)

    def log_prior(self) -> Array:
        """Log-density of `V`, `B` and `log λ`, a scalar.

        Node variances enter through `u = log λ`: the Jacobian `+u` is included. Without it the
        density of every law here would be improper at `λ = 0`.
        """
        total = jnp.zeros(())
        for array in (*self.weights, *self.biases):
            total -= jnp.sum(array**2) / 2 + array.size * math.log(2 * math.pi) / 2
        for prior, width, u in zip(self.priors, self.prior_widths, self.log_variances, strict=True):
            total += log_density(prior, width, u)
        return total

    def _scales(self) -> list[tuple[Real, Real]]:
        return layer_scales(self.weight_scale, self.bias_scale, len(self.weights))

    def _scaled(self, layer: int, nodes: Array) -> Array:
        """`σ_v √λ φ(Z)` of the nodes before a layer of weights."""
        root = jnp.exp(self._log_variances()[layer - 1] / 2)
        return scale_row(self.activation(nodes), self._scales()[layer][0] * root)

    def _log_variances(self) -> tuple[Array, ...]:
        return tuple(
            held_unless(free, u)
            for free, u in zip(self.free_variances, self.log_variances, strict=True)
        )
