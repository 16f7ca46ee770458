"""Lévy measures as functions: against mpmath in 80 digits, SciPy and the reference values.

One table of measures and oracles, swept by generic properties. Parameters and arguments are
numbers that float32 holds exactly, so that one exact value serves both precisions. Shapes are the
same for all measures of a family: methods compile once for each.
"""

import functools
import inspect
import itertools
import math
import re

import jax
import jax.numpy as jnp
import levy_oracles
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from oracles import DTYPES, gbfry_density, gbfry_tail, needs_x64, partial
from scipy import stats
from scipy.integrate import quad

from mogp import levy

SIMULATES = True  # see conftest.py


def case(kind, *parameters):
    parameters = [float(np.float32(value)) for value in parameters]
    return kind(*parameters), getattr(levy_oracles, kind.__name__)(*parameters)


PARAMETERS = {
    levy.Stable: [(0.3, 1.0), (1e-6, 2.0), (0.999, 0.1)],
    levy.GeneralizedGamma: [(0.5, 1, 1), (0.3, 2, 5), (1e-6, 3, 2), (0.999, 0.1, 2)],
    levy.Gamma: [(2, 3), (0.02, 0.1)],
    levy.InverseGaussian: [(2, 0.7), (1, 30)],
    levy.Beta: [(1, 0.5), (1.5, 0.02), (1, 7.25), (3, 100)],
    levy.StableBeta: [(0.4, 0.5, 2), (0.75, -0.73, 1), (1e-6, 12, 1), (0.999, 0.02, 1)],
    levy.RegularizedHorseshoe: [(1,), (0.125,), (100,)],
    levy.GBFRY: [(0.5, 2, 1), (0.2, 5, 1.5), (1e-6, 1.2, 10), (0.999, 1.02, 0.7), (0.3, 40, 1)],
    levy.BetaPareto: [(1.5, 0.5, 2), (1, 2.5, 0.75), (2, 0.02, 1.5), (1, 20, 6)],
}
CASES = {kind.__name__: [case(kind, *p) for p in rows] for kind, rows in PARAMETERS.items()}
FAMILIES = list(CASES)
(GAMMA, GAMMA_), (HORSESHOE, HORSESHOE_) = CASES["Gamma"][0], CASES["RegularizedHorseshoe"][0]
(STABLE, STABLE_), (BETA, BETA_) = CASES["Stable"][0], CASES["Beta"][0]
CASES["Weighted Scaled"] = [
    (0.5 * GAMMA.scaled(4.0), levy_oracles.Combined((0.5, 4, GAMMA_))),
    (2**20 * GAMMA.scaled(2.0**-10), levy_oracles.Combined((2**20, mp.mpf(2) ** -10, GAMMA_))),
]
CASES["Scaled Weighted"] = [
    ((HORSESHOE * 3.0).scaled(0.25), levy_oracles.Combined((3, 0.25, HORSESHOE_)))
]
CASES["Sum"] = [
    (
        GAMMA + HORSESHOE + STABLE,
        levy_oracles.Combined(*((1, 1, m) for m in (GAMMA_, HORSESHOE_, STABLE_))),
    )
]
CASES["bounded Sum"] = [
    (BETA + HORSESHOE.scaled(2.0), levy_oracles.Combined((1, 1, BETA_), (1, 2, HORSESHOE_)))
]

every_case = pytest.mark.parametrize("name", CASES)
every_family = pytest.mark.parametrize("name", FAMILIES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def test_every_public_name_is_tested():
    public = {name: getattr(levy, name) for name in levy.__all__}
    measures = {value for value in public.values() if isinstance(value, type)}
    measures = {value for value in measures if issubclass(value, levy.LevyMeasure)}
    own = {
        levy.NoJumps,
        levy.FromDensity,
        levy.CompoundPoisson,
        levy.Thinned,
    }  # with tests of their own, below
    assert measures - {levy.LevyMeasure} == set(PARAMETERS) | own
    rest = {name for name, value in public.items() if value not in measures}
    assert rest == {"Jumps", "num_jumps"}  # in test_levy_jumps.py
    assert inspect.isabstract(levy.LevyMeasure)
    with pytest.raises(TypeError, match="abstract"):
        levy.LevyMeasure()


# --- values ---------------------------------------------------------------------------------


def points(oracle):
    """33 sizes of jumps, from 1e-30 to 1e6 or to near the end of the support."""
    x = np.append(np.logspace(-30, 6, 13), 10 ** np.random.default_rng(0).uniform(-12, 3, 20))
    beyond = x * float(oracle.cut) > 0.98
    ends = (1 - 2.0 ** -np.arange(1, 1 + beyond.sum())) / float(oracle.cut or 1)
    x[beyond] = ends
    return x.astype(np.float32).astype(float)


def cancelling(oracle, x):
    """Sizes of the logarithms that cancel in the values at `x`: their rounding remains."""
    x = np.asarray(x)
    end = float(oracle.cut)
    size = abs(math.log(end)) / np.maximum(1 - end * x, 1e-9) if end else np.zeros(x.shape)
    size = size + float(getattr(oracle, "tau", 0)) * np.abs(np.log(x))
    return size + math.lgamma(float(getattr(oracle, "b", 0)) + 2)


def assert_accurate(got, expected, dtype, rtol=None, size=0.0):
    """Relative error; of the exponential of a logarithm that is rounded itself."""
    got, expected = np.asarray(got), np.array([float(value) for value in expected])
    rtol = rtol or (1e-10 if dtype == jnp.float64 else 1e-5)
    assert got.dtype == dtype
    small, large = (1e-290, 1e300) if dtype == jnp.float64 else (1e-35, 1e37)
    seen = (expected > small) & (expected < large)
    assert seen.any()
    expected, size = expected[seen], np.broadcast_to(size, seen.shape)[seen]
    error = np.abs(got[seen].astype(float) / expected - 1)
    bound = rtol + 4 * float(np.finfo(dtype).eps) * (np.abs(np.log(expected)) + size)
    assert np.all(error <= bound), (error / bound).max()


REFERENCE = [  # 30-digit arithmetic: ρ(0.3), ρ̄(0.3), where ρ̄ is 5 and 1000, ∫_0^0.01 x ρ(x) dx
    "GBFRY(.5,2,1) 2.15521223405 0.613519431542 0.020848746223 8.46286891369e-7 0.0918562638244",
    "GBFRY(.2,5,1) 2.61091260097 0.835626458171 0.013699199 1.18871364366e-12 0.0258892979561",
    "GeneralizedGamma(.5,1,1) 2.54363526256 0.649025105374 0.0274224835555 1.26816504127e-6 "
    "0.112462916018",
    "Gamma(2,3) - 0.520367878652 0.0161140481765 3.60971631189e-23 -",  # the last where ρ̄ is 100
    "Beta(1,.5) - 1.20993512134 - - -",
    "RegularizedHorseshoe(1) - 0.97245276526 - - -",
]


@needs_x64
@pytest.mark.parametrize("row", REFERENCE)
def test_reference_values(row):
    name, *expected = row.split()
    kind, parameters = re.fullmatch(r"(\w+)\((.*)\)", name).groups()
    measure = getattr(levy, kind)(*(float(value) for value in parameters.split(",")))
    inverse = measure.inverse_tail(jnp.array([5, 100 if kind == "Gamma" else 1000.0]))
    found = [measure.density(0.3), measure.tail(0.3), *inverse, measure.moment(1.0, 0.01)]
    for value, digits in zip(found, expected, strict=True):
        if digits != "-":
            count = len(digits.split("e")[0].replace(".", "").lstrip("0"))
            half = 0.5 * 10.0 ** -(count - 1)
            # All digits shown: half a unit of the last, which is `half` of a leading digit 1 to 9.
            assert abs(value / float(digits) - 1) <= half, (digits, value)


def held(x, dtype):
    """Points not below 1e-15 in float32, of the same number."""
    return np.where(x < 1e-15, x * 2.0**60, x) if dtype == jnp.float32 else x


@dtypes
@every_case
def test_density_and_tail_against_mpmath(name, dtype):
    for measure, oracle in CASES[name]:
        x = held(points(oracle), dtype)
        at, size = jnp.asarray(x, dtype), cancelling(oracle, x)
        assert_accurate(measure.density(at), map(oracle.density, x), dtype, size=size)
        assert_accurate(measure.tail(at), map(oracle.tail, x), dtype, size=size)


@dtypes
@every_case
def test_moments_against_mpmath(name, dtype):
    orders = [1.0, 1.5, 2.0]
    for measure, oracle in CASES[name]:
        x = held(points(oracle), dtype)
        found = measure.moment(jnp.asarray(orders, dtype)[:, None], jnp.asarray(x, dtype))
        for k, values in zip(orders, found, strict=True):
            exact = (oracle.moment(k, z) for z in x)
            assert_accurate(values, exact, dtype, size=cancelling(oracle, x))


@needs_x64
@every_case
def test_complete_moments_against_mpmath(name):
    for measure, oracle in CASES[name]:
        orders = np.array([1.0, 1.5, 2.0, 0.75, 0.25])
        got = measure.moment(jnp.asarray(orders))
        low, high = float(measure.index_at_zero), float(measure.index_at_infinity)
        finite = (orders > low) & (orders < high)
        np.testing.assert_array_equal(got[~finite], math.inf)
        if finite.any():
            exact = [oracle.moment(k) for k in orders[finite]]
            assert_accurate(got[finite], exact, jnp.float64)


@dtypes
@every_case
def test_laplace_exponent_against_mpmath(name, dtype):
    if dtype == jnp.float32 and name in ("StableBeta", "GBFRY", "BetaPareto", "bounded Sum"):
        pytest.skip("compiles for long; Beta goes the same way")
    for measure, oracle in CASES[name]:
        t = np.array([1e-30, 1e-6, 1e-3, 0.125, 1, 3, 20, 50, 300, 1e4, 1e6])
        num = 9 if name == "BetaPareto" else 11
        t = t.astype(np.float32).astype(float)
        got = measure.laplace_exponent(jnp.asarray([*t, 0, jnp.inf, -1, jnp.nan], dtype))[:num]
        size = cancelling(oracle, np.full(num, 1e-9))  # logarithms of gamma functions
        assert_accurate(got, map(oracle.laplace, t[:num]), dtype, size=size)


@every_case
def test_laplace_exponent_at_its_ends(name):
    for measure, _ in CASES[name]:
        got = measure.laplace_exponent(jnp.asarray([*[1.0] * 11, 0, jnp.inf, -1, jnp.nan]))
        np.testing.assert_array_equal(got[-4:], [0, math.inf, math.nan, math.nan])


@every_case
def test_indices_support_and_ends(name):
    for measure, oracle in CASES[name]:
        low, high = measure.support
        assert low == 0
        assert float(1 / high) == pytest.approx(float(oracle.cut), rel=1e-6)
        assert measure.total_mass == math.inf
        for x, index in ((1e-26, measure.index_at_zero), (1e26, measure.index_at_infinity)):
            if np.isfinite(index):
                x = mp.mpf(x) ** (20 if index < 0.1 else 1)
                rise = mp.log(oracle.density(2 * x) / oracle.density(x)) / mp.log(2)
                assert float(-rise - 1) == pytest.approx(float(index), abs=2e-3)
            else:
                assert oracle.tail(mp.mpf(10) ** 6) < 1e-100
        x = np.full(33, 1.0)
        x[:5] = [0, -1, -math.inf, math.inf, math.nan]
        at = jnp.asarray(x)
        np.testing.assert_array_equal(measure.density(at)[:4], 0)
        np.testing.assert_array_equal(measure.tail(at)[:4], [math.inf, math.inf, math.inf, 0])
        assert np.isnan([measure.density(at)[4], measure.tail(at)[4]]).all()
        assert np.isnan(measure.log_density_of_log(at)[4])
        if oracle.cut:
            past = jnp.full(33, 1.5 / float(oracle.cut))
            np.testing.assert_array_equal(measure.density(past), 0)
            np.testing.assert_array_equal(measure.tail(past), 0)


@dtypes
@every_family
def test_finite_on_a_nasty_grid(name, dtype):
    info = np.finfo(dtype)
    inside = [info.tiny, 1e-30, 1e-3, 1, 1e3, 1e30, info.max]
    x = np.full(33, info.smallest_subnormal).astype(dtype)
    x[:7] = inside
    for measure, oracle in CASES[name]:
        within = x[:7].astype(float) < 1 / float(oracle.cut or 1e-300)
        logs = measure.log_density(jnp.asarray(x))
        tails = measure.tail(jnp.asarray(x))
        light = measure.index_at_infinity == math.inf  # exp(-x) may underflow to a log of -inf
        assert np.all(np.isfinite(logs[:7]) | (light and x[:7] > 1e2) | ~within)
        assert np.isfinite(tails[:7]).all()
        assert np.all(np.diff(tails[:7]) <= 0)
        # XLA may take a subnormal number for 0, but it makes no NaN of it.
        assert not np.isnan([logs[7], tails[7]]).any()


def test_no_jumps():
    measure, x = levy.NoJumps(), jnp.array([0, 1e-30, 1.0, jnp.inf])
    assert (measure.index_at_zero, measure.index_at_infinity) == (0, math.inf)
    assert measure.total_mass == 0
    for values in (measure.density(x), measure.tail(x), measure.moment(1.0, x)):
        np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(measure.laplace_exponent(x), 0)
    np.testing.assert_array_equal(measure.inverse_tail(x)[1:], 0)
    np.testing.assert_array_equal(measure.log_density(x), -jnp.inf)
    other = measure + levy.Stable(0.5)
    np.testing.assert_allclose(other.tail(4.0), 0.5, rtol=1e-6)
    np.testing.assert_allclose(other.inverse_tail(0.5), 4.0, rtol=1e-6)


# --- the inverse of the tail ----------------------------------------------------------------


def rounding(measure, v, dtype):
    """How far the rounding of `v = log x` moves `log ρ̄`, or the cancellation at a bounded end.

    That is the conditioning of the inverse: near the end of a support the tail falls steeply in
    `log x`, whose float next to `log 8` is 4e-16 away.
    """
    end = np.log(np.asarray(measure.support[1], float))
    size = np.abs(v) + (abs(end) if np.isfinite(end) else 0)
    steep = np.exp(np.asarray(measure.log_density_of_log(v)) - measure.log_tail_of_log(v))
    return 4 * float(np.finfo(dtype).eps) * size * steep


def test_inverse_where_the_compiler_computes_an_excess_twice():
    """With two signs: Newton's method left the solution again until its steps were used up."""
    measure = levy.GBFRY(*jnp.float32([0.999, 1.02, 0.7]))
    u = jnp.logspace(-6, 6, 40, dtype=jnp.float32)
    inverse = jax.jit(levy.GBFRY.log_inverse_tail).lower(measure, u)
    v = inverse.compile({"xla_backend_optimization_level": 0})(measure, u)
    np.testing.assert_allclose(np.diff(v), -12 / 39 * np.log(10) / 0.999, atol=0.03)


@dtypes
@every_case
def test_tail_of_inverse_tail(name, dtype):
    tolerance = 1e-9 if dtype == jnp.float64 else 1e-4
    u = jnp.logspace(-6, 6, 40, dtype=dtype)
    for measure, _ in CASES[name]:
        v = measure.log_inverse_tail(u)
        assert v.dtype == dtype
        assert np.all(np.diff(v) <= 10 * np.finfo(dtype).tiny)
        end = float(jnp.log(measure.support[1]))
        usable = np.isfinite(v) & (v < end - 1e3 * float(np.finfo(dtype).tiny))
        assert np.sum(usable) >= 20
        error = np.abs(measure.log_tail_of_log(v) - np.log(np.asarray(u)))[usable]
        allowed = tolerance + rounding(measure, v, dtype)[usable]
        assert np.all(error <= allowed), (error / allowed).max()
        assert np.sum(allowed < 2 * tolerance) >= 20


@needs_x64
@every_case
def test_inverse_tail_against_mpmath(name):
    special = [0, math.inf, -1, math.nan]
    arrivals = [1e-6, 1e-3, 1, 5, 100, 1e6]
    u = jnp.asarray([*arrivals, *special, *[1.0] * 30])
    for measure, oracle in CASES[name]:
        v, x = measure.log_inverse_tail(u), measure.inverse_tail(u)
        expected = [float(oracle.inverse_tail(value)) for value in arrivals]
        np.testing.assert_allclose(v[:6], expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(x, jnp.exp(v))
        end = float(measure.support[1])
        np.testing.assert_allclose(x[6:10], [end, 0, math.nan, math.nan], rtol=1e-15)


@needs_x64
def test_size_of_a_jump_below_all_floats():
    u = jnp.full(40, 1e6)
    np.testing.assert_allclose(GAMMA.log_inverse_tail(u), -500001.675827954, rtol=1e-13)
    np.testing.assert_array_equal(GAMMA.inverse_tail(u), 0)


# --- derivatives ----------------------------------------------------------------------------


@functools.cache
def slopes_of(kind, num):
    """Derivatives of `log ρ̄⁻¹(u; θ)` from traced parameters; `u` first."""

    def inverse(u, *parameters):
        return kind(*parameters).log_inverse_tail(u)

    return jax.jit(jax.vmap(jax.value_and_grad(inverse, range(num))))


def exact_slopes(kind, parameters, u):
    """By the implicit function: `-1 / (x ρ)` and `∂_θ ρ̄ / (x ρ)`."""
    oracle = getattr(levy_oracles, kind.__name__)
    log_x = oracle(*parameters).inverse_tail(u)
    with mp.workdps(80):
        x = mp.exp(log_x)
        rise = x * oracle(*parameters).density(x)
        slopes = [-1 / rise]
        for i, value in enumerate(parameters):
            step = abs(mp.mpf(value)) * mp.mpf(10) ** -20
            up, down = (
                [*parameters[:i], value + way * step, *parameters[i + 1 :]] for way in (1, -1)
            )
            slopes.append((oracle(*up).tail(x) - oracle(*down).tail(x)) / (2 * step * rise))
    return float(log_x), [float(slope) for slope in slopes]


@needs_x64
@every_family
def test_first_derivatives_of_the_inverse_tail(name):
    kind = getattr(levy, name)
    arrivals = [0.3, 1.0, 7.0, 1000.0]
    rows = [[float(np.float32(value)) for value in row] for row in PARAMETERS[kind]]
    table = list(itertools.product(rows, arrivals))
    columns = [jnp.asarray(c) for c in zip(*((u, *row) for row, u in table), strict=True)]
    values, slopes = slopes_of(kind, len(columns))(*columns)
    for i, (row, u) in enumerate(table):
        value, exact = exact_slopes(kind, row, u)
        assert values[i] == pytest.approx(value, rel=1e-10, abs=1e-12)
        got = [float(column[i]) for column in slopes]
        assert got == pytest.approx(exact, rel=1e-6, abs=1e-12), (row, u)


@needs_x64
@pytest.mark.parametrize(
    ("name", "row", "moved"),
    [
        ("Gamma", (2, 3), (0, 1)),
        ("GeneralizedGamma", (0.5, 1, 2), (0, 1)),
        ("StableBeta", (0.4, 0.5, 2), (1,)),
        ("GBFRY", (0.5, 2, 1), (1,)),
    ],
)
def test_second_derivatives_of_the_inverse_tail(name, row, moved):
    """In `u` and the first parameter, or in `α` alone."""
    kind, arrivals = getattr(levy, name), [0.3, 7.0, 1000.0]
    hessian = jax.jit(
        jax.vmap(
            jax.hessian(lambda u, p: kind(p, *row[1:]).log_inverse_tail(u), moved),
            in_axes=(0, None),
        )
    )(jnp.asarray(arrivals), jnp.asarray(float(row[0])))

    def exact(u, p):
        return getattr(levy_oracles, name)(p, *row[1:]).inverse_tail(u)

    for i, u in enumerate(arrivals):
        for (j, a), (k, b) in itertools.product(enumerate(moved), repeat=2):
            with mp.workdps(60):
                point = [mp.mpf(u), mp.mpf(row[0])]
                steps = [value * mp.mpf(10) ** -7 for value in point]

                def at(first, second, a=a, b=b, point=point, steps=steps):
                    moved_to = list(point)
                    moved_to[a] += first * steps[a]
                    moved_to[b] += second * steps[b]
                    return exact(*moved_to)

                expected = at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)
                expected /= 4 * steps[a] * steps[b]
            assert float(hessian[j][k][i]) == pytest.approx(float(expected), rel=1e-4), (a, b, u)


@needs_x64
@pytest.mark.parametrize("name", ["Gamma", "GeneralizedGamma", "Beta", "RegularizedHorseshoe"])
def test_forward_mode_and_pullback(name):
    kind = getattr(levy, name)
    row = tuple(float(value) for value in PARAMETERS[kind][0])
    u = jnp.array([0.3, 7.0])

    def inverse(u, parameters):
        return kind(*parameters).inverse_tail(u)

    x, pushed = jax.jvp(inverse, (u, row), (jnp.ones(2), (1.0,) * len(row)))
    _, pull = jax.vjp(inverse, u, row)
    for i in range(2):
        value, exact = exact_slopes(kind, row, float(u[i]))
        size = math.exp(value)
        np.testing.assert_allclose(x[i], size, rtol=1e-10)
        np.testing.assert_allclose(pushed[i], sum(exact) * size, rtol=1e-6)
        by_u, by_parameters = pull(jnp.eye(2)[i])
        np.testing.assert_allclose(by_u, exact[0] * size * np.eye(2)[i], rtol=1e-6)
        np.testing.assert_allclose(by_parameters, np.array(exact[1:]) * size, rtol=1e-6)


@dtypes
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


# --- parameters -----------------------------------------------------------------------------


@every_family
def test_parameters_out_of_range_give_nan_where_traced(name):
    """Leaves put in without the checks of construction, as those of a tracer are."""
    measure = CASES[name][0][0]
    leaves, tree = jax.tree.flatten(measure)
    assert repr(jax.tree.unflatten(tree, leaves)) == repr(measure)
    x, u = jnp.full(33, 0.3), jnp.full(40, 2.0)
    for i in range(len(leaves)):
        for bad in (-1.5, math.nan):
            wrong = jax.tree.unflatten(tree, [*leaves[:i], bad, *leaves[i + 1 :]])
            for value in (wrong.density(x), wrong.tail(x), wrong.log_inverse_tail(u)):
                assert np.isnan(value).all(), (i, bad)


@every_family
def test_batches_of_parameters(name):
    """Parameters of shape (2,), and a batch under `vmap`, against one at a time."""
    kind = getattr(levy, name)
    rows = np.array(PARAMETERS[kind][:2], float)
    measure = kind(*map(jnp.asarray, rows.T))
    assert measure.batch_shape == (2,)
    x = jnp.full(33, 0.125).at[1].set(0.001)
    single = np.stack([kind(*map(float, row)).tail(x)[:2] for row in rows])
    rtol = 1e-12 if x.dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(measure.tail(x[0]), single[:, 0], rtol=rtol)
    np.testing.assert_allclose(measure.tail(x[:2, None]), single.T, rtol=rtol)
    mapped = jax.jit(jax.vmap(lambda m: m.tail(x[:2])))(measure)
    np.testing.assert_allclose(mapped, single, rtol=rtol)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: levy.Stable(0.0), "alpha must be in (0, 1), got 0.0"),
        (lambda: levy.Stable(1.0), "alpha must be in (0, 1), got 1.0"),
        (lambda: levy.Stable(math.nan), "alpha must be in (0, 1), got nan"),
        (lambda: levy.Stable(0.5, 0.0), "scale must be above 0, got 0.0"),
        (lambda: levy.Stable(0.5, math.inf), "scale must be above 0, got inf"),
        (lambda: levy.GeneralizedGamma(1.5), "alpha must be in (0, 1), got 1.5"),
        (lambda: levy.GeneralizedGamma(0.5, 0.0), "rate must be above 0, got 0.0"),
        (lambda: levy.GeneralizedGamma(0.5, 1.0, -2), "mass must be above 0, got -2"),
        (lambda: levy.Gamma(0.0), "mass must be above 0, got 0.0"),
        (lambda: levy.Gamma(1.0, -1.0), "rate must be above 0, got -1.0"),
        (lambda: levy.InverseGaussian(-1.0), "mean must be above 0, got -1.0"),
        (lambda: levy.InverseGaussian(1.0, 0.0), "shape must be above 0, got 0.0"),
        (lambda: levy.Beta(0.0), "mass must be above 0, got 0.0"),
        (lambda: levy.Beta(1.0, math.inf), "concentration must be above 0, got inf"),
        (lambda: levy.StableBeta(0.0), "alpha must be in (0, 1), got 0.0"),
        (
            lambda: levy.StableBeta(0.5, -0.5),
            "concentration must be above -alpha, got concentration=-0.5, alpha=0.5",
        ),
        (lambda: levy.StableBeta(0.5, 1.0, 0.0), "mass must be above 0, got 0.0"),
        (lambda: levy.RegularizedHorseshoe(0.0), "slab must be above 0, got 0.0"),
        (lambda: levy.GBFRY(1.2, 2.0), "alpha must be in (0, 1), got 1.2"),
        (lambda: levy.GBFRY("half", 2.0), "alpha must be in (0, 1), got half"),
        (lambda: levy.GBFRY(0.5, 1.0), "tau must be above 1, got 1.0"),
        (lambda: levy.GBFRY(0.5, 0.4), "tau must be above 1, got 0.4"),
        (lambda: levy.GBFRY(0.5, 2.0, -1.0), "mean must be above 0, got -1.0"),
        (lambda: levy.GBFRY(np.array([0.5, 1.5]), 2.0), "alpha must be in (0, 1), got [0.5 1.5]"),
        (lambda: levy.BetaPareto(0.0, 1.0, 2.0), "mass must be above 0, got 0.0"),
        (lambda: levy.BetaPareto(1.0, 0.0, 2.0), "concentration must be above 0, got 0.0"),
        (lambda: levy.BetaPareto(1.0, 1.0, 0.0), "tau must be above 0, got 0.0"),
        (lambda: levy.Gamma(1.0).scaled(0.0), "factor must be above 0, got 0.0"),
        (lambda: -1.0 * levy.Gamma(1.0), "weight must be above 0, got -1.0"),
        (
            lambda: levy.CompoundPoisson(0.0, dist.Exponential(1.0)),
            "rate must be above 0, got 0.0",
        ),
    ],
)
def test_bad_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


# --- algebra --------------------------------------------------------------------------------


def test_algebra():
    total = GAMMA + HORSESHOE + STABLE
    assert total.parts == (GAMMA, HORSESHOE, STABLE)
    assert (GAMMA + (HORSESHOE + STABLE)).parts == total.parts
    assert repr(3.0 * GAMMA) == repr(GAMMA * 3.0)
    for combined in (total, GAMMA.scaled(2.0), 3.0 * GAMMA):
        assert "Gamma(mass=2.0, rate=3.0)" in repr(combined)
    for wrong in (1, "measure", None):
        with pytest.raises(TypeError):
            GAMMA + wrong
        with pytest.raises(TypeError):
            wrong + GAMMA
    with pytest.raises((TypeError, ValueError)):
        GAMMA * HORSESHOE
    many = jnp.array([1.0, 2.0]) * GAMMA
    assert many.batch_shape == (2,)
    assert (many + HORSESHOE).batch_shape == (2,)
    assert GAMMA.scaled(jnp.ones((3, 1))).batch_shape == (3, 1)
    np.testing.assert_allclose(many.tail(0.3), GAMMA.tail(0.3) * np.array([1, 2]), rtol=1e-6)


# --- measures by their density --------------------------------------------------------------


DENSITIES = {
    "gamma": (lambda x: 2 / x * jnp.exp(-3 * x), levy_oracles.Gamma(2, 3)),
    "stable": (lambda x: 0.25 * x**-1.25, levy_oracles.Stable(0.25)),
    "generalised gamma": (
        lambda x: x**-1.75 * jnp.exp(-2 * x),
        levy_oracles.GeneralizedGamma(0.75, 2, mp.gamma(0.25)),
    ),
    "beta": (lambda x: 0.5 / x / jnp.sqrt(1 - x), levy_oracles.Beta(1, 0.5)),
    "generalised gamma above 1/4": (
        lambda x: x**-1.75 * jnp.exp(-2 * x),
        levy_oracles.Above(levy_oracles.GeneralizedGamma(0.75, 2, mp.gamma(0.25)), 0.25),
    ),
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
    assert (
        float(measure.total_mass) == pytest.approx(getattr(oracle, "mass", math.inf), rel=1e-7)
        if low
        else True
    )

    grid = np.array(
        [1e-30, 1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.26, 0.3, 0.5, 0.75, 0.99, 2, 10, 50, 1e4]
    )
    x = np.array([value for value in grid if low < value < high])
    assert_accurate(measure.density(x), map(oracle.density, x), jnp.float64, 1e-12)
    assert_accurate(measure.tail(x), map(oracle.tail, x), jnp.float64, 1e-7)
    for k, values in zip((1.0, 2.5), measure.moment(np.array([[1.0], [2.5]]), x), strict=True):
        assert_accurate(values, (oracle.moment(k, z) for z in x), jnp.float64, 1e-7)
    if heavy == math.inf:
        complete = measure.moment(np.array([1.0, 2.5]))
        assert_accurate(complete, map(oracle.moment, (1, 2.5)), jnp.float64, 1e-7)
    t = np.array([1e-6, 0.1, 1.0, 10.0, 1e3])
    assert_accurate(measure.laplace_exponent(t), map(oracle.laplace, t), jnp.float64, 1e-7)
    u = np.array([value for value in (1e-3, 0.1, 1, 10, 1000) if value < float(measure.total_mass)])
    expected = [float(oracle.inverse_tail(value)) for value in u] if not low else None
    found = measure.log_inverse_tail(u)
    if expected:
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)
    else:
        assert_accurate(u, (oracle.tail(math.exp(v)) for v in found), jnp.float64, 1e-7)


@needs_x64
def test_gradient_through_the_parameters_of_a_density():
    def tail_and_inverse(rate):
        measure = levy.FromDensity(lambda x: 2 / x * jnp.exp(-rate * x))
        return jnp.stack([measure.tail(0.3), measure.inverse_tail(5.0), measure.moment(1.0)])

    def exact(rate):
        measure = levy.Gamma(2.0, rate)
        return jnp.stack([measure.tail(0.3), measure.inverse_tail(5.0), measure.moment(1.0)])

    found, slope = jax.jit(lambda r: jax.jvp(tail_and_inverse, (r,), (1.0,)))(3.0)
    expected, slope_expected = jax.jvp(exact, (3.0,), (1.0,))
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    np.testing.assert_allclose(slope, slope_expected, rtol=1e-6)
    back = jax.jacrev(tail_and_inverse)(3.0)
    np.testing.assert_allclose(back, slope_expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: levy.FromDensity(lambda x: 1 / x, (2.0, 1.0)),
            "support must be two numbers with 0 ≤ low < high, got (2.0, 1.0)",
        ),
        (lambda: levy.FromDensity(lambda x: 1 / x, (-1.0, 1.0)), "support must be two numbers"),
        (lambda: levy.FromDensity(lambda x: 1 / x, 3.0), "support must be two numbers"),
        (
            lambda: levy.FromDensity(lambda x: jnp.where(x < 0.3, 1.0, 5.0) * jnp.exp(-x) / x),
            "density changes too fast",
        ),
        (
            lambda: levy.FromDensity(lambda x: 0 * x),
            "density must be positive and finite somewhere",
        ),
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
    ],
)
def test_bad_densities_and_laws(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build()


LAWS = {
    "gamma": (dist.Gamma(2.5, 3.0), stats.gamma(2.5, scale=1 / 3)),
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
    assert float(measure.total_mass) == 3
    assert (float(measure.index_at_zero), float(measure.index_at_infinity)) == (0, math.inf)
    x = np.array([0.05, 0.5, 1.0, 1.01, 1.5, 1.999, 2.0, 5.0])
    np.testing.assert_allclose(measure.density(x)[3:6], 3 * law.pdf(x)[3:6], rtol=1e-10)
    np.testing.assert_allclose(measure.tail(x), 3 * law.sf(x), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(measure.tail(0.0), 3, rtol=1e-7)
    orders = np.array([1.0, 2.0])
    np.testing.assert_allclose(
        measure.moment(orders), [3 * law.moment(k) for k in (1, 2)], rtol=1e-7
    )
    part = 3 * quad(lambda z: z * law.pdf(z), max(low, 0), 1.5, epsabs=1e-12, epsrel=1e-10)[0]
    np.testing.assert_allclose(measure.moment(1.0, 1.5), part, rtol=1e-7)
    u = np.array([1e-6, 0.1, 1.0, 2.9, 3.0, 4.0])
    np.testing.assert_allclose(measure.inverse_tail(u)[:4], law.isf(u[:4] / 3), rtol=1e-7)
    np.testing.assert_array_equal(measure.inverse_tail(u)[4:], 0)
    for t in (0.1, 2.0, 30.0):
        psi = 3 * (1 - law.expect(lambda z, t=t: np.exp(-t * z), epsabs=1e-12))
        np.testing.assert_allclose(measure.laplace_exponent(t), psi, rtol=1e-7)


@needs_x64
def test_point_mass():
    measure = levy.CompoundPoisson(3.0, dist.Delta(2.0))
    x = np.array([0.5, 1.999, 2.0, 3.0])
    np.testing.assert_array_equal(measure.tail(x), [3, 3, 0, 0])
    np.testing.assert_allclose(measure.moment(2.0, x), [0, 0, 12, 12], rtol=1e-12)
    np.testing.assert_allclose(measure.moment(1.0), 6, rtol=1e-12)
    np.testing.assert_allclose(measure.inverse_tail(np.array([0.1, 2.9])), 2, rtol=1e-12)
    np.testing.assert_array_equal(measure.inverse_tail(np.array([3.0, 5.0])), 0)
    np.testing.assert_allclose(measure.laplace_exponent(0.25), 3 * (1 - math.exp(-0.5)), rtol=1e-12)
    assert float(measure.total_mass) == 3


@needs_x64
def test_thinned():
    """`η ∫ z^k (e^(-b z) - e^(-(b+t) z)) dz / z` for a gamma measure."""
    measure, (low, high) = levy.Thinned(GAMMA, 1.5), (levy_oracles.Gamma(2, b) for b in (3, 4.5))
    assert float(measure.total_mass) == pytest.approx(2 * math.log1p(0.5), rel=1e-12)
    x = np.array([1e-12, 1e-3, 0.1, 0.3, 0.75, 2.0])
    exact = [low.tail(z) - high.tail(z) for z in x]
    assert_accurate(measure.tail(x), exact, jnp.float64, 1e-7)
    exact = [low.density(z) - high.density(z) for z in x]
    assert_accurate(measure.density(x), exact, jnp.float64, 1e-10)
    exact = [low.moment(1, z) - high.moment(1, z) for z in x]
    assert_accurate(measure.moment(1.0, x), exact, jnp.float64, 1e-7)
    u = np.array([0.01, 0.5, 0.8])
    assert_accurate(measure.tail(measure.inverse_tail(u)), u, jnp.float64, 1e-9)
    np.testing.assert_array_equal(measure.inverse_tail(1.0), 0)
    with pytest.raises(ValueError, match=r"^rate must be above 0, got 0.0$"):
        levy.Thinned(GAMMA, 0.0)


def test_where_two_forms_meet():
    """`x / scale` is 2 here but for rounding, where the incomplete gamma functions change form."""
    x = 4 / 3 * (1 + jnp.arange(-3, 4) * 1e-16)
    assert np.isfinite(levy.GBFRY(0.5, 2.0).log_tail_of_log(jnp.log(x))).all()
    assert np.isfinite(levy.GBFRY(0.5, 2.0).laplace_exponent(jnp.array([30.0, 20.0]))).all()
