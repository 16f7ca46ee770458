"""The kernels of the limit as GPJax kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax
import paramax
from gpjax.kernels import AbstractKernel
from gpjax.kernels.computations import AbstractKernelComputation
from gpjax.parameters import PositiveReal, val
from jax import Array

from mogp.architecture import AbstractArchitecture, Scale
from mogp.limit._gaussian import gp_pair
from mogp.limit._path import Path, pair_of
from mogp.limit._recursion import Pair, input_pair


class _Whole(AbstractKernelComputation):
    """Matrices and diagonals at once; all are equal, as the trees of equal kernels have to be."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole)

    def __hash__(self) -> int:
        return hash(_Whole)

    def _cross_covariance(self, kernel: MoGPKernel, x: Array, y: Array) -> Array:
        return kernel.pair(x, y).xy

    def _diagonal(self, kernel: MoGPKernel, inputs: Array) -> Any:
        variance = kernel.pair(inputs, inputs[:1]).xx
        return lineax.TaggedLinearOperator(
            lineax.DiagonalLinearOperator(variance), lineax.positive_semidefinite_tag
        )


class MoGPKernel(AbstractKernel):
    """The kernel of a model in the GP regime, or of one draw of a mixture.

    Its parameters are the scales: `gpjax.fit` learns those that are not 0. The draw stays.

    Attributes:
        weight_scales: `σ_v` of every layer of weights, positive.
        bias_scales: `σ_b` likewise; None stands for one that is 0, and stays so.
        arrays: those of the model, or of the drawn `Path`, which are not learnt.
        rest: what else makes it; numbers among the leaves of a kernel would not survive GPJax's
            loops, which make arrays of them.
    """

    weight_scales: tuple[Any, ...]
    bias_scales: tuple[Any, ...]
    arrays: Any
    rest: Any = eqx.field(static=True)
    name = AbstractArchitecture

    def __init__(
        self,
        source: AbstractArchitecture | Path,
        *,
        active_dims: list[int] | slice | None = None,
        n_dims: int | None = None,
    ) -> None:
        if isinstance(active_dims, list) and not active_dims:
            raise ValueError("active_dims must name at least one input, got []")
        model = source.model if isinstance(source, Path) else source
        self.weight_scales = tuple(PositiveReal(jnp.asarray(v, float)) for v, _ in model.scales)
        self.bias_scales = tuple(
            None if isinstance(b, int | float) and b == 0 else PositiveReal(jnp.asarray(b, float))
            for _, b in model.scales
        )
        bare = _with(model, 1.0, 0.0)  # whose tree does not depend on the scales
        drawn = isinstance(source, Path)
        kept = eqx.tree_at(lambda p: p.model, source, bare) if drawn else bare
        arrays, self.rest = eqx.partition(kept, eqx.is_array)
        self.arrays = paramax.non_trainable(arrays)
        if isinstance(source, Path):
            chosen = source.in_size if n_dims is None else n_dims
            if chosen != source.in_size:
                raise ValueError(f"n_dims must be {source.in_size}, that of the draw, got {n_dims}")
            n_dims = chosen
        super().__init__(active_dims=active_dims, n_dims=n_dims, compute_engine=_Whole())

    def pair(self, x: Array, y: Array) -> Pair:
        """The kernel on points of shape (n, d) and (m, d)."""
        x, y = self._chosen("x", x), self._chosen("y", y)
        source = eqx.combine(paramax.unwrap(self.arrays), self.rest)
        biases = (0.0 if scale is None else val(scale) for scale in self.bias_scales)
        scales = tuple(map(val, self.weight_scales)), tuple(biases)
        if isinstance(source, Path):
            return pair_of(
                eqx.tree_at(lambda p: p.model, source, _with(source.model, *scales)), x, y
            )
        return _gp_pair(_with(source, *scales), x, y)

    def _chosen(self, name: str, x: Array) -> Array:
        chosen = self.slice_input(x)
        if self.n_dims is not None and chosen.shape[-1] != self.n_dims:
            raise ValueError(f"{name} must have {self.n_dims} columns, got {chosen.shape[-1]}")
        return chosen

    def __call__(self, x: Array, y: Array) -> Array:
        """The kernel of two points of shape (d,)."""
        return self.pair(x[None], y[None]).xy[0, 0]


def _with(model: AbstractArchitecture, weights: Scale, biases: Scale) -> AbstractArchitecture:
    return dataclasses.replace(model, weight_scale=weights, bias_scale=biases)


@eqx.filter_jit
def _gp_pair(model: AbstractArchitecture, x: Array, y: Array) -> Pair:
    return gp_pair(model, input_pair(model, x, y))
