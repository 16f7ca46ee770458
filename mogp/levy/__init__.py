"""Lévy measures: what is left of a node-variance law at infinite width."""

from mogp.levy._families import GBFRY, NoJumps, Stable
from mogp.levy._measure import LevyMeasure

__all__ = ["GBFRY", "LevyMeasure", "NoJumps", "Stable"]
