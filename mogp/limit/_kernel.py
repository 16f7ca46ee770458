"""Kernels of the limit for GPJax, which is only imported when one is asked for."""

from typing import TYPE_CHECKING

from jax import Array

from mogp.architecture import AbstractArchitecture
from mogp.limit._gaussian import check_regime
from mogp.limit._jumps import NumJumps
from mogp.limit._path import Path, sample_path

if TYPE_CHECKING:
    from mogp.limit._gpjax import MoGPKernel


def kernel(
    model: AbstractArchitecture,
    path: Path | None = None,
    *,
    active_dims: list[int] | slice | None = None,
    n_dims: int | None = None,
    key: Array | None = None,
    num_jumps: NumJumps = None,
    num_diffuse: int = 256,
    tolerance: float = 1e-2,
) -> "MoGPKernel":
    """A GPJax kernel: that of the GP regime, or of one draw of the mixture.

    `gpjax.fit` learns its scales, those that are not 0. The draw stays as it is.

    Args:
        model: an architecture of any depth.
        path: a draw of `sample_path`; not needed in the GP regime.
        active_dims: the inputs that the kernel sees, as in GPJax.
        n_dims: the number of these inputs.
        key: a random key, which draws a path of `n_dims` inputs where none is given.
        num_jumps: jumps of this path, as in `sample_path`.
        num_diffuse: nodes that carry the diffuse part of each layer of this path.
        tolerance: the wanted relative error of this path, as in `sample_path`.

    Returns:
        A `gpjax.kernels.AbstractKernel`, which may be added, multiplied and learnt like any other.

    Raises:
        ValueError: if the model has jumps and neither `path` nor `key` with `n_dims` is given.
        ImportError: without GPJax, which `pip install 'bayesian-mogp[gpjax]'` brings.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import MoGP, priors
        >>> kernel = MoGP([priors.Deterministic()]).kernel()
        >>> kernel(jnp.ones(4), jnp.ones(4)).item()
        0.5
    """
    try:
        from mogp.limit._gpjax import MoGPKernel
    except ModuleNotFoundError as error:
        raise ImportError("GPJax is missing: pip install 'bayesian-mogp[gpjax]'") from error

    if path is None and key is not None:
        if n_dims is None:
            raise ValueError("n_dims must be given to draw a path")
        sizes = {"num_jumps": num_jumps, "num_diffuse": num_diffuse, "tolerance": tolerance}
        path = sample_path(model, n_dims, key=key, **sizes)  # type: ignore[arg-type]
    if path is None:
        check_regime(model, "give path=model.sample_path(…), or key= and n_dims= to draw one")
    return MoGPKernel(model if path is None else path, active_dims=active_dims, n_dims=n_dims)
