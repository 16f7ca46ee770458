"""Scores of well-known models on the rows of a fit, beside which those of the fit are read."""

from typing import Any

import numpy as np
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict

from mogp.app._preparing import Estimator, Prepared
from mogp.estimators import MoGPClassifier

_LEAST = 1e-6  # probability of a class, so that no single row decides


def scores(task: Prepared, estimator: Estimator) -> dict[str, dict[str, float]]:
    """Scores of simple models on the test rows, and the difference of the fit from each.

    The models are the mean (or the shares of the classes), linear regression with a Gaussian prior
    (BayesianRidge; LogisticRegression), and gradient boosting (HistGradientBoosting), with the
    settings that scikit-learn gives them, on the inputs of the fit. The noise of boosting is the
    root mean square error of five-fold cross-validation on the training rows.

    Args:
        task: the rows; there must be test rows.
        estimator: the fitted one.

    Returns:
        By model: `nll`, `rmse` or `accuracy`, and `gain`, the mean of `log p` of the fit minus that
        of the model over the test rows, with its standard error `gain_se`.
    """
    assert task.held_out is not None
    x_train, x_test = (estimator.encoding_.inputs(r.x)[0] for r in (task.train, task.held_out))
    y_train, y_test = task.train.y, task.held_out.y
    ours = estimator.log_density(*task.held_out)
    classes = isinstance(estimator, MoGPClassifier)
    found = (_of_classes if classes else _of_numbers)(x_train, y_train, x_test, y_test)
    result = {}
    for name, (log_density, score) in found.items():
        gain = ours - log_density
        result[name] = {
            "nll": -float(log_density.mean()),
            "accuracy" if classes else "rmse": score,
            "gain": float(gain.mean()),
            "gain_se": float(gain.std() / np.sqrt(len(gain))),
        }
    return result


def _of_numbers(x: np.ndarray, y: np.ndarray, new: np.ndarray, y_new: np.ndarray) -> Any:
    boosting = HistGradientBoostingRegressor(random_state=0)
    folds = KFold(min(5, len(y)), shuffle=True, random_state=0)
    left = y - cross_val_predict(boosting, x, y, cv=folds)
    predicted = {
        "mean": (np.full(len(new), y.mean()), y.std()),
        "linear": BayesianRidge().fit(x, y).predict(new, return_std=True),
        "boosting": (boosting.fit(x, y).predict(new), np.sqrt(np.mean(left**2))),
    }
    return {
        name: (stats.norm.logpdf(y_new, mean, sd), float(np.sqrt(np.mean((mean - y_new) ** 2))))
        for name, (mean, sd) in predicted.items()
    }


def _of_classes(x: np.ndarray, y: np.ndarray, new: np.ndarray, y_new: np.ndarray) -> Any:
    names, places = np.unique(y, return_inverse=True)
    shares = np.bincount(places) / len(y)
    predicted = {
        "shares": np.tile(shares, (len(new), 1)),
        "linear": LogisticRegression(max_iter=1000).fit(x, places).predict_proba(new),
        "boosting": HistGradientBoostingClassifier(random_state=0)
        .fit(x, places)
        .predict_proba(new),
    }
    at = np.searchsorted(names, y_new)
    rows = np.arange(len(at))
    return {
        name: (np.log(np.maximum(p[rows, at], _LEAST)), float(np.mean(p.argmax(1) == at)))
        for name, p in predicted.items()
    }


__all__ = ["scores"]
