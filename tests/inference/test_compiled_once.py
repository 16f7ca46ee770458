"""What is compiled for one data set serves others of its shapes: `jax.log_compiles` says so.

The other tests are where the samplers run: in test_nuts.py, test_strong_signals.py, test_sghmc.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from mogp import MoGP, inference, priors
from mogp.inference._identity import hashable

RNG = np.random.default_rng(0)


def data(i):
    return np.linspace(-1, 1, 12)[:, None] + i, RNG.normal(size=12)


def fit_one(i):
    x, _ = data(i)
    network = MoGP([priors.Deterministic()]).network(1, 3, 4, key=jax.random.key(i))
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


@pytest.mark.parametrize("run", [fit_one, fit_seeds], ids=["fit", "fit of seeds"])
def test_a_second_run_of_equal_shapes_compiles_nothing(run, compilations):
    run(0)
    assert compilations
    compilations.clear()
    run(1)
    assert compilations == []


def test_other_programs_are_not_shared():
    """Optimisers of another rate, models of another activation: functions are themselves."""
    x, y = data(0)
    network = MoGP([priors.Deterministic()]).network(1, 1, 3, key=jax.random.key(0))
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
