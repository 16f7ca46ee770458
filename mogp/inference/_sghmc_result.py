"""The draws of SGHMC as a posterior."""

import dataclasses
import json
from typing import Any

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from mogp.inference._likelihoods import Likelihood
from mogp.inference._node_moves import Values, constrained
from mogp.inference._posterior import Posterior, flattened, pointwise
from mogp.inference._sghmc_steps import Parameters, Problem, unknown_of
from mogp.nn import DependentMLP

_STORED = 2**24  # numbers of one array that are put into the DataTree
_PREDICTED = 2**20  # predictions of rows that are


def as_posterior(
    problem: Problem,
    kept: np.ndarray,
    draws: Any,
    traces: Any,
    settings: dict[str, Any],
    interrupted: bool,
    key: Array,
) -> Posterior:
    """The draws of all chains, with traces and settings, as a posterior."""
    parameters, hyper = jax.tree.map(lambda a: jnp.swapaxes(jnp.asarray(a), 0, 1), draws)
    sources, likelihoods = _stacked(problem, parameters, hyper)
    posterior = Posterior(xr.DataTree(), sources, likelihoods)
    chains, num = jax.tree.leaves(parameters)[0].shape[:2]
    values, dims = _summaries(sources, parameters["model"])
    values |= constrained(problem.laws, hyper)
    values |= constrained(unknown_of(problem.likelihood), parameters["likelihood"])
    traces = {name: np.swapaxes(a, 0, 1) for name, a in traces.items()}
    at_draws = kept[: len(traces["loss"][0])]
    groups = {
        "posterior": values,
        "sample_stats": {name: a[:, at_draws] for name, a in traces.items()},
        "observed_data": {"y": problem.targets},
    }
    dims["y"] = ["row", "output"][: problem.targets.ndim]
    if chains * num * len(problem.x) <= _PREDICTED:
        drawn = posterior.predict(problem.x).sample(key=key)
        each = flattened((sources, likelihoods))
        scored = pointwise(each[0], each[1], None, problem.x, problem.targets)
        groups["posterior_predictive"] = {"y": drawn.reshape(chains, num, *drawn.shape[1:])}
        groups["log_likelihood"] = {"y": scored.reshape(chains, num, -1)}
    tree = arviz_base.from_dict(
        jax.tree.map(np.asarray, groups), dims=dims, check_conventions=False
    )
    tree["epochs"] = xr.DataTree(
        xr.Dataset({name: (("chain", "epoch"), a) for name, a in traces.items()})
    )
    rows, batch = len(problem.x), problem.plan.batch_size
    tree.attrs = {
        "inference_library": "blackjax",
        "settings": json.dumps(settings),
        "interrupted": int(interrupted),
        "gradients": "of all rows, exact"
        if batch == rows
        else f"of {batch} of {rows} rows, scaled by {rows / batch:g}; their noise is not corrected "
        "for, and heats what the data determine",
    }
    return dataclasses.replace(posterior, data=tree)


def _stacked(problem: Problem, parameters: Parameters, hyper: Values) -> tuple[Any, Likelihood]:
    """Modules and likelihoods, their arrays with axes of chains and draws in front."""
    shape = jax.tree.leaves(parameters)[0].shape[:2]
    fixed = jax.tree.map(
        lambda a: jnp.broadcast_to(jnp.expand_dims(a, 1), (*shape, *a.shape[1:])), problem.fixed
    )
    sources, likelihoods = problem.build(parameters, hyper, fixed)
    return sources, jax.tree.map(
        lambda a: a if jnp.shape(a) == shape else jnp.full(shape, a), likelihoods
    )


def _summaries(sources: Any, arrays: Any) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """What the tree holds of the modules, and the names of its axes."""
    values: dict[str, Array] = {}
    dims: dict[str, list[str]] = {}
    if not isinstance(sources, DependentMLP):
        for path, array in jax.tree_util.tree_leaves_with_path(arrays):
            if array.size <= _STORED:
                values[jax.tree_util.keystr(path, simple=True, separator=".")] = array
        return values, dims
    nodes = ["input", *(f"node{i}" for i in range(len(sources.priors))), "output"]
    for i, u in enumerate(sources.log_variances):
        values[f"log_variance_mean{i}"] = jnp.mean(u, -1)
        values[f"log_variance_sum{i}"] = jax.nn.logsumexp(u, -1)
        values[f"log_variance_max{i}"] = jnp.max(u, -1)
    for name in ("weights", "biases", "log_variances"):
        for i, array in enumerate(getattr(sources, name)):
            if array.size <= _STORED:
                values[f"{name}{i}"] = array
                here = nodes[i + 1]
                dims[f"{name}{i}"] = [here, nodes[i]] if name == "weights" else [here]
    return values, dims
