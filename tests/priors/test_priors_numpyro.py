"""What NumPyro's own tests ask of a distribution, of every node-variance law."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from oracles.priors import X64, needs_x64

from mogp import levy, priors

SLAB = priors.GammaLaw(2.0, 3.0)


class Case(NamedTuple):
    """How to build a law, two values of every parameter, and a bad one."""

    build: Callable
    values: dict
    bad: dict
    outside: tuple = (-1.0, -1e-9, math.inf, math.nan)


def below(parameters, low=-1.0):
    return dict.fromkeys(parameters.split(), low)


LAWS = {
    "GammaLaw": Case(
        priors.GammaLaw,
        {"concentration": (0.4, 3.0), "rate": (1.0, 2.0)},
        below("concentration rate", 0.0),
    ),
    "InverseGammaLaw": Case(
        priors.InverseGammaLaw,
        {"concentration": (6.0, 9.0), "scale": (1.0, 2.0), "width": (1.0, 3.0)},
        below("concentration scale width", 0.0),
    ),
    "BetaLaw": Case(
        priors.BetaLaw, {"a": (0.3, 2.0), "b": (0.5, 3.0)}, below("a b", 0.0), (-1.0, 0.0, 1.0, 1.5)
    ),
    "BetaParetoLaw": Case(
        priors.BetaParetoLaw,
        {"a": (0.3, 2.0), "b": (0.5, 3.0), "tau": (9.0, 12.0)},
        below("a b tau", 0.0),
    ),
    "ParetoLaw": Case(
        priors.ParetoLaw,
        {"alpha": (9.0, 12.0), "scale": (0.5, 2.0), "width": (1.0, 1.5)},
        below("alpha scale width", 0.0),
        (-1.0, 0.0, 0.49, math.inf),
    ),
    "SquaredHalfCauchy": Case(
        priors.SquaredHalfCauchy,
        {"scale": (0.1, 2.0), "slab": (0.5, 2.0)},
        below("scale slab"),
        (-1.0, 0.0, 2.01, math.inf),
    ),
    "FiniteGeneralizedGamma": Case(
        priors.FiniteGeneralizedGamma,
        {"alpha": (0.3, 0.7), "rate": (1.0, 2.0), "mass": (1.0, 3.0), "width": (10.0, 20.0)},
        below("alpha rate mass width") | {"alpha": 1.0},
    ),
    "FiniteGBFRY": Case(
        priors.FiniteGBFRY,
        {"alpha": (0.3, 0.7), "tau": (9.0, 12.0), "scale": (1.0, 2.0), "width": (10.0, 20.0)},
        below("scale width", 0.0),
    ),
    "SpikeAndSlabLaw": Case(
        lambda probability, **kwargs: priors.SpikeAndSlabLaw(probability, SLAB, **kwargs),
        {"probability": (0.3, 0.6)},
        {"probability": 1.5},
    ),
    "ScaledLaw": Case(
        lambda shape=2.0, factor=1.0, **kwargs: priors.ScaledLaw(
            priors.GammaLaw(shape, 3.0), factor, **kwargs
        ),
        {"shape": (0.4, 3.0), "factor": (0.5, 2.0)},
        {"factor": 0.0},
    ),
    "MeasureLaw": Case(
        lambda: priors.MeasureLaw(levy.CompoundPoisson(3.0, SLAB)),
        {},
        {},
    ),
    "InfinitelyDivisibleLaw": Case(
        lambda location, **kwargs: priors.InfinitelyDivisibleLaw(
            location, levy.GeneralizedGamma(0.5), **kwargs
        ),
        {"location": (0.5, 1.0)},
        {"location": -1.0},
    ),
}
SCALAR_ONLY = ("MeasureLaw", "InfinitelyDivisibleLaw")
BATCHED = [name for name in LAWS if name not in SCALAR_ONLY]
DENSITIES = [name for name in LAWS if name != "InfinitelyDivisibleLaw"]
every_law = pytest.mark.parametrize("name", LAWS)
every_density = pytest.mark.parametrize("name", DENSITIES)
every_batched = pytest.mark.parametrize("name", BATCHED)

RTOL = 1e-10 if X64 else 2e-5
log_prob = jax.jit(lambda law, x: law.log_prob(x))
density_and_slopes = jax.jit(
    jax.vmap(jax.value_and_grad(lambda law, x: law.log_prob(x), 1), (None, 0))
)
cdf = jax.jit(lambda law, x: law.cdf(x))
draws_of = jax.jit(lambda law, key: law.sample(key, (5000,)))


def scalar(name):
    case = LAWS[name]
    return case.build(**{key: jnp.asarray(value[0], float) for key, value in case.values.items()})


def stacked(name):
    return {key: jnp.array(value, float) for key, value in LAWS[name].values.items()}


def batch(name):
    return LAWS[name].build(**stacked(name))


def shape_of(function, *args):
    """Of arrays that are traced, so that a value outside the support tells nothing."""
    return eqx.filter_eval_shape(function, *args).shape


def test_every_law_is_here():
    public = {getattr(priors, name) for name in priors.__all__}
    laws = {
        value.__name__
        for value in public
        if inspect.isclass(value) and issubclass(value, dist.Distribution)
    }
    assert laws == set(LAWS) | {"NodeVarianceLaw"}


# --- shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "build", "shape"),
    [
        *((name, scalar, ()) for name in LAWS),
        *((name, batch, (2,)) for name in BATCHED),
    ],
)
def test_shapes(name, build, shape, key):
    law = build(name)
    assert isinstance(law, dist.Distribution)
    assert law.batch_shape == shape
    assert law.event_shape == ()
    assert not law.is_discrete
    wide = law.expand((3, *shape))
    assert wide.batch_shape == (3, *shape)
    for lead in ((), (5,), (4, 1)):
        assert shape_of(law.sample, key, lead) == (*lead, *shape)
        assert shape_of(wide.sample, key, lead) == (*lead, 3, *shape)
    assert jnp.shape(law.mean) == jnp.shape(law.variance) == shape
    if name != "InfinitelyDivisibleLaw":
        assert shape_of(law.log_prob, jnp.array(0.3)) == shape
        assert shape_of(law.log_prob, jnp.full((4, *shape), 0.3)) == (4, *shape)
        assert shape_of(law.log_prob, jnp.full((4, 1), 0.3)) == (4, *(shape or (1,)))
        assert shape_of(law.cdf, jnp.full((4, *shape), 0.3)) == (4, *shape)
        assert shape_of(wide.to_event(1).log_prob, jnp.ones((3, *shape))) == (3, *shape)[:-1]


@every_batched
def test_parameters_broadcast(name):
    values = stacked(name)
    if len(values) < 2:
        pytest.skip("one parameter")
    if name == "ScaledLaw":
        pytest.skip("the factor is a scalar or of the shape of the law")
    first, *_ = values
    law = LAWS[name].build(**values | {first: values[first][:, None]})
    assert law.batch_shape == jnp.shape(law.mean) == (2, 2)
    assert shape_of(law.sample, jax.random.key(0), (3,)) == (3, 2, 2)
    assert shape_of(law.log_prob, jnp.ones((3, 1, 1))) == (3, 2, 2)


# --- densities and draws --------------------------------------------------------------------


@every_density
def test_density_at_draws_and_its_transforms(name, key):
    law = scalar(name)
    x = draws_of(law, key)
    assert x.dtype == jnp.result_type(float)
    density, slopes = density_and_slopes(law, x)
    assert np.isfinite(density).all()
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(draws_of(law, key), x)
    assert np.mean(np.isin(draws_of(law, jax.random.key(1)), x[x > 0])) <= (0 if X64 else 0.05)
    np.testing.assert_allclose(law.log_prob(x[0]), density[0], rtol=RTOL, atol=RTOL)


@every_batched
def test_batches_are_the_laws_one_by_one(name, key):
    """By broadcasting, and by `vmap` through the constructor."""
    law, build, values = batch(name), LAWS[name].build, stacked(name)
    x = jnp.array([0.01, 0.3, 0.7])[:, None]
    got = log_prob(law, x)
    ones = [build(**{key: value[i] for key, value in values.items()}) for i in range(2)]
    expected = np.stack([log_prob(one, x[:, 0]) for one in ones], axis=1)
    np.testing.assert_allclose(got, expected, rtol=RTOL)
    many = jax.vmap(lambda values: build(**values))(values)
    mapped = jax.jit(jax.vmap(lambda law: law.log_prob(x[:, 0]), out_axes=1))(many)
    np.testing.assert_allclose(mapped, expected, rtol=RTOL)
    for i, one in enumerate(ones):
        np.testing.assert_allclose(law.mean[i], one.mean, rtol=RTOL)
        np.testing.assert_allclose(law.variance[i], one.variance, rtol=RTOL)


@every_density
def test_outside_the_support(name):
    law = scalar(name)
    outside = jnp.resize(jnp.array(LAWS[name].outside), 5000)  # the shape compiled already
    density, slopes = density_and_slopes(law, outside)
    np.testing.assert_array_equal(density, -jnp.inf)
    assert np.isfinite(slopes).all()
    np.testing.assert_array_equal(slopes[(outside <= 0) | (outside == jnp.inf)], 0)


@every_density
def test_the_support_holds_the_draws(name, key):
    law = scalar(name)
    x = draws_of(law, key)[:100]
    assert np.asarray(law.support(x)).all()
    if name != "SpikeAndSlabLaw":
        to_support = dist.biject_to(law.support)
        np.testing.assert_allclose(to_support(to_support.inv(x)), x, rtol=1e-4)


@every_density
def test_cdf_of_draws(name, key):
    """It grows from 0 to 1."""
    law = scalar(name)
    x = jnp.concatenate([jnp.array([-1.0]), jnp.sort(draws_of(law, key)), jnp.array([1e6])])
    got = np.asarray(cdf(law, x))
    assert got[0] == 0
    assert got[-1] == pytest.approx(1, abs=1e-5)
    assert np.all(np.diff(got) >= (-1e-9 if X64 else -2e-6))
    assert abs(np.mean(got[1:-1] <= 0.8) - 0.8) < 0.02 or name == "SpikeAndSlabLaw"


@pytest.mark.statistical
@every_law
def test_moments_against_draws(name, key):
    """Six standard errors. All laws of the table have moments of order 4 and more."""
    law = scalar(name)
    x = np.asarray(draws_of(law, key), np.float64)
    deviation = (x - x.mean()) ** 2
    root_n = math.sqrt(len(x))
    assert abs(x.mean() - float(law.mean)) < 6 * x.std() / root_n
    assert abs(deviation.mean() - float(law.variance)) < 6 * deviation.std() / root_n


# --- gradients of draws ---------------------------------------------------------------------

REPARAMETRIZED = [
    (name, parameter)
    for name in BATCHED
    for parameter in scalar(name).reparametrized_params
    if parameter in LAWS[name].values
]


def test_who_is_reparametrized():
    assert len(REPARAMETRIZED) == 15
    assert not any(parameter in ("alpha", "a", "b") for name, parameter in REPARAMETRIZED[:5])


@pytest.mark.statistical
@needs_x64
@pytest.mark.parametrize(("name", "parameter"), REPARAMETRIZED)
def test_gradients_of_draws(name, parameter, key):
    """The mean of the gradients is the gradient of the mean; and they are those of the path."""
    build, values = LAWS[name].build, {key: float(v[0]) for key, v in LAWS[name].values.items()}

    @jax.jit
    def draw(value):
        return build(**values | {parameter: value}).sample(key, (4000,))

    value = jnp.asarray(values[parameter])
    tangent = np.asarray(jax.jvp(draw, (value,), (jnp.ones(()),))[1])
    assert np.isfinite(tangent).all()
    total = jax.grad(lambda value: draw(value).sum())(value)
    np.testing.assert_allclose(total, tangent.sum(), rtol=1e-9)
    slope = jax.grad(lambda value: build(**values | {parameter: value}).mean)(value)
    assert abs(tangent.mean() - float(slope)) < 6 * tangent.std() / math.sqrt(len(tangent)) + 1e-12
    if parameter != "concentration":  # those of rejection samplers are implicit
        step = 1e-5 * float(value)
        path = (draw(value + step) - draw(value - step)) / (2 * step)
        np.testing.assert_allclose(tangent, path, rtol=1e-5, atol=1e-8)


# --- what else NumPyro's test_distributions.py asks --------------------------------------------


@every_law
def test_constructors_and_constraints(name):
    """Signatures name the constrained parameters; values outside are refused if validated only."""
    case, law = LAWS[name], scalar(name)
    for constraint in law.arg_constraints.values():
        assert (constraint.event_dim, constraint.is_discrete) == (0, False)
    if inspect.isclass(case.build):
        named = inspect.getfullargspec(case.build.__init__)
        assert named[0][1:] == list(law.arg_constraints) == list(case.values)
        assert named.kwonlyargs == ["validate_args"]
        with numpyro.validation_enabled(False):
            law = case.build(**dict.fromkeys(case.values, -1.0))
        with pytest.raises(ValueError, match="got invalid"):
            law.validate_args()
        with pytest.raises(TypeError, match=r"argument"):
            case.build(nonsense=1.0)
    if not law.has_rsample:
        with pytest.raises(NotImplementedError):
            law.rsample(jax.random.key(0))


@every_density
def test_values_outside_the_support_are_told(name):
    """Where arguments are validated; also in a compiled function, of constants."""
    case = LAWS[name]
    values = {key: jnp.asarray(value[0], float) for key, value in case.values.items()}
    if name == "MeasureLaw":
        law = priors.MeasureLaw(levy.CompoundPoisson(3.0, SLAB), validate_args=True)
    else:
        law = case.build(**values, validate_args=True)
    outside = jnp.array([-1.0, 0.3])
    with pytest.warns(UserWarning, match="Out-of-support"):
        got = law.log_prob(outside)
    assert got[0] == -jnp.inf
    with pytest.warns(UserWarning, match="Out-of-support"):
        jax.jit(lambda: law.log_prob(-1.0))()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law.log_prob(law.sample(jax.random.key(0), (20,)))
        if name == "SpikeAndSlabLaw":
            law.log_prob(0.0)
        jax.jit(lambda law, x: law.log_prob(x))(law, outside)  # nothing is known of tracers
        with numpyro.validation_enabled(False):
            scalar(name).log_prob(outside)


@every_batched
def test_expand_and_mask(name, key):
    law = batch(name)
    wide = law.expand((3, 2))
    assert wide.expand((4, 3, 2)).batch_shape == (4, 3, 2)
    with pytest.raises(ValueError, match="Cannot broadcast distribution of shape"):
        wide.expand((3, 3))
    x = law.sample(key)
    assert shape_of(wide.log_prob, wide.sample(key)) == (3, 2)
    masked = law.mask(jnp.array([True, False])).log_prob(x)
    np.testing.assert_allclose(masked, [law.log_prob(x)[0], 0], rtol=RTOL)
    assert law.mask(False).has_rsample == law.has_rsample == law.to_event(1).has_rsample


@every_batched
def test_distributions_come_out_of_transformations(name, key):
    """`jit`, `lax.map` and `vmap` return laws with the same parameters."""
    values, build = {key: v[0] for key, v in LAWS[name].values.items()}, LAWS[name].build
    law = build(**values)

    def of(scale):
        return build(**{key: value * scale for key, value in values.items()})

    jitted, mapped = jax.jit(of)(1.0), jax.lax.map(of, jnp.ones(3))
    vmapped = jax.vmap(of)(jnp.ones(3))
    for parameter in law.arg_constraints:
        expected = getattr(law, parameter)
        np.testing.assert_allclose(getattr(jitted, parameter), expected, rtol=1e-6)
        np.testing.assert_allclose(getattr(mapped, parameter), np.full(3, expected), rtol=1e-6)
        np.testing.assert_allclose(getattr(vmapped, parameter), np.full(3, expected), rtol=1e-6)
    draws = jax.jit(jax.vmap(lambda law: law.sample(key)))(vmapped)
    np.testing.assert_allclose(draws, np.full(3, law.sample(key)), rtol=1e-5)


# --- pytrees, arguments, models -------------------------------------------------------------


@every_law
def test_pytree_round_trip(name, key):
    law = scalar(name)
    leaves, tree = jax.tree.flatten(law)
    assert all(isinstance(leaf, jax.Array | float | int) for leaf in leaves)
    again = jax.tree.unflatten(tree, leaves)
    assert type(again) is type(law)
    assert again.batch_shape == law.batch_shape
    assert jax.tree.structure(again) == tree
    np.testing.assert_array_equal(again.sample(key, (3,)), law.sample(key, (3,)))
    np.testing.assert_allclose(jax.jit(lambda law: law.mean)(law), law.mean, rtol=RTOL)
    if name != "InfinitelyDivisibleLaw":
        inside = law.sample(key)
        assert float(again.log_prob(inside)) == float(law.log_prob(inside))
        doubled = jax.tree.map(lambda leaf: leaf, law.expand((2,)))
        assert doubled.log_prob(jnp.full(2, inside)).shape == (2,)


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, bad) for name, case in LAWS.items() for bad in case.bad]
)
def test_bad_parameters(name, parameter):
    case = LAWS[name]
    values = {key: value[0] for key, value in case.values.items()}
    case.build(**values, validate_args=True)
    with pytest.raises(ValueError, match=f"got invalid {parameter} parameter"):
        case.build(**values | {parameter: case.bad[parameter]}, validate_args=True)
    if name != "ScaledLaw":
        several = jnp.array([values.get(parameter, 1.0), case.bad[parameter]])
        with pytest.raises(ValueError, match=f"got invalid {parameter} parameter"):
            case.build(**values | {parameter: several}, validate_args=True)


@every_density
def test_as_a_site(name):
    def model(observed=None):
        with numpyro.plate("nodes", 4):
            numpyro.sample("variance", scalar(name), obs=observed)

    trace = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()
    site = trace["variance"]
    assert site["value"].shape == (4,)
    assert site["fn"].batch_shape == (4,)
    density, _ = numpyro.infer.util.log_density(model, (site["value"],), {}, {})
    expected = log_prob(scalar(name), site["value"]).sum()
    np.testing.assert_allclose(density, expected, rtol=1e-5)


def test_infinitely_divisible_as_a_site():
    """It can be drawn, with a gradient in its location, but not scored."""

    def model():
        return numpyro.sample("variance", scalar("InfinitelyDivisibleLaw").expand((3,)))

    seeded = numpyro.handlers.seed(model, 0)
    assert np.all(seeded() > 0.5)
    trace = numpyro.handlers.trace(seeded).get_trace()
    with pytest.raises(NotImplementedError, match="no density in closed form"):
        trace["variance"]["fn"].log_prob(trace["variance"]["value"])
