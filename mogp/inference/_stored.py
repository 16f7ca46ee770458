"""Posteriors in files: netCDF, which ArviZ opens, with what rebuilds the functions."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array

from mogp import limit
from mogp._files import whole_file
from mogp.architecture import AbstractArchitecture
from mogp.inference import _tree
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._identity import description, is_key
from mogp.inference._likelihoods import NAMES, Likelihood, likelihood_of, stacked
from mogp.limit.layers import LayerJumps, layers_of, skeleton
from mogp.nn import network

if TYPE_CHECKING:
    import xarray as xr

_VERSION = 2
_MARK = b"\nmogp sha256 "
_ENGINE: Any = "h5netcdf"


def described(model: Any) -> str:
    """What a file says of the model given to a sampler: with its numbers, if it is a `MoGP`.

    Of another module, and of what a function of a random key returns, it is the structure: classes,
    settings, names and shapes.
    """
    is_architecture = isinstance(model, AbstractArchitecture)
    return description(model if is_architecture else _shapes(model))


def save(posterior: Any, summary: "xr.DataTree", path: Path) -> None:
    """Write a posterior, one array after the other; a kill leaves the old file or the new."""
    import xarray as xr

    arrays, dims = _tree.named_arrays(posterior)
    places = {id(array): ("posterior", name) for name, array in arrays.items()}
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(posterior.sources, eqx.is_array))
    where, others = {}, {}
    for at, array in leaves:
        place = _place(at)
        where[place] = places.get(id(array), ("sources", place))
        if id(array) not in places:
            others[place] = array
    key_data = jax.random.key_data(posterior.key) if is_key(posterior.key) else posterior.key
    tree = summary.copy()
    tree.attrs["mogp"] = json.dumps(
        {
            "version": _VERSION,
            "sources": where,
            "parameters": [name for name, a in posterior.parameters.items() if np.size(a)],
            "method": None if posterior.observed is None else posterior.observed.method,
            "columns": posterior.y.shape[1] if posterior.y.ndim == 2 else None,
            "key": np.asarray(key_data).tolist(),
            "generator": None
            if key_data is posterior.key
            else str(jax.random.key_impl(posterior.key)),
            "attrs": dict(posterior.attrs),
        }
    )
    with whole_file(path) as part:
        tree.to_netcdf(part, engine=_ENGINE)
        for group, of_group in (("posterior", arrays), ("sources", others)):
            for name, array in of_group.items():
                own = dims.get(name, []) if group == "posterior" else []
                own = own or [f"{name}_dim_{k}" for k in range(array.ndim - 2)]
                one = xr.Dataset({name: (("chain", "draw", *own), np.asarray(array))})
                one.to_netcdf(part, mode="a", group=group, engine=_ENGINE)
        with part.open("r+b") as file:  # what follows the end of a netCDF file is not looked at
            file.write(_MARK + hashlib.file_digest(file, "sha256").hexdigest().encode())


def check_loadable(posterior: Any) -> None:
    """Refuse what `load` could not rebuild: without the attributes of a sampler, for example."""
    needed = ["model", "likelihood", "width"]
    needed += ["num_diffuse"] * isinstance(posterior.sources, limit.Path)
    reasons = [f"attrs lack {name!r}" for name in needed if name not in posterior.attrs]
    try:
        json.dumps(dict(posterior.attrs))
    except (TypeError, ValueError) as error:
        reasons.append(f"attrs must be values that JSON can hold ({error})")
    for name in posterior.likelihood.parameters:
        values = np.asarray(getattr(posterior.likelihood, name))
        drawn = np.asarray(posterior.parameters.get(name, values.ravel()[:1]))
        if np.any((values != drawn) & (values == values)):  # NaN are kept
            reasons.append(f"parameters must have {name!r} of the likelihood of each draw")
    if reasons:
        raise ValueError(
            f"posterior could not be loaded again: {'; '.join(reasons)}. Samplers return what can "
            "be; ArviZ reads `posterior.data.to_netcdf(path)` of any other"
        )


def load(path: Path, model: Any, likelihood: str | Likelihood | None) -> dict[str, Any]:
    """The fields of the posterior in a file, its functions rebuilt from the model.

    In place of `observed` there is its `method`, or None.
    """
    import xarray as xr

    _check_whole(path)
    try:
        opened = xr.open_datatree(path, engine=_ENGINE)
    except Exception as error:  # HDF5 and its readers raise what they like on other files
        raise ValueError(f"{path} cannot be read as a posterior: {error}") from None
    with opened as tree:
        try:
            header = json.loads(tree.attrs["mogp"])
            attrs, version = header["attrs"], header["version"]
        except (KeyError, ValueError, TypeError):
            raise ValueError(f"{path} holds no posterior of mogp.inference") from None
        if version != _VERSION:
            raise ValueError(f"{path} has format version {version}, this mogp reads {_VERSION}")
        law = _likelihood(path, likelihood, attrs["likelihood"])
        _same("model", path, attrs["model"], described(model))

        def group(name: str) -> dict[str, np.ndarray]:
            found = tree[name].data_vars if name in tree.children else {}
            return {str(key): np.asarray(value.values) for key, value in found.items()}

        def array(place: list[str]) -> Array:
            values = np.asarray(tree[place[0]][place[1]].values)
            found = jnp.asarray(values)
            if found.dtype.itemsize < values.dtype.itemsize and found.dtype.kind == "f":
                raise ValueError(
                    f"{path} is in double precision: set JAX_ENABLE_X64=1, or "
                    'jax.config.update("jax_enable_x64", True), before it is read'
                )
            return found

        sources = _filled(
            path,
            _template(model, attrs, tree["constant_data"]["x"].shape[-1]),
            header["sources"],
            array,
        )
        parameters = {name: array(["posterior", name]) for name in header["parameters"]}
        shape = jax.tree.leaves(eqx.filter(sources, eqx.is_array))[0].shape[:2]
        x, y = array(["constant_data", "x"]), array(["observed_data", "y"])
        if header["columns"] is not None:
            y = y.astype(x.dtype).reshape(len(x), header["columns"])
        prior = group("prior") | group("prior_predictive")
        drawn = {name: jnp.asarray(value[0]) for name, value in prior.items()}
        if header["columns"] == 1 and "y" in drawn:
            drawn["y"] = drawn["y"][..., None]
        return {
            "sources": sources,
            "likelihood": stacked(law.for_observations(y), parameters, shape),
            "x": x,
            "y": y,
            "method": header["method"],
            "parameters": parameters,
            "statistics": group("sample_stats"),
            "epochs": group("epochs"),
            "prior": lambda: drawn,
            "attrs": attrs,
            "key": _key(header["key"], header["generator"]),
        }


def _key(data: list[int], generator: str | None) -> Array:
    array = jnp.asarray(data, jnp.uint32)
    return array if generator is None else jax.random.wrap_key_data(array, impl=generator)


def _check_whole(path: Path) -> None:
    """Refuse a file whose checksum is wrong; one that others have written again has none."""
    if path.is_dir():
        raise ValueError(f"path must be a file, got the folder {path}")
    with path.open("rb") as file:
        size, end = file.seek(0, 2), len(_MARK) + 64
        file.seek(max(size - end, 0))
        mark, _, checksum = file.read().rpartition(b" ")
        if mark + b" " != _MARK:
            return
        file.seek(0)
        digest, left = hashlib.sha256(), size - end
        while left and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest().encode() != checksum:
        raise ValueError(f"{path} is damaged: its checksum is wrong")


def _likelihood(path: Path, given: str | Likelihood | None, stored: str) -> Likelihood:
    if given is None:
        for default in map(likelihood_of, NAMES):
            if description(default) == stored:
                return default
        raise ValueError(f"likelihood must be given: that of {path} is {stored}")
    law = likelihood_of(given)
    _same("likelihood", path, stored, description(law))
    return law


def _same(name: str, path: Path, there: str, here: str) -> None:
    if there != here:
        raise ValueError(f"{name} must be that of {path}, {there}, got {here}")


def _shapes(model: Any) -> Any:
    """An Equinox module, or what a function returns, with shapes in place of arrays."""
    if isinstance(model, eqx.Module):
        return eqx.filter_eval_shape(lambda: model)
    return eqx.filter_eval_shape(model, jax.random.key(0))


def _template(model: Any, attrs: dict[str, Any], in_size: int) -> Any:
    """A function of the posterior with shapes in place of arrays; the shapes are of no account."""

    def build(key: Array) -> Any:
        with numpyro.handlers.seed(rng_seed=key):
            drawn = sample_parameters(model if isinstance(model, eqx.Module) else model(key))
        if not isinstance(drawn, AbstractArchitecture):
            return drawn
        if attrs["width"] is not None:
            return network(drawn, in_size, 1, tuple(attrs["width"]), key=key)
        one = jnp.zeros(1)
        jumps = tuple(LayerJumps(one, one, one) for _ in layers_of(drawn))
        every = (one,) * (len(jumps) + 1)
        inputs = one if drawn.random_inputs is not None else None
        return limit.Path(skeleton(drawn), every, every, jumps, attrs["num_diffuse"], inputs)

    return eqx.filter_eval_shape(build, jax.random.key(0))


def _filled(
    path: Path, template: Any, where: dict[str, list[str]], array: Callable[[list[str]], Array]
) -> Any:
    """The template with the arrays of the file in their places."""
    rest = dict(where)

    def leaf(at: Any, value: Any) -> Any:
        if not isinstance(value, jax.ShapeDtypeStruct):
            return value
        if (place := _place(at)) not in rest:
            raise ValueError(f"model must be that of {path}, which has no array {place}")
        return array(rest.pop(place))

    filled = jax.tree_util.tree_map_with_path(leaf, template)
    if rest:
        raise ValueError(f"model must be that of {path}, which also has arrays {sorted(rest)}")
    return filled


def _place(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
