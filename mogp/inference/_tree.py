"""ArviZ's tree of a posterior: its groups, the names of arrays and of their axes."""

import json
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp import limit
from mogp.nn import DependentMLP, InputLayer, nodes, trainable

if TYPE_CHECKING:
    import xarray as xr

_LARGEST = 2**25  # numbers of predictions, of all draws together: 256 MiB in double precision


def with_arrays(summary: "xr.DataTree", posterior: Any) -> "xr.DataTree":
    """The tree of a posterior, from the one without the arrays of its functions."""
    import arviz_base
    import xarray as xr

    values, dims = named_arrays(posterior)
    names: dict[Any, Any] = dict(dims)
    some = {name: np.asarray(value) for name, value in values.items() if value.size}
    arrays = arviz_base.dict_to_dataset(some, dims=names)
    groups = {"posterior": xr.Dataset()}
    groups |= {name: child.to_dataset() for name, child in summary.children.items()}
    groups["posterior"] = groups["posterior"].merge(arrays)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(summary.attrs)
    return tree


def summary_tree(posterior: Any) -> "xr.DataTree":
    """The tree without the arrays of its functions: only with parameters and summaries of them."""
    import arviz_base
    import xarray as xr

    chains, draws = shape = posterior.shape
    _, dims = named_arrays(posterior)
    groups: dict[str, dict[str, Any]] = {
        "posterior": dict(posterior.parameters) | summaries(posterior),
        "sample_stats": dict(posterior.statistics),
    }
    outputs = posterior.likelihood.num_outputs(posterior.y)
    if chains * draws * len(posterior.x) * outputs <= _LARGEST:
        drawn = posterior.predict(posterior.x).sample(key=posterior.key)
        drawn = drawn.reshape(*shape, *drawn.shape[1:])
        groups["posterior_predictive"] = {"y": observations(posterior, drawn)}
        groups["log_likelihood"] = {"y": posterior.log_likelihood()}
    prior = dict(posterior.prior())
    if prior:
        groups["prior_predictive"] = {"y": observations(posterior, prior.pop("y")[None])}
        groups["prior"] = {name: value[None] for name, value in prior.items()}
    groups["observed_data"] = {"y": observations(posterior, posterior.y)}
    groups["constant_data"] = {"x": posterior.x}
    # ArviZ's summaries and plots fail on what is empty, such as the jumps of a GP regime.
    groups = {
        name: {key: np.asarray(value) for key, value in group.items() if np.size(value)}
        for name, group in groups.items()
    }
    groups = {name: group for name, group in groups.items() if group}
    tree = arviz_base.from_dict(groups, dims=dims, check_conventions=False)
    if posterior.epochs:
        each = {name: (("chain", "epoch"), a) for name, a in posterior.epochs.items()}
        tree["epochs"] = xr.DataTree(xr.Dataset(each))
    if "log_likelihood" in groups:
        tree["log_likelihood"].attrs["y"] = (
            "log p(y_i | draw)"
            if posterior.observed is None
            else "log p(y_i | y_-i, draw): Rasmussen and Williams, Eq. 5.12"
        )
    tree.attrs = {
        name: int(value) if isinstance(value, bool) else value
        if isinstance(value, str | int | float)
        else json.dumps(value)
        for name, value in posterior.attrs.items()
    }  # fmt: skip
    return tree


def observations(posterior: Any, y: Any) -> np.ndarray:
    """Observations of shape (…, n, outputs) or (…, n) as ArviZ has them.

    One output has no axis, like its log-likelihood, and counts and labels are integers.
    """
    array = np.asarray(y)
    if posterior.y.ndim == 2 and posterior.y.shape[1] == 1:
        array = array[..., 0]
    return array.astype(int) if posterior.likelihood.is_discrete else array


def named_arrays(posterior: Any) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """The arrays of the functions that the data see, by name, and the names of all axes."""
    sources, seen = posterior.sources, posterior.observed is None
    many = posterior.y.ndim == 2 and posterior.y.shape[1] > 1
    dims = {"y": ["row", "output"] if many else ["row"]}
    if posterior.x.ndim == 2:
        dims["x"] = ["row", "input"]
    dims["input_variances"] = ["input_group"]
    values: dict[str, Array] = {}
    if isinstance(sources, DependentMLP):
        scales = [sources.inputs.bias_scale, *(layer.bias_scale for layer in sources.layers)]
        depth = len(sources.layers)
        for i, layer in enumerate(sources.layers):
            if layer.is_free:
                values[f"log_variances{i}"] = layer.log_variances
            dims |= {f"{name}{i}": [f"node{i}"] for name in ("log_variances", "node_variances")}
    elif isinstance(sources, limit.Path):
        one = jax.tree.map(lambda a: a[0, 0] if eqx.is_array(a) else a, sources.model)
        scales = [bias for _, bias in one.scales]
        depth = one.depth
        for i, jumps in enumerate(sources.jumps):
            if jumps.sizes.shape[-1]:
                values[f"node_variances{i}"] = jumps.sizes
                values[f"diffuse{i}"] = jumps.diffuse
            dims[f"node_variances{i}"] = [f"jump{i}"]
    else:
        arrays = eqx.filter(sources, trainable(sources))
        for path, array in jax.tree_util.tree_leaves_with_path(arrays):
            values[jax.tree_util.keystr(path, simple=True, separator=".")] = array
        return values, dims
    names = ["input", *(f"node{i}" for i in range(depth)), "output"]
    for i in range(depth + seen):
        weights, biases, here = sources.weights[i], sources.biases[i], names[i + 1]
        if isinstance(sources, limit.Path) and i == depth - 1 and _is_dense(posterior):
            # The nodes of the diffuse part are integrated out, too.
            num = sources.jumps[i].sizes.shape[-1]
            weights, biases, here = weights[:, :, :num], biases[:, :, :num], f"jump{i}"
        values[f"weights{i}"] = weights
        if np.any(np.asarray(scales[i]) != 0):  # a scale that is learned never is
            values[f"biases{i}"] = biases
        dims |= {f"weights{i}": [here, names[i]], f"biases{i}": [here]}
    return values, dims


def summaries(posterior: Any) -> dict[str, Array]:
    """What follows from the node variances of a network, in each hidden layer."""
    values: dict[str, Array] = {}
    for i, layer in enumerate(nodes(posterior.sources)):
        if isinstance(layer, InputLayer):
            values["input_variances"] = layer.root_variances() ** 2
        elif layer.is_free:
            u = layer.log_variances
            values[f"node_variances{i}"] = jnp.exp(u)
            values[f"log_variance_mean{i}"] = jnp.mean(u, -1)
            values[f"log_variance_sum{i}"] = jax.nn.logsumexp(u, -1)
            values[f"log_variance_max{i}"] = jnp.max(u, -1)
    return values


def _is_dense(posterior: Any) -> bool:
    return posterior.observed is not None and posterior.observed.method == "dense"
