"""Moves of node variances and the parameters of their priors, beside a gradient sampler.

Both leave the density of weights, `u = log λ` and parameters invariant, whatever the likelihood.
A gradient sampler holds the weights `V` behind a node while `u` moves (non-centred); here `√λ V` is
held, or nodes that the data hardly see are drawn anew together with the parameters of the prior.
At a temperature `T` that density, and the likelihood, are to the power of `1 / T`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Distribution

from mogp.inference._likelihoods import log_density_of
from mogp.priors import log_density_of_log

Values = dict[str, Array]

_KNOTS = 128  # of the proposal in a band
_TRIES = 16  # draws from the prior a look at the likelihood


class NodePriors(NamedTuple):
    """The priors of the layers whose node variances are sampled.

    Attributes:
        given: from unconstrained values of the learned parameters to the distributions of `λ`, by
            the number of the layer.
        laws: the distributions of the learned parameters, by `prior{layer}.{parameter}`.
        temperature: `T`.
    """

    given: Callable[[Values], dict[int, Distribution]]
    laws: dict[str, Distribution]
    temperature: float

    def log_density(self, law: Distribution, u: Array) -> Array:
        """Log-density of `u` under a distribution of `λ`, tempered, elementwise."""
        return log_density_of_log(law, u) / self.temperature

    def log_prior(self, hyper: Values) -> Array:
        """Log-density of unconstrained values of the parameters, tempered, a scalar."""
        return log_density_of(self.laws, hyper) / self.temperature


def layer_of(name: str) -> int:
    """The number of the layer in the name of a parameter, `prior{layer}.{parameter}`."""
    return int(name[len("prior") : name.index(".")])


def slice_sample(
    key: Array, x: Array, log_density: Callable[[Array], Array], width: float | Array
) -> Array:
    """One slice-sampling update of every entry by itself (Neal, 2003, without stepping out).

    An interval of this width around `x` is shrunk until it holds a value. An entry whose density,
    elementwise, is not a number stays.
    """
    by_level, by_place, by_tries = jax.random.split(key, 3)
    drop = jax.random.exponential(by_level, x.shape, x.dtype)
    low = x - width * jax.random.uniform(by_place, x.shape, x.dtype)

    def unfinished(state: Any) -> Array:
        i, done = state[0], state[-1]
        return (i < 100) & ~jnp.all(done)

    def shrink(state: Any) -> Any:
        # The first try is `x`: one place where the density is compiled, which takes long.
        i, new, level, low, high, done = state
        uniform = jax.random.uniform(jax.random.fold_in(by_tries, i), x.shape, x.dtype)
        tried = jnp.where(i == 0, x, low + (high - low) * uniform)
        value = log_density(tried).astype(x.dtype)  # laws may have a higher precision
        level = jnp.where(i == 0, value - drop, level)
        inside = (value > level) & (i > 0)
        new = jnp.where(inside & ~done, tried, new)
        low = jnp.where(tried < x, tried, low)
        high = jnp.where((tried < x) | (i == 0), high, tried)
        return i + 1, new, level, low, high, done | inside

    start = (0, x, jnp.zeros_like(x), low, low + width, jnp.zeros(x.shape, bool))
    new: Array = jax.lax.while_loop(unfinished, shrink, start)[1]
    return new


def centred(
    key: Array,
    nodes: NodePriors,
    hyper: Values,
    u: dict[int, Array],
    weights: dict[int, Array],
    fan_outs: dict[int, Array],
) -> tuple[Values, dict[int, Array], dict[int, Array]]:
    """Slice updates of each `u_j` given `√λ_j V_j`, and of each parameter given all `u`.

    With `K` outgoing weights `W_j = √λ_j V_j` the conditional density of `u_j` is
    `p(u)^(1/T) exp(-K u/2 - ‖W_j‖² e^(-u)/(2T))`: no likelihood, for the function stays the same.
    The Jacobian `e^(-K u/2)` of the change from `V` to `W` is not a density, and not tempered.

    Args:
        key: a random key.
        nodes: the priors.
        hyper: unconstrained values of the learned parameters, scalars.
        u: log node variances, of shape (number,), by the number of the layer.
        weights: outgoing weights, standard normal under the prior, of shape (number, K), likewise;
            0 where a node has fewer than others.
        fan_outs: `K` of each node, of shape (number,), likewise.
    """
    by_node, by_value = jax.random.split(key)
    laws = nodes.given(hyper)
    new_u, new_weights = {}, {}
    for i, old in u.items():
        fan_out = fan_outs[i]
        log_norm = old + jnp.log(jnp.sum(weights[i] ** 2, 1))

        def log_density(
            v: Array, i: int = i, k: Array = fan_out, log_norm: Array = log_norm
        ) -> Array:
            prior = nodes.log_density(laws[i], v)
            return prior - k * v / 2 - jnp.exp(log_norm - v) / (2 * nodes.temperature)

        # Six standard deviations of a normal density of the same curvature at its mode, at any T.
        width = 6 * jnp.sqrt(2 / fan_out)
        new_u[i] = slice_sample(jax.random.fold_in(by_node, i), old, log_density, width)
        factor = jnp.exp((old - new_u[i]) / 2)
        new_weights[i] = weights[i] * jnp.broadcast_to(factor[:, None], weights[i].shape)

    for number, name in enumerate(nodes.laws):

        def of_value(z: Array, name: str = name, hyper: Values = hyper) -> Array:
            tried = hyper | {name: z}
            found = nodes.given(tried)
            each = [jnp.sum(nodes.log_density(found[i], v)) for i, v in new_u.items()]
            return nodes.log_prior(tried) + sum(each)

        drawn = slice_sample(jax.random.fold_in(by_value, number), hyper[name], of_value, 4.0)
        hyper = hyper | {name: drawn}
    return hyper, new_u, new_weights


def refreshed(
    key: Array,
    nodes: NodePriors,
    hyper: Values,
    u: dict[int, Array],
    log_likelihood: Callable[[Values, dict[int, Array]], Array],
) -> tuple[Values, dict[int, Array], Array]:
    """Draw a random set of nodes anew, together with the parameters of their priors, or stay.

    The set is that of a random band of `u` in a random layer, half of the time without a lower end,
    often thinned. The parameters of that layer move by a random walk, and the nodes of the set
    follow from their prior within the band, given them: so that nodes that the data do not see do
    not hold the parameters fast. Several such steps from the prior given the other nodes are
    accepted or refused at once by the likelihood of all the data (exactly: no minibatch).

    Returns:
        Parameters and log node variances, as for `centred`, and the share of nodes drawn anew.
    """
    by_band, by_thin, by_steps, by_end = jax.random.split(key, 4)
    dtype = next(iter(u.values())).dtype
    # Nothing here may depend on the state: the set must be the same seen from the new state.
    layer, place, size, end, often, share, scale = jax.random.uniform(by_band, (7,), dtype)
    layers = {i: jnp.floor(layer * len(u)) == number for number, i in enumerate(u)}
    top, span, open_below = 30 * place - 25, 160**size, end < 0.5
    chosen = {
        i: layers[i]
        & ((v > top - span) | open_below)
        & (v < top)
        & (
            jax.random.uniform(jax.random.fold_in(by_thin, i), v.shape, dtype)
            < jnp.where(often < 0.5, 1, len(v) ** (-share))
        )
        for i, v in u.items()
    }
    knots = top - span * jnp.linspace(1, 0, _KNOTS + 1, dtype=dtype)
    walks = {
        name: jnp.where(layers.get(layer_of(name), jnp.asarray(False)), 0.02 * 100**scale, 0)
        for name in hyper
    }

    def step(state: Any, inputs: Any) -> tuple[Any, None]:
        hyper, u, old = state
        first, key = inputs  # the first only scores the state, see `slice_sample`
        by_value, by_node, by_choice = jax.random.split(key, 3)
        tried = {
            name: z
            + jnp.where(first, 0, walks[name]).astype(z.dtype)
            * jax.random.normal(jax.random.fold_in(by_value, number), (), z.dtype)
            for number, (name, z) in enumerate(hyper.items())
        }
        laws, drawn, new = nodes.given(tried), {}, nodes.log_prior(tried).astype(dtype)
        for i, v in u.items():
            band = Band(knots, nodes.log_density(laws[i], knots), open_below)
            sample = band.sample(jax.random.fold_in(by_node, i), v.shape)
            drawn[i] = jnp.where(chosen[i] & ~first, sample, v).astype(v.dtype)
            density = nodes.log_density(laws[i], drawn[i])
            new += jnp.sum(density - jnp.where(chosen[i], band.log_density(drawn[i]), 0))
        accept = first | (jnp.log(jax.random.uniform(by_choice, (), dtype)) < new - old)
        kept = jax.tree.map(lambda a, b: jnp.where(accept, a, b), (tried, drawn, new), state)
        return kept, None

    tries = 1 + (_TRIES if nodes.laws else 1)
    inputs = jnp.arange(tries) == 0, jax.random.split(by_steps, tries)
    (tried, drawn, _), _ = jax.lax.scan(step, (hyper, u, jnp.zeros((), dtype)), inputs)
    gain = log_likelihood(tried, drawn) - log_likelihood(hyper, u)
    accept = jnp.log(jax.random.uniform(by_end, (), dtype)) < gain
    kept = jax.tree.map(lambda a, b: jnp.where(accept, a, b), (tried, drawn), (hyper, u))
    moved = jnp.mean(jnp.concatenate([c.astype(dtype) for c in chosen.values()]))
    return *kept, jnp.where(accept, moved, 0)


class Band(NamedTuple):
    """A density on an interval, the exponential of a piecewise linear function at equal knots.

    Attributes:
        knots: in increasing order, of shape (num,).
        values: logarithm of the density at them, up to a constant; minus infinity may be among.
        open_below: whether it goes on below the first knot, falling as in the first cell.
    """

    knots: Array
    values: Array
    open_below: Array

    def _heights(self) -> Array:
        """Values without infinities, which would give NaN as differences."""
        return jnp.maximum(self.values, float(np.finfo(self.values.dtype).min) / 8)

    def _rises(self) -> Array:
        """Over the cells; never 0, by which they are divided."""
        rise = jnp.diff(self._heights())
        return jnp.where(jnp.abs(rise) < 1e-6, 1e-6, rise)

    def _fall(self) -> Array:
        """Of the part below, over the width of a cell, positive."""
        return jnp.maximum(self._rises()[0], 1e-3)

    def _log_masses(self) -> Array:
        """Of the part below and of the cells, over the width of a cell."""
        heights, rise = self._heights(), self._rises()
        size = jnp.abs(rise)
        cells = heights[:-1] + jnp.maximum(rise, 0) + jnp.log(-jnp.expm1(-size) / size)
        below = jnp.where(self.open_below, heights[0] - jnp.log(self._fall()), -jnp.inf)
        return jnp.concatenate([below[None], cells])

    def log_density(self, u: Array) -> Array:
        """Up to the logarithm of a cell's width."""
        width = self.knots[1] - self.knots[0]
        below = self._fall() * jnp.minimum(u - self.knots[0], 0) / width
        inside = jnp.interp(u, self.knots, self._heights())
        return inside + below - jax.nn.logsumexp(self._log_masses())

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Independent draws."""
        by_cell, by_place = jax.random.split(key)
        dtype = self.values.dtype
        cumulative = jnp.cumsum(jax.nn.softmax(self._log_masses()))
        level = jax.random.uniform(by_cell, shape, dtype) * cumulative[-1]
        # From the right, so that a part of no mass is never taken.
        cell = jnp.searchsorted(cumulative, level, side="right") - 1
        cell = jnp.minimum(cell, len(self.knots) - 2)
        rise = self._rises()[jnp.maximum(cell, 0)]
        fall = -jnp.abs(rise)
        uniform = jax.random.uniform(by_place, shape, dtype)
        share = jnp.log1p(uniform * jnp.expm1(fall)) / fall
        share = jnp.where(rise > 0, 1 - share, share)
        share = jnp.where(cell < 0, jnp.log1p(-uniform) / self._fall(), share)
        place = self.knots[jnp.maximum(cell, 0)]
        return place + share * (self.knots[1] - self.knots[0])
