"""Measures by their density: from a density, compound Poisson and thinned, against the oracles."""

import math
import re

import jax
import jax.numpy as jnp
import levy_cases as cases
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from oracles import levy as oracles
from oracles import needs_x64
from scipy import stats
from scipy.integrate import quad

from mogp import levy

GAMMA, GAMMA_ = cases.GAMMA
DENSITIES = {
    "gamma": (lambda x: 2 / x * jnp.exp(-3 * x), oracles.Gamma(2, 3)),
    "stable": (lambda x: 0.25 * x**-1.25, oracles.Stable(0.25)),
    "beta": (lambda x: 0.5 / x / jnp.sqrt(1 - x), oracles.Beta(1, 0.5)),
    "generalised gamma above 1/4": (
        lambda x: x**-1.75 * jnp.exp(-2 * x),
        oracles.Above(oracles.GeneralizedGamma(0.75, 2, mp.gamma(0.25)), 0.25),
    ),
}
ORDERS, U = np.array([1.0, 2.5]), np.array([1e-3, 0.1, 1, 10, 1000.0])
T = np.array([1e-6, 0.1, 1.0, 10.0, 1e3])


@jax.jit
def table_values(measure, x):
    """All in one compiled function; infinity is the last of `x`, for the complete moments."""
    return {
        "density": measure.density(x),
        "tail": measure.tail(x),
        "moment": measure.moment(ORDERS[:, None], x[None]),
        "laplace": measure.laplace_exponent(T),
        "inverse": measure.log_inverse_tail(U),
    }


@needs_x64
@pytest.mark.parametrize("name", DENSITIES)
def test_from_density(name):
    density, oracle = DENSITIES[name]
    low, high = getattr(oracle, "support", (0.0, float(1 / oracle.cut) if oracle.cut else math.inf))
    measure = levy.FromDensity(density, (low, high))
    assert measure.support == (low, high)
    alpha = getattr(oracle, "alpha", 0)
    assert float(measure.index_at_zero) == pytest.approx(float(alpha), abs=1e-6)
    heavy = float(alpha) if name == "stable" else math.inf
    assert float(measure.index_at_infinity) == pytest.approx(heavy, abs=1e-6)
    mass = getattr(oracle, "mass", math.inf) if low else math.inf
    assert float(measure.total_mass) == pytest.approx(mass, rel=1e-7)

    grid = [1e-30, 1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.26, 0.3, 0.5, 0.75, 0.99, 2, 10, 50, 1e4]
    x = np.array([value for value in grid if low < value < high])
    found = table_values(measure, jnp.append(jnp.asarray(x), jnp.inf))
    cases.assert_accurate(found["density"][:-1], map(oracle.density, x), 1e-12)
    cases.assert_accurate(found["tail"][:-1], map(oracle.tail, x), 1e-7)
    for k, values in zip(ORDERS, found["moment"], strict=True):
        cases.assert_accurate(values[:-1], (oracle.moment(k, z) for z in x), 1e-7)
        if heavy == math.inf:
            cases.assert_accurate(values[-1:], [oracle.moment(k)], 1e-7)
    some = [1, 3] if low else range(len(T))  # the oracle of `Above` takes seconds
    cases.assert_accurate(
        found["laplace"][jnp.array(some)], (oracle.laplace(T[i]) for i in some), 1e-7
    )
    if name == "stable":  # far below all floats
        assert float(measure.log_tail_of_log(-16000.0)) == pytest.approx(4000, rel=1e-9)
    inside = mass > U
    if low:
        back = [oracle.tail(math.exp(v)) for v in found["inverse"][inside]]
        cases.assert_accurate(U[inside], back, 1e-7)
    else:
        expected = [float(oracle.inverse_tail(value)) for value in U]
        np.testing.assert_allclose(found["inverse"], expected, rtol=1e-7, atol=1e-7)


@needs_x64
def test_gradient_through_the_parameters_of_a_density():
    """Forward and backward, against the derivatives of the gamma measure by hand."""

    def functions(rate):
        measure = levy.FromDensity(lambda x: 2 / x * jnp.exp(-rate * x))
        return jnp.stack([measure.tail(0.3), measure.inverse_tail(5.0), measure.moment(1.0)])

    found, slope = jax.jit(lambda r: jax.jvp(functions, (r,), (1.0,)))(3.0)
    x = math.exp(GAMMA_.inverse_tail(5))
    np.testing.assert_allclose(found, [float(GAMMA_.tail(0.3)), x, 2 / 3], rtol=1e-7)
    exact = [-2 / 3 * math.exp(-0.9), -x / 3, -2 / 9]
    np.testing.assert_allclose(slope, exact, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.jacrev(functions))(3.0), exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: levy.FromDensity(lambda x: 1 / x, (2.0, 1.0)),
            "support must be two numbers with 0 ≤ low < high, got (2.0, 1.0)",
        ),
        (lambda: levy.FromDensity(lambda x: 1 / x, (-1.0, 1.0)), "support must be two numbers"),
        (lambda: levy.FromDensity(lambda x: 1 / x, 3.0), "support must be two numbers"),
        pytest.param(
            lambda: levy.FromDensity(lambda x: (1.1 + jnp.sin(4e3 * x)) * jnp.exp(-x) / x),
            "density changes too fast near",
            marks=needs_x64,  # single precision does not see so many waves
        ),
        (
            lambda: levy.FromDensity(lambda x: jnp.where(x < 3.5, 1 / x, 0)),
            "density must be positive inside the support, but falls to 0 at 3.5: give the support "
            "as (0.0, 3.5)",
        ),
        (
            lambda: levy.FromDensity(lambda x: jnp.where(x > 0.5, x**-3, 0)),
            "density must be positive inside the support, but falls to 0 at 0.5: give the support "
            "as (0.5, inf)",
        ),
        *(
            (lambda f=f: levy.FromDensity(f), "density varies slowly at " + end)
            for f, end in (
                (lambda x: 1 / ((1 + x) * jnp.log(math.e + x) ** 2), "infinity"),
                (lambda x: 1 / ((1 + x) * jnp.log(math.e + x) ** 3), "infinity"),
                (lambda x: jnp.exp(-x) / (x * jnp.log(3 + 1 / x) ** 2), "0"),
            )
        ),
        *(
            (lambda f=f: levy.FromDensity(f), f"density must be a power law at {end} up to slow")
            for f, end in (
                (lambda x: x**-1.5 * (1 + 0.5 * jnp.sin(jnp.log(x))) * jnp.exp(-x), "0"),
                (lambda x: x**-1.25 * (2 + jnp.cos(4 * jnp.log(x))) / (1 + x) ** 2, "0"),
                (lambda x: jnp.exp(-1 / x) * x**-2.5 * (2 + jnp.cos(jnp.log(x))), "infinity"),
            )
        ),
        (lambda: levy.FromDensity(3), "density must be a function of a size, got 3"),
        (lambda: levy.FromDensity(lambda x: 1j / x), "density must give one real number"),
        (lambda: levy.FromDensity(lambda x: x * jnp.ones(2)), "density must give one real number"),
        (lambda: levy.FromDensity(repr), "density must give one real number"),
        (lambda: levy.Thinned(3.0, 1.0), "measure must be a Lévy measure, got 3.0"),
        (
            lambda: levy.FromDensity(lambda x: 0 * x),
            "density must be positive and finite somewhere",
        ),
        (lambda: levy.FromDensity(lambda x: x**-2.5), "density must be integrable times x at 0"),
        (lambda: levy.FromDensity(lambda x: x**-0.5), "density must be integrable at the upper"),
        (lambda: levy.CompoundPoisson(1.0, "gamma"), "jump must be a NumPyro law"),
        (
            lambda: levy.CompoundPoisson(1.0, dist.Normal(0, 1)),
            "jump must be Delta or a continuous law",
        ),
        (
            lambda: levy.CompoundPoisson(1.0, dist.Poisson(2.0)),
            "jump must be Delta or a continuous law",
        ),
        (
            lambda: levy.CompoundPoisson(1.0, dist.Gamma(jnp.ones(2), 1.0)),
            "jump must be a NumPyro law of one positive number, of batch shape ()",
        ),
        (lambda: levy.CompoundPoisson(1.0, dist.Delta(0.0)), "jump must be above 0, got 0.0"),
    ],
)
def test_bad_densities_and_laws(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build()


# --- narrow peaks, steps, slow variation ----------------------------------------------------


def tail_and_moments(measure, x):
    return measure.tail(x), measure.moment(np.array([1.0, 2.0])), measure.total_mass


def gaussian_bumps(*bumps):
    """In `log x`: centres, widths and masses."""

    def density(x):
        v = jnp.log(x)
        return sum(m / s / x * jnp.exp(-(((v - c) / s) ** 2) / 2) for c, s, m in bumps)

    return density


BUMPS = [
    [(-3, 0.05, 1.0), (3, 0.05, 1.0)],
    [(1.3, 1e-3, 2.0)],
    [(-20, 0.01, 1.0), (0.2, 0.003, 1e-3), (5, 1.0, 1e-6)],
    [(0.1234, 2e-3, 1.0), (0.15, 2e-3, 1.0)],
]


@needs_x64
@pytest.mark.parametrize("bumps", BUMPS)
def test_narrow_bumps(bumps):
    measure = levy.FromDensity(gaussian_bumps(*bumps))
    scale = math.sqrt(2 * math.pi)
    x = np.exp([c + z * s for c, s, _ in bumps for z in (-8, -1, 0, 2)])
    tail, moments, mass = jax.jit(tail_and_moments)(measure, x)
    v = np.log(x)
    exact = scale * sum(m * stats.norm.sf(v, c, s) for c, s, m in bumps)
    np.testing.assert_allclose(tail, exact, rtol=1e-7)
    np.testing.assert_allclose(mass, scale * sum(m for *_, m in bumps), rtol=1e-9)
    for k, moment in zip((1, 2), moments, strict=True):
        exact = sum(m * math.exp(k * c + (k * s) ** 2 / 2) for c, s, m in bumps)
        np.testing.assert_allclose(moment, scale * exact, rtol=1e-9)


NARROW = {
    "log-normal .01": (dist.LogNormal(0.0, 0.01), stats.lognorm(0.01)),
    "log-normal .003": (
        dist.LogNormal(1.2345, 0.003),
        stats.lognorm(0.003, scale=math.exp(1.2345)),
    ),
    "log-normal 1e-4": (dist.LogNormal(0.0123, 1e-4), stats.lognorm(1e-4, scale=math.exp(0.0123))),
    "gamma": (dist.Gamma(1e4, 1e4), stats.gamma(1e4, scale=1e-4)),
    "narrow gamma": (dist.Gamma(1e6, 1e3), stats.gamma(1e6, scale=1e-3)),
    "beta": (dist.Beta(3e5, 1e5), stats.beta(3e5, 1e5)),
    "uniform": (dist.Uniform(1.0, 1.0001), stats.uniform(1.0, 1e-4)),
}


@needs_x64
@pytest.mark.parametrize("name", NARROW)
def test_narrow_laws(name):
    jump, law = NARROW[name]
    x = np.append(law.ppf([1e-4, 0.1, 0.5, 0.9]), law.mean() / 2)
    tail, moments, mass = jax.jit(tail_and_moments)(levy.CompoundPoisson(2.0, jump), x)
    np.testing.assert_allclose(tail, 2 * law.sf(x), rtol=1e-6)
    np.testing.assert_allclose(moments, [2 * law.moment(1), 2 * law.moment(2)], rtol=1e-9)
    assert float(mass) == 2


@needs_x64
@pytest.mark.parametrize("place", [1.1, 0.3, 1e-5, 7.0])
def test_a_step_is_found(place):
    """A density that halves at once, and a kink, against the incomplete gamma function."""

    def plain(x):
        return x**-1.25 * jnp.exp(-x)

    step = levy.FromDensity(lambda x: jnp.where(x < place, 1.0, 0.5) * plain(x))
    kink = levy.FromDensity(lambda x: jnp.minimum(x / place, 1.0) * plain(x))
    gamma = levy.GeneralizedGamma(0.25, 1.0, math.gamma(0.75))
    x = np.array([0.01, 0.5, 0.999, 1.001, 3.0]) * place
    whole = gamma.tail(jnp.append(x, place))
    lower = np.maximum(whole[:-1] - whole[-1], 0)
    upper = np.minimum(whole[:-1], whole[-1])
    np.testing.assert_allclose(step.tail(x), lower + upper / 2, rtol=1e-7)
    first = np.maximum(gamma.moment(1.0, place) - gamma.moment(1.0, x), 0) / place
    np.testing.assert_allclose(kink.tail(x), first + upper, rtol=1e-7)


@needs_x64
def test_slow_variation_that_does_not_matter_is_left_out_of_the_index():
    measure = levy.FromDensity(lambda x: x**-1.5 * jnp.log1p(1 / x) ** 2 * jnp.exp(-x))
    assert float(measure.index_at_zero) == pytest.approx(0.5, abs=1e-6)
    exact = quad(
        lambda v: math.exp(-v / 2 - math.exp(v)) * math.log1p(math.exp(-v)) ** 2,
        *(math.log(1e-4), 6.0),
        epsrel=1e-11,
        limit=200,
    )[0]
    np.testing.assert_allclose(measure.tail(1e-4), exact, rtol=1e-8)
    heavy = levy.FromDensity(lambda x: jnp.log(2 + x) / (x * (1 + x)))
    assert float(heavy.index_at_infinity) == pytest.approx(1, abs=1e-6)
    assert float(heavy.index_at_zero) == pytest.approx(0, abs=1e-6)


def test_moments_of_negative_order():
    """Infinite from minus the power of the density at 0 on."""
    measure = levy.CompoundPoisson(2.0, dist.Exponential(1.0))
    k = jnp.array([-0.5, -1.0, -1.5, -2.0])
    expected = [2 * math.sqrt(math.pi), math.inf, math.inf, math.inf]
    assert_close(measure.moment(k), expected, rtol=1e-7)
    assert_close(measure.moment(k, 1.0)[1:], expected[1:], rtol=0)
    away = levy.CompoundPoisson(1.0, dist.Uniform(1.0, 2.0))
    assert_close(away.moment(-1.0), math.log(2), rtol=1e-7)


@needs_x64
def test_a_traced_density_without_a_table_is_nan():
    """Where it cannot be refused; a narrow law is found as well."""

    @jax.jit
    def tails(power, width):
        broken = levy.FromDensity(lambda x: x**-power)
        return broken.tail(1.0), levy.CompoundPoisson(1.0, dist.LogNormal(0.0, width)).tail(1.0)

    broken, narrow = tails(2.5, 1e-3)
    assert np.isnan(broken)
    assert float(narrow) == pytest.approx(0.5, rel=1e-6)


LAWS = {
    "log-normal": (dist.LogNormal(0.5, 0.75), stats.lognorm(0.75, scale=math.exp(0.5))),
    "uniform": (dist.Uniform(1.0, 2.0), stats.uniform(1, 1)),
}


@needs_x64
@pytest.mark.parametrize("name", LAWS)
def test_compound_poisson(name):
    jump, law = LAWS[name]
    measure = levy.CompoundPoisson(3.0, jump)
    low, high = law.support()
    assert measure.support == (low, high)
    assert measure.jump is jump
    assert f"CompoundPoisson(rate=3.0, jump={type(jump).__name__}(" in repr(measure)
    assert float(measure.total_mass) == 3
    assert (float(measure.index_at_zero), float(measure.index_at_infinity)) == (0, math.inf)
    x = np.array([0.05, 0.5, 1.0, 1.01, 1.5, 1.999, 2.0, 5.0, 0.0, math.inf])
    u, t = np.array([1e-6, 0.1, 1.0, 2.9, 3.0, 4.0]), np.array([0.1, 2.0, 30.0])

    @jax.jit
    def compute(measure):
        moments = measure.moment(np.array([[1.0], [2.0]]), x[None])
        functions = measure.density(x), measure.tail(x), measure.inverse_tail(u)
        return *functions, moments, measure.laplace_exponent(t)

    density, tail, inverse, moments, laplace = compute(measure)
    np.testing.assert_allclose(density[3:6], 3 * law.pdf(x[3:6]), rtol=1e-10)
    np.testing.assert_allclose(tail[:8], 3 * law.sf(x[:8]), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(tail[8], 3, rtol=1e-7)
    np.testing.assert_allclose(moments[:, -1], [3 * law.moment(k) for k in (1, 2)], rtol=1e-7)
    part = 3 * quad(lambda z: z * law.pdf(z), max(low, 0), 1.5, epsabs=1e-12, epsrel=1e-10)[0]
    np.testing.assert_allclose(moments[0, 4], part, rtol=1e-7)
    np.testing.assert_allclose(inverse[:4], law.isf(u[:4] / 3), rtol=1e-7)
    np.testing.assert_array_equal(inverse[4:], 0)
    psi = [3 * (1 - law.expect(lambda z, s=s: np.exp(-s * z), epsabs=1e-12)) for s in t]
    np.testing.assert_allclose(laplace, psi, rtol=1e-7)


def test_point_mass():
    measure = levy.CompoundPoisson(3.0, dist.Delta(2.0))
    assert repr(measure) == "CompoundPoisson(rate=3.0, jump=Delta(v=2.0, log_density=0.0))"
    x = np.array([0.5, 1.999, 2.0, 3.0])
    np.testing.assert_array_equal(measure.tail(x) > 0, [True, True, False, False])
    assert_close(measure.tail(x), [3, 3, 0, 0], rtol=1e-15)
    np.testing.assert_array_equal(measure.density(x), 0)
    assert_close(measure.moment(2.0, x), [0, 0, 12, 12], rtol=1e-12)
    assert_close(measure.moment(1.0), 6, rtol=1e-12)
    assert_close(measure.inverse_tail(np.array([0.1, 2.9])), [2, 2], rtol=1e-12)
    np.testing.assert_array_equal(measure.inverse_tail(np.array([3.0, 5.0])), 0)
    assert np.isnan(measure.inverse_tail(-1.0))
    assert_close(measure.laplace_exponent(0.25), 3 * (1 - math.exp(-0.5)), rtol=1e-12)
    assert float(measure.total_mass) == 3
    assert measure.support == (0.0, 2.0)


def test_sum_with_a_point_mass():
    """The tail of the sum falls by 3 at 2: jumps of ranks between have the size 2."""
    measure = levy.CompoundPoisson(3.0, dist.Delta(2.0)) + levy.Stable(0.5)
    x = np.array([0.25, 1.0, 3.9999, 4.0])
    assert_close(measure.tail(x), [5, 4, 0.5 + 6.25e-6, 0.5], rtol=1e-4)
    u = np.array([5.0, 2**-0.5 + 1.5, 0.5])
    assert_close(measure.inverse_tail(u), [0.25, 2.0, 4.0], rtol=1e-9)
    assert_close(measure.moment(1.0, x), [0.5, 1, 6 + 1.999975, 8], rtol=1e-4)


@needs_x64
def test_thinned():
    """`η ∫ z^k (e^(-b z) - e^(-(b+t) z)) dz / z` for a gamma measure."""
    measure, (low, high) = levy.Thinned(GAMMA, 1.5), (oracles.Gamma(2, b) for b in (3, 4.5))
    assert float(measure.total_mass) == pytest.approx(2 * math.log1p(0.5), rel=1e-12)
    x, u = np.array([1e-12, 1e-3, 0.1, 0.3, 0.75, 2.0]), np.array([0.01, 0.5, 0.8, 1.0])

    @jax.jit
    def compute(measure):
        inverse = measure.inverse_tail(u)
        functions = measure.density(x), measure.tail(x), measure.moment(1.0, x)
        return *functions, inverse, measure.tail(inverse[:3])

    density, tail, moment, inverse, back = compute(measure)
    cases.assert_accurate(tail, [low.tail(z) - high.tail(z) for z in x], 1e-7)
    cases.assert_accurate(density, [low.density(z) - high.density(z) for z in x], 1e-10)
    cases.assert_accurate(moment, [low.moment(1, z) - high.moment(1, z) for z in x], 1e-7)
    cases.assert_accurate(back, u[:3], 1e-9)
    assert inverse[3] == 0
