"""What both estimators share: inputs from a table, the posterior, relevance, files."""

import abc
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jax.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from mogp import MoGP, inference, priors
from mogp._checks import check_choice, check_count
from mogp._labels import in_order, label
from mogp.estimators import _encoding
from mogp.estimators._encoding import Encoding
from mogp.inference import Likelihood, Predictive

KEY = 0  # of the observations that quantiles and scores are taken from: the same at each call
_NUM_VALUES = 15  # of a column that an effect is taken at
_BLOCK = 2000  # rows predicted at once: this bounds the memory of the draws


class Estimator(abc.ABC, BaseEstimator):
    """A `MoGP` with input variances, fitted to a table by chains; base of both estimators."""

    def __init__(
        self,
        *,
        prior: str | priors.Prior = "gbfry(alpha=0.5, tau=2)",
        input_prior: str | priors.Prior | None = "horseshoe",
        hidden: int = 1,
        width: int | None = None,
        activation: str = "relu",
        likelihood: str | Likelihood = "auto",
        sampler: str = "auto",
        num_jumps: int = 30,
        num_warmup: int | None = None,
        num_samples: int | None = None,
        num_chains: int = 4,
        checkpoint: str | Path | None = None,
        progress: bool = False,
        random_state: Any = None,
    ) -> None:
        self.prior = prior
        self.input_prior = input_prior
        self.hidden = hidden
        self.width = width
        self.activation = activation
        self.likelihood = likelihood
        self.sampler = sampler
        self.num_jumps = num_jumps
        self.num_warmup = num_warmup
        self.num_samples = num_samples
        self.num_chains = num_chains
        self.checkpoint = checkpoint
        self.progress = progress
        self.random_state = random_state

    # --- fitting ----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the model: `prepare`, then draws from the posterior.

        Args:
            X: a data frame, or an array of numbers of shape (n, n_features), NaN for gaps.
            y: targets, as the class says.

        Raises:
            ValueError: if shapes disagree, no column varies, or targets are impossible.
        """
        x, targets = self.prepare(X, y)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        model, law = self._model(), self._law()
        by_name = {"gibbs": inference.gibbs, "nuts": inference.nuts}
        numbers: dict[str, Any] = {"num_warmup": self.num_warmup, "num_samples": self.num_samples}
        sample = by_name.get(self.sampler) or inference.sampler_for(model, law)
        self.posterior_ = sample(
            model,
            jnp.asarray(x),
            targets,
            key=jax.random.key(seed),
            likelihood=law,
            width=self.width,
            num_jumps=self.num_jumps,
            num_chains=self.num_chains,
            checkpoint=self.checkpoint,
            progress=self.progress,
            **{name: number for name, number in numbers.items() if number is not None},
        )
        return self

    def prepare(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Learn how rows become numbers; all of `fit` but the draws.

        Args:
            X: as for `fit`.
            y: as for `fit`.

        Returns:
            Standardised inputs, of shape (n, d), and targets as the likelihood has them.

        Raises:
            ValueError: as `fit`.
        """
        check_choice("sampler", self.sampler, ("auto", "gibbs", "nuts"))
        frame = self._frame(X, reset=True)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        targets = self._learn_targets(y)
        check_consistent_length(frame, targets)
        self.encoding_, x, self.notes_ = _encoding.learn(frame)
        self._model()
        self._law().targets(targets, len(x))
        return x, targets

    @abc.abstractmethod
    def _learn_targets(self, y: Any) -> np.ndarray:
        """Targets as the likelihood has them, of shape (n, …), and what is learned of them."""

    def _model(self) -> MoGP:
        """The model; its scales are unknown, LogNormal(0, 1) a priori.

        That of the weights from the inputs is 1, since their variances have a scale already.
        """
        layers = check_count("hidden", self.hidden) + 1
        scales = [dist.LogNormal(0.0, 1.0)] * layers
        weights: list[Any] = list(scales)
        if self.input_prior is not None:
            weights[0] = 1.0
        return MoGP(
            [_prior(self.prior)] * self.hidden,
            self.activation,
            weight_scale=weights,
            bias_scale=scales,
            input_prior=None if self.input_prior is None else _prior(self.input_prior),
            input_groups=None if self.input_prior is None else self.encoding_.groups,
        )

    def _frame(self, X: Any, *, reset: bool = False) -> pd.DataFrame:
        """The rows as a frame, checked as scikit-learn does; columns of arrays are x0, x1, …."""
        if isinstance(X, pd.DataFrame) and len(X) and len(X.columns):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X.rename(columns=str)
        array = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan")
        return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])

    # --- predicting -------------------------------------------------------------------------------

    def _predictives(self, X: Any) -> Iterator[Predictive]:
        """Predictions of blocks of rows."""
        x = self._inputs(X)
        for start in range(0, len(x), _BLOCK):
            yield self.posterior_.predict(jnp.asarray(x[start : start + _BLOCK]))

    def _inputs(self, X: Any) -> np.ndarray:
        """Standardised inputs of rows; what was filled in is a warning."""
        check_is_fitted(self)
        x, notes = self.encoding_.inputs(self._frame(X))
        for note in notes:
            warnings.warn(note, stacklevel=4)
        return x

    def _over_blocks(self, X: Any, function: Callable[[Predictive], ArrayLike]) -> np.ndarray:
        """A function of predictions, of shape (…, n), over all rows."""
        return np.concatenate([np.asarray(function(p)) for p in self._predictives(X)], -1)

    @property
    def relevance_(self) -> np.ndarray:
        """How much each column of the inputs matters: shares of shape (n_features_in_,).

        The posterior mean of `λ_g Σ_{i∈g} E x_i²` over all columns `g`, as a share of their sum;
        a column that does not vary has none. `relevance_draws` has its whole distribution.
        """
        check_is_fitted(self)
        return self.relevance_draws().mean(0)

    def relevance_draws(self) -> np.ndarray:
        """The shares of all draws, of shape (num_chains · num_samples, n_features_in_).

        Raises:
            ValueError: if the inputs have no prior.
        """
        check_is_fitted(self)
        if self.input_prior is None:
            raise ValueError("relevance needs an input_prior, such as 'horseshoe'; it is None")
        variances = np.asarray(self.posterior_.parameters["input_variances"], float)
        sizes = np.bincount(self.encoding_.groups)  # Σ E x² of a column: one for each input
        weighted = variances.reshape(-1, len(sizes)) * sizes
        shares = np.zeros((len(weighted), self.n_features_in_))
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        places = [list(names).index(name) for name in self.encoding_.columns]
        shares[:, places] = weighted / weighted.sum(1, keepdims=True)
        return shares

    # --- scores and effects -----------------------------------------------------------------------

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """Scores of predictions against targets, in their units.

        Args:
            X: as for `fit`.
            y: targets of these rows.

        Returns:
            As `inference.Predictive.evaluate` has them: `nll`, the mean of `-log p(y_i)`; `rmse`,
            `crps` and `coverage` of 90 % intervals of numbers; `accuracy`, `brier` and `ece` of
            classes.
        """
        check_is_fitted(self)
        x, key = jnp.asarray(self._inputs(X)), jax.random.key(KEY)
        return self._in_units(self.posterior_.evaluate(x, self._known_targets(y), key=key))

    def leave_one_out(self, *, pointwise: bool = False) -> dict[str, Any]:
        """The score of each training row by all others, as `inference.leave_one_out` has it."""
        check_is_fitted(self)
        return self._in_units(inference.leave_one_out(self.posterior_, pointwise=pointwise))

    def _in_units(self, scores: dict[str, Any]) -> dict[str, Any]:
        """Scores of standardised targets in their units."""
        return scores

    @abc.abstractmethod
    def _known_targets(self, y: Any) -> np.ndarray:
        """Targets of other rows, as the likelihood has them."""

    def effect(
        self,
        X: Any,
        column: str,
        values: ArrayLike | None = None,
        *,
        num_rows: int = 20,
        num_draws: int = 200,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What one column does to the mean: partial dependence (Friedman, 2001, Section 8.2).

        The column takes each of some values in all of the rows, whose other columns stay as they
        are, and the expected targets of functions drawn from the posterior are averaged over the
        rows.

        Args:
            X: rows, as for `fit`.
            column: the name of a column; those of arrays are x0, x1, ….
            values: what it takes; None for 15 numbers between its 2 % and 98 % quantiles, or all
                the values of a column of text.
            num_rows: of so many of the rows, evenly chosen.
            num_draws: of so many draws of the posterior.

        Returns:
            The values, of shape (m,); and the averages of each draw of the posterior, in units of
            the targets, of shape (num_draws, m, num_outputs): probabilities for classes.

        Raises:
            ValueError: if there is no such column.
        """
        check_is_fitted(self)
        frame = self._frame(X)
        if column not in frame:
            raise ValueError(f"column must be one of {list(frame)[:20]}, got {column!r}")
        rows = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, num_rows).round().astype(int))]
        there = _values_of(frame[column]) if values is None else np.asarray(values)
        parts = [rows.assign(**{column: [value] * len(rows)}) for value in there]
        x, _ = self.encoding_.inputs(pd.concat(parts))
        key = jax.random.key(KEY)
        predictive = self.posterior_.predict(jnp.asarray(x), num_draws=num_draws, key=key)
        means = np.asarray(predictive.means(), float)
        averages = means.reshape(len(means), len(there), len(rows), -1).mean(2)
        return there, self._means_in_units(averages)

    @abc.abstractmethod
    def _means_in_units(self, means: np.ndarray) -> np.ndarray:
        """Expected targets (…, outputs) in their units, or probabilities of all classes."""

    # --- files and pickles ------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """What was learned from the data besides the posterior, as JSON has it."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "encoding": self.encoding_.to_json(),
            "notes": self.notes_,
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else list(names),
        }

    def _take(self, state: dict[str, Any]) -> None:
        self.encoding_ = Encoding.from_json(state["encoding"])
        self.notes_ = list(state["notes"])
        self.n_features_in_ = int(state["n_features_in"])
        if state["feature_names_in"] is not None:
            self.feature_names_in_ = np.array(state["feature_names_in"], object)

    @abc.abstractmethod
    def _law(self) -> Likelihood:
        """The likelihood that the settings name."""

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator as netCDF, whole or not at all; ArviZ opens it, too.

        `restore` of an estimator with the same settings reads it.
        """
        check_is_fitted(self)
        attrs = {**self.posterior_.attrs, "estimator": json.dumps(self._state())}
        replace(self.posterior_, attrs=attrs).save(path)

    def restore(self, path: str | Path) -> Self:
        """Take what an estimator with the same settings was fitted to and `save` has written.

        Raises:
            ValueError: if the file is another, or the estimator that wrote it had other settings.
        """
        state = json.loads(_attributes(Path(path)).get("estimator", "null"))
        if state is None:
            raise ValueError(f"{path} was not written by the method save of an estimator")
        try:
            self._take(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no whole estimator: {error!r}") from None
        self.posterior_ = inference.load_posterior(path, self._model(), likelihood=self._law())
        if self.posterior_.x.shape[1] != len(self.encoding_.means):
            raise ValueError(
                f"{path} has {self.posterior_.x.shape[1]} inputs, its encoding gives "
                f"{len(self.encoding_.means)}"
            )
        return self

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "posterior_" in state:
            with tempfile.TemporaryDirectory() as folder:
                self.save(Path(folder) / "posterior.nc")
                content = (Path(folder) / "posterior.nc").read_bytes()
            state["posterior_"] = np.frombuffer(content, np.uint8)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state.get("posterior_")
        super().__setstate__({k: v for k, v in state.items() if k != "posterior_"})
        if content is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "posterior.nc"
                path.write_bytes(content.tobytes())
                self.restore(path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = False
        return tags


def _attributes(path: Path) -> dict[str, Any]:
    import xarray as xr

    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return {str(name): value for name, value in tree.attrs.items()}
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"{path} is no netCDF file: {error}") from None


def _prior(value: str | priors.Prior) -> priors.Prior:
    return priors.parse(value) if isinstance(value, str) else value


def _values_of(column: pd.Series) -> np.ndarray:
    if _encoding.is_text(column):
        return np.array(in_order(list(set(map(label, column.dropna())))), object)
    numbers = _encoding.numbers_of(column)
    different = np.unique(numbers[~np.isnan(numbers)])
    if len(different) <= _NUM_VALUES:
        return different
    low, high = np.nanquantile(numbers, [0.02, 0.98])
    return np.linspace(low, high, _NUM_VALUES)
