"""Posteriors by the no-U-turn sampler, and simulation-based calibration of it."""

from mogp.inference.nuts._calibrate import calibrate
from mogp.inference.nuts._nuts import nuts

__all__ = ["calibrate", "nuts"]
