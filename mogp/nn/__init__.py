"""Networks of finite width, as Equinox modules.

Inputs have shape (…, in_size): a single point, a batch, or any leading dimensions. The layers
compose with each other and with other Equinox modules, for example in `equinox.nn.Sequential`.
"""

from mogp.nn._any_network import Dependent, GroupNodes
from mogp.nn._covariance import AbstractCovariance, Diagonal, Full, LowRank
from mogp.nn._dependent import (
    DependentLayer,
    DependentMLP,
    InputLayer,
    check_widths,
    input_layer,
    network,
)
from mogp.nn._distance import mixture_distance
from mogp.nn._groups import Group, Groups, Place, Refusal, groups
from mogp.nn._mean_field import MeanFieldLayer
from mogp.nn._mixture import GMLayer
from mogp.nn._modules import (
    flow,
    is_stack,
    log_prior,
    nodes,
    take,
    trainable,
    with_log_variances,
    with_nodes,
)
from mogp.nn._nodes import AbstractNetwork, AbstractNodes, start_variances
from mogp.nn._particles import Neurons, fit_mixture, gm_particles, to_mean_field

__all__ = [
    "AbstractCovariance",
    "AbstractNetwork",
    "AbstractNodes",
    "Dependent",
    "DependentLayer",
    "DependentMLP",
    "Diagonal",
    "Full",
    "GMLayer",
    "Group",
    "GroupNodes",
    "Groups",
    "InputLayer",
    "LowRank",
    "MeanFieldLayer",
    "Neurons",
    "Place",
    "Refusal",
    "check_widths",
    "fit_mixture",
    "flow",
    "gm_particles",
    "groups",
    "input_layer",
    "is_stack",
    "log_prior",
    "mixture_distance",
    "network",
    "nodes",
    "start_variances",
    "take",
    "to_mean_field",
    "trainable",
    "with_log_variances",
    "with_nodes",
]
