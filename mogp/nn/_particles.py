"""From mixtures to neurons and back."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from mogp import activations
from mogp._arrays import as_inputs
from mogp._checks import check_choice, check_count, check_key, check_numbers
from mogp.nn._mean_field import MeanFieldLayer
from mogp.nn._mixture import COVARIANCES, GMLayer, check_rank


class Neurons(NamedTuple):
    """Neurons of a mean-field layer.

    Attributes:
        directions: `β`, shape (m, d).
        amplitudes: `ω`, shape (L, m).
    """

    directions: Array
    amplitudes: Array


def gm_particles(layer: GMLayer, num: int, *, key: PRNGKeyArray) -> Neurons:
    """Neurons `(ω, β)` drawn from the mixture of a GM layer.

    `(1/m) Σ_j ω_j φ(⟨β_j, x⟩)` has the mean `h(x)`, the output of the layer, and an error of the
    order `m^(-1/2)`. Draws are stratified: every component gives `num // K` neurons, and the rest
    come from different components taken at random. Under a prior on the components, `ω` carries
    the factor `K √λ_k`.

    Args:
        layer: the layer.
        num: number `m` of neurons, at least 1.
        key: a random key.

    Returns:
        The neurons: directions of shape (m, d) and amplitudes of shape (L, m).

    Raises:
        ValueError: if an argument is outside its range, or the neurons are more than the memory
            holds.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, key=jax.random.key(0))
        >>> nn.gm_particles(layer, 100, key=jax.random.key(1)).directions.shape
        (100, 3)
    """
    if not isinstance(layer, GMLayer):
        raise ValueError(f"layer must be an nn.GMLayer, got {type(layer).__name__}")
    m, k = check_count("num", num), layer.components
    check_key(key)
    check_numbers("the neurons", m * (layer.in_size + layer.out_size), "a smaller num")
    of_omega, of_beta = layer.square_roots()
    order, noise = jax.random.split(key)
    component = jax.random.permutation(order, k)[jnp.arange(m) % k]
    standard = jax.random.normal(noise, (m, of_beta.shape[-1]), of_beta.dtype)

    def neuron(component: Array, standard: Array) -> tuple[Array, Array]:
        beta = layer.means[component] + of_beta[component] @ standard
        return beta, level[component] + of_omega[component] @ standard

    level = layer.output_means()
    if layer.log_variances is not None:
        factor = k * jnp.exp(layer.log_variances / 2)
        level = level * jnp.broadcast_to(factor[:, None], level.shape)
        of_omega = of_omega * jnp.broadcast_to(factor[:, None, None], of_omega.shape)
    directions, amplitudes = jax.lax.map(lambda pair: neuron(*pair), (component, standard))
    return Neurons(directions, amplitudes.T)


def to_mean_field(layer: GMLayer, width: int, *, key: PRNGKeyArray) -> MeanFieldLayer:
    """A mean-field layer of `width` neurons drawn from the mixture, with the layer's activation.

    Args:
        layer: the layer.
        width: number of neurons, at least 1.
        key: a random key.

    Returns:
        The layer of neurons.

    Raises:
        ValueError: as `gm_particles` does.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, key=jax.random.key(0))
        >>> nn.to_mean_field(layer, 500, key=jax.random.key(1)).directions.shape
        (500, 3)
    """
    neurons = gm_particles(layer, check_count("width", width), key=key)
    like = MeanFieldLayer(
        layer.in_size, layer.out_size, width, activation=layer.activation, key=key
    )
    return eqx.tree_at(lambda m: (m.directions, m.amplitudes), like, neurons)


def fit_mixture(
    directions: ArrayLike,
    amplitudes: ArrayLike,
    components: int,
    *,
    covariance: str = "diagonal",
    rank: int | None = None,
    activation: str | activations.Activation = "relu",
    floor: float = 1e-6,
    key: PRNGKeyArray,
) -> GMLayer:
    """The GM layer of a Gaussian mixture fitted to neurons, the way back from `gm_particles`.

    scikit-learn's `GaussianMixture` finds by expectation maximisation who belongs to whom, with
    `covariance_type="full"` for full covariances and `"diag"` otherwise. Each component then has
    the weighted moments of its neurons: `a`, `μ`, `Σ` (its diagonal; or, at low rank, the `r`
    largest principal components, and the diagonal of what is left) and, in every case, the
    covariance `T` of `ω` and `β`. A layer has no shares `π_k` of the neurons: `ω` is multiplied by
    `K π_k` instead. It runs on the host, outside of `jit`.

    Args:
        directions: `β`, shape (m, d).
        amplitudes: `ω`, shape (L, m).
        components: number `K` of Gaussians, at most `m`.
        covariance: as for `GMLayer`.
        rank: as for `GMLayer`.
        activation: that of the layer.
        floor: added to all variances, for components of few neurons; at least 0.
        key: a random key, for the starting point.

    Returns:
        The layer, without a prior.

    Raises:
        ValueError: if an argument is outside its range, the shapes do not match, or the neurons are
            not real and finite.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> neurons = nn.MeanFieldLayer(3, 2, width=200, key=jax.random.key(0))
        >>> layer = nn.fit_mixture(
        ...     neurons.directions, neurons.amplitudes, components=4, key=jax.random.key(1)
        ... )
        >>> layer.means.shape
        (4, 3)
    """
    from sklearn.mixture import GaussianMixture

    neurons = np.asarray(directions), np.asarray(amplitudes).T
    if any(a.ndim != 2 for a in neurons) or len(neurons[0]) != len(neurons[1]):
        raise ValueError(
            "directions and amplitudes must have shapes (m, d) and (L, m), got "
            f"{np.shape(directions)} and {np.shape(amplitudes)}"
        )
    beta, omega = (
        np.asarray(as_inputs(name, array), float)
        for name, array in zip(("directions", "amplitudes"), neurons, strict=True)
    )
    check_key(key)
    check_choice("covariance", covariance, COVARIANCES)
    (num, d), size = beta.shape, omega.shape[1]
    r = check_rank(rank, covariance, d)
    if check_count("components", components) > num:
        raise ValueError(f"components must be at most the {num} neurons, got {components}")
    if not isinstance(floor, int | float) or not 0 <= floor < np.inf:
        raise ValueError(f"floor must be at least 0, got {floor}")

    pairs = np.concatenate([beta, omega], axis=1)
    kind = "full" if covariance == "full" else "diag"
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    model = GaussianMixture(components, covariance_type=kind, random_state=seed, reg_covar=floor)
    shares = model.fit(pairs).predict_proba(pairs)

    arrays: dict[str, list[np.ndarray]] = {}
    for share in shares.T:
        weight = components * share.mean()
        scale = np.concatenate([np.ones(d), np.full(size, weight)])
        mean = np.average(pairs, axis=0, weights=share) * scale
        centred = pairs * scale - mean
        sigma = (centred.T * share) @ centred / share.sum() + floor * np.eye(d + size)
        for name, array in _arrays(mean, sigma, covariance, d, r).items():
            arrays.setdefault(name, []).append(array)
    layer = GMLayer(
        d, size, components, covariance=covariance, rank=rank, activation=activation, key=key
    )
    dtype = jnp.result_type(*neurons)
    stacked = [jnp.asarray(np.stack(a), dtype) for a in arrays.values()]
    return layer.with_arrays(dict(zip(arrays, stacked, strict=True)))


def _arrays(
    mean: np.ndarray, sigma: np.ndarray, covariance: str, d: int, rank: int
) -> dict[str, np.ndarray]:
    """The arrays of one component with these moments of `(β, ω)`."""
    mu, level, across = mean[:d], mean[d:], sigma[d:, :d]
    if covariance == "full":
        values, vectors = np.linalg.eigh(sigma)
        root = vectors * np.sqrt(np.maximum(values, 0))
        return {"means": mu, "offsets": level, "factors": root[:d], "output_factors": root[d:]}
    variances, extra = np.diag(sigma)[:d], {}
    if covariance == "low_rank":
        values, vectors = np.linalg.eigh(sigma[:d, :d])
        factors = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:], 0))
        variances = np.maximum(variances - (factors**2).sum(1), 0)
        outputs = across @ np.linalg.pinv(factors).T
        across = across - outputs @ factors.T
        extra = {"factors": factors, "output_factors": outputs}
    slopes = np.divide(across, variances, where=variances > 0, out=np.zeros_like(across))
    offsets = level - slopes @ mu
    return {"means": mu, "scales": np.sqrt(variances), "slopes": slopes, "offsets": offsets} | extra
