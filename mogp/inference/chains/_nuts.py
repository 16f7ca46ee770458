"""Posteriors by NUTS: of finite networks, and of the limit."""

from collections.abc import Sequence
from pathlib import Path

from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_between, check_count
from mogp.architecture import AbstractArchitecture
from mogp.inference._likelihoods import Likelihood
from mogp.inference._posterior import Posterior
from mogp.inference.chains._nuts_program import Nuts
from mogp.inference.chains._run import posterior_of
from mogp.inference.chains._setup import problem_of


def nuts(
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
    num_warmup: int = 500,
    num_samples: int = 500,
    num_chains: int = 4,
    target_accept: float = 0.9,
    max_tree_depth: int = 10,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    progress: bool = True,
) -> Posterior:
    """Draw from the posterior of functions by the no-U-turn sampler, all chains at once.

    Nodes, arrival times of the jumps (the limit) or node variances (networks), and all unknown
    parameters are drawn. With a Gaussian likelihood the weights behind the last hidden
    layer are integrated out, given which the posterior is a mixture of Gaussian processes ([DW],
    Section 4). This is done in double precision, whatever that of the data, for kernel matrices of
    strong signals lose their noise in single precision; results are in the precision of `x`.

    A run whose chains all stand still is an error. If only some do, a warning and
    `attrs["stuck_chains"]` name them.

    Args:
        model: a `MoGP`. Parameters of its priors and its scales may be NumPyro distributions; these
            are learned.
        x: inputs, of shape (n, d): an array, a list of rows or a table, floating point.
        y: observations, of shape (n,) or (n, num_outputs); labels 0, 1, 2, … of shape (n,).
        key: a random key; runs with the same key and arguments are the same.
        likelihood: `"gaussian"`, `"student_t"`, `"bernoulli"`, `"poisson"`, `"categorical"`; or
            an `inference.Likelihood` with parameters of your own.
        width: the nodes in every hidden layer of a finite network, or one number a hidden layer;
            None for the limit. The node variances need a density.
        num_jumps: the jumps in each hidden layer of the limit, or one number a hidden layer; the
            others are replaced by their expected sum, which joins the diffuse part.
        num_diffuse: the nodes that carry the diffuse part of each hidden layer of the limit: in
            front of other hidden layers, and wherever it has no closed form.
        method: for a Gaussian likelihood. `"dense"` takes the kernel of the last hidden layer in
            closed form, in `O(n³)`; `"low_rank"` its nodes, in `O(n N²)`. None chooses `"dense"`
            for the limit with at most 500 points.
        num_warmup: the draws a chain for adaptation, which are thrown away.
        num_samples: the draws a chain.
        num_chains: the number of independent chains. Each starts near the data: at the best of ten
            draws of the prior, moved uphill until that gains little.
        target_accept: the acceptance rate to adapt the step size to, in (0, 1).
        max_tree_depth: at most `2^max_tree_depth` steps a draw, and at most `2^7` while adapting.
        checkpoint: a file to resume from if it exists, and to write to. A resumed run is the same
            as one that was never interrupted. More draws go on from a finished run's file, and
            fewer are its first ones.
        checkpoint_every: the draws between writes; a killed run loses at most so many.
        progress: whether to show a progress bar.

    Returns:
        The posterior. After Ctrl-C or SIGTERM, what was drawn by then, which
        `data.attrs["interrupted"]` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape or values, draws
            would take more than the memory, or the checkpoint is damaged or belongs to another run.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if no start with a finite density was found, or no chain moves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x = jnp.linspace(-2, 2, 20)[:, None]
        >>> posterior = inference.nuts(
        ...     MoGP([priors.Deterministic()], bias_scale=1.0), x, jnp.abs(x[:, 0]),
        ...     key=jax.random.key(0), width=3, num_warmup=20, num_samples=10, num_chains=2,
        ...     progress=False,
        ... )
        >>> posterior.predict(x).mean().shape
        (20, 1)
    """
    check_count("max_tree_depth", max_tree_depth)
    check_between("target_accept", target_accept, 0, 1)
    sizes = width, num_jumps, num_diffuse, method
    setup, x, targets = problem_of(model, x, y, likelihood, *sizes, is_polar=True)
    return posterior_of(
        Nuts,
        setup,
        x,
        targets,
        key=key,
        settings={"target_accept": target_accept, "max_tree_depth": max_tree_depth},
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )
