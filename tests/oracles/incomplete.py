"""Incomplete gamma and beta integrals and their slopes to 50 digits, stored as `incomplete.json`.

`python tests/oracles/incomplete.py` writes the file anew, in minutes. A row holds the
arguments (numbers that float32 holds exactly, so that one value serves both precisions), the
logarithm of the integral, and its derivative in each argument.
"""

import itertools
import json
from pathlib import Path

import mpmath as mp
import numpy as np

STORED = Path(__file__).with_suffix(".json")
ALPHAS = [0.0, 1e-6, 1e-3, 0.2, 0.5, 0.75, 0.999]
FIRST = [1e-3, 0.25, 1.0, 1.5, 4.8, 12.0, 60.0, 1e3, 1e6]  # s
SECOND = [1e-3, 0.02, 0.5, 1.0, 2.0, 7.25, 100.0, 1e3, 1e6]  # d


def rounded(*values):
    return tuple(float(np.float32(value)) for value in values)


def lower_gamma(s, log_z):
    """A series of positive terms, or all of the complete integral but 1e-100."""
    z = mp.exp(log_z)
    if z > s + 60 * mp.sqrt(s) + 600:
        return mp.gamma(s)
    total, term, n = mp.mpf(0), 1 / s, 0
    while term > mp.eps * total / 100 or n < z - s:
        total += term
        n += 1
        term *= z / (s + n)
    return mp.exp(s * log_z - z) * total


def upper_gamma(alpha, log_z):
    if alpha == 0:
        return nudged(upper_gamma, log_z)
    z = mp.exp(log_z)
    if z > 200:  # all digits of the asymptotic series, which begins to grow after z terms
        terms, n = [mp.mpf(1)], 0
        while abs(terms[-1]) > mp.eps and n < z:
            n += 1
            terms.append(-terms[-1] * (n + alpha) / z)
        return mp.exp(-z - (1 + alpha) * log_z) * sum(terms)
    rest = mp.gamma(1 - alpha) - lower_gamma(1 - alpha, log_z)
    return (mp.exp(-alpha * log_z - z) - rest) / alpha


def lower_beta(s, d, log_x):
    x, y = mp.exp(log_x), -mp.expm1(log_x)
    return _lower_beta(s, d, x, y) if y else mp.beta(s, d)


def _lower_beta(s, d, x, y):
    # From the other end where that is nearer, and fewer than half of the digits cancel.
    if x > 0.5 and x > (s - 8 * mp.sqrt(s * d / (s + d + 1))) / (s + d):
        return mp.beta(s, d) - _series(d, s, y, x)
    return _series(s, d, x, y)


def _series(s, d, x, y):
    """`∫_0^x t^(s-1) (1-t)^(d-1) dt` by a series of positive terms, fast for small `x`."""
    total, term, n = mp.mpf(0), 1 / s, 0
    while term > mp.eps * total / 100:
        total += term
        n += 1
        term *= x * (s + d + n - 1) / (s + n)
    return x**s * y**d * total


def upper_beta(alpha, d, log_x):
    """By parts, from the order `1 - α`."""
    if alpha == 0:
        return nudged(upper_beta, d, log_x)
    x, y = mp.exp(log_x), -mp.expm1(log_x)
    if x > 0.05 or x * d > 60:
        rest = _series(d, 1 - alpha, y, x)
    else:  # of which fewer than half of the digits cancel
        rest = mp.beta(d, 1 - alpha) - _series(1 - alpha, d, x, y)
    return (x**-alpha * y**d - (d - alpha) * rest) / alpha


def nudged(f, *rest):
    """`f(0, …)`, where the formula of `f` divides by its first argument: off by 1e-36."""
    small = mp.mpf(10) ** -18
    return (f(small, *rest) + f(-small, *rest)) / 2


def _shares(s, d):
    """Logarithms of `x` far out, and around the mean of the beta law in standard deviations."""
    mean, width = s / (s + d), np.sqrt(s * d / (s + d + 1)) / (s + d)
    near = [mean + c * width for c in (-5, -1, 0.3, 2, 6)]
    logs = [np.log(x) for x in near if 1e-30 < x < 1 - 1e-7]
    return sorted({*rounded(*logs), *rounded(-69, -2, -0.01, -1e-7)})


def grids():
    """The functions and their points, by name."""
    sizes = [-69, -5, -0.5, 0, 0.6875, 0.7, 2, 4, 6.9, 13.8]
    around = [(s, s + c * s**0.5) for s in FIRST for c in (-5, -1, 0.3, 2, 8)]
    shares = {d: {-69, -3, -0.25, -1e-7, -np.log(d / 2 + 3) - 0.01, -np.log(d + 1)} for d in SECOND}
    return {
        "log_upper_gamma": (upper_gamma, list(itertools.product(ALPHAS, sizes))),
        "log_lower_gamma": (
            lower_gamma,
            [(s, np.log(z)) for s, z in around if z > 0]
            + [(s, v) for s in FIRST for v in (-69, -3)],
        ),
        "log_upper_beta": (
            upper_beta,
            [(a, d, v) for a in ALPHAS for d in SECOND for v in sorted(shares[d])],
        ),
        "log_lower_beta": (
            lower_beta,
            [(s, d, v) for s in FIRST for d in SECOND for v in _shares(s, d)],
        ),
    }


def row(f, point):
    with mp.workdps(60):
        point = [mp.mpf(x) for x in point]
        value = f(*point)
        slopes = []
        for i, x in enumerate(point):
            step = mp.mpf(10) ** -14 * (abs(x) or 1)
            up, down = ([*point[:i], x + h, *point[i + 1 :]] for h in (step, -step))
            slopes.append((f(*up) - f(*down)) / (2 * step) / value)
        return [float(x) for x in (*point, mp.log(value), *slopes)]


if __name__ == "__main__":
    found = {}
    for name, (f, points) in grids().items():
        found[name] = [row(f, rounded(*point)) for point in points]
        print(name, len(points), flush=True)  # noqa: T201
    lines = [
        f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in found.items()
    ]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
