"""Posteriors: draws of functions, and the distributions of observations given each draw."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_memory, is_concrete
from mogp.inference import _stored, _tree
from mogp.inference._data import in_precision, precise
from mogp.inference._likelihoods import Likelihood
from mogp.inference._predictive import Predictive

if TYPE_CHECKING:
    import xarray as xr


class Observed(eqx.Module):
    """What the functions of a posterior are conditioned on, their last weights integrated out.

    Attributes:
        x: inputs, of shape (n, d).
        y: observations, of shape (n, num_outputs).
        method: of `limit.condition`.
    """

    x: Array
    y: Array
    method: str = eqx.field(static=True)


def _no_draws() -> Mapping[str, Array]:
    return {}


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from the posterior of a model.

    `sources`, `likelihood` and the data are what a posterior is; everything else follows from them.
    `dataclasses.replace(posterior, sources=…)` is the posterior of other functions, such as smaller
    networks, with predictions and a tree of its own.

    Attributes:
        sources: the functions of points: a `limit.Path`, an `nn.DependentMLP` or any other Equinox
            module, whose arrays lead with axes of chains and draws.
        likelihood: the likelihood, with its parameters of each draw, of shape (chains, draws).
        x: the inputs, of shape (n, …).
        y: the observations, as `likelihood.targets` returns them.
        observed: the data, where the weights of the outputs are integrated out given each draw;
            None where they are drawn.
        parameters: learned parameters by the name of their site, of shape (chains, draws, …):
            those of priors, such as `prior0.alpha`, scales, and those of the likelihood. What
            follows from `sources`, such as weights and node variances, is not among them.
        statistics: numbers about each draw of the sampler, such as `diverging`, of shape
            (chains, draws).
        epochs: the same about each epoch, of shape (chains, epochs).
        prior: a function that draws the same parameters and observations `y` from the prior, of
            shape (num_draws, …), for the groups `prior` and `prior_predictive`.
        attrs: the settings of the run, as values that JSON can hold. The tree has them as
            attributes. `interrupted` says whether the run was ended early. `load_posterior` needs
            `model`, `_stored.described` of the model given to the sampler; `likelihood`,
            `_identity.description` of the likelihood; `width`, the nodes of each hidden layer of
            a `MoGP`, or None; and `num_diffuse` for the limit.
        key: a random key for the observations in the group `posterior_predictive`.
    """

    sources: Any
    likelihood: Likelihood
    x: Array
    y: Array
    observed: Observed | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict)
    statistics: Mapping[str, ArrayLike] = field(default_factory=dict)
    epochs: Mapping[str, ArrayLike] = field(default_factory=dict)
    prior: Callable[[], Mapping[str, Array]] = _no_draws
    attrs: Mapping[str, Any] = field(default_factory=dict)
    key: Array = field(kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of chains and draws."""
        chains, draws = jax.tree.leaves(eqx.filter(self.sources, eqx.is_array))[0].shape[:2]
        return chains, draws

    @cached_property
    def data(self) -> "xr.DataTree":
        """ArviZ's tree of this posterior, made when it is first asked for.

        Its groups are `posterior`, with all learned parameters, weights and node variances, and for
        networks the mean of the log node variances of every hidden layer `i`,
        `log_variance_mean{i}`, the log of their sum `log_variance_sum{i}` and of the largest
        `log_variance_max{i}`; `posterior_predictive` and `log_likelihood`, unless draws times rows
        times outputs are more than 2^25; `sample_stats`; `observed_data`; `constant_data`; from
        NUTS, `prior` and `prior_predictive`; from SGHMC, `epochs`.
        """
        return _tree.with_arrays(self._summary, self)

    @cached_property
    def _summary(self) -> "xr.DataTree":
        return _tree.summary_tree(self)

    def predict(
        self, x: Array, *, num_draws: int | None = None, key: Array | None = None
    ) -> Predictive:
        """Predictions at new points, all chains together.

        Args:
            x: points, of shape (n, d), or (n, …) for modules that take them.
            num_draws: use so many draws, evenly spaced; None for all.
            key: a random key, to draw whole functions where the weights of the outputs are
                integrated out. Their values at several points belong together; without it they have
                a mean and a variance at each point.

        Raises:
            ValueError: if `x` does not fit, or predictions would take more than the memory.
        """
        x = as_inputs("x", x, model=self.sources, images=True)
        sources, likelihoods = self._flat(num_draws)
        if is_concrete(self.y):
            num = jax.tree.leaves(eqx.filter(sources, eqx.is_array))[0].shape[0]
            outputs = self.y.shape[1] if self.y.ndim == 2 else int(np.asarray(self.y).max()) + 1
            size = num * len(x) * outputs * x.dtype.itemsize
            check_memory("the predictions", size, "fewer rows, or num_draws")
        predictions = partial(_predictions, key=key)
        return Predictive(likelihoods, *self._precisely(predictions, sources, likelihoods, x))

    def evaluate(self, x: Array, y: ArrayLike, *, key: Array | None = None) -> dict[str, float]:
        """Scores of the predictions at `x` against `y`: `Predictive.evaluate`."""
        return self.predict(x).evaluate(y, key=key)

    def log_likelihood(self) -> Array:
        """`log p(y_i | draw)` of the data, of shape (chains, draws, n).

        Where the weights of the outputs are integrated out, it is `log p(y_i | other rows, draw)`
        (Rasmussen and Williams, 2006, Eq. 5.12).
        """
        sources, likelihoods = self._flat(None)
        values: Array = self._precisely(_pointwise, sources, likelihoods, self.x, self.y)
        return values.reshape(*self.shape, -1)

    def save(self, path: str | Path) -> None:
        """Write the posterior as netCDF, whole or not at all.

        `load_posterior` reads it, and ArviZ opens its groups. Arrays are written one by one, so
        that weights may be of any size.

        Raises:
            ValueError: if it could not be loaded again, such as one made by hand.
        """
        _stored.check_loadable(self)
        _stored.save(self, self._summary, Path(path))

    def _precisely(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function of draws and of data, in double precision where weights are integrated out.

        In compiled code, it is in the precision of the inputs.
        """
        given, dtype = (self.observed, *arguments), arguments[2].dtype
        with precise(self.observed is not None and is_concrete(given), given) as given:
            return in_precision(dtype, function(*given))

    def _flat(self, num_draws: int | None) -> Any:
        flat, total = flattened((self.sources, self.likelihood)), math.prod(self.shape)
        if num_draws is None or check_count("num_draws", num_draws) >= total:
            return flat
        keep = np.linspace(0, total - 1, num_draws).round().astype(int)
        return jax.tree.map(lambda a: a[keep] if eqx.is_array(a) else a, flat)


def flattened(tree: Any) -> Any:
    """The tree with one axis of draws in place of the first two axes, chains and draws, of arrays.

    Args:
        tree: any tree whose arrays are of shape (chains, draws, …), such as `posterior.sources`.

    Returns:
        The tree with arrays of shape (chains · draws, …).

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import inference
        >>> inference.flattened({"weights": jnp.zeros((4, 100, 3))})["weights"].shape
        (400, 3)
    """

    def merged(leaf: Any) -> Any:
        return (
            leaf.reshape(math.prod(leaf.shape[:2]), *leaf.shape[2:]) if eqx.is_array(leaf) else leaf
        )

    return jax.tree.map(merged, tree)


def load_posterior(
    path: str | Path, model: Any, *, likelihood: str | Likelihood | None = None
) -> Posterior:
    """Read what `Posterior.save` wrote.

    Args:
        path: the netCDF file.
        model: what was given to the sampler: a `MoGP`, an Equinox module, or a function from a
            random key to one.
        likelihood: as given to the sampler; it may be left out if that was a name.

    Returns:
        The posterior, with the same predictions and the same tree.

    Raises:
        ValueError: if the file is another, or the posterior that of another model or likelihood.
        OSError: if the file cannot be opened.

    Example:
        >>> import jax, jax.numpy as jnp, tempfile
        >>> from mogp import MoGP, inference, priors
        >>> x, model = jnp.linspace(-2, 2, 10)[:, None], MoGP([priors.Deterministic()])
        >>> posterior = inference.nuts(
        ...     model, x, jnp.sin(x), key=jax.random.key(0), width=3, num_warmup=5, num_samples=5,
        ...     num_chains=1, progress=False,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     posterior.save(f"{folder}/posterior.nc")
        ...     again = inference.load_posterior(f"{folder}/posterior.nc", model)
        >>> bool((again.predict(x).mean() == posterior.predict(x).mean()).all())
        True
    """
    stored = _stored.load(Path(path), model, likelihood)
    method = stored.pop("method")
    observed = None if method is None else Observed(stored["x"], stored["y"], method)
    return Posterior(observed=observed, **stored)


@eqx.filter_jit
def _predictions(
    observed: Observed | None, sources: Any, likelihoods: Likelihood, x: Array, *, key: Array | None
) -> tuple[Array, Array | None]:
    arrays, static = eqx.partition((sources, likelihoods), eqx.is_array)
    num = len(jax.tree.leaves(arrays)[0])

    def one(given: tuple[Any, Array | None]) -> tuple[Array, Array | None]:
        arrays, key = given
        source, likelihood = eqx.combine(arrays, static)
        if observed is None:
            return source(x), None
        known = likelihood.condition(source, observed.x, observed.y, observed.method)
        if key is not None:
            return known.sample(x, key=key)[0], None
        return tuple(known.predict(x))

    return jax.lax.map(one, (arrays, None if key is None else jax.random.split(key, num)))


@eqx.filter_jit
def _pointwise(
    observed: Observed | None, sources: Any, likelihoods: Likelihood, x: Array, targets: Array
) -> Array:
    arrays, static = eqx.partition((sources, likelihoods), eqx.is_array)

    def one(arrays: Any) -> Array:
        source, likelihood = eqx.combine(arrays, static)
        if observed is None:
            return likelihood.law(source(x)).log_prob(targets)
        given = likelihood.condition(source, x, targets, observed.method)
        return jnp.sum(given.leave_one_out().log_density, 1)

    return jax.lax.map(one, arrays)
