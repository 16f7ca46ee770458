"""Estimators for tables, in the style of scikit-learn."""

from mogp.estimators._classifier import MoGPClassifier
from mogp.estimators._regressor import MoGPRegressor

__all__ = ["MoGPClassifier", "MoGPRegressor"]
