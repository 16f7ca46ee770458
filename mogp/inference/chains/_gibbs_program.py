"""A Gibbs sampler by slices of the model of a `Setup` with one hidden layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import ExpTransform
from numpyro.infer.util import constrain_fn, potential_energy

from mogp._arrays import scale_row
from mogp.architecture import AbstractArchitecture
from mogp.inference._likelihoods import Likelihood
from mogp.inference.chains._evidence import Seen, Shares
from mogp.inference.chains._nodes import Dense, LowRank, Marks, sweep
from mogp.inference.chains._program import Program
from mogp.inference.chains._setup import Setup, Values
from mogp.inference.chains._slices import NUM_UNIFORMS, slice_along
from mogp.limit.layers import layers_of, precise_matmul

_DRAWS = 10  # of the prior, of which the best is the start
_ROUNDS = 2  # of moves a draw: draws cost memory and predictions, and rounds nothing to compile
# Widths of intervals are six times the mean length of moves: twice a slice drawn from evenly.
# The first width, 2 for logarithms and numbers of size 1, counts as so many moves.
_LENGTHS, _PRIOR_MOVES = 6.0, 5


class State(NamedTuple):
    """A chain. Sums over moves are those of the warmup.

    Attributes:
        z: unconstrained numbers by site.
        potential_energy: minus the logarithm of their density.
        key: of the next draw.
        done: draws so far.
        lengths: sums of the lengths of the moves along each line.
        evaluations: densities that the last draw took.
        error: by how much moves of nodes misjudged what they gained, at most, from rounding.
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

    A draw moves, twice, each node and its variance in turn (`_nodes`), then all that nodes share
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
        potential = self.potential(x, y)

        def drawn(key: Array) -> tuple[Values, Array]:
            return (z := self.drawn(key, x, y)), potential(z)

        draws, energies = jax.lax.map(drawn, jax.random.split(by_draw, _DRAWS))
        best = jnp.argmin(jnp.where(jnp.isfinite(energies), energies, jnp.inf))
        z = jax.tree.map(lambda a: a[best], draws)
        num, zero = len(self._lines(z, x, y).shared), jnp.zeros((), int)
        lengths = jnp.full(num, 2 * _PRIOR_MOVES / _LENGTHS, x.dtype)
        return State(z, energies[best], by_chain, zero, lengths, zero, jnp.zeros((), x.dtype))

    def sample_of_one(self, state: State, x: Array, y: Array) -> State:
        zero = jnp.zeros_like(state.evaluations)
        fresh = state._replace(evaluations=zero, error=jnp.zeros_like(state.error))
        end: State = jax.lax.fori_loop(0, _ROUNDS, lambda _, s: self._round(s, x, y), fresh)
        return end._replace(done=state.done + 1)

    def _round(self, state: State, x: Array, y: Array) -> State:
        """A move of everything."""
        key, by_node, by_line = jax.random.split(state.key, 3)
        z, gained, tried = self._move_nodes(by_node, self._in_order(state.z), x, y)
        known = self._known(z, x.dtype)
        before = self._energy(z, known, x, y)
        error = jnp.abs(state.potential_energy - before - gained)
        moves = _ROUNDS * jnp.minimum(state.done, self.num_warmup) + _PRIOR_MOVES
        widths = _LENGTHS * state.lengths / moves
        z, energy, lengths, taken = self._move_shared(by_line, z, known[2], before, widths, x, y)
        adapts = state.done < self.num_warmup
        return State(
            z,
            energy,
            key,
            state.done,
            state.lengths + jnp.where(adapts, lengths, 0),
            state.evaluations + tried + taken,
            jnp.maximum(state.error, error),
        )

    def statistics_of_one(self, state: State) -> dict[str, Array]:
        return {
            "energy": state.potential_energy,
            "n_steps": state.evaluations,
            "rounding_error": state.error,
        }

    # --- the density in parts -----------------------------------------------------------------

    def _prior_energy(self, z: Values, dtype: Any) -> Array:
        """Minus the logarithm of the density of unconstrained numbers without observations."""
        return potential_energy(self.setup.unknowns, (dtype,), {}, z)

    def _known(self, z: Values, dtype: Any) -> tuple[AbstractArchitecture, Likelihood, Values]:
        """The model and likelihood of unconstrained numbers, and the values of all sites."""
        values = constrain_fn(self.setup.unknowns, (dtype,), {}, z, return_deterministic=True)
        return *self.setup.parameters(values), values

    def _seen(self, model: AbstractArchitecture, values: Values, x: Array, y: Array) -> Seen:
        names = [name for name in ("weights0", "biases0") if name in values]
        rows = jnp.column_stack([values[name] for name in names])
        points = self._points(model, values, x)
        return Seen.of(model, points, rows, y, closed=self.setup.is_dense)

    def _shares(
        self, model: AbstractArchitecture, likelihood: Likelihood, values: Values
    ) -> Shares:
        (weight_scale, bias_scale), num = model.scales[1], len(values["weights0"])
        dtype = values["weights0"].dtype
        sizes, mass = values.get("node_variances0", jnp.zeros(0, dtype)), jnp.zeros((), dtype)
        if self.setup.width is not None:
            sizes = values.get("node_variances0", jnp.full(num, 1 / num, dtype))
        else:
            mass = jnp.asarray(values.get("diffuse0", layers_of(model)[0].location), dtype)
            rest = num - len(sizes)
            sizes = jnp.concatenate([sizes, jnp.full(rest, mass / max(rest, 1), dtype)])
        bias = jnp.asarray(bias_scale, dtype)[None]
        noise = jnp.asarray(likelihood.noise_scale, dtype)  # type: ignore[attr-defined]
        scales = jnp.concatenate([bias, weight_scale * jnp.sqrt(sizes)])
        return Shares(scales, weight_scale**2 * mass, noise)

    def _points(self, model: AbstractArchitecture, values: Values, x: Array) -> Array:
        """The inputs as the standard normal weights of a node meet them, its bias last."""
        weight_scale, bias_scale = model.scales[0]
        size = x.shape[1]
        variances = jnp.full(size, 1 / size, x.dtype)
        if "input_variances" in values:
            variances = values["input_variances"][self.setup.model.groups_of(size)]
        points = scale_row(x, weight_scale * jnp.sqrt(variances))
        if "biases0" not in values:
            return points
        return jnp.concatenate([points, jnp.full((len(x), 1), bias_scale, x.dtype)], 1)

    # --- nodes ----------------------------------------------------------------------------------

    def _move_nodes(self, key: Array, z: Values, x: Array, y: Array) -> tuple[Values, Array, Array]:
        """New numbers, how much the logarithm of their density has grown, and moves tried."""
        rows = z["nodes0"]
        if not rows.size:
            return z, jnp.zeros((), x.dtype), jnp.zeros((), int)
        model, likelihood, values = self._known(z, x.dtype)
        seen, shares = self._seen(model, values, x, y), self._shares(model, likelihood, values)
        points = self._points(model, values, x)

        def values_of(row: Array) -> Array:
            return model.activation(precise_matmul(points, row))

        if self.setup.is_dense:
            rest: Any = Dense.of(seen.covariance(shares), y)
        else:
            rest = LowRank.of(seen.features(shares), shares.noise, y)
        name, marks = self._marks(model, z, values)
        new, numbers, grown, tried = sweep(
            key, rest, rows, shares.scales[1:] ** 2, marks, values_of
        )
        log_prior = jax.vmap(marks.log_prior)
        change = jnp.sum(log_prior(numbers) - log_prior(marks.numbers))
        gained = grown + change + (jnp.sum(rows**2) - jnp.sum(new**2)) / 2
        return z | {"nodes0": new} | ({name: numbers} if name else {}), gained, tried

    def _marks(self, model: AbstractArchitecture, z: Values, values: Values) -> tuple[str, Marks]:
        """The site of the variances of nodes, and what they are made of."""
        factor, num = model.scales[1][0] ** 2, len(z["nodes0"])
        if self.setup.width is not None and "node_variances0" in z:
            law = model.priors[0].at_width(num)
            transform = biject_to(law.support)

            def log_prior(number: Array) -> Array:
                size = transform(number)
                return law.log_prob(size) + transform.log_abs_det_jacobian(number, size)

            name = "node_variances0"
            return name, Marks(z[name], lambda number: factor * transform(number), log_prior)
        if "places0" not in z:
            return "", Marks(jnp.zeros(0, z["nodes0"].dtype), lambda n: n, lambda n: n)
        levy, last = layers_of(model)[0].levy, values["last_arrival0"]

        def variance(number: Array) -> Array:
            return factor * levy.inverse_tail(last * jax.nn.sigmoid(number))

        def log_logistic(number: Array) -> Array:
            return jax.nn.log_sigmoid(number) + jax.nn.log_sigmoid(-number)

        return "places0", Marks(z["places0"], variance, log_logistic)

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

    def _in_order(self, z: Values) -> Values:
        """The same numbers with the nodes from the largest to the smallest, as functions have them.

        What nodes share does not change their order.
        """
        if "places0" in z:
            name, order = "places0", jnp.argsort(z["places0"])
        elif "node_variances0" in z:
            name, order = "node_variances0", jnp.argsort(-z["node_variances0"])
        else:
            return z
        rows = z["nodes0"]
        rows = jnp.concatenate([rows[order], rows[len(order) :]])
        return z | {"nodes0": rows, name: z[name][order]}

    def _is_light(self, lines: _Lines, z: Values) -> np.ndarray:
        """Which lines change neither what nodes see nor, but for a factor, how much they count."""
        free = {"weight_scale1", "bias_scale1", "last_arrival0", *self.setup.likelihood.unknown}
        names = [name for name in self._shared(z) for _ in range(z[name].size)]
        heavy = [not (n in free or n.startswith(("prior0.", "input_prior."))) for n in names]
        return ~((lines.shared != 0) & heavy).any(1)

    def _move_shared(
        self,
        key: Array,
        z: Values,
        values: Values,
        energy: Array,
        widths: Array,
        x: Array,
        y: Array,
    ) -> tuple[Values, Array, Array, Array]:
        """New numbers, their energy, the lengths of the moves, and densities taken."""
        sizes = {"node_variances0", "diffuse0"}
        kept: Values = {name: value for name, value in values.items() if name in sizes}
        lines, lengths = self._lines(z, x, y), jnp.zeros_like(widths)
        is_light, taken = self._is_light(lines, z), jnp.zeros((), int)
        for lightly, by_kind in zip((False, True), jax.random.split(key), strict=True):
            at = np.flatnonzero(is_light == lightly)
            if not len(at):
                continue
            some = _Lines(*(a[at] for a in lines))
            density = self._density(z, x, y, None if lightly else kept)
            z, energy, moved, tried = self._move_along(
                by_kind, some, density, z, energy, widths[at]
            )
            lengths, taken = lengths.at[at].set(moved), taken + tried
        return z, energy, lengths, taken

    def _energy(self, z: Values, known: Any, x: Array, y: Array) -> Array:
        """Minus the logarithm of the density, as exact as can be."""
        evidence = self._seen(known[0], known[2], x, y).log_evidence(self._shares(*known))
        return self._prior_energy(z, x.dtype) - evidence

    def _density(
        self, z: Values, x: Array, y: Array, kept: Values | None
    ) -> Callable[[Values], Array]:
        """The logarithm of the density of numbers on lines from `z`.

        Args:
            z: unconstrained numbers.
            x: inputs.
            y: observations.
            kept: the sizes of nodes, on lines that keep them; None on light lines.
        """
        model, _, values = self._known(z, x.dtype)
        given = self._seen(model, values, x, y).turned()

        def log_density(z: Values) -> Array:
            model, likelihood, values = self._known(z, x.dtype)
            values |= kept or {}
            seen = given if kept is None else self._seen(model, values, x, y)
            evidence = seen.quick_evidence(self._shares(model, likelihood, values))
            return evidence - self._prior_energy(z, x.dtype)

        return log_density

    def _move_along(
        self,
        key: Array,
        lines: _Lines,
        log_density: Callable[[Values], Array],
        z: Values,
        energy: Array,
        widths: Array,
    ) -> tuple[Values, Array, Array, Array]:
        """As `_move_shared`, along each of the lines in random order."""
        z = self._in_order(z)
        shared, unravel = ravel_pytree({name: z[name] for name in self._shared(z)})
        ranks = jnp.arange(len(z["nodes0"]))

        def log_uniform(uniform: Array, most: Array | int) -> Array:
            """A number from 1 to `most`, each power of two as likely as the next."""
            return jnp.floor((most + 1) ** uniform)

        def move(carry: Any, one: Any) -> tuple[Any, Array]:
            shared, rows, energy, taken = carry
            along, powers, several, width, uniforms = one
            held = log_uniform(uniforms[0], len(ranks))
            shrunk = jnp.outer((ranks < held).astype(rows.dtype), powers)
            count = log_uniform(uniforms[1], jnp.sum(several))

            def chosen(shared: Array) -> Array:
                """The numbers that move: of several variances, the largest."""
                sizes = jnp.where(several > 0, shared, -jnp.inf)
                return (several == 0) | (jnp.argsort(jnp.argsort(-sizes)) < count)

            moving = chosen(shared)

            def there(t: Array) -> tuple[Array, Array]:
                return shared + t * along * moving, rows * jnp.exp(-t * shrunk)

            def on_line(t: Array) -> tuple[Array, None]:
                new, scaled = there(t)
                value = log_density(z | {"nodes0": scaled} | unravel(new))
                # The way back must choose the same numbers; without noise densities are infinite.
                possible = jnp.all(chosen(new) == moving) & jnp.isfinite(value)
                return jnp.where(possible, value - t * jnp.sum(shrunk), -jnp.inf), None

            t, (value, _), tried = slice_along(uniforms[2:], on_line, (-energy, None), width)
            energy = -value - t * jnp.sum(shrunk)
            return (*there(t), energy, taken + tried), jnp.abs(t)

        by_order, by_move = jax.random.split(key)
        order = jax.random.permutation(by_order, len(widths))
        arrays = [jnp.asarray(a, energy.dtype)[order] for a in lines]
        uniforms = jax.random.uniform(by_move, (len(order), 2 + NUM_UNIFORMS), energy.dtype)
        each = *arrays, widths[order], uniforms
        start = shared, z["nodes0"], energy, jnp.zeros((), int)
        (shared, rows, energy, taken), moved = jax.lax.scan(move, start, each)
        lengths = jnp.zeros_like(widths).at[order].set(moved)
        return z | {"nodes0": rows} | unravel(shared), energy, lengths, taken
