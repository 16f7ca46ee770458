"""Derivatives of the inverse tail, by the implicit function, and of densities in the parameters."""

import itertools

import jax
import jax.numpy as jnp
import levy_cases as cases
import mpmath as mp
import numpy as np
import pytest
from closeness import assert_close
from levy_cases import DTYPE, FAMILIES, X64
from oracles import gbfry_density, gbfry_tail, needs_x64, partial

from mogp import levy

# They share all that is differentiated with another family, and take long to compile.
SHARED = {"InverseGaussian", "Beta", "BetaPareto"}
SWEEP = [
    pytest.param(name, marks=pytest.mark.statistical if name in SHARED else ()) for name in FAMILIES
]


@needs_x64
@pytest.mark.parametrize("name", SWEEP)
def test_first_derivatives_of_the_inverse_tail(name):
    """In `u` and in every parameter, by reverse mode, under `vmap` over parameters."""
    build, _, rows = FAMILIES[name]
    table = list(itertools.product(rows, cases.SLOPES_AT))
    columns = [jnp.asarray(c) for c in zip(*((u, *row) for row, u in table), strict=True)]

    def inverse(u, *parameters):
        return build(*parameters).log_inverse_tail(u)

    slopes_of = jax.jit(jax.vmap(jax.value_and_grad(inverse, range(len(columns)))))
    values, slopes = slopes_of(*columns)
    exact = np.concatenate([row["slopes"] for row in cases.exact(name)])
    assert_close(values, exact[:, 0], rtol=1e-10, atol=1e-12)
    assert_close(np.stack(slopes, axis=1), exact[:, 1:], rtol=1e-6, atol=1e-12)


@needs_x64
@pytest.mark.parametrize(("name", "moved"), [("Gamma", (0, 1)), ("GeneralizedGamma", (1,))])
def test_second_derivatives_of_the_inverse_tail(name, moved):
    """In `u` and the first parameter, or in `α` alone."""
    build, oracle, _ = FAMILIES[name]
    row, arrivals = {"Gamma": (2.0, 3.0), "GeneralizedGamma": (0.5, 1.0, 2.0)}[name], [0.3, 1000.0]
    hessian = jax.jit(
        jax.vmap(
            jax.hessian(lambda u, p: build(p, *row[1:]).log_inverse_tail(u), moved),
            in_axes=(0, None),
        )
    )(jnp.asarray(arrivals), jnp.asarray(row[0]))
    for i, u in enumerate(arrivals):
        for (j, a), (k, b) in itertools.product(enumerate(moved), repeat=2):
            with mp.workdps(60):
                point = [mp.mpf(u), mp.mpf(row[0])]
                steps = [value * mp.mpf(10) ** -7 for value in point]

                def at(first, second, a=a, b=b, point=point, steps=steps):
                    moved_to = list(point)
                    moved_to[a] += first * steps[a]
                    moved_to[b] += second * steps[b]
                    return oracle(moved_to[1], *row[1:]).inverse_tail(moved_to[0])

                expected = at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)
                expected /= 4 * steps[a] * steps[b]
            assert float(hessian[j][k][i]) == pytest.approx(float(expected), rel=1e-4), (a, b, u)


@needs_x64
@pytest.mark.parametrize("name", ["Gamma", "RegularizedHorseshoe"])
def test_forward_mode_and_pullback(name):
    """The two are transposes of each other, and what `jax.grad` finds one by one."""
    build, _, rows = FAMILIES[name]
    row, u = rows[0], jnp.array(cases.SLOPES_AT[:2])

    @jax.jit
    def both(u, row):
        inverse = lambda u, row: build(*row).inverse_tail(u)  # noqa: E731
        x, pushed = jax.jvp(inverse, (u, row), (jnp.ones(2), (jnp.ones(()),) * len(row)))
        _, pull = jax.vjp(inverse, u, row)
        return x, pushed, jax.vmap(pull)(jnp.eye(2))

    x, pushed, (by_u, by_parameters) = both(u, tuple(map(jnp.asarray, row)))
    for i in range(2):
        value, *exact = cases.exact(name)[0]["slopes"][i]
        size = np.exp(value)
        np.testing.assert_allclose(x[i], size, rtol=1e-10)
        np.testing.assert_allclose(pushed[i], sum(exact) * size, rtol=1e-6)
        np.testing.assert_allclose(by_u[i], exact[0] * size * np.eye(2)[i], rtol=1e-6)
        got = [column[i] for column in by_parameters]
        np.testing.assert_allclose(got, np.array(exact[1:]) * size, rtol=1e-6)


POINTS = [
    (0.5, 2.0, 1.0, 0.3),
    (0.2, 5.0, 2.0, 1e-12),
    (0.9, 1.2, 0.7, 30.0),
    (0.95, 1.02, 1, 1e-3),
]


def test_gbfry_derivatives_in_parameters_and_x():
    def both(a, t, m, x):
        measure = levy.GBFRY(a, t, m)
        return jnp.stack([measure.log_density(x), jnp.log(measure.tail(x))])

    columns = [jnp.asarray(column, DTYPE) for column in zip(*POINTS, strict=True)]
    slopes = jax.jit(jax.vmap(jax.jacrev(both, range(4))))(*columns)
    rtol = 1e-8 if X64 else 1e-3
    for i in range(len(POINTS)):
        rounded = [float(column[i]) for column in columns]
        for j, exact_f in enumerate((gbfry_density, gbfry_tail)):
            for place, column in enumerate(slopes):
                step = 1e-8 * rounded[place]
                expected = partial(lambda *p, f=exact_f: mp.log(f(*p)), place, rounded, step)
                assert column.dtype == DTYPE
                np.testing.assert_allclose(column[i, j], expected, rtol=rtol, atol=rtol)
