"""Gaussian mixture layers against Monte Carlo, each other, and plain layers."""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from closeness import X64, assert_close
from jax.test_util import check_grads

from mogp import activations, nn, priors

ACTIVATIONS = ["relu", "leaky_relu", "erf", "identity", "gelu", "tanh"]
COVARIANCES = ["diagonal", "low_rank", "full"]
X = np.array([0.7, -1.2, 2.0])

# Compiled once a layer of some structure: most of the time of these tests is compiling.
apply = eqx.filter_jit(lambda layer, x: layer(x))
distance = eqx.filter_jit(nn.mixture_distance)
gradient_of_square = eqx.filter_jit(eqx.filter_grad(lambda layer, x: jnp.sum(layer(x) ** 2)))


def fast_key(seed):
    """A key whose generator compiles in a tenth of the time of the usual one."""
    return jax.random.key(seed, impl="rbg")


@functools.cache
def build(covariance, d=3, size=2, k=4, seed=0, **options):
    """A layer whose arrays are all drawn: no zeros of the start are left."""

    @eqx.filter_jit
    def make(keys):
        layer = nn.GMLayer(d, size, k, covariance=covariance, key=keys[0], **options)
        by_name = {"factors": keys[1], "output_factors": keys[2]}
        return layer.with_arrays(
            {
                name: 0.5 * jax.random.normal(by_name[name], array.shape, array.dtype)
                for name, array in layer.arrays().items()
                if name in by_name
            }
        )

    return make([fast_key(i) for i in (seed, 100, 101)])


@pytest.fixture(scope="module")
def drawn():
    """300,000 neurons a covariance, in NumPy: pre-activations (num,) and amplitudes (num, L)."""
    result = {}
    for covariance in COVARIANCES:
        layer, rng, num = build(covariance), np.random.default_rng(1), 300_000
        k = rng.integers(4, size=num)
        noise = rng.normal(size=(num, 3))
        a = {name: np.array(array) for name, array in layer.arrays().items()}
        if covariance == "full":
            root = np.concatenate([a["output_factors"], a["factors"]], axis=1)
            pair = np.einsum("nij,nj->ni", root[k], rng.normal(size=(num, 5)))
            omega, beta = a["offsets"][k] + pair[:, :2], a["means"][k] + pair[:, 2:]
        else:
            beta = a["means"][k] + a["scales"][k] * noise
            omega = np.einsum("nld,nd->nl", a["slopes"][k], beta) + a["offsets"][k]
            if covariance == "low_rank":
                eta = rng.normal(size=(num, 3))
                beta = beta + np.einsum("ndr,nr->nd", a["factors"][k], eta)
                omega += np.einsum("nlr,nr->nl", a["output_factors"][k], eta)
        omega += 0.3 * rng.normal(size=omega.shape)  # what is independent averages out
        result[covariance] = beta @ X, omega
    return result


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_closed_form_against_monte_carlo(covariance, drawn):
    """4.5 standard errors, 36 numbers: false alarm 2.5e-4 for the whole test."""
    z, omega = drawn[covariance]

    @eqx.filter_jit
    def values(layer, x, z):
        kinds = [activations.get(name) for name in ACTIVATIONS]
        layers = [eqx.tree_at(lambda m: m.activation, layer, kind) for kind in kinds]
        return [(m(x), m.activation(z)) for m in layers]

    for value, active in values(build(covariance), jnp.asarray(X), jnp.asarray(z)):
        draws = omega * np.array(active)[:, None]
        error = np.abs(value - draws.mean(0))
        assert np.all(error < 4.5 * draws.std(0) / math.sqrt(len(z)) + (0 if X64 else 1e-4))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_layouts_transformations_and_precision(covariance):
    layer = build(covariance)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5, 3)))

    def single(a):
        return a.astype(jnp.float32) if eqx.is_inexact_array(a) else a

    narrow, x32 = jax.tree.map(single, layer), x.astype(jnp.float32)
    coarse = jax.tree.map(single, build(covariance, compute_dtype="bfloat16"))

    @eqx.filter_jit
    def views(layer, narrow, coarse, x, x32):
        gradient = eqx.filter_grad(lambda m: jnp.sum(m(x32) ** 2))(coarse)
        mapped = jax.vmap(jax.vmap(layer))(x)
        return layer(x), mapped, narrow(x32), coarse(x32), gradient

    y, mapped, y32, y16, gradient = views(layer, narrow, coarse, x, x32)
    assert y.shape == (4, 5, 2)
    assert_close(mapped, y, rtol=1e-10, atol=1e-12)
    if covariance == "low_rank":  # it has all parts of the others; not compiled
        assert_close(layer(x[0, 0]), y[0, 0], rtol=1e-10, atol=1e-12)
    assert y32.dtype == jnp.float32
    assert y16.dtype == jnp.float32
    # each factor is rounded to 8 bits, 2^-9 of it, in two or three factors of each term
    assert np.max(np.abs(y16 - y32)) < 3 * 2**-8 * np.max(np.abs(y)) + 0.02
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(narrow), strict=True):
        assert a.dtype == b.dtype
        assert np.all(np.isfinite(a))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradients_against_finite_differences(covariance):
    parameters, static = eqx.partition(build(covariance, activation="gelu"), eqx.is_inexact_array)
    check_grads(
        jax.jit(lambda p, x: jnp.sum(eqx.combine(p, static)(x) ** 2)),
        (parameters, jnp.asarray(X)),
        order=1,
        modes=["rev"],
        rtol=1e-5 if X64 else 3e-2,
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_without_spread_it_is_a_layer_of_k_neurons_with_finite_gradients(covariance):
    layer = build(covariance)
    spread = {n: 0 * a for n, a in layer.arrays().items() if n in ("scales", "factors")}
    layer = layer.with_arrays(spread)
    pre = np.maximum(np.array(layer.means) @ X, 0)
    expected = pre @ np.array(layer.output_means()) / 4
    assert_close(apply(layer, jnp.asarray(X)), expected, rtol=1e-12)
    for x in (X, 0 * X):
        gradient = gradient_of_square(layer, jnp.asarray(x))
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_zero_and_non_finite_inputs(covariance):
    layer = build(covariance)
    x = jnp.asarray(np.stack([X, 0 * X, X, X])).at[2, 0].set(jnp.nan).at[3, 1].set(jnp.inf)
    y = np.array(apply(layer, x))
    assert_close(y[0], apply(layer, x[0]), rtol=1e-10)  # rows do not touch each other
    assert not np.any(y[1])  # ReLU of 0
    assert np.all(np.isnan(y[2:]))
    gradient = gradient_of_square(layer, x[1])
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_the_three_covariances_contain_each_other(key):
    """From one key: one function at the start. Full with the roots of the others equals them."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)))
    make = eqx.filter_jit(lambda key, c: nn.GMLayer(3, 2, 4, covariance=c, key=key))
    layers = [make(key, c) for c in COVARIANCES]
    y = apply(layers[0], x)
    for layer in layers[1:]:
        assert_close(apply(layer, x), y, rtol=1e-10, atol=1e-12)
    for covariance in ("diagonal", "low_rank"):
        source = build(covariance)
        outputs, inputs = source.square_roots()
        full = nn.Full(inputs, outputs)  # of another number of columns
        target = eqx.tree_at(
            lambda m: (m.means, m.offsets, m.covariance),
            layers[2],
            (source.means, source.output_means(), full),
        )
        assert_close(apply(target, x), apply(source, x), rtol=1e-10, atol=1e-12)
    low = build("low_rank")
    plain = low.with_arrays({"factors": jnp.zeros((4, 3, 3))})
    same = build("diagonal").with_arrays(
        {n: a for n, a in low.arrays().items() if n not in ("factors", "output_factors")}
    )
    assert_close(apply(plain, x), apply(same, x), rtol=1e-12)


@pytest.mark.parametrize(("covariance", "d", "k", "activation"), [
    ("diagonal", 1, 1, "relu"), ("low_rank", 10, 3, "gelu"), ("full", 4, 3, "erf"),
])  # fmt: skip
@pytest.mark.statistical
def test_unit_scale_keeps_the_mean_square(covariance, d, k, activation):
    """4 standard errors of the mean over 1500 layers; inputs with ‖x‖² = d."""
    x = np.random.default_rng(0).normal(size=d)
    x = jnp.asarray(x * math.sqrt(d) / np.linalg.norm(x))

    @jax.jit
    def squares(key):
        def square(key):
            layer = nn.GMLayer(
                d, 2, k, covariance=covariance, activation=activation, init_scale="unit", key=key
            )
            return jnp.mean(layer(x) ** 2)

        return jax.vmap(square)(jax.random.split(key, 1500))

    values = np.array(squares(fast_key(1)))
    assert abs(values.mean() - 1) < 4 * values.std() / math.sqrt(1500)


@pytest.mark.statistical
def test_unit_scale_keeps_the_mean_square_of_a_deep_stack():
    """ReLU layers are homogeneous, so it is exact at any depth: 4 standard errors, 300 stacks."""
    x = np.random.default_rng(0).normal(size=40)
    h = np.tile(x * math.sqrt(40) / np.linalg.norm(x), (300, 1))

    @jax.jit
    def step(key, h):
        def one(key, h):
            return nn.GMLayer(40, 40, 10, init_scale="unit", key=key)(h)

        return jax.vmap(one)(jax.random.split(key, 300), h)

    for depth in range(4):
        h = step(fast_key(depth), jnp.asarray(h))
    values = np.mean(np.array(h) ** 2, axis=1)
    assert abs(values.mean() - 1) < 4 * values.std() / math.sqrt(300)


class Residual(eqx.Module):
    """`x + h(x)`."""

    layer: nn.GMLayer

    def __call__(self, x, *, key=None):  # noqa: ARG002
        return x + self.layer(x)


def test_layers_stack_and_mix_with_equinox(key):
    def model(key):
        keys = jax.random.split(key, 4)
        return eqx.nn.Sequential([
            eqx.nn.Conv2d(1, 2, 3, stride=2, key=keys[0]),
            eqx.nn.Lambda(jnp.ravel),
            Residual(nn.GMLayer(18, 18, 3, covariance="low_rank", rank=2, key=keys[1])),
            nn.GMLayer(18, 5, 3, activation="gelu", init_scale="unit", key=keys[2]),
            nn.GMLayer(5, 2, 2, covariance="full", key=keys[3]),
        ])  # fmt: skip

    @eqx.filter_jit
    def descend(model, x):
        gradient = eqx.filter_grad(lambda m: jnp.mean(jax.vmap(m)(x) ** 2))(model)
        return gradient, eqx.apply_updates(model, jax.tree.map(lambda g: -1e-3 * g, gradient))

    start = eqx.filter_jit(model)(key)
    x = jax.random.normal(key, (6, 1, 8, 8))
    gradient, moved = descend(start, x)
    idle = gradient.layers[2].layer.covariance.factor.output_factors
    assert not np.any(idle)  # F = 0 at the start
    assert all(np.any(g) for g in jax.tree.leaves(gradient) if g is not idle)
    gradient, _ = descend(moved, x)
    for g in jax.tree.leaves(gradient):  # and from the second step on V is trained as well
        assert np.any(g)
        assert np.all(np.isfinite(g))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_layer_counts_its_parameters(covariance, key):
    k, d, size, r = 5, 7, 3, 2
    rank = r if covariance == "low_rank" else None
    layer = nn.GMLayer(d, size, k, covariance=covariance, rank=rank, key=key)
    diagonal = 2 * d + d * size + size
    expected = {
        "diagonal": diagonal,
        "low_rank": diagonal + r * (d + size),
        "full": (d + size) * (d + size + 1),
    }
    arrays = jax.tree.leaves(eqx.filter(layer, eqx.is_inexact_array))
    assert sum(a.size for a in arrays) == k * expected[covariance]
    assert (layer.in_size, layer.out_size, layer.components) == (d, size, k)
    kinds = {"diagonal": nn.Diagonal, "low_rank": nn.LowRank, "full": nn.Full}
    assert isinstance(layer.covariance, kinds[covariance])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": 0}, "components must be an integer of at least 1, got 0"),
        ({"covariance": "round"}, "covariance must be one of"),
        ({"covariance": "low_rank", "rank": 3}, "rank must be at most in_size = 2, got 3"),
        ({"covariance": "low_rank", "rank": 0}, "rank must be an integer of at least 1, got 0"),
        ({"rank": 1}, "rank is for covariance=\"low_rank\", got 1 with 'diagonal'"),
        ({"init_scale": "one"}, "init_scale must be one of"),
        ({"init_scale": -1.0}, "init_scale must be above 0"),
        ({"init_scale": 0.5j}, "init_scale must be above 0"),
        ({"init_scale": np.ones(3)}, r"init_scale must be one number, got shape \(3,\)"),
        ({"prior": "horseshoe"}, "prior must be a Prior of mogp.priors or None"),
        ({"init_variances": "zero"}, "init_variances must be one of"),
        ({"compute_dtype": "int8"}, "compute_dtype must be a floating dtype or None, got 'int8'"),
        ({"compute_dtype": "half-ish"}, "compute_dtype must be a floating dtype or None"),
    ],
)
def test_bad_arguments(change, message, key):
    with pytest.raises(ValueError, match=message):
        nn.GMLayer(**({"in_size": 2, "out_size": 1, "components": 3} | change), key=key)


@pytest.mark.parametrize("shape", [(5, 4), (3, 5), ()])
def test_the_last_dimension_is_checked(shape, key):
    layers = nn.GMLayer(3, 2, 4, key=key), nn.MeanFieldLayer(3, 2, 4, key=key)
    for layer in layers:
        with pytest.raises(ValueError, match=r"x must have shape \(…, 3\), got"):
            layer(jnp.ones(shape))


def test_node_variances_scale_the_components(key):
    layer = nn.GMLayer(3, 2, 4, prior=priors.Horseshoe(), key=key)
    part = nn.GMLayer(3, 2, 1, key=key)  # one component at a time
    total = 0.0
    for k in range(4):
        one = part.with_arrays({n: a[k : k + 1] for n, a in layer.arrays().items()})
        total += math.exp(float(layer.log_variances[k]) / 2) * apply(one, jnp.asarray(X))
    assert_close(apply(layer, jnp.asarray(X)), total, rtol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_log_prior_has_every_term_and_the_jacobian(covariance, key):
    prior, gamma = priors.GBFRY(alpha=0.5, tau=2.0), 0.5
    layer = nn.GMLayer(3, 2, 4, covariance=covariance, rank=2 if covariance == "low_rank" else None,
                       prior=prior, key=key)  # fmt: skip
    columns = {"low_rank": 2, "full": 5}.get(covariance, 1)
    scales = {"means": gamma, "scales": gamma, "slopes": gamma, "offsets": gamma,
              "factors": gamma / math.sqrt(columns), "output_factors": gamma**2}  # fmt: skip
    if covariance == "full":
        scales["offsets"] = math.sqrt(3 * gamma**4 + gamma**2)
    expected = 0.0
    for name, scale in scales.items():
        if name in layer.arrays():
            a = np.array(layer.arrays()[name]) / scale
            expected += np.sum(-(a**2) / 2 - math.log(scale * math.sqrt(2 * math.pi)))
    u = layer.log_variances
    expected += float(jnp.sum(jax.jit(prior.at_width(4).log_prob)(jnp.exp(u)) + u))
    assert_close(eqx.filter_jit(nn.GMLayer.log_prior)(layer), expected, rtol=1e-10)
    assert nn.GMLayer(3, 2, 4, key=key).log_prior() == 0


def test_deterministic_variances_are_constants(key):
    layer = nn.GMLayer(3, 2, 4, prior=priors.Deterministic(), key=key)
    assert_close(jnp.exp(layer.log_variances), 0.25, rtol=1e-12)
    assert not nn.trainable(layer).log_variances
    equal = nn.GMLayer(3, 2, 4, prior=priors.Horseshoe(), init_variances="equal", key=key)
    assert_close(equal.log_variances, -math.log(4), rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_particles_have_the_layer_as_their_mean(covariance):
    """4 standard errors of 8000 layers of 9 neurons each, drawn with one compiled function."""
    prior = priors.Horseshoe() if covariance == "diagonal" else None
    layer = build(covariance, prior=prior)
    x = jnp.asarray(X)
    outputs = jax.jit(jax.vmap(lambda key: nn.to_mean_field(layer, 9, key=key)(x)))(
        jax.random.split(fast_key(1), 8000)
    )
    error = np.abs(np.mean(outputs, axis=0) - layer(x))
    assert np.all(error < 4 * np.std(outputs, axis=0) / math.sqrt(8000))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_fitted_to_its_own_neurons_is_the_layer_again(covariance):
    """Well separated components of unequal shares; moments are then those of the neurons."""
    rng = np.random.default_rng(0)
    shares, centres = np.repeat([0, 1], [3000, 1000]), np.array([[9.0, 0, 0], [-9.0, 3, 0]])
    beta = centres[shares] + rng.normal(size=(4000, 3)) * [1.0, 0.5, 0.3]
    if covariance != "diagonal":
        beta += rng.normal(size=(4000, 1)) * [1.0, -1.0, 0.5]
    omega = beta @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(4000, 2))
    layer = nn.fit_mixture(
        jnp.asarray(beta), jnp.asarray(omega.T), 2, covariance=covariance,
        rank=3 if covariance == "low_rank" else None, activation="tanh", key=jax.random.key(0),
    )  # fmt: skip
    x = rng.normal(size=(5, 3)) / 3
    for row in x:
        draws = omega * np.tanh(beta @ row)[:, None]
        # the moments are matched: what is left is that the draws are not exactly Gaussian
        assert_close(
            apply(layer, jnp.asarray(row)), draws.mean(0), rtol=0, atol=0.15 * draws.std(0).max()
        )
    # T and Σ of the larger component, exactly, with its factor Kπ = 3/2 on ω
    k = int(np.argmax(np.array(layer.means)[:, 0]))
    outputs, inputs = (np.array(root[k]) for root in layer.square_roots())
    own = np.cov(np.concatenate([beta[:3000], 1.5 * omega[:3000]], axis=1).T, bias=True)
    if covariance == "diagonal":
        assert_close(np.diag(inputs @ inputs.T), np.diag(own)[:3], rtol=1e-4)
    else:
        assert_close(inputs @ inputs.T, own[:3, :3], rtol=1e-4, atol=1e-4)
    assert_close(outputs @ inputs.T, own[3:, :3], rtol=1e-4, atol=1e-4)


def test_mixture_distance_against_scipy():
    """`tr (Σ^½ Σ' Σ^½)^½` by matrix square roots, over all 24 pairings."""
    for first, second in (("diagonal", "full"), ("low_rank", "diagonal")):
        a, b = build(first), build(second, seed=3)
        moments = []
        for layer in (a, b):
            root = np.concatenate(layer.square_roots(), axis=1)
            means = np.concatenate([layer.output_means(), layer.means], axis=1)
            moments.append((means, root @ root.transpose(0, 2, 1)))
        costs = np.zeros((4, 4))
        for i, (m, s) in enumerate(zip(*moments[0], strict=True)):
            root = np.real(scipy.linalg.sqrtm(s + 1e-14 * np.eye(5)))
            for j, (n, t) in enumerate(zip(*moments[1], strict=True)):
                cross = np.linalg.eigvalsh(root @ t @ root)
                bures = np.trace(s) + np.trace(t) - 2 * np.sqrt(np.maximum(cross, 0)).sum()
                costs[i, j] = np.sum((m - n) ** 2) + bures
        best = min(
            np.mean([costs[i, j] for i, j in enumerate(order)])
            for order in itertools.permutations(range(4))
        )
        assert_close(distance(a, b), math.sqrt(best), rtol=1e-5)
    directions = distance(build("diagonal"), build("diagonal", seed=3), law="directions")
    a, b = (build("low_rank", seed=seed) for seed in (0, 3))
    flat = [m.with_arrays({"factors": jnp.zeros((4, 3, 3))}) for m in (a, b)]
    assert_close(distance(*flat, law="directions"), directions, rtol=1e-6)


def test_the_distance_of_a_mixture_from_itself_is_zero():
    """Of equal arrays exactly, in any order; of other factors of the same matrices to rounding."""
    for covariance in COVARIANCES:
        layer = build(covariance)
        permuted = jax.tree.map(lambda p: p[::-1] if eqx.is_array(p) else p, layer)
        assert float(distance(layer, layer)) == float(distance(layer, permuted)) == 0
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    factors = {n: a @ rotation for n, a in layer.arrays().items() if "factors" in n}
    assert float(distance(layer, layer.with_arrays(factors))) < (1e-14 if X64 else 1e-5)

    # A distance far below the root of the rounding of its terms, and its derivative.
    def moved(step):
        change = {"factors": layer.arrays()["factors"] * (1 + step)}
        return distance(layer, layer.with_arrays(change), law="directions")

    step = 1e-11 if X64 else 1e-4
    root = np.asarray(layer.arrays()["factors"])
    expected = math.sqrt(np.mean(np.sum(root**2, (1, 2))))
    assert_close(moved(step) / step, expected, rtol=1e-4)
    assert_close(jax.grad(moved)(0.1), expected, rtol=1e-6)


def test_bad_arguments_of_particles_and_distances(key):
    layer = nn.GMLayer(3, 2, 4, key=key)
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        nn.gm_particles(layer, 0, key=key)
    with pytest.raises(ValueError, match="width must be an integer of at least 1"):
        nn.to_mean_field(layer, 0, key=key)
    with pytest.raises(ValueError, match=r"must have equal \(K, d, L\)"):
        nn.mixture_distance(layer, nn.GMLayer(3, 2, 5, key=key))
    with pytest.raises(ValueError, match="equal weight: prior=None"):
        nn.mixture_distance(layer, nn.GMLayer(3, 2, 4, prior=priors.Horseshoe(), key=key))
    with pytest.raises(ValueError, match=r"second must be an nn\.GMLayer, got MeanFieldLayer"):
        nn.mixture_distance(layer, nn.MeanFieldLayer(3, 2, 4, key=key))
    with pytest.raises(ValueError, match="law must be one of"):
        nn.mixture_distance(layer, layer, law="marginal")
    beta, omega = jnp.ones((6, 3)), jnp.ones((2, 6))
    with pytest.raises(ValueError, match=r"must have shapes \(m, d\) and \(L, m\)"):
        nn.fit_mixture(beta, omega.T, 2, key=key)
    for wrong in (beta * jnp.nan, beta + 1j):
        with pytest.raises(ValueError, match=r"directions must be (finite|real)"):
            nn.fit_mixture(wrong, omega, 2, key=key)
    with pytest.raises(ValueError, match="components must be at most the 6 neurons, got 7"):
        nn.fit_mixture(beta, omega, 7, key=key)
    with pytest.raises(ValueError, match="floor must be at least 0"):
        nn.fit_mixture(beta, omega, 2, floor=-1.0, key=key)
