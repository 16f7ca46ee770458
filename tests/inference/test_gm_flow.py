"""The Wasserstein flow against ordinary differential equations, and the Bayesian layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
import scipy.integrate
from closeness import X64, assert_close
from jax.flatten_util import ravel_pytree

from mogp import inference, nn, priors

X = np.random.default_rng(0).normal(size=(12, 2))
Y = X @ np.array([[1.0, -0.5], [0.3, 0.8]]) + 0.2 * X[:, :1] * X[:, 1:]
ATOL = 1e-6 if X64 else 2e-3


def velocity(layer, objective):
    """`d/dt` of the layer under the flow: one update of step 1."""
    flow = inference.wasserstein_flow(1.0)

    @eqx.filter_jit
    def update(layer):
        gradient = eqx.filter_grad(objective)(layer)
        parameters = eqx.filter(layer, eqx.is_inexact_array)
        return flow.update(gradient, flow.init(parameters), parameters)[0]

    return update(layer)


def flow_to(layer, objective, time):
    """The layer at a time, by SciPy's integrator on all its parameters."""
    parameters, static = eqx.partition(layer, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(parameters)

    @jax.jit
    def right(z):
        return ravel_pytree(velocity(eqx.combine(unravel(z), static), objective))[0]

    tolerances = {"rtol": 1e-9, "atol": 1e-10} if X64 else {"rtol": 1e-4, "atol": 1e-5}
    done = scipy.integrate.solve_ivp(lambda _, z: right(z), (0, time), flat, **tolerances)
    return eqx.combine(unravel(jnp.asarray(done.y[:, -1], flat.dtype)), static)


def square_loss(layer):
    return jnp.mean(jnp.sum((layer(jnp.asarray(X)) - jnp.asarray(Y)) ** 2, axis=1)) / 2


def moments(layer):
    """Means (K, L+d) and covariances of (ω, β)."""
    root = np.concatenate(layer.square_roots(), axis=1)
    means = np.concatenate([layer.output_means(), layer.means], axis=1)
    return means, root @ root.transpose(0, 2, 1)


@eqx.filter_jit
def linear(covariance, components):
    return nn.GMLayer(
        2,
        2,
        components,
        covariance=covariance,
        activation="identity",
        key=jax.random.key(1, impl="rbg"),
    )


def test_one_component_is_the_bures_wasserstein_flow_of_a_gaussian():
    """F = E‖h - y‖²/2 with h = E ω⟨β, x⟩: ṁ = -∇_m F, Σ̇ = -2 (GΣ + ΣG), G = ∇_Σ F."""
    layer = linear("full", 1)
    mean, sigma = (a[0] for a in moments(layer))

    def right(_, z):
        m, s = z[:4], z[4:].reshape(4, 4)
        across = s[:2, 2:] + np.outer(m[:2], m[2:])  # h = across @ x
        r = (X @ across.T - Y).T @ X / len(X)
        g = np.block([[np.zeros((2, 2)), r / 2], [r.T / 2, np.zeros((2, 2))]])
        return np.concatenate([-2 * g @ m, (-2 * (g @ s + s @ g)).ravel()])

    start = np.concatenate([mean, sigma.ravel()])
    exact = scipy.integrate.solve_ivp(right, (0, 1.5), start, rtol=1e-10, atol=1e-11).y[:, -1]
    m, s = (a[0] for a in moments(flow_to(layer, square_loss, 1.5)))
    assert_close(np.concatenate([m, s.ravel()]), exact, rtol=0, atol=ATOL)
    assert np.max(np.abs(exact - start)) > 0.1


def test_k_components_move_as_their_particles_do():
    """8 particles a component, with its moments exactly: a mean-field network under its own flow.

    Of a network of m neurons each moves with m times the gradient of the objective; with a
    linear activation the field is linear, and the particles keep the moments of the mixture. Were
    the factor K missing, the layer would be 3 times too slow.
    """
    layer = linear("full", 3)
    root = np.concatenate(layer.square_roots(), axis=1)
    means = np.concatenate([layer.output_means(), layer.means], axis=1)
    signs = np.sqrt(4) * np.concatenate([np.eye(4), -np.eye(4)], axis=1)  # covariance I
    z = (means[:, :, None] + root @ signs).transpose(0, 2, 1).reshape(-1, 4)

    def right(_, flat):
        omega, beta = flat.reshape(-1, 4)[:, :2], flat.reshape(-1, 4)[:, 2:]
        r = (X @ (omega.T @ beta / len(omega)).T - Y).T @ X / len(X)
        return -np.concatenate([beta @ r.T, omega @ r], axis=1).ravel()

    done = scipy.integrate.solve_ivp(right, (0, 1.0), z.ravel(), rtol=1e-10, atol=1e-11)
    particles = done.y[:, -1].reshape(3, 8, 4)
    m, s = moments(flow_to(layer, square_loss, 1.0))
    assert_close(m, particles.mean(1), rtol=0, atol=ATOL)
    for k in range(3):
        assert_close(s[k], np.cov(particles[k].T, bias=True), rtol=0, atol=ATOL)
    slow = np.abs(means - particles.mean(1)).max()
    assert slow > 0.05


@pytest.mark.parametrize("covariance", ["diagonal", "low_rank"])
def test_restricted_covariances_descend_in_the_coordinates_of_the_map(covariance):
    """(μ, σ, a, W) of (ω, β) = (a, μ) + (W, diag σ) ε: the Euclidean gradient there, times K."""
    layer = nn.GMLayer(2, 2, 3, covariance=covariance, activation="gelu", key=jax.random.key(0))
    if covariance == "low_rank":
        factors = jax.random.normal(jax.random.key(2), layer.arrays()["factors"].shape)
        layer = layer.with_arrays({"factors": factors})

    def coordinates(m):
        scales, slopes = (m.arrays()[name] for name in ("scales", "slopes"))
        wide = jnp.broadcast_to(scales[:, None], slopes.shape)
        return m.means, scales, m.output_means(), slopes * wide

    def back(mu, sigma, a, w):
        u = w / jnp.broadcast_to(sigma[:, None], w.shape)
        v = a - jnp.einsum("kld,kd->kl", u, mu)
        return layer.with_arrays({"means": mu, "scales": sigma, "slopes": u, "offsets": v})

    here = coordinates(layer)
    expected = jax.jit(jax.grad(lambda c: square_loss(back(*c))))(here)
    moved = velocity(layer, square_loss)
    arrays = eqx.filter(layer, eqx.is_inexact_array)
    push = jax.jit(
        lambda m, v: jax.jvp(lambda m: coordinates(eqx.combine(m, layer)), (m,), (v,))[1]
    )
    found = push(arrays, moved)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, -3 * b, rtol=1e-8, atol=1e-10)
    if covariance == "low_rank":
        gradient = eqx.filter_jit(eqx.filter_grad(square_loss))(layer)
        expected = -3 * gradient.arrays()["factors"]
        assert_close(moved.arrays()["factors"], expected, rtol=1e-8, atol=1e-10)


def test_a_point_component_stays_finite_and_other_modules_take_plain_steps():
    layer = nn.GMLayer(2, 2, 3, key=jax.random.key(0))
    layer = layer.with_arrays({"scales": jnp.zeros_like(layer.arrays()["scales"])})
    moved = velocity(layer, square_loss)
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(moved))
    assert not np.any(moved.arrays()["slopes"])

    chain = eqx.nn.Sequential([eqx.nn.Linear(2, 2, key=jax.random.key(3)), layer])
    objective = lambda m: jnp.mean(jax.vmap(m)(jnp.asarray(X)) ** 2)  # noqa: E731
    plain = eqx.filter_jit(eqx.filter_grad(objective))(chain).layers[0].weight
    assert_close(velocity(chain, objective).layers[0].weight, -plain, rtol=1e-10)
    flow = inference.wasserstein_flow(optax.constant_schedule(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        flow.update(layer, flow.init(layer))


@eqx.filter_jit
def bayesian(prior, covariance="diagonal"):
    return nn.GMLayer(
        2,
        2,
        5,
        covariance=covariance,
        init_scale="unit",
        prior=prior,
        key=jax.random.key(0, impl="rbg"),
    )


def test_the_numpyro_model_is_log_prior_and_likelihood():
    layer, x = bayesian(priors.InverseGamma(shape=2.0), "full"), jnp.asarray(X)
    log_prior = eqx.filter_jit(nn.GMLayer.log_prior)(layer)
    labels = jnp.arange(12) % 2
    values = layer.arrays()
    u = layer.log_variances
    values["node_variances"] = jnp.exp(u)
    density = jax.jit(
        lambda y, **options: numpyro.infer.util.log_density(
            inference.gm_model, (layer, x, y), options, values
        )[0],
        static_argnames="likelihood",
    )
    total = density(labels)
    likelihood = -jnp.sum(inference.categorical(layer(x), labels))
    assert_close(total, log_prior - jnp.sum(u) + likelihood, rtol=1e-8)
    y = jnp.asarray(Y)
    total = density(y, likelihood=inference.Gaussian(0.5))
    likelihood = jnp.sum(dist.Normal(layer(x), 0.5).log_prob(y))
    assert_close(total, log_prior - jnp.sum(u) + likelihood, rtol=1e-8)


def test_a_sampler_of_numpyro_runs_on_the_model():
    kernel = numpyro.infer.HMC(inference.gm_model, num_steps=2, adapt_step_size=False)
    sampler = numpyro.infer.MCMC(kernel, num_warmup=10, num_samples=10, progress_bar=False)
    layer = bayesian(priors.InverseGamma(shape=2.0))
    sampler.run(
        jax.random.key(0), layer, jnp.asarray(X), jnp.asarray(Y), likelihood=inference.Gaussian()
    )
    draws = sampler.get_samples()
    assert draws["noise_scale"].shape == (10,)
    assert draws["node_variances"].shape == (10, 5)
    assert all(np.all(np.isfinite(array)) for array in draws.values())
    assert np.all(draws["node_variances"] > 0)


def test_without_a_density_the_node_variances_are_no_site():
    layer = bayesian(priors.Deterministic())
    with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        inference.gm_model(layer, jnp.asarray(X))
    assert "node_variances" not in trace
    with pytest.raises(ValueError, match="layer must have a prior"):
        inference.gm_model(nn.GMLayer(2, 2, 3, key=jax.random.key(0)), jnp.asarray(X))
    with pytest.raises(ValueError, match="likelihood must be one of"):
        inference.gm_model(layer, jnp.asarray(X), likelihood="hinge")
    with pytest.raises(ValueError, match=r"y must be labels in \[0, 2\)"):
        inference.gm_model(layer, jnp.asarray(X), jnp.full(12, 2))
