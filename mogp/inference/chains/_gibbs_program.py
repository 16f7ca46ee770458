"""A Gibbs sampler by slices of the model of a `Setup` with one hidden layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import ExpTransform

from mogp._arrays import scale_row
from mogp.architecture import AbstractArchitecture
from mogp.inference.chains._nodes import Dense, LowRank, Marks, sweep
from mogp.inference.chains._program import Program
from mogp.inference.chains._setup import Setup, Values
from mogp.inference.chains._slices import slice_along
from mogp.limit.layers import layers_of, precise_matmul

_DRAWS = 10  # of the prior, of which the best is the start
# Widths of first intervals are three times the mean length of moves: that of a slice that is drawn
# from evenly. The first width, 1 for logarithms and numbers of size 1, counts as so many moves.
_LENGTHS, _PRIOR_MOVES = 3.0, 5


class State(NamedTuple):
    """A chain. Sums over moves are those of the warmup.

    Attributes:
        z: unconstrained numbers by site.
        potential_energy: minus the logarithm of their density.
        key: of the next draw.
        done: draws so far.
        lengths: sums of the lengths of the moves along each line.
        evaluations: densities that the last draw took.
        error: by how much the moves of the nodes misjudged what they gained, from rounding.
    """

    z: Values
    potential_energy: Array
    key: Array
    done: Array
    lengths: Array
    evaluations: Array
    error: Array


class _Lines(NamedTuple):
    """Lines through what all nodes share, along which moves are made.

    A move of length `t` adds `t · shared` to the unconstrained numbers, and multiplies the weights
    of nodes from input `i` by `exp(-t · weights_i)`.

    Attributes:
        shared: of shape (lines, unconstrained numbers).
        weights: of shape (lines, inputs and bias).
        variances: which of the numbers, by line, are logarithms of the variances of several inputs:
            those of the largest only are moved, a random number of them.
    """

    shared: np.ndarray
    weights: np.ndarray
    variances: np.ndarray


class Gibbs(Program):
    """The functions of a run of the Gibbs sampler.

    A draw moves each node and its variance in turn (`_nodes`), then everything that nodes share
    along lines: each unconstrained number by itself; scales of inputs and of biases with the
    weights behind them shrunk as they grow, so that functions stay the same; and scales against one
    another. The two kinds of moves of a scale are the interweaving of Yu and Meng (2011): either
    one alone is slow, where the data say much of the nodes or nothing. Since they say much of some
    nodes and nothing of others, only the weights of the largest are shrunk, a random number of
    them: those of the others would hold the scale fast.
    """

    name = "Gibbs"
    library = "mogp"

    def __init__(self, setup: Setup, num_warmup: int) -> None:
        super().__init__(setup)
        self.num_warmup = num_warmup

    # --- of one chain ---------------------------------------------------------------------------

    def start_of_one(self, key: Array, x: Array, y: Array) -> State:
        by_draw, by_chain = jax.random.split(key)
        draws = jax.vmap(lambda k: self.drawn(k, x, y))(jax.random.split(by_draw, _DRAWS))
        energies = jax.lax.map(self.potential(x, y), draws)
        best = jnp.argmin(jnp.where(jnp.isfinite(energies), energies, jnp.inf))
        z = jax.tree.map(lambda a: a[best], draws)
        num, zero = len(self._lines(z, x, y).shared), jnp.zeros((), int)
        lengths = jnp.full(num, _PRIOR_MOVES / _LENGTHS, x.dtype)
        return State(z, energies[best], by_chain, zero, lengths, zero, jnp.zeros((), x.dtype))

    def sample_of_one(self, state: State, x: Array, y: Array) -> State:
        key, by_node, by_line = jax.random.split(state.key, 3)
        potential = self.potential(x, y)
        z, gained, tried = self._move_nodes(by_node, state.z, x, y)
        energy = potential(z)
        error = jnp.abs(state.potential_energy - energy - gained)
        moves = jnp.minimum(state.done, self.num_warmup) + _PRIOR_MOVES
        widths = _LENGTHS * state.lengths / moves
        z, energy, lengths, taken = self._move_shared(by_line, z, energy, widths, x, y)
        adapts = state.done < self.num_warmup
        lengths = state.lengths + jnp.where(adapts, lengths, 0)
        return State(z, energy, key, state.done + 1, lengths, tried + taken, error)

    def statistics_of_one(self, state: State) -> dict[str, Array]:
        return {
            "energy": state.potential_energy,
            "n_steps": state.evaluations,
            "rounding_error": state.error,
        }

    # --- nodes ----------------------------------------------------------------------------------

    def _move_nodes(self, key: Array, z: Values, x: Array, y: Array) -> tuple[Values, Array, Array]:
        """New numbers, how much the logarithm of their density has grown, and moves tried."""
        setup, rows = self.setup.given(y), z["nodes0"]
        if not rows.size:
            return z, jnp.zeros((), x.dtype), jnp.zeros((), int)
        values = self.sites_of_one(x, y)(z)
        model, likelihood = setup.parameters(values)
        name, marks, variances = self._marks(model, z, values)
        points, bias_scale = self._points(model, values, x), model.scales[1][1]

        def values_of(row: Array) -> Array:
            return model.activation(precise_matmul(points, row))

        noise = jnp.asarray(likelihood.noise_scale, x.dtype)  # type: ignore[attr-defined]
        if setup.is_dense:
            kernel = setup.draw(values)[0].kernel(x)  # type: ignore[union-attr]
            rest: Any = Dense.of(kernel + noise**2 * jnp.eye(len(x), dtype=x.dtype), y)
        else:
            nodes = scale_row(jax.vmap(values_of, out_axes=1)(rows), jnp.sqrt(variances))
            ones = jnp.full((len(x), 1), bias_scale, x.dtype)
            rest = LowRank.of(jnp.concatenate([ones, nodes], 1), noise, y)
        new, numbers, grown, tried = sweep(key, rest, rows, variances, marks, values_of)
        log_prior = jax.vmap(marks.log_prior)
        change = jnp.sum(log_prior(numbers) - log_prior(marks.numbers))
        gained = grown + change + (jnp.sum(rows**2) - jnp.sum(new**2)) / 2
        return z | {"nodes0": new} | ({name: numbers} if name else {}), gained, tried

    def _points(self, model: AbstractArchitecture, values: Values, x: Array) -> Array:
        """The inputs as the standard normal weights of a node meet them, its bias last."""
        weight_scale, bias_scale = model.scales[0]
        size = x.shape[1]
        variances = jnp.full(size, 1 / size, x.dtype)
        if "input_variances" in values:
            variances = values["input_variances"][self.setup.model.groups_of(size)]
        points = scale_row(x, weight_scale * jnp.sqrt(variances))
        if values["nodes0"].shape[1] == size:
            return points
        return jnp.concatenate([points, jnp.full((len(x), 1), bias_scale, x.dtype)], 1)

    def _marks(
        self, model: AbstractArchitecture, z: Values, values: Values
    ) -> tuple[str, Marks, Array]:
        """The site of the variances, what they are made of, and the variances of the values."""
        factor, num, dtype = model.scales[1][0] ** 2, len(z["nodes0"]), z["nodes0"].dtype
        fixed = Marks(jnp.zeros(0, dtype), lambda number: number, lambda number: number)
        if self.setup.width is not None and "node_variances0" in z:
            law = model.priors[0].at_width(num)
            transform = biject_to(law.support)

            def log_prior(number: Array) -> Array:
                size = transform(number)
                return law.log_prob(size) + transform.log_abs_det_jacobian(number, size)

            marks = Marks(z["node_variances0"], lambda n: factor * transform(n), log_prior)
            return "node_variances0", marks, jax.vmap(marks.variance)(marks.numbers)
        if self.setup.width is not None:
            return "", fixed, jnp.full(num, factor / num, dtype)
        jumps, layer = self.setup.num_jumps[0], layers_of(model)[0]
        rest = values.get("diffuse0", layer.location) / max(num - jumps, 1)
        variances = jnp.full(num, factor * rest, dtype)
        if not jumps:
            return "", fixed, variances
        last = values["last_arrival0"]
        variances = variances.at[jumps - 1].set(factor * layer.levy.inverse_tail(last))
        if jumps == 1:
            return "", fixed, variances

        def variance(number: Array) -> Array:
            return factor * layer.levy.inverse_tail(last * jax.nn.sigmoid(number))

        def log_logistic(number: Array) -> Array:
            return jax.nn.log_sigmoid(number) + jax.nn.log_sigmoid(-number)

        variances = variances.at[: jumps - 1].set(variance(z["places0"]))
        return "places0", Marks(z["places0"], variance, log_logistic), variances

    # --- what nodes share -------------------------------------------------------------------------

    def _shared(self, z: Values) -> list[str]:
        """The sites that do not belong to single nodes."""
        return sorted(set(z) - {"nodes0", "places0", "node_variances0"})

    def _lines(self, z: Values, x: Array, y: Array) -> _Lines:
        with numpyro.handlers.seed(rng_seed=0):
            laws = self.laws(x, y)
        logs, place, start = {}, {}, 0
        for name in self._shared(z):
            transform = biject_to(laws[name][0].support)
            logs[name] = isinstance(getattr(transform, "base_transform", transform), ExpTransform)
            place[name] = np.arange(start, start := start + z[name].size)
        inputs, size = x.shape[1], z["nodes0"].shape[1]
        shared: list[np.ndarray] = list(np.eye(start))
        weights: list[np.ndarray] = [np.zeros(size) for _ in range(start)]

        def add(at: dict[int, float], columns: Any = (), power: float = 0.0) -> None:
            shared.append(np.array([at.get(i, 0.0) for i in range(start)]))
            weights.append(np.zeros(size))
            weights[-1][columns] = power

        groups = self.setup.model.groups_of(inputs)
        variances: Any = place["input_variances"] if logs.get("input_variances") else []
        for group, i in enumerate(variances):
            add({i: 1}, np.flatnonzero(groups == group), 0.5)
        first, second, bias = "weight_scale0", "weight_scale1", "bias_scale0"
        at = {name: int(place[name][0]) for name in (first, second, bias) if logs.get(name)}
        if first in at:
            add({at[first]: 1}, np.arange(inputs), 1)
            add({at[first]: 1, **dict.fromkeys(variances, -2)}) if len(variances) else None
        if bias in at and size > inputs:
            add({at[bias]: 1}, np.array([inputs]), 1)
        if second in at and (first in at or len(variances)):
            inner = {at[first]: 1.0} if first in at else dict.fromkeys(variances, 2.0)
            add({**inner, **({at[bias]: 1} if bias in at else {}), at[second]: -1})
        moves = np.array(shared)
        several = np.zeros_like(moves)
        if len(variances) > 1:
            several[:, variances] = (moves[:, variances] != 0).all(1, keepdims=True)
        return _Lines(moves, np.array(weights), several)

    def _ranks(self, z: Values) -> Array:
        """The ranks of the nodes by size, from 0, which moves of what they share do not change."""
        num = len(z["nodes0"])
        arrivals = jnp.full(num, jnp.inf, z["nodes0"].dtype)
        if "places0" in z:
            arrivals = arrivals.at[: len(z["places0"])].set(z["places0"])
        elif "node_variances0" in z:
            arrivals = -z["node_variances0"]
        return jnp.argsort(jnp.argsort(arrivals))

    def _move_shared(
        self, key: Array, z: Values, energy: Array, widths: Array, x: Array, y: Array
    ) -> tuple[Values, Array, Array, Array]:
        """New numbers, their energy, the lengths of the moves, and densities taken."""
        potential, lines = self.potential(x, y), self._lines(z, x, y)
        shared, unravel = ravel_pytree({name: z[name] for name in self._shared(z)})
        if not len(lines.shared):
            return z, energy, widths, jnp.zeros((), int)
        num = len(z["nodes0"])
        ranks = self._ranks(z)

        def log_uniform(key: Array, most: Array | int) -> Array:
            """A number from 1 to `most`, each power of two as likely as the next."""
            return jnp.floor((most + 1) ** jax.random.uniform(key, dtype=energy.dtype))

        def move(carry: Any, one: Any) -> tuple[Any, Array]:
            shared, rows, energy, taken = carry
            along, powers, several, width, key = one
            by_node, by_input, by_slice = jax.random.split(key, 3)
            held = log_uniform(by_node, num)
            shrunk = jnp.outer((ranks < held).astype(rows.dtype), powers)
            count = log_uniform(by_input, jnp.sum(several))

            def chosen(shared: Array) -> Array:
                """The numbers that move: of several variances, the largest."""
                sizes = jnp.where(several > 0, shared, -jnp.inf)
                return (several == 0) | (jnp.argsort(jnp.argsort(-sizes)) < count)

            moving = chosen(shared)

            def there(t: Array) -> tuple[Array, Array]:
                return shared + t * along * moving, rows * jnp.exp(-t * shrunk)

            def log_density(t: Array) -> Array:
                new, scaled = there(t)
                value = potential(z | {"nodes0": scaled} | unravel(new))
                # The way back must choose the same numbers.
                same = jnp.all(chosen(new) == moving)
                return jnp.where(same, -value - t * jnp.sum(shrunk), -jnp.inf)

            t, value, tried = slice_along(by_slice, log_density, -energy, width)
            energy = -value - t * jnp.sum(shrunk)
            return (*there(t), energy, taken + tried), jnp.abs(t)

        by_order, by_move = jax.random.split(key)
        order = jax.random.permutation(by_order, len(lines.shared))
        arrays = [jnp.asarray(a, x.dtype)[order] for a in lines]
        each = (*arrays, widths[order], jax.random.split(by_move, len(order)))
        start = shared, z["nodes0"], energy, jnp.zeros((), int)
        (shared, rows, energy, taken), moved = jax.lax.scan(move, start, each)
        lengths = jnp.zeros_like(widths).at[order].set(moved)
        return z | {"nodes0": rows} | unravel(shared), energy, lengths, taken
