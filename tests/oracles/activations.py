"""Gaussian expectations by double-exponential rules in NumPy."""

import itertools
import math

import numpy as np

from oracles import DTYPES, X64, needs_x64  # noqa: F401


def _tanh_sinh(num, reach=3.6):
    """Distances of the nodes from both ends of (0, 1), and weights; any end point is harmless."""
    t, step = np.linspace(-reach, reach, num, retstep=True)
    y = math.pi / 2 * np.sinh(t)
    left, right = 1 / (1 + np.exp(-2 * y)), 1 / (1 + np.exp(2 * y))
    return left, right, step * math.pi * np.cosh(t) * left * right


def panels(points, num=221):
    """Nodes and weights of a tanh-sinh rule between neighbouring points."""
    left, right, weights = _tanh_sinh(num)
    points = sorted(points)
    ends = [(a, b) for a, b in itertools.pairwise(points) if b - a > 1e-12]
    nodes = [np.where(left < 0.5, a + (b - a) * left, b - (b - a) * right) for a, b in ends]
    return np.concatenate(nodes), np.concatenate([(b - a) * weights for a, b in ends])


def gaussian_mean(f, m, s):
    """`E f(m + s ε)`, where all that is narrow or not smooth in `f` is near 0."""
    if s == 0:
        return float(f(np.float64(m)))
    kink = [-m / s] if abs(m) < 13 * s else []
    e, weights = panels([-13.0, 0.0, 13.0, *kink], 801)
    density = np.exp(-(e**2) / 2) / math.sqrt(2 * math.pi)
    return float(np.sum(weights * density * f(m + s * e)))


def gaussian_pair_mean(f, k11, k12, k22):
    """`E f(u) f(v)`, where all that is narrow or not smooth in `f` is near 0.

    In polar coordinates: `u ∝ r cos a`, `v ∝ r cos(a - θ)`, so that `u = 0` and `v = 0` are rays.
    """
    theta = math.atan2(math.sqrt(max(k11 * k22 - k12**2, 0)), k12)
    rays = np.array([math.pi / 2, -math.pi / 2, theta + math.pi / 2, theta - math.pi / 2])
    rays = np.sort((rays + math.pi) % (2 * math.pi) - math.pi)
    a, angle_weights = panels([*rays, rays[0] + 2 * math.pi])
    r, radius_weights = (part[:, None] for part in panels([0.0, 13.0]))
    density = r * np.exp(-(r**2) / 2) / (2 * math.pi)
    values = f(math.sqrt(k11) * r * np.cos(a)) * f(math.sqrt(k22) * r * np.cos(a - theta))
    return float(np.sum(radius_weights * density * angle_weights * values))
