"""Priors and models with unknown parameters, in NumPyro models."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpyro
from numpyro.distributions import Distribution

from mogp._checks import Scale
from mogp.architecture import MoGP
from mogp.priors import Prior

PriorT = TypeVar("PriorT", bound=Prior | MoGP)


def sample_parameters(prior: PriorT, name: str = "prior") -> PriorT:
    """The prior, or the model, with every law in place of a parameter replaced by a draw from it.

    Inside a NumPyro model; each parameter is a site, which NUTS infers. Those of a prior are called
    `name.parameter`; those of a `MoGP` are `prior0.parameter`, `prior1.parameter`, … by layer, and
    `weight_scale` and `bias_scale`, with a number behind if there is one a layer. The laws of the
    result carry all their normalising constants, so that they may be scored.

    Args:
        prior: of `mogp.priors`, or a `MoGP`; fields that are NumPyro laws are drawn, except the
            slab of a `SpikeAndSlab`, which is a law by itself.
        name: prefix of the sites of a prior.

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
    if isinstance(prior, MoGP):
        return MoGP(  # type: ignore[return-value]  # a MoGP for a MoGP
            [sample_parameters(each, f"prior{i}") for i, each in enumerate(prior.priors)],
            prior.activation,
            _sample_scale("weight_scale", prior.weight_scale),
            _sample_scale("bias_scale", prior.bias_scale),
        )
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
