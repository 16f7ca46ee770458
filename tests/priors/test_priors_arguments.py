"""Arguments of priors: text, representation, ranges, and errors that name what is wrong."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from priors_cases import OTHERS, PRIORS, SLAB, TEMPERED

from mogp import levy, priors
from mogp.priors import FiniteGBFRY

# --- the adapters ---------------------------------------------------------------------------


def test_deterministic(key):
    law = priors.Deterministic().at_width(50)
    assert float(law.mean) == pytest.approx(0.02)
    np.testing.assert_array_equal(law.sample(key, (3,)), jnp.full(3, 0.02))
    assert float(law.log_prob(0.02)) == 0
    assert float(law.log_prob(0.03)) == -math.inf


def test_repr_says_name_and_parameters():
    assert repr(priors.GBFRY(alpha=0.5, tau=2.0)) == "GBFRY(alpha=0.5, tau=2.0)"
    assert repr(priors.GBFRY(0.5, 2.0, 3.0)) == "GBFRY(alpha=0.5, tau=2.0, mean=3.0)"
    assert repr(priors.Horseshoe()) == "Horseshoe()"
    assert repr(priors.Beta(2.0)) == "Beta(mass=2.0)"
    assert repr(priors.from_levy(levy.Stable(0.5))) == "FromLevy(levy=Stable(alpha=0.5))"
    spike = priors.SpikeAndSlab(3.0, dist.Exponential(2.0))
    assert repr(spike) == "SpikeAndSlab(mass=3.0, slab=Exponential(rate=2.0))"
    unknown = priors.Stable(dist.Uniform(0.25, 0.5), jnp.array(2.0))
    assert repr(unknown) == "Stable(alpha=Uniform(low=0.25, high=0.5), scale=2)"
    assert repr(priors.Gamma(jnp.ones(3, jnp.float32))) == "Gamma(mass=f32[3])"
    traced = []
    jax.eval_shape(lambda mass: traced.append(repr(priors.Gamma(mass))), jnp.float32(1))
    assert traced == ["Gamma(mass=f32[])"]


def test_repr_of_distributions_says_name_and_parameters():
    assert repr(priors.Beta(1.0, 0.5).at_width(10)) == "BetaLaw(a=0.05, b=0.5)"
    law = spike = priors.SpikeAndSlab(3.0, dist.Exponential(2.0)).at_width(4)
    assert repr(spike) == "SpikeAndSlabLaw(probability=0.75, slab=Exponential(rate=2.0))"
    law = priors.ScaledLaw(priors.GammaLaw(2.0, 3.0), jnp.array(0.5))
    assert repr(law) == "ScaledLaw(factor=0.5, base=GammaLaw(concentration=2.0, rate=3.0))"
    law = priors.InfinitelyDivisibleLaw(0.5, levy.Stable(0.5))
    expected = "InfinitelyDivisibleLaw(location=0.5, measure=Stable(alpha=0.5), num_jumps=1000)"
    assert repr(law) == expected


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("gbfry(alpha=0.5, tau=2)", priors.GBFRY(0.5, 2.0)),
        (" GBFRY(tau=2, alpha=.5, mean=3)", priors.GBFRY(0.5, 2.0, 3.0)),
        ("horseshoe", priors.Horseshoe()),
        ("Horseshoe()\n", priors.Horseshoe()),
        ("iid", priors.Deterministic()),
        ("deterministic", priors.Deterministic()),
        ("grouplasso(fan_out=10)", priors.GroupLasso(10.0)),
        ("inversegamma(shape=2)", priors.InverseGamma(2.0)),
        ("bernoulli(mass=3)", priors.Bernoulli(3.0)),
        ("gamma(mass=2)", priors.Gamma(2.0)),
        ("Beta(mass=1, concentration=0.5)", priors.Beta(1.0, 0.5)),
        ("betapareto(mass=1, concentration=1, tau=3)", priors.BetaPareto(1.0, 1.0, 3.0)),
        ("regularizedhorseshoe", priors.RegularizedHorseshoe()),
        ("stable(alpha=.5, scale=2)", priors.Stable(0.5, 2.0)),
        ("generalizedgamma(alpha=.5, mass=2)", priors.GeneralizedGamma(0.5, mass=2.0)),
    ],
)
def test_parse(text, prior):
    assert priors.parse(text) == prior
    assert priors.parse(repr(prior)) == prior


def test_parse_knows_every_prior_of_numbers():
    with pytest.raises(ValueError, match="one of") as error:
        priors.parse("normal")
    of_numbers = {type(prior).__name__.lower() for prior, _ in PRIORS.values()}
    names = sorted(of_numbers | {"iid", "deterministic", "bernoulli"})
    assert str(error.value) == f"prior must be one of {names}, got 'normal'"


FORM = "prior must be written as name or name(parameter=number, ...), got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, FORM + repr(text)) for text in ("", "gbfry(.5, 2)", "gbfry(alpha=x, tau=2)", "(")),
        *((text, FORM + repr(text)) for text in ("a.b()", "gbfry(**{'alpha': .5})", "1 + 1")),
        *((text, FORM + repr(text)) for text in ("gbfry(alpha=.5, alpha=.6, tau=2)", None, 3)),
        ("gamma(mass=" + "(" * 10_000, FORM + "'gamma(mass=((("),
        ("gamma(mass=" + "-" * 100_000 + "1)", FORM + "'gamma(mass=---"),
        ("gamma(mass=" + "9" * 400 + ")", "mass must be above 0, got inf, which is not finite"),
        ("gamma(mass=-" + "9" * 400 + ")", "mass must be above 0, got -inf, which is not finite"),
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
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        priors.parse(text)
    assert len(str(error.value)) < 300


# --- bad arguments --------------------------------------------------------------------------

# A good value of every parameter.
GOOD = {
    priors.GroupLasso: {"fan_out": 10},
    priors.InverseGamma: {"shape": 2.0, "scale": 1.0},
    priors.Bernoulli: {"mass": 1.0},
    priors.SpikeAndSlab: {"mass": 1.0, "slab": SLAB},
    priors.Gamma: {"mass": 1.0, "rate": 1.0},
    priors.Beta: {"mass": 1.0, "concentration": 1.0},
    priors.BetaPareto: {"mass": 1.0, "concentration": 1.0, "tau": 2.0},
    priors.RegularizedHorseshoe: {"slab": 1.0},
    priors.Stable: {"alpha": 0.5, "scale": 1.0},
    priors.GeneralizedGamma: {"alpha": 0.5, "rate": 1.0, "mass": 1.0},
    priors.GBFRY: {"alpha": 0.5, "tau": 2.0, "mean": 1.0},
    priors.InfinitelyDivisible: {"location": 1.0, "levy": TEMPERED},
}


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_every_parameter_has_its_range(kind):
    good = GOOD[kind]
    kind(**good)
    assert set(kind.bounds) == set(good) - {"slab", "location", "levy"} | {*kind.bounds} & {"slab"}
    for name in [name for name in good if isinstance(good[name], int | float)]:
        bad, message = [-1.0, math.nan, "x", jnp.array([0.5, -1.0])], "above 0"
        if name == "tau" and kind is priors.GBFRY:
            bad, message = [*bad, 1.0], "above 1"
        elif name == "alpha":
            bad, message = [*bad, 0.0, 1.0], "in (0, 1)"
        elif name != "location":
            bad.append(0.0)
        if name == "location":
            bad.pop(3)  # an array, which is told to be one number
        for value in bad:
            with pytest.raises(ValueError, match=f"^{name} must be {re.escape(message)}, got "):
                kind(**good | {name: value})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        *(
            (lambda p=p, w=w: p.at_width(w), f"width must be an integer of at least 1, got {w!r}")
            for p, _ in (PRIORS | OTHERS).values()
            for w in (0, -1, 2.5, True, "3")
        ),
        *(
            (lambda p=p: p.at_width(3, total_mean=0.0), "total_mean must be above 0, got 0.0")
            for p in (priors.GBFRY(0.5, 2.0), priors.Deterministic(), priors.Bernoulli(1.0))
        ),
        (
            lambda: priors.Horseshoe().at_width(3, total_mean=1.0),
            "total_mean cannot be set for Horseshoe(): its mean is infinite",
        ),
        (lambda: priors.InverseGamma(1.0), "shape must not be 1, where no scale has a limit"),
        *(
            (
                lambda f=f: f(2.0),
                name + " must be a NumPyro distribution of numbers in [0, inf), got 2.0",
            )
            for name, f in (
                ("slab", lambda law: priors.SpikeAndSlab(1.0, law)),
                ("slab", lambda law: priors.SpikeAndSlabLaw(0.5, law)),
                ("base", lambda law: priors.ScaledLaw(law, 2.0)),
            )
        ),
        *(
            (lambda f=f: f(SLAB), "measure must be a measure of mogp.levy, got GammaLaw(")
            for f in (priors.MeasureLaw, lambda law: priors.InfinitelyDivisibleLaw(0.5, law))
        ),
        *(
            (lambda f=f: f(3.0), "law must be a NumPyro distribution, got 3.0")
            for f in (priors.has_density, lambda law: priors.sample_log(law, None))
        ),
        (lambda: priors.ScaledLaw(SLAB, "two"), "factor must be a real number or an array of them"),
        (lambda: priors.SpikeAndSlabLaw(None, SLAB), "probability must be a real number or an"),
        (
            lambda: priors.InfinitelyDivisibleLaw(SLAB, TEMPERED),
            "location must be a real number or an array of them",
        ),
        (
            lambda: priors.InfinitelyDivisible(0.0, 2.0),
            "levy must be a measure of mogp.levy, got 2.0",
        ),
        (lambda: priors.from_levy(2.0), "levy must be a measure of mogp.levy, got 2.0"),
        (lambda: priors.from_levy(levy.NoJumps()), "levy must have jumps, got NoJumps()"),
        (
            lambda: jax.eval_shape(lambda shape: priors.InverseGamma(shape).limit, 2.0),
            "shape must be concrete: the regime depends on it",
        ),
        *(
            (
                lambda bad=bad: priors.check_priors(bad),
                "priors must be a list with one Prior a hidden",
            )
            for bad in (priors.Horseshoe(), [], ["horseshoe"], None, 3.0)
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
    """Where NumPyro validates; without, the density is NaN, like that of a traced parameter."""
    with pytest.raises(ValueError, match="got invalid tau parameter: it must be above alpha, got"):
        FiniteGBFRY(0.5, 0.4, 1.0, 10, validate_args=True)
    assert jnp.isnan(FiniteGBFRY(0.5, 0.4, 1.0, 10, validate_args=False).log_prob(1.0))
    assert jnp.isnan(jax.jit(lambda tau: FiniteGBFRY(0.5, tau, 1.0, 10).log_prob(1.0))(0.4))


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_the_limit_of_arrays_asks_for_vmap(kind):
    """A distribution at a width takes arrays of parameters, a Lévy measure does not."""
    several = jnp.array([0.25, 0.75]) if "alpha" in kind.bounds else jnp.array([2.0, 3.0])
    for name in kind.bounds:
        values = jnp.array([2.0, 3.0]) if name in ("tau", "mean", "scale") else several
        prior = kind(**GOOD[kind] | {name: values})
        if kind not in (priors.InfinitelyDivisible, priors.SpikeAndSlab):
            assert prior.at_width(10).batch_shape == (2,)
        with pytest.raises(ValueError, match=r"must be one number, got .*use jax\.vmap"):
            _ = prior.limit


def test_vmap_over_limits():
    alphas = jnp.array([0.25, 0.5])
    tails = jax.vmap(lambda alpha: priors.Stable(alpha, 2.0).limit.levy.tail(8.0))(alphas)
    np.testing.assert_allclose(tails, 4**-alphas, rtol=1e-6)
    locations = jax.vmap(lambda scale: priors.InverseGamma(2.0, scale).limit.location)(alphas)
    np.testing.assert_allclose(locations, alphas)


def test_bounds_are_the_fields_that_inference_replaces():
    prior = priors.GBFRY(dist.Uniform(0.1, 0.9), tau=3.0)
    assert list(prior.bounds) == ["alpha", "tau", "mean"]
    known = dataclasses.replace(prior, alpha=0.5)
    assert known == priors.GBFRY(0.5, 3.0)
    with pytest.raises(ValueError, match=r"^alpha must be in \(0, 1\), got 1.5"):
        dataclasses.replace(prior, alpha=1.5)


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_nonsense_is_named(kind):
    good, single = GOOD[kind], jnp.result_type(float) == jnp.float32
    nonsense = [
        1j,
        np.array([]),
        [1.0, 2.0],
        (),
        None,
        math.nan,
        math.inf,
        -math.inf,
        True,
        10**400,
    ]
    nonsense += [jnp.array(1 + 0j), np.array(["x"]), *([1e300, 1e-300] if single else [])]
    for name in [name for name in good if isinstance(good[name], int | float)]:
        for value in nonsense:
            if single and name == "location" and isinstance(value, float) and value == 1e-300:
                continue  # as good as 0
            with pytest.raises(ValueError, match=f"^{name} must (not )?be "):
                kind(**good | {name: value})


def test_what_is_wrong_is_said():
    single = jnp.result_type(float) == jnp.float32
    cases = {1e400: "not finite", 1j: "complex", (): "a number or an array"}
    for value, reason in (cases | ({1e300: "inf in single precision"} if single else {})).items():
        with pytest.raises(ValueError, match=f"^tau must be .*{reason}"):
            priors.GBFRY(0.5, value)
    for slab in (dist.Normal(0.0, 1.0), dist.Dirichlet(jnp.ones(3)), 3.0):
        with pytest.raises(ValueError, match=r"^slab must be a NumPyro distribution of numbers in"):
            priors.SpikeAndSlab(1.0, slab)
    with pytest.raises(ValueError, match=r"^location must be one number"):
        priors.InfinitelyDivisible(jnp.ones(2), TEMPERED)


def test_repr_has_neither_addresses_nor_whole_arrays():
    def density(x):
        return x**-1.5 * jnp.exp(-x)

    batch = priors.Gamma(jnp.linspace(1.0, 2.0, 1000)).at_width(5000)
    laws = [prior.at_width(width) for prior, width in (PRIORS | OTHERS).values()]
    laws += [
        batch,
        priors.from_levy(levy.FromDensity(density)).at_width(9),
        batch.expand((2, 1000)),
    ]
    laws += [priors.SpikeAndSlabLaw(0.5, batch), priors.ScaledLaw(batch, 2.0)]
    for law in laws:
        if type(law).__module__.startswith("numpyro"):
            continue  # NumPyro's own, which print addresses
        text = repr(law)
        assert "0x" not in text, text
        assert len(text) < 1000, text
