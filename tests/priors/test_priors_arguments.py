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
    assert repr(priors.Beta(2.0)) == "Beta(mass=2.0)"
    assert repr(priors.from_levy(levy.Stable(0.5))) == "FromLevy(levy=Stable(alpha=0.5))"


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
        *((text, FORM + repr(text)) for text in ("gbfry(alpha=.5, alpha=.6, tau=2)",)),
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
        (lambda: priors.SpikeAndSlab(1.0, 2.0), "slab must be a NumPyro law on (0, inf), got 2.0"),
        (
            lambda: priors.InfinitelyDivisible(0.0, 2.0),
            "levy must be a measure of mogp.levy, got 2.0",
        ),
        (lambda: priors.from_levy(2.0), "levy must be a measure of mogp.levy, got 2.0"),
        (lambda: priors.from_levy(levy.NoJumps()), "levy must have jumps, and batch shape (), got"),
        (
            lambda: priors.from_levy(levy.Stable(jnp.array([0.4, 0.5]))),
            "levy must have jumps, and batch shape (), got",
        ),
        (
            lambda: priors.InverseGamma(jnp.array([0.5, 2.0])).limit,
            "shape must be above 1 everywhere, or below 1 everywhere",
        ),
        (
            lambda: jax.eval_shape(lambda shape: priors.InverseGamma(shape).limit, 2.0),
            "shape must be concrete: the regime depends on it",
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
