"""What samplers have in common: compiled functions of the model of a `Setup`."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.distributions import Distribution, biject_to
from numpyro.infer.util import constrain_fn, potential_energy

from mogp.inference._identity import hashable
from mogp.inference._likelihoods import Likelihood, stacked
from mogp.inference._patience import Compiled, PerChain
from mogp.inference.chains._setup import Setup, Source, Values


class Program(abc.ABC):
    """The functions of a run. Those of one chain may be mapped; the others are compiled."""

    name: str
    library: str

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.start = PerChain(self.start_of_one)
        self.advance = PerChain(self._advance, static=("room",))
        self.sites = jax.jit(self._sites)
        self.sources = Compiled(self._sources)
        self.prior = jax.jit(self._prior, static_argnames="num")

    # --- of one chain ---------------------------------------------------------------------------

    @abc.abstractmethod
    def start_of_one(self, key: Array, x: Array, y: Array) -> Any:
        """The state of a chain before its first draw; without a start its density is 0.

        Its field `z` holds unconstrained numbers by site, `potential_energy` minus the logarithm of
        their density.
        """

    @abc.abstractmethod
    def sample_of_one(self, state: Any, x: Array, y: Array) -> Any:
        """The state after one more draw."""

    @abc.abstractmethod
    def statistics_of_one(self, state: Any) -> dict[str, Array]:
        """Numbers about the last draw, by the names that ArviZ has for them."""

    def potential(self, x: Array, y: Array) -> Callable[[Values], Array]:
        """Minus the logarithm of the density of unconstrained numbers."""
        model = self.setup.given(y).numpyro_model
        return lambda z: potential_energy(model, (x, y), {}, z)

    def laws(self, x: Array, y: Array) -> dict[str, tuple[Distribution, Array]]:
        """The distribution of each unknown site, and a draw from it, within `handlers.seed`."""
        with numpyro.handlers.trace() as trace:
            self.setup.given(y).numpyro_model(x, y)
        return {
            name: (site["fn"], site["value"])
            for name, site in trace.items()
            if site["type"] == "sample" and not site["is_observed"]
        }

    def drawn(self, key: Array, x: Array, y: Array) -> Values:
        """Unconstrained numbers from the prior."""
        with numpyro.handlers.seed(rng_seed=key):
            laws = self.laws(x, y)
        return {name: biject_to(law.support).inv(value) for name, (law, value) in laws.items()}

    def sites_of_one(self, x: Array, y: Array) -> Callable[[Values], Values]:
        """From unconstrained numbers to the values of all sites."""
        model = self.setup.given(y).numpyro_model
        return partial(constrain_fn, model, (x, y), {}, return_deterministic=True)

    # --- of a chain, and of all of them -----------------------------------------------------------

    def _advance(self, state: Any, num: Array, x: Array, y: Array, *, room: int) -> tuple[Any, Any]:
        """`num` draws, in arrays of length `room`: unconstrained numbers, and statistics."""

        def traced(state: Any) -> Any:
            return state.z, self.statistics_of_one(state)

        def step(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state = self.sample_of_one(carry[0], x, y)
            kept = jax.tree.map(lambda a, new: a.at[i].set(new), carry[1], traced(state))
            return state, kept

        empty = jax.tree.map(lambda a: jnp.zeros((room, *a.shape), a.dtype), traced(state))
        return jax.lax.fori_loop(0, num, step, (state, empty))

    def _sites(self, z: Values, x: Array, y: Array) -> Values:
        """Values of all sites from unconstrained numbers of shape (chains, draws, …).

        One draw after the other, which takes a fifth of the time to compile.
        """
        one = self.sites_of_one(x, y)
        values: Values = jax.lax.map(lambda chain: jax.lax.map(one, chain), z)
        return values

    def _sources(self, values: Values, y: Array) -> tuple[Source, Likelihood]:
        """Functions and likelihoods from values of all sites of shape (chains, draws, …)."""
        setup, shape = self.setup.given(y), next(iter(values.values())).shape[:2]
        rest: list[Any] = []

        def one(values: Values) -> Any:
            arrays, others = eqx.partition(setup.draw(values)[0], eqx.is_array)
            rest.append(others)
            return arrays

        arrays = jax.lax.map(lambda chain: jax.lax.map(one, chain), values)
        return eqx.combine(arrays, rest[0]), stacked(setup.likelihood, values, shape)

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
def _made(kind: type[Program], same: _Same, *settings: Any) -> Program:
    return kind(same.setup, *settings)


def program_of(kind: type[Program], setup: Setup, *settings: Any) -> Program:
    """The functions of a run; for an equal model and settings, the same ones, compiled already."""
    key = hashable(setup.fields())
    make = _made.__wrapped__ if key is None else _made
    return make(kind, _Same(key, setup), *settings)
