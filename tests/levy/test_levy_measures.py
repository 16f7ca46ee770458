"""Lévy measures as functions: against mpmath in 80 digits and the reference values of MATH.md."""

import inspect
import math
import pickle
import re

import cloudpickle
import equinox as eqx
import jax
import jax.numpy as jnp
import levy_cases as cases
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from closeness import assert_close
from levy_cases import ARRIVALS, CASES, DTYPE, FAMILIES, ORDERS, OTHERS, TIMES, X64, values
from oracles import needs_x64

from mogp import levy

every_case = pytest.mark.parametrize("name", CASES)
every_family = pytest.mark.parametrize("name", FAMILIES)
(GAMMA, _), (HORSESHOE, _), (STABLE, _) = cases.GAMMA, cases.HORSESHOE, cases.STABLE
EPS = float(np.finfo(DTYPE).eps)


def test_every_public_measure_is_in_the_table():
    public = {name: getattr(levy, name) for name in levy.__all__}
    measures = {
        name
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, levy.LevyMeasure)
    }
    assert measures - {"LevyMeasure"} == (set(CASES) | set(OTHERS)) & set(public)
    assert set(public) - measures == {"Jumps", "num_jumps"}  # in test_levy_jumps.py
    assert inspect.isabstract(levy.LevyMeasure)
    with pytest.raises(TypeError, match="abstract"):
        levy.LevyMeasure()


# --- values ---------------------------------------------------------------------------------

REFERENCE = [  # 30-digit arithmetic: ρ(0.3), ρ̄(0.3), where ρ̄ is 5 and 1000, ∫_0^0.01 x ρ(x) dx
    "GBFRY(.5,2,1) 2.15521223405 0.613519431542 0.020848746223 8.46286891369e-7 0.0918562638244",
    "GBFRY(.2,5,1) 2.61091260097 0.835626458171 0.013699199 1.18871364366e-12 0.0258892979561",
    "GeneralizedGamma(.5,1,1) 2.54363526256 0.649025105374 0.0274224835555 1.26816504127e-6 "
    "0.112462916018",
    "Gamma(2,3) - 0.520367878652 0.0161140481765 3.60971631189e-23 -",  # the last where ρ̄ is 100
    "Beta(1,.5) - 1.20993512134 - - -",
    "RegularizedHorseshoe(1) - 0.97245276526 - - -",
]


@jax.jit
def reference_values(measure, u):
    functions = measure.density(0.3), measure.tail(0.3)
    return *functions, *measure.inverse_tail(u), measure.moment(1.0, 0.01)


@needs_x64
@pytest.mark.parametrize("row", REFERENCE)
def test_reference_values(row):
    name, *expected = row.split()
    kind, parameters = re.fullmatch(r"(\w+)\((.*)\)", name).groups()
    measure = getattr(levy, kind)(*(float(value) for value in parameters.split(",")))
    u = jnp.array([5, 100 if kind == "Gamma" else 1000.0])
    for value, digits in zip(reference_values(measure, u), expected, strict=True):
        if digits != "-":
            count = len(digits.split("e")[0].replace(".", "").lstrip("0"))
            half = 0.5 * 10.0 ** -(count - 1)
            # All digits shown: half a unit of the last, which is `half` of a leading digit 1 to 9.
            assert abs(value / float(digits) - 1) <= half, (digits, value)


@every_case
def test_functions_of_size_against_mpmath(name):
    found = values(name)
    for i, oracle in enumerate(cases.oracles_of(name)):
        x = cases.sizes(oracle)
        size = cases.cancelling(oracle, x)
        for kind in ("density", "tail"):
            assert found[kind].dtype == DTYPE
            exact = cases.exact_at_sizes(name, i, kind)
            cases.assert_accurate(found[kind][i][:8], exact, size=size)
        for got, exact in zip(
            found["moment"][i], cases.exact_at_sizes(name, i, "moment"), strict=False
        ):
            cases.assert_accurate(got[:8], exact, size=size)


@every_case
def test_complete_moments_against_mpmath(name):
    found = values(name)
    for i, oracle in enumerate(cases.oracles_of(name)):
        got = found["moment"][i][:, 8 + 3]
        low, high = found["low"][i], found["high"][i]
        finite = (low < ORDERS) & (high > ORDERS)
        np.testing.assert_array_equal(got[~finite], math.inf)
        if finite.any():
            size = cases.cancelling(oracle, np.full(finite.sum(), 1e-3))
            cases.assert_accurate(got[finite], cases.exact(name)[i]["complete"][finite], size=size)


@every_case
def test_laplace_exponent_against_mpmath(name):
    found = values(name)["laplace"]
    num = len(TIMES)
    for i, oracle in enumerate(cases.oracles_of(name)):
        size = cases.cancelling(oracle, np.full(num, 1e-9))  # logarithms of gamma functions
        cases.assert_accurate(found[i][:num], cases.exact(name)[i]["laplace"], size=size)
        edges = [0, math.nan, math.nan, math.inf, math.nan]
        np.testing.assert_array_equal(found[i][len(TIMES) :], edges)


@every_case
def test_indices_support_and_ends(name):
    found = values(name)
    for i, oracle in enumerate(cases.oracles_of(name)):
        assert float(1 / found["support"][i]) == pytest.approx(float(oracle.cut), rel=1e-6)
        assert found["mass"][i] == math.inf
        for x, index in ((1e-26, found["low"][i]), (1e26, found["high"][i])):
            if np.isfinite(index):
                x = mp.mpf(x) ** (20 if index < 0.1 else 1)
                rise = mp.log(oracle.density(2 * x) / oracle.density(x)) / mp.log(2)
                assert float(-rise - 1) == pytest.approx(float(index), abs=2e-3)
            else:
                assert oracle.tail(mp.mpf(10) ** 6) < 1e-100
        np.testing.assert_array_equal(found["density"][i][8:13], [0, 0, 0, 0, math.nan])
        whole = [math.inf] * 3
        np.testing.assert_array_equal(found["tail"][i][8:13], [*whole, 0, math.nan])
        np.testing.assert_array_equal(found["moment"][i][0][[8, 9, 10, 12]], [0, 0, 0, math.nan])


@every_case
def test_finite_on_a_nasty_grid_and_beyond_the_support(name):
    """XLA may take a subnormal number for 0, but it makes no NaN of it."""
    found = values(name)
    for i, oracle in enumerate(cases.oracles_of(name)):
        end, x = 1 / float(oracle.cut) if oracle.cut else math.inf, np.array(cases.NASTY)
        logs, density, tails = (found[kind][i][13:] for kind in ("logs", "density", "tail"))
        assert not np.isnan([logs, density, tails]).any()
        light = found["high"][i] == math.inf  # exp(-x) may underflow to a log of -inf
        seen = (x < end) & ~(light & (x > 1e2))
        assert np.isfinite(logs[1:][seen[1:]]).all()
        assert np.isfinite(tails[x > 1e-10]).all()
        order = np.argsort(x[1:])
        assert np.all(np.diff(tails[1:][order]) <= 0)
        np.testing.assert_array_equal(logs[x > end], -math.inf)
        np.testing.assert_array_equal(tails[x > end], 0)
        ordinary = {"density": 8, "tail": 8, "inverse": len(ARRIVALS), "laplace": len(TIMES)}
        for kind, num in ordinary.items():
            assert np.isfinite(found[kind][i][:num]).all(), kind
        above, below = found["low"][i] < ORDERS, found["high"][i] > ORDERS
        assert np.isfinite(found["moment"][i][above, :8]).all()
        assert np.isfinite(found["moment"][i][above & below, 11]).all()


def test_no_jumps():
    measure, x = levy.NoJumps(), jnp.array([0, 1e-30, 1.0, jnp.inf])
    assert (measure.index_at_zero, measure.index_at_infinity) == (0, math.inf)
    assert measure.total_mass == 0
    for found in (measure.density(x), measure.tail(x), measure.moment(1.0, x)):
        np.testing.assert_array_equal(found, 0)
    np.testing.assert_array_equal(measure.laplace_exponent(x), 0)
    np.testing.assert_array_equal(measure.inverse_tail(x)[1:], 0)
    np.testing.assert_array_equal(measure.log_density(x), -jnp.inf)
    other = measure + levy.Stable(0.5)
    np.testing.assert_allclose(other.tail(4.0), 0.5, rtol=1e-6)
    np.testing.assert_allclose(other.inverse_tail(0.5), 4.0, rtol=1e-5)


def test_where_two_forms_meet():
    """`x / scale` is 2 here but for rounding, where the incomplete gamma functions change form."""
    measure, x = levy.GBFRY(0.5, 2.0), 4 / 3 * (1 + jnp.arange(-6, 7) * EPS / 2)
    assert np.isfinite(measure.tail(x)).all()
    assert np.isfinite(values("GBFRY")["laplace"][0][[3, 4]]).all()


# --- the inverse of the tail ----------------------------------------------------------------


@every_case
def test_tail_of_inverse_tail(name):
    """The error allowed includes the conditioning of the inverse.

    Near the end of a support the tail falls steeply in `log x`, whose rounding moves it.
    """
    found, tolerance = values(name), 1e-9 if X64 else 1e-4
    for i in range(len(found["inverse"])):
        v = found["inverse"][i][: len(ARRIVALS)]
        end = math.log(found["support"][i])
        grid = v[6:][np.isfinite(v[6:])]  # the increasing part
        assert np.all(np.diff(grid) <= 10 * np.finfo(DTYPE).tiny)
        usable = np.isfinite(v) & (v < end - 1e3 * float(np.finfo(DTYPE).tiny))
        assert np.sum(usable) >= 9
        # At what rounds to an end, which single precision does, both are minus infinity.
        log_tail, log_density = (found[k][i][: len(v)][usable] for k in ("log_tail", "log_density"))
        error = np.abs(log_tail - np.log(ARRIVALS)[usable])
        size = np.abs(v[usable]) + (abs(end) if np.isfinite(end) else 0)
        allowed = tolerance + 4 * EPS * size * np.exp(log_density - log_tail)
        assert np.all(error <= allowed), (error / allowed).max()
        assert np.sum(allowed < 2 * tolerance) >= 9


@needs_x64
@every_case
def test_inverse_tail_against_mpmath(name):
    found = values(name)
    for i, row in enumerate(cases.exact(name)):
        v = found["inverse"][i]
        np.testing.assert_allclose(v[:6], row["inverse"], rtol=1e-10, atol=1e-10)
        end = math.log(found["support"][i])
        edges = [end, math.nan, math.nan, -math.inf, math.nan]
        np.testing.assert_allclose(v[len(ARRIVALS) :], edges, rtol=1e-15)


@needs_x64
def test_size_of_a_jump_below_all_floats():
    u = jnp.asarray([*ARRIVALS, *cases.EDGES])
    np.testing.assert_allclose(GAMMA.log_inverse_tail(u)[5], -500001.675827954, rtol=1e-13)
    assert GAMMA.inverse_tail(u)[5] == 0


def test_inverse_where_the_compiler_computes_an_excess_twice():
    """With two signs: Newton's method left the solution again until its steps were used up."""
    measure = levy.GBFRY(*jnp.float32([0.999, 1.02, 0.7]))
    u = jnp.logspace(-6, 6, 40, dtype=jnp.float32)
    inverse = jax.jit(levy.GBFRY.log_inverse_tail).lower(measure, u)
    v = inverse.compile({"xla_backend_optimization_level": 0})(measure, u)
    np.testing.assert_allclose(np.diff(v), -12 / 39 * np.log(10) / 0.999, atol=0.03)


@pytest.mark.parametrize("name", ["Gamma", "CompoundPoisson"])
def test_many_inverses_are_looked_up_as_precisely(name):
    """Arrays of 4096 and more use a table, or a solver where the table is not precise."""
    measure = OTHERS[name](1.0) if name in OTHERS else GAMMA
    u = jnp.exp(jnp.linspace(-8.0, 1.0, 4096))
    v = jnp.where(u < 0.999 * measure.total_mass, measure.log_inverse_tail(u), jnp.nan)
    errors = np.abs(measure.log_tail_of_log(v) - jnp.log(u))
    assert np.nanmax(errors) < (1e-9 if X64 else 1e-4)
    assert np.isfinite(errors).sum() > 3000


# --- parameters -----------------------------------------------------------------------------


@every_family
def test_parameters_out_of_range_give_nan_where_traced(name):
    wrong = cases.values_and_wrong(name)[1]
    for kind in ("density", "tail", "inverse", "laplace"):
        assert np.isnan(wrong[kind][:, 3:6]).all(), kind


@pytest.mark.parametrize("name", ["Stable", "Gamma", "StableBeta", "RegularizedHorseshoe", "GBFRY"])
def test_vmap_over_measures_is_a_loop(name):
    """`values` maps over measures made by `vmap`; here they are made and called one by one."""
    build, _, rows = FAMILIES[name]
    for i in (0, 1):
        x = jnp.asarray([*cases.sizes(cases.oracles_of(name)[i]), *cases.EDGES], DTYPE)
        single = build(*rows[i]).tail(x)
        rtol = 1e-12 if X64 else 1e-5
        np.testing.assert_allclose(values(name)["tail"][i][:13], single, rtol=rtol)


@jax.jit
def all_of(measure, x, u):
    jumps = measure.ranked_jumps(4, key=jax.random.key(0), shape=(2,))
    total = measure.sample_total(key=jax.random.key(0), num_jumps=5)
    moments = measure.moment(jnp.array([[1.0], [2.0]]), x[None])
    functions = measure.density(x), measure.tail(x), measure.log_inverse_tail(u)
    return *functions, measure.laplace_exponent(u), moments, jumps, total


@pytest.mark.parametrize("name", OTHERS)
def test_vmap_over_other_measures_is_a_loop_and_all_is_finite(name):
    rates = jnp.array([0.75, 1.5])
    x, u = jnp.array([0, 1e-30, 0.1, 0.99, 1.0, 2.0, jnp.inf]), jnp.array([0.01, 0.1, 0.5, 1e6])
    single = all_of(OTHERS[name](rates[1]), x, u)
    density, tail, inverse, laplace, moments, jumps, total = single
    for found in (density, tail[1:], laplace, moments, total, *jumps):
        assert np.isfinite(found).all()
    assert not np.isnan(inverse).any()  # the logarithm, which is minus infinity beyond the mass
    if name == "NoJumps":  # has no parameters
        return
    assert np.isfinite(inverse[:3]).all()
    measures = eqx.filter_vmap(OTHERS[name])(rates)
    mapped = eqx.filter_vmap(all_of, in_axes=(eqx.if_array(0), None, None))(measures, x, u)
    for many, one in zip(*map(jax.tree.leaves, (mapped, single)), strict=True):
        assert_close(many[1], one, rtol=1e-6, atol=1e-12)


def test_parameters_are_scalars():
    for build, shape in (
        (lambda: levy.Stable(np.array([0.5, 0.25])), "(2,)"),
        (lambda: levy.StableBeta(jnp.full((1, 2), 0.5)), "(1, 2)"),
    ):
        message = f"alpha must be one number, got an array of shape {shape}: use jax.vmap over"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            build()
    for build in (
        lambda: GAMMA.scaled(jnp.ones(2)),
        lambda: jnp.ones(2) * GAMMA,
        lambda: levy.Thinned(GAMMA, jnp.ones(2)),
        lambda: levy.CompoundPoisson(jnp.ones(2), dist.Delta(1.0)),
        lambda: jax.vmap(levy.Stable)(jnp.array([0.5, 0.25])).tail(1.0),  # not mapped over
    ):
        with pytest.raises(ValueError, match="must be one number, got an array of shape"):
            build()
    assert float(levy.Stable(jnp.array(0.5)).tail(4.0)) == 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: levy.Stable(0.0), "alpha must be in (0, 1), got 0.0"),
        (lambda: levy.Stable(1.0), "alpha must be in (0, 1), got 1.0"),
        (lambda: levy.Stable(math.nan), "alpha must be in (0, 1), got nan"),
        (lambda: levy.Stable(0.5, 0.0), "scale must be above 0, got 0.0"),
        (lambda: levy.Stable(0.5, math.inf), "scale must be above 0, got inf, which is not finite"),
        (lambda: levy.GeneralizedGamma(1.5), "alpha must be in (0, 1), got 1.5"),
        (lambda: levy.GeneralizedGamma(0.5, 0.0), "rate must be above 0, got 0.0"),
        (lambda: levy.GeneralizedGamma(0.5, 1.0, -2), "mass must be above 0, got -2"),
        (lambda: levy.Gamma(0.0), "mass must be above 0, got 0.0"),
        (lambda: levy.Gamma(1.0, -1.0), "rate must be above 0, got -1.0"),
        (lambda: levy.InverseGaussian(-1.0), "mean must be above 0, got -1.0"),
        (lambda: levy.InverseGaussian(1.0, 0.0), "shape must be above 0, got 0.0"),
        (lambda: levy.Beta(0.0), "mass must be above 0, got 0.0"),
        (
            lambda: levy.Beta(1.0, math.inf),
            "concentration must be above 0, got inf, which is not finite",
        ),
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
        (lambda: levy.BetaPareto(0.0, 1.0, 2.0), "mass must be above 0, got 0.0"),
        (lambda: levy.BetaPareto(1.0, 0.0, 2.0), "concentration must be above 0, got 0.0"),
        (lambda: levy.BetaPareto(1.0, 1.0, 0.0), "tau must be above 0, got 0.0"),
        (lambda: levy.Gamma(1.0).scaled(0.0), "factor must be above 0, got 0.0"),
        (lambda: levy.Gamma(1.0).scaled(2.0).scaled(-1.0), "factor must be above 0, got -1.0"),
        (lambda: -1.0 * levy.Gamma(1.0), "weight must be above 0, got -1.0"),
        (lambda: -1.0 * levy.Gamma(1.0).scaled(2.0), "weight must be above 0, got -1.0"),
        (
            lambda: levy.CompoundPoisson(0.0, dist.Exponential(1.0)),
            "rate must be above 0, got 0.0",
        ),
        (lambda: levy.Thinned(GAMMA, 0.0), "rate must be above 0, got 0.0"),
        *(
            (lambda f=f: f(3.0, 0.5), "measure must be a Lévy measure, got 3.0")
            for f in (levy.Rescaled, levy.Thinned, levy.num_jumps)
        ),
        *(
            (lambda p=p: levy.Sum(p), f"parts must be a tuple of measures, one at least, got {p!r}")
            for p in ((), 3.0, GAMMA)
        ),
        (lambda: levy.Sum((GAMMA, 1)), "parts must be a Lévy measure, got 1"),
    ],
)
def test_bad_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


@every_family
@pytest.mark.parametrize(
    "bad", [0.5 + 1j, None, "a", {}, [], [0.5], [[1], [1, 2]], np.ones((1, 1))]
)
def test_nonsense_as_a_parameter_is_one_clear_error(name, bad):
    """In every place, of every family."""
    build, _, rows = FAMILIES[name]
    for i in range(len(rows[0])):
        with pytest.raises(ValueError, match=r"^(\w+) must be (one number|above|in \()"):
            build(*rows[0][:i], bad, *rows[0][i + 1 :])


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS, "Sum", "Rescaled"])
def test_pickling(name):
    """By `pickle`, where there is no function without a name, and by `cloudpickle`."""
    build = (CASES | OTHERS)[name]
    build, row = (build[0], build[2][0]) if isinstance(build, tuple) else (build, (2.0,))
    measure = build(*row)
    for module in (pickle, cloudpickle) if name != "FromDensity" else (cloudpickle,):
        again = module.loads(module.dumps(measure))
        assert type(again) is type(measure)
        for one, other in zip(*map(jax.tree.leaves, (again, measure)), strict=True):
            np.testing.assert_array_equal(one, other)
        if name not in FAMILIES:
            assert again.tail(0.3) == measure.tail(0.3)


def test_pickling_keeps_what_a_density_closes_over():
    """Also parameters that were changed since."""
    rate = jnp.array(3.0)
    measure = levy.FromDensity(lambda x: 2 / x * jnp.exp(-rate * x))
    changed = eqx.tree_at(lambda m: m.function.args[0], measure, replace_fn=_doubled)
    for one in (measure, changed, levy.Thinned(measure, 1.0), measure + GAMMA):
        again = cloudpickle.loads(cloudpickle.dumps(one))
        np.testing.assert_array_equal(again.density(0.3), one.density(0.3))
    assert changed.density(0.3) != measure.density(0.3)


def _doubled(tree):
    return jax.tree.map(lambda leaf: 2 * leaf if eqx.is_array(leaf) else leaf, tree)


@pytest.mark.parametrize("name", ["Stable", "GeneralizedGamma", "InverseGaussian", "Beta"])
def test_totals_are_finite(name, key):
    """Those of known laws, and one that is drawn by its largest jumps."""
    build, _, rows = FAMILIES[name]
    totals = build(*rows[0]).sample_total(key=key, shape=(20,), num_jumps=5)
    assert np.all(np.isfinite(totals) & (totals > 0))


# --- cases that were wrong ------------------------------------------------------------------


@needs_x64
@pytest.mark.parametrize(
    ("parameters", "x"),
    [
        *(((1, 0.5, tau), 0.7) for tau in (12, 30, 60, 200)),
        *(((1, b, 60), x) for b in (0.02, 1, 7) for x in (0.7, 0.95, 0.999)),
    ],
)
def test_beta_pareto_with_a_light_tail(parameters, x):
    mass, b, tau = parameters
    measure = levy.BetaPareto(*map(float, parameters))
    with mp.workdps(40):
        inner = mp.betainc(tau, b, 0, mp.mpf(x))
        exact = tau * mp.mpf(x) ** (-tau - 1) * mass * b * inner
    assert float(measure.density(x)) == pytest.approx(float(exact), rel=1e-11)


@needs_x64
def test_moments_of_beta_pareto_that_differ_little_between_orders():
    """With a small concentration they hardly depend on the order."""
    orders = np.array([0.3, 0.999, 1.0, 1.5, 3.7, 10.0, 40.0])
    x = np.array([0.5, 0.9, 0.999, 0.9999999, 1.0, 1.001, 3.0])
    for b in (0.01, 0.5):
        measure = levy.BetaPareto(1.0, b, 1.0)
        oracle = cases.oracles.BetaPareto(mp.mpf(1), mp.mpf(b), mp.mpf(1))
        got = measure.moment(orders[:, None], x[None])
        exact = [[float(oracle.moment(mp.mpf(k), mp.mpf(z))) for z in x] for k in orders]
        np.testing.assert_allclose(got, exact, rtol=1e-11)


@needs_x64
@pytest.mark.parametrize("name", ["Beta", "BetaPareto"])
def test_derivatives_in_the_second_shape_at_one(name):
    """The default concentration, where two forms of the incomplete beta function meet."""

    def f(b, x):
        measure = levy.Beta(1.0, b) if name == "Beta" else levy.BetaPareto(1.0, b, 3.0)
        return jnp.log(measure.tail(x)) + measure.moment(2.0, x)

    x, step = [0.02, 0.5, 0.85, 3.0][: 3 if name == "Beta" else 4], [0, 1e-5, -1e-5]
    b, step, x = np.meshgrid([0.5, 0.999, 1.0, 1.001, 2.0], step, x, indexing="ij")
    both = jax.jit(jax.vmap(jax.value_and_grad(f)))((b + step).ravel(), x.ravel())
    values, slopes = (v.reshape(b.shape) for v in both)
    difference = (values[:, 1] - values[:, 2]) / 2e-5
    np.testing.assert_allclose(slopes[:, 0], difference, rtol=1e-6)


# --- algebra --------------------------------------------------------------------------------


def test_algebra():
    total = GAMMA + HORSESHOE + STABLE
    assert total.parts == (GAMMA, HORSESHOE, STABLE)
    assert (GAMMA + (HORSESHOE + STABLE)).parts == total.parts
    assert repr(3.0 * GAMMA) == repr(GAMMA * 3.0)
    merged = 3.0 * (2.0 * GAMMA.scaled(2.0)).scaled(4.0)
    assert (merged.measure, merged.factor, merged.weight) == (GAMMA, 8.0, 6.0)
    for combined in (total, GAMMA.scaled(2.0), 3.0 * GAMMA):
        assert "Gamma(mass=2.0, rate=3.0)" in repr(combined)
    for wrong in (1, "measure", None):
        with pytest.raises(TypeError):
            GAMMA + wrong
        with pytest.raises(TypeError):
            wrong + GAMMA
    with pytest.raises((TypeError, ValueError)):
        GAMMA * HORSESHOE


# --- an own measure -------------------------------------------------------------------------


class TwoPowers(levy.LevyMeasure):
    """`ρ̄(x) = x^(-a) + x^(-b)`, `0 < b < a < 1`, with what must be defined and no more."""

    a: float
    b: float

    def log_tail_inside(self, v):
        return jnp.logaddexp(-self.a * v, -self.b * v)

    def log_density_inside(self, v):
        return jnp.logaddexp(jnp.log(self.a) - self.a * v, jnp.log(self.b) - self.b * v)

    def log_moment_inside(self, k, v):
        return jnp.logaddexp(*(jnp.log(c / (k - c)) + (k - c) * v for c in (self.a, self.b)))

    @property
    def index_at_zero(self):
        return self.a

    @property
    def index_at_infinity(self):
        return self.b


def test_own_measure_has_all_properties(key):
    measure, same = TwoPowers(0.75, 0.5), levy.Stable(0.75) + levy.Stable(0.5)
    x, u = jnp.array([0, 1e-9, 0.3, 2.0, 1e6, jnp.inf, -1.0]), jnp.array([1e-3, 0.1, 3.0, 1e4])
    orders, t = jnp.array([[1.0], [2.0]]), jnp.array([0, 1e-3, 1.0, 100.0])
    draw = {"key": key, "shape": (3,)}

    @jax.jit
    def compute(measure):
        jumps = measure.ranked_jumps(20, **draw)
        above, total = measure.jumps_above(0.1, 20, **draw), measure.sample_total(**draw)
        larger = 2.0 * measure.scaled(3.0) + levy.Gamma(1.0)
        return {
            "functions": (measure.density(x), measure.tail(x), measure.moment(orders, x[None])),
            "laplace": measure.laplace_exponent(t),
            "inverse": measure.inverse_tail(u),
            "jumps": (jumps, above),
            "larger": larger.tail(x),
        }, total

    (found, total), (expected, _) = compute(measure), compute(same)
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-9, atol=1e-12), found, expected)
    assert np.all(np.isfinite(total) & (total > 0))
    slope = jax.jit(jax.grad(lambda a: TwoPowers(a, 0.5).log_inverse_tail(3.0)))(0.75)
    v = math.log(float(measure.inverse_tail(u)[2]))
    exact = -v * math.exp(-0.75 * v) / (0.75 * math.exp(-0.75 * v) + 0.5 * math.exp(-0.5 * v))
    assert_close(slope, exact, rtol=1e-9)
    mapped = jax.vmap(lambda a: TwoPowers(a, 0.5).tail(2.0))(jnp.array([0.75, 0.6]))
    assert_close(mapped, [2**-0.75 + 2**-0.5, 2**-0.6 + 2**-0.5], rtol=1e-12)
