"""NumPyro's NUTS on the model of a `Setup`, compiled once for data of equal shapes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import optax
from jax import Array
from numpyro.distributions import biject_to
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy

from mogp.inference._identity import hashable
from mogp.inference._likelihoods import Likelihood, stacked
from mogp.inference._patience import Compiled
from mogp.inference.nuts._setup import Setup, Source, Values

_WARMUP_DEPTH = 7  # before the scales are known, longer trajectories are not worth their steps
_STATS = {
    "diverging": "diverging",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "energy": "energy",
}
# Starts: the best of so many draws of the prior is moved towards the data by Adam, whose steps fall
# from the first length to the last whenever a window of steps gains less than a nat an unknown.
# Real numbers stand for all unknowns, most of them logarithms: 0.1 a step goes from noise of 1 to
# 1e-6 in 140. From draws of the prior alone a signal without noise is a cliff, at whose edge the
# step size collapses.
_DRAWS, _WINDOW, _MOST = 10, 20, 2000
_FIRST, _LAST, _FALL = 0.1, 1e-4, 0.3


class Program:
    """The functions of a run. Those of one chain may be mapped; the others are compiled."""

    def __init__(self, setup: Setup, num_warmup: int, target_accept: float, depth: int) -> None:
        self.setup = setup
        self._begin, self._next = hmc(potential_fn_gen=self._potential, algo="NUTS")
        self._options = {
            "num_warmup": num_warmup,
            "trajectory_length": None,
            "target_accept_prob": target_accept,
            "max_tree_depth": (min(depth, _WARMUP_DEPTH), depth),
        }
        one = jnp.zeros(1)
        # NumPyro's `hmc` remembers the settings at its first call, which a resumed run lacks.
        toy = ParamInfo({"": one}, one[0], {"": one})
        jax.eval_shape(lambda: self._begin(toy, **self._options, model_args=(one, one)))
        self.start = jax.jit(jax.vmap(self.start_of_one, (0, None, None)))
        self.advance = jax.jit(self._advance, static_argnames="room")
        self.sites = jax.jit(lambda z, x, y: jax.lax.map(jax.vmap(self.sites_of_one(x, y)), z))
        self.sources = Compiled(self._sources)
        self.prior = jax.jit(self._prior, static_argnames="num")

    def _potential(self, x: Array, y: Array) -> Callable[[Values], Array]:
        return lambda z: potential_energy(self.setup.given(y).numpyro_model, (x, y), {}, z)

    # --- of one chain ---------------------------------------------------------------------------

    def start_of_one(self, key: Array, x: Array, y: Array) -> Any:
        """The state of a chain before its first draw; without a start its density is 0."""
        by_draw, by_chain = jax.random.split(key)
        start = self._found(by_draw, x, y)
        return self._begin(start, **self._options, model_args=(x, y), rng_key=by_chain)

    def sample_of_one(self, state: Any, x: Array, y: Array) -> Any:
        """The state after one more draw."""
        return self._next(state, (x, y), {})

    def sites_of_one(self, x: Array, y: Array) -> Callable[[Values], Values]:
        """From unconstrained numbers to the values of all sites."""
        model = self.setup.given(y).numpyro_model
        return partial(constrain_fn, model, (x, y), {}, return_deterministic=True)

    def _found(self, key: Array, x: Array, y: Array) -> ParamInfo:
        """Where a chain starts: near the typical set, from a draw of the prior."""
        slope_of, adam = jax.value_and_grad(self._potential(x, y)), optax.scale_by_adam(b2=0.9)

        def drawn(key: Array) -> Values:
            with numpyro.handlers.seed(rng_seed=key), numpyro.handlers.trace() as trace:
                self.setup.given(y).numpyro_model(x, y)
            return {
                name: biject_to(site["fn"].support).inv(site["value"])
                for name, site in trace.items()
                if site["type"] == "sample" and not site["is_observed"]
            }

        first = drawn(key)
        size = sum(value.size for value in first.values())
        worst = ParamInfo(
            first, jnp.full((), jnp.inf, x.dtype), jax.tree.map(jnp.zeros_like, first)
        )

        def choose(condition: Array, one: Any, other: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)

        def unfinished(state: Any) -> Array:
            i, _, best, _, _, rate, target = state
            return (i < _MOST) & (rate > _LAST) & ~(best.potential_energy <= target)

        def step(state: Any) -> Any:
            i, z, best, moments, gained, rate, target = state
            tried = choose(i < _DRAWS, drawn(jax.random.fold_in(key, i)), z)
            value, slope = slope_of(tried)
            each = [jnp.all(jnp.isfinite(a)) for a in (value, *slope.values())]
            fine = jnp.all(jnp.stack(each))
            new = ParamInfo(tried, value, slope)
            best = choose(fine & (value < best.potential_energy), new, best)
            at = choose(fine & (i >= _DRAWS), new, best)
            direction, moments = adam.update(at.z_grad, moments)
            z = jax.tree.map(lambda a, b: a - rate.astype(a.dtype) * b, at.z, direction)
            # At the end of a window without much gain, go on from the best in shorter steps.
            ends = (i >= _DRAWS) & ((i - _DRAWS) % _WINDOW == _WINDOW - 1)
            slow = ends & ~(gained - best.potential_energy > size)
            z, moments = choose(slow, (best.z, adam.init(first)), (z, moments))
            gained = jnp.where(ends | (i < _DRAWS), best.potential_energy, gained)
            rate = jnp.where(slow, rate * _FALL, rate)
            return i + 1, z, best, moments, gained, rate, target

        def search(again: Array, best: ParamInfo) -> ParamInfo:
            # The first search finds the least energy. The mode may be far from where the mass is,
            # at noise of 0 for example; so the second, of the same steps, ends at the first energy
            # that draws have, which is half a nat an unknown above.
            target = jnp.where(again, best.potential_energy + size / 2, -jnp.inf).astype(x.dtype)
            rate = jnp.asarray(_FIRST, x.dtype)
            state = jnp.zeros((), int), first, worst, adam.init(first), worst.potential_energy
            found: ParamInfo = jax.lax.while_loop(unfinished, step, (*state, rate, target))[2]
            return found

        found: ParamInfo = jax.lax.fori_loop(0, 2, lambda i, best: search(i > 0, best), worst)
        return found

    # --- of all chains --------------------------------------------------------------------------

    def _advance(self, state: Any, num: Array, x: Array, y: Array, *, room: int) -> tuple[Any, Any]:
        """`num` draws, in arrays of length `room`: unconstrained numbers, and statistics."""

        def traced(state: Any) -> Any:
            stats = {name: getattr(state, field) for field, name in _STATS.items()}
            return state.z, stats | {"step_size": state.adapt_state.step_size}

        def step(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state = jax.vmap(self.sample_of_one, (0, None, None))(carry[0], x, y)
            kept = jax.tree.map(lambda a, new: a.at[i].set(new), carry[1], traced(state))
            return state, kept

        empty = jax.tree.map(lambda a: jnp.zeros((room, *a.shape), a.dtype), traced(state))
        return jax.lax.fori_loop(0, num, step, (state, empty))

    def _sources(self, values: Values, y: Array) -> tuple[Source, Likelihood]:
        """Functions and likelihoods from values of all sites of shape (chains, draws, …)."""
        setup, shape = self.setup.given(y), next(iter(values.values())).shape[:2]
        sources, _ = eqx.filter_vmap(eqx.filter_vmap(setup.draw))(values)
        return sources, stacked(setup.likelihood, values, shape)

    def _prior(self, key: Array, x: Array, y: Array, *, num: int) -> Values:
        """Values of all sites, and new observations `y`, from the prior, of shape (num, …)."""

        def one(key: Array) -> Values:
            with numpyro.handlers.seed(rng_seed=key), numpyro.handlers.trace() as trace:
                self.setup.given(y).numpyro_model(x)
            return {name: site["value"] for name, site in trace.items()}

        drawn: Values = jax.lax.map(one, jax.random.split(key, num))
        return drawn


@dataclass(frozen=True)
class _Same:
    """What tells one setup from another; equal ones share what is compiled."""

    key: Any
    setup: Setup = field(compare=False)


@lru_cache(maxsize=16)
def _made(same: _Same, *settings: Any) -> Program:
    return Program(same.setup, *settings)


def program_of(setup: Setup, num_warmup: int, target_accept: float, depth: int) -> Program:
    """The functions of a run; for an equal model and settings, the same ones, compiled already."""
    key = hashable(setup.fields())
    make = _made.__wrapped__ if key is None else _made
    return make(_Same(key, setup), num_warmup, target_accept, depth)
