"""A run of chains: their draws as a posterior."""

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_count, check_key, check_memory
from mogp.inference._data import in_precision, precise, size_of
from mogp.inference._identity import description, fingerprint, of_array
from mogp.inference._patience import patiently
from mogp.inference._posterior import Observed, Posterior
from mogp.inference._runner import AbstractRun, run
from mogp.inference.chains._program import Program, program_of
from mogp.inference.chains._setup import Setup

_STUCK = (
    "do not move, so that their draws say nothing of the posterior: it is too narrow for their "
    "steps. Give x and y of mean 0 and standard deviation 1 and a noise_scale "
    "that is not far below what the data have, more num_warmup, or double precision"
)
# Sites that follow from the functions of a posterior.
_OF_SOURCES = re.compile(r"(nodes|weights|biases|node_variances|diffuse|last_arrival|places)\d+.*")
_OF_SAMPLER = re.compile(r"(nodes|last_arrival|places)\d+.*")  # what those are made of


def posterior_of(
    kind: type[Program],
    setup: Setup,
    x: Array,
    targets: Array,
    *,
    key: Array,
    settings: Mapping[str, Any],
    num_warmup: int,
    num_samples: int,
    num_chains: int,
    checkpoint: str | Path | None,
    checkpoint_every: int,
    progress: bool,
) -> Posterior:
    """The posterior of a sampler's draws; `settings` are those that only its program takes."""
    for name, value in (
        ("num_warmup", num_warmup),
        ("num_samples", num_samples),
        ("num_chains", num_chains),
        ("checkpoint_every", checkpoint_every),
    ):
        check_count(name, value)
    check_key(key)
    program = program_of(kind, setup, num_warmup, *settings.values())
    by_chain, by_rest = jax.random.split(key)
    by_y, by_prior = jax.random.split(by_rest)
    settings = {
        "sampler": program.name,
        "model": description(setup.model),
        "likelihood": description(setup.likelihood),
        "width": None if setup.width is None else list(setup.width),
        "num_jumps": list(setup.num_jumps),
        "num_diffuse": setup.num_diffuse,
        "method": setup.method,
        "num_warmup": num_warmup,
        "num_chains": num_chains,
        **settings,
    }
    identity = settings | {"x": of_array(x), "y": of_array(targets), "key": fingerprint(key)}
    with precise(setup.likelihood.is_conjugate, (x, targets)) as data:
        keys = jax.random.split(by_chain, num_chains)
        state = program.start.shape(keys, *data)
        # Unconstrained and as values, as they come and together.
        check_memory("the draws", 4 * num_samples * size_of(state.z), "fewer of them")
        steps = num_warmup, num_warmup + num_samples, checkpoint_every
        outcome = run(
            _Run(program, keys, data, *steps, identity), checkpoint=checkpoint, progress=progress
        )
        z, statistics = jax.tree.map(lambda a: np.swapaxes(a, 0, 1), outcome.records)
        values = patiently(program.sites, jax.tree.map(jnp.asarray, z), *data)
        values = {name: a for name, a in values.items() if not _OF_SAMPLER.fullmatch(name)}
        sources, likelihoods = patiently(program.sources, values, data[1])
    sources, likelihoods, values = in_precision(x.dtype, (sources, likelihoods, values))
    stuck = np.flatnonzero(standing(z)).tolist()
    if stuck:
        warnings.warn(f"chains {stuck} of {num_chains} {_STUCK}", stacklevel=3)

    def prior() -> Mapping[str, Array]:
        drawn = program.prior(by_prior, x, targets, num=len(statistics["energy"][0]))
        return {name: drawn[name] for name in (*values, "y")}

    return Posterior(
        sources,
        likelihoods,
        x,
        targets,
        Observed(x, targets, setup.method) if setup.likelihood.is_conjugate else None,
        {name: value for name, value in values.items() if not _OF_SOURCES.fullmatch(name)},
        statistics,
        prior=prior,
        attrs={
            "inference_library": program.library,
            "interrupted": outcome.interrupted,
            "stuck_chains": stuck,
            "num_samples": num_samples,
            **settings,
        },
        key=by_y,
    )


@dataclass
class _Run(AbstractRun):
    """All chains at once; what is recorded are the draws after the warmup.

    Records are unconstrained values of all sites and statistics of each draw, of shape
    (num, num_chains, …).
    """

    program: Program
    keys: Array
    data: tuple[Array, Array]
    num_warmup: int
    total: int
    every: int
    identity: dict[str, Any]
    unit: str = "draw"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.program.name

    def start(self) -> Any:
        state = patiently(self.program.start, self.keys, *self.data)
        if not np.isfinite(state.potential_energy).all():
            raise FloatingPointError(
                f"{self.name} found no start with a finite density among draws of the prior; give "
                "x and y of a scale near 1, in double precision, or a prior with lighter tails"
            )
        return state

    def end(self, done: int) -> int:
        # Pieces end with the warmup, and there is room for `every` draws.
        return min(done + self.every, self.num_warmup if done < self.num_warmup else self.total)

    def advance(self, state: Any, start: int, end: int) -> tuple[Any, Any]:
        num = jnp.asarray(end - start)
        state, traced = patiently(self.program.advance, state, num, *self.data, room=self.every)
        kept = 0 if start < self.num_warmup else end - start
        return state, jax.tree.map(lambda a: np.swapaxes(a, 0, 1)[:kept], traced)

    def like(self, done: int) -> tuple[Any, Any]:
        state = self.program.start.shape(self.keys, *self.data)
        keys = jax.tree.map(lambda a: self.keys if a.dtype == self.keys.dtype else a, state)
        given = state, jnp.asarray(0), *self.data
        traced = self.program.advance.shape(*given, room=self.every)[1]
        num, chains = max(done - self.num_warmup, 0), len(self.keys)
        return keys, jax.tree.map(lambda a: np.zeros((num, chains, *a.shape[2:]), a.dtype), traced)

    def shown(self, records: Any) -> dict[str, float]:
        z, statistics = records
        if standing(jax.tree.map(lambda a: np.swapaxes(a, 0, 1), z)).all():
            sizes = statistics.get("step_size", [[]])[-1]
            steps = ", ".join(f"{size:.1g}" for size in sizes) or "not of one size"
            raise FloatingPointError(f"all chains of {self.name} {_STUCK} (steps: {steps})")
        diverging = statistics.get("diverging")
        return {} if diverging is None else {"divergences": float(diverging.sum())}

    def cut(self, records: Any) -> Any:
        return jax.tree.map(lambda a: a[: self.total - self.num_warmup], records)


def standing(z: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which chains do not move, given unconstrained numbers of shape (chains, draws, …).

    They are those whose draws span, in every number, less than a hundredth of what the draws of all
    chains span, or less than 1e-5, which is rounding: numbers are logarithms or of size 1, and a
    million rows leave the logarithm of a noise scale a spread of 1e-3. Fewer than 20 draws say
    nothing.
    """
    chains, num = next(iter(z.values())).shape[:2]
    draws = np.concatenate([a.reshape(chains, num, math.prod(a.shape[2:])) for a in z.values()], 2)
    if num < 20 or not draws.shape[2]:
        return np.zeros(chains, bool)
    least = np.maximum(np.ptp(draws, (0, 1)) / 100, 1e-5)
    still: np.ndarray = (np.ptp(draws, 1) <= least).all(1)
    return still
