"""Classification of a table."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from mogp import inference
from mogp.estimators._estimator import Estimator
from mogp.inference import Likelihood, Predictive


class MoGPClassifier(ClassifierMixin, Estimator):
    """Classification by a mixture of Gaussian processes with a variance for each column.

    Targets are labels of any kind, of shape (n,).

    Args:
        prior: as for `MoGPRegressor`, and all that follow.
        input_prior: the prior of the variances of the columns.
        hidden: the number of hidden layers.
        width: the nodes in each hidden layer; None for the limit of infinitely many.
        activation: the activation of the hidden layers, by name.
        likelihood: `"auto"` is `"bernoulli"` for two classes and `"categorical"` for more; either
            may be named.
        sampler: `"gibbs"`, for one hidden layer and Gaussian noise, `"nuts"`, or `"auto"` for the
            first where it can be had.
        num_jumps: the jumps kept in each hidden layer of the limit.
        num_warmup: the draws a chain for adaptation; None for as many as the sampler has by itself,
            100 of Gibbs and 500 of NUTS.
        num_samples: the draws a chain; None for 400 of Gibbs and 500 of NUTS.
        num_chains: the number of independent chains.
        checkpoint: a file to resume from if it exists, and to write to.
        progress: whether to show a progress bar.
        random_state: an integer for the same draws at each call, a NumPy `RandomState`, or None.

    Attributes:
        classes_: the labels, in order.
        posterior_: the `inference.Posterior`.
        encoding_: how columns became inputs.
        notes_: sentences on what was left out or filled in.
        relevance_: shares of the columns, of shape (n_features_in_,).
        n_features_in_: the number of columns.
        feature_names_in_: their names, if the table has them.

    Example:
        >>> import numpy as np
        >>> from mogp.estimators import MoGPClassifier
        >>> x = np.random.default_rng(0).normal(size=(30, 2))
        >>> model = MoGPClassifier(num_warmup=20, num_samples=20, num_chains=2, random_state=0)
        >>> model.fit(x, np.where(x[:, 0] > 0, "warm", "cold")).predict_proba(x).shape
        (30, 2)
    """

    def _learn_targets(self, y: Any) -> np.ndarray:
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, places = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least 2 classes, got 1 class: {self.classes_[0]!r}")
        return places

    def _known_targets(self, y: Any) -> np.ndarray:
        places = np.searchsorted(self.classes_, y).clip(0, len(self.classes_) - 1)
        if (self.classes_[places] != np.asarray(y)).any():
            raise ValueError(f"y has labels other than the classes {self.classes_[:10]}")
        return places

    def _means_in_units(self, means: np.ndarray) -> np.ndarray:
        return _shares(means)

    def _law(self) -> Likelihood:
        count = len(self.classes_)
        named = self.likelihood
        if isinstance(named, Likelihood):
            return named
        if named == "auto":
            named = "bernoulli" if count == 2 else "categorical"
        if named == "bernoulli" and count == 2:
            return inference.Bernoulli()
        if named == "categorical":
            return inference.Categorical(count)
        raise ValueError(
            "likelihood must be 'auto', 'categorical', or 'bernoulli' for two classes, got "
            f"{self.likelihood!r} for {count} classes"
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, of shape (n, num_classes)."""

        def shares(predictive: Predictive) -> np.ndarray:
            return _shares(np.asarray(predictive.mean(), float)).T

        found = self._over_blocks(X, shares).T
        whole = np.abs(found.sum(1) - 1).max(initial=0) < 1e-3  # false for NaN, too
        if not whole or found.min(initial=0) < -1e-6:
            raise ValueError("the draws give no probabilities of the classes: they are damaged")
        return found / found.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, of shape (n,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """`log p(y_i)` of new labels, of shape (n,).

        Raises:
            ValueError: if a label is none of `classes_`.
        """
        check_is_fitted(self)
        places = self._known_targets(y)
        return np.log(self.predict_proba(X)[np.arange(len(places)), places])

    def _state(self) -> dict[str, Any]:
        return super()._state() | {
            "classes": self.classes_.tolist(),
            "dtype": self.classes_.dtype.str,
        }

    def _take(self, state: dict[str, Any]) -> None:
        super()._take(state)
        self.classes_ = np.array(state["classes"], np.dtype(state["dtype"]))


def _shares(mean: np.ndarray) -> np.ndarray:
    """Probabilities (…, classes) of all classes, from those of the second where there are two."""
    return np.concatenate([1 - mean, mean], -1) if mean.shape[-1] == 1 else mean
