"""Regression of a table."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array

from mogp import inference
from mogp.estimators._encoding import moments
from mogp.estimators._estimator import KEY, Estimator
from mogp.inference import Likelihood

# In standard deviations of the targets. Without any, the noise of data that a network fits exactly
# has no posterior; and numbers of a table are rounded.
_LEAST_NOISE = 1e-3


class MoGPRegressor(RegressorMixin, Estimator):
    """Regression by a mixture of Gaussian processes with a variance for each column.

    The model is the limit of an infinitely wide network ([DW]), or a network of a given width; its
    nodes and inputs carry random variances. A table of numbers, booleans, dates and text is turned
    into inputs of standard deviation 1, and gaps are filled in; `notes_` says what was done.
    Targets are numbers of shape (n,) or (n, num_targets), which real likelihoods see standardised,
    with noise of at least a thousandth of their standard deviation.

    Args:
        prior: the prior of the node variances of all hidden layers, one of `mogp.priors` or what
            `priors.parse` reads.
        input_prior: the prior of the variances of the columns, which tells relevant columns from
            others; None gives all inputs the same variance.
        hidden: the number of hidden layers.
        width: the nodes in each hidden layer; None for the limit of infinitely many.
        activation: the activation of the hidden layers, by name.
        likelihood: `"auto"` is `"gaussian"`; `"student_t"` for outliers, `"poisson"` for counts, or
            an `inference.Likelihood` for standardised targets.
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
        posterior_: the `inference.Posterior` of the standardised problem.
        encoding_: how columns became inputs.
        notes_: sentences on what was left out or filled in.
        relevance_: shares of the columns, of shape (n_features_in_,).
        n_features_in_: the number of columns.
        feature_names_in_: their names, if the table has them.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from mogp.estimators import MoGPRegressor
        >>> table = pd.DataFrame({"rooms": np.arange(20) % 5, "site": ["a", "b"] * 10})
        >>> price = 100 + 20 * table["rooms"] + np.random.default_rng(0).normal(size=20)
        >>> model = MoGPRegressor(num_warmup=20, num_samples=20, num_chains=2, random_state=0)
        >>> mean, std = model.fit(table, price).predict(table, return_std=True)
        >>> mean.shape, std.shape, model.relevance_.shape
        ((20,), (20,), (2,))
    """

    def _learn_targets(self, y: Any) -> np.ndarray:
        found = np.asarray(check_array(y, ensure_2d=False, dtype="numeric", input_name="y"), float)
        self.is_flat_ = found.ndim == 1 or found.shape[1] == 1
        rows, size = found.reshape(len(found), -1), 1 if self.is_flat_ else found.shape[1]
        self.target_mean_, self.target_scale_ = np.zeros(size), np.ones(size)
        if self._law().is_real:
            for i, column in enumerate(rows.T):
                varies = np.ptp(column) > 0
                mean, scale = moments(column, "y") if varies else (column[0], 1.0)
                self.target_mean_[i], self.target_scale_[i] = mean, scale
        return self._known_targets(rows)

    def _known_targets(self, y: Any) -> np.ndarray:
        rows = np.asarray(y, float).reshape(len(y), -1)
        return (rows - self.target_mean_) / self.target_scale_

    def _law(self) -> Likelihood:
        if isinstance(self.likelihood, Likelihood):
            return self.likelihood
        noise = dist.TruncatedNormal(0.0, 1.0, low=_LEAST_NOISE)
        gaussian = partial(inference.Gaussian, noise)
        laws: dict[str, Callable[[], Likelihood]] = {
            "auto": gaussian,
            "gaussian": gaussian,
            "student_t": partial(inference.StudentT, noise),
            "poisson": inference.Poisson,
        }
        if self.likelihood not in laws:
            raise ValueError(
                f"likelihood must be one of {sorted(laws)} or a Likelihood, got {self.likelihood!r}"
            )
        return laws[self.likelihood]()

    def predict(
        self,
        X: Any,
        return_std: bool = False,
        quantiles: Sequence[float] | None = None,
    ) -> Any:
        """Predictions of rows, in the units of the targets.

        Args:
            X: as for `fit`.
            return_std: whether to return the standard deviation of a new observation, too.
            quantiles: levels in (0, 1); their quantiles of a new observation are returned, too.

        Returns:
            The mean, of shape (n,) or (n, num_targets); a tuple of it, of the standard deviation of
            the same shape, and of quantiles with one more axis, (…, num_quantiles), as asked for.
        """
        wanted = None if quantiles is None else np.asarray(quantiles, float)
        if wanted is not None and not ((wanted > 0) & (wanted < 1)).all():
            raise ValueError(f"quantiles must lie in (0, 1), got {quantiles}")

        def both(predictive: inference.Predictive) -> np.ndarray:
            # mean, standard deviation and quantiles in front, rows last
            parts = [np.asarray(predictive.mean(), float).T[None]]
            if return_std or wanted is not None:
                draws = _sampled(predictive)
                parts.append(draws.std(0).T[None])
                if wanted is not None:
                    parts.append(np.moveaxis(np.quantile(draws, wanted, axis=0), 1, -1))
            return np.concatenate(parts)

        found = np.moveaxis(self._over_blocks(X, both), -1, 1)  # (what, n, targets)
        scale, shift = self.target_scale_, self.target_mean_
        mean, spread = shift + scale * found[0], [scale * a for a in found[1:2]]
        levels = np.moveaxis(shift + scale * found[2:], 0, -1)
        if not all(np.isfinite(a).all() for a in (mean, *spread, levels)):
            raise ValueError(
                "the predictions are not finite: rows are too far from the training rows, or the "
                "draws are damaged"
            )
        shaped = [a[:, 0] if self.is_flat_ else a for a in (mean, *spread, levels)]
        extra = [shaped[1]] * return_std + [shaped[-1]] * (wanted is not None)
        return (shaped[0], *extra) if extra else shaped[0]

    def sample(self, X: Any) -> np.ndarray:
        """New observations of rows, one set from each draw of the posterior, in units.

        Args:
            X: as for `fit`.

        Returns:
            Of shape (num_draws, n) or (num_draws, n, num_targets); the same at each call.
        """
        found = self._over_blocks(X, lambda p: np.moveaxis(_sampled(p), 1, -1))
        drawn = self.target_mean_ + self.target_scale_ * np.moveaxis(found, -1, 1)
        return drawn[..., 0] if self.is_flat_ else drawn

    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """`log p(y_i)` of new observations in the units of the targets, of shape (n,)."""
        scaled, start, found = self._known_targets(y), 0, []
        for predictive in self._predictives(X):
            end = start + predictive.outputs.shape[1]
            found.append(np.asarray(predictive.log_density(scaled[start:end]), float))
            start = end
        return np.concatenate(found) - np.log(self.target_scale_).sum()

    def _means_in_units(self, means: np.ndarray) -> np.ndarray:
        return self.target_mean_ + self.target_scale_ * means

    def _in_units(self, scores: dict[str, Any]) -> dict[str, Any]:
        shift, scale = float(np.log(self.target_scale_).sum()), self.target_scale_.mean()
        of_size = {name: scores[name] * scale for name in ("rmse", "crps") if name in scores}
        each = {"elpd": scores["elpd"] - shift} if "elpd" in scores else {}
        return scores | {"nll": scores["nll"] + shift} | of_size | each

    def _state(self) -> dict[str, Any]:
        arrays = {"mean": self.target_mean_.tolist(), "scale": self.target_scale_.tolist()}
        return super()._state() | arrays | {"flat": self.is_flat_}

    def _take(self, state: dict[str, Any]) -> None:
        super()._take(state)
        self.target_mean_, self.target_scale_ = np.array(state["mean"]), np.array(state["scale"])
        self.is_flat_ = bool(state["flat"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _sampled(predictive: inference.Predictive) -> np.ndarray:
    return np.asarray(predictive.sample(key=jax.random.key(KEY)), float)
