"""The table of measures, each with its oracle, and their values from one compiled function a kind.

Parameters and arguments are numbers that float32 holds exactly, so that one exact value serves both
precisions. The rows of a kind are one batch under `vmap`, which is what users do.

The values of the oracles are stored in `oracles/levy.json`, which `PYTHONPATH=.:tests python
tests/levy/levy_cases.py` writes anew, in minutes.
"""

import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
from oracles import levy as oracles

from mogp import levy

X64 = bool(jax.config.jax_enable_x64)
DTYPE = np.float64 if X64 else np.float32

GAMMA, HORSESHOE, STABLE = (
    (levy.Gamma(2.0, 3.0), oracles.Gamma(2, 3)),
    (levy.RegularizedHorseshoe(1.0), oracles.RegularizedHorseshoe(1)),
    (levy.Stable(0.25), oracles.Stable(0.25)),
)


def rounded(values):
    return tuple(float(np.float32(value)) for value in values)


def family(kind, *rows):
    return kind, getattr(oracles, kind.__name__), [rounded(row) for row in rows]


# name -> how to make the measure from scalars, the oracle from the same, rows of parameters
FAMILIES = {
    kind.__name__: (kind, oracle, rows)
    for kind, oracle, rows in [
        family(levy.Stable, (0.3, 1.0), (1e-6, 2.0), (0.999, 0.1)),
        family(levy.GeneralizedGamma, (0.5, 1, 1), (0.3, 2, 5), (1e-6, 3, 2), (0.999, 0.1, 2)),
        family(levy.Gamma, (2, 3), (0.02, 0.1)),
        family(levy.InverseGaussian, (2, 0.7), (1, 30)),
        family(levy.Beta, (1, 0.5), (1.5, 0.02), (1, 7.25), (3, 100)),
        family(levy.StableBeta, (0.4, 0.5, 2), (0.75, -0.73, 1), (1e-6, 12, 1), (0.999, 0.02, 1)),
        family(levy.RegularizedHorseshoe, (1,), (0.125,), (100,)),
        family(
            levy.GBFRY,
            (0.5, 2, 1),
            (0.2, 5, 1.5),
            (1e-6, 1.2, 10),
            (0.999, 1.02, 0.7),
            (0.3, 40, 1),
        ),
        family(levy.BetaPareto, (1.5, 0.5, 2), (1, 2.5, 0.75), (2, 0.02, 1.5), (1, 20, 6)),
    ]
}
COMBINED = {
    "Rescaled": (
        lambda weight, factor: weight * GAMMA[0].scaled(factor),
        lambda weight, factor: oracles.Combined((weight, factor, GAMMA[1])),
        [(0.5, 4.0), (2.0**20, 2.0**-10)],
    ),
    "Rescaled, bounded": (
        lambda weight, factor: (HORSESHOE[0] * weight).scaled(factor),
        lambda weight, factor: oracles.Combined((weight, factor, HORSESHOE[1])),
        [(3.0, 0.25)],
    ),
    "Sum": (
        lambda factor: GAMMA[0].scaled(factor) + STABLE[0],
        lambda factor: oracles.Combined((1, factor, GAMMA[1]), (1, 1, STABLE[1])),
        [(2.0,)],
    ),
    "Sum, bounded": (
        lambda factor: HORSESHOE[0] + HORSESHOE[0].scaled(factor),
        lambda factor: oracles.Combined((1, 1, HORSESHOE[1]), (1, factor, HORSESHOE[1])),
        [(2.0,)],
    ),
}
# Tables, points and nothing: made from one positive number.
OTHERS = {
    "NoJumps": lambda _: levy.NoJumps(),
    "FromDensity": lambda rate: levy.FromDensity(lambda x: 2 / x * jnp.exp(-rate * x)),
    "CompoundPoisson": lambda rate: levy.CompoundPoisson(rate, dist.LogNormal(0.0, rate)),
    "CompoundPoisson of a point": lambda rate: levy.CompoundPoisson(3.0, dist.Delta(rate)),
    "Thinned": lambda rate: levy.Thinned(GAMMA[0], rate),
}
CASES = FAMILIES | COMBINED

ORDERS = np.array([1.0, 1.5, 2.0, 0.75, 0.25])
ARRIVALS = np.append(np.array([1e-6, 1e-3, 1, 5, 100, 1e6]), np.logspace(-5, 5, 12))
TIMES = np.array([1e-30, 1e-3, 1, 20, 300, 1e6]).astype(np.float32).astype(float)
EDGES = [0, -1, -math.inf, math.inf, math.nan]  # after the points of each grid
INFO = np.finfo(DTYPE)
NASTY = [float(INFO.smallest_subnormal), float(INFO.tiny), 1e-30, 1e3, 1e30, float(INFO.max)]


STORED = Path(oracles.__file__).with_suffix(".json")
SLOPES_AT = [0.3, 7.0, 1000.0]  # arrivals


def sizes(oracle, double=X64):
    """Eight sizes of jumps, from 1e-30 (1e-15 in float32) to 1e6 or near the end of the support."""
    x = np.array([1e-30 if double else 1e-15, 1e-9, 1e-3, 0.1, 0.7, 3, 50, 1e6])
    beyond = x * float(oracle.cut) > 0.98
    x[beyond] = (1 - 2.0 ** -np.arange(1, 1 + beyond.sum())) / float(oracle.cut or 1)
    return x.astype(np.float32).astype(float)


def oracles_of(name):
    _, oracle, rows = CASES[name]
    return [oracle(*row) for row in rows]


@functools.cache
def exact(name):
    """The stored values of the oracles, a dictionary for each row of parameters."""
    return [
        {kind: np.array(value, dtype=float) for kind, value in row.items()}
        for row in json.loads(STORED.read_text())[name]
    ]


def exact_at_sizes(name, i, kind):
    """Densities, tails or moments at `sizes`, the last axis."""
    return np.delete(exact(name)[i][kind], 1 if X64 else 0, axis=-1)


def stored_row(name, i):
    build, make, rows = CASES[name]
    oracle = make(*rows[i])
    x = [sizes(oracle, double=True)[0], *sizes(oracle, double=False)]
    measure = build(*rows[i])
    low, high = float(measure.index_at_zero), float(measure.index_at_infinity)
    found = {
        "density": [oracle.density(z) for z in x],
        "tail": [oracle.tail(z) for z in x],
        "moment": [[oracle.moment(k, z) for z in x] for k in ORDERS[:3]],
        "complete": [oracle.moment(k) if low < k < high else math.inf for k in ORDERS],
        "laplace": [oracle.laplace(t) for t in TIMES],
        "inverse": [oracle.inverse_tail(u) for u in ARRIVALS[:6]],
    }
    if name in FAMILIES:
        found["slopes"] = [exact_slopes(make, rows[i], u) for u in SLOPES_AT]
    return {kind: np.array(value, dtype=float).tolist() for kind, value in found.items()}


def values_of(measure, x, u, t):
    """All that is compared with the oracles: the arguments are those of one measure."""
    v, num = measure.log_inverse_tail(u), len(x)
    # Sizes and inverses in one call, for every call is compiled anew.
    logs = jnp.append(jnp.log(jnp.maximum(x, 0)), jnp.where(jnp.isfinite(v), v, 0))
    log_tail, log_density = measure.log_tail_of_log(logs), measure.log_density_of_log(logs)
    return {
        "density": jnp.exp(log_density[:num]) / jnp.where(x > 0, x, 1),
        "logs": log_density[:num],
        "tail": jnp.exp(log_tail[:num]),
        "moment": measure.moment(jnp.asarray(ORDERS[:, None], x.dtype), x[None]),
        "laplace": measure.laplace_exponent(t),
        "inverse": v,
        "log_tail": log_tail[num:],
        "log_density": log_density[num:],
        "support": jnp.asarray(measure.support[1], x.dtype),
        "mass": jnp.asarray(measure.total_mass, x.dtype),
        "low": jnp.asarray(measure.index_at_zero, x.dtype),
        "high": jnp.asarray(measure.index_at_infinity, x.dtype),
    }


@functools.cache
def values_and_wrong(name):
    """`values_of` for all rows of a case: measures made under `vmap`, and mapped over again.

    Then the same for families with parameters that are out of range or NaN, put in without the
    checks of construction, as those of a tracer are.
    """
    build, _, rows = CASES[name]
    columns = [jnp.asarray(column, DTYPE) for column in zip(*rows, strict=True)]
    measures = jax.vmap(build)(*columns)
    x = [[*sizes(oracle), *EDGES, *NASTY] for oracle in oracles_of(name)]
    if name in FAMILIES:
        leaves, tree = jax.tree.flatten(measures)
        wrong = [
            [bad if i == j else leaf[0] for i, leaf in enumerate(leaves)]
            for j in range(len(leaves))
            for bad in (-1.5, math.nan)
        ]
        columns = zip(*wrong, strict=True)
        leaves = [jnp.append(*pair) for pair in zip(leaves, map(jnp.asarray, columns), strict=True)]
        measures, x = jax.tree.unflatten(tree, leaves), x + [x[0]] * len(wrong)
    u, t = (jnp.asarray([*grid, *EDGES], DTYPE) for grid in (ARRIVALS, TIMES))
    found = jax.jit(jax.vmap(values_of, (0, 0, None, None)))(measures, jnp.asarray(x, DTYPE), u, t)
    found = {key: np.asarray(value) for key, value in found.items()}
    num = len(rows)
    return (
        *(
            {key: value[part] for key, value in found.items()}
            for part in (slice(num), slice(num, None))
        ),
    )


def values(name):
    return values_and_wrong(name)[0]


def cancelling(oracle, x):
    """Sizes of the logarithms that cancel in the values at `x`: their rounding remains."""
    x = np.asarray(x)
    end = float(oracle.cut)
    size = abs(math.log(end)) / np.maximum(1 - end * x, 1e-9) if end else np.zeros(x.shape)
    size = size + float(getattr(oracle, "tau", 0)) * np.abs(np.log(x))
    return size + math.lgamma(float(getattr(oracle, "b", 0)) + 2)


def assert_accurate(got, expected, rtol=None, size=0.0):
    """Relative error; of the exponential of a logarithm that is rounded itself."""
    got, expected = np.asarray(got), np.array([float(value) for value in expected])
    double = got.dtype == np.float64
    rtol = rtol or (1e-10 if double else 1e-5)
    small, large = (1e-290, 1e300) if double else (1e-35, 1e37)
    seen = (expected > small) & (expected < large)
    assert seen.any()
    expected, size = expected[seen], np.broadcast_to(size, seen.shape)[seen]
    error = np.abs(got[seen].astype(float) / expected - 1)
    bound = rtol + 4 * float(np.finfo(got.dtype).eps) * (np.abs(np.log(expected)) + size)
    assert np.all(error <= bound), (error / bound).max()


def exact_slopes(oracle, parameters, u):
    """`log ρ̄⁻¹`, then its derivatives in `u` and the parameters: `-1/(x ρ)` and `∂_θ ρ̄/(x ρ)`."""
    parameters = [mp.mpf(value) for value in parameters]
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
    return [float(value) for value in (log_x, *slopes)]


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    table = {}
    for name, (*_, rows) in CASES.items():
        table[name] = [stored_row(name, i) for i in range(len(rows))]
        print(name, flush=True)  # noqa: T201
    lines = [
        f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in table.items()
    ]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
