"""With JAX_DEBUG_NANS=1 nothing stops, neither in values nor in their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from priors_cases import PRIORS, law_of

pytestmark = pytest.mark.statistical  # minutes of compilation


@pytest.mark.parametrize("name", [name for name in PRIORS if "," not in name])
def test_nothing_is_nan(name, key):
    """Values and gradients, compiled, of all that a law tells; outside the support, too."""
    law = law_of(name)
    x = jnp.array([-1.0, 0.0, 1e-30, 1e-3, 0.3, 1.0, 2.0, 1e4, jnp.inf])
    u = jnp.array([-80.0, -50.0, -1.0, 0.0, 3.0, 40.0, 80.0])  # exp(u) is a float

    def everything(law, x, u):
        values = law.log_prob(x), law.cdf(x), law.log_density_of_log(u)
        return *values, law.sample_log(key, (20,)), law.mean, law.variance

    with jax.debug_nans(True):
        values, pull = jax.vjp(jax.jit(everything), law, x, u)
        finite = [jnp.where(jnp.isfinite(value), 1.0, 0.0) for value in values]
        slopes = pull(
            tuple(weight.astype(value.dtype) for weight, value in zip(finite, values, strict=True))
        )
    for value in (*values, *jax.tree.leaves(slopes)):
        assert not np.isnan(np.asarray(value, float)).any()
