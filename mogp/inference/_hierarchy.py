"""Priors and models with unknown parameters, in NumPyro models."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import numpyro
from numpyro.distributions import Distribution

from mogp import nn
from mogp.architecture import AbstractArchitecture, Scale
from mogp.priors import Prior

PriorT = TypeVar("PriorT", bound=eqx.Module)


def sample_parameters(prior: PriorT, name: str = "prior") -> PriorT:
    """Draw the unknown parameters of a prior, or of a model, within a NumPyro model.

    Every NumPyro distribution in place of a parameter is replaced by a draw from it. Each is a
    site, which NUTS infers. Those of a prior are called `name.parameter`; those of a `MoGP` are
    `prior0.parameter`, `prior1.parameter`, … by layer, `input_prior.parameter`, and `weight_scale`
    and `bias_scale`, with a number behind if there is one a layer. The distributions of the result
    carry all their normalising constants, so that they may be scored.

    Args:
        prior: a prior of `mogp.priors`, a `MoGP`, or any module with layers of nodes, whose priors
            are numbered like those of a `MoGP`. The parameters that may be distributions are those
            in `prior.bounds`. The slab of a `SpikeAndSlab` is a distribution by itself.
        name: the prefix of the sites of a prior.

    Returns:
        The same with numbers only.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from mogp import inference, priors
        >>> prior = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=5.0)
        >>> with numpyro.handlers.seed(rng_seed=0):
        ...     drawn = inference.sample_parameters(prior)
        >>> drawn.at_width(100).log_prob(0.1).shape
        ()
    """
    if isinstance(prior, AbstractArchitecture):
        new: dict[str, Any] = {
            "priors": [sample_parameters(p, f"prior{i}") for i, p in enumerate(prior.priors)],
            "input_prior": prior.input_prior
            and sample_parameters(prior.input_prior, "input_prior"),
            "weight_scale": _sample_scale("weight_scale", prior.weight_scale),
            "bias_scale": _sample_scale("bias_scale", prior.bias_scale),
        }
        return dataclasses.replace(prior, **new)
    if not isinstance(prior, Prior):  # any module: the priors of its layers of nodes
        layers = [
            eqx.tree_at(lambda n: n.prior, layer, sample_parameters(layer.prior, f"prior{i}"))
            for i, layer in enumerate(nn.nodes(prior))
        ]
        return nn.with_nodes(prior, layers)
    drawn = {
        parameter: numpyro.sample(f"{name}.{parameter}", value)
        for parameter in prior.bounds
        if isinstance(value := getattr(prior, parameter), Distribution)
    }
    return dataclasses.replace(prior, **drawn)


def _sample_scale(name: str, scale: Scale) -> Scale:
    if isinstance(scale, Distribution):
        return numpyro.sample(name, scale)
    if isinstance(scale, Sequence):
        return tuple(_sample_scale(f"{name}{i}", each) for i, each in enumerate(scale))
    return scale
