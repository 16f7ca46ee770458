"""Networks of finite width, as Equinox modules.

Inputs have shape (…, in_size): a single point, a batch, or any leading dimensions. The layers
compose with each other and with other Equinox modules, for example in `equinox.nn.Sequential`.
"""

from mogp.nn._dependent import DependentMLP
from mogp.nn._mean_field import MeanFieldLayer
from mogp.nn._mixture import GMLayer

__all__ = ["DependentMLP", "GMLayer", "MeanFieldLayer"]
