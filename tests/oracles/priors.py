"""Distributions of the node variance in 30 digits and more, and one integral behind them."""

import math

import mpmath as mp
import numpy as np

from oracles import DTYPES, X64, needs_x64  # noqa: F401


def power_integral(log_z, power, log_t):
    """`∫_0^1 w^(A-1) exp(-z w) (1 - exp(-t z w)) dw` by incomplete gamma functions."""
    lost = 0 if log_t == math.inf else int(abs(log_t) / 2.3 + abs(log_z) / 2.3)
    with mp.workdps(30 + lost):
        z, a = mp.exp(mp.mpf(log_z)), mp.mpf(power)
        result = z**-a * mp.gammainc(a, 0, z)
        if log_t != math.inf:
            y = z * (1 + mp.exp(mp.mpf(log_t)))
            result -= y**-a * mp.gammainc(a, 0, y)
        return +result


def partial(f, index, point, step=1e-10):
    """`∂f/∂point[index]` by a central difference, for `f` with more digits than float64."""
    with mp.workdps(40):
        up, down = (list(map(mp.mpf, point)) for _ in range(2))
        up[index] += mp.mpf(step)
        down[index] -= mp.mpf(step)
        return float((f(*up) - f(*down)) / (2 * mp.mpf(step)))


# --- log-densities, of the parameters and λ --------------------------------------------------


def gamma_density(shape, rate, x):
    return shape * mp.log(rate) + (shape - 1) * mp.log(x) - rate * x - mp.loggamma(shape)


def inverse_gamma_density(shape, scale, width, x):
    scale = scale * width ** (-1 / shape)
    return shape * mp.log(scale) - (shape + 1) * mp.log(x) - scale / x - mp.loggamma(shape)


def beta_density(a, b, x):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - mp.log(mp.beta(a, b))


def beta_pareto_density(a, b, tau, x):
    """`τ x^(-1-τ) ∫_0^min(x, 1) v^τ f(v) dv`, `f` the beta density; `v^(a+τ)` is the variable."""
    top, power = min(x, mp.mpf(1)), 1 / (a + tau)
    integral = mp.quad(lambda w: (1 - top * w**power) ** (b - 1), [0, 1])
    integral *= top ** (a + tau) * power / mp.beta(a, b)
    return mp.log(tau * x ** (-1 - tau) * integral)


def pareto_density(alpha, scale, width, x):
    scale = scale * width ** (-1 / alpha)
    return mp.log(alpha) + alpha * mp.log(scale) - (alpha + 1) * mp.log(x)


def squared_half_cauchy_density(scale, slab, x):
    rest = 1 - slab * x
    s = x / rest
    return mp.log(scale / (mp.pi * mp.sqrt(s) * (s + scale**2) * rest**2))


def tempered_density(alpha, rate, mass, width, x):
    """With 120 digits: `1 - exp(-t x)` cancels."""
    with mp.workdps(120):
        alpha, rate, mass, width, x = map(mp.mpf, (alpha, rate, mass, width, x))
        t = (alpha * width / mass) ** (1 / alpha)
        norm = mp.gamma(1 - alpha) * ((t + rate) ** alpha - rate**alpha)
        return mp.log(alpha * x ** (-1 - alpha) * (1 - mp.exp(-t * x)) / norm) - rate * x


def gbfry_density(alpha, tau, scale, width, x):
    """The log-density of [DW] at width p, in which the bracket cancels: with 120 digits."""
    with mp.workdps(120):
        alpha, tau, c, x = map(mp.mpf, (alpha, tau, scale, x))
        a = tau - alpha
        t = (alpha * width * tau / a) ** (1 / alpha)
        z = x / c
        bracket = mp.gammainc(a, 0, z) - (1 + t) ** -a * mp.gammainc(a, 0, (1 + t) * z)
        constant = tau * alpha / (c * mp.gamma(1 - alpha) * ((1 + t) ** alpha - 1))
        return mp.log(constant * z ** (-1 - tau) * bracket)


def tempered_sides(log_z, alpha, log_t):
    """`P(Z ≤ z)` and `P(Z > z)` for the density `∝ z^(-1-α) e^(-z) (1 - e^(-t z))`."""
    with mp.workdps(int(40 + abs(log_t) + abs(log_z))):
        alpha, z, t = mp.mpf(alpha), mp.exp(mp.mpf(log_z)), mp.exp(mp.mpf(log_t))

        def above(z):  # Γ(-α, z)
            return (z**-alpha * mp.exp(-z) - mp.gammainc(1 - alpha, z)) / alpha

        constant = alpha / (mp.gamma(1 - alpha) * ((1 + t) ** alpha - 1))
        upper = constant * (above(z) - (1 + t) ** alpha * above(z * (1 + t)))
        return 1 - upper, upper


# --- quadrature of densities ------------------------------------------------------------------


def panels(points, num=81):
    """Nodes and weights of a tanh-sinh rule between neighbouring points, one row a panel."""
    t, step = np.linspace(-3.6, 3.6, num, retstep=True)
    y = math.pi / 2 * np.sinh(t)
    left, right = 1 / (1 + np.exp(-2 * y)), 1 / (1 + np.exp(2 * y))
    weights = step * math.pi * np.cosh(t) * left * right
    points = np.sort(np.asarray(points, float))
    a, b = points[:-1, None], points[1:, None]
    return np.where(left < 0.5, a + (b - a) * left, b - (b - a) * right), (b - a) * weights
