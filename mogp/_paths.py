"""Where the components of a mixture, or the neurons of a network, go during training."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mogp import nn


def paths(models: Sequence[eqx.Module]) -> xr.Dataset:
    """The directions `β` of models of one size, from the start to the end of training.

    Args:
        models: diagonal GM layers, or mean-field layers, whose neurons are components without
            spread; the start first.

    Returns:
        `path`, the means of all components on the plane in which the law of `β` varies most at the
        end (the top two principal components of the last mixture), dimensions epoch, component,
        axis; `covariance`, that of each component on this plane; `explained`, the share of the
        variance along each axis; and `moved`: the distance of the law of `β` from the first one,
        over the root mean square `‖β‖` of the first. The distance is `nn.mixture_distance` with
        `law="directions"`: the pairs of components are those with the least total cost.
    """
    laws = [_law(model) for model in models]
    means, scales = (np.stack(part) for part in zip(*laws, strict=True))
    last = means[-1] - means[-1].mean(axis=0)
    covariance = last.T @ last / len(last) + np.diag((scales[-1] ** 2).mean(axis=0))
    values, vectors = np.linalg.eigh(covariance)
    plane = vectors[:, :-3:-1]
    size = np.sqrt((means[0] ** 2 + scales[0] ** 2).sum(-1).mean())
    within = np.einsum("ip,tki,iq->tkpq", plane, scales**2, plane, optimize=True)
    return xr.Dataset(
        {
            "path": (("epoch", "component", "axis"), means @ plane),
            "covariance": (("epoch", "component", "axis", "other"), within),
            "moved": (("epoch",), [_distance(laws[0], law) / size for law in laws]),
            "explained": (("axis",), values[:-3:-1] / values.sum()),
        }
    )


def _law(model: eqx.Module) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of `β`, shape (K, d) each."""
    if isinstance(model, nn.MeanFieldLayer):
        directions = np.asarray(model.directions)
        return directions, np.zeros_like(directions)
    assert isinstance(model, nn.GMLayer)
    return np.asarray(model.means), np.abs(np.asarray(model.scales))


def _distance(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> float:
    costs = cdist(np.concatenate(first, axis=1), np.concatenate(second, axis=1), "sqeuclidean")
    return float(np.sqrt(costs[linear_sum_assignment(costs)].mean()))
