"""What is compiled for one data set serves others of its shapes: `jax.log_compiles` says so."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from mogp import MoGP, inference, priors
from mogp.inference._identity import hashable

RNG = np.random.default_rng(0)


class Compilations(logging.Handler):
    """The names of what was compiled."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        if "Finished XLA compilation" in record.getMessage():
            self.names.append(record.getMessage())


@pytest.fixture
def compilations():
    """Of all threads, which `jax.log_compiles` as a context is not."""
    handler, logger = Compilations(), logging.getLogger("jax")
    old, propagates = jax.config.jax_log_compiles, logger.propagate
    jax.config.update("jax_log_compiles", True)
    logger.addHandler(handler)
    logger.propagate = False
    yield handler.names
    logger.removeHandler(handler)
    logger.propagate = propagates
    jax.config.update("jax_log_compiles", old)


def data(i):
    return np.linspace(-1, 1, 12)[:, None] + i, RNG.normal(size=12)


def nuts(i, likelihood):
    x, y = data(i)
    y = RNG.poisson(5 * (i + 1), size=12) if likelihood == "poisson" else y
    posterior = inference.nuts(
        MoGP([priors.Deterministic()]), x, y, key=jax.random.key(i), likelihood=likelihood, width=2,
        num_warmup=5, num_samples=5, num_chains=2, max_tree_depth=3, progress=False,
    )  # fmt: skip
    posterior.evaluate(x, y, key=jax.random.key(i))
    assert posterior.data["posterior"].sizes["draw"] == 5


def fit_one(i):
    x, _ = data(i)
    network = MoGP([priors.Horseshoe()]).network(1, 3, 4, key=jax.random.key(i))
    inference.fit(
        network, x, RNG.permutation(12) % 3, key=jax.random.key(i), num_epochs=2,
        optimizer=optax.adam(1e-2), progress=False,
    )  # fmt: skip


def fit_seeds(i):
    x, y = data(i)
    inference.fit(
        lambda key: MoGP([priors.Horseshoe()]).network(1, 1, 4, key=key), x, y,
        key=jax.random.key(i), likelihood="gaussian", num_epochs=2, num_seeds=2, progress=False,
        optimizer=inference.per_parameter(optax.adam(1e-2), noise_scale=optax.adam(1e-3)),
    )  # fmt: skip


def sghmc(i):
    x, _ = data(i)
    inference.sghmc(
        MoGP([priors.GeneralizedGamma(alpha=dist.Uniform(0.0, 1.0))]), x, RNG.permutation(12) % 3,
        key=jax.random.key(i), width=3, num_epochs=2, num_chains=2, exploration=0.0,
        samples_per_cycle=1, progress=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "run",
    [lambda i: nuts(i, "gaussian"), lambda i: nuts(i, "poisson"), fit_one, fit_seeds, sghmc],
    ids=["nuts", "nuts of counts", "fit", "fit of seeds", "sghmc"],
)
def test_a_second_run_of_equal_shapes_compiles_nothing(run, compilations):
    run(0)
    assert compilations
    compilations.clear()
    run(1)
    assert compilations == []


def test_other_programs_are_not_shared():
    """Optimisers of another rate, models of another activation: functions are themselves."""
    x, y = data(0)
    network = MoGP([priors.Horseshoe()]).network(1, 1, 3, key=jax.random.key(0))
    fits = [
        inference.fit(
            network, x, y, key=jax.random.key(1), likelihood=inference.Gaussian(1.0),
            num_epochs=1, optimizer=optimizer, progress=False,
        ).model.weights[0]
        for optimizer in (optax.sgd(0.1), optax.sgd(0.1), optax.sgd(0.2), optax.adam(0.1))
    ]  # fmt: skip
    np.testing.assert_array_equal(fits[0], fits[1])
    assert len({np.asarray(a).tobytes() for a in fits}) == 3
    one, other = (lambda x: x + 1), (lambda x: x + 1)
    keys = [
        hashable(MoGP([priors.Horseshoe()])), hashable(MoGP([priors.Horseshoe()], bias_scale=1.0)),
        hashable(MoGP([priors.InverseGamma(dist.Gamma(2.0, 1.0))])),
        hashable(MoGP([priors.InverseGamma(dist.Gamma(2.0, 3.0))])), hashable(one), hashable(other),
        hashable(jnp.zeros(3)), hashable(jnp.zeros((3, 1))), hashable(1), hashable(1.0),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    again = hashable(MoGP([priors.InverseGamma(dist.Gamma(2.0, 1.0))]))
    assert again == keys[2]
    assert hash(again) == hash(keys[2])
    assert hashable(jax.tree_util.Partial(print, [1])) == hashable(
        jax.tree_util.Partial(print, [1])
    )
