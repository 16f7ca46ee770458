"""Training: against a plain loop, by seeds at once, likelihoods, kills, resumption, refusals."""

import math
import os
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
import scipy.optimize
from closeness import assert_close

from mogp import MoGP, inference, nn, priors
from mogp.inference import _checkpoint
from mogp.inference.optimise import _fit


class Line(eqx.Module):
    """`y = x w`, with a normal prior on `w`: the posterior mode is ridge regression."""

    w: jax.Array

    def __call__(self, x):
        return x.reshape(len(x), -1) @ self.w

    def log_prior(self):
        return -jnp.sum(self.w**2) / 2


@pytest.fixture(scope="module")
def classes():
    """600 points of three Gaussian classes in the plane: x, y."""
    keys = jax.random.split(jax.random.key(0))
    y = jax.random.randint(keys[0], (600,), 0, 3).astype(jnp.int32)
    centres = jnp.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    return centres[y] + jax.random.normal(keys[1], (600, 2)), y


@pytest.fixture(scope="module")
def numbers():
    """50 rows of a linear function of three inputs, with noise: x, y."""
    x = jax.random.normal(jax.random.key(2), (50, 3))
    return x, x @ jnp.array([1.0, -2.0, 0.5]) + jax.random.normal(jax.random.key(1), (50,))


def small(key, prior=None):
    prior = priors.Horseshoe() if prior is None else prior
    return MoGP([prior], bias_scale=1.0).network(2, 3, 8, key=key)


def flat(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


FULL = {"num_epochs": 400, "batch_size": 50, "optimizer": optax.sgd(0.3), "progress": False}


@pytest.mark.parametrize("temperature", [1.0, 5.0, math.inf])
def test_the_map_of_a_linear_model_is_ridge_regression(temperature, numbers, key):
    """Full batches, so that the minimum of the objective is reached: (XᵀX + I/T) w = Xᵀy."""
    x, y = numbers
    result = inference.fit(
        Line(jnp.zeros((3, 1))), x, y, key=key, likelihood=inference.Gaussian(1.0),
        prior_temperature=temperature, **FULL,
    )  # fmt: skip
    expected = jnp.linalg.solve(x.T @ x + jnp.eye(3) / temperature, x.T @ y[:, None])
    assert_close(result.model.w, expected, rtol=1e-8)
    loss = 0.5 * jnp.mean((y - (x @ expected)[:, 0]) ** 2) + math.log(2 * math.pi) / 2
    assert_close(result.history["loss"][-1], loss, rtol=1e-8)
    assert result.likelihood.noise_scale == 1.0
    assert not result.interrupted


def test_parameters_of_the_likelihood_are_learned(numbers, key):
    """The mode of `(w, log s)` with the prior of the noise and its Jacobian, by SciPy, twice."""
    x, y = (np.asarray(a, float) for a in numbers)
    result = inference.fit(
        lambda key: Line(0.1 * jax.random.normal(key, (3, 1))), *numbers, key=key,
        likelihood=inference.Gaussian(dist.HalfNormal(2.0)), num_seeds=2,
        **FULL | {"num_epochs": 800, "optimizer": optax.sgd(0.15)},
    )  # fmt: skip

    def objective(z):
        w, s = z[:3], math.exp(z[3])
        loss = np.sum((y - x @ w) ** 2) / (2 * s**2) + 50 * z[3]
        return loss + w @ w / 2 + s**2 / 8 - z[3]

    best = scipy.optimize.minimize(objective, np.zeros(4), tol=1e-10).x
    assert result.likelihood.noise_scale.shape == (2,)
    assert_close(result.likelihood.noise_scale, math.exp(best[3]), rtol=1e-5)
    assert_close(result.model.w[1, :, 0], best[:3], rtol=1e-4)


def test_one_epoch_is_a_plain_loop(classes, key):
    x, y = classes
    network, optimizer = small(key), optax.adam(1e-2)
    result = inference.fit(
        network, x, y, key=key, num_epochs=1, batch_size=256, optimizer=optimizer, progress=False
    )
    parameters, static = eqx.partition(network, eqx.is_inexact_array)

    @jax.jit
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
    for a, b in zip(flat(result.model), flat(parameters), strict=True):
        assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert_close(result.history["objective"].values, np.mean(values), rtol=1e-8)


def test_seeds_at_once_equal_seeds_one_by_one(classes, key):
    """Also: what is recorded, and the default batches of 100 rows."""
    x, y = classes
    result = inference.fit(small, x, y, key=key, num_seeds=3, num_epochs=2, progress=False)
    init, shuffle = jax.random.split(key)
    optimizer = optax.adam(1e-3)
    static = eqx.filter(small(key), eqx.is_inexact_array, inverse=True)

    @jax.jit
    def step(parameters, state, rows):
        def objective(p):
            model = eqx.combine(p, static)
            loss = inference.categorical(model(x[rows]), y[rows]).mean()
            return loss - nn.log_prior(model) / 600

        updates, state = optimizer.update(jax.grad(objective)(parameters), state)
        return optax.apply_updates(parameters, updates), state

    for seed in range(3):
        start = small(jax.random.split(init, 3)[seed])
        parameters = eqx.filter(start, eqx.is_inexact_array)
        state = optimizer.init(parameters)
        for epoch in range(2):
            order = jax.random.permutation(
                jax.random.fold_in(jax.random.split(shuffle, 3)[seed], epoch), 600
            )
            for rows in order.reshape(6, 100):
                parameters, state = step(parameters, state, rows)
        for a, b in zip(flat(result.model), jax.tree.leaves(parameters), strict=True):
            assert_close(a[seed], b, rtol=1e-7, atol=1e-9)
    few = {"key": key, "num_epochs": 1, "progress": False}
    a, b = (inference.fit(small(key), x[:30], y[:30], **few, **more).model
            for more in ({}, {"batch_size": 30}))  # fmt: skip
    np.testing.assert_array_equal(a.weights[0], b.weights[0])


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
    scores = eqx.filter_jit(inference.evaluate)(one, x[400:], y[400:], block=64)
    assert_close(scores.accuracy, history["validation_accuracy"][-1, 1], rtol=1e-12)
    assert_close(scores.nll, history["validation_nll"][-1, 1], rtol=1e-10)


@pytest.mark.parametrize("likelihood", ["bernoulli", "student_t", "poisson"])
def test_other_likelihoods_and_inputs_of_any_shape(likelihood, key):
    """Booleans, numbers and counts of images: the loss is minus the mean log-density."""
    x = jax.random.normal(key, (20, 2, 2))
    y = {"bernoulli": x[:, 0, 0] > 0, "student_t": x[:, 0], "poisson": jnp.arange(20) % 3}
    y = y[likelihood]
    start = Line(jnp.zeros((4, 2 if likelihood == "student_t" else 1)))
    law = inference.StudentT(0.7) if likelihood == "student_t" else likelihood
    result = inference.fit(
        start, x, y, key=key, likelihood=law, num_epochs=1, batch_size=20, prior_temperature=np.inf,
        progress=False,
    )  # fmt: skip
    outputs = np.zeros((20, start.w.shape[1]))
    given = {
        "bernoulli": lambda: np.full(20, math.log(0.5)),
        "poisson": lambda: dist.Poisson(19 / 20).log_prob(y),  # the mean of the counts
        # `df` starts at the mean of its distribution.
        "student_t": lambda: dist.StudentT(20.0, outputs, 0.7).log_prob(y).sum(1),
    }
    assert_close(result.history["loss"][0], -np.mean(given[likelihood]()), rtol=1e-6)
    if likelihood == "student_t":
        assert float(result.likelihood.df) != 20.0


def test_the_module_given_is_left_as_it_was(classes, key):
    network = small(key)
    before = jax.tree.map(np.array, eqx.filter(network, eqx.is_array))
    inference.fit(network, *classes, key=key, num_epochs=1, progress=False)
    for a, b in zip(flat(before), flat(network), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_no_parameter_is_not_trained(classes, key):
    """Parameters of priors, and node variances without a density, even by an optimiser that decays.

    Those with a density are trained.
    """
    decay = {"key": key, "num_epochs": 1, "progress": False, "optimizer": optax.adamw(1e-2)}
    start = small(key, priors.InverseGamma(shape=jnp.array(2.0)))
    trained = inference.fit(start, *classes, **decay).model
    assert float(trained.priors[0].shape) == 2.0
    assert not np.allclose(trained.log_variances[0], start.log_variances[0])
    constant = small(key, priors.Bernoulli(4.0))
    trained = inference.fit(constant, *classes, **decay).model
    np.testing.assert_array_equal(trained.log_variances[0], constant.log_variances[0])
    assert not np.allclose(trained.weights[0], constant.weights[0])


def test_each_parameter_by_its_optimizer(classes, key):
    layer = nn.GMLayer(2, 3, 2, key=key)
    chain = eqx.nn.Sequential([layer, eqx.nn.Lambda(lambda z: 2 * z)])
    optimizer = inference.per_parameter(
        optax.sgd(0.1), scales=optax.sgd(1.0), means=optax.set_to_zero()
    )
    step = {"key": key, "num_epochs": 1, "batch_size": 600, "progress": False}
    plain = inference.fit(chain, *classes, optimizer=optax.sgd(0.1), **step).model[0].arrays()
    mixed = inference.fit(chain, *classes, optimizer=optimizer, **step).model[0].arrays()
    start = layer.arrays()
    np.testing.assert_array_equal(mixed["means"], start["means"])
    assert_close(mixed["slopes"], plain["slopes"], rtol=1e-12)
    moved = plain["scales"] - start["scales"]
    assert_close(mixed["scales"] - start["scales"], 10 * moved, rtol=1e-8)
    unknown = inference.per_parameter(optax.sgd(0.1), scale=optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"no parameter is called \['scale'\], there are"):
        inference.fit(chain, *classes, optimizer=unknown, **step)


def test_parameters_of_the_likelihood_have_names_for_optimizers(numbers, key):
    optimizer = inference.per_parameter(optax.sgd(0.1), noise_scale=optax.set_to_zero())
    result = inference.fit(
        Line(jnp.zeros((3, 1))), *numbers, key=key, likelihood="gaussian", optimizer=optimizer,
        num_epochs=1, progress=False,
    )  # fmt: skip
    assert_close(result.likelihood.noise_scale, math.sqrt(2 / math.pi), rtol=1e-6)
    assert np.all(result.model.w != 0)


# --- long runs ------------------------------------------------------------------------------------


class KilledError(Exception):
    """What stands in for a kill."""


def line(key):
    return Line(jax.random.normal(key, (2, 3)))


def test_a_killed_run_resumes_to_the_same_result(classes, key, tmp_path, monkeypatch):
    arguments = {"key": key, "num_epochs": 5, "num_seeds": 2, "progress": False}
    arguments["validation"] = classes
    whole = inference.fit(line, *classes, **arguments)

    path, epoch = tmp_path / "deep" / "fit.ckpt", _fit.patiently
    calls = []

    def dies(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KilledError
        return epoch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_fit, "patiently", dies)
        with pytest.raises(KilledError):
            inference.fit(line, *classes, checkpoint=path, checkpoint_every=2, **arguments)
        resumed = inference.fit(line, *classes, checkpoint=path, **arguments)
    assert len(calls) == 4 + 3  # three epochs, the death, and the three after the checkpoint
    np.testing.assert_array_equal(whole.model.w, resumed.model.w)
    for name in ("objective", "loss", "validation_accuracy", "validation_nll"):
        np.testing.assert_array_equal(whole.history[name], resumed.history[name])


def test_fewer_epochs_than_the_file_holds_are_computed_afresh(classes, key, tmp_path):
    path, arguments = tmp_path / "fit.ckpt", {"key": key, "progress": False}
    inference.fit(line(key), *classes, num_epochs=6, checkpoint=path, **arguments)
    before = path.read_bytes()
    few = inference.fit(line(key), *classes, num_epochs=2, checkpoint=path, **arguments)
    assert len(few.history["epoch"]) == 2
    alone = inference.fit(line(key), *classes, num_epochs=2, **arguments)
    np.testing.assert_array_equal(few.model.w, alone.model.w)
    assert path.read_bytes() == before


def test_an_interrupted_run_returns_what_was_done(classes, key, tmp_path, monkeypatch):
    epoch, calls = _fit.patiently, []

    def signalled(*args):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return epoch(*args)

    monkeypatch.setattr(_fit, "patiently", signalled)
    arguments = {"key": key, "num_epochs": 4, "progress": False, "checkpoint": tmp_path / "fit"}
    cut = inference.fit(line(key), *classes, **arguments)
    assert cut.interrupted
    assert len(cut.history["epoch"]) == 2
    whole = inference.fit(line(key), *classes, **arguments)
    assert not whole.interrupted
    assert len(calls) == 4


def test_lists_tables_and_paths_as_text(numbers, key, tmp_path):
    x, y = (np.asarray(a) for a in numbers)
    options = {"key": key, "likelihood": "gaussian", "num_epochs": 1, "progress": False}
    fits = [
        inference.fit(Line(jnp.zeros((3, 1))), *data, **options, **more)
        for data, more in [
            ((x, y), {}),
            ((x.tolist(), y.tolist()), {"checkpoint": str(tmp_path / "fit")}),
            ((pd.DataFrame(x), pd.Series(y)), {}),
            ((x, y[:, None]), {}),
        ]
    ]
    for each in fits:
        np.testing.assert_array_equal(each.model.w, fits[0].model.w)
    assert (tmp_path / "fit").is_file()
    with pytest.raises(ValueError, match=f"checkpoint must be a file, got the folder {tmp_path}"):
        inference.fit(Line(jnp.zeros((3, 1))), x, y, **options, checkpoint=str(tmp_path))


def test_double_precision_in_a_session_of_single_precision_is_cast_without_warning(key):
    x, y = np.linspace(0, 1, 10)[:, None], np.linspace(0, 1, 10)
    with jax.enable_x64(False):
        result = inference.fit(
            Line(jnp.zeros((1, 1))), x, y, key=jax.random.key(0), likelihood="gaussian",
            num_epochs=1, progress=False,
        )  # fmt: skip
    assert result.model.w.dtype == np.float32


def test_labels_out_of_range_have_no_score():
    logits = jnp.zeros((3, 2))
    for labels, message in [
        ([0, 1, 2], r"y must lie in \[0, 2\)"), ([0, 1, -1], r"y must lie in \[0, 2\)"),
        ([0, 1], r"y must have shape \(3,\)"), ([0.0, 1.0, 1.0], "y must be integer class labels"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            inference.evaluate(lambda x: x, logits, labels)
    found = float(inference.evaluate(lambda x: x, logits.tolist(), [0, 0, 1]).accuracy)
    assert found == pytest.approx(2 / 3, rel=1e-6)


def test_sizes_beyond_the_memory_are_said_before_allocating(key):
    x = jnp.zeros((3, 1))
    wide = lambda key: MoGP([priors.Horseshoe()]).network(1, 2, 10**13, key=key)  # noqa: E731
    options = {"key": key, "progress": False}
    with pytest.raises(ValueError, match=r"the networks? would take .* GiB, more than the memory"):
        inference.fit(wide, x, [0, 1, 1], num_seeds=2, **options)
    with pytest.raises(ValueError, match=r"the networks? would take .* GiB, more than the memory"):
        inference.sghmc(MoGP([priors.Horseshoe()]), x, [0, 1, 1], width=10**13, **options)


def test_a_second_writer_is_refused(classes, key, tmp_path):
    with (
        _checkpoint.only_writer(tmp_path / "fit"),
        pytest.raises(BlockingIOError, match="is being written by another process"),
    ):
        inference.fit(line(key), *classes, key=key, progress=False, checkpoint=tmp_path / "fit")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"batch_size": 50}, "batch_size is 100 there and 50 here"),
        ({"prior_temperature": 5.0}, "prior_temperature is 1.0 there and 5.0 here"),
        ({"optimizer": optax.sgd(0.1)}, "optimizer is"),
        ({"optimizer": optax.adam(1.1e-3)}, "optimizer is"),
        ({"key": jax.random.key(5)}, "key is"),
        ({"likelihood": inference.Categorical(2)}, "likelihood is"),
        ({"x": jnp.ones((600, 2))}, "x is"),
        ({"y": jnp.zeros(600, int)}, "y is"),
        ({"validation": (jnp.ones((2, 2)), jnp.zeros(2, int))}, "validation is"),
        ({"model": small(jax.random.key(9))}, "model is"),
        ({"model": small(jax.random.key(3), priors.InverseGamma(shape=2.0))}, "model is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_run_is_refused(change, name, classes, finished):
    arguments, path = finished
    with pytest.raises(ValueError, match=f"belongs to another run: {name}"):
        inference.fit(**(arguments | change), checkpoint=path)


@pytest.fixture(scope="module")
def finished(classes, tmp_path_factory):
    """A finished run of one epoch: its arguments and its checkpoint."""
    x, y = classes
    arguments = {"model": small(jax.random.key(3)), "x": x, "y": y % 2, "key": jax.random.key(4)}
    arguments |= {"num_epochs": 1, "progress": False}
    path = tmp_path_factory.mktemp("fit") / "fit.ckpt"
    inference.fit(**arguments, checkpoint=path)
    return arguments, path


# --- errors -------------------------------------------------------------------------------------


def test_divergence_is_an_error(numbers, key):
    """Squared errors grow without bound once a step is too long; several seeds may differ."""
    with pytest.raises(FloatingPointError, match=r"in epoch \d+; try a smaller learning rate"):
        inference.fit(
            Line(jnp.ones((3, 1))), *numbers, key=key, likelihood=inference.Gaussian(1.0),
            num_epochs=100, optimizer=optax.sgd(1e6), progress=False,
        )  # fmt: skip


class Own(inference.Likelihood):
    """A likelihood of the user's."""

    def law(self, outputs):
        return dist.Laplace(outputs, jnp.ones_like(outputs)).to_event(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.full((600, 2), jnp.nan)}, "x must be finite, got NaN or infinity in 600 of 600"),
        ({"x": jnp.zeros((600, 5))}, r"x must have shape \(n, 2\) with n ≥ 1, got \(600, 5\)"),
        ({"x": jnp.zeros((600, 2), int)}, "x must be floating point"),
        ({"y": jnp.full(600, 3)}, r"y must be labels in \[0, 3\), got others in rows \[0, 1"),
        ({"y": jnp.full(600, -1)}, r"y must be labels in \[0, 3\)"),
        ({"y": jnp.full(600, 0.5)}, r"y must be labels in \[0, 3\)"),
        ({"y": jnp.zeros(599, int)}, r"y must have shape \(600,\)"),
        ({"y": jnp.zeros((600, 2)), "likelihood": "bernoulli"}, r"outputs of shape \(n, 2\) for y"),
        ({"likelihood": inference.Categorical(5)}, r"outputs of shape \(n, 5\) for y, got \(n, 3"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 601}, "batch_size must be at most n = 600, got 601"),
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1"),
        ({"prior_temperature": 0.0}, "prior_temperature must be above 0, got 0.0"),
        ({"prior_temperature": math.nan}, "prior_temperature must be above 0, got nan"),
        ({"likelihood": "hinge"}, "likelihood must be one of"),
        ({"model": MoGP([priors.Horseshoe()])}, r"must be a network, got a MoGP: model.network\("),
        ({"optimizer": 0.1}, "optimizer must be an Optax transformation, .* got 0.1"),
        ({"optimizer": "adam"}, "optimizer must be an Optax transformation"),
        ({"key": 0}, r"key must be a random key, got 0: use jax\.random\.key\(0\)"),
        ({"key": jax.random.split(jax.random.key(0))}, r"one random key, got \(2,\) of them"),
        ({"y": jnp.full(600, 1j)}, "y must be real numbers, got complex"),
        ({"x": jnp.full((600, 2), 1j)}, "x must be real numbers, got complex"),
        ({"y": ["a"] * 600}, "y must be an array of numbers"),
        ({"y": None}, "y must be an array of numbers"),
        *(
            ({"y": jnp.ones(shape).at[:1].set(0), "likelihood": likelihood}, message)
            for likelihood in ("gaussian", Own())
            for shape, message in [
                (599, "y must have shape"),
                (601, "y must have shape"),
                ((600, 3, 1), "y must have shape"),
                ((600, 2), "outputs of shape"),
                ((600, 4), "outputs of shape"),
            ]
        ),
        ({"num_seeds": 2}, "model must be a function from a random key to a module"),
        ({"model": small}, "a function of a key needs num_seeds"),
        ({"model": small, "num_seeds": 0}, "num_seeds must be an integer of at least 1"),
        (
            {"model": eqx.nn.Lambda(lambda x: jnp.zeros((len(x), 3)))},
            "at least one floating-point array to train",
        ),
        (
            {"validation": (jnp.zeros((5, 2)), jnp.full(5, 7))},
            r"validation y must be labels in \[0, 3\)",
        ),
        (
            {"validation": (jnp.zeros((5, 2)), jnp.zeros(5)), "likelihood": "bernoulli",
             "y": jnp.zeros((600, 3))},
            "validation scores are those of a classifier",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(change, message, classes, key):
    x, y = classes
    arguments = {"model": small(key), "x": x, "y": y, "key": key, "progress": False} | change
    with pytest.raises(ValueError, match=message):
        inference.fit(**arguments)
