"""The Gibbs sampler: its moves, what it draws from, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from oracles import needs_x64
from scipy import stats

from mogp import MoGP, inference, priors
from mogp.inference._patience import PerChain
from mogp.inference.chains._evidence import Seen, Shares
from mogp.inference.chains._gibbs_program import Gibbs
from mogp.inference.chains._nodes import Dense, LowRank, gain
from mogp.inference.chains._setup import setup_of
from mogp.inference.chains._slices import NUM_UNIFORMS, elliptical, slice_along

SCALES = [dist.LogNormal(0.0, 0.5)] * 2
X = np.random.default_rng(0).normal(size=(6, 2)).astype(jnp.result_type(float))
Y = np.random.default_rng(1).normal(size=(6, 2)).astype(jnp.result_type(float))


def model(prior=None, **change):
    fields = {
        "activation": "relu",
        "weight_scale": SCALES,
        "bias_scale": SCALES,
        "input_prior": priors.Horseshoe(),
    }
    return MoGP([prior or priors.GBFRY(alpha=0.5, tau=3.0)], **(fields | change))


CASES = {
    "limit, dense": (model(), {}),
    "limit, low rank": (model(), {"method": "low_rank"}),
    "network": (model(), {"width": 5}),
    "a user's exponent": (model(priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=3.0)), {}),
    "numbers without biases": (model(weight_scale=1.3, bias_scale=0.0), {}),
    "one scale of all layers": (
        model(weight_scale=dist.LogNormal(0.0, 0.5), bias_scale=0.5, input_groups=[0, 0]), {},
    ),
    "no input variances": (model(input_prior=None), {"method": "low_rank"}),
    "no jumps": (model(priors.Deterministic(), activation="erf"), {}),
    "no jumps, low rank": (model(priors.Deterministic()), {"method": "low_rank"}),
    "equal nodes": (model(priors.Deterministic()), {"width": 4}),
    "one jump": (model(priors.Horseshoe()), {"num_jumps": 1}),
}  # fmt: skip


def program(case, num_warmup=20):
    given, change = CASES[case]
    sizes = {"width": None, "num_jumps": 4, "num_diffuse": 2, "method": None} | change
    law = inference.Gaussian(dist.HalfNormal(0.5))
    setup = setup_of(given, X, law, 2, *sizes.values(), is_polar=False)
    return Gibbs(setup, num_warmup)


# --- slices -----------------------------------------------------------------------------------


def chain(step, at, num=20_000):
    def body(at, key):
        at = step(key, at)
        return at, at

    keys = jax.random.split(jax.random.key(0), num)
    return np.asarray(jax.jit(lambda: jax.lax.scan(body, at, keys)[1])())


@pytest.mark.parametrize("width", [0.1, 1.0, 30.0])
def test_slices_on_a_line_leave_a_gumbel_as_it_is(width):
    """Neal (2003): the law stays as it is for a width of any size."""
    law = lambda t: -t - jnp.exp(-t)  # noqa: E731

    def step(key, at):
        on_line = lambda t: (law(at + t), None)  # noqa: E731
        uniforms = jax.random.uniform(key, (NUM_UNIFORMS,))
        return at + slice_along(uniforms, on_line, on_line(0.0), jnp.asarray(width))[0]

    start, keys = jax.random.gumbel(jax.random.key(1), (3000,)), jax.random.key(2)
    moved = jax.vmap(step)(jax.random.split(keys, 3000), start)
    assert stats.kstest(np.asarray(moved), "gumbel_r").pvalue > 1e-3
    assert np.mean(np.asarray(moved) != np.asarray(start)) > 0.99


def test_ellipses_draw_from_prior_times_likelihood():
    """`N(0, 1)` seen through `N(w; 2, ½)`: the posterior is `N(4/3, 1/3)`."""
    log_likelihood = lambda w: -jnp.sum((w - 2.0) ** 2)  # noqa: E731

    def step(key, at):
        by_move, by_other = jax.random.split(key)
        uniforms, other = (
            jax.random.uniform(by_move, (NUM_UNIFORMS,)),
            jax.random.normal(by_other, (1,)),
        )
        return elliptical(uniforms, other, log_likelihood, at, log_likelihood(at))[0]

    drawn = chain(step, jnp.zeros(1))[100::10, 0]
    assert stats.kstest(drawn, stats.norm(4 / 3, 3**-0.5).cdf).pvalue > 1e-3


# --- moves --------------------------------------------------------------------------------------


@needs_x64
@pytest.mark.parametrize("kind", ["dense", "low rank"])
def test_the_gain_of_a_node_is_the_difference_of_two_densities(kind):
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(6, 4)), 0.3
    variances, bias = np.array([0.5, 2.0, 1e-3]), features[:, :1]
    values = features[:, 1:]
    whole = bias @ bias.T + values * variances @ values.T + noise**2 * np.eye(6)
    if kind == "dense":
        rest = Dense.of(jnp.asarray(whole), jnp.asarray(Y))
    else:
        columns = jnp.asarray(np.hstack([bias, values * np.sqrt(variances)]))
        rest = LowRank.of(columns, jnp.asarray(noise), jnp.asarray(Y))
    left = rest.without(jnp.asarray(1), jnp.asarray(values[:, 1]), jnp.asarray(2.0))
    new = rng.normal(size=6)
    found = gain(jnp.asarray(0.7), *left.along(jnp.asarray(new)))
    without = whole - 2.0 * np.outer(values[:, 1], values[:, 1])
    with_new = without + 0.7 * np.outer(new, new)
    density = lambda c: stats.multivariate_normal(np.zeros(6), c).logpdf(Y.T).sum()  # noqa: E731
    np.testing.assert_allclose(found, density(with_new) - density(without), rtol=1e-10)
    again = left.including(jnp.asarray(1), jnp.asarray(new), jnp.asarray(0.7))
    last = again.without(jnp.asarray(2), jnp.asarray(values[:, 2]), jnp.asarray(1e-3))
    square, _ = last.along(jnp.asarray(values[:, 2]))
    inverse = np.linalg.inv(with_new - 1e-3 * np.outer(values[:, 2], values[:, 2]))
    np.testing.assert_allclose(square, values[:, 2] @ inverse @ values[:, 2], rtol=1e-8)


@needs_x64
@pytest.mark.parametrize("closed", [True, False])
def test_the_evidence_in_two_steps(closed):
    """As SciPy has it for the covariance, also of rows that are turned, with any shares."""
    rng = np.random.default_rng(0)
    points, rows, y = (jnp.asarray(rng.normal(size=s)) for s in ((9, 3), (4, 3), (9, 2)))
    seen = Seen.of(model(), points, rows, y, closed=closed)
    shares = Shares(jnp.array([0.3, 1.0, 0.2, 2.0, 0.1]), jnp.asarray(0.7), jnp.asarray(0.4))
    columns = np.hstack([np.ones((9, 1)), np.maximum(points @ rows.T, 0)]) * np.array(shares.scales)
    covariance = columns @ columns.T + 0.16 * np.eye(9)
    if closed:
        size = np.linalg.norm(points, axis=1)
        angle = np.arccos(np.clip(points @ points.T / np.outer(size, size), -1, 1))
        arc_cosine = np.sin(angle) + (np.pi - angle) * np.cos(angle)
        covariance += 0.7 * np.outer(size, size) * arc_cosine / (2 * np.pi)
    expected = stats.multivariate_normal(np.zeros(9), covariance).logpdf(y.T).sum()
    for form in (seen, seen.turned()):
        np.testing.assert_allclose(form.log_evidence(shares), expected, rtol=1e-9)
    assert len(seen.turned().y) == (9 if closed else 5)


@needs_x64
@pytest.mark.parametrize("case", ["limit, dense", "limit, low rank", "network"])
def test_nodes_gain_what_the_density_says(case):
    """What a draw adds up from single moves is the difference of the whole density."""
    made = program(case)

    def run(key):
        state = made.start_of_one(key, X, Y)

        def step(state, _):
            new = made.sample_of_one(state, X, Y)
            return new, (new.error, new.potential_energy - made.potential(X, Y)(new.z))

        return jax.lax.scan(step, state, None, length=5)[1]

    errors, differences = jax.jit(run)(jax.random.key(0))
    assert errors.shape == (5,)
    assert np.max(errors) < 1e-8
    assert np.max(np.abs(differences)) < 1e-8


@needs_x64
@pytest.mark.statistical
@pytest.mark.parametrize("case", CASES)
def test_a_draw_leaves_the_joint_law_as_it_is(case):
    """Geweke (2004): parameters from the prior, data given them, then two draws given the data."""
    made = program(case, num_warmup=0)
    num = 1000

    def one(key):
        by_prior, by_data, by_chain = jax.random.split(key, 3)
        z = made.drawn(by_prior, X, Y)
        values = made.sites_of_one(X, Y)(z)
        source, law = made.setup.draw(values)
        if made.setup.is_dense:
            covariance = source.kernel(X) + law.noise_scale**2 * jnp.eye(len(X))
            y = jnp.linalg.cholesky(covariance) @ jax.random.normal(by_data, Y.shape)
        else:
            by_weight, by_noise = jax.random.split(by_data)
            design = source.design(X)
            y = design @ jax.random.normal(by_weight, (design.shape[1], 2))
            y += law.noise_scale * jax.random.normal(by_noise, Y.shape)
        start = made.start_of_one(by_chain, X, y)
        state = start._replace(z=z, potential_energy=made.potential(X, y)(z))
        step = lambda _, state: made.sample_of_one(state, X, y)  # noqa: E731
        after = jax.lax.fori_loop(0, 2, step, state).z
        both = made._in_order(z), made._in_order(after)
        return tuple({name: a for name, a in at.items() if a.size} for at in both)

    keys = jax.random.split(jax.random.key(3), num)
    before, after = jax.jit(lambda k: jax.lax.map(one, k, batch_size=50))(keys)
    pvalues = {}
    for name in before:
        old, new = (np.asarray(a[name]).reshape(num, -1) for a in (before, after))
        for i in range(old.shape[1]):
            pvalues[f"{name}[{i}]"] = stats.ks_2samp(old[:, i], new[:, i]).pvalue
        assert np.mean(old != new) > 0.95
    assert min(pvalues.values()) > 1e-3 / len(pvalues), pvalues


# --- the function -------------------------------------------------------------------------------


def short(**change):
    arguments = {
        "key": jax.random.key(0), "num_jumps": 3, "num_diffuse": 2, "num_warmup": 10,
        "num_samples": 20, "num_chains": 2, "progress": False, "checkpoint_every": 5,
    }  # fmt: skip
    given = arguments | change
    return inference.gibbs(given.pop("model", model()), X, Y[:, 0], **given)


@pytest.fixture(scope="module")
def whole():
    return short()


def test_it_resumes_where_it_was(whole, tmp_path):
    path = tmp_path / "run.npz"
    short(num_samples=7, checkpoint=path)
    again = short(checkpoint=path)
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(value, again.parameters[name])
    np.testing.assert_array_equal(whole.statistics["energy"], again.statistics["energy"])


def test_the_posterior_has_what_others_have(whole, tmp_path):
    tree = whole.data
    assert set(tree["sample_stats"].data_vars) == {"energy", "n_steps", "rounding_error"}
    assert tree["posterior"]["node_variances0"].shape == (2, 20, 3)
    assert (np.diff(tree["posterior"]["node_variances0"].values) <= 0).all()
    assert whole.attrs["sampler"] == "Gibbs"
    whole.save(tmp_path / "posterior.nc")
    again = inference.load_posterior(tmp_path / "posterior.nc", model(), likelihood="gaussian")
    np.testing.assert_array_equal(again.predict(X).mean(), whole.predict(X).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": MoGP([priors.Horseshoe()] * 2)}, "model must have one hidden layer for gibbs"),
        ({"likelihood": "student_t"}, "likelihood must be Gaussian for gibbs"),
        ({"num_warmup": 0}, "num_warmup must be"),
        (
            {"model": MoGP([priors.SpikeAndSlab(2.0, dist.Exponential(1.0))]), "width": 4},
            "no density, which",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        short(**change)


def straight_line(noise):
    """Points on a line, of which the low-rank form loses digits."""
    x = np.linspace(-1, 1, 30)[:, None]
    return inference.gibbs(
        MoGP([priors.Horseshoe()], bias_scale=1.0),
        x,
        2 * x[:, 0] + noise * np.random.default_rng(0).normal(size=30),
        key=jax.random.key(0),
        method="low_rank",
        num_jumps=5,
        num_diffuse=3,
        num_warmup=60,
        num_samples=40,
        num_chains=2,
        progress=False,
    )


@needs_x64
def test_rounding_that_matters_is_told():
    with pytest.warns(UserWarning, match="misjudged the log density .* Draw with nuts"):
        straight_line(noise=1e-7)


@needs_x64
def test_data_without_noise_are_not_silent():
    """The density of the noise grows without bound at 0, where chains come to stand."""
    both = FloatingPointError, UserWarning
    with pytest.raises(both, match=r"do not move.* noise_scale|misjudged .* Draw with nuts"):
        straight_line(noise=0)


def test_precisions_do_not_share_what_is_compiled():
    """Settings of JAX that are not in the arguments change what is compiled."""
    step = PerChain(lambda key: jax.random.normal(key, dtype=float))
    keys = jax.random.split(jax.random.key(0), 2)
    for wide, dtype in ((True, np.float64), (False, np.float32), (True, np.float64)):
        with jax.enable_x64(wide):
            assert step(keys).dtype == dtype
