"""Node-variance laws: density, sampler and moments by independent routes; limits; the adapters."""

import functools
import inspect
import math
import re

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, init_to_value
from numpyro.infer.util import potential_energy
from oracles import DTYPES, X64, finite_gbfry_log_density, gbfry_tail, needs_x64, partial
from scipy import stats

from mogp import levy, priors
from mogp.priors import FiniteGBFRY, SquaredHalfCauchy

# Every continuous prior with the width it is tested at.
PRIORS = {
    "Horseshoe": (priors.Horseshoe(), 100),
    "GBFRY": (priors.GBFRY(0.5, 2.0), 100),
    "GBFRY, light tail": (priors.GBFRY(0.8, 5.0, 3.0), 2000),
    "GBFRY, both near 1": (priors.GBFRY(0.9, 1.2), 1000),
    "GBFRY, α near 0": (priors.GBFRY(0.05, 2.5, 0.2), 50),
    "GBFRY, one node": (priors.GBFRY(0.3, 3.0), 1),
}
every_prior = pytest.mark.parametrize("name", PRIORS)
every_gbfry = pytest.mark.parametrize("name", [name for name in PRIORS if name != "Horseshoe"])

# Laws are arguments here: their parameters are tracers, and one compilation does for a class.
log_prob = jax.jit(lambda law, x: law.log_prob(x))
log_density_of_log = jax.jit(lambda law, u: law.log_density_of_log(u))
log_prob_slope = jax.jit(jax.vmap(jax.grad(lambda law, x: law.log_prob(x), 1), (None, 0)))
log_density_and_slope = jax.jit(
    jax.vmap(jax.value_and_grad(lambda law, u: law.log_density_of_log(u), 1), (None, 0))
)
sample_log = jax.jit(lambda law, key: law.sample_log(key, (100_000,)))
gbfry_slopes = jax.jit(
    jax.vmap(
        jax.grad(
            lambda a, t, m, p, x: FiniteGBFRY(a, t, levy.GBFRY(a, t, m).scale, p).log_prob(x),
            (0, 1, 2, 4),
        )
    )
)

X = [1e-30, 1e-20, 1e-15, 1e-8, 1e-3, 0.02, 0.3, 1, 30, 1e4]
STEP = 0.1
GRID = np.arange(-400, 200, STEP)  # of log λ; the trapezoidal rule converges exponentially


@functools.cache
def law_of(name):
    prior, width = PRIORS[name]
    return prior.at_width(width)


@functools.cache
def density_on_grid(name):
    return np.exp(np.asarray(log_density_of_log(law_of(name), jnp.asarray(GRID)), np.float64))


def exact_log_density(name, x):
    prior, width = PRIORS[name]
    if name == "Horseshoe":
        scale = math.pi / (2 * width)
        return float(mp.log(scale / (math.pi * mp.sqrt(x) * (x + scale**2))))
    return float(finite_gbfry_log_density(prior.alpha, prior.tau, prior.mean, width, x))


def test_every_public_prior_and_law_is_tested():
    public = {getattr(priors, name) for name in priors.__all__}
    classes = {value for value in public if inspect.isclass(value)}
    tested = {type(prior) for prior, _ in PRIORS.values()} | {type(law_of(name)) for name in PRIORS}
    abstract = {priors.Prior, priors.NodeVarianceLaw}
    assert classes == tested | abstract | {priors.Deterministic, priors.Limit}
    with pytest.raises(TypeError, match="abstract"):
        priors.Prior()


# --- density --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_log_prob_against_mpmath(name, dtype):
    x = jnp.asarray(X, dtype)
    got = log_prob(law_of(name), x)
    assert got.dtype == dtype
    expected = np.array([exact_log_density(name, float(value)) for value in x])
    if dtype == jnp.float64:
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-11)
    else:
        np.testing.assert_allclose(got[2:], expected[2:], atol=5e-6, rtol=0)


@needs_x64
@every_prior
def test_density_integrates_to_one(name):
    np.testing.assert_allclose(STEP * density_on_grid(name).sum(), 1, rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@every_gbfry
def test_gradients_of_log_prob(name, dtype):
    prior, width = PRIORS[name]
    x = jnp.asarray([1e-15, 1e-3, 0.02, 4.0], dtype)
    point = [jnp.full(4, value, dtype) for value in (prior.alpha, prior.tau, prior.mean, width)]
    got = np.stack(gbfry_slopes(*point, x), axis=1)
    assert got.dtype == dtype
    rtol = 1e-6 if dtype == jnp.float64 else 2e-3
    for i in range(4):
        at = [float(value) for value in (*(column[i] for column in point), x[i])]
        for value, place in zip(got[i], (0, 1, 2, 4), strict=True):
            step = 1e-12 * at[place]
            expected = partial(finite_gbfry_log_density, place, at, step)
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_log_density_of_log(name, dtype):
    """The Jacobian is in, and there is no underflow at λ = exp(-120), which float32 has not."""
    law = law_of(name)
    x = jnp.asarray(X, dtype)
    u = jnp.append(jnp.log(x[2:]), -120)
    got, slopes = log_density_and_slope(law, u)
    assert got.dtype == dtype
    rtol = 1e-10 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(got[:-1], log_prob(law, x)[2:] + u[:-1], rtol=rtol, atol=rtol)
    expected = exact_log_density(name, mp.exp(-120)) - 120
    np.testing.assert_allclose(got[-1], expected, rtol=rtol)
    # A power law down there.
    index = 0.5 if name == "Horseshoe" else 1 - PRIORS[name][0].alpha
    np.testing.assert_allclose(slopes[-1], index, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@every_prior
def test_out_of_support(name, dtype):
    info = np.finfo(dtype)
    outside, inside = [-1.0, -0.0, 0.0, math.inf, -math.inf, math.nan], [info.tiny, 0.3, info.max]
    x = jnp.asarray([*outside, *inside, info.smallest_subnormal], dtype)
    got, slopes = log_prob(law_of(name), x), log_prob_slope(law_of(name), x)
    np.testing.assert_array_equal(got[:6], -jnp.inf)
    np.testing.assert_array_equal(slopes[:6], 0)
    assert np.isfinite(got[6:9]).all()
    assert not np.isnan([got[9], slopes[9]]).any()


# --- sampler and moments --------------------------------------------------------------------


@every_prior
def test_sampler_against_the_density(name, key):
    """Kolmogorov-Smirnov, 1e5 draws; a false alarm once in a million seeds."""
    u = np.asarray(sample_log(law_of(name), key), np.float64)
    assert np.isfinite(u).all()
    cdf = np.cumsum(density_on_grid(name)) * STEP
    distance = stats.kstest(u, lambda at: np.interp(at, GRID + STEP / 2, cdf)).statistic
    assert distance < math.sqrt(math.log(2e6) / 2 / len(u))


@needs_x64
@every_gbfry
def test_moments_against_quadrature(name):
    prior, law = PRIORS[name][0], law_of(name)
    weights = STEP * density_on_grid(name) * np.exp(GRID)
    np.testing.assert_allclose(law.mean, weights.sum(), rtol=1e-10)
    if prior.tau > 2:
        second = np.sum(weights * np.exp(GRID))
        np.testing.assert_allclose(law.variance, second - weights.sum() ** 2, rtol=1e-9)
    else:
        assert float(law.variance) == math.inf


def test_moments_against_samples(key):
    """Five standard errors of the mean and of the variance: false alarm 1e-6. All moments exist."""
    law = priors.GBFRY(0.5, 30.0, 2.0).at_width(3)
    x = np.asarray(jnp.exp(sample_log(law, key)), np.float64)
    deviation = (x - x.mean()) ** 2
    root_n = math.sqrt(len(x))
    assert abs(x.mean() - float(law.mean)) < 5 * x.std() / root_n
    assert abs(deviation.mean() - float(law.variance)) < 5 * deviation.std() / root_n


def test_infinite_moments():
    horseshoe = priors.Horseshoe().at_width(10)
    assert float(horseshoe.mean) == float(horseshoe.variance) == math.inf
    assert float(priors.GBFRY(0.5, 2.0).at_width(10).variance) == math.inf
    assert math.isfinite(float(priors.GBFRY(0.5, 2.001).at_width(10).variance))
    assert float(FiniteGBFRY(0.5, 0.9, 1.0, 10).mean) == math.inf


@pytest.mark.parametrize(
    ("prior", "width", "share"),
    [
        (priors.GBFRY(0.8, 5.0, 3.0), 2000, 0.85),
        (priors.GBFRY(0.9, 5.0, 0.1), 500, 0.50),
        (priors.GBFRY(0.2, 2.5, 1.0), 10_000, 1.00),
    ],
)
def test_expected_sum_at_finite_width(prior, width, share):
    assert float(width * prior.at_width(width).mean) / prior.mean == pytest.approx(share, abs=0.006)


def test_total_mean():
    prior = priors.GBFRY(0.8, 5.0, 3.0)
    law, plain = prior.at_width(70, total_mean=2.5), prior.at_width(70)
    assert float(70 * law.mean) == pytest.approx(2.5, rel=1e-5)
    shift = math.log(2.5 / (70 * plain.mean))
    u = jnp.array([-20.0, -1.0, 3.0])
    np.testing.assert_allclose(
        log_density_of_log(law, u + shift), log_density_of_log(plain, u), rtol=2e-5
    )
    same = priors.Deterministic().at_width(70, total_mean=2.5)
    assert float(70 * same.mean) == pytest.approx(2.5, rel=1e-6)


def test_horseshoe_against_scipy(key):
    law, root = priors.Horseshoe().at_width(100), stats.halfcauchy(scale=math.pi / 200)
    x = np.array([1e-12, 1e-4, 0.3, 40.0])
    rtol = 1e-12 if X64 else 1e-5
    np.testing.assert_allclose(law.cdf(x), root.cdf(np.sqrt(x)), rtol=rtol)
    np.testing.assert_allclose(law.icdf(law.cdf(x[:3])), x[:3], rtol=1e-9 if X64 else 1e-3)
    assert float(law.cdf(-1.0)) == 0


# --- limits ---------------------------------------------------------------------------------


def test_limits():
    assert priors.Deterministic().limit == priors.Limit(1.0, levy.NoJumps())
    assert priors.Horseshoe().limit == priors.Limit(0.0, levy.Stable(0.5))
    assert priors.GBFRY(0.3, 4.0, 2.0).limit == priors.Limit(0.0, levy.GBFRY(0.3, 4.0, 2.0))
    assert priors.Limit._fields == ("location", "levy")


@needs_x64
@pytest.mark.parametrize("x", [0.05, 1.0, 20.0])
@pytest.mark.parametrize(
    "prior", [priors.Horseshoe(), priors.GBFRY(0.5, 2.0), priors.GBFRY(0.7, 4.0)]
)
def test_expected_number_of_large_nodes_tends_to_the_tail(prior, x):
    nodes, weights = np.polynomial.legendre.leggauss(300)
    u = math.log(x) + 40 * (1 + jnp.asarray(nodes))
    tail, errors = x**-0.5, []
    if isinstance(prior, priors.GBFRY):
        tail = float(gbfry_tail(prior.alpha, prior.tau, prior.mean, x))
    for width in (10, 100, 1000, 10_000, 100_000):
        above = 40 * weights @ np.exp(log_density_of_log(prior.at_width(width), u))
        errors.append(abs(width * above / tail - 1))
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 0.05


# --- as NumPyro distributions ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["Horseshoe", "GBFRY"])
def test_pytree_shapes_and_keys(name, key):
    law = law_of(name)
    assert isinstance(law, dist.Distribution)
    assert law.batch_shape == law.event_shape == ()
    leaves, tree = jax.tree.flatten(law)
    again = jax.tree.unflatten(tree, leaves)
    assert type(again) is type(law)
    eager = float(again.log_prob(0.3))
    np.testing.assert_allclose(log_prob(law, jnp.asarray(X))[6], eager, rtol=1e-6)

    draws = sample_log(law, key)
    assert draws.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(draws, sample_log(again, key))
    assert not np.isin(draws[:100], sample_log(law, jax.random.key(1))[:100]).any()

    def shape(function, *args):
        return jax.eval_shape(lambda: function(*args)).shape

    wide = law.expand((4, 2))
    assert shape(law.sample, key) == shape(law.log_prob, 1.0) == ()
    assert shape(law.sample, key, (3, 2)) == (3, 2)
    assert shape(wide.sample, key, (5,)) == (5, 4, 2)
    assert shape(wide.to_event(1).log_prob, jnp.ones((5, 4, 2))) == (5, 4)
    np.testing.assert_allclose(log_prob(wide, jnp.full((4, 2), 0.3)), eager, rtol=1e-6)


def test_batches_of_parameters(key):
    alphas, x = jnp.array([0.2, 0.5, 0.7], jnp.float32), jnp.float32(0.3)
    exact = [finite_gbfry_log_density(a, 2, 2 - a, 10, 0.3) for a in (0.2, 0.5, 0.7)]  # scale 1
    exact = np.array(exact, float)
    mapped = jax.jit(jax.vmap(lambda a, x: FiniteGBFRY(a, 2.0, 1.0, 10).log_prob(x), (0, None)))
    np.testing.assert_allclose(mapped(alphas, x), exact, atol=5e-6)
    law, cauchy = FiniteGBFRY(alphas, 2.0, jnp.float32(1.0), 10), SquaredHalfCauchy(alphas)
    np.testing.assert_allclose(log_prob(law, jnp.full((2, 1), x)), [exact, exact], atol=5e-6)
    np.testing.assert_allclose(cauchy.cdf(alphas**2), 0.5, rtol=1e-6)
    np.testing.assert_allclose(cauchy.icdf(jnp.full((2, 1), 0.5))[1], alphas**2, rtol=1e-6)
    for batch in (law, cauchy):
        assert batch.batch_shape == batch.mean.shape == batch.variance.shape == (3,)
        draws = jax.eval_shape(lambda batch=batch: batch.sample(key, (4,)))
        assert (draws.shape, draws.dtype) == ((4, 3), jnp.float32)
    table = FiniteGBFRY(alphas[:, None], jnp.array([2.0, 3.0]), 1.0, 10)
    assert table.batch_shape == table.mean.shape == (3, 2)
    assert jax.eval_shape(table.log_prob, jnp.ones(2)).shape == (3, 2)


def test_sampler_is_differentiable_where_it_says_so(key):
    draw = jax.jit(jax.value_and_grad(lambda t: FiniteGBFRY(0.5, t, 3.0, 10).sample_log(key)))
    difference = (draw(2.01)[0] - draw(1.99)[0]) / 0.02
    np.testing.assert_allclose(draw(2.0)[1], difference, rtol=1e-3, atol=1e-3)
    by_scale = jax.grad(lambda s: SquaredHalfCauchy(s).sample_log(key))(3.0)
    assert float(by_scale) == pytest.approx(2 / 3, rel=1e-5)


def test_potential_energy_is_that_of_log_lambda():
    """NumPyro samples a positive site in its logarithm: the Jacobian is in the target."""
    law = law_of("GBFRY")
    u = jnp.array([-40.0, -3.0, 0.5])

    def model():
        numpyro.sample("variance", law.expand((3,)).to_event(1))

    energy = potential_energy(model, (), {}, {"variance": u})
    expected = -log_density_of_log(law, u).sum()
    np.testing.assert_allclose(energy, expected, rtol=1e-5)


@pytest.mark.slow
def test_nuts_recovers_alpha(key):
    """In float32. Four posterior standard deviations: false alarm 1e-4, were they normal."""
    with jax.enable_x64(False):
        variances = jnp.exp(sample_log(priors.GBFRY(0.6, 3.0).at_width(30), key)[:30])

        def model():
            alpha = numpyro.sample("alpha", dist.Uniform(0, 1))
            law = priors.GBFRY(alpha, 3.0).at_width(30)
            numpyro.sample("variances", law.expand((30,)), obs=variances)
            numpyro.sample("new", law)

        start = init_to_value(values={"alpha": 0.5, "new": 0.01})
        kernel = NUTS(model, max_tree_depth=3, init_strategy=start)
        mcmc = MCMC(kernel, num_warmup=50, num_samples=60, progress_bar=False)
        mcmc.run(key)
        draws = mcmc.get_samples()
    assert np.isfinite(np.log(draws["new"])).all()
    assert abs(draws["alpha"].mean() - 0.6) < 4 * draws["alpha"].std()
    assert draws["alpha"].std() < 0.2  # Uniform(0, 1) has 0.29


# --- the adapters ---------------------------------------------------------------------------


def test_deterministic(key):
    law = priors.Deterministic().at_width(50)
    assert float(law.mean) == pytest.approx(0.02)
    np.testing.assert_array_equal(law.sample(key, (3,)), jnp.full(3, 0.02))
    assert float(law.log_prob(0.02)) == 0
    assert float(law.log_prob(0.03)) == -math.inf


def test_repr():
    assert repr(priors.GBFRY(alpha=0.5, tau=2.0)) == "GBFRY(alpha=0.5, tau=2.0)"
    assert repr(priors.GBFRY(0.5, 2.0, 3.0)) == "GBFRY(alpha=0.5, tau=2.0, mean=3.0)"
    assert repr(priors.Horseshoe()) == "Horseshoe()"


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("gbfry(alpha=0.5, tau=2)", priors.GBFRY(0.5, 2.0)),
        (" GBFRY(tau=2, alpha=.5, mean=3)", priors.GBFRY(0.5, 2.0, 3.0)),
        ("horseshoe", priors.Horseshoe()),
        ("Horseshoe()\n", priors.Horseshoe()),
        ("iid", priors.Deterministic()),
        ("deterministic", priors.Deterministic()),
    ],
)
def test_parse(text, prior):
    assert priors.parse(text) == prior
    assert priors.parse(repr(prior)) == prior


FORM = "prior must be written as name or name(parameter=number, ...), got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, FORM + repr(text)) for text in ("", "gbfry(.5, 2)", "gbfry(alpha=x, tau=2)", "(")),
        *((text, FORM + repr(text)) for text in ("a.b()", "gbfry(**{'alpha': .5})", "1 + 1")),
        *((text, FORM + repr(text)) for text in ("gbfry(alpha=.5, alpha=.6, tau=2)",)),
        (
            "normal",
            "prior must be one of ['deterministic', 'gbfry', 'horseshoe', 'iid'], got 'normal'",
        ),
        ("gbfry(alpha=2, tau=2)", "alpha must be in (0, 1), got 2.0"),
        ("gbfry(alpha=.5, tau=1)", "tau must be above 1, got 1.0"),
        (
            "gbfry(alpha=.5)",
            "prior 'gbfry(alpha=.5)': GBFRY missing 1 required positional argument: 'tau'",
        ),
        (
            "horseshoe(alpha=1)",
            "prior 'horseshoe(alpha=1)': Horseshoe got an unexpected keyword argument 'alpha'",
        ),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        priors.parse(text)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        *(
            (lambda a=a: priors.GBFRY(a, 2.0), "alpha must be in (0, 1), got")
            for a in (0.0, 1, -0.1)
        ),
        *((lambda t=t: priors.GBFRY(0.5, t), "tau must be above 1, got") for t in (1.0, 0.5, 0.4)),
        *((lambda m=m: priors.GBFRY(0.5, 2, m), "mean must be above 0, got") for m in (0, -1.0)),
        *(
            (lambda p=p, w=w: p.at_width(w), f"width must be an integer of at least 1, got {w!r}")
            for p in (priors.GBFRY(0.5, 2.0), priors.Horseshoe(), priors.Deterministic())
            for w in (0, -1, 2.5, True, "3")
        ),
        *(
            (lambda p=p: p.at_width(3, total_mean=0.0), "total_mean must be above 0, got 0.0")
            for p in (priors.GBFRY(0.5, 2.0), priors.Deterministic())
        ),
        (
            lambda: priors.Horseshoe().at_width(3, total_mean=1.0),
            "total_mean cannot be set for Horseshoe(): its mean is infinite",
        ),
        (
            lambda: FiniteGBFRY(1.5, 2.0, 1.0, 10, validate_args=True),
            "FiniteGBFRY distribution got invalid alpha parameter",
        ),
        (
            lambda: SquaredHalfCauchy(-1.0, validate_args=True),
            "SquaredHalfCauchy distribution got invalid scale parameter",
        ),
        *(
            (
                lambda bad=bad: priors.check_priors(bad),
                "priors must be a list with one Prior a hidden",
            )
            for bad in (priors.Horseshoe(), [], ["horseshoe"])
        ),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build()


def test_check_priors():
    layers = [priors.Horseshoe(), priors.GBFRY(0.5, 2.0)]
    assert priors.check_priors(layers) == tuple(layers)


def test_finite_gbfry_needs_tau_above_alpha():
    with pytest.raises(ValueError, match="tau must be above alpha, got tau"):
        FiniteGBFRY(0.5, 0.4, 1.0, 10)
    assert jnp.isnan(jax.jit(lambda tau: FiniteGBFRY(0.5, tau, 1.0, 10).log_prob(1.0))(0.4))
