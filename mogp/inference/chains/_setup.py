"""The NumPyro model of a network or of the limit, and functions from its parameters."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from mogp import limit
from mogp._arrays import as_inputs
from mogp._checks import check_choice, check_count, is_concrete
from mogp.architecture import AbstractArchitecture
from mogp.inference._data import as_targets
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference.chains._polar import normal_rows, polar_rows
from mogp.limit.layers import (
    LayerJumps,
    cholesky,
    gaussian_draws,
    layers_of,
    numbers_of_jumps,
    skeleton,
)
from mogp.nn import DependentMLP, check_widths, network
from mogp.priors import Deterministic, Prior, has_density

Values = dict[str, Array]
Source = limit.Path | DependentMLP
_FAR = 1e3  # a Gaussian prior of size 1 takes a line of size 1e6 for noise, of 1e3 not


@dataclass(frozen=True)
class Setup:
    """A Bayesian model of functions and observations.

    Sites, `l` counting layers from 0: `nodes{l}`, of which `weights{l}` and `biases{l}` are made,
    standard normal; `node_variances{l}`; `input_variances` of the groups of inputs; unknown
    parameters as in `sample_parameters`; those of the likelihood under their own names. With a
    conjugate likelihood the weights and biases behind the last hidden layer are integrated out.

    The node variances of the limit are the largest jumps. Given the last of their arrival times,
    `last_arrival{l}`, the others are uniform before it, in no order, at the shares `places{l}`. So
    nodes may change their ranks without a wall between, which times of arrival in their order, one
    behind the other, would put up. `diffuse{l}` is the expected sum of the other jumps. Nodes,
    weights and variances are ranked by size only afterwards.

    Attributes:
        model: depth, activation, scales and priors, with NumPyro distributions for what is unknown.
        likelihood: of the observations.
        in_size: the size of an input.
        num_outputs: the number of outputs of the function.
        width: the nodes of each hidden layer of a finite network; None for the limit.
        num_jumps: the jumps of each hidden layer of the limit.
        num_diffuse: the nodes that carry the diffuse part of each hidden layer of the limit.
        method: `"dense"` or `"low_rank"`, for a conjugate likelihood.
        is_polar: whether nodes are drawn as in `polar_rows`, for samplers that follow gradients.
    """

    model: AbstractArchitecture
    likelihood: Likelihood
    in_size: int
    num_outputs: int
    width: tuple[int, ...] | None
    num_jumps: tuple[int, ...]
    num_diffuse: int
    method: str
    is_polar: bool = True

    def fields(self) -> tuple[Any, ...]:
        """All of it, as a tree."""
        return tuple(getattr(self, each.name) for each in fields(self))

    def given(self, y: Array) -> Self:
        """The model with what its likelihood takes from all the observations."""
        return replace(self, likelihood=self.likelihood.for_observations(y))

    @property
    def is_dense(self) -> bool:
        """Whether no nodes carry the last diffuse part, which has a closed form."""
        return self.likelihood.is_conjugate and self.method == "dense"

    def numpyro_model(self, x: Array, y: Array | None = None) -> None:
        """The NumPyro model; without `y`, `outputs` and observations `y` are drawn."""
        model, likelihood, values = self.unknowns(x.dtype, outputs=y is None)
        source = self._source(model, values)
        if y is None or not self.likelihood.is_conjugate:
            if self.is_dense and isinstance(source, limit.Path):
                outputs = self._outputs(source.kernel(x))
            else:
                outputs = source(x)
            if y is None:
                numpyro.deterministic("outputs", outputs)
            numpyro.sample("y", likelihood.law(outputs), obs=y)
            return
        given = likelihood.condition(source, x, y, self.method)
        numpyro.factor("log_marginal_likelihood", given.log_marginal_likelihood())

    def unknowns(
        self, dtype: Any, *, outputs: bool = False
    ) -> tuple[AbstractArchitecture, Likelihood, Values]:
        """Within a NumPyro model: the model and likelihood drawn, and what functions are made of.

        Args:
            dtype: of the numbers.
            outputs: also weights of outputs that the observations integrate out.
        """
        model, likelihood = sample_parameters(self.model), self.likelihood.drawn()
        return model, likelihood, self._sample(model, dtype, outputs)

    def parameters(self, values: Values) -> tuple[AbstractArchitecture, Likelihood]:
        """The model and the likelihood with numbers for all that is unknown."""
        with numpyro.handlers.substitute(data=values):
            return sample_parameters(self.model), self.likelihood.drawn()

    def draw(self, values: Values) -> tuple[Source, Likelihood]:
        """The function and the likelihood with the values of all sites."""
        model, likelihood = self.parameters(values)
        return self._source(model, values), likelihood

    # --- sites ----------------------------------------------------------------------------------

    def _widths(self) -> tuple[int, ...]:
        hidden = self.width or tuple(num + self.num_diffuse for num in self.num_jumps)
        return (self.in_size, *hidden, self.num_outputs)

    def _sample(self, model: AbstractArchitecture, dtype: Any, outputs: bool) -> Values:
        widths, depth = self._widths(), self.model.depth
        sample = self._sample_jumps if self.width is None else self._sample_variances
        values, ranks = sample(model, dtype)
        for i, (_, bias_scale) in enumerate(model.scales):
            if i == depth and (self.is_dense or (self.likelihood.is_conjugate and not outputs)):
                break
            dense = self.is_dense and self.width is None and i == depth - 1
            num = self.num_jumps[i] if dense else widths[i + 1]
            has_bias = not (is_concrete(bias_scale) and bias_scale == 0)
            draw = polar_rows if i < depth and self.is_polar else normal_rows
            rows = draw(f"nodes{i}", num, widths[i] + has_bias, dtype)
            if i in ranks:
                rows = jnp.concatenate([rows[ranks[i]], rows[len(ranks[i]) :]])
            values[f"weights{i}"] = numpyro.deterministic(f"weights{i}", rows[:, : widths[i]])
            if has_bias:
                values[f"biases{i}"] = numpyro.deterministic(f"biases{i}", rows[:, -1])
        return values | self._sample_inputs(model, dtype)

    def _sample_inputs(self, model: AbstractArchitecture, dtype: Any) -> Values:
        if (prior := model.random_inputs) is None:
            return {}
        name, law = "input_variances", prior.at_width(self.in_size)
        check_density(prior, law)
        num = int(model.groups_of(self.in_size).max()) + 1
        return {name: numpyro.sample(name, law.expand((num,)).to_event(1)).astype(dtype)}

    def _sample_jumps(
        self, model: AbstractArchitecture, dtype: Any
    ) -> tuple[Values, dict[int, Array]]:
        """Jumps from the largest to the smallest, and which node each belongs to."""
        values, ranks = {}, {}
        for i, (layer, num) in enumerate(zip(layers_of(model), self.num_jumps, strict=True)):
            if not layer.is_gaussian:
                arrivals = _sample_arrivals(i, num, dtype)
                ranks[i] = jnp.argsort(arrivals)
                sizes = layer.levy.inverse_tail(arrivals[ranks[i]]).astype(dtype)
                diffuse = (layer.location + layer.levy.moment(1, sizes[-1])).astype(dtype)
                for name, value in ((f"node_variances{i}", sizes), (f"diffuse{i}", diffuse)):
                    values[name] = numpyro.deterministic(name, value)
        return values, ranks

    def _sample_variances(
        self, model: AbstractArchitecture, dtype: Any
    ) -> tuple[Values, dict[int, Array]]:
        values = {}
        for i, (prior, num) in enumerate(zip(model.priors, self._widths()[1:-1], strict=True)):
            if isinstance(prior, Deterministic):
                continue
            name, law = f"node_variances{i}", prior.at_width(num)
            check_density(prior, law)
            values[name] = numpyro.sample(name, law.expand((num,)).to_event(1)).astype(dtype)
        return values, {}

    # --- functions ------------------------------------------------------------------------------

    def _source(self, model: AbstractArchitecture, values: Values) -> Source:
        widths, dtype = self._widths(), values["weights0"].dtype
        filled = jax.random.split(_key_of(values), 2 * len(widths))

        def padded(name: str, shape: tuple[int, ...], key: Array) -> Array:
            """Nodes that the observations do not see are drawn from the prior."""
            if name not in values:
                return jax.random.normal(key, shape, dtype)
            rest = jax.random.normal(key, (shape[0] - len(values[name]), *shape[1:]), dtype)
            return jnp.concatenate([values[name], rest])

        weights = tuple(
            padded(f"weights{i}", (widths[i + 1], widths[i]), filled[2 * i])
            for i in range(len(widths) - 1)
        )
        biases = tuple(
            padded(f"biases{i}", (widths[i + 1],), filled[2 * i + 1])
            for i in range(len(widths) - 1)
        )
        if self.width is not None:
            return _network(model, values, weights, biases)
        jumps = []
        for i, layer in enumerate(layers_of(model)):
            sizes = values.get(f"node_variances{i}", jnp.zeros(0, dtype))
            diffuse = jnp.asarray(values.get(f"diffuse{i}", layer.location), dtype)
            jumps.append(LayerJumps(sizes, diffuse, jnp.zeros_like(diffuse)))
        inputs = values.get("input_variances")
        if inputs is not None:
            inputs = inputs[model.groups_of(self.in_size)]
        return limit.Path(skeleton(model), weights, biases, tuple(jumps), self.num_diffuse, inputs)

    def _outputs(self, kernel: Array) -> Array:
        """A draw of the outputs on points from their kernel."""
        return gaussian_draws(cholesky(kernel), numpyro.prng_key(), self.num_outputs).T


def _sample_arrivals(i: int, num: int, dtype: Any) -> Array:
    """The first times of arrival of a Poisson process of rate 1, the last of them at the end."""
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    last = numpyro.sample(f"last_arrival{i}", dist.Gamma(num * one, one))
    if num == 1:
        return last[None]
    places = numpyro.sample(f"places{i}", dist.Uniform(zero, one).expand((num - 1,)).to_event(1))
    return last * jnp.append(places, one)


def check_density(prior: Prior, law: dist.Distribution) -> None:
    """Raise unless the variances that a prior gives have a density."""
    if not has_density(law):
        raise ValueError(
            f"variances of {prior} have no density, which NUTS needs; choose a prior with one"
        )


def check_scale(model: AbstractArchitecture, y: Array) -> None:
    """Warn of observations that no function of the prior is anywhere near."""
    scales = model.weight_scale, model.bias_scale  # distributions have no numbers
    last: list[Any] = [s[-1] if isinstance(s, list | tuple) else s for s in scales]
    if any(isinstance(scale, Distribution) for scale in last) or len(y) == 1:
        return
    spread, size = float(jnp.std(y)), float(max(last))
    if not size / _FAR < spread < size * _FAR:
        warnings.warn(
            f"y has a standard deviation of {spread:.2g}, and functions of the prior are of size "
            f"{size:.2g} (the last layer's scales): y is taken for noise, or sampling is slow. "
            "Divide y by its standard deviation, or give weight_scale and bias_scale of its size",
            stacklevel=4,
        )


def check_model(model: Any) -> None:
    """Raise unless the model is a `MoGP`."""
    if not isinstance(model, AbstractArchitecture):
        raise ValueError(f"model must be a MoGP, such as MoGP([priors.Horseshoe()]), got {model!r}")


def problem_of(
    model: AbstractArchitecture,
    x: Array,
    y: ArrayLike,
    likelihood: str | Likelihood,
    *sizes: Any,
    is_polar: bool,
) -> tuple[Setup, Array, Array]:
    """The Bayesian model, inputs and observations, checked; `sizes` are those of `setup_of`."""
    check_model(model)
    x, law = as_inputs("x", x), likelihood_of(likelihood)
    targets = as_targets(law, y, x)
    if law.is_real:
        check_scale(model, targets)
    outputs = law.num_outputs(targets)
    return setup_of(model, x, law, outputs, *sizes, is_polar=is_polar), x, targets


def setup_of(
    model: AbstractArchitecture,
    x: Array,
    likelihood: Likelihood,
    num_outputs: int,
    width: int | Sequence[int] | None,
    num_jumps: int | Sequence[int],
    num_diffuse: int,
    method: str | None,
    *,
    is_polar: bool = True,
) -> Setup:
    """The Bayesian model, with arguments checked."""
    finite, jumps = None, (0,) * model.depth
    if width is None:
        with numpyro.handlers.seed(rng_seed=0):  # only the kinds of the layers are looked at
            layers = layers_of(sample_parameters(model))
        jumps = numbers_of_jumps(layers, model.activation, num_jumps, 0.0)
    else:
        finite = check_widths(width, model.depth)
    if method is None:
        wide = len(x) <= 500 if is_polar else not _is_dear(len(x), sum(jumps), num_diffuse)
        method = "dense" if finite is None and wide else "low_rank"
    check_choice("method", method, ("dense", "low_rank"))
    if method == "dense" and finite is not None:
        raise ValueError("method must be 'low_rank' for a finite network, whose rank is low")
    check_count("num_diffuse", num_diffuse)
    sizes = finite, jumps, num_diffuse
    return Setup(model, likelihood, x.shape[1], num_outputs, *sizes, method, is_polar)


def _is_dear(n: int, jumps: int, num_diffuse: int) -> bool:
    """Whether a dense density takes several times the work of one of low rank.

    Both in multiplications, of which an entry of a closed form counts as sixty. Measured on two
    cores with 46 nodes and 10 inputs: 47 and 43 ms a draw for 100 points, 211 and 41 ms for 200.
    Without jumps the closed form is all there is, which nodes only stand for.
    """
    nodes = jumps + num_diffuse + 1
    return n**3 / 3 + 60 * n**2 > (4 if jumps else 100) * n * nodes * (nodes + 30)


def _key_of(values: Values) -> Array:
    """A random key that follows from a draw: another one for each, and always the same."""
    seed = jnp.zeros((), jnp.uint32)
    for value in values.values():
        bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(value), jnp.uint32)
        seed += jnp.sum(bits, dtype=jnp.uint32)
    return jax.random.key(seed)


def _network(
    model: AbstractArchitecture,
    values: Values,
    weights: tuple[Array, ...],
    biases: tuple[Array, ...],
) -> DependentMLP:
    sizes = weights[0].shape[1], len(biases[-1]), [len(b) for b in biases[:-1]]
    made = network(model, *sizes, init_variances="equal", key=jax.random.key(0))
    layers = []
    for i, layer in enumerate(made.layers):
        name, dtype = f"node_variances{i}", biases[i].dtype
        logs = jnp.log(values[name]) if name in values else layer.log_variances.astype(dtype)
        w, b = weights[i + 1], biases[i + 1]
        layers.append(replace(layer, log_variances=logs, weights=w, biases=b))
    inputs = replace(made.inputs, weights=weights[0], biases=biases[0])
    if (variances := values.get("input_variances")) is not None:
        inputs = replace(inputs, log_variances=jnp.log(variances))
    return DependentMLP(inputs=inputs, layers=tuple(layers))
