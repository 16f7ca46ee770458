"""Regression on finitely many features against 50 digits, down to noise of 1e-8 of the signal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from closeness import X64
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, limit, priors

NOISES = (1e-1, 1e-3, 1e-6, 1e-8)
SHAPES = ((1, 4), (4, 6), (5, 5), (9, 4), (40, 6))
METHOD = {"method": "low_rank"}


class Given(eqx.Module):
    """Features that are the points themselves, times a scale."""

    scale: jax.Array
    in_size: int = eqx.field(static=True)

    def design(self, x):
        return self.scale * x


def regression(scale, features, y, noise):
    source = Given(scale, features.shape[1])
    return limit.condition(source, features, y, noise_scale=noise, **METHOD)


@eqx.filter_jit
def ours(features, y, noise, new):
    """All results, and gradients in the log of the noise, the features and their scale."""

    def evidence(log_noise, features, scale):
        return regression(scale, features, y, jnp.exp(log_noise)).log_marginal_likelihood()

    def others(log_noise):
        given = regression(1.0, features, y, jnp.exp(log_noise))
        predicted, left = given.predict(new), given.leave_one_out()
        return {
            "mean": predicted.mean,
            "variance": predicted.variance,
            "left mean": left.mean,
            "left variance": left.variance,
        }

    log_noise, one = jnp.log(noise), jnp.ones((), features.dtype)
    value, slopes = jax.value_and_grad(evidence, (0, 1, 2))(log_noise, features, one)
    values, changes = jax.jvp(others, (log_noise,), (one,))
    changes = {f"change of {name}": change for name, change in changes.items()}
    names = "evidence", "by noise", "by features", "by scale"
    given = dict(zip(names, (value, *slopes), strict=True))
    return given | values | changes, regression(one, features, y, noise).error


def exact(features, y, noise, new):
    """The formulas of Gaussian regression, in 60 digits."""
    with mp.workdps(60):
        n, k = y.shape
        f, t, at, s = (
            *(mp.matrix(np.asarray(a, float).tolist()) for a in (features, y, new)),
            mp.mpf(float(noise)),
        )
        covariance = f * f.T + s**2 * mp.eye(n)
        inverse = covariance**-1
        solved = inverse * t
        log_det = mp.log(mp.det(covariance))
        quadratic = sum((t.T * solved)[j, j] for j in range(k))
        slope = (solved * solved.T - k * inverse) / 2
        by_features = 2 * slope * f
        weights, cross = f.T * solved, at * f.T
        pull = cross * inverse
        variance = at * at.T - pull * cross.T
        inner = inverse * inverse  # d inverse / d log s = -2 s² inverse²
        each = range(n)
        left = [t[i, j] - solved[i, j] / inverse[i, i] for i in each for j in range(k)]
        turned = inverse * solved
        left_change = [
            2 * s**2 * (turned[i, j] - solved[i, j] * inner[i, i] / inverse[i, i]) / inverse[i, i]
            for i in each
            for j in range(k)
        ]
        rows = range(len(new))
        result = {
            "evidence": -(quadratic + k * log_det + n * k * mp.log(2 * mp.pi)) / 2,
            "by noise": 2 * s**2 * sum(slope[i, i] for i in each),
            "by features": by_features,
            "by scale": sum(by_features[i, j] * f[i, j] for i in each for j in range(f.cols)),
            "mean": at * weights,
            "variance": [variance[i, i] for i in rows],
            "left mean": left,
            "left variance": [1 / inverse[i, i] for i in each],
            "change of mean": -2 * s**2 * pull * solved,
            "change of variance": [2 * s**2 * sum(pull[i, j] ** 2 for j in each) for i in rows],
            "change of left mean": left_change,
            "change of left variance": [2 * s**2 * inner[i, i] / inverse[i, i] ** 2 for i in each],
        }
        return {name: np.array(_floats(value)) for name, value in result.items()}


def _floats(value):
    if isinstance(value, mp.mpf):
        return float(value)
    return [[float(v) for v in row] if isinstance(row, list) else float(row)
            for row in (value.tolist() if isinstance(value, mp.matrix) else value)]  # fmt: skip


def problem(kind, n, size):
    """Points whose features repeat, or targets that are constant, or neither."""
    rng = np.random.default_rng(n + 10 * size)
    features, y = rng.normal(size=(n, size)), rng.normal(size=(n, 2))
    if kind == "repeated":  # half of the points, and one of them thrice
        features[(n + 1) // 2 :] = features[: n // 2]
        features[-1] = features[0]
        y[-1] = y[0]
    if kind == "constant":
        features[:, 0], y[:] = 1.0, 1.5
    if kind == "collinear":
        features[:, 1], features[:, 2] = features[:, 0], 1e-6 * features[:, 2]
    return features, y, np.concatenate([features[:1], rng.normal(size=(2, size))])


# Of the largest entry; derivatives of sums in which the noise hardly counts are compared with the
# sums, and gradients in the features with the largest gradient of all.
SCALES = {
    "by scale": ("by scale", "by features", "by noise"),
    "change of mean": ("change of mean", "mean"),
    "left mean": ("left mean", "y"),
    "change of left mean": ("change of left mean", "left mean", "y"),
}
ENTRIES = ("variance", "left variance")  # each to its own size


@needs_x64
@pytest.mark.parametrize("kind", ["generic", "repeated", "constant", "collinear"])
@pytest.mark.parametrize(("n", "size"), SHAPES)
def test_against_fifty_digits(n, size, kind):
    features, y, new = problem(kind, n, size)
    for noise in NOISES:
        found, error = ours(*map(jnp.asarray, (features, y, noise, new)))
        expected = exact(features, y, noise, new)
        assert error < 1e-6
        for name, value in expected.items():
            given = np.reshape(found[name], value.shape)
            sizes = expected | {"y": y}
            size_of = max(np.max(np.abs(sizes[other])) for other in SCALES.get(name, (name,)))
            size_of = np.abs(value) if name in ENTRIES else size_of
            # Features that span one direction twice leave a gradient of the order 1 / noise in the
            # direction between, to which rounding of the features counts as much as the noise.
            allowed = 1e-8 if noise > 1e-8 else 1e-6
            assert np.all(np.abs(given - value) <= allowed * size_of + 1e-300), (noise, name)


@needs_x64
def test_one_observation_alone_decides_its_fit():
    """A feature that only one of many points has: its leverage is 1 up to the noise."""
    features, y, new = problem("generic", 9, 4)
    features[:-1, 0] = 0
    for noise in (1e-3, 1e-6):
        found, _ = ours(*map(jnp.asarray, (features, y, noise, new)))
        expected = exact(features, y, noise, new)
        np.testing.assert_allclose(np.ravel(found["left mean"]), expected["left mean"], rtol=1e-8)
        np.testing.assert_allclose(found["left variance"], expected["left variance"], rtol=1e-8)


def test_leave_one_out_of_one_observation_is_the_prior():
    model = MoGP([priors.Horseshoe()], bias_scale=0.5)
    path = model.sample_path(2, key=jax.random.key(0), num_jumps=30, num_diffuse=1)
    x, y = jnp.ones((1, 2)), jnp.asarray([0.7])
    left = limit.condition(path, x, y, noise_scale=0.3, **METHOD).leave_one_out()
    variance = float(jnp.sum(path.design(x) ** 2)) + 0.09
    np.testing.assert_allclose(left.mean, [[0.0]], atol=1e-6)
    np.testing.assert_allclose(left.variance, [variance], rtol=1e-5)
    expected = stats.norm.logpdf(0.7, 0, variance**0.5)
    np.testing.assert_allclose(left.log_density, [[expected]], rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.float64, marks=needs_x64)])
def test_the_result_tells_its_error(dtype):
    """Points close to each other: small noise is lost in the kernel matrix, less so in features."""
    x = jnp.linspace(0, 1e-2, 30, dtype=dtype)[:, None]
    y = jnp.sin(300 * x[:, 0])
    network = MoGP([priors.Horseshoe()], bias_scale=1.0).network(1, 1, 50, key=jax.random.key(1))
    cast = lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a  # noqa: E731
    network = jax.tree.map(cast, network)
    tiny = 1e-4 if dtype == jnp.float32 else 1e-9
    for noise, is_fine in ((1.0, True), (tiny, False)):
        dense = limit.condition(network, x, y, noise_scale=noise)
        low_rank = limit.condition(network, x, y, noise_scale=noise, **METHOD)
        assert (dense.error < 1e-3) == is_fine
        assert 0 < low_rank.error < (1e-5 if is_fine else 0.3) < 30 * dense.error + 1
        assert low_rank.error < dense.error or is_fine
        value = low_rank.log_marginal_likelihood()
        assert value.dtype == dtype
        assert np.isfinite(value)


@needs_x64
def test_blocks_of_rows_where_the_matrix_loses_digits():
    """More points than a block, with features that are nearly the same: one block says the same."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9000, 3))
    features = np.concatenate([features, features[:, :1] + 1e-7 * features[:, 1:2]], 1)
    y = features @ np.ones((4, 1)) + 1e-3 * rng.normal(size=(9000, 1))
    x, y, noise = jnp.asarray(features), jnp.asarray(y), jnp.asarray(1e-3)
    given = regression(jnp.ones(()), x, y, noise)
    basis, sizes, _ = np.linalg.svd(features, full_matrices=False)
    along = basis.T @ np.asarray(y)
    outside = np.sum((np.asarray(y) - basis @ along) ** 2) / 1e-6
    quadratic = outside + np.sum(along[:, 0] ** 2 / (sizes**2 + 1e-6))
    log_det = np.sum(np.log(sizes**2 + 1e-6)) + (9000 - 4) * np.log(1e-6)
    expected = -(quadratic + log_det + 9000 * np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(given.log_marginal_likelihood(), expected, rtol=1e-9)
    fitted = basis @ (along * (sizes**2 / (sizes**2 + 1e-6))[:, None])
    np.testing.assert_allclose(given.predict(x[:50]).mean, fitted[:50], rtol=1e-8)


@pytest.mark.skipif(not X64, reason="differences of second order need double precision")
@pytest.mark.parametrize(("n", "noise"), [(4, 1e-2), (4, 1e-7), (9, 1e-2), (9, 1e-6)])
def test_derivatives_of_higher_order(n, noise):
    """Hessians in noise and scale, whichever way is taken; and of the largest features."""
    features, y, _ = problem("collinear" if noise < 1e-3 else "generic", n, 5)

    @jax.jit
    def views(point, steps):
        def evidence(point):
            return regression(
                jnp.exp(point[1]), jnp.asarray(features), jnp.asarray(y), noise * jnp.exp(point[0])
            ).log_marginal_likelihood()

        slope = jax.grad(evidence)
        return jax.hessian(evidence)(point), jax.vmap(slope)(point[None] + steps)

    step = 1e-4
    steps = step * jnp.concatenate([jnp.eye(2), -jnp.eye(2)])
    hessian, slopes = views(jnp.zeros(2), steps)
    difference = (slopes[:2] - slopes[2:]) / (2 * step)
    np.testing.assert_allclose(hessian, difference, rtol=1e-5, atol=1e-6 * np.abs(hessian).max())
