"""Speed and error of ranked jumps: arrival times, sizes, and what the other jumps add up to.

For each measure the script draws `--shape` processes of the `--num` largest jumps with
`measure.ranked_jumps`, new keys each time, after one call that compiles (measures of one
family share what is compiled). In the same run it times

- SciPy, one jump at a time: `scipy.optimize.brentq` on the tail, in `log x`;
- SciPy, all at once: `scipy.optimize.elementwise.find_root` on the same tail (SciPy 1.15);
- for the generalised gamma measure, thinning of stable jumps in JAX, which is exact too;
- `bayes-crm`, if its module `crm` can be imported, from one table a process (its own way to time
  itself), and from one table for all, which is its fastest.

SciPy is given arrival times and brackets for nothing. Errors are the largest of
`|log tail(x) - log u|` over a subsample, the first with the library's tail, the second with
SciPy's at the same `x`. `bayes-crm` is not on PyPI, only in its
repository, dbernaciak/bayes-crm on GitHub.

    pip install '.[test]' && python benchmarks/levy.py
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from mogp import levy

try:  # SciPy 1.15
    from scipy.optimize import elementwise
except ImportError:
    elementwise = None

SUBSAMPLE = 10_000  # jumps whose error is looked at


# --- logarithms of tails at e^v, by SciPy -------------------------------------------------------


def log_gamma_tail(v: np.ndarray, mass: float, rate: float) -> np.ndarray:
    return np.log(mass * special.exp1(rate * np.exp(v)))


def generalized_gamma_tail(v: np.ndarray, alpha: float, rate: float, mass: float) -> np.ndarray:
    z = rate * np.exp(v)  # Γ(-α, z) = (z^(-α) e^(-z) - Γ(1-α, z)) / α
    regular = z**-alpha * np.exp(-z) / special.gamma(1 - alpha) - special.gammaincc(1 - alpha, z)
    return mass * rate**alpha / alpha * regular


def log_generalized_gamma_tail(v: np.ndarray, alpha: float, rate: float, mass: float) -> np.ndarray:
    return np.log(generalized_gamma_tail(v, alpha, rate, mass))


def log_half_beta_tail(v: np.ndarray, mass: float) -> np.ndarray:
    root = np.sqrt(-np.expm1(v))  # concentration 1/2: η artanh √(1-x), and x may underflow
    return np.log(mass * (np.log1p(root) - v / 2))


def log_double_beta_tail(v: np.ndarray, mass: float) -> np.ndarray:
    return np.log(2 * mass * (np.expm1(v) - v))  # concentration 2


def log_stable_beta_tail(
    v: np.ndarray, alpha: float, concentration: float, mass: float
) -> np.ndarray:
    d = concentration + alpha  # B(-α, d) above x, from B(1-α, d) above x
    rest = special.beta(1 - alpha, d) * special.betaincc(1 - alpha, d, np.exp(v))
    integral = (np.exp(-alpha * v) * (-np.expm1(v)) ** d - concentration * rest) / alpha
    constant = special.gamma(1 + concentration) / special.gamma(1 - alpha) / special.gamma(d)
    return np.log(mass * constant * integral)


def log_gbfry_tail(v: np.ndarray, alpha: float, tau: float, mean: float) -> np.ndarray:
    c = mean * (tau - 1) / (tau - alpha)
    z = np.exp(v) / c
    lower = special.gammainc(tau - alpha, z) * special.gamma(tau - alpha)
    pareto = (tau - alpha) / tau * z**-tau * lower / special.gamma(1 - alpha)
    base = generalized_gamma_tail(v, alpha, 1 / c, (tau - alpha) / tau * c**alpha)
    return np.log(pareto + base)


LogTail = Callable[[np.ndarray], np.ndarray]
CASES: dict[str, tuple[levy.LevyMeasure, LogTail | None]] = {
    "GeneralizedGamma(.5, 1, 1)": (
        levy.GeneralizedGamma(0.5, 1.0, 1.0),
        lambda v: log_generalized_gamma_tail(v, 0.5, 1.0, 1.0),
    ),
    "Stable(.5)": (levy.Stable(0.5), None),  # its inverse is a power
    "Beta(1, .5)": (levy.Beta(1.0, 0.5), lambda v: log_half_beta_tail(v, 1.0)),
    "Beta(1, 2)": (levy.Beta(1.0, 2.0), lambda v: log_double_beta_tail(v, 1.0)),
    "StableBeta(.3, 1, 1)": (
        levy.StableBeta(0.3, 1.0, 1.0),
        lambda v: log_stable_beta_tail(v, 0.3, 1.0, 1.0),
    ),
    "GBFRY(.5, 2, 1)": (levy.GBFRY(0.5, 2.0, 1.0), lambda v: log_gbfry_tail(v, 0.5, 2.0, 1.0)),
    "Gamma(2, 3)": (levy.Gamma(2.0, 3.0), lambda v: log_gamma_tail(v, 2.0, 3.0)),
}


# --- programs -----------------------------------------------------------------------------------


def seconds_of(run: Callable[[Any], Any], arguments: list[Any]) -> list[float]:
    """Seconds of each call; the first, which may compile, comes first."""
    times = []
    for argument in arguments:
        began = time.perf_counter()
        jax.block_until_ready(run(argument))
        times.append(time.perf_counter() - began)
    return times


def worst(log_tail: LogTail, v: np.ndarray, u: np.ndarray) -> float:
    """Largest `|log tail(e^v) - log u|`; infinity where there is no jump."""
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(log_tail(v), float) - np.log(u))
    return float(np.max(np.where(np.isfinite(v) & np.isfinite(error), error, np.inf)))


def bracket(log_tail: LogTail, u: np.ndarray) -> tuple[float, float]:
    """Two `v` around all solutions, with finite values of the tail."""
    with np.errstate(all="ignore"):
        grid = -np.geomspace(1e-12, 5e3, 400)
        grid = np.concatenate([grid[::-1], np.linspace(0, 20, 81)])
        values = log_tail(grid)
        grid, values = grid[np.isfinite(values)], values[np.isfinite(values)]
    low, high = grid[values > np.log(u.max())], grid[values < np.log(u.min())]
    return float(low.max()), float(high.min())


def by_brentq(log_tail: LogTail, u: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    roots = [optimize.brentq(lambda v, w=w: log_tail(v) - w, *ends) for w in np.log(u)]
    return np.array(roots)


def by_find_root(log_tail: LogTail, u: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    low, high = (np.full_like(u, end) for end in ends)
    found = elementwise.find_root(lambda v, w: log_tail(v) - w, (low, high), args=(np.log(u),))
    return found.x


def thinned(num: int, shape: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """Jumps of `GeneralizedGamma(.5, 1, 1)`: those of a stable measure, kept with `e^(-x)`."""
    stable = levy.Stable(0.5, 4 / np.pi)  # x^(-3/2) / Γ(1/2)

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        by_jump, by_choice = jax.random.split(key)
        sizes = stable.ranked_jumps(num, key=by_jump, shape=shape).sizes
        kept = jax.random.exponential(by_choice, sizes.shape, sizes.dtype) > sizes
        return jnp.where(kept, sizes, 0)

    return draw


# name of a case -> density and its arguments, exponent of its pole at 0, support
CRM_CASES = {
    "GeneralizedGamma(.5, 1, 1)": ("generalized_gamma_process", (1.0, 0.5, 1.0), -1.5, np.inf),
    "Beta(1, 2)": ("beta_process", (1.0, 2.0), -1.0, 1.0),
}


def crm_table(name: str) -> Any:
    """A sampler of `bayes-crm`, with the settings that its authors time it with."""
    from crm import crm_approx, levy_processes

    density, arguments, power, end = CRM_CASES[name]
    return crm_approx.ApproxProcess(
        getattr(levy_processes, density)(*arguments),
        1001,
        getattr(levy_processes, f"g_{density}")(*arguments),
        power,
        thr=0.5,
        bounds=(1e-10, end),
    )


def arrivals_of(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.exponential(size=shape).cumsum(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, default=1000, help="processes in a call")
    parser.add_argument("--num", type=int, default=1000, help="jumps of a process")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--scipy", type=int, default=500, help="jumps for brentq; 0 for no SciPy")
    parser.add_argument("--x64", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    shape, num, repeats = options.shape, options.num, options.repeats
    keys = list(jax.random.split(jax.random.key(0), repeats + 1))
    rng = np.random.default_rng(0)
    total = shape * num

    print(f"{jax.devices()[0].device_kind}, {jax.__version__=}, {jnp.result_type(float)}")
    print(f"{shape} x {num} jumps a call, median of {repeats} calls; rates are jumps per second")
    print(
        f"{'measure':<27} {'ms/call':>8} {'min':>7} {'max':>7} {'rate':>8} {'compile':>8} "
        f"{'error':>8} {'SciPy x':>8} {'brentq':>8} {'ratio':>7} {'bulk':>8} {'ratio':>7}"
    )
    rates = {}
    for name, (measure, log_tail) in CASES.items():
        draw = lambda key, m=measure: m.ranked_jumps(num, key=key, shape=(shape,))  # noqa: E731
        first, *times = seconds_of(draw, keys)
        seconds = float(np.median(times))
        rates[name] = total / seconds

        arrivals = draw(keys[0]).arrivals
        v, u = (np.array(a, float).ravel() for a in (measure.log_inverse_tail(arrivals), arrivals))
        some = np.unique(np.linspace(0, total - 1, SUBSAMPLE).astype(int))
        some = np.union1d(some, [u.argmin(), u.argmax()])
        v, u = v[some], u[some]
        line = f"{name:<27} {seconds * 1e3:8.2f} {min(times) * 1e3:7.2f} {max(times) * 1e3:7.2f} "
        line += f"{rates[name]:8.1e} {max(first - seconds, 0):6.1f} s "
        line += f"{worst(lambda v, m=measure: m.log_tail_of_log(v), v, u):8.0e} "
        if log_tail is None or not options.scipy:
            print(line + f"{'–':>8} {'–':>8} {'–':>7} {'–':>8} {'–':>7}")
            continue
        line += f"{worst(log_tail, v, u):8.0e} "
        ends = bracket(log_tail, u)
        for solve, count in ((by_brentq, options.scipy), (by_find_root, len(u))):
            if solve is by_find_root and elementwise is None:
                line += f"{'–':>8} {'–':>7} "
                continue
            few = u[np.linspace(0, len(u) - 1, min(count, len(u))).astype(int)]
            began = time.perf_counter()
            solve(log_tail, few, ends)
            rate = len(few) / (time.perf_counter() - began)
            line += f"{rate:8.1e} {rates[name] / rate:7.0f} "
        print(line.rstrip())

    name = "GeneralizedGamma(.5, 1, 1)"
    draw = thinned(num, (shape,))
    _, *times = seconds_of(draw, keys)
    kept = float(jnp.sum(draw(keys[0]) > 0))
    rate = kept / float(np.median(times))
    print(f"\nthinning of Stable for {name}: {kept / total:.1%} kept, {rate:.1e} kept jumps per")
    print(f"second, library / it {rates[name] / rate:.2f}")

    if importlib.util.find_spec("crm") is None:
        print("bayes-crm: not installed")
        return
    print(f"\n{'bayes-crm':<27} {'one each':>8} {'ratio':>7} {'bulk':>8} {'ratio':>7} {'error':>8}")
    for name in CRM_CASES:
        table = crm_table(name)
        several = [arrivals_of(rng, (num,)) for _ in range(max(5, min(shape, 100)))]
        _, *times = seconds_of(lambda u, n=name: crm_table(n).generate(u), several)
        single = num / float(np.median(times))
        bulk = lambda _, t=table: t.generate(arrivals_of(rng, (shape, num)))  # noqa: E731
        _, *times = seconds_of(bulk, list(range(max(3, repeats // 3) + 1)))
        every = total / float(np.median(times))
        u = arrivals_of(rng, (max(1, SUBSAMPLE // num), num))
        with np.errstate(divide="ignore"):
            v = np.log(table.generate(u).ravel())
        finite = np.isfinite(v)
        log_tail = CASES[name][1]
        error = worst(log_tail, v[finite], u.ravel()[finite])
        print(
            f"{name:<27} {single:8.1e} {rates[name] / single:7.0f} {every:8.1e} "
            f"{rates[name] / every:7.2f} {error:8.0e}   {np.mean(finite):.1%} of jumps are not 0"
        )


if __name__ == "__main__":
    main()
