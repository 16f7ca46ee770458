"""A user's own data: tables in, posteriors compared, a report out. Behind `mogp fit`."""

from mogp.fitting._fit import LIKELIHOODS, Fit, Settings, fit, load
from mogp.fitting._plots import reliability
from mogp.fitting._summaries import compare_models, convergence, leave_one_out, ranks
from mogp.fitting._tables import Encoding, read, write

__all__ = [
    "LIKELIHOODS",
    "Encoding",
    "Fit",
    "Settings",
    "compare_models",
    "convergence",
    "fit",
    "leave_one_out",
    "load",
    "ranks",
    "read",
    "reliability",
    "write",
]
