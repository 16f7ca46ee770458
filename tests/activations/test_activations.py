"""Gaussian expectations of every activation against double-exponential quadrature."""

import functools
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.activations import DTYPES, X64, gaussian_mean, gaussian_pair_mean, needs_x64
from scipy.special import erf, ndtr

from mogp import activations
from mogp.activations import Activation, quadrature
from mogp.activations._arctan import arctan2


class Case(NamedTuple):
    activation: Activation
    value: Callable  # φ in NumPy
    slope: Callable  # φ' in NumPy
    narrow: bool = False  # only where the standard deviation is at most 1


def normal_pdf(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def tanh_slope(z):
    return 4 * np.exp(-2 * abs(z)) / (1 + np.exp(-2 * abs(z))) ** 2


def erf_slope(z):
    return 2 / math.sqrt(math.pi) * np.exp(-(z**2))


CASES = {
    "relu": Case(activations.relu, lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": Case(
        activations.LeakyReLU(0.3),
        lambda z: np.where(z > 0, z, 0.3 * z),
        lambda z: np.where(z > 0, 1.0, 0.3),
    ),
    "identity": Case(activations.identity, lambda z: z, np.ones_like),
    "erf": Case(activations.erf, erf, erf_slope),
    "gelu": Case(activations.gelu, lambda z: z * ndtr(z), lambda z: ndtr(z) + z * normal_pdf(z)),
    "tanh": Case(activations.tanh, np.tanh, tanh_slope),
    "sin": Case(activations.Quadrature(jnp.sin), np.sin, np.cos, narrow=True),
}
KINKED = ("relu", "leaky_relu")
ON_KINK = [(0, 0), (0, 0, 0.36), (0.36, 0, 0)]

ONE = [(0.3, 0.7), (-1.2, 0.4), (0.2, 1), (-5, 0.5), (2, 3), (1, 100), (40, 3)]
ONE += [(0, 0), (-0.7, 0), (0, 0.6)]
TWO = [(0.9, 0.3, 0.8), (0.5, -0.4, 0.4), (1e-3, 2e-4, 0.1), (1, 1, 1), (0.5, -0.5, 0.5)]
TWO += [
    (0, 0, 0.36),
    (0.36, 0, 0),
    (0.36, 0, 0.36),
    (1e-8, 1e-8, 1e-8),
    (4, 3.9, 4),
    (100, 40, 30),
    (100, 0, 100),
    (1e4, -5e3, 9e3),
    (1e6, 1e6, 1e6),
]
MOMENT = [(k,) for k in (1, 0.36, 1e-3, 1e-8, 0, 30, 1e5)]
ABS = [(0.1, 0.5), (0.1, 1), (0.36, 2), (1, 2), (1e-3, 3.7), (30, 0.5), (20, 3.7), (1e5, 1)]
POINTS = {
    "mean": ONE,
    "slope": ONE,
    "kernel": TWO,
    "derivative_kernel": TWO,
    "square_kernel": TWO,
    "second_moment": MOMENT,
    "abs_moment": ABS,
}
# Where autodiff of the textbook formulas divides 0 by 0, or overflows in float32.
DEGENERATE_ONE = [(0, 0), (1, 0), (-1, 0), (0, 1e-30), (1e-30, 1e-30), (1, 1e-20), (1e8, 1)]
DEGENERATE_TWO = [(1, 1, 1), (1, -1, 1), (0.3, 0.3, 0.3), (0, 0, 0), (1, 0, 0), (0, 0, 1)]
DEGENERATE_TWO += [(1e-30,) * 3, (1e-30, 0.5e-30, 1e-30), (1e8, 1e8, 1e8), (1e10, 1e-5, 1e-20)]
EQUAL, OPPOSITE = (0.8, 0.8, 0.8), (0.8, -0.8, 0.8)
DEGENERATE_TWO += [EQUAL, OPPOSITE]
DEGENERATE = {
    "mean": DEGENERATE_ONE,
    "slope": DEGENERATE_ONE,
    "kernel": DEGENERATE_TWO,
    "derivative_kernel": DEGENERATE_TWO,
    "square_kernel": DEGENERATE_TWO,
    "second_moment": [(0,), (1e-30,), (1e8,)],
    "abs_moment": [(0, 0.5), (0, 1), (0, 2), (0, 3), (1e-30, 0.5), (1e-30, 3), (1e8, 0.5)],
}
METHODS = list(POINTS)
every_case = pytest.mark.parametrize("name", CASES)
every_method = pytest.mark.parametrize("method", METHODS)


def oracle(case, method, *point):
    f, df = case.value, case.slope
    if method in ("mean", "slope"):
        return gaussian_mean(f if method == "mean" else df, *point)
    if method == "second_moment":
        return gaussian_mean(lambda z: f(z) ** 2, 0, math.sqrt(point[0]))
    if method == "abs_moment":
        return gaussian_mean(lambda z: np.abs(f(z)) ** point[1], 0, math.sqrt(point[0]))
    factor = {"kernel": f, "derivative_kernel": df, "square_kernel": lambda z: f(z) ** 2}[method]
    return gaussian_pair_mean(factor, *point)


def points_of(case, method):
    """The points where the case claims accuracy: a rule of fixed nodes only sees wide features."""
    place = 1 if method in ("mean", "slope") else 0
    points = [point for point in POINTS[method] if not case.narrow or point[place] <= 1]
    if case.narrow and method == "abs_moment":  # |sin| has kinks at ±π
        points = [(k, q) for k, q in points if k <= 0.1 or q == 2]
    return points


def columns(points, dtype):
    return [jnp.asarray(column, dtype) for column in zip(*points, strict=True)]


@functools.cache
def values(name, method, dtype):
    """The values at all points of the case, by `vmap` under `jit`."""
    function = getattr(CASES[name].activation, method)
    return jax.jit(jax.vmap(function))(*columns(points_of(CASES[name], method), dtype))


@functools.cache
def derivatives(name, method, dtype):
    """Gradients at two generic points, then at the degenerate ones: one compilation for all."""
    points = POINTS[method][:2] + DEGENERATE[method]
    function = getattr(CASES[name].activation, method)
    gradient = jax.grad(function, argnums=tuple(range(len(points[0]))))
    return np.stack(jax.jit(jax.vmap(gradient))(*columns(points, dtype)), axis=1)


# --- values ---------------------------------------------------------------------------------


def test_every_public_activation_is_in_the_table():
    public = {name: getattr(activations, name) for name in activations.__all__}
    tested = [case.activation for case in CASES.values()]
    for name, value in public.items():
        if isinstance(value, Activation):
            assert any(type(value) is type(other) for other in tested)
            assert activations.get(name) is value
        elif isinstance(value, type) and value is not Activation:
            assert any(type(other) is value for other in tested)


@pytest.mark.parametrize("name", CASES)
def test_slope_growth_and_homogeneity(name):
    """On a grid: no slope above the largest, which is reached; and the behaviour far out."""
    activation = CASES[name].activation
    z = np.linspace(-20, 20, 400_001)
    values = np.asarray(activation(jnp.asarray(z)), float)
    slopes = np.abs(np.diff(values)) / np.diff(z)
    tolerance = 1e-6 if X64 else 2e-2
    assert slopes.max() == pytest.approx(activation.largest_slope(), rel=tolerance)
    far = np.abs(np.asarray(activation(jnp.array([-1e6, 1e6])), float)).max()
    assert activation.growth() == pytest.approx(1.0 if far > 10 else 0.0, abs=1e-6)
    same = np.allclose(activation(3 * jnp.asarray(z)), 3 * values, rtol=1e-5)
    assert activation.positively_homogeneous() == same


@needs_x64
@every_method
@every_case
def test_expectations(name, method):
    case = CASES[name]
    points = points_of(case, method)
    got = values(name, method, jnp.float64)
    expected = np.array([oracle(case, method, *point) for point in points])
    if name in KINKED and method in ("slope", "derivative_kernel"):
        # A point mass on the kink counts half on each side.
        half = (1 + case.slope(-1.0)) / 2
        expected[[p in ON_KINK for p in points]] = half if method == "slope" else half**2
    # Opposite inputs make the square kernel of GELU small: exact to 1e-13 of k11 k22.
    scale = np.prod(np.array(points)[:, ::2], axis=1) if method == "square_kernel" else 1
    rtol = 1e-8 if method == "abs_moment" else 1e-10
    error = np.abs(np.asarray(got) - expected)
    assert np.all(error <= rtol * np.abs(expected) + 1e-13 * np.maximum(1, scale))


@every_method
@every_case
def test_float32_is_as_good_as_its_precision(name, method):
    case = CASES[name]
    got = values(name, method, jnp.float32)
    assert got.dtype == jnp.float32
    for point, value in zip(points_of(case, method), got, strict=True):
        if max(point) <= 100 and not (name in KINKED and point in ON_KINK):
            expected = oracle(case, method, *point)
            rtol = 2e-4 if "moment" in method else 2e-5
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=2e-6, err_msg=str(point))


def test_tanh_and_erf_are_accurate_at_any_variance():
    """At variance 1e16 both are the sign: the arcsine law, and 1 almost surely."""
    k = 1e16 if X64 else 1e12
    for f in (activations.tanh, activations.erf):
        got = jax.jit(lambda k, c, f=f: (f.kernel(k, c, k), f.square_kernel(k, c, k)))(k, k / 2)
        np.testing.assert_allclose(got, (1 / 3, 1), atol=1e-5)
        np.testing.assert_allclose(f.mean(-(k**0.5), k**0.5), -erf(0.5**0.5), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "slope"), [("erf", 4 / math.pi), ("tanh", 1), ("gelu", 1 / 4)])
def test_squares_at_tiny_variances(name, slope, dtype):
    """`φ(u)² ≈ slope u²` there: `E u² v² = k11 k22 + 2 k12²`, and its derivatives."""
    k = np.array([1e-5, 1e-8, 1e-12, 1e-15])
    function = getattr(activations, name).square_kernel
    compute = jax.jit(jax.vmap(jax.value_and_grad(function, (0, 1, 2))))
    for share in (1.0, 0.5, 0.0, -1.0):
        value, (by_u, by_uv, by_v) = compute(*(jnp.asarray(c * k, dtype) for c in (1, share, 1)))
        rtol = 200 * k + 100 * float(jnp.finfo(dtype).eps)  # terms of higher order
        for got, exact in (
            (value / k**2, 1 + 2 * share**2),
            (by_u / k, 1),
            (by_v / k, 1),
            (by_uv / k, 4 * share),
        ):
            assert np.all(np.abs(got / slope**2 - exact) <= 4 * np.maximum(rtol, 4e-13)), share


def test_squares_at_small_variances_against_quadrature():
    """Between the expansion at 0 and the points of the table."""
    for name in ("erf", "tanh"):
        case = CASES[name]
        for point in [(1e-4, 3e-5, 2e-4), (1e-3, -1e-3, 1e-3), (0.02, 0.01, 0.5), (1e-6, 1e-4, 1)]:
            got = case.activation.square_kernel(*point)
            exact = gaussian_pair_mean(lambda z, f=case.value: f(z) ** 2, *point)
            np.testing.assert_allclose(got, exact, rtol=1e-10 if X64 else 2e-5)


GROWTHS = [
    (jnp.exp, math.inf),
    (jnp.sinh, math.inf),
    (lambda z: jnp.exp(jnp.abs(z)) - 1, math.inf),
    (lambda z: jnp.log1p(jnp.abs(z)), 0),
    (jnp.arcsinh, 0),
    (jnp.sin, 0),
    (lambda z: 0 * z, 0),
    (lambda z: 1 / (1 + z**2), 0),
    (lambda z: jnp.sqrt(jnp.abs(z)), 0.5),
    (jax.nn.softplus, 1),
    (jax.nn.silu, 1),
    (lambda z: z * jnp.log1p(z**2), 1),
    (lambda z: z**2 * jnp.sin(z), 2),
    (lambda z: z**3, 3),
]


def test_growth_of_functions():
    """Exponentials grow faster than every power, logarithms slower."""
    assert [activations.get(f).growth() for f, _ in GROWTHS] == [growth for _, growth in GROWTHS]


def test_quadrature_error_is_small_for_what_is_resolved():
    k = jnp.array([0.0, 1e-8, 0.3, 1.0, 9.0])
    for f in (jax.nn.silu, jax.nn.softplus, jnp.abs, jax.nn.relu, jnp.sin, jnp.sign):
        assert np.all(activations.Quadrature(f).quadrature_error(k) < 1e-3)
    np.testing.assert_array_equal(activations.tanh.quadrature_error(k), 0)
    jax.jit(activations.Quadrature(jnp.sin).second_moment)(1e6)  # traced: not refused


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: activations.Quadrature(jnp.sin, 0), "num_nodes must be an integer of at least 1"),
        (lambda: activations.Quadrature(jnp.sin, 2.5), "num_nodes must be an integer of at"),
        (lambda: activations.Quadrature("sin"), "fn must be an elementwise function, got 'sin'"),
        (lambda: quadrature.hermite_rule(0), "num must be an integer of at least 1, got 0"),
        (lambda: quadrature.half_line_rule(-1), "num must be an integer of at least 1, got -1"),
        *(
            (lambda a=a: activations.LeakyReLU(a), "negative_slope must be one finite number, got")
            for a in (math.nan, math.inf, 1j, "a", None, [], [0.1], np.ones(2), True)
        ),
    ],
)
def test_nonsense_is_named(build, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        build()


def test_nngp_kernel_of_a_relu_network():
    x = np.array([[1, 2], [0.5, -1], [-3, 0.2]])
    k = jnp.asarray(0.1**2 + 1.5**2 * x @ x.T / 2)
    for weight_scale, bias_scale in ((1.5, 0.1), (1.0, 0.0)):
        variance = jnp.diag(k)
        left, right = (jnp.broadcast_to(v, k.shape) for v in (variance[:, None], variance[None]))
        k = bias_scale**2 + weight_scale**2 * activations.relu.kernel(left, k, right)
    expected = [
        [3.1746875, 0.5750863, 1.69472243],
        [0.5750863, 0.80164062, 0.8049868],
        [1.69472243, 0.8049868, 5.73125],
    ]
    np.testing.assert_allclose(k, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_relu_kernel_is_homogeneous_in_float32(scale):
    k = [(1.0, 0.3, 2.0), (1.0, 1.0, 1.0), (2.0, -2.0, 2.0), (5.0, 4.999, 5.0)]
    kernel, dtype = activations.relu.kernel, jnp.float32
    got = kernel(*columns(np.array(k) * scale, dtype)) / scale
    np.testing.assert_allclose(got, kernel(*columns(k, dtype)), rtol=3e-6, atol=1e-7)


def test_own_activation_of_only_a_call_gets_all_expectations():
    class Cube(activations.Activation):
        def __call__(self, z):
            return z**3

    k11, k12, k22 = 0.7, -0.4, 1.3
    rtol = 1e-12 if X64 else 1e-4
    got = Cube().kernel(k11, k12, k22), Cube().derivative_kernel(k11, k12, k22), Cube().slope(2, 3)
    wick = 6 * k12**3 + 9 * k11 * k12 * k22, 9 * (k11 * k22 + 2 * k12**2), 3 * (4 + 9)
    np.testing.assert_allclose(got, wick, rtol=rtol)
    assert Cube().growth() == 3
    assert not Cube().positively_homogeneous()
    assert activations.get(Cube()) == Cube()
    with pytest.raises(TypeError, match="abstract"):
        activations.Activation()


def test_own_activation_with_a_closed_form_and_more_nodes():
    """The method of its own is used, by the others too; and narrow features need many nodes."""

    class Wave(activations.Activation):
        frequency: float
        num_nodes: int = 256

        def __call__(self, z):
            return jnp.sin(self.frequency * z)

        def second_moment(self, k):
            return (1 - jnp.exp(-2 * self.frequency**2 * k)) / 2

    wave = Wave(6.0)
    damped = math.exp(-18)
    np.testing.assert_allclose(wave.second_moment(1.0), (1 - damped**4) / 2, rtol=1e-6)
    tolerance = 1e-10 if X64 else 1e-4
    kernel = math.exp(-36) * math.sinh(36 * 0.5)  # E sin(6u) sin(6v) at correlation 1/2
    np.testing.assert_allclose(wave.kernel(1.0, 0.5, 1.0), kernel, atol=tolerance)
    np.testing.assert_allclose(wave.mean(0.2, 0.5), math.sin(1.2) * math.exp(-4.5), atol=tolerance)
    for narrow in (Wave(6.0, 8), Wave(40.0, 64), activations.Quadrature(lambda z: jnp.sin(40 * z))):
        assert float(narrow.quadrature_error(1.0)) > 0.01
        for method, point in (("kernel", (1.0, 0.5, 1.0)), ("mean", (0.2, 1.0))):
            with pytest.raises(ValueError, match=r"^num_nodes must be above (8|64) for the"):
                getattr(narrow, method)(*point)


# --- the inner face -------------------------------------------------------------------------


@pytest.mark.parametrize("num", [64, 128])
def test_half_line_rule(num):
    """`∫_0^∞ x^q N(x; 0, 1) dx = 2^(q/2) Γ((q+1)/2) / (2 √π)`; large powers feel the end at 7.2."""
    nodes, weights = quadrature.half_line_rule(num)
    for q in (-0.5, 0, 0.3, 1, 2):
        exact = 2 ** (q / 2) * math.gamma((q + 1) / 2) / (2 * math.sqrt(math.pi))
        np.testing.assert_allclose(weights @ nodes**q, exact, rtol=1e-11)


def test_hermite_rule():
    nodes, weights = quadrature.hermite_rule(10)
    moments = [weights @ nodes**q for q in (0, 2, 4, 18)]
    np.testing.assert_allclose(moments, [1, 1, 3, math.prod(range(1, 19, 2))], rtol=1e-12)


def test_arctan2_is_exact_to_rounding():
    """Against NumPy, in all octants and at the origin; and its slopes."""
    dtype = jnp.result_type(float)
    angle = np.linspace(-np.pi, np.pi, 2001)
    y, x = (np.concatenate([part, [0.0, 0.0, 1.0]]) for part in (np.sin(angle), np.cos(angle)))
    y, x = jnp.asarray(y, dtype), jnp.asarray(x, dtype)
    expected = np.arctan2(np.asarray(y, np.float64), np.asarray(x, np.float64))
    got, (by_y, by_x) = jax.jit(jax.vmap(jax.value_and_grad(arctan2, (0, 1))))(y, x)
    np.testing.assert_allclose(got, expected, atol=8 * np.finfo(dtype).eps)
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(by_y[:-3], x[:-3], atol=tolerance)
    np.testing.assert_allclose(by_x[:-3], -y[:-3], atol=tolerance)


# --- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_case
def test_exact_limits(name, dtype):
    """To the last digits: no noise at all, equal inputs, independent inputs, no variance."""
    case = CASES[name]
    at = {
        method: dict(zip(points_of(case, method), values(name, method, dtype), strict=True))
        for method in METHODS
    }
    tolerance = 20 * np.finfo(dtype).eps
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    close(at["mean"][-0.7, 0], case.activation(jnp.asarray(-0.7, dtype)))
    close(at["mean"][0, 0], 0)
    for k in (1, 1e-8):
        close(at["kernel"][k, k, k], at["second_moment"][k,])
    for method, factor in (("kernel", "mean"), ("derivative_kernel", "slope")):
        independent, still = at[factor][0, 0.6], at[factor][0, 0]
        close(at[method][0.36, 0, 0.36], independent**2)
        close(at[method][0.36, 0, 0], independent * still)
        close(at[method][0, 0, 0.36], independent * still)
    close(at["square_kernel"][0.36, 0, 0.36], at["second_moment"][0.36,] ** 2)
    close(at["square_kernel"][0.36, 0, 0], 0)


# --- gradients ------------------------------------------------------------------------------


@needs_x64
@every_method
@every_case
def test_gradients_at_generic_points(name, method):
    got = derivatives(name, method, jnp.float64)
    for point, gradient in zip(POINTS[method][:2], got[:2], strict=True):
        for place, value in enumerate(gradient):
            step = 1e-4 * np.eye(len(point))[place]
            up, down = (oracle(CASES[name], method, *(point + sign * step)) for sign in (1, -1))
            np.testing.assert_allclose(value, (up - down) / 2e-4, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@every_method
@every_case
def test_gradients_are_finite_everywhere(name, method, dtype):
    got = derivatives(name, method, dtype)
    assert got.dtype == dtype
    assert np.isfinite(got).all(), DEGENERATE[method]
    if dtype == jnp.float32 and X64:
        double = derivatives(name, method, jnp.float64)
        np.testing.assert_allclose(got[:2], double[:2], rtol=2e-3, atol=2e-5)


@needs_x64
@pytest.mark.parametrize("method", ["kernel", "derivative_kernel", "square_kernel"])
@pytest.mark.parametrize("name", [name for name in CASES if name not in KINKED])
def test_gradients_at_equal_and_opposite_inputs(name, method):
    """One-sided differences, of second order, into the cone of covariances."""
    h = 1e-3
    for point, got in zip(
        (EQUAL, OPPOSITE), derivatives(name, method, jnp.float64)[-2:], strict=True
    ):
        for place, inwards in enumerate((1, -np.sign(point[1]), 1)):
            step = inwards * h * np.eye(3)[place]
            at = [oracle(CASES[name], method, *(point + i * step)) for i in range(3)]
            difference = inwards * (-3 * at[0] + 4 * at[1] - at[2]) / (2 * h)
            np.testing.assert_allclose(got[place], difference, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", KINKED)
def test_gradients_of_the_relu_kernel_at_equal_and_opposite_inputs(name):
    gradient = jax.jit(jax.grad(CASES[name].activation.kernel, (0, 1, 2)))
    a = CASES[name].slope(-1.0)
    for k in (1.0, 1e-20, 1e20):
        same, opposite = (gradient(k, c, k) for c in (k, -k))
        np.testing.assert_allclose(same, (0, (1 + a**2) / 2, 0), atol=1e-6)
        np.testing.assert_allclose(opposite, (0, a, 0), atol=1e-6)


@needs_x64
@pytest.mark.parametrize(
    ("name", "method"), [("relu", "kernel"), ("relu", "square_kernel"), ("gelu", "kernel")]
)
def test_second_derivatives(name, method):
    gradient = jax.jit(jax.grad(getattr(CASES[name].activation, method), (0, 1, 2)))
    point = np.array([1.3, 0.5, 0.8])
    got = jax.jit(jax.jacobian(gradient, (0, 1, 2)))(*point)
    for place in range(3):
        step = 1e-5 * np.eye(3)[place]
        up, down = (np.array(gradient(*(point + sign * step))) for sign in (1, -1))
        np.testing.assert_allclose([row[place] for row in got], (up - down) / 2e-5, rtol=1e-6)


def test_gradient_in_the_negative_slope():
    def kernel(a):
        return activations.LeakyReLU(a).kernel(1.0, 0.3, 2.0)

    got = jax.grad(kernel)(0.2)
    difference = (kernel(0.3) - kernel(0.1)) / 0.2  # exact: it is a parabola
    np.testing.assert_allclose(got, difference, rtol=1e-5)


# --- transformations, dtypes, names ---------------------------------------------------------


@pytest.mark.parametrize("method", ["mean", "kernel"])
@every_case
def test_eager_is_jitted(name, method):
    point = points_of(CASES[name], method)[0]
    eager = getattr(CASES[name].activation, method)(*columns([point], jnp.float32))
    np.testing.assert_allclose(eager, values(name, method, jnp.float32)[:1], rtol=1e-5, atol=1e-6)


@every_method
@every_case
def test_shapes_and_dtypes(name, method):
    function, count = getattr(CASES[name].activation, method), len(POINTS[method][0])
    for dtype in (jnp.float32, jnp.float64) if X64 else (jnp.float32,):
        matrix = jax.ShapeDtypeStruct((3, 2), dtype)
        assert jax.eval_shape(function, *[matrix] * count) == matrix
        mixed = jax.eval_shape(lambda m: function(m, *[1.0] * (count - 1)), matrix)
        assert mixed == matrix
    for number in (1, 1.0):  # take the default precision
        out = jax.eval_shape(lambda: function(*[number] * count))  # noqa: B023
        assert out.dtype == jnp.result_type(float)


@every_case
def test_pytree_round_trip(name):
    activation = CASES[name].activation
    leaves, tree = jax.tree.flatten(activation)
    again = jax.tree.unflatten(tree, leaves)
    assert again == activation
    assert float(jax.jit(lambda f, z: f(z))(activation, 0.3)) == pytest.approx(
        float(CASES[name].value(0.3)), rel=1e-6
    )


def test_get():
    assert activations.get("relu") is activations.relu
    assert activations.get("leaky_relu") == activations.LeakyReLU(0.01)
    assert activations.get(activations.tanh) is activations.tanh
    wrapped = activations.get(jnp.sin)
    assert wrapped == activations.Quadrature(jnp.sin)
    assert wrapped.num_nodes == 64


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            "swish",
            "activation must be one of ['erf', 'gelu', 'identity', 'leaky_relu', 'relu', 'tanh'], "
            "got 'swish'",
        ),
        ("ReLU", "got 'ReLU'"),
        (3.0, "activation must be a name, a function or an Activation, got 3.0"),
        (None, "activation must be a name, a function or an Activation, got None"),
    ],
)
def test_get_errors(bad, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        activations.get(bad)
