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
            lambda: levy.FromDensity(lambda x: jnp.where(x < 0.3, 1.0, 5.0) * jnp.exp(-x) / x),
            "density changes too fast",
            marks=needs_x64,  # single precision does not resolve the step
        ),
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
