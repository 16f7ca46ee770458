"""Lévy measures: density and tail against mpmath, SciPy and the reference values."""

import functools
import inspect
import math
import re

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles import DTYPES, gbfry_density, gbfry_tail, needs_x64, partial, power_integral
from scipy.integrate import quad

from mogp import levy
from mogp.levy._power_integral import log_power_integral

MEASURES = {
    "NoJumps": levy.NoJumps(),
    "Stable": levy.Stable(0.5),
    "Stable of scale 3": levy.Stable(0.2, 3.0),
    "GBFRY": levy.GBFRY(0.5, 2.0, 1.0),
    "GBFRY, light tail": levy.GBFRY(0.2, 5.0, 1.0),
    "GBFRY, α near 1": levy.GBFRY(0.9, 1.2, 0.7),
    "GBFRY, α near 0": levy.GBFRY(0.05, 3.0, 10.0),
    "GBFRY, α near τ": levy.GBFRY(0.95, 1.02),
}
JUMPING = [name for name in MEASURES if name != "NoJumps"]
every_measure = pytest.mark.parametrize("name", MEASURES)
every_jumping = pytest.mark.parametrize("name", JUMPING)

# Measures are arguments here: their parameters are tracers, and one compilation does for a type.
log_density = jax.jit(lambda measure, x: measure.log_density(x))
tail = jax.jit(lambda measure, x: measure.tail(x))


def exact(measure, x):
    """Density and tail with 30 digits."""
    if isinstance(measure, levy.Stable):
        alpha, ratio = mp.mpf(measure.alpha), mp.mpf(x) / measure.scale
        return alpha * ratio**-alpha / x, ratio**-alpha
    parameters = measure.alpha, measure.tau, measure.mean
    return gbfry_density(*parameters, x), gbfry_tail(*parameters, x)


def logs(values):
    return np.array([float(mp.log(value)) for value in values])


def test_every_public_measure_is_in_the_table():
    public = {name: getattr(levy, name) for name in levy.__all__}
    tested = {type(measure) for measure in MEASURES.values()}
    concrete = {value for value in public.values() if not inspect.isabstract(value)}
    assert concrete == tested
    assert all(issubclass(value, levy.LevyMeasure) for value in public.values())
    with pytest.raises(TypeError, match="abstract"):
        levy.LevyMeasure()


# --- values ---------------------------------------------------------------------------------


@needs_x64
@pytest.mark.parametrize(
    ("measure", "density", "tail_", "at_5", "at_1000", "small_mass"),
    [  # 30-digit arithmetic: ρ(0.3), ρ̄(0.3), where ρ̄ is 5 and 1000, ∫ x ρ(x) dx up to 0.01
        (
            levy.GBFRY(0.5, 2.0, 1.0),
            *(2.15521223405, 0.613519431542, 0.020848746223, 8.46286891369e-7, 0.0918562638244),
        ),
        (
            levy.GBFRY(0.2, 5.0, 1.0),
            *(2.61091260097, 0.835626458171, 0.013699199, 1.18871364366e-12, 0.0258892979561),
        ),
    ],
)
def test_reference_values(measure, density, tail_, at_5, at_1000, small_mass):
    np.testing.assert_allclose(measure.density(0.3), density, rtol=1e-11)
    np.testing.assert_allclose(tail(measure, 0.3), tail_, rtol=1e-11)
    np.testing.assert_allclose(tail(measure, at_5), 5, rtol=3e-9)  # at_5 has 8 digits
    np.testing.assert_allclose(tail(measure, at_1000), 1000, rtol=1e-11)
    mass = quad(lambda u: np.exp(log_density(measure, math.exp(u)) + 2 * u), -120, math.log(0.01))
    np.testing.assert_allclose(mass[0], small_mass, rtol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@every_jumping
def test_density_and_tail_against_mpmath(name, dtype):
    measure = MEASURES[name]
    grid = [1e-30, 1e-15, 1e-6, 1e-3, 0.1, 0.3, 2.0, 40.0, 1e4]
    grid += [1e-300, 1e30] if dtype == jnp.float64 else [1e-8, 1e2]
    x = jnp.asarray(grid, dtype)
    expected = zip(*(exact(measure, float(value)) for value in x), strict=True)
    rtol = 1e-12 if dtype == jnp.float64 else 2e-6
    atol = 1e-10 if dtype == jnp.float64 else 5e-6
    got = log_density(measure, x), jnp.log(tail(measure, x))
    for values, exact_values in zip(got, expected, strict=True):
        assert values.dtype == dtype
        np.testing.assert_allclose(values, logs(exact_values), rtol=rtol, atol=atol)


@needs_x64
@every_jumping
def test_density_integrates_to_the_tail(name):
    measure = MEASURES[name]
    for low, high in ((-50, -45), (-7, -2), (-1, 3), (5, 9)):
        between = tail(measure, math.exp(low)) - tail(measure, math.exp(high))
        total, error = quad(
            lambda u: np.exp(log_density(measure, math.exp(u)) + u), low, high, epsabs=0
        )
        np.testing.assert_allclose(between, total, rtol=1e-10, atol=10 * error)


@needs_x64
@pytest.mark.parametrize("name", [name for name in JUMPING if name.startswith("GBFRY")][:4])
def test_mean_is_the_expected_sum_of_all_jumps(name):
    measure, step = MEASURES[name], 0.25
    u = jnp.arange(-400, 190, step)  # the trapezoidal rule converges exponentially here
    total = step * np.sum(np.exp(log_density(measure, jnp.exp(u)) + 2 * u))
    np.testing.assert_allclose(total, measure.mean, rtol=1e-10)


@every_jumping
def test_indices_and_total_mass(name):
    measure = MEASURES[name]
    for x, index in ((1e-26, measure.index_at_zero), (1e6, measure.index_at_infinity)):
        rise = log_density(measure, 10 * x) - log_density(measure, x)
        np.testing.assert_allclose(-rise / math.log(10) - 1, index, rtol=1e-3, atol=1e-5)
    assert measure.total_mass == math.inf
    assert float(tail(measure, 0.0)) == math.inf


def test_no_jumps():
    measure, x = MEASURES["NoJumps"], jnp.array([0, 1e-30, 1.0, jnp.inf])
    assert (measure.index_at_zero, measure.index_at_infinity) == (0, math.inf)
    assert measure.total_mass == 0
    np.testing.assert_array_equal(measure.density(x), 0)
    np.testing.assert_array_equal(measure.log_density(x), -jnp.inf)
    np.testing.assert_array_equal(measure.tail(x), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@every_jumping
def test_finite_on_a_nasty_grid(name, dtype):
    measure, info = MEASURES[name], np.finfo(dtype)
    inside = [info.tiny, 1e-30, 1e-3, 1, 1e3, 1e30, info.max]
    grid = jnp.asarray([*inside, info.smallest_subnormal, -1.0, 0.0, jnp.inf], dtype)
    densities, tails = log_density(measure, grid), tail(measure, grid)
    assert np.isfinite(densities[:7]).all()
    assert np.isfinite(tails[:7]).all()
    assert np.all(np.diff(tails[:7]) <= 0)
    # XLA may take a subnormal number for 0, but it makes no NaN of it.
    assert not np.isnan([densities[7], tails[7]]).any()
    np.testing.assert_array_equal(densities[8:], -jnp.inf)
    np.testing.assert_array_equal(tails[8:], [jnp.inf, jnp.inf, 0])


# --- derivatives and transformations --------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "point",
    [(0.5, 2.0, 1.0, 0.3), (0.2, 5.0, 2.0, 1e-12), (0.9, 1.2, 0.7, 30.0), (0.95, 1.02, 1.0, 1e-3)],
)
def test_gbfry_derivatives_in_parameters_and_x(point, dtype):
    arguments = jnp.asarray(point, dtype)
    rounded = [float(value) for value in arguments]
    rtol = 1e-8 if dtype == jnp.float64 else 1e-3
    for slopes, exact_f in ((density_slopes, gbfry_density), (tail_slopes, gbfry_tail)):
        for place, value in enumerate(slopes(*arguments)):
            step = 1e-8 * rounded[place]
            expected = partial(lambda *p, f=exact_f: mp.log(f(*p)), place, rounded, step)
            assert value.dtype == dtype
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)


density_slopes = jax.jit(
    jax.grad(lambda a, t, m, x: levy.GBFRY(a, t, m).log_density(x), (0, 1, 2, 3))
)
tail_slopes = jax.jit(
    jax.grad(lambda a, t, m, x: jnp.log(levy.GBFRY(a, t, m).tail(x)), (0, 1, 2, 3))
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def rebuilt(kind, tree, leaves, x):
    """Density and tail of measures built from traced parameters, checks included."""

    def one(leaves, x):
        measure = kind(**vars(jax.tree.unflatten(tree, leaves)))
        return jnp.stack([measure.density(x), measure.tail(x)])

    return jax.vmap(one)(leaves, x)


@every_measure
def test_transformations(name):
    """Eager with Python numbers, under jit from traced parameters, and under vmap over them."""
    measure, x = MEASURES[name], 0.37
    leaves, tree = jax.tree.flatten(measure)
    assert repr(jax.tree.unflatten(tree, leaves)) == repr(measure)
    eager = [measure.density(x), measure.tail(x)]
    with np.errstate(divide="ignore"):
        jitted = [np.exp(log_density(measure, x)), tail(measure, x)]
    np.testing.assert_allclose(jitted, eager, rtol=5e-6)

    xs = jnp.array([x, 0.2, 3.0])
    batch = rebuilt(type(measure), tree, [jnp.full(3, leaf) for leaf in leaves], xs)
    np.testing.assert_allclose(batch[0], eager, rtol=5e-6)
    np.testing.assert_allclose(batch[:, 1], [tail(measure, x) for x in xs], rtol=5e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: levy.Stable(0.0), "alpha must be in (0, 1), got 0.0"),
        (lambda: levy.Stable(1.0), "alpha must be in (0, 1), got 1.0"),
        (lambda: levy.Stable(math.nan), "alpha must be in (0, 1), got nan"),
        (lambda: levy.Stable(0.5, 0.0), "scale must be above 0, got 0.0"),
        (lambda: levy.Stable(0.5, math.inf), "scale must be above 0, got inf"),
        (lambda: levy.GBFRY(1.2, 2.0), "alpha must be in (0, 1), got 1.2"),
        (lambda: levy.GBFRY("half", 2.0), "alpha must be in (0, 1), got half"),
        (lambda: levy.GBFRY(0.5, 1.0), "tau must be above 1, got 1.0"),
        (lambda: levy.GBFRY(0.5, 0.4), "tau must be above 1, got 0.4"),
        (lambda: levy.GBFRY(0.5, 2.0, -1.0), "mean must be above 0, got -1.0"),
        (lambda: levy.GBFRY(np.array([0.5, 1.5]), 2.0), "alpha must be in (0, 1), got [0.5 1.5]"),
    ],
)
def test_bad_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


# --- the integral behind GBFRY --------------------------------------------------------------

INTEGRALS = [
    (log_z, power, log_t)
    for log_z in (-120, -30, -5, 0, 2, 20, 200)
    for power, log_t in (
        *((0.2, math.inf), (0.2, 3), (0.3, 80), (0.5, -3), (1, 20)),
        *((1.5, math.inf), (4.8, 0), (20, 80), (50, 3)),
    )
]
integral = jax.jit(log_power_integral)
integral_slopes = jax.jit(jax.vmap(jax.grad(log_power_integral, (0, 1, 2))))


def integrals(dtype):
    return (jnp.asarray(column, dtype) for column in zip(*INTEGRALS, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_integral(dtype):
    got = integral(*integrals(dtype))
    assert got.dtype == dtype
    for point, value in zip(INTEGRALS, np.asarray(got, np.float64), strict=True):
        expected = float(mp.log(power_integral(*point)))
        claim = 1e-11  # relative error of the integral
        if dtype == jnp.float32:
            claim = 8 * np.finfo(dtype).eps if point[1] >= 0.5 else 2e-3
        bound = claim + 4 * np.finfo(dtype).eps * abs(expected)
        assert abs(value - expected) <= bound, point


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_integral_derivatives(dtype):
    got = np.stack(integral_slopes(*integrals(dtype)), axis=1).astype(np.float64)
    assert np.isfinite(got).all()
    for point, values in zip(INTEGRALS, got, strict=True):
        if dtype == jnp.float32 and point[1] < 0.5:
            continue  # 2e-3 at best
        rtol = 1e-9 if dtype == jnp.float64 else 1e-4
        for place, value in enumerate(values):
            if place == 2 and point[2] == math.inf:
                assert abs(value) < 1e-30
                continue
            expected = partial(lambda *p: mp.log(power_integral(*p)), place, point)
            assert abs(value - expected) <= rtol * max(1, abs(expected)), (point, place)


def test_power_integral_broadcasts():
    log_z = jnp.linspace(-3, 3, 5)
    got = integral(log_z, 1.5, 2.0)
    loop = [integral(value, 1.5, 2.0) for value in log_z]
    np.testing.assert_allclose(got, loop, rtol=1e-6)
    np.testing.assert_allclose(got[2], log_power_integral(0.0, 1.5, 2.0), rtol=1e-6)  # eager
    wide = jax.eval_shape(log_power_integral, log_z[:, None], jnp.ones((1, 2)), 2.0)
    assert wide.shape == (5, 2)
