"""What pruning loses, predicted from the prior before any training."""

from mogp.pruning.theory._compressibility import Compressibility, compressibility
from mogp.pruning.theory._error import PruningError, error
from mogp.pruning.theory._nodes_for import NodesFor, nodes_for
from mogp.pruning.theory._slopes import Slopes, power_law, slopes

__all__ = [
    "Compressibility",
    "NodesFor",
    "PruningError",
    "Slopes",
    "compressibility",
    "error",
    "nodes_for",
    "power_law",
    "slopes",
]
