"""Posteriors by a Gibbs sampler, for one hidden layer and a Gaussian likelihood."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp.architecture import AbstractArchitecture
from mogp.inference._likelihoods import Gaussian, Likelihood, likelihood_of
from mogp.inference._posterior import Posterior
from mogp.inference.chains._gibbs_program import Gibbs
from mogp.inference.chains._nuts import nuts
from mogp.inference.chains._run import posterior_of
from mogp.inference.chains._setup import check_model, problem_of

_MOST_ROUNDING = 0.1  # of a log density, in nats: an error that acceptance does not feel


def gibbs(
    model: AbstractArchitecture,
    x: Array,
    y: ArrayLike,
    *,
    key: Array,
    likelihood: str | Likelihood = "gaussian",
    width: int | Sequence[int] | None = None,
    num_jumps: int | Sequence[int] = 30,
    num_diffuse: int = 16,
    method: str | None = None,
    num_warmup: int = 100,
    num_samples: int = 400,
    num_chains: int = 4,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    progress: bool = True,
) -> Posterior:
    """Draw from the posterior of functions of one hidden layer by Gibbs sampling with slices.

    The target is that of `nuts`: nodes, their variances and all unknown parameters, the weights of
    the outputs integrated out. A draw moves each node along an ellipse through its prior (Murray,
    Adams and MacKay, 2010; arXiv 1001.0175) and its variance on a line (Neal, 2003), given all
    others, for which one product of a matrix and a vector is enough; and then what nodes share, on
    lines, with the weights held still and with the functions held still in turn (the interweaving
    of Yu and Meng, 2011). There is no step size and no gradient, which for ReLU has a jump wherever
    a node turns at a data point: where NUTS takes hundreds of steps a draw, this is several times
    faster. The widths of the slices are adapted in the warmup.

    Args:
        model: a `MoGP` of one hidden layer. Parameters of its priors and its scales may be NumPyro
            distributions; these are learned.
        x: inputs, of shape (n, d): an array, a list of rows or a table, floating point.
        y: observations, of shape (n,) or (n, num_outputs).
        key: a random key; runs with the same key and arguments are the same.
        likelihood: `"gaussian"`, or an `inference.Gaussian` with a scale of your own.
        width: as for `nuts`.
        num_jumps: as for `nuts`.
        num_diffuse: as for `nuts`.
        method: as for `nuts`; None chooses the one that takes less work.
        num_warmup: the draws a chain for adaptation, which are thrown away.
        num_samples: the draws a chain.
        num_chains: the number of independent chains. Each starts at the best of ten draws of the
            prior.
        checkpoint: as for `nuts`.
        checkpoint_every: the draws between writes; a killed run loses at most so many.
        progress: whether to show a progress bar.

    Returns:
        The posterior. After Ctrl-C or SIGTERM, what was drawn by then, which
        `data.attrs["interrupted"]` says. Among the statistics of each draw are `n_steps`, how often
        a density was taken, and `rounding_error`, by how much the moves of the nodes misjudged
        their density.

    Raises:
        ValueError: if the model has more than one hidden layer or the likelihood is not Gaussian,
            which `nuts` serves; or as for `nuts`.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if no start with a finite density was found, or no chain moves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x = jnp.linspace(-2, 2, 20)[:, None]
        >>> posterior = inference.gibbs(
        ...     MoGP([priors.Horseshoe()], bias_scale=1.0), x, jnp.abs(x[:, 0]),
        ...     key=jax.random.key(0), num_jumps=5, num_warmup=20, num_samples=10, num_chains=2,
        ...     progress=False,
        ... )
        >>> posterior.predict(x).mean().shape
        (20, 1)
    """
    check_model(model)
    check_one_layer(model, likelihood_of(likelihood))
    sizes = width, num_jumps, num_diffuse, method
    setup, x, targets = problem_of(model, x, y, likelihood, *sizes, is_polar=False)
    posterior = posterior_of(
        Gibbs,
        setup,
        x,
        targets,
        key=key,
        settings={},
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
    worst = np.max(np.asarray(posterior.statistics["rounding_error"]), initial=0.0)
    if not worst < _MOST_ROUNDING:
        warnings.warn(
            f"moves of nodes misjudged the log density by up to {worst:.2g}, from rounding: the "
            "noise is very small beside the signal. Draw with nuts, or give a larger noise_scale",
            stacklevel=2,
        )
    return posterior


def sampler_for(
    model: AbstractArchitecture, likelihood: str | Likelihood
) -> Callable[..., Posterior]:
    """The sampler that takes least time: `gibbs` where it serves, otherwise `nuts`.

    Args:
        model: a `MoGP`.
        likelihood: of the observations.

    Returns:
        One of the two functions. Arguments that both have mean the same to both.

    Raises:
        ValueError: if `model` is no `MoGP`, or the likelihood is not known.

    Example:
        >>> from mogp import MoGP, inference, priors
        >>> inference.sampler_for(MoGP([priors.Horseshoe()] * 2), "gaussian").__name__
        'nuts'
    """
    check_model(model)
    fast = model.depth == 1 and isinstance(likelihood_of(likelihood), Gaussian)
    return gibbs if fast else nuts


def check_one_layer(model: AbstractArchitecture, likelihood: Likelihood) -> None:
    """Raise unless the Gibbs sampler serves the model and the likelihood."""
    if model.depth != 1:
        raise ValueError(
            f"model must have one hidden layer for gibbs, got {model.depth}; nuts serves any depth"
        )
    if not isinstance(likelihood, Gaussian):
        raise ValueError(f"likelihood must be Gaussian for gibbs, got {likelihood}; use nuts")
