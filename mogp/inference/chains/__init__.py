"""Posteriors by chains on all unknowns: NUTS and Gibbs; simulation-based calibration of both."""

from mogp.inference.chains._calibrate import calibrate
from mogp.inference.chains._gibbs import gibbs, sampler_for
from mogp.inference.chains._nuts import nuts

__all__ = ["calibrate", "gibbs", "nuts", "sampler_for"]
