"""The experiments of both papers, and more: what `mogp experiment` runs.

Each experiment is registered by its name in `EXPERIMENTS`; `run` runs one.
"""

from mogp.app.experiments import _evolution, _gm, _map, _posteriors, _prior
from mogp.app.experiments._registry import EXPERIMENTS, Experiment, Outcome, register, run

for _module in (_gm, _evolution, _map, _posteriors, _prior):
    for _experiment in _module.EXPERIMENTS:
        register(_experiment)

__all__ = ["EXPERIMENTS", "Experiment", "Outcome", "register", "run"]
