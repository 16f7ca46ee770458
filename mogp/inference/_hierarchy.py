"""Priors with unknown parameters, in NumPyro models."""

import dataclasses
from typing import TypeVar

import numpyro
from numpyro.distributions import Distribution

from mogp.priors import Prior

PriorT = TypeVar("PriorT", bound=Prior)


def sample_parameters(prior: PriorT, name: str = "prior") -> PriorT:
    """The prior with every law in place of a parameter replaced by a draw from it.

    Inside a NumPyro model; each parameter is a site `name.parameter`, which NUTS infers. The laws
    of the result carry all their normalising constants, so that they may be scored.

    Args:
        prior: of `mogp.priors`; fields that are NumPyro laws are drawn, except the slab of a
            `SpikeAndSlab`, which is a law by itself.
        name: prefix of the sites.

    Returns:
        The same prior with numbers only.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from mogp import inference, priors
        >>> prior = priors.GBFRY(alpha=dist.Beta(2.0, 2.0), tau=5.0)
        >>> with numpyro.handlers.seed(rng_seed=0):
        ...     drawn = inference.sample_parameters(prior)
        >>> drawn.at_width(100).log_prob(0.1).shape
        ()
    """
    drawn = {
        parameter: numpyro.sample(f"{name}.{parameter}", value)
        for parameter in prior.bounds
        if isinstance(value := getattr(prior, parameter), Distribution)
    }
    return dataclasses.replace(prior, **drawn)
