"""Simulation-based calibration of NUTS; benchmarks/calibration.py has the full version."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from oracles import needs_x64

from mogp import MoGP, inference, priors
from mogp.inference.chains import _calibrate

X = jnp.linspace(-1.0, 1.0, 5)[:, None]


@pytest.mark.statistical
@needs_x64
@pytest.mark.parametrize("width", [None, 4])
def test_ranks_of_what_made_the_data_are_uniform(width):
    model = MoGP([priors.Horseshoe()], weight_scale=dist.LogNormal(0.0, 0.5), bias_scale=1.0)
    ranks = inference.calibrate(
        model, X, key=jax.random.key(5), width=width, num_jumps=3, num_replications=30,
        num_warmup=100, num_samples=19, thin=3,
    )  # fmt: skip
    wanted = {"noise_scale", "weight_scale", "node_variances0", "output"}
    assert wanted <= set(ranks["quantity"].values)
    assert ranks["rank"].shape == (
        30,
        4 + 2 * (width is None),
    )  # the last arrival, and the sum of the others
    assert float(ranks["p_value"].min()) > 1e-3


def test_p_values_of_ranks():
    """Uniform ranks have a large one, and ranks at one end have none."""
    even = np.repeat(np.arange(20), 5)
    assert _calibrate._p_value(even, 19) > 0.99
    assert _calibrate._p_value(np.zeros(100, int), 19) < 1e-10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_replications": 0}, "num_replications must be an integer of at least 1"),
        ({"num_samples": 0}, "num_samples must be an integer of at least 1"),
        ({"thin": 0}, "thin must be an integer of at least 1"),
        ({"x": X[0]}, "x must have shape"),
        ({"likelihood": "normal"}, "likelihood must be one of"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"model": MoGP([priors.Horseshoe()]), "x": X, "key": jax.random.key(0)} | change
    with pytest.raises(ValueError, match=message):
        inference.calibrate(**arguments)
