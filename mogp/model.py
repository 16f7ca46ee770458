"""The model."""

from mogp.architecture import MoGP

__all__ = ["MoGP"]
