"""Training: against a plain loop, by seeds at once, and through kills and resumptions."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closeness import assert_close

from mogp import MoGP, inference, nn, priors


class Line(eqx.Module):
    """`y = x w`, with a normal prior on `w`: the posterior mode is ridge regression."""

    w: jax.Array

    def __call__(self, x):
        return x @ self.w

    def log_prior(self):
        return -jnp.sum(self.w**2) / 2


@pytest.fixture(scope="module")
def classes():
    """600 points of three Gaussian classes in the plane: x, y."""
    keys = jax.random.split(jax.random.key(0))
    y = jax.random.randint(keys[0], (600,), 0, 3).astype(jnp.int32)
    centres = jnp.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centres[y] + jax.random.normal(keys[1], (600, 2)), y


def small(key):
    return MoGP([priors.GBFRY(alpha=0.5, tau=3.0)], bias_scale=1.0).network(2, 3, 8, key=key)


def test_the_map_of_a_linear_model_is_ridge_regression(key):
    """Full batches, so that the minimum of the objective is reached: (XᵀX + I/T) w = Xᵀy."""
    x = jax.random.normal(key, (50, 3))
    y = x @ jnp.array([[1.0], [-2.0], [0.5]]) + jax.random.normal(jax.random.key(1), (50, 1))
    for temperature in (1.0, 5.0, math.inf):
        result = inference.fit(
            Line(jnp.zeros((3, 1))),
            x,
            y,
            key=key,
            num_epochs=400,
            batch_size=50,
            loss="gaussian",
            optimizer=optax.sgd(0.5),
            temperature=temperature,
            progress=False,
        )
        expected = jnp.linalg.solve(x.T @ x + jnp.eye(3) / temperature, x.T @ y)
        assert_close(result.model.w, expected, rtol=1e-8)


def test_one_epoch_is_a_plain_loop(classes, key):
    x, y = classes
    network, optimizer = small(key), optax.adam(1e-2)
    result = inference.fit(
        network, x, y, key=key, num_epochs=1, batch_size=256, optimizer=optimizer, progress=False
    )

    parameters, static = eqx.partition(network, eqx.is_inexact_array)

    def objective(parameters, rows):
        model = eqx.combine(parameters, static)
        log_p = jax.nn.log_softmax(model(x[rows]))[jnp.arange(len(rows)), y[rows]]
        return -log_p.mean() - model.log_prior() / 600

    shuffle = jax.random.fold_in(jax.random.split(key)[1], 0)
    order = jax.random.permutation(shuffle, 600)
    state, values = optimizer.init(parameters), []
    for rows in (order[:256], order[256:512]):
        value, gradient = jax.value_and_grad(objective)(parameters, rows)
        updates, state = optimizer.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        values.append(float(value))
    trained = eqx.filter(result.model, eqx.is_inexact_array)
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(parameters), strict=True):
        assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert_close(result.history["objective"].values, np.mean(values), rtol=1e-8)


def test_training_learns_and_records(classes, key):
    x, y = classes
    result = inference.fit(
        small, x[:400], y[:400], key=key, num_epochs=30, batch_size=50, num_seeds=2,
        optimizer=optax.adam(1e-2), validation=(x[400:], y[400:]), progress=False,
    )  # fmt: skip
    history = result.history
    assert history["loss"].dims == ("epoch", "seed")
    assert history["loss"].shape == (30, 2)
    assert list(history["epoch"].values[:2]) == [1, 2]
    assert np.all(history["loss"][-1] < history["loss"][0])
    assert np.all(history["validation_accuracy"][-1] > 0.85)
    assert np.all(history["seconds"] > 0)
    one = jax.tree.map(lambda a: a[1] if eqx.is_array(a) else a, result.model)
    scores = inference.evaluate(one, x[400:], y[400:], block=64)
    assert_close(scores.accuracy, history["validation_accuracy"][-1, 1], rtol=1e-12)
    assert_close(scores.nll, history["validation_nll"][-1, 1], rtol=1e-10)


def test_seeds_at_once_equal_seeds_one_by_one(classes, key):
    x, y = classes
    common = {"num_epochs": 2, "batch_size": 100, "progress": False}
    together = inference.fit(small, x, y, key=key, num_seeds=3, **common).model
    init, shuffle = jax.random.split(key)
    for seed in range(3):
        start = small(jax.random.split(init, 3)[seed])
        parameters, static = eqx.partition(start, eqx.is_inexact_array)
        optimizer = optax.adam(1e-3)
        state = optimizer.init(parameters)
        for epoch in range(2):
            order = jax.random.permutation(
                jax.random.fold_in(jax.random.split(shuffle, 3)[seed], epoch), 600
            )
            for rows in order.reshape(6, 100):

                def objective(p, rows=rows, static=static):
                    model = eqx.combine(p, static)
                    loss = inference.categorical(model(x[rows]), y[rows]).mean()
                    return loss - inference.log_prior(model) / 600

                updates, state = optimizer.update(jax.grad(objective)(parameters), state)
                parameters = optax.apply_updates(parameters, updates)
        for a, b in zip(
            jax.tree.leaves(eqx.filter(together, eqx.is_inexact_array)),
            jax.tree.leaves(parameters),
            strict=True,
        ):
            assert_close(a[seed], b, rtol=1e-7, atol=1e-9)


def test_the_module_given_is_left_as_it_was(classes, key):
    network = small(key)
    before = jax.tree.map(np.array, eqx.filter(network, eqx.is_array))
    inference.fit(network, *classes, key=key, num_epochs=1, progress=False)
    for a, b in zip(
        jax.tree.leaves(before), jax.tree.leaves(eqx.filter(network, eqx.is_array)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_parameters_of_priors_are_not_trained(classes, key):
    model = MoGP([priors.GBFRY(alpha=jnp.array(0.5), tau=jnp.array(3.0))])
    network = model.network(2, 3, 8, key=key)
    trained = inference.fit(network, *classes, key=key, num_epochs=1, progress=False).model
    assert float(trained.priors[0].alpha) == 0.5
    assert not np.allclose(trained.log_variances[0], network.log_variances[0])


def test_log_prior_sums_over_nested_modules(key):
    network, other = small(key), Line(jnp.ones((2, 2)))
    chain = eqx.nn.Sequential([other, network, nn.GMLayer(3, 2, 2, key=key)])
    expected = network.log_prior() + other.log_prior()
    assert_close(inference.log_prior(chain), expected, rtol=1e-12)
    assert float(inference.log_prior(nn.GMLayer(3, 2, 2, key=key))) == 0


def test_per_parameter_uses_the_innermost_name(classes, key):
    layer = nn.GMLayer(2, 3, 2, key=key)
    chain = eqx.nn.Sequential([layer, eqx.nn.Lambda(lambda z: 2 * z)])
    optimizer = inference.per_parameter(
        optax.sgd(0.1), scales=optax.sgd(1.0), means=optax.set_to_zero()
    )
    step = {"key": key, "num_epochs": 1, "batch_size": 600, "progress": False}
    plain = inference.fit(chain, *classes, optimizer=optax.sgd(0.1), **step).model[0]
    mixed = inference.fit(chain, *classes, optimizer=optimizer, **step).model[0]
    np.testing.assert_array_equal(mixed.means, layer.means)
    assert_close(mixed.slopes, plain.slopes, rtol=1e-12)
    assert_close(mixed.scales - layer.scales, 10 * (plain.scales - layer.scales), rtol=1e-8)
    unknown = inference.per_parameter(optax.sgd(0.1), scale=optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"no parameter is called \['scale'\], there are"):
        inference.fit(chain, *classes, optimizer=unknown, **step)


class KilledError(Exception):
    """What stands in for a kill."""


def test_a_killed_run_resumes_to_the_same_result(classes, key, tmp_path, monkeypatch):
    arguments = {"key": key, "num_epochs": 5, "num_seeds": 2, "progress": False}
    whole = inference.fit(small, *classes, **arguments)

    path, run = tmp_path / "deep" / "fit.ckpt", inference._fit._run_epoch
    calls = []

    def dies(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KilledError
        return run(*args)

    with monkeypatch.context() as patch:
        patch.setattr(inference._fit, "_run_epoch", dies)
        with pytest.raises(KilledError):
            inference.fit(small, *classes, checkpoint=path, checkpoint_every=2, **arguments)
        resumed = inference.fit(small, *classes, checkpoint=path, **arguments)
    assert len(calls) == 4 + 3  # three epochs, the death, and the three after the checkpoint
    for a, b in zip(
        jax.tree.leaves(eqx.filter(whole.model, eqx.is_array)),
        jax.tree.leaves(eqx.filter(resumed.model, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.history["loss"], resumed.history["loss"])
    assert [file.name for file in path.parent.iterdir()] == ["fit.ckpt"]


def test_a_checkpoint_of_another_run_is_refused(classes, key, tmp_path):
    x, y = classes
    path = tmp_path / "fit.ckpt"
    arguments = {"key": key, "num_epochs": 1, "progress": False, "checkpoint": path}
    inference.fit(small(key), x, y, batch_size=100, **arguments)
    for change, name in [
        ({"batch_size": 50}, "batch_size is 100 there and 50 here"),
        ({"temperature": 5.0}, "temperature is 1.0 there and 5.0 here"),
        ({"optimizer": optax.sgd(0.1)}, "state is"),
    ]:
        with pytest.raises(ValueError, match=f"belongs to another run: {name}"):
            inference.fit(small(key), x, y, **(arguments | change))
    with pytest.raises(ValueError, match="belongs to another run: data is"):
        inference.fit(small(key), x + 1, y, **arguments)
    with pytest.raises(ValueError, match="belongs to another run: start is"):
        inference.fit(small(jax.random.key(9)), x, y, **arguments)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cannot be read"):
        inference.fit(small(key), x, y, **arguments)
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="is not a checkpoint of mogp"):
        inference.fit(small(key), x, y, **arguments)


def test_divergence_is_an_error(classes, key):
    """Squared errors grow without bound once a step is too long; several seeds may differ."""
    x, y = classes
    with pytest.raises(FloatingPointError, match=r"in epoch \d+; try a smaller learning rate"):
        inference.fit(
            Line(jnp.ones((2, 1))), x, y[:, None].astype(x.dtype), key=key, loss="gaussian",
            num_epochs=100, optimizer=optax.sgd(1e6), progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.full((600, 2), jnp.nan)}, "x must be finite, got NaN or infinity in 600 of 600"),
        ({"x": jnp.zeros((600, 5))}, r"x must have shape \(n, 2\) with n ≥ 1, got \(600, 5\)"),
        ({"x": jnp.zeros((600, 2), int)}, "x must be floating point"),
        ({"y": jnp.full(600, 3)}, r"y must lie in \[0, 3\), the network has 3 outputs"),
        ({"y": jnp.full(600, -1)}, r"y must lie in \[0, 3\)"),
        ({"y": jnp.zeros(600)}, "y must be integer class labels"),
        ({"y": jnp.zeros(599, int)}, r"y must have shape \(600,\)"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 601}, "batch_size must be at most n = 600, got 601"),
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"num_seeds": 2}, "model must be a function from a random key to a module"),
        ({"model": small}, "a function of a key needs num_seeds"),
        ({"model": small, "num_seeds": 0}, "num_seeds must be an integer of at least 1"),
        ({"model": eqx.nn.Lambda(lambda x: x)}, "at least one floating-point array to train"),
        ({"validation": (jnp.zeros((5, 2)), jnp.full(5, 7))}, r"validation y must lie in \[0, 3\)"),
    ],
)
def test_bad_arguments(change, message, classes, key):
    x, y = classes
    arguments = {"model": small(key), "x": x, "y": y, "key": key, "progress": False} | change
    with pytest.raises(ValueError, match=message):
        inference.fit(**arguments)
