"""With JAX_DEBUG_NANS=1 nothing stops: no NaN is made on the way to finite results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from levy_cases import FAMILIES, OTHERS

pytestmark = pytest.mark.statistical  # minutes of compilation


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_no_nan_is_made_on_the_way_to_finite_results(name, key):
    build = FAMILIES[name][0] if name in FAMILIES else OTHERS[name]
    x, u = jnp.array([0, 1e-30, 0.3, 0.99, 1.0, 2.0, jnp.inf]), jnp.array([0, 1e-6, 0.5, 3.0, 1e6])
    with jax.debug_nans(True):
        measure = build(*FAMILIES[name][2][0]) if name in FAMILIES else build(1.0)
        found = [
            measure.density(x), measure.tail(x), measure.inverse_tail(u),
            measure.moment(jnp.array([1.0, 2.0])[:, None], x[None]), measure.laplace_exponent(u),
            measure.ranked_jumps(4, key=key, shape=(2,)).sizes,
            measure.sample_total(key=key, num_jumps=5),
        ]  # fmt: skip
    for value in found:
        assert not np.isnan(value).any()
        assert np.isfinite(value).any()
