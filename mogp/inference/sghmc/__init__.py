"""Stochastic-gradient Hamiltonian Monte Carlo for networks of any kind."""

from mogp.inference.sghmc._sampler import sghmc

__all__ = ["sghmc"]
