"""Networks of finite width, as Equinox modules.

Inputs have shape (…, in_size): a single point, a batch, or any leading dimensions. The layers
compose with each other and with other Equinox modules, for example in `equinox.nn.Sequential`.
"""

from mogp.nn._dependent import DependentMLP
from mogp.nn._distance import mixture_distance
from mogp.nn._mean_field import MeanFieldLayer
from mogp.nn._mixture import GMLayer
from mogp.nn._particles import Neurons, fit_mixture, gm_particles, to_mean_field

__all__ = [
    "DependentMLP",
    "GMLayer",
    "MeanFieldLayer",
    "Neurons",
    "fit_mixture",
    "gm_particles",
    "mixture_distance",
    "to_mean_field",
]
